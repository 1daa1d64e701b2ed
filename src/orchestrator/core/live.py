"""Executions that this process owns right now, and how they are started and taken up again."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.core.collector import collector_paused
from orchestrator.core.engine import Engine
from orchestrator.core.recorder import Recorder
from orchestrator.core.recovery import load_state, state_at, verify_values
from orchestrator.crashpoints import point
from orchestrator.domain.events import CheckpointMade, Event, ExecutionCreated, ExecutionStarted, TaskProgressed
from orchestrator.domain.execution import DONE, ExecutionState, ExecutionStatus
from orchestrator.domain.ids import ExecutionId, checkpoint_id
from orchestrator.domain.plan import Plan, ResumeRequest, plan_resume
from orchestrator.errors import (
    CheckpointUnreadable,
    NoCheckpoint,
    StoreDamaged,
    StoreIncompatible,
    UnknownExecution,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.core.adapters import Adapters
    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.domain.strategy import ResumeStrategy
    from orchestrator.domain.values import EncodedValue
    from orchestrator.ports.codec import Codec
    from orchestrator.ports.store import Lease, Place, Store

_log = logging.getLogger("orchestrator.resume_manager")


class LiveExecutions:
    """Starts executions, takes them up again, and knows those under way in this process."""

    def __init__(self, adapters: Adapters) -> None:
        self._adapters = adapters
        self._engines: dict[str, Engine] = {}
        self._recorders: dict[str, Recorder] = {}

    def engine(self, execution_id: str) -> Engine | None:
        """Return the engine at work on an execution in this process, or None."""
        return self._engines.get(execution_id)

    def engines(self) -> list[Engine]:
        """Return all engines at work in this process."""
        return list(self._engines.values())

    def recorder(self, execution_id: str) -> Recorder | None:
        """Return the recorder held open for a caller's own loop, or None."""
        return self._recorders.get(execution_id)

    def hold(self, recorder: Recorder) -> None:
        """Keep an execution owned for a caller's own loop."""
        self._recorders[recorder.lease.execution_id] = recorder

    def let_go(self, execution_id: str) -> Recorder | None:
        """Forget a recorder that was held."""
        return self._recorders.pop(execution_id, None)

    # -- starting ------------------------------------------------------------------------------------------------

    async def admit(
        self, pipeline: Pipeline | None, pipeline_id: str, inputs: Mapping[str, Any], execution_id: str, origin: str
    ) -> Recorder:
        """Create an execution and own it; durable on return (I0). Raises ExecutionExists."""
        adapters = self._adapters
        created, values = self._first_fact(pipeline, pipeline_id, inputs, origin)
        events: list[Event] = [created]
        owner = describe_owner(created.at)
        if origin == "run" and pipeline is not None:
            events.append(ExecutionStarted(created.at, 1, owner, resumed=False, strategy=pipeline.resume.to_dict()))
        lease = await adapters.store.create(ExecutionId(execution_id), owner, events, values)
        state = ExecutionState(pipeline)
        state.apply_all(events)
        recorder = Recorder(adapters.store, lease, state, adapters.listeners)
        recorder.tell(events, 0)
        return recorder

    def _first_fact(
        self, pipeline: Pipeline | None, pipeline_id: str, inputs: Mapping[str, Any], origin: str
    ) -> tuple[ExecutionCreated, list[EncodedValue]]:
        adapters = self._adapters
        encoded_inputs = adapters.codec.encode(dict(inputs))
        values: list[EncodedValue] = [encoded_inputs]
        definition = None
        if pipeline is not None:
            encoded = adapters.codec.encode_pipeline(pipeline)
            values.append(encoded)
            definition = encoded.ref
        total = len(pipeline.tasks) if pipeline is not None else 0
        now = adapters.clock.now()
        return ExecutionCreated(now, pipeline_id, definition, encoded_inputs.ref, total, origin), values

    async def submit(self, pipeline: Pipeline, inputs: Mapping[str, Any], execution_id: str, place: Place) -> None:
        """Create an execution that waits for a server; durable on return (I0). Raises ExecutionExists."""
        created, values = self._first_fact(pipeline, pipeline.id, inputs, "run")
        await self._adapters.store.submit(ExecutionId(execution_id), [created], values, place)

    async def run(
        self,
        pipeline: Pipeline,
        inputs: Mapping[str, Any],
        execution_id: str,
        admitted: Callable[[Engine], None] | None = None,
    ) -> ExecutionState:
        """Run a pipeline as a new execution to its end; ``admitted`` is called once the execution is durable."""
        recorder = await self.admit(pipeline, pipeline.id, inputs, execution_id, "run")
        return await self._drive(Engine(pipeline, recorder, self._adapters, pipeline.resume), admitted)

    # -- resuming ------------------------------------------------------------------------------------------------

    async def load(self, execution_id: ExecutionId) -> ExecutionState:
        """Return the recorded state of an execution; the errors are those a resume ends with."""
        try:
            return await load_state(self._adapters.store, self._adapters.codec, execution_id)
        except UnknownExecution as error:
            raise no_checkpoint(execution_id, "there is no such execution in this store") from error
        except (StoreDamaged, StoreIncompatible) as error:
            raise unreadable(execution_id, error) from error

    async def plan(
        self, execution_id: ExecutionId, strategy: ResumeStrategy | None, request: ResumeRequest
    ) -> tuple[ExecutionState, Plan]:
        """Return what a resume would do, without owning or changing anything."""
        state = await self.load(execution_id)
        pipeline = _resumable(execution_id, state)
        return state, plan_resume(pipeline, state, strategy or pipeline.resume, request, self._adapters.clock.now())

    async def resume(
        self,
        execution_id: ExecutionId,
        strategy: ResumeStrategy | None,
        request: ResumeRequest,
        *,
        steal: bool = False,
        admitted: Callable[[Engine], None] | None = None,
        planned: Callable[[Plan], None] | None = None,
    ) -> ExecutionState:
        """Take an execution up where it is and run it to its end; a completed one is returned as it is.

        ``planned`` is told the plan before it is carried out. Raises NoCheckpoint, CheckpointUnreadable,
        ExecutionOwned, ResumeError.
        """
        point("before_resume")
        _log.debug("resume of %s: asked", execution_id)
        try:
            lease = await self._adapters.store.acquire(
                execution_id, describe_owner(self._adapters.clock.now()), steal=steal
            )
        except UnknownExecution as error:
            raise no_checkpoint(execution_id, "there is no such execution in this store") from error
        return await self.carry_on(lease, strategy, request, admitted=admitted, planned=planned)

    async def carry_on(
        self,
        lease: Lease,
        strategy: ResumeStrategy | None,
        request: ResumeRequest,
        *,
        admitted: Callable[[Engine], None] | None = None,
        planned: Callable[[Plan], None] | None = None,
    ) -> ExecutionState:
        """Go on under a lease that was granted already, as ``resume`` does; gives it back, however it ends."""
        keeper = self._adapters.keeper
        keeper.keep(lease, _ignore, _ignore)  # a long journal takes longer to read than a short lease lasts
        try:
            with collector_paused():
                engine = await self._take_up(lease, strategy, request, planned)
        except BaseException:
            keeper.drop(lease)
            await _release(self._adapters, lease)
            raise
        if engine is None:
            keeper.drop(lease)
            state = await self.load(lease.execution_id)
            await self._adapters.store.release(lease)
            return state
        point("after_resume")
        return await self._drive(engine, admitted)

    async def _take_up(
        self,
        lease: Lease,
        strategy: ResumeStrategy | None,
        request: ResumeRequest,
        planned: Callable[[Plan], None] | None,
    ) -> Engine | None:
        """Load, verify, plan and record the plan's facts; None if there is nothing to do."""
        adapters = self._adapters
        execution_id = lease.execution_id
        state = await self.load(execution_id)
        _check_epoch(adapters.store, lease, state)
        pipeline = _resumable(execution_id, state)
        strategy = strategy or pipeline.resume
        _log.debug(
            "resume of %s: epoch %d, %d facts, status %s, strategy %s",
            execution_id, lease.epoch, state.seq, state.status.value, strategy,
        )  # fmt: skip
        if strategy.validate_checkpoint_integrity:
            try:
                await verify_values(adapters.store, adapters.codec, state)
            except (StoreDamaged, StoreIncompatible) as error:
                raise unreadable(execution_id, error) from error
            _log.debug("resume of %s: every record and value verified", execution_id)
        redo = request.from_seq is not None or not strategy.preserve_completed_tasks
        if state.status is ExecutionStatus.COMPLETED and not redo:
            _log.debug("resume of %s: completed already, nothing to do", execution_id)
            if request.retry or request.skip:
                plan_resume(pipeline, state, strategy, request, 0.0)  # says what is wrong with the request
            return None
        now = adapters.clock.now()
        plan = plan_resume(pipeline, state, strategy, request, now)
        for decision in plan.decisions if _log.isEnabledFor(logging.DEBUG) else ():
            _log.debug("resume of %s: %s %s: %s", execution_id, decision.verb.value, decision.task, decision.reason)
        if planned is not None:
            planned(plan)
        recorder = Recorder(adapters.store, lease, state, adapters.listeners)
        recorder.record(
            ExecutionStarted(
                now, lease.epoch, describe_owner(now), resumed=lease.epoch > 1, strategy=strategy.to_dict()
            )
        )
        for event in plan.events:
            recorder.record(event)
        if request.from_seq is not None:
            past = await state_at(adapters.store, adapters.codec, execution_id, request.from_seq)
            _restore(recorder, adapters.codec, past, now)
        return Engine(pipeline, recorder, adapters, strategy)

    # -- driving -------------------------------------------------------------------------------------------------

    async def _drive(self, engine: Engine, admitted: Callable[[Engine], None] | None) -> ExecutionState:
        lease = engine.recorder.lease
        adapters = self._adapters
        adapters.keeper.keep(lease, engine.lost, engine.asked)
        self._engines[lease.execution_id] = engine
        try:
            if admitted is not None:
                admitted(engine)
            return await engine.run()
        finally:
            if self._engines.get(lease.execution_id) is engine:  # else it was taken up anew, here, after it was lost
                del self._engines[lease.execution_id]
            adapters.keeper.drop(lease)
            await asyncio.shield(_release(adapters, lease))

    async def borrow(self, execution_id: ExecutionId) -> Recorder:
        """Own an execution that nobody works on, to record something by hand; give it back by ``give_back``."""
        adapters = self._adapters
        paused_by = (await adapters.store.summary(execution_id)).paused_by
        lease = await adapters.store.acquire(execution_id, describe_owner(adapters.clock.now()))
        try:
            if paused_by is not None:  # it is not resumed: whoever paused it goes on to keep it from servers
                await adapters.store.request_pause(execution_id, paused_by)
            return await self.recorder_for(lease)
        except BaseException:
            await adapters.store.release(lease)
            raise

    async def recorder_for(self, lease: Lease) -> Recorder:
        """Return what records under a lease that was granted; raises what ``load`` does."""
        adapters = self._adapters
        state = await self.load(lease.execution_id)
        _check_epoch(adapters.store, lease, state)
        state.epoch = lease.epoch
        return Recorder(adapters.store, lease, state, adapters.listeners)

    async def give_back(self, recorder: Recorder) -> None:
        """Release what ``borrow`` or ``admit`` took."""
        await self._adapters.store.release(recorder.lease)


