"""The plan of a resume: for each task what will be done and why. What is printed is what is executed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.domain.events import Event, TaskInterrupted, TaskSkipped, TasksReset
from orchestrator.domain.execution import DONE, ExecutionState, TaskState, TaskStatus
from orchestrator.domain.pipeline import OnInterrupted
from orchestrator.domain.retry import CRASH_LIMIT, failure_limit, is_exhausted
from orchestrator.errors import NoCheckpoint, ResumeError

if TYPE_CHECKING:
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Pipeline, Task
    from orchestrator.domain.strategy import ResumeStrategy


class Verb(StrEnum):
    """What a resume does with a task."""

    REUSE = "reuse"
    RERUN = "rerun"
    RUN = "run"
    SKIP = "skip"
    WAIT = "wait"


class Decision(NamedTuple):
    """One line of a plan."""

    task: TaskId
    verb: Verb
    reason: str


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """What the person asked for: a position to go back to (None: the end), tasks to release or to skip."""

    from_seq: int | None = None
    retry: frozenset[str] = frozenset()
    skip: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """The decisions in the pipeline's order, and the facts that carry them out."""

    decisions: tuple[Decision, ...]
    events: tuple[Event, ...] = field(repr=False)

    def counts(self) -> dict[Verb, int]:
        """Return how many tasks each verb has."""
        return dict(Counter(decision.verb for decision in self.decisions))


def plan_resume(
    pipeline: Pipeline, state: ExecutionState, strategy: ResumeStrategy, request: ResumeRequest, now: float
) -> Plan:
    """Return what a resume does with each task, and why.

    Raises ResumeError when the request names a task that does not exist or cannot be released, or a position
    after the journal's end.
    """
    _check(state, request)
    decisions: list[Decision] = []
    events: list[Event] = []
    resets: dict[tuple[str, bool], list[TaskId]] = {}
    for name, task in pipeline.tasks.items():
        verb, reason, reset, event = _judge(task, state.tasks[name], strategy, request, now)
        decisions.append(Decision(name, verb, reason))
        if event is not None:
            events.append(event)
        if reset is not None:
            resets.setdefault(reset, []).append(name)
    events.extend(TasksReset(now, names, reason, forgive) for (reason, forgive), names in resets.items())
    return Plan(_blocked(decisions, state), tuple(events))


def _blocked(decisions: list[Decision], state: ExecutionState) -> tuple[Decision, ...]:
    """Say of tasks that need a waiting one that they wait too: a plan promises nothing that cannot begin."""
    stack = [decision.task for decision in decisions if decision.verb is Verb.WAIT]
    if not stack:
        return tuple(decisions)
    verbs = {decision.task: decision.verb for decision in decisions}
    behind: dict[TaskId, TaskId] = {}
    while stack:
        stuck = stack.pop()
        for name in state.dependents.get(stuck, ()):
            if verbs[name] in (Verb.RUN, Verb.RERUN) and name not in behind:
                behind[name] = stuck
                stack.append(name)
    return tuple(
        Decision(each.task, Verb.WAIT, f"behind {behind[each.task]}") if each.task in behind else each
        for each in decisions
    )


def _check(state: ExecutionState, request: ResumeRequest) -> None:
    if request.from_seq is not None and not 0 < request.from_seq <= state.seq:
        raise NoCheckpoint(
            f"No resume checkpoint found: no position {request.from_seq}: the journal has {state.seq} facts"
        )
    for name in sorted(request.retry | request.skip):
        task = state.tasks.get(name)
        if task is None:
            raise ResumeError(f"no step named {name!r} in this pipeline")
        if task.status in DONE:
            raise ResumeError(f"step {name!r} is {task.status.value}: there is nothing to retry or to skip")
    both = request.retry & request.skip
    if both:
        raise ResumeError(f"step {min(both)!r} cannot be both retried and skipped")


_Judgement = tuple[Verb, str, tuple[str, bool] | None, Event | None]


