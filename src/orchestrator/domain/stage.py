"""The stages of a run: the main part, and what comes when that can go no further.

``undo`` takes back what completed steps did, after a failure and after a cancel; ``on_failure`` comes after a failure;
``finally`` comes always, but when a run is only stopped or paused, to go on later.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.domain.ids import TaskId


class Stage(StrEnum):
    """Which part of a run a task belongs to; in the order in which they come."""

    MAIN = "main"
    UNDO = "undo"
    ON_FAILURE = "on_failure"
    FINALLY = "finally"


STAGES = tuple(Stage)
FAILURE = "failure"
"""What templates of the later stages call the reason why the main part ended."""
RESULT = "result"
"""What templates of an undo call the result of the step that it undoes."""


def undo_id(step: str, number: int, count: int) -> TaskId:
    """Name a task that undoes a step: ``charge.undo``; of several ``charge.undo[1]``, ``charge.undo[2]``."""
    return f"{step}.undo" if count == 1 else f"{step}.undo[{number + 1}]"


def undone_by(name: TaskId) -> tuple[TaskId, int]:
    """Return the step that a task of the stage ``undo`` undoes, and its place among those that do.

    >>> undone_by("resize[a.png].undo"), undone_by("charge.undo[2]")
    (('resize[a.png]', 0), ('charge', 1))
    """
    step, _, place = name.rpartition(".undo")
    return step, int(place[1:-1]) - 1 if place else 0
