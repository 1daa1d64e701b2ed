"""The ledger: how an execution is admitted, loaded, and owned for a while by somebody who records by hand."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.core.recorder import Recorder
from orchestrator.core.recovery import load_state
from orchestrator.domain.events import (
    CancelRequested,
    DefinitionLoaded,
    Event,
    ExecutionCreated,
    ExecutionFinished,
    ExecutionLinked,
    ExecutionStarted,
)
from orchestrator.domain.execution import ExecutionState, ExecutionStatus
from orchestrator.domain.ids import ExecutionId
from orchestrator.domain.plan import NO_SOURCE, Source
from orchestrator.errors import (
    CheckpointUnreadable,
    NoCheckpoint,
    StoreDamaged,
    StoreIncompatible,
    UnknownExecution,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.adapters import Records
    from orchestrator.core.engine import Engine
    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.domain.values import EncodedValue
    from orchestrator.ports.store import Lease, Place, Store


class Link(NamedTuple):
    """Whose child an execution is: see ExecutionLinked."""

    parent: str
    task: str
    depth: int


class Opening(NamedTuple):
    """What is recorded of an execution with its first fact: the file of its definition, and whose child it is."""

    source: Source = NO_SOURCE
    link: Link | None = None

    def facts(self, at: float) -> list[Event]:
        """Return it as facts."""
        found: list[Event] = [DefinitionLoaded(at, *self.source)] if self.source.path else []
        return found if self.link is None else [*found, ExecutionLinked(at, *self.link)]


NO_OPENING = Opening()


class Ledger:
    """Admits executions and lends them out; by itself it runs none."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._recorders: dict[str, Recorder] = {}

    def engine(self, execution_id: str) -> Engine | None:
        """Return the engine at work on an execution in this process, or None."""
        del execution_id
        return None

    def recorder(self, execution_id: str) -> Recorder | None:
        """Return the recorder held open for a caller's own loop, or None."""
        return self._recorders.get(execution_id)

    def hold(self, recorder: Recorder) -> None:
        """Keep an execution owned for a caller's own loop."""
        self._recorders[recorder.lease.execution_id] = recorder

    def let_go(self, execution_id: str) -> Recorder | None:
        """Forget a recorder that was held."""
        return self._recorders.pop(execution_id, None)

    # -- taking and giving back ---------------------------------------------------------------------------------

    async def admit(
        self,
        pipeline: Pipeline | None,
        pipeline_id: str,
        inputs: Mapping[str, Any],
        execution_id: str,
        origin: str,
        opening: Opening = NO_OPENING,
    ) -> Recorder:
        """Create an execution and own it; durable on return (I0). Raises ExecutionExists."""
        records = self._records
        created, values = self._first_fact(pipeline, pipeline_id, inputs, origin)
        events: list[Event] = [created, *opening.facts(created.at)]
        owner = describe_owner(created.at)
        if origin == "run" and pipeline is not None:
            events.append(ExecutionStarted(created.at, 1, owner, resumed=False, strategy=pipeline.resume.to_dict()))
        lease = await records.store.create(ExecutionId(execution_id), owner, events, values)
        state = ExecutionState(pipeline)
        state.apply_all(events)
        recorder = Recorder(records.store, lease, state, records.listeners)
        recorder.tell(events, 0)
        return recorder

    def _first_fact(
        self, pipeline: Pipeline | None, pipeline_id: str, inputs: Mapping[str, Any], origin: str
    ) -> tuple[ExecutionCreated, list[EncodedValue]]:
        records = self._records
        encoded_inputs = records.codec.encode(dict(inputs))
        values: list[EncodedValue] = [encoded_inputs]
        definition = None
        if pipeline is not None:
            encoded = records.codec.encode_pipeline(pipeline)
            values.append(encoded)
            definition = encoded.ref
        total = len(pipeline.tasks) if pipeline is not None else 0
        now = records.clock.now()
        return ExecutionCreated(now, pipeline_id, definition, encoded_inputs.ref, total, origin), values

    async def submit(
        self, pipeline: Pipeline, inputs: Mapping[str, Any], execution_id: str, place: Place, source: Source = NO_SOURCE
    ) -> None:
        """Create an execution that waits for a server; durable on return (I0). Raises ExecutionExists."""
        created, values = self._first_fact(pipeline, pipeline.id, inputs, "run")
        events: list[Event] = [created, *Opening(source).facts(created.at)]
        await self._records.store.submit(ExecutionId(execution_id), events, values, place)

    async def lay_by(
        self,
        pipeline: Pipeline,
        inputs: Mapping[str, Any],
        execution_id: str,
        source: Source = NO_SOURCE,
        *,
        dropped_by: str | None = None,
    ) -> None:
        """Create an execution that waits for nobody: until somebody enqueues it, or, if ``dropped_by``, cancelled.

        That says who cancelled it, and why. Durable on return (I0). Raises ExecutionExists.
        """
        created, values = self._first_fact(pipeline, pipeline.id, inputs, "run")
        events: list[Event] = [created, *Opening(source).facts(created.at)]
        if dropped_by is not None:
            events.append(CancelRequested(created.at, dropped_by))
            events.append(ExecutionFinished(created.at, ExecutionStatus.CANCELLED.value, None, None))
        owner = describe_owner(created.at)
        lease = await self._records.store.create(ExecutionId(execution_id), owner, events, values)
        await self._records.store.release(lease)

    async def load(self, execution_id: ExecutionId) -> ExecutionState:
        """Return the recorded state of an execution; the errors are those a resume ends with."""
        try:
            return await load_state(self._records.store, self._records.codec, execution_id)
        except UnknownExecution as error:
            raise no_checkpoint(execution_id, "there is no such execution in this store") from error
        except (StoreDamaged, StoreIncompatible) as error:
            raise unreadable(execution_id, error) from error

    async def borrow(self, execution_id: ExecutionId) -> Recorder:
        """Own an execution that nobody works on, to record something by hand; give it back by ``give_back``."""
        records = self._records
        paused_by = (await records.store.summary(execution_id)).paused_by
        lease = await records.store.acquire(execution_id, describe_owner(records.clock.now()))
        try:
            if paused_by is not None:  # it is not resumed: whoever paused it goes on to keep it from servers
                await records.store.request_pause(execution_id, paused_by)
            return await self.recorder_for(lease)
        except BaseException:
            await records.store.release(lease)
            raise

    async def recorder_for(self, lease: Lease) -> Recorder:
        """Return what records under a lease that was granted; raises what ``load`` does."""
        records = self._records
        state = await self.load(lease.execution_id)
        check_epoch(records.store, lease, state)
        state.epoch = lease.epoch
        return Recorder(records.store, lease, state, records.listeners)

    async def give_back(self, recorder: Recorder) -> None:
        """Release what ``borrow`` or ``admit`` took."""
        await self._records.store.release(recorder.lease)


