"""From the journal back to the state: read, verify, fold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.domain.events import DefinitionChanged, ExecutionCreated
from orchestrator.domain.execution import DONE, ExecutionState
from orchestrator.errors import StoreDamaged

if TYPE_CHECKING:
    from orchestrator.domain.ids import ExecutionId
    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.domain.values import ValueRef
    from orchestrator.ports.codec import Codec
    from orchestrator.ports.store import Commit, Store


async def load_pipeline(store: Store, codec: Codec, definition: ValueRef | None) -> Pipeline | None:
    """Return the definition that an execution was started with; None where it never had one."""
    if definition is None:
        return None
    return codec.decode_pipeline(await store.get(definition))


async def created_event(store: Store, execution_id: ExecutionId) -> ExecutionCreated:
    """Return the first fact of an execution; raises UnknownExecution, StoreDamaged."""
    async for commit in store.read(execution_id):
        return _first(execution_id, commit)
    raise StoreDamaged(f"{execution_id}@1", "the journal is empty")


def _first(execution_id: str, commit: Commit) -> ExecutionCreated:
    event = commit.events[0]
    if not isinstance(event, ExecutionCreated):
        raise StoreDamaged(f"{execution_id}@1", f"the first fact is {type(event).__name__}")
    return event


async def load_state(store: Store, codec: Codec, execution_id: ExecutionId) -> ExecutionState:
    """Fold an execution's whole journal: O(its facts), without loading any value.

    Raises UnknownExecution, StoreDamaged (a gap, a wrong checksum, a fact that does not fit), StoreIncompatible.
    """
    commits = store.read(execution_id)
    state: ExecutionState | None = None
    async for commit in commits:
        if state is None:
            first = _first(execution_id, commit)
            state = ExecutionState(await load_pipeline(store, codec, first.definition))
        await _fold(store, codec, execution_id, state, commit)
    if state is None:
        raise StoreDamaged(f"{execution_id}@1", "the journal is empty")
    return state


async def _fold(store: Store, codec: Codec, execution_id: str, state: ExecutionState, commit: Commit) -> None:
    apply = state.apply
    try:
        for event in commit.events:
            if type(event) is DefinitionChanged:
                await offer(store, codec, state, event)
            apply(event)
    except (KeyError, ValueError) as error:
        raise StoreDamaged(
            f"{execution_id}@{state.seq}", f"this fact does not fit the definition: {type(error).__name__} {error}"
        ) from error
    if state.pipeline is not None and state.done_count != commit.completed:
        raise StoreDamaged(
            f"{execution_id}@{state.seq}", f"it counts {commit.completed} tasks done, the facts say {state.done_count}"
        )


async def offer(store: Store, codec: Codec, state: ExecutionState, event: DefinitionChanged) -> None:
    """Give the state the definition that the fact to come goes over to."""
    pipeline = await load_pipeline(store, codec, event.definition)
    if pipeline is not None:
        state.offer(event.definition, pipeline)


async def verify_values(store: Store, codec: Codec, state: ExecutionState) -> None:
    """Read and verify every value that the state refers to; raises StoreDamaged naming the first bad one."""
    for ref in referenced_values(state):
        if not ref.inline:
            codec.decode(await store.get(ref))


def referenced_values(state: ExecutionState) -> list[ValueRef]:
    """Return every value a resume could need."""
    refs = [state.inputs, state.outputs, state.context]
    refs += [expansion.items for expansion in state.graph.expansions.values()]
    for task in state.tasks.values():
        refs.append(task.value)
        refs.append(task.saved)
        if task.kept is not None:
            refs.append(task.kept.value)
    refs += [waiting.parameters for waiting in state.waits.tasks.values()]
    refs += [signal.payload for signal in state.waits.signals()]
    return [ref for ref in refs if ref is not None]


async def state_at(store: Store, codec: Codec, execution_id: ExecutionId, seq: int) -> ExecutionState:
    """Return the state that an execution had at a position; raises what ``load_state`` raises."""
    state: ExecutionState | None = None
    async for commit in store.read(execution_id):
        if state is None:
            state = ExecutionState(await load_pipeline(store, codec, _first(execution_id, commit).definition))
        for event in commit.events:
            if state.seq == seq:
                return state
            if type(event) is DefinitionChanged:
                await offer(store, codec, state, event)
            state.apply(event)
    if state is None:
        raise StoreDamaged(f"{execution_id}@1", "the journal is empty")
    return state


async def results_at(store: Store, codec: Codec, execution_id: ExecutionId, seq: int) -> dict[str, Any]:
    """Return the results of the tasks that were done at a position: task id -> value."""
    state = await state_at(store, codec, execution_id, seq)
    return {
        name: codec.decode(await store.get(task.value)) if task.value is not None else None
        for name, task in state.tasks.items()
        if task.status in DONE
    }
