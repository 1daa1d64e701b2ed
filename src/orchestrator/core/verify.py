"""Checking a whole store against what we promise: I2, I3, I9, I10, I11."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.core.recovery import load_pipeline, load_state, referenced_values
from orchestrator.domain.events import (
    CheckpointMade,
    DefinitionChanged,
    ExecutionCreated,
    ExecutionFinished,
    ExecutionStarted,
    ExecutionWaiting,
    ResultSet,
    StageEntered,
    TaskClaimed,
    TaskCompleted,
    TaskExpanded,
    TaskGathered,
    TaskReused,
    TasksInvalidated,
    TaskSkipped,
    TasksReset,
    TaskWaiting,
)
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.expansion import Expansion, Graph
from orchestrator.errors import StoreDamaged, StoreIncompatible, UnknownExecution

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.domain.events import Event
    from orchestrator.domain.execution import ExecutionState
    from orchestrator.domain.ids import ExecutionId
    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.domain.values import ValueRef
    from orchestrator.ports.codec import Codec
    from orchestrator.ports.store import ExecutionSummary, Store


async def verify_store(store: Store, codec: Codec, progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Return everything that is wrong with a store; empty means that every promise holds.

    Reads every record and value once; ``progress`` is told how many executions of how many are done.
    """
    problems = await store.check()
    try:
        summaries = await store.summaries()
    except StoreDamaged as error:
        return [*problems, str(error)]
    for done, summary in enumerate(summaries, 1):
        problems += await _verify_execution(store, codec, summary)
        if progress is not None:
            progress(done, len(summaries))
    return problems


async def _verify_execution(store: Store, codec: Codec, summary: ExecutionSummary) -> list[str]:
    name = summary.execution_id
    try:
        state = await load_state(store, codec, name)
        problems = await _verify_history(store, codec, summary)
        problems += await _verify_kept(store, name)
    except UnknownExecution:
        return []  # pruned since the list was made
    except (StoreDamaged, StoreIncompatible) as error:
        return [f"{name}: {error}"]
    for ref in referenced_values(state):
        try:
            codec.decode(await store.get(ref))
        except (StoreDamaged, StoreIncompatible) as error:
            problems.append(f"{name}: {error}")
    if summary.seq == state.seq and summary.status is not state.status and state.pipeline is not None:
        problems.append(f"{name}: the list says {summary.status.value}, the journal {state.status.value} (I11)")
    problems += [f"{name}: {text}" for text in _listed_wrongly(summary, state)]
    if state.status is ExecutionStatus.COMPLETED and not state.complete:
        problems.append(f"{name}: completed with {state.done_count} of {len(state.tasks)} tasks done (I4)")
    return problems


def _listed_wrongly(summary: ExecutionSummary, state: ExecutionState) -> list[str]:
    """Return what the list of executions says otherwise than the journal, which alone is protected by checksums."""
    if summary.seq != state.seq:
        return []  # somebody went on recording between the two looks
    pairs = {
        "pipeline": (summary.pipeline_id, state.pipeline_id),
        "number of steps": (summary.total, state.total),
        "time of creation": (summary.created_at, state.created_at),
        "time of the last change": (summary.updated_at, state.updated_at),
    }
    return [
        f"the list says {what} {said!r}, the journal {true!r} (I11)"
        for what, (said, true) in pairs.items()
        if said != true
    ]


async def _verify_kept(store: Store, name: ExecutionId) -> list[str]:
    """Look at the values that checkpoints keep: all of them, whether they are what a resume needs or not.

    Not decoded: they may be of classes that only the program that kept them knows.
    """
    refs: set[ValueRef] = set()
    async for commit in store.read(name):
        refs.update(event.state for event in commit.events if isinstance(event, CheckpointMade) and event.state)
    problems = []
    for ref in refs:
        try:
            await store.get(ref)
        except (StoreDamaged, StoreIncompatible) as error:
            problems.append(f"{name}: {error}")
    return problems


