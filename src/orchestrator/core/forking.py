"""Forks: a new execution that begins with what another one had recorded, and leaves that one as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.domain.control import Loop
from orchestrator.domain.events import (
    CONDITION_FALSE,
    CheckpointMade,
    DefinitionLoaded,
    Event,
    ExecutionCreated,
    ExecutionForked,
    ResultSet,
    TaskExpanded,
    TaskGathered,
    TaskProgressed,
    TaskReused,
    TasksInvalidated,
    TaskSkipped,
    TaskTraced,
    ToolsResolved,
)
from orchestrator.domain.execution import ExecutionState, TaskStatus
from orchestrator.domain.ids import checkpoint_id
from orchestrator.domain.revision import called_alike
from orchestrator.domain.values import EncodedValue, ValueRef

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Task
    from orchestrator.domain.tasks import Call, Prior, TaskState
    from orchestrator.domain.values import Stored


@dataclass(frozen=True, slots=True)
class Fork:
    """How a fork comes into being: its first facts, and the values they refer to; ``state`` is their fold."""

    events: list[Event]
    values: list[Stored]
    state: ExecutionState


@dataclass(frozen=True, slots=True)
class Changes:
    """What is other in a fork than in what it begins with: inputs (None: none), their names, who asked, and why."""

    inputs: EncodedValue | None = None
    names: tuple[str, ...] = ()
    by: str = ""
    why: str = ""


def fork_of(source: str, past: ExecutionState, changes: Changes, now: float) -> Fork:
    """Return the fork of a state: O(its tasks), and no value is copied, only referred to.

    ``source`` is the execution that the state is of. Results keep where they came from, so that a plan of the fork
    weighs them as one of the source would; tasks that were running or had failed there are pending here, with what
    they had saved.
    """
    pipeline = past.pipeline
    if pipeline is None or past.inputs is None:
        raise ValueError("only an execution with a definition can be forked")
    past.leave_ending()  # later stages are for the run that they end
    inputs: Stored = changes.inputs if changes.inputs is not None else past.inputs
    inputs_ref = inputs if isinstance(inputs, ValueRef) else inputs.ref
    total = len(past.graph)
    events: list[Event] = [
        ExecutionCreated(now, past.pipeline_id, past.definition, inputs_ref, total, "fork"),
        ExecutionForked(now, checkpoint_id(source, past.seq), list(changes.names), changes.by, changes.why),
    ]
    if past.definition_source:
        events.append(DefinitionLoaded(now, past.definition_source, past.definition_digest))
    if past.context is not None:
        events.append(
            CheckpointMade(now, "manual", None, {"forked_from": checkpoint_id(source, past.seq)}, past.context)
        )
    events += _results(source, past, now)
    state = ExecutionState(pipeline)
    state.apply_all(events)
    refs = {part: None for event in events for part in event if isinstance(part, ValueRef) and not part.inline}
    values: list[Stored] = [ref for ref in refs if changes.inputs is None or ref != changes.inputs.ref]
    if isinstance(inputs, EncodedValue) and not inputs.ref.inline:
        values.append(inputs)
    return Fork(events, values, state)


def _results(source: str, past: ExecutionState, now: float) -> Iterator[Event]:
    """Yield the facts of what each task had, in the order in which they came to be: files are weighed by it."""
    calls: dict[tuple[str, str | None], Call] = {}
    kept: list[TaskId] = []
    tasks = past.graph
    yield from _expansions(past, now)
    for name, known in sorted(past.tasks.items(), key=_came_to_be):
        prior = known.prior
        if _is_undone(name, past):
            continue
        if tasks[name].control is not None and prior is not None and prior.value is None:
            yield from _gathered(past, name, known, prior, now)
            continue
        if prior is None:
            if known.saved is not None:
                done, total, message = known.progress or (None, None, "")
                yield TaskProgressed(now, name, 0, done, total, message, known.saved)
            continue
        if _is_of_another_definition(tasks[name], known, prior):
            continue
        if known.kept is not None or _is_in_question(tasks[name], known):
            kept.append(name)
        call = tasks[name].tool, tasks[name].action
        if prior.call is not None and calls.get(call) != prior.call:
            calls[call] = prior.call
            yield ToolsResolved(now, [(*call, prior.call.version, dict(prior.call.code))])
        yield from _result(source, name, known, prior, now)
    if kept:
        yield TasksInvalidated(now, kept, "what they are given may have changed")


def _expansions(past: ExecutionState, now: float) -> Iterator[Event]:
    """Yield what the containers were expanded to, the outer ones first; those that begin anew do so here as well."""
    for name in past.graph:
        expansion = past.graph.expansions.get(name)
        if expansion is None or past.groups[name].closed:
            continue
        rounds = isinstance(past.graph[name].control, Loop)
        for keys in [[key] for key in expansion.keys] if rounds and expansion.keys else [list(expansion.keys)]:
            made_of = expansion.items, expansion.mapping, expansion.branch
            yield TaskExpanded(now, name, keys, *made_of, len(past.graph))


def _is_undone(name: TaskId, past: ExecutionState) -> bool:
    """Tell whether a task is in a container that is not expanded in the fork."""
    within = past.tasks[name].within
    while within is not None:
        if past.groups[within].closed or past.tasks[name].item >= past.groups[within].count:
            return True
        name, within = within, past.tasks[within].within
    return False


def _gathered(past: ExecutionState, name: TaskId, known: TaskState, prior: Prior, now: float) -> Iterator[Event]:
    """Yield that a container is done; not of one that lost some of its items: those are tried again in the fork."""
    if prior.status is TaskStatus.SKIPPED:
        yield TaskSkipped(now, name, known.pinned or CONDITION_FALSE)
    elif known.kept is None and not past.lost_keys(name):
        yield TaskGathered(now, name, [])


def _came_to_be(item: tuple[TaskId, TaskState]) -> int:
    prior = item[1].prior
    return item[1].seq if prior is None else prior.seq


def _is_in_question(task: Task, known: TaskState) -> bool:
    """Tell whether a result was computed under a text or inputs that are other ones by now, and nobody settled that.

    What it was computed under is not known of a result that is taken over: it is weighed by its recorded parameters.
    """
    if known.pinned:
        return False
    stale = known.stale and (task.reads is not None or (known.trace is not None and known.trace.inputs))
    return stale or (known.under is not None and not called_alike(known.under, task))


def _is_of_another_definition(task: Task, known: TaskState, prior: Prior) -> bool:
    """Tell whether a result in question is of no use here, since its parameters alone do not tell enough."""
    if not _is_in_question(task, known):
        return False
    under = known.under
    if under is not None and (
        prior.parameters is None
        or (under.tool, under.action, under.files.reads) != (task.tool, task.action, task.files.reads)
    ):
        return prior.status is not TaskStatus.SKIPPED
    return known.stale and prior.trace is not None and prior.trace.inputs


def _result(source: str, name: TaskId, known: TaskState, prior: Prior, now: float) -> Iterator[Event]:
    if prior.status is TaskStatus.SKIPPED or prior.value is None:
        yield TaskSkipped(now, name, known.pinned or CONDITION_FALSE)
    elif known.pinned:
        yield ResultSet(now, name, prior.value, known.pinned.removeprefix("given by "), "")
    else:
        if prior.trace is not None:
            reads, writes = list(prior.trace.reads), list(prior.trace.writes)
            yield TaskTraced(now, name, known.attempt, reads, writes, prior.trace.inputs)
        origin = prior.source or checkpoint_id(source, prior.seq)
        yield TaskReused(now, name, prior.value, prior.parameters, origin)
