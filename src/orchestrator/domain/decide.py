"""The decision: what to do next, a pure function of the state.

The engine asks, carries out what it is told, and asks again until there is nothing more to do; so one answer may
hold only part of what is due. ``decide`` sees no clock: the present comes in as an argument.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.domain.execution import DONE, ExecutionState, ExecutionStatus

if TYPE_CHECKING:
    from orchestrator.domain.ids import TaskId


class Claim(NamedTuple):
    """Begin an attempt of this task (or skip it, if its condition says so)."""

    task: TaskId


class Gather(NamedTuple):
    """All that is in this container has ended: say what becomes of it."""

    task: TaskId


class Finish(NamedTuple):
    """End the run with this status."""

    status: ExecutionStatus


Command = Claim | Gather | Finish


def decide(state: ExecutionState, now: float, capacity: int, *, stopping: bool) -> list[Command]:
    """Return what to do next; empty means wait for an outcome (or for ``state.next_retry_at()``).

    ``capacity`` is how many attempts may run at once. ``stopping``: claim nothing more, finish when all has ended.
    """
    if state.finished:
        return []
    if stopping or state.cancel_requested is not None:
        if state.running:
            return []
        if state.cancel_requested is not None:
            return [Finish(ExecutionStatus.CANCELLED)]
        # A stop that came during the last step stopped nothing.
        return [Finish(ExecutionStatus.COMPLETED if state.complete else ExecutionStatus.STOPPED)]
    if state.gatherable:
        return [Gather(name) for name in state.gatherable]
    if claims := _claims(state, now, capacity - len(state.running)):
        return claims
    if state.running or state.ready or state.next_retry_at() is not None:
        return []
    return [Finish(_end(state))]


def _claims(state: ExecutionState, now: float, free: int) -> list[Command]:
    """Return what may begin now, at most so many; a retry that is due goes first."""
    if free <= 0:
        return []
    due = state.next_retry_at()
    if due is not None and due <= now:
        task = state.next_retry()
        if task is not None:
            return [Claim(task)]
    return [Claim(name) for name in islice(state.ready, free)]


def _end(state: ExecutionState) -> ExecutionStatus:
    """Say how a run ends in which nothing more can begin."""
    if state.complete:
        return ExecutionStatus.COMPLETED
    if state.wanted is not None and all(state.tasks[name].status in DONE for name in state.wanted):
        return ExecutionStatus.STOPPED  # it got as far as it was to go
    return ExecutionStatus.FAILED