async def _verify_history(store: Store, codec: Codec, summary: ExecutionSummary) -> list[str]:
    """Walk the facts once more, with the rules that the fold does not enforce."""
    walker = _Walker(summary.execution_id)
    async for commit in store.read(summary.execution_id):
        for seq, event in enumerate(commit.events, commit.first):
            if isinstance(event, (ExecutionCreated, DefinitionChanged)):
                walker.define(event, await load_pipeline(store, codec, event.definition))
            walker.step(seq, event)
    return walker.problems


class _Walker:
    def __init__(self, execution_id: str) -> None:
        self._execution_id = execution_id
        self._graph: Graph = Graph({})
        self._done: set[str] = set()
        self._finished = False
        self._ended = False
        self._ending: set[str] | None = None
        self.problems: list[str] = []

    def _say(self, seq: int, text: str) -> None:
        self.problems.append(f"{self._execution_id}@{seq}: {text}")

    def define(self, event: ExecutionCreated | DefinitionChanged, pipeline: Pipeline | None) -> None:
        """Go over to a definition: what is done stays so, under its new name."""
        if isinstance(event, DefinitionChanged) and pipeline is not None:
            self._graph, former = self._graph.carried_over(pipeline.tasks, event.renamed)
            self._done = {name for name in self._graph if former.get(name, name) in self._done}
        else:
            self._graph = Graph(pipeline.tasks if pipeline is not None else {})

    def step(self, seq: int, event: Event) -> None:
        if isinstance(event, (TasksReset, TasksInvalidated)):
            for name in event.tasks:
                self._undone(name)
        elif isinstance(event, ResultSet):
            self._done.add(event.task)
        elif isinstance(event, (TaskClaimed, TaskWaiting)):
            self._claimed(seq, event)
        elif isinstance(event, TaskExpanded):
            self._expanded(event)
        elif isinstance(event, (TaskCompleted, TaskReused, TaskSkipped, TaskGathered)):
            if event.task in self._done:
                self._say(seq, f"{event.task} is done twice (I2)")
            self._done.add(event.task)
        self._follow(event)

    def _follow(self, event: Event) -> None:
        """Take note of where the run is."""
        if isinstance(event, (ExecutionFinished, ExecutionWaiting)):
            self._finished = True
            self._ended = isinstance(event, ExecutionFinished) and event.status != ExecutionStatus.STOPPED.value
        elif isinstance(event, ExecutionStarted):
            if self._finished and self._ended:
                self._ending = None
            self._finished = False
        elif isinstance(event, StageEntered):
            self._ending = (self._ending or set()) | set(event.tasks)
            self._done.difference_update(event.tasks)

    def _undone(self, name: str) -> None:
        """Take note that a task is done no more, and so neither are the containers that it is in."""
        place: str | None = name
        while place is not None:
            self._done.discard(place)
            place = self._graph[place].within if place in self._graph else None

    def _expanded(self, event: TaskExpanded) -> None:
        """Take note of a container's tasks: what was done under it is looked at again, but for a loop's last rounds."""
        self._graph.expand(event.task, Expansion(tuple(event.keys), event.items, event.mapping, event.branch))
        for key in event.keys:
            for name in self._graph.members(event.task, key, event.branch):
                self._done.discard(name)

    def _claimed(self, seq: int, event: TaskClaimed | TaskWaiting) -> None:
        if event.task in self._done:
            self._say(seq, f"{event.task} is claimed after it was done (I1)")
        needs = self._graph[event.task].needs if event.task in self._graph else ()
        missing = [need for need in needs if need not in self._done]
        if missing:
            self._say(seq, f"{event.task} is claimed before {', '.join(missing)} was done (I3)")
        if self._ending is not None and event.task not in self._ending:
            self._say(seq, f"{event.task} is claimed after the main part ended (I12)")
        if self._finished:
            self._say(seq, f"{event.task} is claimed after the end (I12)")
