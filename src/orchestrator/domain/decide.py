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
    """Return what to do next; empty means wait for an outcome (or until ``next_claim_at``).

    ``capacity`` is how many attempts may run at once; the definition may allow fewer of its own. ``stopping``: claim
    nothing more, finish when all has ended.
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
    if claims := _claims(state, now, _free(state, capacity)):
        return claims
    if state.running or any(queue.ready or state.next_retry(queue) for queue in state.limits.queues.values()):
        return []
    return [Finish(_end(state))]


def next_claim_at(state: ExecutionState, capacity: int) -> float | None:
    """Return when something may begin though nothing else happens: a retry that is due, a limit that lets one through.

    None if an outcome must come first.
    """
    if _free(state, capacity) <= 0:
        return None
    found: list[float] = []
    for queue in state.limits.queues.values():
        retry = state.next_retry(queue)
        due = 0.0 if queue.ready else None if retry is None else retry[0]
        opens = None if due is None else queue.opens_at()
        if due is not None and opens is not None:
            found.append(max(due, opens))
    return min(found, default=None)


def _free(state: ExecutionState, capacity: int) -> int:
    """Return how many more attempts may run at once."""
    own = state.pipeline.max_concurrency if state.pipeline is not None else None
    return (capacity if own is None else min(capacity, own)) - len(state.running)


def _claims(state: ExecutionState, now: float, free: int) -> list[Command]:
    """Return what may begin now, at most so many: what keeps limits before what keeps none, and a due retry first.

    Of each queue the front is looked at, never those behind it. One that shares a limit with another is asked again
    once the claims of that are recorded.
    """
    if free <= 0:
        return []
    shared: set[str] = set()
    found: list[Command] = []
    for names, queue in reversed(state.limits.queues.items()):  # those that keep none are the first there
        if not queue.ready and not queue.retries:
            continue
        if free <= 0 or not shared.isdisjoint(names):
            continue
        room = queue.room(now, free)
        if room <= 0:
            continue
        retry = state.next_retry(queue)
        if retry is not None and retry[0] <= now:
            claims: list[Command] = [Claim(retry[1])]
        else:
            claims = [Claim(name) for name in islice(queue.ready, room)]
        if claims:
            found += claims
            free -= len(claims)
            shared.update(names)
    return found


def _end(state: ExecutionState) -> ExecutionStatus:
    """Say how a run ends in which nothing more can begin."""
    if state.complete:
        return ExecutionStatus.COMPLETED
    if state.wanted is not None and all(state.tasks[name].status in DONE for name in state.wanted):
        return ExecutionStatus.STOPPED  # it got as far as it was to go
    return ExecutionStatus.FAILED
