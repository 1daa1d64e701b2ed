"""The plan of a resume: for each task what will be done and why. What is printed is what is executed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import blake2b
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.domain.events import Event
    from orchestrator.domain.expansion import Graph
    from orchestrator.domain.files import FileSeen
    from orchestrator.domain.fingerprint import Component, Given
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import OnChange, Pipeline
    from orchestrator.domain.strategy import ResumeStrategy
    from orchestrator.domain.tasks import Call
    from orchestrator.domain.values import EncodedValue


class Verb(StrEnum):
    """What a resume does with a task."""

    REUSE = "reuse"
    RERUN = "rerun"
    RUN = "run"
    SKIP = "skip"
    WAIT = "wait"


NOTHING = frozenset({Verb.REUSE, Verb.SKIP})
"""What does nothing; where a step is skipped that was not so far, a fact of the plan says so."""


class Decision(NamedTuple):
    """One line of a plan.

    ``components`` are the parts of the fingerprint that differ. ``conditional``: the task is looked at again once
    what it reads is done, and keeps its result if it would be given the same; ``reason`` names what it waits for.
    """

    task: TaskId
    verb: Verb
    reason: str
    components: tuple[Component, ...] = ()
    conditional: bool = False


class Source(NamedTuple):
    """The file that a definition came from, as recorded (see DefinitionLoaded); ``path`` is empty for none."""

    path: str = ""
    digest: str = ""


NO_SOURCE = Source()


@dataclass(frozen=True, slots=True)
class Revision:
    """An edited definition to go on with: the pipeline, its inputs, both as the store will have them, and its file.

    ``changed_inputs`` are the inputs that are other ones under it: a new default of one that nobody had given.
    """

    pipeline: Pipeline
    definition: EncodedValue
    inputs: EncodedValue
    source: Source = NO_SOURCE
    changed_inputs: tuple[Component, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """What the person asked for.

    - ``revision``: an edited definition; None for the recorded one.
    - ``from_seq``: a position to go back to first: what was done after it runs again (None: the end).
    - ``retry``: failed or parked tasks whose failures are forgiven; ``skip``: tasks to go on without.
    - ``rerun``: tasks to run again although they are done, and with ``downstream`` all that depends on them;
      without, what depends on them runs again only if what it is given changes.
    - ``results``: results given by hand. ``inputs``: those of a fork that are in no store yet.
    - ``until``: run only this task and what it needs (None: everything).
    - ``on_change``: what becomes of a finished task whose fingerprint is another one and that does not say so itself.
      None means rerun under a revision, keep without one: a plain resume repeats nothing.
    - ``follow``: as under a revision, finished tasks follow their changes: the inputs are other ones, or a definition
      was given that is the recorded one.
    - ``strategy``: None means the pipeline's own. ``by`` and ``why`` are for the record.
    """

    revision: Revision | None = None
    from_seq: int | None = None
    retry: frozenset[str] = frozenset()
    skip: frozenset[str] = frozenset()
    rerun: frozenset[str] = frozenset()
    downstream: bool = False
    results: Mapping[str, EncodedValue] = field(default_factory=lambda: MappingProxyType({}))
    inputs: EncodedValue | None = None
    until: str | None = None
    on_change: OnChange | None = None
    follow: bool = False
    strategy: ResumeStrategy | None = None
    by: str = ""
    why: str = ""

    def told(self) -> dict[str, Any]:
        """Return what was asked for, for the record: only what is not as in a plain resume."""
        found: dict[str, Any] = {
            "from": self.from_seq,
            "retry": sorted(self.retry),
            "skip": sorted(self.skip),
            "rerun": sorted(self.rerun),
            "downstream": self.downstream,
            "set_result": sorted(self.results),
            "until": self.until,
            "follow": self.follow,
            "on_change": None if self.on_change is None else self.on_change.value,
            "pipeline": None if self.revision is None else self.revision.source.path or self.revision.pipeline.id,
        }
        return {key: value for key, value in found.items() if value}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is so outside the journal just now, gathered for a plan.

    ``calls``: what each call of the pipeline means. ``given``: what tasks would be given, for those whose text,
    inputs or upstream results may have changed. ``files``: files as they are, by path. ``schema_faults``: how recorded
    results break a new output schema. What is not there is not known, and is not compared. ``execution_id`` is that of
    the plan's execution.
    """

    calls: Mapping[tuple[str, str | None], Call] = field(default_factory=dict)
    given: Mapping[TaskId, Given] = field(default_factory=dict)
    files: Mapping[str, FileSeen] = field(default_factory=dict)
    schema_faults: Mapping[TaskId, str] = field(default_factory=dict)
    execution_id: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The decisions in the pipeline's order, and the facts that carry them out.

    ``removed`` are tasks that an edited definition has no more, with what they were. ``until`` are the only tasks that
    the run is about (None: all). ``definition`` is the digest (or the whole, if it is small) of the definition that it
    goes on with, ``source`` the file that came from. The last decisions, ``later`` of them, are of stages that have not
    begun. ``graph`` holds the tasks.
    """

    decisions: tuple[Decision, ...]
    events: tuple[Event, ...] = field(repr=False)
    removed: tuple[tuple[TaskId, str], ...] = ()
    until: frozenset[TaskId] | None = None
    changed_inputs: tuple[Component, ...] = ()
    definition: bytes = field(default=b"", repr=False)
    source: Source = NO_SOURCE
    pipeline_id: str = ""
    later: int = 0
    graph: Graph | None = field(default=None, repr=False, compare=False)

    def counts(self) -> dict[Verb, int]:
        """Return how many tasks each verb has."""
        return dict(Counter(decision.verb for decision in self.decisions))

    @property
    def changes_nothing(self) -> bool:
        """Whether every task keeps what it has, and nothing else becomes another one."""
        return not self.events and all(decision.verb in NOTHING for decision in self.decisions)

    @property
    def digest(self) -> str:
        """The plan in 16 hexadecimal digits.

        Two plans have the same one if they do the same with the same definition, for the same changes.
        """
        text = "\n".join(
            f"{task}\t{verb}\t{conditional:d}" + "".join(f"\t{each.name}\t{each.now}" for each in components)
            for task, verb, _, components, conditional in self.decisions
        )
        return blake2b(self.definition + text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    def differences(self, other: Plan, show: Callable[[Decision], str], most: int = 5) -> list[str]:
        """Return in words where ``other`` decides differently, at most so many tasks."""
        mine = {decision.task: decision for decision in self.decisions}
        found = []
        for decision in other.decisions:
            known = mine.pop(decision.task, None)
            if known is None or (known.verb, known.conditional) != (decision.verb, decision.conditional):
                found.append(f"{decision.task}: {show(known) if known else 'not there'}, now {show(decision)}")
        found += [f"{task}: {show(known)}, now not there" for task, known in mine.items()]
        return found[:most]
