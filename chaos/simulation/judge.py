"""The judge: its own fold of the journal, written apart from the product's, and the invariants over it.

It reads every commit as soon as it is in the store, hears of every effect when it begins, and of everything that is
told. Nothing of ``orchestrator.domain`` but the form of the facts is used here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.simulation.expected import label_of, result_of
from chaos.simulation.facts import Facts, Planned, Violation, said_of
from orchestrator.ports.executor import Succeeded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chaos.simulation.facts import Call
    from chaos.simulation.scenario import Behaviour, Scenario
    from chaos.simulation.world import Process, World
    from orchestrator.domain.events import Event
    from orchestrator.domain.ids import ExecutionId
    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.domain.plan import Plan
    from orchestrator.domain.values import ValueRef
    from orchestrator.ports.executor import Attempt, Outcome
    from orchestrator.ports.store import Commit, Lease

END_SECONDS = 10.0
"""How soon a robbed owner ends once it can run (I5)."""


@dataclass(slots=True)
class Effect:
    """One attempt as the world saw it: who ran it, and what it answered."""

    process: Process
    epoch: int
    value: Any = None
    alive: bool = True
    ended_at: float = 0.0


@dataclass(slots=True)
class Case:
    """One execution under judgement."""

    scenario: Scenario
    facts: Facts
    granted: int = 0
    owner: Process | None = None
    told: int = 0
    removed: bool = False
    lease: Lease | None = None
    given_back: bool = False
    effects: dict[tuple[str, int], Effect] = field(default_factory=dict)
    begun: dict[str, int] = field(default_factory=dict)
    epochs: dict[int, tuple[Process, int, bool]] = field(default_factory=dict)
    plans: dict[int, Planned] = field(default_factory=dict)
    creator: Process | None = None


class Judge:
    """Holds all executions of a world against the invariants; raises Violation at the first breach."""

    def __init__(
        self,
        read: Callable[[str, int], list[Commit]],
        value: Callable[[ValueRef], Any],
        definition: Callable[[Pipeline], bytes],
    ) -> None:
        self._read = read
        self._value = value
        self._definition = definition
        self.cases: dict[str, Case] = {}
        self.world: World
        self.found: Violation | None = None
        self.facts_seen = 0
        self.effects_seen = 0

    def add(self, scenario: Scenario) -> None:
        """Take an execution under judgement."""
        case = self.cases[scenario.execution_id] = Case(scenario, Facts(scenario, self._value))
        case.facts = self._fresh(case)

    def _fresh(self, case: Case) -> Facts:
        versions = {self._definition(each.pipeline): each for each in (case.scenario, *case.scenario.later)}

        def call_of(epoch: int) -> Call:
            process = case.epochs[epoch][0] if epoch else case.creator
            return process.tools.call if process is not None else ("1", ())

        return Facts(case.scenario, self._value, call_of, case.plans.get, versions, self.past)

    def past(self, source: str) -> Facts:
        """Return what an execution was at a position, ``EXECUTION@SEQ``."""
        name, _, seq = source.partition("@")
        case = self.cases[name]
        if int(seq) > case.facts.seq:
            raise self.breach("I1", f"a fork begins at {source}, and there are {case.facts.seq} facts")
        facts = self._fresh(case)
        for event in case.facts.history[: int(seq)]:
            facts.apply(event, getattr(event, "epoch", 0), self._returned(case))
        return facts

    # -- the journal ---------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Read what is new in every journal, and hold it against the invariants."""
        for name, case in self.cases.items():
            if case.removed:
                continue
            for commit in self._read(name, case.facts.seq):
                if commit.first != case.facts.seq + 1:
                    raise self.breach("I11", f"a commit begins at {commit.first}, after fact {case.facts.seq}")
                for event in commit.events:
                    self.facts_seen += 1
                    try:
                        case.facts.apply(event, case.granted, self._returned(case))
                    except Violation as violation:
                        self.found = self.found or violation
                        raise
                done = case.facts.done_count()
                if commit.completed != done:
                    raise self.breach("I11", f"the commit counts {commit.completed} tasks done, the facts say {done}")

    def breach(self, invariant: str, text: str) -> Violation:
        """Return the violation to raise, and keep the first: the code that it passes through may swallow it."""
        violation = Violation(invariant, text)
        self.found = self.found or violation
        return violation

    def _returned(self, case: Case) -> Callable[[str, int], Any]:
        """Return what tells the value that an attempt answered with."""

        def value(task: str, attempt: int) -> Any:
            effect = case.effects.get((task, attempt))
            if effect is None:
                raise self.breach("I2", f"{task} is recorded as done by attempt {attempt}, which never began")
            return effect.value

        return value

    # -- plans ---------------------------------------------------------------------------------------------------

    def planned(self, execution_id: str, epoch: int, plan: Plan) -> None:
        """Hear the plan that an owner is told before it carries it out; epoch 0 is that of who makes a fork."""
        if execution_id in self.cases:
            self.cases[execution_id].plans[epoch] = Planned.of(plan)

    # -- ownership -----------------------------------------------------------------------------------------------

    def granted(self, process: Process, lease: Lease, *, stolen: bool = False) -> None:
        """Hear of a lease: its epoch must be new, and the owner before it gone or given up."""
        case = self.cases.get(lease.execution_id)
        if case is None:
            return
        if process.only_reads == lease.execution_id:
            raise self.breach("I1", f"{process.name} takes over {lease.execution_id}, which it only is to fork")
        if lease.epoch <= case.granted:
            raise self.breach("I5", f"epoch {lease.epoch} is granted after epoch {case.granted}")
        before = case.owner
        if not stolen and case.lease is not None and before is not None and not (before.ended or case.given_back):
            left = case.lease.deadline - self.world.clock.monotonic()
            if left > 0 and not case.facts.finished:
                raise self.breach("I7", f"{process.name} is granted what {before.name} owns for {left:.1f} s more")
        if before is not None and before is not process and not before.dead:
            before.robbed_at = self.world.clock.monotonic()
            before.robbed_of.add(lease.execution_id)
            before.robbed_by_force = before.robbed_by_force or stolen
        case.granted = lease.epoch
        case.owner = process
        case.lease = lease
        case.given_back = False
        process.robbed_of.discard(lease.execution_id)
        if not process.serves or not process.robbed_of:
            process.robbed_at = None
        case.epochs[lease.epoch] = (process, case.facts.seq, stolen)

    def wrote(self, process: Process, lease: Lease) -> None:
        """Hear of an append that the store accepted."""
        case = self.cases.get(lease.execution_id)
        if case is not None and lease.epoch != case.granted:
            raise self.breach("I5", f"{process.name} wrote with epoch {lease.epoch}, {case.granted} is granted")

    def gave_back(self, lease: Lease) -> None:
        """Hear that an owner gives its execution back."""
        case = self.cases.get(lease.execution_id)
        if case is not None and lease.epoch == case.granted:
            case.given_back = True

    def refused(self, process: Process, lease: Lease) -> None:
        """Hear that the store refused an owner: somebody else must have been granted the execution."""
        case = self.cases.get(lease.execution_id)
        if case is not None and not case.removed and lease.epoch == case.granted and not case.given_back:
            raise self.breach("I6", f"{process.name} is refused, and nobody else was granted its execution")

    def woke(self, process: Process) -> None:
        """Hear that a process runs again after it stood still."""
        now = self.world.clock.monotonic()
        if process.robbed_at is not None:
            process.robbed_at = now
            process.overslept = True
        for case in self.cases.values():
            if case.owner is process and case.lease is not None and case.lease.deadline < now:
                process.overslept = True  # whoever comes now may take it over before this one has looked at the time

    def removed(self, execution_ids: Sequence[ExecutionId]) -> None:
        """Hear that executions were removed."""
        for name in execution_ids:
            if name in self.cases:
                self.cases[name].removed = True

    # -- effects -------------------------------------------------------------------------------------------------

    def began(self, process: Process, attempt: Attempt, *, late: bool) -> Behaviour:
        """Hear that an attempt begins; return how it behaves. ``late``: its process stood still right before it."""
        self.effects_seen += 1
        case = self.cases[attempt.execution_id]
        self.look()
        facts, task = case.facts, attempt.task_id
        what = f"{task} attempt {attempt.attempt} in {process.name}"
        claim = facts.claims.get((task, attempt.attempt))
        if claim is None:
            raise self.breach("I8", f"{what} begins without a recorded claim")
        if (task, attempt.attempt) in case.effects:
            raise self.breach("I8", f"{what} begins a second time")
        epoch = claim.epoch
        owner = case.epochs[epoch][0]
        if owner is not process:
            raise self.breach("I5", f"{what} was claimed by {owner.name}")
        robbed = epoch < case.granted
        if robbed and not late and not process.robbed_by_force:
            raise self.breach("I5", f"{what} begins after its process lost the execution")
        if not robbed:
            self._begins_in_order(case, what, attempt)
        case.effects[task, attempt.attempt] = Effect(process, epoch)
        label = label_of(claim.task)
        case.begun[label] = case.begun.get(label, 0) + 1
        if dict(attempt.parameters) != claim.parameters:
            raise self.breach("I3", f"{what} is given {attempt.parameters}; recorded results: {claim.parameters}")
        if attempt.idempotency_key != f"{attempt.execution_id}/{task}":
            raise self.breach("I8", f"{what} has the idempotency key {attempt.idempotency_key}")
        return case.facts.scenario.behaviours[label]

    def _begins_in_order(self, case: Case, what: str, attempt: Attempt) -> None:
        facts, task = case.facts, attempt.task_id
        state = facts.tasks[task]
        if state.status in ("completed", "skipped"):
            raise self.breach("I1", f"{what} begins, and the task is recorded as {state.status}")
        if facts.cancelled:
            raise self.breach("I12", f"{what} begins after the cancel was recorded")
        if state.saved_value(self._value) != attempt.saved:
            raise self.breach("I4", f"{what} goes on from {attempt.saved}, saved was {state.saved_value(self._value)}")
        before = case.effects.get((task, attempt.attempt - 1))
        if before is not None and facts.claims[task, attempt.attempt].waited:
            waited = self.world.clock.monotonic() - before.ended_at
            if waited < facts.least_wait(task) - 1e-6:
                raise self.breach(
                    "I8", f"{what} begins {waited:.3f} s after a failure; {facts.least_wait(task)} s are due"
                )
        for (name, number), effect in case.effects.items():
            if name == task and effect.alive and number != attempt.attempt and not effect.process.stood_still:
                raise self.breach("I7", f"{what} begins while attempt {number} runs in {effect.process.name}")

    def times_begun(self, attempt: Attempt) -> int:
        """Return how often this task was begun, the present attempt included."""
        case = self.cases[attempt.execution_id]
        return case.begun[label_of(case.facts.claims[attempt.task_id, attempt.attempt].task)]

    def value_of(self, process: Process, attempt: Attempt) -> Any:
        """Return what the attempt computes, marked with who made it if its step signs."""
        case = self.cases[attempt.execution_id]
        task = case.facts.claims[attempt.task_id, attempt.attempt].task
        how = case.facts.scenario.behaviours[label_of(task)]
        told = f" {attempt.action}" * bool(attempt.action) + said_of(process.tools.call)
        value = {
            "v": result_of(attempt.task_id, attempt.parameters, told, how.buckets),
            "by": f"{attempt.task_id}.{attempt.attempt}" if how.signed else "",
            "padding": "x" * how.padding,
        }
        case.effects[attempt.task_id, attempt.attempt].value = value
        return value

    def ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """Hear that an attempt ended."""
        effect = self.cases[attempt.execution_id].effects[attempt.task_id, attempt.attempt]
        effect.alive = False
        effect.ended_at = self.world.clock.monotonic()
        if not isinstance(outcome, Succeeded):
            effect.value = None

    def cut_off(self, key: tuple[str, str, int]) -> None:
        """Hear that an attempt died with its process."""
        self.cases[key[0]].effects[key[1], key[2]].alive = False

    # -- what people are told ------------------------------------------------------------------------------------

    def told(self, event: Event, execution_id: str, seq: int) -> None:
        """Hear of a fact that a process told: it must be in the journal, as it was told."""
        case = self.cases[execution_id]
        self.look()
        recorded = case.facts.history[seq - 1] if seq <= case.facts.seq else None
        if recorded != event:
            raise self.breach("I1", f"{type(event).__name__} was told as fact {seq}; recorded there: {recorded}")
        case.told = max(case.told, seq)

    # -- after every step ----------------------------------------------------------------------------------------

    def check(self) -> None:
        """Check what must hold at every moment; raises the first violation that was met anywhere."""
        if self.found is not None:
            raise self.found
        now = self.world.clock.monotonic()
        for process in self.world.processes:
            if process.robbed_at is None or process.ended or process.frozen or process.inside:
                continue
            if process.serves and not any(process.live.engine(name) for name in process.robbed_of):
                process.robbed_at = None  # it goes on with others only
                process.robbed_of.clear()
                continue
            # Whoever cannot reach the store cannot learn of it there; then the end of its lease is its bound.
            if now - max(process.robbed_at, process.store.out_until) > END_SECONDS:
                raise self.breach("I5", f"{process.name} was robbed {now - process.robbed_at:.1f} s ago and goes on")

    def status_seen(self, execution_id: str, completed: int, seq: int) -> None:
        """Hear what a list shows of an execution: one moment of its history."""
        self.look()
        facts = self.cases[execution_id].facts
        if seq != facts.seq or completed != facts.done_count():
            raise self.breach(
                "I11", f"a list shows {completed} done at {seq}; recorded: {facts.done_count()} at {facts.seq}"
            )
