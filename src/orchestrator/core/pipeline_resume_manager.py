"""The resume manager: what can be resumed, from which state, and checkpoints made by callers themselves."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.core.checkpoints import Checkpoint, newest_checkpoints
from orchestrator.core.live import LiveExecutions, no_checkpoint, unreadable
from orchestrator.core.recovery import verify_values
from orchestrator.core.scope import RecordedValues
from orchestrator.domain.events import CheckpointMade, ErrorInfo, TaskCompleted, TaskFailed
from orchestrator.domain.execution import DONE, ExecutionState, ExecutionStatus, TaskStatus
from orchestrator.domain.ids import ExecutionId, checkpoint_id
from orchestrator.domain.ids import execution_id as valid_execution_id
from orchestrator.domain.pipeline import definition_of
from orchestrator.domain.plan import Plan, ResumeRequest
from orchestrator.domain.retry import is_exhausted
from orchestrator.domain.strategy import ResumeStrategy
from orchestrator.errors import (
    NoCheckpoint,
    PipelineChanged,
    ResumeError,
    StoreDamaged,
    StoreIncompatible,
    UnknownExecution,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from orchestrator.core.adapters import Adapters
    from orchestrator.core.recorder import Recorder
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Compiled, Pipeline

__all__ = ["PipelineResumeManager", "ResumeState", "ResumeStrategy"]

_log = logging.getLogger("orchestrator.resume_manager")

REPORTED = ErrorInfo("reported", "reported as failed by the caller")


@dataclass(frozen=True, slots=True)
class ResumeState:
    """What a resume would start from.

    - ``completed_tasks``: ids of tasks that are done (completed, or skipped with the result None).
    - ``failed_tasks``: id -> how often the task has failed; tasks that are parked or in doubt stand here too.
    - ``running_tasks``: ids of tasks that were running when the process ended.
    - ``pending_tasks``: ids of all others.
    - ``task_results``: id -> result, for every completed task, as the task returned it.
    - ``context``: what the caller saved with the last manual checkpoint, else ``{}``.
    - ``inputs``: the execution's inputs.
    - ``checkpoint_id``, ``timestamp``: the position this is the state of (``EXECUTION@SEQ``), and when it was made.
    """

    execution_id: str
    pipeline_id: str
    status: str
    checkpoint_id: str
    timestamp: datetime
    completed_tasks: set[str]
    failed_tasks: dict[str, int]
    running_tasks: set[str]
    pending_tasks: set[str]
    task_results: dict[str, Any] = field(repr=False)
    context: dict[str, Any] = field(repr=False)
    inputs: dict[str, Any] = field(repr=False)


@dataclass(slots=True)
class _Periodic:
    task: asyncio.Task[None]
    stop: asyncio.Event


class PipelineResumeManager:
    """Answers whether and from where executions can be resumed, and records what callers report.

    A caller with a loop of its own records its progress here; the facts go through the same recorder as the
    engine's, so that ``resume_pipeline`` goes on from them like from any others.
    """

    def __init__(self, adapters: Adapters, live: LiveExecutions) -> None:
        self._adapters = adapters
        self._live = live
        self._periodic: dict[str, _Periodic] = {}

    # -- asking --------------------------------------------------------------------------------------------------

    async def can_resume(self, execution_id: str) -> bool:
        """Tell whether ``resume_pipeline`` would have something to do.

        False for unknown and completed executions, for those without a pipeline or with checkpointing disabled, and
        while somebody is at work on it. Damage is an error, not False: raises CheckpointUnreadable.
        """
        name = valid_execution_id(execution_id)
        try:
            summary = await self._adapters.store.summary(name)
        except UnknownExecution:
            _log.debug("can_resume %s: no, unknown", execution_id)
            return False
        except (StoreDamaged, StoreIncompatible) as error:
            raise unreadable(execution_id, error) from error
        if summary.status is ExecutionStatus.COMPLETED:
            _log.debug("can_resume %s: no, it is completed", execution_id)
            return False
        if summary.holder is not None and summary.holder.alive and self._live.recorder(execution_id) is None:
            _log.debug("can_resume %s: no, %s is at work on it", execution_id, summary.holder.owner)
            return False
        try:
            state = await self._live.load(name)
        except NoCheckpoint:
            return False
        possible = state.pipeline is not None and state.pipeline.resume_enabled
        _log.debug("can_resume %s: %s", execution_id, "yes" if possible else "no, checkpointing is disabled")
        return possible

    async def get_resume_state(self, execution_id: str) -> tuple[Pipeline, ResumeState]:
        """Return the recorded pipeline and what a resume would start from, results included.

        Raises NoCheckpoint if there is nothing to resume, CheckpointUnreadable if it is damaged.
        """
        name = valid_execution_id(execution_id)
        state = await self._live.load(name)
        if state.pipeline is None or not state.pipeline.resume_enabled:
            raise no_checkpoint(execution_id, "it has no pipeline, or its pipeline disables checkpointing")
        try:
            return state.pipeline, await self._resume_state(name, state)
        except (StoreDamaged, StoreIncompatible) as error:
            raise unreadable(execution_id, error) from error

    async def _resume_state(self, execution_id: ExecutionId, state: ExecutionState) -> ResumeState:
        values = RecordedValues(self._adapters.store, self._adapters.codec)
        by_status: dict[TaskStatus, set[str]] = {status: set() for status in TaskStatus}
        for name, task in state.tasks.items():
            by_status[task.status].add(name)
        stuck = (TaskStatus.FAILED, TaskStatus.PARKED, TaskStatus.IN_DOUBT, TaskStatus.RETRYING)
        return ResumeState(
            execution_id=execution_id,
            pipeline_id=state.pipeline_id,
            status=state.status.value,
            checkpoint_id=checkpoint_id(execution_id, state.seq),
            timestamp=datetime.fromtimestamp(state.updated_at, UTC),
            completed_tasks=by_status[TaskStatus.COMPLETED] | by_status[TaskStatus.SKIPPED],
            failed_tasks={
                name: max(1, task.failures + task.crashes) for name, task in state.tasks.items() if task.status in stuck
            },
            running_tasks=by_status[TaskStatus.RUNNING],
            pending_tasks=by_status[TaskStatus.PENDING],
            task_results={
                name: await values.load(task.value) for name, task in state.tasks.items() if task.status in DONE
            },
            context=await values.load(state.context) or {},
            inputs=await values.load(state.inputs) or {},
        )

    async def plan(
        self, execution_id: str, strategy: ResumeStrategy | None = None, request: ResumeRequest | None = None
    ) -> Plan:
        """Return what ``resume_pipeline`` would do with each task and why; changes nothing."""
        _state, plan = await self._live.plan(valid_execution_id(execution_id), strategy, request or ResumeRequest())
        return plan

    async def validate(self, execution_id: str) -> None:
        """Verify every record and value a resume would need; raises CheckpointUnreadable, NoCheckpoint."""
        state = await self._live.load(valid_execution_id(execution_id))
        try:
            await verify_values(self._adapters.store, self._adapters.codec, state)
        except (StoreDamaged, StoreIncompatible) as error:
            raise unreadable(execution_id, error) from error

    async def get_resume_history(self, pipeline_id: str, limit: int | None = 10) -> list[dict[str, Any]]:
        """Return the checkpoints of all executions of a pipeline, newest first, at most ``limit`` (None: all).

        Each entry has ``checkpoint_id``, ``execution_id``, ``pipeline_id``, ``timestamp`` (datetime, UTC),
        ``reason``, ``task``, ``completed_count``, ``total_count``, ``metadata``.
        """
        if limit is not None and limit < 0:
            raise ResumeError(f"limit: expected 0 or more, got {limit}")
        summaries = await self._adapters.store.summaries(pipeline_id=pipeline_id)
        waiting = sorted(summaries, key=lambda summary: summary.updated_at)
        found: list[dict[str, Any]] = []
        heap: list[_Candidate] = []
        while limit is None or len(found) < limit:
            # An execution's newest checkpoint is no newer than its last fact: its journal is opened only when it may
            # come next.
            while waiting and (not heap or waiting[-1].updated_at >= -heap[0][0]):
                iterator = newest_checkpoints(self._adapters.store, self._adapters.codec, waiting.pop())
                await _push(heap, iterator)
            if not heap:
                break
            *_key, checkpoint, iterator = heapq.heappop(heap)
            found.append(checkpoint.to_dict())
            await _push(heap, iterator)
        return found

    # -- recording by hand ---------------------------------------------------------------------------------------

    async def create_resume_checkpoint(
        self,
        execution_id: str,
        pipeline: Pipeline | Compiled | None = None,
        completed_tasks: Iterable[str] = (),
        task_results: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        failed_tasks: Mapping[str, int] | None = None,
    ) -> str:
        """Make a checkpoint with what the caller knows; return its id, ``EXECUTION@SEQ``. One commit, durable.

        - For an execution that an engine of this process is running: names the present position and keeps
          ``context`` with it. What the caller calls completed must be so recorded (raises ResumeError).
        - For any other: what is new in ``completed_tasks`` (with their ``task_results``) and ``failed_tasks``
          (task id -> number of failures so far) is recorded; an unknown execution is created with ``pipeline``.

        What is recorded already stays as it is. Raises ResumeError for unknown tasks and for completed tasks without
        a result, ExecutionOwned if another process is at work, PipelineChanged if ``pipeline`` is another one,
        UnstorableValue for a result that cannot be kept.
        """
        name = valid_execution_id(execution_id)
        report = _Report(set(completed_tasks), dict(task_results or {}), dict(context or {}), dict(failed_tasks or {}))
        definition = definition_of(pipeline) if pipeline is not None else None
        engine = self._live.engine(execution_id)
        if engine is not None:
            report.check(engine.pipeline.tasks)
            _refuse_unrecorded(report, engine.state)
            position: list[int] = []

            def record(recorder: Recorder) -> None:
                self._record_checkpoint(recorder, report)
                position.append(recorder.state.seq)

            await engine.call(record)
            return checkpoint_id(name, position[0])
        held = self._live.recorder(execution_id)
        if held is not None:
            return await self._report(held, report, definition)
        recorder = await self._borrow(name, definition, report)
        try:
            return await self._report(recorder, report, definition)
        finally:
            await self._live.give_back(recorder)

    async def _borrow(self, execution_id: ExecutionId, pipeline: Pipeline | None, report: _Report) -> Recorder:
        try:
            return await self._live.borrow(execution_id)
        except UnknownExecution:
            if pipeline is None:
                raise ResumeError(
                    f"execution {execution_id!r} is unknown: give its pipeline to make its first checkpoint"
                ) from None
            report.check(pipeline.tasks)
            inputs = report.inputs(pipeline)
            return await self._live.admit(pipeline, pipeline.id, inputs, execution_id, "manual")

    async def _report(self, recorder: Recorder, report: _Report, pipeline: Pipeline | None) -> str:
        state = recorder.state
        if state.pipeline is None:
            raise ResumeError(f"execution {recorder.lease.execution_id!r} was saved without a pipeline")
        codec = self._adapters.codec
        if pipeline is not None and codec.encode_pipeline(pipeline).ref != codec.encode_pipeline(state.pipeline).ref:
            raise PipelineChanged(
                f"execution {recorder.lease.execution_id!r} was started with another definition of "
                f"{state.pipeline_id!r}; go on with that one, or take a new execution id"
            )
        report.check(state.pipeline.tasks)
        now = self._adapters.clock.now()
        for task, known in state.tasks.items():
            if task in report.completed and known.status not in DONE:
                value = codec.encode(report.results[task])
                recorder.record(TaskCompleted(now, task, known.attempt + 1, value.ref), value)
            self._report_failures(recorder, task, report.failed.get(task, 0), now)
        self._record_checkpoint(recorder, report)
        await recorder.flush()
        return checkpoint_id(recorder.lease.execution_id, recorder.state.seq)

    def _report_failures(self, recorder: Recorder, name: TaskId, failures: int, now: float) -> None:
        state = recorder.state
        known = state.tasks[name]
        if known.status in DONE or state.pipeline is None:
            return
        task, strategy = state.pipeline.tasks[name], state.pipeline.resume
        for count in range(known.failures + 1, failures + 1):
            parked = is_exhausted(task, count, known.crashes, strategy)
            recorder.record(TaskFailed(now, name, known.attempt + 1, REPORTED, None, crashed=False, parked=parked))

    def _record_checkpoint(self, recorder: Recorder, report: _Report) -> None:
        state = recorder.state
        encoded = self._adapters.codec.encode(report.context)
        metadata = {"completed": state.done_count, "failed": len(report.failed), "total": len(state.tasks)}
        event = CheckpointMade(self._adapters.clock.now(), "manual", None, metadata, encoded.ref)
        recorder.record(event, encoded, durable=True)

    # -- periodic ------------------------------------------------------------------------------------------------

    async def start_periodic_checkpointing(
        self,
        execution_id: str,
        pipeline: Pipeline | Compiled,
        get_state_func: Callable[[], Mapping[str, Any] | Awaitable[Mapping[str, Any]]],
        interval: float | None = None,
    ) -> None:
        """Make a checkpoint of a caller's own loop every ``interval`` seconds, until stopped.

        ``get_state_func``, plain or async, returns a dict with the keyword names of ``create_resume_checkpoint``
        (``completed_tasks``, ``task_results``, ``context``, ``failed_tasks``); it is called at once and then in each
        interval. ``interval`` None means the pipeline's own. Until stopped, this process owns the execution. Raises
        ResumeError if it runs already. If a checkpoint fails, checkpointing ends, and
        ``stop_periodic_checkpointing`` raises the reason.
        """
        name = valid_execution_id(execution_id)
        definition = definition_of(pipeline)
        seconds = definition.resume.checkpoint_interval_seconds if interval is None else interval
        if not 0 < seconds < float("inf"):
            raise ResumeError(f"interval: expected seconds above 0, got {interval!r}")
        if name in self._periodic:
            raise ResumeError(f"periodic checkpointing of execution {name!r} is running already")
        state = await _ask(name, get_state_func)
        if self._live.engine(name) is None:
            report = _Report.of(state)
            recorder = await self._borrow(name, definition, report)
            self._live.hold(recorder)
            self._adapters.keeper.keep(recorder.lease, self._lost(name), lambda _by: None)
        try:
            await self.create_resume_checkpoint(name, definition, **state)
        except BaseException:
            await self._let_go(name)
            raise
        stop = asyncio.Event()
        loop = self._checkpoint_loop(name, definition, get_state_func, seconds, stop)
        task = asyncio.get_running_loop().create_task(loop, name=f"checkpoints of {name}")
        self._periodic[name] = _Periodic(task, stop)

    def _lost(self, name: str) -> Callable[[BaseException], None]:
        loop = asyncio.get_running_loop()

        def lost(error: BaseException) -> None:
            _log.error("execution %s: %s", name, error)
            periodic = self._periodic.get(name)
            if periodic is not None:
                loop.call_soon_threadsafe(periodic.stop.set)

        return lost

    async def _checkpoint_loop(
        self,
        name: str,
        pipeline: Pipeline,
        get_state: Callable[[], Mapping[str, Any] | Awaitable[Mapping[str, Any]]],
        seconds: float,
        stop: asyncio.Event,
    ) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), seconds)
            try:
                made = await self.create_resume_checkpoint(name, pipeline, **await _ask(name, get_state))
            except Exception:
                _log.exception("periodic checkpointing of %s ends: its checkpoint failed", name)
                raise
            _log.debug("periodic checkpoint %s", made)
            if stop.is_set():
                return

    async def stop_periodic_checkpointing(self, execution_id: str) -> None:
        """Make a last checkpoint and stop; nothing happens if none runs. Raises what ended the checkpointing."""
        periodic = self._periodic.pop(execution_id, None)
        if periodic is None:
            return
        periodic.stop.set()
        try:
            await periodic.task
        finally:
            await self._let_go(execution_id)

    async def _let_go(self, execution_id: str) -> None:
        recorder = self._live.let_go(execution_id)
        if recorder is not None:
            self._adapters.keeper.drop(recorder.lease)
            await self._live.give_back(recorder)

    async def close(self) -> None:
        """Stop all periodic checkpointing without a last checkpoint."""
        for name, periodic in list(self._periodic.items()):
            periodic.task.cancel()
            await asyncio.gather(periodic.task, return_exceptions=True)
            await self._let_go(name)
        self._periodic.clear()


@dataclass(slots=True)
class _Report:
    """What a caller says about an execution."""

    completed: set[str]
    results: dict[str, Any]
    context: dict[str, Any]
    failed: dict[str, int]

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> _Report:
        return cls(
            set(state.get("completed_tasks") or ()),
            dict(state.get("task_results") or {}),
            dict(state.get("context") or {}),
            dict(state.get("failed_tasks") or {}),
        )

    def check(self, tasks: Mapping[TaskId, object]) -> None:
        """Refuse unknown tasks, and completed ones without a result."""
        unknown = sorted((self.completed | set(self.results) | set(self.failed)) - set(tasks))
        if unknown:
            raise ResumeError(f"no task named {', '.join(map(repr, unknown))} in this pipeline")
        missing = sorted(self.completed - set(self.results))
        if missing:
            raise ResumeError(
                f"completed without a result: {', '.join(map(repr, missing))}; "
                "put their results (None, if they have none) into task_results"
            )
        wrong = sorted(name for name, count in self.failed.items() if type(count) is not int or count < 0)
        if wrong:
            raise ResumeError(f"failed_tasks: expected a number of failures for {', '.join(map(repr, wrong))}")

    def inputs(self, pipeline: Pipeline) -> dict[str, Any]:
        """Find the execution's inputs in the context, else their defaults."""
        given: Any = self.context.get("inputs", self.context)
        if not isinstance(given, dict):
            given = {}
        return {name: given.get(name, declared.default) for name, declared in pipeline.inputs.items()}