def _ignore(_told: object) -> None:
    """Do nothing: what is wrong is told again once somebody is there to hear it."""


def _restore(recorder: Recorder, codec: Codec, past: ExecutionState, now: float) -> None:
    """Record as facts what the caller and the unfinished tasks had saved at a position gone back to.

    What they had not is recorded as empty: a fact cannot be taken back, only followed by another.
    """
    state = recorder.state
    if state.context != past.context:
        nothing = codec.encode({}) if past.context is None else None
        ref = nothing.ref if nothing is not None else past.context
        metadata = {"back_to": checkpoint_id(recorder.lease.execution_id, past.seq)}
        recorder.record(CheckpointMade(now, "manual", None, metadata, ref), *([nothing] if nothing is not None else []))
    for name, task in state.tasks.items():
        saved = past.tasks[name].saved
        if task.status in DONE or task.saved == saved:
            continue
        nothing = codec.encode(None) if saved is None else None
        ref = nothing.ref if nothing is not None else saved
        progress = TaskProgressed(now, name, task.attempt, None, None, "", ref)
        recorder.record(progress, *([nothing] if nothing is not None else []))


def _check_epoch(store: Store, lease: Lease, state: ExecutionState) -> None:
    """Refuse a store that counts fewer owners than its journal: one of then could be taken for one of now.

    Raises LeaseLost where there is nothing wrong with the store: others came after us while we stood still.
    """
    if lease.epoch <= state.epoch:
        store.renew(lease)
        damage = StoreDamaged(
            lease.execution_id, f"it is said to have had {lease.epoch - 1} owners, its journal knows of {state.epoch}"
        )
        raise unreadable(lease.execution_id, damage)


async def _release(adapters: Adapters, lease: Lease) -> None:
    try:
        await adapters.store.release(lease)
    except Exception as error:  # noqa: BLE001 - what ended the run matters more, and the lock dies with us anyway
        _log.debug("lease of %s not given back: %s", lease.execution_id, error)


def _resumable(execution_id: str, state: ExecutionState) -> Pipeline:
    if state.pipeline is None:
        raise no_checkpoint(execution_id, "it was saved without a pipeline")
    if not state.pipeline.resume_enabled and state.status is not ExecutionStatus.CREATED:
        raise no_checkpoint(execution_id, "its pipeline disables checkpointing (resume.enabled: false)")
    return state.pipeline


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
