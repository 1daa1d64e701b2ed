"""The public API as a stranger's program uses it: checked by mypy --strict, never run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, assert_type

import orchestrator as orc
from orchestrator import Orchestrator, Pipeline, Result, ResumeStrategy, Task, TaskContext, tool
from orchestrator.core.pipeline_resume_manager import PipelineResumeManager, ResumeState
from orchestrator.core.pipeline_resume_manager import ResumeStrategy as TheSame


@tool("greeting")
def greet(name: str, context: TaskContext) -> dict[str, Any]:
    done: list[str] = context.saved or []
    context.progress(1, 2, "half")
    context.save([*done, name])
    context.logger.info("attempt %d of %s", context.attempt, context.idempotency_key)
    return {"greeting": f"hello {name}", "inputs": dict(context.inputs)}


@tool("counting", action="up")
async def count(to: int = 3) -> int:
    return to


def built() -> Pipeline:
    return Pipeline(
        id="hello",
        tasks=[
            Task("first", "greeting", parameters={"name": "{{ inputs.name }}"}, critical=True),
            Task("second", "counting", "up", dependencies=("first",), retry=orc.RetryPolicy(max_attempts=3)),
        ],
        inputs=[orc.Input("name", "string", required=True)],
        outputs={"text": "{{ first.result.greeting }}"},
        resume=ResumeStrategy(max_retry_attempts=5),
    )


async def run() -> None:
    orc.init_models()
    pipeline = orc.compile(Path("pipeline.yaml"))
    assert_type(pipeline, Pipeline)
    assert_type(pipeline.execution_id, str | None)
    try:
        result = await pipeline.run(name="Ada")
    except orc.ExecutionFailed as error:
        logging.getLogger("my.program").exception("%s: %s", error.task_id, error.resume_command)
        async with Orchestrator() as orchestrator:
            result = await orchestrator.resume_pipeline(error.execution_id, TheSame(max_retry_attempts=5))
    assert_type(result, Result)
    assert_type(result.outputs, dict[str, Any])
    assert_type(built().run_sync(execution_id="mine", name="Ada"), Result)


async def resume(orchestrator: Orchestrator, pipeline: Pipeline) -> None:
    manager = orchestrator.resume_manager
    assert_type(manager, PipelineResumeManager)
    assert_type(await manager.can_resume("exec_123"), bool)
    definition, state = await manager.get_resume_state("exec_123")
    assert_type(state, ResumeState)
    assert_type(state.completed_tasks, set[str])
    assert_type(state.failed_tasks, dict[str, int])
    assert_type(state.timestamp, datetime)
    print([task_id for task_id in state.completed_tasks if task_id not in definition.tasks])
    made = await manager.create_resume_checkpoint(
        execution_id="exec_123",
        pipeline=pipeline,
        completed_tasks={"task1"},
        task_results={"task1": {"output": "data1"}},
        context={"user": "john_doe"},
        failed_tasks={"task3": 1},
    )
    assert_type(made, str)

    async def current() -> Mapping[str, Any]:
        return {"completed_tasks": {"task1"}, "task_results": {"task1": 1}}

    await manager.start_periodic_checkpointing("exec_123", pipeline, current, interval=30)
    await manager.stop_periodic_checkpointing("exec_123")
    await manager.start_periodic_checkpointing(
        execution_id="exec_124", pipeline=pipeline, get_state_func=lambda: {"context": {}}, interval=0.5
    )
    for entry in await manager.get_resume_history(pipeline_id="my_pipeline", limit=10):
        print(entry["checkpoint_id"], entry["completed_count"])
    await orchestrator.resume_pipeline(execution_id="exec_123", resume_strategy=ResumeStrategy())
    await orchestrator.resume_pipeline("exec_123", from_checkpoint=made, retry=["task3"], skip=("task4",))
    assert_type(await orchestrator.run_pipeline(pipeline, {"name": "Ada"}), Result)
    assert_type(await orchestrator.cancel("exec_123", by="me"), bool)


async def state(orchestrator: Orchestrator) -> None:
    manager = orchestrator.state_manager
    name = await manager.save_checkpoint("exec_123", {"cursor": 7}, {"why": "a good moment"})
    assert_type(name, str)
    restored = await manager.restore_checkpoint(name)
    assert_type(restored, dict[str, Any])
    assert_type(await manager.list_checkpoints("exec_123", limit=5), list[dict[str, Any]])
    assert_type(await manager.delete_checkpoint(name), bool)
    assert_type(await manager.cleanup(older_than=timedelta(days=30), keep_last=10), list[str])
    assert_type(await manager.is_healthy(), bool)
    assert_type(await manager.get_statistics(), dict[str, Any])
    for summary in await orchestrator.list_executions(status="failed", limit=3):
        print(summary.execution_id, summary.status, summary.completed, summary.total)
    try:
        await orchestrator.get_result("exec_123", "task1")
        assert_type(await orchestrator.diff("exec_122", "exec_123@17"), orc.Diff)
    except (orc.NoCheckpoint, orc.CheckpointUnreadable, orc.ResumeError, orc.StoreError) as error:
        print(error.exit_code)
