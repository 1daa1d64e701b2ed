"""The judge's own fold of one journal: what each fact says, and what it must not say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.domain import events as said

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.simulation.scenario import Scenario
    from orchestrator.domain.events import Event
    from orchestrator.domain.values import ValueRef

CRASHES = 3
"""How many crashes of its worker a task survives (docs/guarantees.md)."""
DONE = ("completed", "skipped")


class Violation(BaseException):
    """An invariant does not hold. Not an Exception: the code under test must not take it for one of its own."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant


class ClaimFact(NamedTuple):
    """Where an attempt was claimed; ``waited``: after the delay that follows a failure in the same run."""

    seq: int
    epoch: int
    waited: bool


@dataclass(slots=True)
class TaskFacts:
    """What the journal says of one task."""

    status: str = "pending"
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    tries: int = 0
    tries_epoch: int = 0
    retry_at: float | None = None
    value: ValueRef | None = None
    saved: ValueRef | None = None

    def saved_value(self, decode: Callable[[ValueRef], Any]) -> Any:
        """Return the state that was saved last, or None."""
        return None if self.saved is None else decode(self.saved)


@dataclass
class Facts:
    """One execution's history, folded; raises Violation for a fact that must not be."""

    scenario: Scenario
    decode: Callable[[ValueRef], Any]
    seq: int = 0
    epoch: int = 0
    status: str = "none"
    cancelled: bool = False
    finished: bool = False
    limit: int = 0
    outputs: ValueRef | None = None
    may_redo: bool = False
    history: list[Event] = field(default_factory=list)
    claims: dict[tuple[str, int], ClaimFact] = field(default_factory=dict)
    tasks: dict[str, TaskFacts] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin with every task pending."""
        self.tasks = {name: TaskFacts() for name in self.scenario.pipeline.tasks}

    def done_count(self) -> int:
        """Return how many tasks are done."""
        return sum(task.status in DONE for task in self.tasks.values())

    def value(self, task: str) -> Any:
        """Return the recorded value of a task; None if it was skipped."""
        ref = self.tasks[task].value
        return None if ref is None else self.decode(ref)

    def needs(self, task: str) -> list[str]:
        """Return what a task needs, as the scenario was drawn."""
        definition = self.scenario.pipeline.tasks[task]
        return [*definition.parameters["reads"], *definition.dependencies]

    def stuck(self) -> list[str]:
        """Return the tasks that wait for somebody to release them, though they could be done."""
        bad = {name for name, how in self.scenario.behaviours.items() if how.hopeless}
        stuck = ("failed", "parked", "in_doubt")
        return [name for name, task in self.tasks.items() if task.status in stuck and name not in bad]

    # -- folding -------------------------------------------------------------------------------------------------

    def apply(self, event: Event, granted: int, answered: Callable[[str, int], Any]) -> None:  # noqa: C901, PLR0912 - one case a fact
        """Fold a fact in. ``granted`` is the epoch that owns the execution, ``answered`` what an attempt answered."""
        self.seq += 1
        self.history.append(event)
        if self.finished and not isinstance(event, (said.ExecutionStarted, said.CancelRequested)):
            raise Violation("I11", f"fact {self.seq} ({type(event).__name__}) follows the end of its owner's run")
        match event:
            case said.ExecutionCreated():
                if self.seq != 1:
                    raise Violation("I11", f"the execution is created again at {self.seq}")
                self.status = "created"
            case said.ExecutionStarted():
                self._started(event, granted)
            case said.TaskClaimed():
                self._claimed(event)
            case said.TaskCompleted():
                self._completed(event, answered)
            case said.TaskFailed():
                self._failed(event)
            case said.TaskInterrupted():
                self._interrupted(event)
            case said.TaskSkipped():
                self._skipped(event)
            case said.TasksReset():
                self._reset(event)
            case said.TaskProgressed():
                if event.saved is not None:
                    self.tasks[event.task].saved = event.saved
            case said.CancelRequested():
                self.cancelled, self.finished = True, False  # a run that ended, but not well, can still be cancelled
            case said.ExecutionFinished():
                self._finished(event)
            case said.CheckpointMade():
                pass

    def _started(self, event: said.ExecutionStarted, granted: int) -> None:
        if event.epoch <= self.epoch or event.epoch != granted:
            raise Violation("I5", f"epoch {event.epoch} starts after {self.epoch}; granted is {granted}")
        self.epoch = event.epoch
        self.status = "running"
        self.cancelled = self.finished = False
        self.limit = event.strategy["max_retry_attempts"]
        self.may_redo = not event.strategy["preserve_completed_tasks"]

    def _running(self, what: str, task: str, attempt: int) -> TaskFacts:
        state = self.tasks[task]
        if state.status != "running" or state.attempt != attempt:
            raise Violation("I2", f"{what} of {task} attempt {attempt}, which is {state.status} at {state.attempt}")
        return state

    def _claimed(self, event: said.TaskClaimed) -> None:
        state = self.tasks[event.task]
        what = f"attempt {event.attempt} of {event.task} is claimed"
        if self.cancelled:
            raise Violation("I12", f"{what} after the cancel")
        if state.status in DONE:
            raise Violation("I1", f"{what}, and it is {state.status}")
        if state.status not in ("pending", "retrying"):
            raise Violation("I8", f"{what}, and it is {state.status}")
        if event.attempt != state.attempt + 1:
            raise Violation("I8", f"{what} after attempt {state.attempt}")
        for need in self.needs(event.task):
            if self.tasks[need].status not in DONE:
                raise Violation("I3", f"{what}, and {need}, which it needs, is {self.tasks[need].status}")
        waited = state.status == "retrying" and state.tries_epoch == self.epoch
        if event.task not in self.scenario.results and not self._may_try(event.task):
            raise Violation("I4", f"{what}: an undisturbed run never gets there")
        if state.tries_epoch != self.epoch:
            state.tries_epoch, state.tries = self.epoch, 0
        state.tries += 1
        state.status, state.attempt, state.retry_at = "running", event.attempt, None
        self.claims[event.task, event.attempt] = ClaimFact(self.seq, self.epoch, waited)

    def least_wait(self, task: str) -> float:
        """Return how many seconds at least lie between a task's failure and its next try in the same run."""
        policy = self.scenario.pipeline.tasks[task].retry
        if policy.jitter:
            return 0.0
        failed = max(self.tasks[task].tries - 1, 1)
        return float(min(policy.max_delay_seconds, policy.delay_seconds * policy.backoff ** (failed - 1)))

    def _may_try(self, task: str) -> bool:
        return all(need in self.scenario.results for need in self.needs(task))

    def _completed(self, event: said.TaskCompleted, answered: Callable[[str, int], Any]) -> None:
        state = self._running("success", event.task, event.attempt)
        if self.claims[event.task, event.attempt].epoch != self.epoch:
            raise Violation("I5", f"{event.task}: an attempt of an earlier owner is recorded as done")
        value = self.decode(event.value)
        answer = answered(event.task, event.attempt)
        if value != answer:
            raise Violation("I2", f"the value of {event.task} is recorded as {value}; attempt made {answer}")
        if value["v"] != self.scenario.results.get(event.task):
            expected = self.scenario.results.get(event.task, "nothing")
            raise Violation("I4", f"{event.task} yields {value['v']}; an undisturbed run has {expected}")
        state.status, state.value, state.saved = "completed", event.value, None

    def _failed(self, event: said.TaskFailed) -> None:
        state = self._running("failure", event.task, event.attempt)
        state.failures += not event.crashed
        state.crashes += event.crashed
        policy = self.scenario.pipeline.tasks[event.task].retry
        limit = max(self.limit, policy.max_attempts) if policy.max_attempts > 1 else self.limit
        used_up = state.failures > limit or state.crashes > CRASHES
        if event.parked != used_up:
            what = "parked" if event.parked else "not parked"
            raise Violation("I8", f"{event.task} is {what} after {state.failures} failures, {state.crashes} crashes")
        wanted = event.crashed or not policy.on or event.error.kind in policy.on
        left = state.tries < policy.max_attempts or (event.crashed and state.tries <= CRASHES)
        again = wanted and left and not used_up
        if (event.retry_at is not None) != again:
            raise Violation("I8", f"{event.task}: try {state.tries} of {policy.max_attempts}, retry {event.retry_at}")
        state.status = "retrying" if again else "parked" if event.parked else "failed"
        state.retry_at = event.retry_at

    def _interrupted(self, event: said.TaskInterrupted) -> None:
        state = self._running("interruption", event.task, event.attempt)
        expected = self.scenario.pipeline.tasks[event.task].on_interrupted.value
        if event.outcome != expected:
            raise Violation("I8", f"{event.task} was interrupted: {event.outcome}, its step says {expected}")
        state.status = {"rerun": "pending", "fail": "failed", "ask": "in_doubt"}[event.outcome]
        state.failures += event.outcome == "fail"

    def _skipped(self, event: said.TaskSkipped) -> None:
        state = self.tasks[event.task]
        if state.status in DONE:
            raise Violation("I2", f"{event.task} is skipped, and it is {state.status}")
        if self.scenario.results.get(event.task, 0) is not None:
            raise Violation("I4", f"{event.task} is skipped; an undisturbed run runs it")
        state.status, state.value = "skipped", None

    def _reset(self, event: said.TasksReset) -> None:
        for name in event.tasks:
            state = self.tasks[name]
            if state.status in DONE:
                if not self.may_redo:
                    raise Violation("I1", f"{name} is {state.status} and is to run again, though nobody asked for it")
                state.value = state.saved = None
            if event.forgive:
                state.failures = state.crashes = 0
            state.status, state.retry_at = "pending", None

    def _finished(self, event: said.ExecutionFinished) -> None:
        self.finished, self.status, self.outputs = True, event.status, event.outputs
        running = [name for name, task in self.tasks.items() if task.status == "running"]
        if running:
            raise Violation("I11", f"the run ends as {event.status} while {', '.join(running)} run")
        complete = self.done_count() == len(self.tasks)
        if (event.status == "completed") != complete and event.status in ("completed", "failed"):
            raise Violation("I11", f"the run ends as {event.status} with {self.done_count()} of {len(self.tasks)} done")
        if event.status == "completed" and self.scenario.pipeline.outputs:
            outputs = None if event.outputs is None else self.decode(event.outputs)
            expected = {name: self.value(name) for name in self.scenario.pipeline.outputs}
            if outputs != expected:
                raise Violation("I2", f"the outputs are {outputs}; recorded results: {expected}")
