"""The judgement on a trial: what the logs and the stores tell, against the invariants of docs/guarantees.md.

The store is looked at as it was at each kill (a copy made while nobody was at work) and as it is at the end.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.effects import Effect, Told, digest_of, read_effects, read_told
from chaos.workload import planned_attempts
from orchestrator.core.recovery import load_state
from orchestrator.core.system import SystemChance, SystemClock
from orchestrator.core.verify import verify_store
from orchestrator.domain.events import (
    ExecutionStarted,
    TaskClaimed,
    TaskCompleted,
    TaskProgressed,
    TaskSkipped,
)
from orchestrator.errors import StoreDamaged
from orchestrator.state.url import StoreOptions, open_store
from orchestrator.state.valuecodec import ValueCodec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.domain.events import Event
    from orchestrator.domain.values import ValueRef

STORE = "store.db"
Violation = list[str]
"""An invariant's name, and what breaks it."""


@dataclass
class Seen:
    """What a store holds of the trial's execution. ``found`` is False where it is absent."""

    found: bool = False
    problems: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    status: str = ""
    statuses: dict[str, str] = field(default_factory=dict)
    outputs: Any = None
    values: dict[str, Any] = field(default_factory=dict)
    saved: dict[str, Any] = field(default_factory=dict)

    def done(self) -> dict[str, int]:
        """Return the tasks that are done, with the attempt that did it (0: skipped)."""
        found = {}
        for event in self.events:
            if isinstance(event, TaskCompleted):
                found[str(event.task)] = event.attempt
            elif isinstance(event, TaskSkipped):
                found[str(event.task)] = 0
        return found

    def claims(self) -> dict[tuple[str, int], int]:
        """Return the claimed attempts, with the seq of each claim."""
        return {
            (str(event.task), event.attempt): seq
            for seq, event in enumerate(self.events, 1)
            if isinstance(event, TaskClaimed)
        }


async def open_and_see(url: str) -> Seen:
    """Read everything that a store holds, and verify it."""
    codec = ValueCodec()
    store = open_store(url, StoreOptions(Path("/"), SystemClock(), SystemChance()))
    try:
        seen = Seen(problems=await verify_store(store, codec))
        summaries = await store.summaries()
        if not summaries:
            return seen
        seen.found = True
        summary = summaries[0]
        if len(summaries) > 1:
            seen.problems.append(f"{len(summaries)} executions, though only one was started (I15)")
        async for commit in store.read(summary.execution_id):
            seen.events += commit.events
        state = await load_state(store, codec, summary.execution_id)

        async def load(ref: ValueRef | None) -> Any:
            return None if ref is None else codec.decode(await store.get(ref))

        seen.status = state.status.value
        seen.statuses = {str(name): task.status.value for name, task in state.tasks.items()}
        seen.outputs = await load(state.outputs)
        for name, task in state.tasks.items():
            if task.value is not None:
                seen.values[str(name)] = await load(task.value)
            if task.saved is not None:
                seen.saved[str(name)] = await load(task.saved)
        return seen
    finally:
        await store.close()


async def look(folder: Path, store: str) -> dict[str, Any]:
    """Return what every undisturbed run must end with: outputs, statuses, and a digest of each step's data."""
    seen = await open_and_see(store)
    return {
        "outputs": seen.outputs,
        "statuses": seen.statuses,
        "digests": {name: digest_of(value["data"]) for name, value in seen.values.items()},
        "problems": seen.problems,
        "attempts": Counter(effect.task for effect in _begins(read_effects(folder / "effects.log"))),
    }


async def audit(folder: Path, store: str, facts: dict[str, Any]) -> list[Violation]:
    """Judge a trial by the logs in its folder and by its store.

    ``facts``: ``reference`` (what ``look`` returned for an undisturbed run) and ``stages``, one for each process
    that was at work and then killed or done: ``killed``, ``effects`` and ``told`` (lengths of the logs at its end)
    and ``snapshot`` (the URL of a copy of the store as it was then, None if there is no copy). ``takeovers`` counts
    kills and takeovers beyond those. ``zombie`` is the pid of an owner that was stopped, robbed, and woken.
    """
    judge = _Judge(folder, store, facts)
    try:
        for number, stage in enumerate(facts["stages"], 1):
            if stage["snapshot"]:
                await judge.at_kill(number, stage)
        await judge.at_end()
    except StoreDamaged as error:
        judge.violations.append(["I10", f"what was written cannot be read: {error}"])
    return judge.violations


