"""Executions that this process owns right now, and how they are started and taken up again."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from orchestrator.core.collector import collector_paused
from orchestrator.core.engine import Engine
from orchestrator.core.evidence import gather
from orchestrator.core.ledger import (
    NO_OPENING,
    Ledger,
    Opening,
    check_epoch,
    describe_owner,
    no_checkpoint,
    unreadable,
)
from orchestrator.core.recorder import Recorder
from orchestrator.core.recovery import state_at, verify_values
from orchestrator.crashpoints import point
from orchestrator.domain.events import (
    PROCESS_ENDED,
    CancelRequested,
    CheckpointMade,
    DefinitionChanged,
    ExecutionFinished,
    ExecutionStarted,
    ResultSet,
    ResumePlanned,
    TaskInterrupted,
    TaskProgressed,
    TaskTraced,
)
from orchestrator.domain.execution import DONE, ExecutionState, ExecutionStatus
from orchestrator.domain.ids import ExecutionId, checkpoint_id
from orchestrator.domain.plan import Plan, PlanRequest
from orchestrator.domain.planner import interruption, plan
from orchestrator.domain.strategy import ResumeStrategy
from orchestrator.errors import (
    StoreDamaged,
    StoreIncompatible,
    UnknownExecution,
)
from orchestrator.ports.store import Admission

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from orchestrator.core.adapters import Adapters
    from orchestrator.core.forking import Fork
    from orchestrator.domain.events import Event
    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.domain.values import EncodedValue
    from orchestrator.ports.codec import Codec
    from orchestrator.ports.store import Lease

_log = logging.getLogger("orchestrator.resume_manager")


class LiveExecutions(Ledger):
    """Starts executions, takes them up again, and knows those under way in this process."""

    def __init__(self, adapters: Adapters) -> None:
        super().__init__(adapters)
        self._adapters = adapters
        self._engines: dict[str, Engine] = {}

    def engine(self, execution_id: str) -> Engine | None:
        """Return the engine at work on an execution in this process, or None."""
        return self._engines.get(execution_id)

    def engines(self) -> list[Engine]:
        """Return all engines at work in this process."""
        return list(self._engines.values())

    # -- starting ------------------------------------------------------------------------------------------------

    async def run(
        self,
        pipeline: Pipeline,
        inputs: Mapping[str, Any],
        execution_id: str,
        admitted: Callable[[Engine], None] | None = None,
        opening: Opening = NO_OPENING,
        *,
        letting_go: bool = False,
    ) -> ExecutionState:
        """Run a pipeline as a new execution to its end; ``admitted`` is called once the execution is durable.

        ``opening`` is what is recorded of it to begin with. ``letting_go``: leave it waiting once nothing but waits is
        left in it, rather than wait with it.
        """
        await self._demand(pipeline, inputs)
        recorder = await self.admit(pipeline, pipeline.id, inputs, execution_id, "run", opening)
        engine = Engine(pipeline, recorder, self._adapters, pipeline.resume)
        return await self._drive(engine, admitted, letting_go=letting_go)

    # -- resuming ------------------------------------------------------------------------------------------------

    async def plan(self, execution_id: ExecutionId, request: PlanRequest) -> Plan:
        """Return what a resume would do, without owning or changing anything."""
        return await self.plan_for(execution_id, await self.load(execution_id), request)

    async def plan_for(self, execution_id: str, state: ExecutionState, request: PlanRequest) -> Plan:
        """Return the plan over a state: the one road to a plan, whoever asks and whatever for."""
        recorded = _resumable(execution_id, state)
        pipeline = recorded if request.revision is None else request.revision.pipeline
        evidence = await gather(self._adapters, execution_id, state, pipeline, request)
        return plan(pipeline, state, request, evidence, self._adapters.clock.now())

    async def resume(
        self,
        execution_id: ExecutionId,
        request: PlanRequest,
        *,
        steal: bool = False,
        admitted: Callable[[Engine], None] | None = None,
        planned: Callable[[Plan], None] | None = None,
        letting_go: bool = False,
    ) -> ExecutionState:
        """Take an execution up where it is and run it to its end; one with nothing to run is returned as it is.

        ``planned`` is told the plan before anything is recorded of it, and may raise to refuse it. ``letting_go`` as
        with ``run``. Raises NoCheckpoint, CheckpointUnreadable, ExecutionOwned, ResumeError.
        """
        point("before_resume")
        _log.debug("resume of %s: asked", execution_id)
        try:
            lease = await self._adapters.store.acquire(
                execution_id, describe_owner(self._adapters.clock.now()), steal=steal
            )
        except UnknownExecution as error:
            raise no_checkpoint(execution_id, "there is no such execution in this store") from error
        return await self.carry_on(lease, request, admitted=admitted, planned=planned, letting_go=letting_go)

    async def carry_on(
        self,
        lease: Lease,
        request: PlanRequest,
        *,
        admitted: Callable[[Engine], None] | None = None,
        planned: Callable[[Plan], None] | None = None,
        letting_go: bool = False,
    ) -> ExecutionState:
        """Go on under a lease that was granted already, as ``resume`` does; gives it back, however it ends."""
        keeper = self._adapters.keeper
        keeper.keep(lease, _ignore, _ignore)  # a long journal takes longer to read than a short lease lasts
        try:
            with collector_paused():
                engine = await self._take_up(lease, request, planned)
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
        return await self._drive(engine, admitted, letting_go=letting_go)

    async def end(self, execution_id: ExecutionId, by: str) -> ExecutionState:
        """Cancel an execution that nobody is at work on, and carry out the stages that come after that."""
        adapters = self._adapters
        lease = await adapters.store.acquire(execution_id, describe_owner(adapters.clock.now()))
        try:
            recorder = await self.recorder_for(lease)
            now, pipeline = adapters.clock.now(), _resumable(execution_id, recorder.state)
            strategy = pipeline.resume
            recorder.record(
                ExecutionStarted(now, lease.epoch, describe_owner(now), resumed=True, strategy=strategy.to_dict())
            )
            if not recorder.state.ending:
                recorder.record(CancelRequested(now, by))
            record_interruptions(recorder, now)
            engine = Engine(pipeline, recorder, adapters, strategy)
        except BaseException:
            await _release(adapters, lease)
            raise
        return await self._drive(engine, None, letting_go=False)

    async def revise(
        self, execution_id: ExecutionId, request: PlanRequest, planned: Callable[[Plan], None] | None = None
    ) -> Plan:
        """Record what a plan begins with, and leave the execution stopped: the run itself is left to whoever resumes.

        Raises what ``resume`` raises.
        """
        try:
            recorder = await self.borrow(execution_id)
        except UnknownExecution as error:
            raise no_checkpoint(execution_id, "there is no such execution in this store") from error
        try:
            found = await self._plan_and_record(recorder, request, planned)
            if found is None:
                return await self.plan_for(execution_id, recorder.state, request)
            recorder.record(ExecutionFinished(self._adapters.clock.now(), ExecutionStatus.STOPPED.value, None, None))
            await recorder.flush()
        finally:
            await self.give_back(recorder)
        return found

    async def create_fork(
        self,
        execution_id: ExecutionId,
        fork: Fork,
        request: PlanRequest,
        planned: Callable[[Plan], None] | None = None,
    ) -> Plan:
        """Create a fork, with the facts that its plan begins with, in one transaction; nobody owns it afterwards.

        Raises ExecutionExists; ValueGone if what it begins with was removed meanwhile.
        """
        adapters, state = self._adapters, fork.state
        found = await self.plan_for(execution_id, state, request)
        if planned is not None:
            planned(found)
        events, values = list(fork.events), list(fork.values)
        for event, more in _plan_facts(found, request, state, adapters.clock.now(), resumed=False):
            state.apply(event)
            events.append(event)
            values += [value for value in more if not value.ref.inline]
        traced = [seen.path for event in events if isinstance(event, TaskTraced) for seen in event.writes]
        if traced:
            await asyncio.to_thread(adapters.files.hold, adapters.project, traced, execution_id)
        owner = describe_owner(adapters.clock.now())
        admission = Admission(completed=state.done_count)
        lease = await adapters.store.create(execution_id, owner, events, values, admission=admission)
        await adapters.store.release(lease)
        return found

    async def _take_up(
        self, lease: Lease, request: PlanRequest, planned: Callable[[Plan], None] | None
    ) -> Engine | None:
        """Load, verify, plan and record the plan's facts; None if there is nothing to do."""
        adapters = self._adapters
        execution_id = lease.execution_id
        state = await self.load(execution_id)
        check_epoch(adapters.store, lease, state)
        strategy = request.strategy or _resumable(execution_id, state).resume
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
        recorder = Recorder(adapters.store, lease, state, adapters.listeners)
        if await self._plan_and_record(recorder, request, planned, runs=True) is None or state.pipeline is None:
            return None
        return Engine(state.pipeline, recorder, adapters, request.strategy or state.pipeline.resume)

    async def _plan_and_record(
        self,
        recorder: Recorder,
        request: PlanRequest,
        planned: Callable[[Plan], None] | None,
        *,
        runs: bool = False,
    ) -> Plan | None:
        """Plan, and record what the plan begins with; None if a completed execution has nothing to run.

        ``runs``: what is planned is run by this process, so that it needs the secrets, and says before if one lacks.
        """
        adapters, state, lease = self._adapters, recorder.state, recorder.lease
        execution_id = lease.execution_id
        found = await self.plan_for(execution_id, state, request)
        if state.status is ExecutionStatus.COMPLETED and found.changes_nothing:
            _log.debug("resume of %s: completed already, nothing to do", execution_id)
            return None
        for decision in found.decisions if _log.isEnabledFor(logging.DEBUG) else ():
            _log.debug("resume of %s: %s %s: %s", execution_id, decision.verb.value, decision.task, decision.reason)
        if runs:
            await self._demand_secrets(state, request)
        if planned is not None:
            planned(found)
        now = adapters.clock.now()
        revision = request.revision
        pipeline = revision.pipeline if revision is not None else state.pipeline
        strategy = request.strategy or (pipeline.resume if pipeline is not None else ResumeStrategy())
        resumed = lease.epoch > 1
        recorder.record(
            ExecutionStarted(now, lease.epoch, describe_owner(now), resumed=resumed, strategy=strategy.to_dict())
        )
        for event, values in _plan_facts(found, request, state, now, resumed=resumed):
            recorder.record(event, *values)
        if request.from_seq is not None:
            past = await state_at(adapters.store, adapters.codec, execution_id, request.from_seq)
            _restore(recorder, adapters.codec, past, now)
        return found

    async def _demand_secrets(self, state: ExecutionState, request: PlanRequest) -> None:
        """Look up what the pipeline to be run names; raises SecretsMissing."""
        adapters, revision = self._adapters, request.revision
        pipeline = state.pipeline if revision is None else revision.pipeline
        if pipeline is not None:
            inputs = {} if revision is None else adapters.codec.decode(revision.inputs.payload)
            await self._demand(pipeline, inputs or {})

    async def _demand(self, pipeline: Pipeline, inputs: Mapping[str, Any]) -> None:
        secrets = self._adapters.secrets
        if uses := secrets.uses(pipeline):
            await asyncio.to_thread(secrets.demand, uses, pipeline, inputs)  # a keyring may take its time

    # -- driving -------------------------------------------------------------------------------------------------

    async def _drive(
        self, engine: Engine, admitted: Callable[[Engine], None] | None, *, letting_go: bool
    ) -> ExecutionState:
        lease = engine.recorder.lease
        if letting_go:
            engine.let_go()
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