def _judge(task: Task, state: TaskState, strategy: ResumeStrategy, request: ResumeRequest, now: float) -> _Judgement:
    name, status = task.id, state.status
    if name in request.skip:
        return Verb.SKIP, "skipped on request", None, TaskSkipped(now, name, "skipped on request")
    if name in request.retry:
        return Verb.RERUN, "released on request", ("released on request", True), None
    if status in DONE:
        return _judge_done(state, strategy, request)
    if request.from_seq is not None and state.seq > request.from_seq and status is not TaskStatus.PENDING:
        return Verb.RERUN, "after the checkpoint", ("after the checkpoint", True), None
    if status is TaskStatus.PENDING:
        return _judge_pending(state)
    if status is TaskStatus.RUNNING:
        return _judge_running(task, state, strategy, now)
    if status is TaskStatus.RETRYING:
        return Verb.RERUN, f"failed {state.failures}x, its retry was due", ("retry", False), None
    if status is TaskStatus.IN_DOUBT:
        return Verb.WAIT, f"in doubt: it was running when the process ended ({_release(name)})", None, None
    return _judge_failed(task, state, strategy)


def _judge_pending(state: TaskState) -> _Judgement:
    if not state.attempt:
        return Verb.RUN, "not run yet", None, None
    return Verb.RERUN, f"due again after attempt {state.attempt}{_from_saved(state)}", None, None


def _from_saved(state: TaskState) -> str:
    return ", goes on from its saved state" if state.saved is not None else ""


def _judge_done(state: TaskState, strategy: ResumeStrategy, request: ResumeRequest) -> _Judgement:
    if request.from_seq is not None and state.seq > request.from_seq:
        return Verb.RERUN, "done after the checkpoint", ("after the checkpoint", True), None
    if not strategy.preserve_completed_tasks:
        return Verb.RERUN, "preserve_completed_tasks is off", ("preserve_completed_tasks is off", True), None
    return Verb.REUSE, f"{state.status.value} at seq {state.seq}", None, None


def _judge_running(task: Task, state: TaskState, strategy: ResumeStrategy, now: float) -> _Judgement:
    policy = interruption(task, strategy)
    was = f"attempt {state.attempt} was interrupted"
    event = TaskInterrupted(now, task.id, state.attempt, policy.value, "it was running when the process ended")
    if policy is OnInterrupted.RERUN:
        return Verb.RERUN, was + _from_saved(state), None, event
    if policy is OnInterrupted.ASK:
        return Verb.WAIT, f"in doubt: {was} ({_release(task.id)})", None, event
    why = "on_interrupted: fail" if strategy.reset_running_tasks else "reset_running_tasks is off"
    return Verb.WAIT, f"{was}, marked failed: {why}", None, event


def _judge_failed(task: Task, state: TaskState, strategy: ResumeStrategy) -> _Judgement:
    name = task.id
    if is_exhausted(task, state.failures, state.crashes, strategy):
        return Verb.WAIT, f"parked: {exhaustion(task, state, strategy)} ({_release(name)})", None, None
    if not strategy.retry_failed_tasks:
        return Verb.WAIT, "failed, and retry_failed_tasks is off", None, None
    times = state.failures + state.crashes
    return Verb.RERUN, f"failed {times}x: {state.error.message if state.error else ''}", ("retry", False), None


def interruption(task: Task, strategy: ResumeStrategy) -> OnInterrupted:
    """Say what becomes of a step whose attempt was cut off."""
    return task.on_interrupted if strategy.reset_running_tasks else OnInterrupted.FAIL


def exhaustion(task: Task, state: TaskState, strategy: ResumeStrategy) -> str:
    """Say which limit a parked task has used up."""
    if state.crashes > CRASH_LIMIT:
        return f"its worker crashed {state.crashes} times (limit {CRASH_LIMIT})"
    return f"{state.failures} failures, {failure_limit(task, strategy)} retries allowed"


def _release(name: str) -> str:
    return f"release it with --retry {name} or --skip {name}"