def check_epoch(store: Store, lease: Lease, state: ExecutionState) -> None:
    """Refuse a store that counts fewer owners than its journal: one of then could be taken for one of now.

    Raises LeaseLost where there is nothing wrong with the store: others came after us while we stood still.
    """
    if lease.epoch <= state.epoch:
        store.renew(lease)
        damage = StoreDamaged(
            lease.execution_id, f"it is said to have had {lease.epoch - 1} owners, its journal knows of {state.epoch}"
        )
        raise unreadable(lease.execution_id, damage)


def no_checkpoint(execution_id: str, why: str) -> NoCheckpoint:
    """Return the error for an execution that cannot be resumed, with what to do."""
    return NoCheckpoint(
        f"No resume checkpoint found for execution {execution_id!r}: {why}. Check the id and the store "
        "(`orchestrator list`), that checkpointing was enabled during the execution, and that it was not pruned."
    )


def unreadable(execution_id: str, error: StoreDamaged | StoreIncompatible) -> CheckpointUnreadable:
    """Return the error for a state that exists but cannot be trusted or read, with what to do."""
    return CheckpointUnreadable(
        f"Failed to load resume state of execution {execution_id!r}: {error}. Nothing was run or changed; "
        "check the store with `orchestrator verify`, its file permissions, and the version that wrote it; "
        "what is damaged comes back from a backup, or by running the pipeline anew.",
        error.exit_code,
    )


def describe_owner(now: float) -> str:
    """Describe this process for people."""
    since = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"process {os.getpid()} on {socket.gethostname()} (since {since})"


def process_of(owner: str) -> str:
    """Return of an owner's description the part that tells the process, whatever it owns since when."""
    return owner.partition(" (")[0]
