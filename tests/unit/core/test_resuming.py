"""How an execution goes on: what is reused, what runs again, what is parked, and how it is released."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from orchestrator import (
    CheckpointUnreadable,
    ExecutionFailed,
    NoCheckpoint,
    Orchestrator,
    PipelineResumeManager,
    Result,
    ResumeError,
    ResumeStrategy,
    TaskContext,
    TaskError,
    UsageError,
)
from orchestrator.domain.events import ExecutionStarted, TaskClaimed, TaskInterrupted
from orchestrator.domain.plan import Plan, PlanRequest
from orchestrator.errors import StoreDamaged
from tests.unit.core.bench import Bench, Running, begin, journal, statuses, step, wait_until


async def failing(bench: Bench, orchestrator: Orchestrator, times: int = 1, **parts: Any) -> None:
    """Run `e`: `a`, then `b`, which fails so many times, then `c`."""
    pipeline = bench.pipeline(
        step("a", value=1), step("b", "fail", times=times, value="{{ a.result }}"), step("c", after="b"), **parts
    )
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(pipeline, execution_id="e")
    bench.calls.clear()


async def died(bench: Bench, orchestrator: Orchestrator, **options: Any) -> None:
    """Leave `e` as a process leaves it that is killed while `a` runs."""
    pipeline = bench.pipeline(step("a", "hold", **options), step("b", after="a"))
    running = await begin(orchestrator.run_pipeline, pipeline, execution_id="e")
    await bench.started("a")
    store = orchestrator._adapters.store
    lease = running.engine.recorder.lease
    orchestrator._adapters.keeper.drop(lease)
    running.engine.lost(KeyError("the process is dead"))  # no fact says so
    with pytest.raises(KeyError):
        await running.result()
    assert (await store.summary(lease.execution_id)).status == "running"
    bench.calls.clear()
    bench.gate("a").set()


async def test_the_task_that_failed_is_retried_and_what_was_done_is_not(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    await failing(bench, orchestrator)
    result = await orchestrator.resume_pipeline("e")
    assert result == Result("e", "completed", {}, {"a": "completed", "b": "completed", "c": "completed"})
    assert bench.calls == ["b", "c"]
    started = [event for event in await journal(orchestrator, "e") if isinstance(event, ExecutionStarted)]
    assert [(event.resumed, event.epoch) for event in started] == [(False, 1), (True, 2)]


async def test_a_resume_in_another_process_reads_everything_from_the_store(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    pipeline = bench.pipeline(
        step("a", value="{{ inputs.n }}"),
        step("b", "fail", value="{{ a.result }}"),
        step("c", value="{{ a.result }}", after="b"),
        inputs={"n": {"type": "any"}},
        outputs={"c": "{{ c.result }}", "n": "{{ inputs.n }}"},
    )
    given = {"deep": [1, (2, 3), b"x"]}
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(pipeline, {"n": given}, execution_id="e")
    other = bench.open()
    assert (await other.resume_pipeline("e")).outputs == {"c": given, "n": given}


async def test_a_completed_execution_runs_nothing_and_returns_its_result(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    pipeline = bench.pipeline(step("a", value=1), outputs={"a": "{{ a.result }}"})
    first = await orchestrator.run_pipeline(pipeline, execution_id="e")
    facts = len(await journal(orchestrator, "e"))
    assert await orchestrator.resume_pipeline("e") == first
    assert await bench.open().resume_pipeline("e") == first
    assert bench.calls == ["a"]
    assert len(await journal(orchestrator, "e")) == facts
    assert not await orchestrator.resume_manager.can_resume("e")
    with pytest.raises(ResumeError, match="is completed: there is nothing to retry"):
        await orchestrator.resume_pipeline("e", retry=["a"])


async def test_an_unknown_execution(orchestrator: Orchestrator) -> None:
    with pytest.raises(NoCheckpoint, match=r"^No resume checkpoint found for execution 'ghost'"):
        await orchestrator.resume_pipeline("ghost")
    with pytest.raises(UsageError, match="not an execution id"):
        await orchestrator.resume_pipeline("no such id")


# -- the strategy --------------------------------------------------------------------------------------------------


async def test_retry_failed_tasks_off(bench: Bench, orchestrator: Orchestrator) -> None:
    await failing(bench, orchestrator)
    with pytest.raises(ExecutionFailed, match="b is out of luck"):
        await orchestrator.resume_pipeline("e", ResumeStrategy(retry_failed_tasks=False))
    assert bench.calls == []
    assert (await orchestrator.resume_pipeline("e")).status == "completed"


async def test_preserve_completed_tasks_off(bench: Bench, orchestrator: Orchestrator) -> None:
    await failing(bench, orchestrator)
    await orchestrator.resume_pipeline("e", ResumeStrategy(preserve_completed_tasks=False))
    assert bench.calls == ["a", "b", "c"]
    bench.calls.clear()
    await orchestrator.resume_pipeline("e", ResumeStrategy(preserve_completed_tasks=False))  # even when completed
    assert bench.calls == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("policy", "reset", "status"),
    [
        ("rerun", True, "completed"),
        ("fail", True, "failed"),
        ("ask", True, "in_doubt"),
        ("rerun", False, "failed"),
        ("ask", False, "failed"),
    ],
)
async def test_what_was_running_when_the_process_died(
    bench: Bench, orchestrator: Orchestrator, policy: str, reset: bool, status: str
) -> None:
    await died(bench, orchestrator, on_interrupted=policy)
    if status == "completed":
        await orchestrator.resume_pipeline("e", ResumeStrategy(reset_running_tasks=reset))
        assert bench.calls == ["a", "b"]
    else:
        with pytest.raises(ExecutionFailed) as caught:
            await orchestrator.resume_pipeline("e", ResumeStrategy(reset_running_tasks=reset))
        assert bench.calls == []
        assert ("it may have had its effect; decide with --retry a or --skip a" in str(caught.value)) is (
            status == "in_doubt"
        )
    assert (await statuses(orchestrator, "e"))["a"] == status
    events = [event for event in await journal(orchestrator, "e") if isinstance(event, TaskInterrupted)]
    assert [(event.task, event.attempt) for event in events] == [("a", 1)]


@pytest.mark.parametrize("release", ["retry", "skip"])
async def test_a_step_in_doubt_is_decided_by_a_person(bench: Bench, orchestrator: Orchestrator, release: str) -> None:
    await died(bench, orchestrator, on_interrupted="ask")
    for _ in range(2):
        with pytest.raises(ExecutionFailed, match="in doubt"):
            await orchestrator.resume_pipeline("e")
    _, state = await orchestrator.resume_manager.get_resume_state("e")
    assert state.failed_tasks == {"a": 1}
    result = await orchestrator.resume_pipeline("e", **{release: ["a"]})  # type: ignore[arg-type]
    assert result.statuses["a"] == ("completed" if release == "retry" else "skipped")
    assert bench.calls == (["a", "b"] if release == "retry" else ["b"])


async def test_an_interrupted_execution_is_shown_as_such(bench: Bench, orchestrator: Orchestrator) -> None:
    await died(bench, orchestrator)
    other = bench.open()
    shown = await other.list_executions(status="interrupted")
    assert [summary.execution_id for summary in shown] == ["e"]
    assert await other.resume_manager.can_resume("e")
    _, state = await other.resume_manager.get_resume_state("e")
    assert (state.running_tasks, state.pending_tasks, state.status) == ({"a"}, {"b"}, "running")


# -- limits --------------------------------------------------------------------------------------------------------


async def test_failures_count_over_resumes_until_the_task_is_parked(bench: Bench, orchestrator: Orchestrator) -> None:
    await failing(bench, orchestrator, times=100)
    for parked in ((), (), ("b",)):
        with pytest.raises(ExecutionFailed) as caught:
            await orchestrator.resume_pipeline("e")
        assert caught.value.parked == parked
    with pytest.raises(ExecutionFailed) as caught:
        await orchestrator.resume_pipeline("e")
    assert bench.calls == ["b", "b", "b"]  # the fourth resume ran nothing
    error = str(caught.value)
    assert "step 'b' parked (attempt 4): b is out of luck" in error
    assert "4 failures, 3 retries allowed; release it with --retry b, --skip b or a higher maximum" in error
    assert (await statuses(orchestrator, "e"))["b"] == "parked"


async def test_retries_within_a_run_count_too(bench: Bench, orchestrator: Orchestrator) -> None:
    retry = {"max_attempts": 3, "delay": 0.001}
    pipeline = bench.pipeline(step("a", "fail", times=100, retry=retry), resume={"max_retries": 4})
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(pipeline, execution_id="e")
    with pytest.raises(ExecutionFailed) as caught:
        await orchestrator.resume_pipeline("e")
    assert len(bench.calls) == 5  # one try, four retries
    assert caught.value.parked == ("a",)


async def test_a_higher_maximum_releases_a_parked_task(bench: Bench, orchestrator: Orchestrator) -> None:
    await failing(bench, orchestrator, times=1, resume={"max_retries": 0})
    with pytest.raises(ExecutionFailed) as caught:
        await orchestrator.resume_pipeline("e")
    assert caught.value.parked == ("b",)
    assert (await orchestrator.resume_pipeline("e", ResumeStrategy(max_retry_attempts=1))).status == "completed"


async def test_retry_releases_a_parked_task_and_forgives_it(bench: Bench, orchestrator: Orchestrator) -> None:
    await failing(bench, orchestrator, times=2, resume={"max_retries": 0})
    with pytest.raises(ExecutionFailed):
        await orchestrator.resume_pipeline("e", retry=["b"])
    state = await orchestrator.get_state("e")
    assert state.tasks["b"].failures == 1
    assert (await orchestrator.resume_pipeline("e", retry=["b"])).status == "completed"
    assert bench.calls == ["b", "b", "c"]


async def test_skip_goes_on_without_a_task(bench: Bench, orchestrator: Orchestrator) -> None:
    await failing(bench, orchestrator, times=100)
    result = await orchestrator.resume_pipeline("e", skip=["b"])
    assert result.statuses == {"a": "completed", "b": "skipped", "c": "completed"}
    assert await orchestrator.get_result("e", "b") is None


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"retry": ["ghost"]}, "no step named 'ghost'"),
        ({"skip": ["a"]}, "'a' is completed"),
        ({"retry": ["b"], "skip": ["b"]}, "cannot be both retried and skipped"),
        ({"from_checkpoint": 999}, "no position 999"),
    ],
)
async def test_a_request_that_is_refused_changes_nothing(
    bench: Bench, orchestrator: Orchestrator, request_: dict[str, Any], message: str
) -> None:
    await failing(bench, orchestrator)
    facts = len(await journal(orchestrator, "e"))
    with pytest.raises(ResumeError, match=message):
        await orchestrator.resume_pipeline("e", **request_)
    assert len(await journal(orchestrator, "e")) == facts
    assert (await orchestrator.resume_pipeline("e")).status == "completed"  # and nobody holds it


# -- from a checkpoint ---------------------------------------------------------------------------------------------


async def test_from_a_checkpoint(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(step("a"), step("b", after="a"), step("c", after="b"))
    await orchestrator.run_pipeline(pipeline, execution_id="e")
    checkpoints = await orchestrator.state_manager.list_checkpoints("e")
    after_a = next(entry["checkpoint_id"] for entry in checkpoints if entry["task"] == "a")
    for form in (after_a, int(after_a.split("@")[1]), after_a.split("@")[1]):
        bench.calls.clear()
        await orchestrator.resume_pipeline("e", from_checkpoint=form)
        assert bench.calls == ["b", "c"]
    assert await orchestrator.state_manager.verify() == []


async def test_from_a_checkpoint_with_what_was_saved_there(bench: Bench, orchestrator: Orchestrator) -> None:
    seen: list[Any] = []

    async def saving(context: TaskContext) -> None:
        seen.append(context.saved)
        context.save((context.saved or 0) + 1)
        raise TaskError("not yet")

    bench.register(saving)
    pipeline = bench.pipeline(step("a"), step("s", "saving", after="a"), outputs={"context": "{{ execution.context }}"})
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(pipeline, execution_id="e")
    manager = orchestrator.resume_manager
    once = await manager.create_resume_checkpoint("e", context={"n": 1})
    with pytest.raises(ExecutionFailed):
        await orchestrator.resume_pipeline("e")
    await manager.create_resume_checkpoint("e", context={"n": 2})
    start = (await orchestrator.state_manager.list_checkpoints("e"))[-1]["checkpoint_id"]
    for back, saved, context in ((once, 1, {"n": 1}), (None, 2, {"n": 1}), (start, None, {}), (once, 1, {"n": 1})):
        with pytest.raises(ExecutionFailed):
            await orchestrator.resume_pipeline("e", ResumeStrategy(max_retry_attempts=9), from_checkpoint=back)
        assert seen[-1] == saved
        assert (await manager.get_resume_state("e"))[1].context == context
    assert await orchestrator.state_manager.verify() == []


async def test_from_a_checkpoint_of_another_execution(bench: Bench, orchestrator: Orchestrator) -> None:
    await failing(bench, orchestrator)
    with pytest.raises(UsageError, match="belongs to another execution"):
        await orchestrator.resume_pipeline("e", from_checkpoint="other@3")
    with pytest.raises(UsageError, match="not a checkpoint"):
        await orchestrator.resume_pipeline("e", from_checkpoint="e@x")


# -- what is told --------------------------------------------------------------------------------------------------


async def test_the_plan_is_what_the_resume_does(bench: Bench, orchestrator: Orchestrator) -> None:
    await failing(bench, orchestrator)
    manager: PipelineResumeManager = orchestrator.resume_manager
    facts = len(await journal(orchestrator, "e"))
    plan = await manager.plan("e", PlanRequest())
    assert len(await journal(orchestrator, "e")) == facts
    told: list[Plan] = []
    await orchestrator.resume_pipeline("e", planned=told.append)
    assert told[0].decisions == plan.decisions
    assert [(decision.task, decision.verb) for decision in plan.decisions] == [
        ("a", "reuse"),
        ("b", "rerun"),
        ("c", "run"),
    ]


async def test_the_logger_tells_why(bench: Bench, orchestrator: Orchestrator, caplog: pytest.LogCaptureFixture) -> None:
    await failing(bench, orchestrator)
    with caplog.at_level(logging.DEBUG, "orchestrator.resume_manager"):
        assert not await orchestrator.resume_manager.can_resume("ghost")
        assert await orchestrator.resume_manager.can_resume("e")
        await orchestrator.resume_pipeline("e")
        assert not await orchestrator.resume_manager.can_resume("e")
        await orchestrator.resume_pipeline("e")
    text = caplog.text
    for line in (
        "can_resume ghost: no, unknown",
        "can_resume e: yes",
        "resume of e: epoch 2",
        "every record and value verified",
        "resume of e: reuse a: completed at seq",
        "resume of e: rerun b: failed 1x: b is out of luck",
        "resume of e: run c: not run yet",
        "can_resume e: no, it is completed",
        "completed already, nothing to do",
    ):
        assert line in text, line


async def test_damaged_values_are_found_before_anything_runs(
    bench: Bench, orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def big() -> str:
        return "x" * 5000

    bench.register(big)
    pipeline = bench.pipeline(step("a", "big"), step("b", "fail"), step("c", after=["a", "b"]))
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(pipeline, execution_id="e")
    store = orchestrator._adapters.store
    get = store.get

    async def damaged(ref: Any) -> bytes:
        if ref.size > 5000:
            raise StoreDamaged(f"value {ref.data.hex()}", "wrong checksum")
        return await get(ref)

    monkeypatch.setattr(store, "get", damaged)
    bench.calls.clear()
    with pytest.raises(CheckpointUnreadable, match=r"^Failed to load resume state.*wrong checksum"):
        await orchestrator.resume_pipeline("e")
    with pytest.raises(CheckpointUnreadable):
        await orchestrator.resume_manager.validate("e")
    assert bench.calls == []
    result = await orchestrator.resume_pipeline("e", ResumeStrategy(validate_checkpoint_integrity=False))
    assert result.status == "completed"  # nothing that was left to do reads it


async def test_templates_know_that_it_is_a_resume_and_which_attempt(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(
        step("a", "fail"), step("b", value=["{{ execution.is_resume }}", "{{ attempt }}"], after="a")
    )
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(pipeline, execution_id="e")
    await orchestrator.resume_pipeline("e")
    assert await orchestrator.get_result("e", "b") == [True, 1]
    assert await orchestrator.get_result("e", "a") == 2


async def test_the_idempotency_key_is_the_same_after_a_resume(bench: Bench, orchestrator: Orchestrator) -> None:
    await failing(bench, orchestrator)
    await orchestrator.resume_pipeline("e")
    assert {context.idempotency_key for context in bench.contexts if context.task_id == "b"} == {"e/b"}


async def test_an_attempt_knows_which_one_was_recorded_before_it(bench: Bench, orchestrator: Orchestrator) -> None:
    """So that a tool tells an effect that is to be repeated from one that was asked for anew."""
    await failing(bench, orchestrator)
    await orchestrator.resume_pipeline("e")
    await orchestrator.resume_pipeline("e", rerun=["b"])
    seen = [(context.attempt, context.completed_attempt) for context in bench.contexts if context.task_id == "b"]
    assert seen == [(1, 0), (2, 0), (3, 2)]
    assert {context.created_at for context in bench.contexts} == {(await orchestrator.get_state("e")).created_at}


async def test_the_same_end_after_any_number_of_abandoned_runs(bench: Bench, orchestrator: Orchestrator) -> None:
    steps = [step(f"s{n}", value=f"{{{{ s{n - 1}.result + 1 }}}}" if n else 0) for n in range(12)]
    pipeline = bench.pipeline(*steps, outputs={"end": "{{ s11.result }}"})
    running = await begin(orchestrator.run_pipeline, pipeline, execution_id="e")
    for limit in range(1, 13):
        await _count(bench, limit, running)
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)
        if not await orchestrator.resume_manager.can_resume("e"):
            break
        running = await begin(orchestrator.resume_pipeline, "e")
    await asyncio.gather(running.task, return_exceptions=True)
    result = await orchestrator.resume_pipeline("e")
    assert result.outputs == {"end": 11}
    claims = [event.task for event in await journal(orchestrator, "e") if isinstance(event, TaskClaimed)]
    assert set(claims) == {f"s{n}" for n in range(12)}
    assert await orchestrator.state_manager.verify() == []


async def _count(bench: Bench, calls: int, running: Running) -> None:
    await wait_until(lambda: len(bench.calls) >= calls or running.task.done(), description=f"{calls} calls")
