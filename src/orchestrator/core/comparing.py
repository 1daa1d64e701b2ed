"""Comparing two positions of executions of one store: both are folded, and what differs is looked into."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.core.collector import collector_paused
from orchestrator.core.ledger import no_checkpoint, unreadable
from orchestrator.core.recovery import load_state, state_at
from orchestrator.domain.changes import differences
from orchestrator.domain.diff import Contents, Diff, Position, TaskDifference, diff_of
from orchestrator.domain.ids import parse_position
from orchestrator.errors import NoCheckpoint, StoreDamaged, StoreIncompatible, UnknownExecution

if TYPE_CHECKING:
    from orchestrator.core.adapters import Records
    from orchestrator.domain.ids import ExecutionId, Seq
    from orchestrator.domain.values import ValueRef

MAX_LOADED = 50
"""Pairs of results that are looked into; those of the tasks that come first."""
MAX_BYTES = 1024 * 1024
"""Size of a value, encoded, up to which it is looked into."""
MAX_CHANGES = 20
"""Parts of one value that are told of."""


async def compare(records: Records, a: str, b: str, *, values: bool) -> Diff:
    """Return what differs from ``a`` to ``b``, each an execution or a checkpoint; changes nothing.

    Loads the inputs, and with ``values`` those results and outputs that differ, as long as they are not too many or too
    large. Raises NoCheckpoint, CheckpointUnreadable, UsageError.
    """
    comparison = _Comparison(records)
    places = parse_position(a), parse_position(b)
    with collector_paused():
        one, other = await comparison.position(*places[0]), await comparison.position(*places[1])
        diff = diff_of(one, other)
    return await comparison.look_into(diff) if values else diff


class _Comparison:
    """Reads what is compared."""

    def __init__(self, records: Records) -> None:
        self._store = records.store
        self._codec = records.codec

    async def position(self, name: ExecutionId, seq: Seq | None) -> Position:
        """Return the state of an execution at a position, and its inputs."""
        store, codec = self._store, self._codec
        try:
            if seq is None:
                state = await load_state(store, codec, name)
            else:
                state = await state_at(store, codec, name, seq)
            inputs = await self._load(state.inputs)
        except UnknownExecution as error:
            raise no_checkpoint(name, "there is no such execution in this store") from error
        except (StoreDamaged, StoreIncompatible) as error:
            raise unreadable(name, error) from error
        if seq is not None and state.seq < seq:
            raise NoCheckpoint(
                f"No resume checkpoint found: no position {seq}: the journal of execution {name!r} has {state.seq} "
                f"facts (`orchestrator checkpoints {name}` lists those to choose from)"
            )
        if state.pipeline is None:
            raise no_checkpoint(name, "it was saved without a pipeline, so that there is nothing to compare")
        return Position(name, state, inputs or {})

    async def look_into(self, diff: Diff) -> Diff:
        """Load what differs, and say where."""
        tasks = list(diff.tasks)
        loaded = 0
        for number, task in enumerate(tasks):
            if task.difference is not TaskDifference.RESULT or task.a is None or task.b is None:
                continue
            if loaded == MAX_LOADED:
                contents = Contents(None, f"only the first {MAX_LOADED} results are looked into")
            else:
                loaded += 1
                contents = await self._contents(task.a.value, task.b.value)
            tasks[number] = task._replace(contents=contents)
        outputs = diff.outputs
        if outputs is not None:
            outputs = await self._contents(diff.a.outputs, diff.b.outputs, absent={})
        return replace(diff, tasks=tuple(tasks), outputs=outputs)

    async def _contents(self, old: ValueRef | None, new: ValueRef | None, absent: Any = None) -> Contents:
        if max((ref.size for ref in (old, new) if ref is not None), default=0) > MAX_BYTES:
            return Contents(None, f"larger than {MAX_BYTES:,} bytes")
        try:
            one, other = await self._load(old, absent), await self._load(new, absent)
        except StoreIncompatible as error:  # a class that only the pipeline's own process has registered
            return Contents(None, str(error))
        return Contents(tuple(differences(one, other, limit=MAX_CHANGES)))

    async def _load(self, ref: ValueRef | None, absent: Any = None) -> Any:
        return absent if ref is None else self._codec.decode(await self._store.get(ref))