def _refuse_unrecorded(report: _Report, state: ExecutionState) -> None:
    unrecorded = sorted(name for name in report.completed if state.tasks[name].status not in DONE)
    if unrecorded:
        raise ResumeError(
            f"the engine is at work on this execution and has not completed {', '.join(map(repr, unrecorded))}"
        )


_Candidate = tuple[float, int, str, Checkpoint, "AsyncIterator[Checkpoint]"]


async def _push(heap: list[_Candidate], iterator: AsyncIterator[Checkpoint]) -> None:
    async for checkpoint in iterator:
        key = (-checkpoint.at, -checkpoint.seq, checkpoint.execution_id)
        heapq.heappush(heap, (*key, checkpoint, iterator))
        return


_STATE_KEYS = ("completed_tasks", "task_results", "context", "failed_tasks")


async def _ask(name: str, get_state: Callable[[], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]) -> dict[str, Any]:
    """Return what the caller's function tells, as keywords of ``create_resume_checkpoint`` after its first two."""
    told: Any = get_state()
    if inspect.isawaitable(told):
        told = await told
    expected = f"get_state_func: expected a dict with keys among {', '.join(_STATE_KEYS)}"
    if not isinstance(told, Mapping):
        raise ResumeError(f"{expected}; got {type(told).__name__}")
    if told.get("execution_id", name) != name:
        raise ResumeError(f"get_state_func: it tells of execution {told['execution_id']!r}, this one is {name!r}")
    state = {key: value for key, value in told.items() if key not in ("execution_id", "pipeline")}
    unknown = [key for key in state if key not in _STATE_KEYS]
    if unknown:
        raise ResumeError(f"{expected}; got {', '.join(map(repr, unknown))}")
    return state
