"""The decision: what to do next, a pure function of the state.

The engine asks, carries out what it is told, and asks again until there is nothing more to do; so one answer may
hold only part of what is due. ``decide`` sees no clock: the present comes in as an argument.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.domain.execution import DONE, ExecutionState, ExecutionStatus
from orchestrator.domain.rewind import rewind

if TYPE_CHECKING:
    from orchestrator.domain.ids import TaskId


class Claim(NamedTuple):
    """Begin an attempt of this task (or skip it, if its condition says so)."""

    task: TaskId


class Gather(NamedTuple):
    """All that is in this container has ended: say what becomes of it."""

    task: TaskId


class Answer(NamedTuple):
    """This task waits no more: its time is over, or there is a signal for it (see ``state.waits``)."""

    task: TaskId


class SendBack(NamedTuple):
    """Carry out that this approval's execution was sent back: nothing is in the way any more."""

    task: TaskId


class LetGo(NamedTuple):
    """Nothing but waits is left: leave the execution waiting, until the first of them is over (None: for a signal)."""

    due: float | None


class Finish(NamedTuple):
    """End the run with this status."""

    status: ExecutionStatus


Command = Claim | Gather | Answer | SendBack | LetGo | Finish


def decide(
    state: ExecutionState, now: float, capacity: int, *, stopping: bool, letting_go: bool = False
) -> list[Command]:
    """Return what to do next; empty means wait for an outcome, for a signal, or for ``next_at(state)``.

    ``capacity`` is how many attempts may run at once. ``stopping``: claim nothing more, finish when all has ended.
    ``letting_go``: leave the execution once nothing but waits is left in it, rather than wait with it.
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
    if answers := _answers(state, now):
        return answers
    if state.waits.rewinds:
        return []  # what is in the way has been asked to end
    if state.gatherable:
        return [Gather(name) for name in state.gatherable]
    if claims := _claims(state, now, capacity - len(state.running)):
        return claims
    if state.running or state.ready or state.next_retry_at() is not None:
        return []
    return _at_the_end(state, letting_go=letting_go)


def next_at(state: ExecutionState) -> float | None:
    """Return when there is something to do by the passing of time: a retry, or the end of a wait; None: never."""
    retry, wait = state.next_retry_at(), state.waits.due()
    return retry if wait is None else wait[0] if retry is None else min(retry, wait[0])


def _answers(state: ExecutionState, now: float) -> list[Command]:
    """Return a wait that is over: a signal that has come goes before a time that has passed.

    While an execution is being sent back, nothing else is answered.
    """
    for approval in state.waits.rewinds:
        return [] if rewind(state, approval).in_the_way else [SendBack(approval)]
    found = state.waits.answered()
    if found is not None:
        return [Answer(found[0])]
    due = state.waits.due()
    return [Answer(due[1])] if due is not None and due[0] <= now else []


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


def _at_the_end(state: ExecutionState, *, letting_go: bool) -> list[Command]:
    """Say what to do where nothing runs and nothing more can begin: wait, or end."""
    if any(state.is_wanted(name) for name in state.waits.tasks):
        due = state.waits.due()
        return [LetGo(None if due is None else due[0])] if letting_go else []
    return [Finish(_end(state))]


def _end(state: ExecutionState) -> ExecutionStatus:
    """Say how a run ends in which nothing more can begin."""
    if state.complete:
        return ExecutionStatus.COMPLETED
    if state.wanted is not None and all(state.tasks[name].status in DONE for name in state.wanted):
        return ExecutionStatus.STOPPED  # it got as far as it was to go
    return ExecutionStatus.FAILED
