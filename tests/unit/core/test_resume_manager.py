"""Checkpoints that callers make themselves, and what the resume manager tells about executions."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator import ExecutionFailed, ExecutionOwned, NoCheckpoint, Orchestrator, ResumeError, UsageError
from orchestrator.domain.pipeline import Pipeline
from orchestrator.errors import PipelineChanged, TaskError
from tests.unit.core.bench import Bench, begin, journal, statuses, step, wait_until


def three(bench: Bench, **parts: Any) -> Pipeline:
    return bench.pipeline(
        step("t1", value=1), step("t2", value="{{ t1.result }}"), step("t3", value="{{ t2.result }}"), **parts
    )


KNOWN = {"completed_tasks": ["t1"], "task_results": {"t1": "given"}}


# -- create_resume_checkpoint --------------------------------------------------------------------------------------


async def test_a_first_checkpoint_admits_the_execution(bench: Bench, orchestrator: Orchestrator) -> None:
    made = await orchestrator.resume_manager.create_resume_checkpoint("e", three(bench), **KNOWN, context={"user": "u"})  # type: ignore[arg-type]
    _, state = await orchestrator.resume_manager.get_resume_state("e")
    assert state.checkpoint_id == made
    assert (state.completed_tasks, state.task_results, state.context) == ({"t1"}, {"t1": "given"}, {"user": "u"})
    assert (state.pending_tasks, state.status, state.pipeline_id) == ({"t2", "t3"}, "created", "p")
    assert abs((datetime.now(UTC) - state.timestamp).total_seconds()) < 60
    await orchestrator.resume_pipeline("e")
    assert bench.calls == ["t2", "t3"]
    assert await orchestrator.get_result("e", "t3") == "given"
    assert await orchestrator.state_manager.verify() == []


async def test_it_is_one_durable_commit(bench: Bench, orchestrator: Orchestrator) -> None:
    manager = orchestrator.resume_manager
    await manager.create_resume_checkpoint("e", three(bench))
    before = (await orchestrator.state_manager.get_statistics())["commits"]
    await manager.create_resume_checkpoint(
        "e", completed_tasks=["t1", "t2"], task_results={"t1": 1, "t2": 2}, failed_tasks={"t3": 2}
    )
    assert (await orchestrator.state_manager.get_statistics())["commits"] == before + 1


async def test_later_checkpoints_add_and_never_take_away(bench: Bench, orchestrator: Orchestrator) -> None:
    manager = orchestrator.resume_manager
    pipeline = three(bench)
    first = await manager.create_resume_checkpoint("e", pipeline, **KNOWN)  # type: ignore[arg-type]
    await manager.create_resume_checkpoint("e", pipeline, ["t1"], {"t1": "changed"})
    second = await manager.create_resume_checkpoint("e", pipeline, ["t2"], {"t2": 2}, {"n": 2}, {"t3": 2})
    _, state = await manager.get_resume_state("e")
    assert state.task_results == {"t1": "given", "t2": 2}
    assert (state.failed_tasks, state.context) == ({"t3": 2}, {"n": 2})
    assert int(second.split("@")[1]) > int(first.split("@")[1])
    same = await manager.create_resume_checkpoint("e", failed_tasks={"t3": 1})
    assert same != second
    assert (await manager.get_resume_state("e"))[1].failed_tasks == {"t3": 2}


async def test_reported_failures_count_towards_the_maximum(bench: Bench, orchestrator: Orchestrator) -> None:
    await orchestrator.resume_manager.create_resume_checkpoint("e", three(bench), failed_tasks={"t1": 4})
    with pytest.raises(ExecutionFailed) as caught:
        await orchestrator.resume_pipeline("e")
    assert caught.value.parked == ("t1",)
    assert "reported as failed by the caller" in str(caught.value)
    assert (await orchestrator.resume_pipeline("e", retry=["t1"])).status == "completed"


async def test_inputs_come_from_the_context_or_their_defaults(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(
        step("a", value=["{{ inputs.user }}", "{{ inputs.n }}"]),
        inputs={"user": {"type": "string"}, "n": 7},
        outputs={"a": "{{ a.result }}"},
    )
    manager = orchestrator.resume_manager
    await manager.create_resume_checkpoint("e1", pipeline, context={"user": "john"})
    await manager.create_resume_checkpoint("e2", pipeline, context={"inputs": {"user": "jane", "n": 8}})
    assert (await orchestrator.resume_pipeline("e1")).outputs == {"a": ["john", 7]}
    assert (await orchestrator.resume_pipeline("e2")).outputs == {"a": ["jane", 8]}


async def test_for_an_execution_that_the_engine_runs(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(step("t1"), step("t2", "hold", after="t1"), step("t3", after="t2"))
    running = await begin(orchestrator.run_pipeline, pipeline, execution_id="e")
    await bench.started("t2")
    manager = orchestrator.resume_manager
    made = await manager.create_resume_checkpoint("e", pipeline, ["t1"], {"t1": None}, {"mark": 1})
    assert len(await journal(orchestrator, "e")) == int(made.split("@")[1])  # durable when it returns
    with pytest.raises(ResumeError, match="at work on this execution and has not completed 't2'"):
        await manager.create_resume_checkpoint("e", completed_tasks=["t2"], task_results={"t2": 1})
    with pytest.raises(ResumeError, match="no task named 'ghost'"):
        await manager.create_resume_checkpoint("e", failed_tasks={"ghost": 1})
    bench.gate("t2").set()
    assert (await running.result()).status == "completed"
    entry = await orchestrator.state_manager.restore_checkpoint(made)
    assert (entry["reason"], entry["state"], entry["completed_count"]) == ("manual", {"mark": 1}, 1)


@dataclass
class Strange:
    """A type that nobody registered."""


async def test_a_context_that_cannot_be_kept_harms_no_running_engine(bench: Bench, orchestrator: Orchestrator) -> None:
    running = await begin(orchestrator.run_pipeline, bench.pipeline(step("a", "hold")), execution_id="e")
    await bench.started("a")
    with pytest.raises(TaskError, match="Strange"):
        await orchestrator.resume_manager.create_resume_checkpoint("e", context={"x": Strange()})
    with pytest.raises(TaskError, match="Strange"):
        await orchestrator.state_manager.save_checkpoint("e", {"x": Strange()})
    with pytest.raises(TaskError, match="Strange"):
        await orchestrator.state_manager.save_checkpoint("e", {}, {"x": Strange()})
    bench.gate("a").set()
    assert (await running.result()).status == "completed"


async def test_a_caller_that_gives_up_harms_no_running_engine(bench: Bench, orchestrator: Orchestrator) -> None:
    running = await begin(orchestrator.run_pipeline, bench.pipeline(step("a", "hold")), execution_id="e")
    await bench.started("a")
    for context in ({"fine": 1}, {"x": Strange()}):
        call = asyncio.ensure_future(orchestrator.resume_manager.create_resume_checkpoint("e", context=context))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    bench.gate("a").set()
    assert (await running.result()).status == "completed"


async def test_for_a_dead_execution(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(step("t1"), step("t2", "fail", times=9), step("t3", after="t2"))
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(pipeline, execution_id="e")
    await orchestrator.resume_manager.create_resume_checkpoint("e", None, ["t2"], {"t2": "by hand"})
    bench.calls.clear()
    assert (await orchestrator.resume_pipeline("e")).status == "completed"
    assert bench.calls == ["t3"]
    assert await orchestrator.get_result("e", "t2") == "by hand"


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"completed_tasks": ["ghost"], "task_results": {"ghost": 1}}, "no task named 'ghost'"),
        ({"task_results": {"ghost": 1}}, "no task named 'ghost'"),
        ({"failed_tasks": {"ghost": 1}}, "no task named 'ghost'"),
        ({"completed_tasks": ["t1", "t2"], "task_results": {"t1": 1}}, "completed without a result: 't2'"),
        ({"failed_tasks": {"t1": -1}}, "expected a number of failures for 't1'"),
        ({"failed_tasks": {"t1": True}}, "expected a number of failures for 't1'"),
        ({"failed_tasks": {"t1": "2"}}, "expected a number of failures for 't1'"),
    ],
)
@pytest.mark.parametrize("known", [False, True])
async def test_what_is_refused_changes_nothing(
    bench: Bench, orchestrator: Orchestrator, report: dict[str, Any], message: str, known: bool
) -> None:
    pipeline = three(bench)
    if known:
        await orchestrator.resume_manager.create_resume_checkpoint("e", pipeline)
    facts = len(await journal(orchestrator, "e")) if known else 0
    with pytest.raises(ResumeError, match=message):
        await orchestrator.resume_manager.create_resume_checkpoint("e", pipeline, **report)
    if known:
        assert len(await journal(orchestrator, "e")) == facts
        await orchestrator.resume_manager.create_resume_checkpoint("e", pipeline)  # nobody holds it
    else:
        assert await orchestrator.list_executions() == []


async def test_an_unknown_execution_needs_its_pipeline(orchestrator: Orchestrator) -> None:
    with pytest.raises(ResumeError, match="unknown: give its pipeline"):
        await orchestrator.resume_manager.create_resume_checkpoint("e")
    with pytest.raises(UsageError, match="not an execution id"):
        await orchestrator.resume_manager.create_resume_checkpoint("../e")


async def test_another_pipeline_is_refused(bench: Bench, orchestrator: Orchestrator) -> None:
    await orchestrator.resume_manager.create_resume_checkpoint("e", three(bench))
    with pytest.raises(PipelineChanged, match="started with another definition") as caught:
        await orchestrator.resume_manager.create_resume_checkpoint("e", bench.pipeline(step("t1")))
    assert caught.value.exit_code == 8


async def test_an_execution_that_another_process_works_on(bench: Bench, orchestrator: Orchestrator) -> None:
    running = await begin(orchestrator.run_pipeline, bench.pipeline(step("a", "hold")), execution_id="e")
    await bench.started("a")
    with pytest.raises(ExecutionOwned):
        await bench.open().resume_manager.create_resume_checkpoint("e")
    bench.gate("a").set()
    await running.result()


async def test_a_result_that_cannot_be_kept_admits_nothing_half(bench: Bench, orchestrator: Orchestrator) -> None:
    with pytest.raises(TaskError, match="Strange"):
        await orchestrator.resume_manager.create_resume_checkpoint("e", three(bench), ["t1"], {"t1": Strange()})
    await orchestrator.resume_manager.create_resume_checkpoint("e", three(bench), **KNOWN)  # type: ignore[arg-type]
    _, state = await orchestrator.resume_manager.get_resume_state("e")
    assert state.task_results == {"t1": "given"}


async def test_states_without_a_pipeline_cannot_be_resumed(orchestrator: Orchestrator) -> None:
    await orchestrator.state_manager.save_checkpoint("e", {"x": 1})
    assert not await orchestrator.resume_manager.can_resume("e")
    with pytest.raises(NoCheckpoint, match="without a pipeline"):
        await orchestrator.resume_pipeline("e")
    with pytest.raises(NoCheckpoint):
        await orchestrator.resume_manager.get_resume_state("e")
    with pytest.raises(ResumeError, match="without a pipeline"):
        await orchestrator.resume_manager.create_resume_checkpoint("e")


# -- history -------------------------------------------------------------------------------------------------------


async def test_history_over_several_executions_is_newest_first(bench: Bench, orchestrator: Orchestrator) -> None:
    manager = orchestrator.resume_manager
    pipeline = three(bench)
    for name in ("e1", "e2"):
        await manager.create_resume_checkpoint(name, pipeline)
    for name, task in (("e1", "t1"), ("e2", "t1"), ("e1", "t2"), ("e2", "t2")):  # interleaved
        await asyncio.sleep(0.002)
        await manager.create_resume_checkpoint(name, completed_tasks=[task], task_results={task: 1})
    await orchestrator.run_pipeline(three(bench, name="another"), execution_id="e3")
    await orchestrator.run_pipeline(bench.pipeline(step("x"), id="q"), execution_id="other")
    history = await manager.get_resume_history("p", limit=None)
    assert {entry["execution_id"] for entry in history} == {"e1", "e2", "e3"}
    times = [entry["timestamp"] for entry in history]
    assert times == sorted(times, reverse=True)
    manual = [(entry["execution_id"], entry["completed_count"]) for entry in history if entry["reason"] == "manual"]
    assert manual == [("e2", 2), ("e1", 2), ("e2", 1), ("e1", 1), ("e2", 0), ("e1", 0)]
    assert {entry["total_count"] for entry in history} == {3}
    for limit in (0, 1, 5, 100):
        assert await manager.get_resume_history("p", limit) == history[:limit]
    assert len(await manager.get_resume_history("p")) == 10
    assert await manager.get_resume_history("ghost") == []
    with pytest.raises(ResumeError, match="limit: expected 0 or more, got -1"):
        await manager.get_resume_history("p", -1)


async def test_counts_in_the_history_survive_resets(bench: Bench, orchestrator: Orchestrator) -> None:
    await orchestrator.run_pipeline(three(bench), execution_id="e")
    await orchestrator.resume_pipeline("e", from_checkpoint=1)
    history = await orchestrator.resume_manager.get_resume_history("p", None)
    assert [entry["completed_count"] for entry in reversed(history)] == [0, 1, 2, 3, 1, 2, 3]


# -- periodic ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
async def test_periodic_checkpointing_of_a_callers_own_loop(
    bench: Bench, orchestrator: Orchestrator, is_async: bool
) -> None:
    rounds = itertools.count(1)

    def plain() -> dict[str, Any]:
        return {**KNOWN, "context": {"round": next(rounds)}}

    async def asynchronous() -> dict[str, Any]:
        await asyncio.sleep(0)
        return plain()

    manager = orchestrator.resume_manager
    await manager.start_periodic_checkpointing("e", three(bench), asynchronous if is_async else plain, 0.01)
    with pytest.raises(ResumeError, match="running already"):
        await manager.start_periodic_checkpointing("e", three(bench), plain, 0.01)
    with pytest.raises(ExecutionOwned):
        await bench.open().resume_manager.create_resume_checkpoint("e")

    async def periodic() -> list[Any]:
        found = await orchestrator.state_manager.list_checkpoints("e")
        return [entry for entry in found if entry["reason"] == "periodic"]

    async def several() -> bool:
        return len(await periodic()) >= 3

    await wait_until(several, description="three checkpoints")
    await manager.stop_periodic_checkpointing("e")
    made = len(await periodic())
    _, state = await manager.get_resume_state("e")
    assert state.context == {"round": next(rounds) - 1}  # the last one when it stopped
    await asyncio.sleep(0.03)
    assert len(await periodic()) == made
    await manager.stop_periodic_checkpointing("e")  # nothing to stop
    await orchestrator.resume_pipeline("e")
    assert bench.calls == ["t2", "t3"]


async def test_one_more_checkpoint_by_hand_while_it_goes_on(bench: Bench, orchestrator: Orchestrator) -> None:
    manager = orchestrator.resume_manager
    await manager.start_periodic_checkpointing("e", three(bench), lambda: KNOWN, 1000)
    await manager.create_resume_checkpoint("e", completed_tasks=["t2"], task_results={"t2": 2})
    await orchestrator.state_manager.save_checkpoint("e", {"mine": 1})
    with pytest.raises(ExecutionOwned):
        await orchestrator.resume_pipeline("e")
    await manager.stop_periodic_checkpointing("e")
    _, state = await manager.get_resume_state("e")
    assert state.completed_tasks == {"t1", "t2"}


async def test_periodic_checkpointing_of_what_the_engine_runs(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(step("a", "hold"))
    running = await begin(orchestrator.run_pipeline, pipeline, execution_id="e")
    await bench.started("a")
    manager = orchestrator.resume_manager
    await manager.start_periodic_checkpointing("e", pipeline, lambda: {"context": {"by": "me"}}, 1000)
    await manager.stop_periodic_checkpointing("e")
    bench.gate("a").set()
    await running.result()
    assert (await manager.get_resume_state("e"))[1].context == {"by": "me"}


async def test_an_error_of_a_periodic_checkpoint_is_told_when_it_is_stopped(
    bench: Bench, orchestrator: Orchestrator, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    def state() -> dict[str, Any]:
        nonlocal calls
        calls += 1
        return KNOWN if calls == 1 else {"completed_tasks": ["ghost"], "task_results": {"ghost": 1}}

    manager = orchestrator.resume_manager
    await manager.start_periodic_checkpointing("e", three(bench), state, 0.005)
    await wait_until(lambda: "its checkpoint failed" in caplog.text, description="it is logged")
    with pytest.raises(ResumeError, match="no task named 'ghost'"):
        await manager.stop_periodic_checkpointing("e")
    assert (await orchestrator.resume_pipeline("e")).status == "completed"  # nobody holds it


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"task_results": {"ghost": 1}}, "no task named 'ghost'"),
        ({"complete_tasks": []}, "keys among completed_tasks, .*; got 'complete_tasks'"),
        ({"execution_id": "other"}, "it tells of execution 'other', this one is 'e'"),
        (None, "expected a dict .*; got NoneType"),
    ],
)
async def test_a_first_state_that_is_refused_starts_nothing(
    bench: Bench, orchestrator: Orchestrator, state: Any, message: str
) -> None:
    manager = orchestrator.resume_manager
    with pytest.raises(ResumeError, match=message):
        await manager.start_periodic_checkpointing("e", three(bench), lambda: state, 1)
    assert await orchestrator.list_executions() == []
    await manager.create_resume_checkpoint("e", three(bench))  # nobody holds it
    await orchestrator.resume_pipeline("e")


async def test_the_state_may_have_every_name_of_a_checkpoints_keywords(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    manager = orchestrator.resume_manager
    pipeline = three(bench)
    state = {"execution_id": "e", "pipeline": pipeline, **KNOWN, "context": None, "failed_tasks": {}}
    await manager.start_periodic_checkpointing("e", pipeline, lambda: state, 1000)
    await manager.stop_periodic_checkpointing("e")
    assert (await manager.get_resume_state("e"))[1].completed_tasks == {"t1"}


@pytest.mark.parametrize("interval", [0, -1, float("inf"), float("nan")])
async def test_an_interval_that_is_none(bench: Bench, orchestrator: Orchestrator, interval: float) -> None:
    with pytest.raises(ResumeError, match="interval: expected seconds above 0"):
        await orchestrator.resume_manager.start_periodic_checkpointing("e", three(bench), dict, interval)


async def test_closing_ends_periodic_checkpointing(bench: Bench) -> None:
    orchestrator = bench.open()
    await orchestrator.resume_manager.start_periodic_checkpointing("e", three(bench), lambda: KNOWN, 1000)
    await orchestrator.close()
    other = bench.open()
    await other.resume_pipeline("e")
    assert (await statuses(other, "e")) == {"t1": "completed", "t2": "completed", "t3": "completed"}
