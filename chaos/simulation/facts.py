"""The judge's own fold of one journal: what each fact says, and what it must not say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from chaos.simulation.expected import given_to, label_of, reads_of, runs, source_of, undisturbed
from orchestrator.domain import events as said
from orchestrator.domain.ids import TaskId

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from chaos.simulation.scenario import Scenario
    from orchestrator.domain.events import Event
    from orchestrator.domain.pipeline import Task
    from orchestrator.domain.plan import Plan
    from orchestrator.domain.values import ValueRef

CRASHES = 3
"""How many crashes of its worker a task survives (docs/guarantees.md)."""
Call = tuple[str, tuple[tuple[str, str], ...]]
DONE = ("completed", "skipped")
ASKS = ("rerun", "from", "set_result", "pipeline", "follow", "on_change")
"""What a person can ask for that lets finished steps be looked at again."""
TOOL = "simulated"


class Violation(BaseException):
    """An invariant does not hold. Not an Exception: the code under test must not take it for one of its own."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(f"{invariant}: {text}")
        self.invariant = invariant


class Basis(NamedTuple):
    """What a result is computed of: a skipped step's is that it does not run."""

    runs: bool
    action: str | None
    parameters: Any
    call: Call


class Kept(NamedTuple):
    """A result of before, which is in question."""

    status: str
    value: ValueRef | None
    basis: Basis | None
    done_seq: int


class ClaimFact(NamedTuple):
    """Where an attempt was claimed, and of what; ``waited``: after the delay that follows a failure in one run."""

    seq: int
    epoch: int
    waited: bool
    task: Task
    parameters: Mapping[str, Any]


class Planned(NamedTuple):
    """What an owner was told that it is about to do."""

    digest: str
    decisions: dict[str, tuple[str, bool]]

    @classmethod
    def of(cls, plan: Plan) -> Planned:
        """Return what a plan says of each task: the verb, and whether that depends on what comes out."""
        told = {str(each.task): (each.verb.value, each.conditional) for each in plan.decisions}
        return cls(plan.digest, told)


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
    basis: Basis | None = None
    kept: Kept | None = None
    pinned: bool = False
    done_seq: int = 0

    def last(self) -> Kept | None:
        """Return the result that there is or was, until the next attempt."""
        if self.status in DONE:
            return Kept(self.status, self.value, self.basis, self.done_seq)
        return self.kept

    def saved_value(self, decode: Callable[[ValueRef], Any]) -> Any:
        """Return the state that was saved last, or None."""
        return None if self.saved is None else decode(self.saved)


