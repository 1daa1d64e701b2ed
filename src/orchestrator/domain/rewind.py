"""Sending back: what an approval's execution does again, once somebody has sent it back to an earlier step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchestrator.domain.tasks import DONE, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchestrator.domain.execution import ExecutionState
    from orchestrator.domain.ids import TaskId

_LEFT_ALONE = frozenset({TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.IN_DOUBT})


class Rewind(NamedTuple):
    """What becomes of the tasks, in the graph's order.

    ``reset`` run again: the step it is sent back to, all between that and the approval, the approval itself, and what
    had begun elsewhere behind the step. ``looked_at`` are done elsewhere behind it: they are kept if they would be
    given the same again. ``in_the_way`` run just now and must have ended before.
    """

    reset: list[TaskId]
    looked_at: list[TaskId]
    in_the_way: list[TaskId]


def rewind(state: ExecutionState, approval: TaskId) -> Rewind:
    """Return what sending back from this approval comes to: O(what is behind the step)."""
    step = state.waits.rewinds[approval]
    behind = _walk(step, lambda name: state.dependents.get(name, ()))
    between = _walk(approval, lambda name: (need for need in state.graph[name].needs if need in behind))
    reset: list[TaskId] = []
    looked_at: list[TaskId] = []
    for name in behind:
        status = state.tasks[name].status
        if name in between:
            reset.append(name)
            reset += state.graph.inside(name)
        elif status in DONE:
            looked_at.append(name)
        elif status not in _LEFT_ALONE:
            reset.append(name)
    return Rewind(reset, looked_at, [name for name in state.running if _is_behind(state, name, behind)])


def _walk(start: TaskId, steps: Callable[[TaskId], Iterable[TaskId]]) -> dict[TaskId, None]:
    """Return what is reached from a task, itself included, the nearer ones first."""
    found: dict[TaskId, None] = {start: None}
    queue = [start]
    for name in queue:
        for each in steps(name):
            if each not in found:
                found[each] = None
                queue.append(each)
    return found


def _is_behind(state: ExecutionState, name: TaskId, behind: dict[TaskId, None]) -> bool:
    place: TaskId | None = name
    while place is not None:
        if place in behind:
            return True
        place = state.tasks[place].within
    return False