def _plan_facts(
    plan: Plan, request: PlanRequest, state: ExecutionState, now: float, *, resumed: bool
) -> Iterator[tuple[Event, tuple[EncodedValue, ...]]]:
    """Yield the facts of a plan, each with the values that came for it with the request; ``state`` can fold them.

    A plan is told of where an execution is resumed, and where something was asked for.
    """
    told, revision = request.told(), request.revision
    if resumed or told:
        until = None if plan.until is None else sorted(plan.until)
        yield ResumePlanned(now, plan.digest, request.by, request.why, told, until), ()
    for event in plan.events:
        values: tuple[EncodedValue, ...] = ()
        if isinstance(event, DefinitionChanged) and revision is not None:
            state.offer(event.definition, revision.pipeline)
            values = (revision.definition, revision.inputs)
        elif isinstance(event, ResultSet):
            values = (request.results[event.task],)
        yield event, values


def record_interruptions(recorder: Recorder, now: float) -> None:
    """Record of steps that ran when their process died that they do so no more."""
    state = recorder.state
    pipeline = state.pipeline
    if pipeline is None:
        return
    for name in list(state.running):
        policy = interruption(state.graph[name], pipeline.resume)
        recorder.record(TaskInterrupted(now, name, state.tasks[name].attempt, policy.value, PROCESS_ENDED))


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
        earlier = past.tasks.get(name)
        saved = earlier.saved if earlier is not None else None
        if task.status in DONE or task.saved == saved:
            continue
        nothing = codec.encode(None) if saved is None else None
        ref = nothing.ref if nothing is not None else saved
        progress = TaskProgressed(now, name, task.attempt, None, None, "", ref)
        recorder.record(progress, *([nothing] if nothing is not None else []))


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
