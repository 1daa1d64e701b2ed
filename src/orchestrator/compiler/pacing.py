"""Checks of what bounds the pace of an execution: its concurrency, its limits, and the steps that keep them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from orchestrator.compiler.changing import is_number
from orchestrator.compiler.diagnostics import Collector
from orchestrator.domain.ids import ID_RULE, is_valid_id
from orchestrator.domain.limits import Limit
from orchestrator.domain.words import Path, kind_of

MAX_COUNT = 1_000_000
"""So many attempts of a rate are remembered at most."""
_RATE = re.compile(r"(\d{1,9})\s*/\s*(\d{1,9}(?:\.\d{1,9})?)?\s*(ms|s|sec|m|min|h|d|day)")
_UNITS = {"ms": 0.001, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "day": 86400.0}
RATE_PATTERN = f"^{_RATE.pattern}$"


def rate_of(text: Any) -> tuple[int, float] | None:
    """Read a rate: how many, and in how many seconds; None if it is none.

    >>> rate_of("10/min"), rate_of("3 / 90s"), rate_of("often")
    ((10, 60.0), (3, 90.0), None)
    """
    found = _RATE.fullmatch(text.strip()) if isinstance(text, str) else None
    return None if found is None else (int(found[1]), float(found[2] or 1) * _UNITS[found[3]])


def check_pace(mistakes: Collector, max_concurrency: Any, limits: Mapping[Any, Any]) -> dict[str, Limit]:
    """Return the limits by name; note what is wrong with them, or with the concurrency of the whole."""
    if max_concurrency is not None and not _is_count(max_concurrency):
        mistakes.add(("max_concurrency",), f"expected 1 or more, got {kind_of(max_concurrency)}")
    found: dict[str, Limit] = {}
    for name, limit in limits.items():
        path: Path = ("limits", str(name))
        if not is_valid_id(str(name)):
            mistakes.add(path, f"{str(name)[:140]!r} cannot name a limit", f"a name is {ID_RULE}", key=True)
        elif not isinstance(limit, Limit):
            mistakes.add(path, f"expected a Limit, got {kind_of(limit)}")
        else:
            found[str(name)] = limit
            _check_limit(mistakes, path, limit)
    return found


def _check_limit(mistakes: Collector, path: Path, limit: Limit) -> None:
    if limit.at_once is None and limit.count is None:
        mistakes.add(path, "nothing is limited", "give at_once: 5, or rate: 10/min, or both")
    if limit.at_once is not None and not _is_count(limit.at_once):
        mistakes.add((*path, "at_once"), f"expected 1 or more, got {kind_of(limit.at_once)}")
    if limit.count is None:
        return
    if not _is_count(limit.count) or limit.count > MAX_COUNT:
        mistakes.add((*path, "rate"), f"expected 1 to {MAX_COUNT:,} in some time, got {kind_of(limit.count)}")
    if not is_number(limit.per_seconds, above=0):
        mistakes.add((*path, "rate"), f"expected more than 0 seconds, got {kind_of(limit.per_seconds)}")


def check_step(mistakes: Collector, base: Path, task: Any, limits: Mapping[str, Limit]) -> dict[str, Any]:
    """Note what is wrong with a step's idle time and with the limits that it names; return what must be replaced."""
    if task.idle_timeout is not None and not is_number(task.idle_timeout, above=0):
        mistakes.add((*base, "idle_timeout"), f"expected more than 0 seconds, got {kind_of(task.idle_timeout)}")
    named: Any = task.limits
    path = (*base, "limits")
    if not isinstance(named, (list, tuple)) or not all(isinstance(name, str) for name in named):
        mistakes.add(path, f"expected names of limits, got {kind_of(named)}")
        return {"limits": ()}
    for index, name in enumerate(named):
        if name not in limits:
            known = f"there are {', '.join(limits)}" if limits else "write it under `limits` of the pipeline"
            hint = mistakes.guess(name, limits) or known
            mistakes.add(path, f"no limit named {name[:140]!r}", hint, at=(*path, index))
    unique = tuple(dict.fromkeys(named))
    return {} if unique == named else {"limits": unique}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
