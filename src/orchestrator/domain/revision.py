"""Stand-in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.domain.changes import differences

if TYPE_CHECKING:
    from orchestrator.domain.pipeline import Task


def called_alike(old: Task, new: Task) -> bool:
    """Compare."""
    return old is new or (old.tool, old.action, old.parameters, old.condition, old.files.reads) == (
        new.tool,
        new.action,
        new.parameters,
        new.condition,
        new.files.reads,
    )


def changed_parts(old: Task, new: Task) -> list[tuple[str, Any, Any]]:
    """List."""
    found = [
        (name, getattr(old, name), getattr(new, name))
        for name in ("tool", "action", "condition")
        if getattr(old, name) != getattr(new, name)
    ]
    return found + [
        (c.path, c.old, c.new) for c in differences(dict(old.parameters), dict(new.parameters), at="parameters")
    ]