class _Judge:
    def __init__(self, folder: Path, store: str, facts: dict[str, Any]) -> None:
        self._store = store
        self._reference = facts["reference"]
        self._stages = facts["stages"]
        self._takeovers = facts.get("takeovers", 0)
        self._zombie = facts.get("zombie")
        self._log = folder / "effects.log"
        self._told = folder / "told.log"
        self._effects = read_effects(self._log)
        self._before = Seen()
        self.violations: list[Violation] = []

    def _say(self, invariant: str, text: str) -> None:
        self.violations.append([invariant, text])

    # -- at a kill -----------------------------------------------------------------------------------------------

    async def at_kill(self, number: int, stage: dict[str, Any]) -> None:
        where = f"kill {number}"
        seen = await open_and_see(stage["snapshot"])
        effects = read_effects(self._log, stage["effects"])
        later = self._effects[len(effects) :]
        told = read_told(self._told, stage["told"])
        self._integrity(where, seen)
        if not seen.found:
            if effects or told or self._before.found:
                self._say(
                    "I0", f"{where}: the execution is unknown, after {len(told)} facts and {len(effects)} effects"
                )
            return
        claims, done = seen.claims(), seen.done()
        for effect in _begins(effects):
            if (effect.task, effect.attempt) not in claims:
                self._say("I8", f"{where}: {effect.task} attempt {effect.attempt} ran without a recorded claim")
        self._acknowledged(where, seen, told)
        for effect in _begins(later):
            if effect.task in done and effect.pid != self._zombie:
                self._say("I1", f"{where}: {effect.task} was done, and attempt {effect.attempt} ran after that")
        self._saved(where, seen, later)

    def _acknowledged(self, where: str, seen: Seen, told: list[Told]) -> None:
        """Check that what was told is there, as it was told."""
        for line in told:
            fact = seen.events[line.seq - 1] if line.seq <= len(seen.events) else None
            if type(fact).__name__ != line.event or str(getattr(fact, "task", "-")) != line.task:
                self._say("I1", f"{where}: {line.event} {line.task} was told as fact {line.seq}, and is lost")

    def _integrity(self, where: str, seen: Seen) -> None:
        for problem in seen.problems:
            self._say("verify", f"{where}: {problem}")
        length = len(self._before.events)
        if seen.events[:length] != self._before.events:
            self._say("I11", f"{where}: history was rewritten: it is no continuation of what it was before")
        self._before = seen

    def _saved(self, where: str, seen: Seen, later: list[Effect]) -> None:
        """Check that the next attempt of a step goes on from the last saved state that is recorded."""
        first: dict[str, Effect] = {}
        for effect in _begins(later):
            if effect.pid != self._zombie:
                first.setdefault(effect.task, effect)
        recorded = {str(event.task) for event in seen.events if isinstance(event, TaskProgressed) and event.saved}
        for task in recorded & set(first):
            found = first[task].details["saved"]
            if found != seen.saved.get(task):
                self._say("I4", f"{where}: {task} had saved {seen.saved.get(task)}, and goes on from {found}")

    # -- at the end ----------------------------------------------------------------------------------------------

    async def at_end(self) -> None:
        seen = await open_and_see(self._store)
        self._integrity("end", seen)
        if not seen.found:
            self._say("I0", "the execution is unknown at the end")
            return
        self._acknowledged("end", seen, read_told(self._told))
        self._same_end(seen)
        self._accounts(seen)
        self._one_success(seen)
        self._exclusion()
        self._epochs(seen)

    def _same_end(self, seen: Seen) -> None:
        reference = self._reference
        if seen.status != "completed":
            self._say("I4", f"it ended {seen.status}")
        if seen.outputs != reference["outputs"]:
            self._say("I4", f"outputs {seen.outputs}, undisturbed {reference['outputs']}")
        if seen.statuses != reference["statuses"]:
            self._say("I4", f"statuses {seen.statuses}, undisturbed {reference['statuses']}")
        digests = {name: digest_of(value["data"]) for name, value in seen.values.items()}
        if digests != reference["digests"]:
            wrong = [name for name in digests if digests[name] != reference["digests"].get(name)]
            self._say("I4", f"other results than undisturbed: {', '.join(wrong) or 'some are missing'}")

    def _accounts(self, seen: Seen) -> None:
        """Check I8: each attempt was claimed, none ran twice, and there are no more than kills explain."""
        claims = seen.claims()
        begun = Counter((effect.task, effect.attempt) for effect in _begins(self._effects))
        for (task, attempt), times in begun.items():
            if (task, attempt) not in claims:
                self._say("I8", f"{task} attempt {attempt} ran without a recorded claim")
            if times > 1:
                self._say("I8", f"{task} attempt {attempt} ran {times} times")
        kills = sum(stage["killed"] for stage in self._stages) + self._takeovers
        runs = Counter(effect.task for effect in _begins(self._effects))
        numbers: dict[str, list[int]] = defaultdict(list)
        for task, attempt in claims:
            numbers[task].append(attempt)
        for task in seen.statuses:
            allowed = planned_attempts(task) + (kills if planned_attempts(task) else 0)
            if runs[task] > allowed or len(numbers[task]) > allowed:
                self._say("I8", f"{task} ran {runs[task]} times ({len(numbers[task])} attempts) with {kills} kills")
            if numbers[task] != list(range(1, len(numbers[task]) + 1)):
                self._say("I8", f"the attempts of {task} are numbered {numbers[task]}")
        for effect in self._effects:
            if not effect.key.endswith(f"/{effect.task}"):
                self._say("I8", f"{effect.task} had the idempotency key {effect.key}")

    def _one_success(self, seen: Seen) -> None:
        """Check I2 and I3: one recorded success, whose value is the one that attempt made and every reader read."""
        ends = {(e.task, e.attempt): (number, e) for number, e in enumerate(self._effects) if e.what == "end"}
        successes = Counter(str(event.task) for event in seen.events if isinstance(event, TaskCompleted))
        by = {}
        when = {}
        for task, attempt in seen.done().items():
            if attempt == 0:
                continue
            if successes[task] > 1:
                self._say("I2", f"{task} is recorded as successful {successes[task]} times")
            value = seen.values.get(task)
            number, end = ends.get((task, attempt), (-1, None))
            if end is None or value is None:
                self._say("I2", f"{task} is recorded as done by attempt {attempt}, which did not end")
                continue
            if (value["by"], digest_of(value["data"])) != (end.details["by"], end.details["digest"]):
                self._say("I2", f"the recorded value of {task} was made by {value['by']}, not {end.details['by']}")
            by[task] = value["by"]
            when[task] = number
        for number, effect in enumerate(self._effects):
            for read, made_by in effect.details.get("reads", {}).items():
                if by.get(read) != made_by:
                    self._say("I3", f"{effect.task} read {read} as made by {made_by}, recorded is {by.get(read)}")
                if when.get(read, -1) > number:
                    self._say("I3", f"{effect.task} attempt {effect.attempt} began before {read} had ended")

    def _exclusion(self) -> None:
        """Check I7: nothing is heard of an attempt after the next attempt of its task began."""
        latest: dict[str, int] = {}
        for effect in self._effects:
            if effect.pid == self._zombie:
                continue  # it was robbed by force, before its lease was over: it may still be at what it had begun
            if effect.attempt < latest.get(effect.task, 0):
                self._say("I7", f"{effect.task} attempt {effect.attempt} still ran after attempt {latest[effect.task]}")
            latest[effect.task] = max(latest.get(effect.task, 0), effect.attempt)

    def _epochs(self, seen: Seen) -> None:
        epochs = [event.epoch for event in seen.events if isinstance(event, ExecutionStarted)]
        if epochs != sorted(set(epochs)):
            self._say("I5", f"owners took over in the order {epochs}")
        if self._zombie is None or len(epochs) < 2:
            return
        takeover = max(seq for seq, event in enumerate(seen.events, 1) if isinstance(event, ExecutionStarted))
        claims = seen.claims()
        for effect in _begins(self._effects):
            if effect.pid == self._zombie and claims.get((effect.task, effect.attempt), 0) > takeover:
                self._say("I5", f"the robbed owner ran {effect.task} attempt {effect.attempt}, claimed by its heir")
        for event in seen.events[takeover:]:
            if isinstance(event, TaskCompleted):
                value = seen.values.get(str(event.task))
                if value is not None and value["by"].split(".")[1] == str(self._zombie):
                    self._say("I5", f"the value of {event.task} was recorded for the robbed owner after the takeover")


def _begins(effects: Iterable[Effect]) -> list[Effect]:
    return [effect for effect in effects if effect.what == "begin"]
