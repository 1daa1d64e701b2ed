"""What `wait` and `approval` share: how their parameters are read, and what is wrong with them."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from orchestrator.domain.words import kind_of
from orchestrator.errors import TaskError
from orchestrator.ports.tools import Problem
from orchestrator.settings import seconds_of
from orchestrator.tools.schemas import schema_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Duration = Annotated[int | float | str, "seconds, or a text like `90s`, `10m`, `2h`, `1d`"]

LONGEST_SECONDS = 100 * 365 * 86400.0


def seconds(value: Any) -> float:
    """Read a duration; raise ValueError for what is none."""
    if isinstance(value, str):
        found = seconds_of(value)
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(  # noqa: TRY004 - one kind of error for all that is no duration
            f"not a duration: {kind_of(value)} (expected something like 30d, 12h, 90m or 45s)"
        )
    else:
        found = float(value)
    if not math.isfinite(found) or not 0 <= found <= LONGEST_SECONDS:
        raise ValueError(f"not a duration: {value!r} (expected 0 seconds to 100 years)")
    return found


def moment(value: str) -> float:
    """Read a point in time, as seconds since 1970; raise ValueError for what is none, or has no zone."""
    try:
        found = datetime.fromisoformat(value.strip())
    except ValueError:
        raise ValueError(f"not a time: {value!r} (expected something like 2026-03-01T08:00:00+01:00)") from None
    if found.tzinfo is None:
        raise ValueError(f"{value!r} has no time zone: add Z for UTC, or an offset like +01:00")
    return found.timestamp()


def problems_of(
    parameters: Mapping[str, Any],
    is_template: Callable[[Any], bool],
    readers: Mapping[str, Callable[[Any], Any]],
    schema: str,
) -> list[Problem]:
    """Return what is wrong with parameters that are written out: those that ``readers`` read, and the schema."""
    found = []
    for name, read in readers.items():
        value = parameters.get(name)
        if value is None or is_template(value) or not isinstance(value, (str, int, float)):
            continue  # what is of another type is told already
        try:
            read(value)
        except ValueError as error:
            found.append(Problem(str(error), (name,)))
    return found + schema_problems(parameters, is_template, schema)


def refuse(problems: list[Problem]) -> None:
    """Raise TaskError for the first of these, if there is one."""
    if problems:
        first = problems[0]
        where = ".".join(map(str, first.path))
        hint = f" ({first.hint})" if first.hint else ""
        raise TaskError(
            f"{where}: {first.message}{hint}" if where else first.message + hint, kind="parameters", retryable=False
        )