@dataclass
class Facts:
    """One execution's history, folded; raises Violation for a fact that must not be.

    ``call_of`` tells what the tool's call means to the owner of an epoch, ``planned`` what it was told that it is about
    to do, ``versions`` which scenario a definition belongs to, ``past`` what another execution was at a position.
    """

    scenario: Scenario
    decode: Callable[[ValueRef], Any]
    call_of: Callable[[int], Call] = lambda _epoch: ("1", ())
    planned: Callable[[int], Planned | None] = lambda _epoch: None
    versions: Mapping[bytes, Scenario] = field(default_factory=dict)
    past: Callable[[str], Facts] | None = None
    seq: int = 0
    epoch: int = 0
    status: str = "none"
    cancelled: bool = False
    finished: bool = False
    limit: int = 0
    outputs: ValueRef | None = None
    may_redo: bool = False
    request: dict[str, Any] = field(default_factory=dict)
    wanted: set[str] | None = None
    plan: Planned | None = None
    origin: Facts | None = None
    revised: bool = False
    calls: dict[str | None, Call] = field(default_factory=dict)
    before: dict[str, Any] | None = None
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
        definition = self.definition(task)
        return [*reads_of(definition), *definition.dependencies]

    def definition(self, task: str) -> Task:
        """Return a task of the definition that holds now."""
        return self.scenario.pipeline.tasks[TaskId(task)]

    def expected(self, call: Call) -> dict[str, int | None]:
        """Return what an undisturbed run of the present definition ends with, given what people gave by hand."""
        scenario = self.scenario
        given = {name: _number(self.value(name)) for name, task in self.tasks.items() if task.pinned}
        done = [name for name, task in self.tasks.items() if task.status in DONE]
        return undisturbed(
            scenario.pipeline, scenario.behaviours, scenario.inputs, call=said_of(call), given=given, done=done
        )

    def stuck(self) -> list[str]:
        """Return the tasks that wait for somebody to release them, though they could be done."""
        stuck = ("failed", "parked", "in_doubt")
        return [name for name, task in self.tasks.items() if task.status in stuck and not self.is_hopeless(name)]

    def is_hopeless(self, task: str) -> bool:
        """Return whether a task never gets done by itself."""
        return self.scenario.behaviours[label_of(self.definition(task))].hopeless

    # -- folding -------------------------------------------------------------------------------------------------

    def apply(self, event: Event, granted: int, answered: Callable[[str, int], Any]) -> None:  # noqa: C901, PLR0912, PLR0915 - one case a fact
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
            case said.DecisionMade():
                self._decided(event)
            case said.TaskExpanded() | said.TaskGathered() | said.TaskWaiting():
                raise Violation("I4", f"{event.task} holds no other steps and waits for nothing")
            case said.SignalReceived():
                raise Violation("I4", "no signal was sent")
            case said.ExecutionWaiting():
                self.status, self.finished = "waiting", True
            case said.StageEntered():
                raise Violation("I4", f"the stage {event.stage} of a pipeline that has none")
            case said.ToolsResolved():
                for _, action, version, code in event.calls:
                    self.calls[action] = version, tuple(sorted(code.items()))
            case said.ExecutionForked():
                self._forked(event)
            case said.ResumePlanned():
                self._planned(event)
            case said.DefinitionChanged():
                self._redefined(event)
            case said.TasksInvalidated():
                self._invalidated(event)
            case said.TaskReused():
                self._reused(event)
            case said.ResultSet():
                self._set(event)
            case said.CheckpointMade() | said.TaskTraced() | said.DefinitionLoaded() | said.ExecutionLinked():
                pass

    def _started(self, event: said.ExecutionStarted, granted: int) -> None:
        if event.epoch <= self.epoch or event.epoch != granted:
            raise Violation("I5", f"epoch {event.epoch} starts after {self.epoch}; granted is {granted}")
        self.epoch = event.epoch
        self.status = "running"
        self.cancelled = self.finished = False
        self.limit = event.strategy["max_retry_attempts"]
        self.may_redo = not event.strategy["preserve_completed_tasks"]
        self._nothing_lost()
        self.request, self.wanted, self.plan, self.before, self.origin = {}, None, None, None, None

    def _running(self, what: str, task: str, attempt: int) -> TaskFacts:
        state = self.tasks[task]
        if state.status != "running" or state.attempt != attempt:
            raise Violation("I2", f"{what} of {task} attempt {attempt}, which is {state.status} at {state.attempt}")
        return state

    # -- attempts ------------------------------------------------------------------------------------------------

    def now(self, task: str, value: Callable[[str], Any], call: Call) -> Basis:
        """Return what a task would be computed of, with these values of what it reads."""
        definition = self.definition(task)
        if not runs(definition, value):
            return Basis(runs=False, action=None, parameters=None, call=("", ()))
        return Basis(True, definition.action, given_to(definition, value, self.scenario.inputs), call)  # noqa: FBT003

    def _decided(self, event: said.DecisionMade) -> None:
        """Hold what a condition came to against what it comes to of the recorded values."""
        what = f"the {event.kind} of {event.task} comes to {event.value}"
        self._needs_are_done(what, event.task)
        if event.kind != "condition" or (event.value == "true") is not self.now(event.task, self.value, ("", ())).runs:
            raise Violation("I4", f"{what}; in an undisturbed run it does not")

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
        self._needs_are_done(what, event.task)
        basis = self._is_computed_of(what, event)
        if state.kept is not None and state.kept.basis == basis:
            raise Violation("I1", f"{what}, and it is given what its result of before was computed of")
        waited = state.status == "retrying" and state.tries_epoch == self.epoch
        if state.tries_epoch != self.epoch:
            state.tries_epoch, state.tries = self.epoch, 0
        state.tries += 1
        state.status, state.attempt, state.retry_at = "running", event.attempt, None
        state.basis, state.kept, state.pinned = basis, None, False
        definition = self.definition(event.task)
        claim = ClaimFact(self.seq, self.epoch, waited, definition, basis.parameters)
        self.claims[event.task, event.attempt] = claim

    def _is_computed_of(self, what: str, event: said.TaskClaimed) -> Basis:
        """Return what an attempt is computed of, which the journal must say, and the plan must want."""
        basis = self.now(event.task, self.value, self.call_of(self.epoch))
        if not basis.runs:
            raise Violation("I4", f"{what}: its condition is false")
        if self.calls.get(basis.action) != basis.call:
            raise Violation("I4", f"{what}: its call is {basis.call}, recorded is {self.calls.get(basis.action)}")
        if isinstance(event.parameters, tuple) and self.decode(event.parameters) != basis.parameters:
            raise Violation("I4", f"{what} with {self.decode(event.parameters)}; it is given {basis.parameters}")
        if self.wanted is not None and event.task not in self.wanted:
            raise Violation("I1", f"{what}, and only {sorted(self.wanted)} were asked for")
        self._as_planned(what, event.task, ("run", "rerun"))
        return basis

    def _needs_are_done(self, what: str, task: str, *, only_read: bool = False) -> None:
        """Check what a task needs; what keeps its result does not wait for what it only comes after."""
        for need in reads_of(self.definition(task)) if only_read else self.needs(task):
            if self.tasks[need].status not in DONE:
                raise Violation("I3", f"{what}, and {need}, which it needs, is {self.tasks[need].status}")

    def _as_planned(self, what: str, task: str, verbs: tuple[str, ...], *, conditional: bool = False) -> None:
        """Hold what happens to a task against the plan that its owner was told."""
        if self.plan is None:
            return
        verb, depends = self.plan.decisions.get(task, ("nothing", False))
        if verb not in verbs or (conditional and verb == "rerun" and not depends):
            raise Violation("I1", f"{what}, and the plan says {verb}{' if need be' if depends else ''}")

    def least_wait(self, task: str) -> float:
        """Return how many seconds at least lie between a task's failure and its next try in the same run."""
        policy = self.definition(task).retry
        if policy.jitter:
            return 0.0
        failed = max(self.tasks[task].tries - 1, 1)
        return float(min(policy.max_delay_seconds, policy.delay_seconds * policy.backoff ** (failed - 1)))

    def _completed(self, event: said.TaskCompleted, answered: Callable[[str, int], Any]) -> None:
        state = self._running("success", event.task, event.attempt)
        if self.claims[event.task, event.attempt].epoch != self.epoch:
            raise Violation("I5", f"{event.task}: an attempt of an earlier owner is recorded as done")
        value = self.decode(event.value)
        answer = answered(event.task, event.attempt)
        if value != answer:
            raise Violation("I2", f"the value of {event.task} is recorded as {value}; attempt made {answer}")
        if self.is_hopeless(event.task):
            raise Violation("I4", f"{event.task} yields {value['v']}; an undisturbed run has nothing")
        state.status, state.value, state.saved = "completed", event.value, None
        state.done_seq = self.seq

    def _failed(self, event: said.TaskFailed) -> None:
        state = self._running("failure", event.task, event.attempt)
        state.failures += not event.crashed
        state.crashes += event.crashed
        policy = self.definition(event.task).retry
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
        expected = self._when_interrupted(event.task)
        if event.outcome not in expected:
            raise Violation("I8", f"{event.task} was interrupted: {event.outcome}, its step says {expected}")
        state.status = {"rerun": "pending", "fail": "failed", "ask": "in_doubt"}[event.outcome]
        state.failures += event.outcome == "fail"

    def _when_interrupted(self, task: str) -> tuple[str, ...]:
        found = self.definition(task).on_interrupted.value
        # An edited definition may have the step no more, and nothing is left to ask about.
        return (found, "rerun") if "pipeline" in self.request else (found,)

    def _skipped(self, event: said.TaskSkipped) -> None:
        state = self.tasks[event.task]
        if state.status in DONE:
            raise Violation("I2", f"{event.task} is skipped, and it is {state.status}")
        asked = event.task in self.request.get("skip", ())
        if self.origin is not None:
            before = self._forked_from(event.task)
            if before.status != "skipped":
                raise Violation("I2", f"{event.task} is skipped in the fork, and was {before.status}")
            state.pinned = self.origin.tasks[event.task].pinned
            state.basis = before.basis
        elif not asked:
            self._needs_are_done(f"{event.task} is skipped", event.task, only_read=state.kept is not None)
            state.basis = self.now(event.task, self.value, ("", ()))
            if state.basis.runs:
                raise Violation("I4", f"{event.task} is skipped; an undisturbed run runs it")
            self._as_planned(f"{event.task} is skipped", event.task, ("run", "rerun", "skip", "reuse"))
        state.pinned = state.pinned or asked
        state.status, state.value, state.saved, state.kept = "skipped", None, None, None
        state.done_seq = self.seq

    # -- plans ---------------------------------------------------------------------------------------------------

    def _planned(self, event: said.ResumePlanned) -> None:
        self._nothing_lost()
        self.plan, self.request = self.planned(self.epoch), event.request
        self.origin = self.before = None  # in a fork, what it begins with ends here
        if self.plan is None or self.plan.digest != event.digest:
            told = None if self.plan is None else self.plan.digest
            raise Violation("I1", f"plan {event.digest} is recorded, its owner was told {told}")
        self.wanted = None if event.until is None else set(event.until)

    def _look_back(self) -> dict[str, Any]:
        """Return the values that there are or were as the plan's facts begin, by the tasks' present names."""
        if self.before is None:
            found = {name: task.last() for name, task in self.tasks.items()}
            self.before = {
                name: None if last.value is None else self.decode(last.value)
                for name, last in found.items()
                if last is not None
            }
        return self.before

    def _has_changed(self, task: str) -> bool:
        """Return whether a done task would be computed of something else, as far as that can be known beforehand."""
        before, basis = self._look_back(), self.tasks[task].basis
        if any(need not in before for need in reads_of(self.definition(task))):
            return True
        return self.now(task, before.__getitem__, self.call_of(self.epoch)) != basis

    def _reset(self, event: said.TasksReset) -> None:
        self._look_back()
        for name in event.tasks:
            state = self.tasks[name]
            if state.status in DONE or state.kept is not None:
                if not self.may_redo and not self._may_reset(name, state):
                    raise Violation("I1", f"{name} is {state.status} and is to run again, though nobody asked for it")
                if state.status in DONE:
                    state.value = state.saved = None
            if event.forgive:
                state.failures = state.crashes = 0
            state.status, state.retry_at, state.kept, state.pinned = "pending", None, None, False

    def _may_reset(self, name: str, state: TaskFacts) -> bool:
        asked = self.request
        after = asked.get("rerun", ())
        if name in after or (asked.get("downstream") and self._all_needs(name) & set(after)):
            return True
        last = state.last()
        if "from" in asked and last is not None and last.done_seq > asked["from"]:
            return True
        follows = any(key in asked for key in ("pipeline", "follow", "set_result")) or asked.get("on_change") == "rerun"
        return follows and self._has_changed(name)

    def _all_needs(self, task: str) -> set[str]:
        found = {task}
        stack = [task]
        while stack:
            for need in self.needs(stack.pop()):
                if need not in found:
                    found.add(need)
                    stack.append(need)
        return found

    def _invalidated(self, event: said.TasksInvalidated) -> None:
        for name in event.tasks:
            state = self.tasks[name]
            if self.origin is not None and (self.origin.revised or self.origin.tasks[name].kept is not None):
                state.kept = state.last()
                state.status, state.value = "pending", None
            elif state.status in DONE:
                # A fork can begin in the midst of a plan, where somebody's needs run again already.
                open_ = any(self.tasks[need].status not in DONE for need in reads_of(self.definition(name)))
                if not self.may_redo and not open_ and not any(key in self.request for key in ASKS):
                    raise Violation("I1", f"{name} is {state.status} and is in question, though nobody asked for it")
                self._look_back()
                state.kept = state.last()
                state.status, state.value = "pending", None

    def _reused(self, event: said.TaskReused) -> None:
        state = self.tasks[event.task]
        what = f"{event.task} keeps what {event.source} recorded"
        if state.status in DONE:
            raise Violation("I2", f"{what}, and it is {state.status}")
        if self.origin is not None:
            kept = self._forked_from(event.task)
        else:
            if state.kept is None:
                raise Violation("I2", f"{what}, and nothing was kept of it")
            kept = state.kept
            self._needs_are_done(what, event.task, only_read=True)
            if kept.basis != self.now(event.task, self.value, self.call_of(self.epoch)):
                raise Violation("I4", f"{what}, and it is given something else now")
            self._as_planned(what, event.task, ("rerun", "reuse"), conditional=True)
        if kept.status != "completed" or kept.value != event.value:
            raise Violation("I2", f"{what}: {event.value}, and it was {kept.status} with {kept.value}")
        state.status, state.value, state.saved, state.kept, state.pinned = "completed", kept.value, None, None, False
        state.basis = kept.basis
        state.done_seq = self.seq if self.origin is not None else kept.done_seq

    def _set(self, event: said.ResultSet) -> None:
        state = self.tasks[event.task]
        if self.origin is not None:
            was = self.origin.tasks[event.task]
            if not was.pinned or was.value != event.value:
                raise Violation("I2", f"{event.task} is given a result in the fork, and was not so")
        elif event.task not in self.request.get("set_result", ()):
            raise Violation("I2", f"{event.task} is given a result that nobody gave")
        else:
            self._look_back()[event.task] = self.decode(event.value)
        state.status, state.value, state.saved, state.kept, state.pinned = "completed", event.value, None, None, True
        state.basis, state.done_seq = None, self.seq

    def _redefined(self, event: said.DefinitionChanged) -> None:
        scenario = self.versions.get(event.definition.data)
        if scenario is None:
            raise Violation("I4", "the execution goes on with a definition that nobody wrote")
        old, new = self.scenario.pipeline.tasks, scenario.pipeline.tasks
        renamed = {
            str(name): str(task.renamed_from)
            for name, task in new.items()
            if task.renamed_from in old and task.renamed_from not in new
        }
        if event.renamed != renamed or event.total != len(new):
            raise Violation("I4", f"the definition renames {event.renamed}; its author wrote {renamed}")
        if self.decode(event.inputs) != scenario.inputs:
            raise Violation("I4", f"the inputs are {self.decode(event.inputs)} now; they should be {scenario.inputs}")
        self.scenario, self.revised = scenario, True
        known = self.tasks
        self.tasks = {str(name): known.get(renamed.get(name, name)) or TaskFacts() for name in new}

    # -- forks ---------------------------------------------------------------------------------------------------

    def _forked(self, event: said.ExecutionForked) -> None:
        if self.past is None or self.seq != 2:
            raise Violation("I11", f"the execution says at {self.seq} that it is a fork")
        self.origin = self.past(event.source)
        self.request = {"on_change": "rerun"} if event.inputs else {}
        self.revised = self.origin.revised or bool(event.inputs)

    def _nothing_lost(self) -> None:
        """Hold what a fork begins with against what there was, if nothing had been edited there and nothing is here."""
        if self.origin is None or self.revised:
            return
        for name, task in self.origin.tasks.items():
            if task.last() is not None and self.tasks[name].last() is None:
                raise Violation("I2", f"{name} was {task.status}, and its result is lost in the fork")

    def _forked_from(self, task: str) -> Kept:
        last = None if self.origin is None else self.origin.tasks[task].last()
        if last is None:
            raise Violation("I2", f"{task} is done in the fork, and was not at the position it was forked from")
        return last

    # -- the end -------------------------------------------------------------------------------------------------

    def _finished(self, event: said.ExecutionFinished) -> None:
        self.finished, self.status, self.outputs = True, event.status, event.outputs
        running = [name for name, task in self.tasks.items() if task.status == "running"]
        if running:
            raise Violation("I11", f"the run ends as {event.status} while {', '.join(running)} run")
        complete = self.done_count() == len(self.tasks)
        if (event.status == "completed") != complete and event.status in ("completed", "failed"):
            raise Violation("I11", f"the run ends as {event.status} with {self.done_count()} of {len(self.tasks)} done")
        if event.status == "completed":
            self._did_as_planned()
        if event.status == "completed" and self.scenario.pipeline.outputs:
            outputs = None if event.outputs is None else self.decode(event.outputs)
            written = self.scenario.pipeline.outputs
            expected = {name: self.value(source_of(template)) for name, template in written.items()}
            if outputs != expected:
                raise Violation("I2", f"the outputs are {outputs}; recorded results: {expected}")

    def _did_as_planned(self) -> None:
        """Hold a run that came to its end against its plan: what was to run did run."""
        for name, (verb, depends) in self.plan.decisions.items() if self.plan is not None else ():
            state = self.tasks[name]
            ran = state.status == "skipped" or state.tries_epoch == self.epoch
            if verb in ("run", "rerun") and not depends and not ran:
                raise Violation("I1", f"{name} did not run, and the plan said {verb}")


def said_of(call: Call) -> str:
    """Return how results tell what a call means: nothing for the first meaning."""
    return "" if call == ("1", ()) else f" {call}"


def _number(value: Any) -> int | None:
    return None if value is None else int(value["v"])
