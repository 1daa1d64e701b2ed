"""The resume manager: what can be resumed, from which state, and checkpoints made by callers themselves."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.core.history import resume_history
from orchestrator.core.ledger import no_checkpoint, unreadable
from orchestrator.core.live import LiveExecutions
from orchestrator.core.periodic import PeriodicCheckpoints
from orchestrator.core.recovery import verify_values
from orchestrator.core.reports import Report, Reports
from orchestrator.core.scope import RecordedValues, recorded_scope
from orchestrator.domain.execution import DONE, ExecutionState, ExecutionStatus, TaskStatus
from orchestrator.domain.ids import ExecutionId, checkpoint_id
from orchestrator.domain.ids import execution_id as valid_execution_id
from orchestrator.domain.pipeline import definition_of
from orchestrator.domain.plan import Plan, PlanRequest
from orchestrator.domain.strategy import ResumeStrategy
from orchestrator.errors import (
    NoCheckpoint,
    ResumeError,
    StoreDamaged,
    StoreIncompatible,
    UnknownExecution,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from orchestrator.core.adapters import Adapters
    from orchestrator.domain.pipeline import Compiled, Pipeline

__all__ = ["PipelineResumeManager", "ResumeState", "ResumeStrategy"]

_log = logging.getLogger("orchestrator.resume_manager")


@dataclass(frozen=True, slots=True)
class ResumeState:
    """What a resume would start from.

    - ``completed_tasks``: ids of tasks that are done (completed, or skipped with the result None).
    - ``failed_tasks``: id -> how often the task has failed; tasks that are parked or in doubt stand here too.
    - ``running_tasks``: ids of tasks that were running when the process ended.
    - ``pending_tasks``: ids of all others; containers whose steps are at work are among them.
    - ``task_results``: id -> result, for every completed task, as the task returned it; that of a container is made of
      its steps' results, as templates see it.
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


class PipelineResumeManager:
    """Answers whether and from where executions can be resumed, and records what callers report.

    A caller with a loop of its own records its progress here; the facts go through the same recorder as the
    engine's, so that ``resume_pipeline`` goes on from them like from any others. It is
    ``Orchestrator().resume_manager``.

    >>> import asyncio
    >>> from orchestrator import Orchestrator
    >>> async def ask() -> bool:
    ...     async with Orchestrator("memory://resume-manager") as orchestrator:
    ...         return await orchestrator.resume_manager.can_resume("exec_123")
    >>> asyncio.run(ask())
    False
    """

    def __init__(self, adapters: Adapters, live: LiveExecutions) -> None:
        self._adapters = adapters
        self._live = live
        self._reports = Reports(adapters, live)
        self._periodic = PeriodicCheckpoints(adapters, live, self._reports)

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
        scope = recorded_scope(values, state)
        by_status: dict[TaskStatus, set[str]] = {status: set() for status in TaskStatus}
        tasks = {name: task for name, task in state.tasks.items() if not task.ending}
        for name, task in tasks.items():
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
                name: max(1, task.failures + task.crashes) for name, task in tasks.items() if task.status in stuck
            },
            running_tasks=by_status[TaskStatus.RUNNING],
            pending_tasks=by_status[TaskStatus.PENDING] | by_status[TaskStatus.EXPANDED],
            task_results={name: await scope.result(name) for name, task in tasks.items() if task.status in DONE},
            context=await values.load(state.context) or {},
            inputs=await values.load(state.inputs) or {},
        )

    async def plan(self, execution_id: str, request: PlanRequest | None = None) -> Plan:
        """Return what ``resume_pipeline`` would do with each task and why; changes nothing."""
        return await self._live.plan(valid_execution_id(execution_id), request or PlanRequest())

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
        return await resume_history(self._adapters.store, self._adapters.codec, pipeline_id, limit)

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
        definition = definition_of(pipeline) if pipeline is not None else None
        report = Report.of(completed_tasks, task_results, context, failed_tasks)
        return await self._reports.record(valid_execution_id(execution_id), definition, report)

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
        await self._periodic.start(name, definition_of(pipeline), get_state_func, interval)

    async def stop_periodic_checkpointing(self, execution_id: str) -> None:
        """Make a last checkpoint and stop; nothing happens if none runs. Raises what ended the checkpointing."""
        await self._periodic.stop(execution_id)

    async def close(self) -> None:
        """Stop all periodic checkpointing without a last checkpoint."""
        await self._periodic.close()
