"""The decision: what to do next, a pure function of the state.

The engine asks, carries out what it is told, and asks again until there is nothing more to do; so one answer may
hold only part of what is due. ``decide`` sees no clock: the present comes in as an argument.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.domain.execution import DONE, ExecutionState, ExecutionStatus, TaskStatus
from orchestrator.domain.rewind import rewind
from orchestrator.domain.stage import STAGES, Stage, undo_id

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


class Enter(NamedTuple):
    """Go over to a later stage, with these tasks; ``outcome`` is how the main part ended."""

    stage: Stage
    outcome: ExecutionStatus
    tasks: list[TaskId]


Command = Claim | Gather | Answer | SendBack | LetGo | Enter | Finish


_OUTCOMES = {
    ExecutionStatus.COMPLETED: (Stage.FINALLY,),
    ExecutionStatus.FAILED: (Stage.UNDO, Stage.ON_FAILURE, Stage.FINALLY),
    ExecutionStatus.CANCELLED: (Stage.UNDO, Stage.FINALLY),
}
"""The later stages, by how the main part ended."""


def decide(
    state: ExecutionState, now: float, capacity: int, *, stopping: bool, letting_go: bool = False
) -> list[Command]:
    """Return what to do next; empty means wait for an outcome, for a signal, or until ``next_at``.

    ``capacity`` is how many attempts may run at once; the definition may allow fewer of its own. ``stopping``: claim
    nothing more, finish when all has ended. ``letting_go``: leave the execution once nothing but waits is left in it,
    rather than wait with it.
    """
    if state.finished:
        return []
    cut_off = _cut_off(state, now)
    if stopping or cut_off is not None or state.aborted:
        return [] if state.running else [_cut_short(state, cut_off)]
    if answers := _answers(state, now):
        return answers
    if state.waits.rewinds:
        return []  # what is in the way has been asked to end
    if state.gatherable:
        return [Gather(name) for name in state.gatherable]
    if claims := _claims(state, now, _free(state, capacity)):
        return claims
    if state.running or state.has_more():
        return []
    return _at_the_end(state, letting_go=letting_go)


def _cut_short(state: ExecutionState, cut_off: ExecutionStatus | None) -> Command:
    """Say what comes of a run that may begin nothing more, now that nothing is at work."""
    if state.aborted:
        return Finish(ExecutionStatus.CANCELLED)
    if cut_off is not None:
        return _onward(state, cut_off)
    if state.ending:
        over = not state.has_more() and not state.waits.tasks
        return _onward(state, ExecutionStatus(state.outcome)) if over else Finish(ExecutionStatus.STOPPED)
    # A stop that came during the last step stopped nothing.
    return _onward(state, ExecutionStatus.COMPLETED) if state.complete else Finish(ExecutionStatus.STOPPED)


def _at_the_end(state: ExecutionState, *, letting_go: bool) -> list[Command]:
    """Say what to do where nothing runs and nothing more can begin: wait, go on to a later stage, or end."""
    if any(state.is_wanted(name) for name in state.waits.tasks):
        due = state.waits.due()
        return [LetGo(None if due is None else due[0])] if letting_go else []
    outcome = ExecutionStatus(state.outcome) if state.ending else _end(state)
    return [_onward(state, outcome) if outcome in _OUTCOMES else Finish(outcome)]


def next_at(state: ExecutionState, capacity: int) -> float | None:
    """Return when there is something to do by the passing of time; None if something must happen first.

    That is a retry that is due, a limit that lets the next attempt through, or the end of a wait. It is asked when
    ``decide`` has nothing more to say: what is ready and still there is held back by something else than time.
    """
    wait = state.waits.due()
    found = [] if wait is None else [wait[0]]
    held_back = bool(state.waits.rewinds) or (state.stage is Stage.UNDO and bool(state.running))
    for queue in state.limits.queues.values() if not held_back and _free(state, capacity) > 0 else ():
        opens, retry = queue.opens_at(), state.next_retry(queue)
        if opens is None:
            continue
        if queue.ready and opens > 0:
            found.append(opens)
        if retry is not None:
            found.append(max(retry[0], opens))
    return min(found, default=None)


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


def _cut_off(state: ExecutionState, now: float) -> ExecutionStatus | None:
    """Return how the main part ends that may begin nothing more: somebody cancelled it, or it takes too long."""
    if state.ending:
        return None
    if state.cancel_requested is not None:
        return ExecutionStatus.CANCELLED
    return ExecutionStatus.FAILED if state.overdue(now) else None


def _onward(state: ExecutionState, outcome: ExecutionStatus) -> Command:
    """Return what comes after the present stage: the next one that has tasks, or the end."""
    if state.pipeline is not None and state.pipeline.has_endings:
        for stage in _OUTCOMES[outcome]:
            if STAGES.index(stage) > STAGES.index(state.stage) and (tasks := tasks_of(state, stage)):
                return Enter(stage, outcome, tasks)
    if state.ending and state.failed_endings():
        return Finish(ExecutionStatus.FAILED)
    return Finish(outcome)


def tasks_of(state: ExecutionState, stage: Stage) -> list[TaskId]:
    """Return the tasks that a stage has, should it be entered now. O(tasks) for undo, and only where steps have one.

    What was completed last is undone first.
    """
    pipeline = state.pipeline
    if pipeline is None:
        return []
    if stage is not Stage.UNDO:
        return list(pipeline.on_failure if stage is Stage.ON_FAILURE else pipeline.finally_)
    if not pipeline.undoes_anything:
        return []
    done = [
        (known.seq, name)
        for name, known in state.tasks.items()
        if known.status is TaskStatus.COMPLETED
        and not (known.pinned or known.source)  # a person's result, or that of another execution: nothing was done here
        and state.graph[name].undo
    ]
    found: list[TaskId] = []
    for _, name in sorted(done, reverse=True):
        count = len(state.graph[name].undo)
        found += [undo_id(name, number, count) for number in range(count)]
    return found


def _free(state: ExecutionState, capacity: int) -> int:
    """Return how many more attempts may run at once."""
    own = state.pipeline.max_concurrency if state.pipeline is not None else None
    return (capacity if own is None else min(capacity, own)) - len(state.running)


def _claims(state: ExecutionState, now: float, free: int) -> list[Command]:
    """Return what may begin now, at most so many: what keeps limits before what keeps none, and a due retry first.

    Of each queue the front is looked at, never those behind it. One that shares a limit with another is asked again
    once the claims of that are recorded.
    """
    if state.stage is Stage.UNDO:
        return _undo(state, now) if free > 0 else []
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


def _undo(state: ExecutionState, now: float) -> list[Command]:
    """Return what is to be undone next: one after the other, and what is tried again before what comes after it."""
    if state.running:
        return []
    retry = state.next_retry(state.limits.unlimited)
    if retry is not None:
        return [Claim(retry[1])] if retry[0] <= now else []
    return [Claim(name) for name in islice(state.ready, 1)]


def _end(state: ExecutionState) -> ExecutionStatus:
    """Say how a run ends in which nothing more can begin."""
    if state.complete:
        return ExecutionStatus.COMPLETED
    if state.wanted is not None and all(state.tasks[name].status in DONE for name in state.wanted):
        return ExecutionStatus.STOPPED  # it got as far as it was to go
    return ExecutionStatus.FAILED
