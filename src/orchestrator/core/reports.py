"""What callers report about executions, made facts: the checkpoints that people make by hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.domain.events import CheckpointMade, ErrorInfo, TaskCompleted, TaskFailed
from orchestrator.domain.execution import DONE, ExecutionState
from orchestrator.domain.ids import ExecutionId, checkpoint_id
from orchestrator.domain.retry import is_exhausted
from orchestrator.errors import PipelineChanged, ResumeError, UnknownExecution

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.core.adapters import Adapters
    from orchestrator.core.live import LiveExecutions
    from orchestrator.core.recorder import Recorder
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Pipeline

REPORTED = ErrorInfo("reported", "reported as failed by the caller")


@dataclass(slots=True)
class Report:
    """What a caller says about an execution, and why now: asked by hand, or by its periodic checkpointing."""

    completed: set[str]
    results: dict[str, Any]
    context: dict[str, Any]
    failed: dict[str, int]
    reason: Literal["manual", "periodic"] = "manual"

    @classmethod
    def of(
        cls,
        completed_tasks: Iterable[str] | None = None,
        task_results: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        failed_tasks: Mapping[str, int] | None = None,
    ) -> Report:
        """Take the keywords of ``create_resume_checkpoint``."""
        return cls(set(completed_tasks or ()), dict(task_results or {}), dict(context or {}), dict(failed_tasks or {}))

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


class Reports:
    """Records reports, each in one commit; ``PipelineResumeManager.create_resume_checkpoint`` says by which rules."""

    def __init__(self, adapters: Adapters, live: LiveExecutions) -> None:
        self._adapters = adapters
        self._live = live

    async def record(self, name: ExecutionId, pipeline: Pipeline | None, report: Report) -> str:
        """Record what is new in a report and name the position; return the checkpoint's id."""
        engine = self._live.engine(name)
        if engine is not None:
            report.check(engine.state.graph)
            _refuse_unrecorded(report, engine.state)
            position: list[int] = []

            def record(recorder: Recorder) -> None:
                self._record_checkpoint(recorder, report)
                position.append(recorder.state.seq)

            await engine.call(record)
            return checkpoint_id(name, position[0])
        held = self._live.recorder(name)
        if held is not None:
            return await self._report(held, report, pipeline)
        recorder = await self.borrow(name, pipeline, report)
        try:
            return await self._report(recorder, report, pipeline)
        finally:
            await self._live.give_back(recorder)

    async def borrow(self, execution_id: ExecutionId, pipeline: Pipeline | None, report: Report) -> Recorder:
        """Own the execution to record something; an unknown one is created, with the inputs that the report names."""
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

    async def _report(self, recorder: Recorder, report: Report, pipeline: Pipeline | None) -> str:
        state = recorder.state
        if state.pipeline is None:
            raise ResumeError(f"execution {recorder.lease.execution_id!r} was saved without a pipeline")
        codec = self._adapters.codec
        if pipeline is not None and codec.encode_pipeline(pipeline).ref != codec.encode_pipeline(state.pipeline).ref:
            raise PipelineChanged(
                f"execution {recorder.lease.execution_id!r} was started with another definition of "
                f"{state.pipeline_id!r}; go on with that one, or take a new execution id"
            )
        report.check(state.graph)
        now = self._adapters.clock.now()
        for task, known in state.tasks.items():
            if task in report.completed and known.status not in DONE:
                value = codec.encode(report.results[task])
                recorder.record(TaskCompleted(now, task, known.attempt + 1, value.ref), value)
            self._report_failures(recorder, task, report.failed.get(task, 0), now)
        self._record_checkpoint(recorder, report)
        seq = recorder.state.seq  # before the commit: others may record more meanwhile
        await recorder.flush()
        return checkpoint_id(recorder.lease.execution_id, seq)

    def _report_failures(self, recorder: Recorder, name: TaskId, failures: int, now: float) -> None:
        state = recorder.state
        known = state.tasks[name]
        if known.status in DONE or state.pipeline is None:
            return
        task, strategy = state.graph[name], state.pipeline.resume
        for count in range(known.failures + 1, failures + 1):
            parked = is_exhausted(task, count, known.crashes, strategy)
            recorder.record(TaskFailed(now, name, known.attempt + 1, REPORTED, None, crashed=False, parked=parked))

    def _record_checkpoint(self, recorder: Recorder, report: Report) -> None:
        state = recorder.state
        encoded = self._adapters.codec.encode(report.context)
        metadata = {"completed": state.done_count, "failed": len(report.failed), "total": len(state.tasks)}
        event = CheckpointMade(self._adapters.clock.now(), report.reason, None, metadata, encoded.ref)
        recorder.record(event, encoded, durable=True)


def _refuse_unrecorded(report: Report, state: ExecutionState) -> None:
    unrecorded = sorted(name for name in report.completed if state.tasks[name].status not in DONE)
    if unrecorded:
        raise ResumeError(
            f"the engine is at work on this execution and has not completed {', '.join(map(repr, unrecorded))}"
        )
