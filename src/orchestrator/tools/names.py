"""How tools and their parameters are named, and what a mistyped name may have meant."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

SHIPPED = {
    "approval": "orchestrator.tools.approval",
    "archive": "orchestrator.tools.archive",
    "data-processing": "orchestrator.tools.data_processing",
    "filesystem": "orchestrator.tools.filesystem",
    "http": "orchestrator.tools.http",
    "pipeline": "orchestrator.tools.pipeline",
    "python": "orchestrator.tools.python",
    "report": "orchestrator.tools.report",
    "shell": "orchestrator.tools.shell",
    "sql": "orchestrator.tools.sql",
    "validation": "orchestrator.tools.validation",
    "wait": "orchestrator.tools.wait",
}
"""The shipped tools and the module of each."""

_TOOL = re.compile(r"[A-Za-z][A-Za-z0-9.-]{0,63}")
_ACTION = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


def canonical(name: str) -> str:
    """Return the one spelling of a tool's name: `data_processing` and `data-processing` are the same tool."""
    return name.replace("_", "-")


def tool_name(name: str) -> str:
    """Return the canonical form of a name that is about to be registered; raise UsageError if it cannot be one."""
    if not _TOOL.fullmatch(canonical(name)):
        raise UsageError(f"{name!r} cannot name a tool: a letter, then letters, digits, '.', '-' or '_', at most 64")
    return canonical(name)


def action_name(name: str) -> str:
    """Return ``name`` if it can name an action, else raise UsageError."""
    if not _ACTION.fullmatch(name):
        raise UsageError(f"{name!r} cannot name an action: a letter or '_', then letters, digits, '_' or '-'")
    return name


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return ``did you mean 'x'?`` for the nearest known name, or None if none is near."""
    import difflib

    candidates = list(known)
    lowered = {candidate.lower(): candidate for candidate in candidates}
    same = lowered.get(name.lower()) or lowered.get(name.lower().replace("-", "_"))
    near = [same] if same else difflib.get_close_matches(name, candidates, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else None


def listing(names: Iterable[str]) -> str:
    """Return the names in order, or ``none``: for the end of a sentence like "there are ..."."""
    return ", ".join(sorted(names)) or "none"
