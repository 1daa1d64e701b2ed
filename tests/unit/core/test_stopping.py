"""How a run ends before its end: cancelled, stopped, abandoned, or taken over - always to be resumed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator import (
    ExecutionCancelled,
    ExecutionFailed,
    ExecutionOwned,
    ExecutionStopped,
    LeaseLost,
    Orchestrator,
    ResumeError,
)
from orchestrator.domain.events import CancelRequested, ExecutionFinished, TaskClaimed, TaskInterrupted
from orchestrator.errors import OrchestratorError, StoreFull, UnknownExecution
from orchestrator.settings import Settings
from tests.unit.core.bench import Bench, Running, begin, journal, statuses, step, wait_until


async def held(bench: Bench, orchestrator: Orchestrator, tool: str = "hold", **options: Any) -> Running:
    """Begin an execution `e` of a step `a` that waits, and `b` behind it."""
    pipeline = bench.pipeline(
        step("a", tool, value="A", **options), step("b", after="a"), outputs={"a": "{{ a.result }}"}
    )
    running = await begin(orchestrator.run_pipeline, pipeline, execution_id="e")
    await bench.started("a")
    return running


def hasty(bench: Bench, grace: float = 0.02) -> Orchestrator:
    """Return an orchestrator that gives running steps little time to end."""
    made = bench.open()
    made._settings = Settings(Path.cwd(), store=made.store_url, grace=grace)
    return made


# -- cancel --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["hold", "hold_thread"])
async def test_cancel_in_the_same_process(bench: Bench, orchestrator: Orchestrator, tool: str) -> None:
    running = await held(bench, orchestrator, tool)
    assert await orchestrator.cancel("e", by="me")
    with pytest.raises(ExecutionCancelled, match="cancelled by me") as caught:
        await running.result()
    assert caught.value.execution_id == "e"
    assert "orchestrator resume e" in str(caught.value)
    await wait_until(lambda: bench.ended == ["a"], description="the step ended")
    assert bench.calls == ["a"]
    events = await journal(orchestrator, "e")
    asked = next(index for index, event in enumerate(events) if isinstance(event, CancelRequested))
    assert not any(isinstance(event, TaskClaimed) for event in events[asked:])  # I12
    interrupted = next(event for event in events if isinstance(event, TaskInterrupted))
    assert interrupted.reason == "cancelled by me"


async def test_cancel_from_another_orchestrator(bench: Bench, orchestrator: Orchestrator) -> None:
    running = await held(bench, orchestrator)
    other = bench.open()
    assert await other.cancel("e", by="someone")
    with pytest.raises(ExecutionCancelled, match="cancelled by someone"):
        await running.result()
    assert (await other.list_executions())[0].status == "cancelled"


async def test_cancel_of_an_execution_that_nobody_works_on(bench: Bench, orchestrator: Orchestrator) -> None:
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(bench.pipeline(step("a", "fail")), execution_id="e")
    assert await orchestrator.cancel("e")
    assert (await orchestrator.get_state("e")).status == "cancelled"
    with pytest.raises(ResumeError, match="is cancelled: there is nothing to cancel"):
        await orchestrator.cancel("e")


async def test_cancel_of_what_has_ended_or_never_was(bench: Bench, orchestrator: Orchestrator) -> None:
    await orchestrator.run_pipeline(bench.pipeline(step("a")), execution_id="e")
    with pytest.raises(ResumeError, match="is completed: there is nothing to cancel"):
        await orchestrator.cancel("e")
    with pytest.raises(UnknownExecution, match="ghost"):
        await orchestrator.cancel("ghost")


async def test_a_cancelled_execution_goes_on_when_it_is_resumed(bench: Bench, orchestrator: Orchestrator) -> None:
    running = await held(bench, orchestrator)
    await orchestrator.cancel("e")
    with pytest.raises(ExecutionCancelled):
        await running.result()
    bench.gate("a").set()
    assert (await orchestrator.resume_pipeline("e")).outputs == {"a": "A"}
    state = await orchestrator.get_state("e")
    assert [(task.attempt, task.failures) for task in state.tasks.values()] == [(2, 0), (1, 0)]


async def test_a_step_that_does_not_end_is_left_behind(
    bench: Bench, orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.core.engine.CANCEL_PATIENCE_SECONDS", 0.02)

    async def stubborn() -> None:
        while not bench.gate("a").is_set():
            try:
                await bench.gate("a").wait()
            except asyncio.CancelledError:
                bench.calls.append("asked")

    bench.register(stubborn)
    running = await begin(orchestrator.run_pipeline, bench.pipeline(step("a", "stubborn")), execution_id="e")
    await asyncio.sleep(0.01)
    assert await orchestrator.cancel("e")
    with pytest.raises(ExecutionCancelled):
        await running.result()
    assert bench.calls == ["asked"]
    bench.gate("a").set()


# -- stop ----------------------------------------------------------------------------------------------------------


async def test_a_stop_lets_running_steps_finish_and_begins_none(bench: Bench, orchestrator: Orchestrator) -> None:
    running = await held(bench, orchestrator)
    running.engine.stop(15)
    await wait_until(lambda: running.engine.stopped_by, description="it was asked to stop")
    bench.gate("a").set()
    with pytest.raises(ExecutionStopped, match="orchestrator resume e") as caught:
        await running.result()
    assert (caught.value.signal, caught.value.exit_code, caught.value.execution_id) == (15, 143, "e")
    assert bench.calls == ["a"]
    assert await statuses(orchestrator, "e") == {"a": "completed", "b": "pending"}
    assert (await orchestrator.list_executions())[0].status == "stopped"
    assert (await orchestrator.resume_pipeline("e")).outputs == {"a": "A"}
    assert bench.calls == ["a", "b"]


async def test_a_stop_ends_what_does_not_finish_within_the_grace(bench: Bench) -> None:
    orchestrator = hasty(bench)
    running = await held(bench, orchestrator)
    running.engine.stop(2)
    with pytest.raises(ExecutionStopped) as caught:
        await running.result()
    assert caught.value.exit_code == 130
    assert await statuses(orchestrator, "e") == {"a": "pending", "b": "pending"}
    interrupted = [event for event in await journal(orchestrator, "e") if isinstance(event, TaskInterrupted)]
    assert [(event.outcome, event.reason) for event in interrupted] == [("rerun", "stopped by signal 2")]
    bench.gate("a").set()
    await orchestrator.resume_pipeline("e")
    assert bench.calls == ["a", "a", "b"]


async def test_a_stop_makes_a_checkpoint(bench: Bench, orchestrator: Orchestrator) -> None:
    running = await held(bench, orchestrator)
    running.engine.stop(15)
    bench.gate("a").set()
    with pytest.raises(ExecutionStopped):
        await running.result()
    found = await orchestrator.state_manager.list_checkpoints("e")
    assert [entry["metadata"]["signal"] for entry in found if entry["reason"] == "stop"] == [15]


async def test_a_stop_before_the_first_step(bench: Bench, orchestrator: Orchestrator) -> None:
    with pytest.raises(ExecutionStopped):
        await orchestrator.run_pipeline(bench.pipeline(step("a")), execution_id="e", admitted=lambda e: e.stop(15))
    assert bench.calls == []
    assert (await orchestrator.resume_pipeline("e")).status == "completed"


async def test_a_stop_does_not_wait_for_a_retry(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(
        step("a", "fail", retry={"max_attempts": 2, "delay": 1000, "jitter": False, "max_delay": 1000})
    )
    running = await begin(orchestrator.run_pipeline, pipeline, execution_id="e")
    await wait_until(running.engine.state.next_retry_at, description="it waits")
    running.engine.stop(15)
    with pytest.raises(ExecutionStopped):
        await running.result()
    assert (await orchestrator.resume_pipeline("e")).status == "completed"


async def test_interrupted_steps_of_a_stop_obey_on_interrupted(bench: Bench) -> None:
    orchestrator = hasty(bench)
    running = await held(bench, orchestrator, on_interrupted="ask")
    running.engine.stop(15)
    with pytest.raises(ExecutionStopped):
        await running.result()
    assert await statuses(orchestrator, "e") == {"a": "in_doubt", "b": "pending"}


# -- abandoned by its caller ---------------------------------------------------------------------------------------


async def test_cancelling_the_awaiting_task_leaves_a_resumable_execution(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    running = await held(bench, orchestrator)
    running.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running.task
    assert (await orchestrator.get_state("e")).status == "stopped"
    assert await orchestrator.resume_manager.can_resume("e")
    bench.gate("a").set()
    assert (await orchestrator.resume_pipeline("e")).outputs == {"a": "A"}
    assert bench.calls == ["a", "a", "b"]


async def test_a_timeout_around_a_run_leaves_a_resumable_execution(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(step("a", "hold"))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(orchestrator.run_pipeline(pipeline, execution_id="e"), 0.05)
    assert await orchestrator.resume_manager.can_resume("e")


async def test_closing_while_something_runs_leaves_a_resumable_execution(bench: Bench) -> None:
    orchestrator = bench.open()
    running = await held(bench, orchestrator)
    await orchestrator.close()
    with pytest.raises(ExecutionStopped):
        await running.result()
    after = bench.open()
    assert await statuses(after, "e") == {"a": "pending", "b": "pending"}
    bench.gate("a").set()
    assert (await after.resume_pipeline("e")).outputs == {"a": "A"}
    assert (await after.get_state("e")).tasks["a"].failures == 0


# -- ownership -----------------------------------------------------------------------------------------------------


async def test_of_two_resumes_at_once_one_proceeds_and_the_other_is_told_who_owns_it(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    pipeline = bench.pipeline(step("a", "fail"), step("b", "hold", after="a"))
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(pipeline, execution_id="e")
    first = await begin(orchestrator.resume_pipeline, "e")
    await bench.started("b")
    other = bench.open()
    with pytest.raises(ExecutionOwned, match="process") as caught:
        await other.resume_pipeline("e")
    assert caught.value.exit_code == 4
    with pytest.raises(ExecutionOwned, match="this very process"):
        await orchestrator.resume_pipeline("e")
    assert not await other.resume_manager.can_resume("e")
    bench.gate("b").set()
    assert (await first.result()).status == "completed"
    assert bench.calls == ["a", "a", "b"]


async def test_many_resumes_at_once_run_each_step_once(bench: Bench, orchestrator: Orchestrator) -> None:
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(bench.pipeline(step("a", "fail"), step("b", after="a")), execution_id="e")
    others = [bench.open() for _ in range(5)]
    ended = await asyncio.gather(*(other.resume_pipeline("e") for other in others), return_exceptions=True)
    assert all(isinstance(each, ExecutionOwned) or getattr(each, "status", "") == "completed" for each in ended)
    assert bench.calls == ["a", "a", "b"]


async def test_an_owner_that_lost_its_lease_writes_nothing_more(bench: Bench, orchestrator: Orchestrator) -> None:
    running = await held(bench, orchestrator)
    thief = bench.open()
    taken = await begin(thief.resume_pipeline, "e", steal=True)
    await wait_until(lambda: bench.calls == ["a", "a"], description="the thief runs it")
    with pytest.raises(LeaseLost) as caught:
        await running.result()  # the keeper notices by itself
    assert caught.value.exit_code == 5
    bench.gate("a").set()
    await taken.result()
    events = await journal(thief, "e")
    assert [event.attempt for event in events if isinstance(event, TaskClaimed) and event.task == "a"] == [1, 2]
    assert sum(isinstance(event, ExecutionFinished) for event in events) == 1
    assert await thief.state_manager.verify() == []


async def test_a_stale_owner_that_writes_first_is_refused_by_the_store(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    running = await held(bench, orchestrator)
    orchestrator._adapters.keeper.drop(running.engine.recorder.lease)  # nobody tells it
    thief = bench.open()
    bench.calls.clear()
    taken = await begin(thief.resume_pipeline, "e", steal=True)
    await bench.started("a")
    facts = len(await journal(thief, "e"))
    running.engine.stop(15)  # it has something to write now
    with pytest.raises(LeaseLost):
        await running.result()
    assert len(await journal(thief, "e")) == facts
    bench.gate("a").set()
    await taken.result()
    assert bench.calls == ["a", "b"]


async def test_a_store_that_fails_ends_the_run_and_loses_nothing_acknowledged(
    bench: Bench, orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await held(bench, orchestrator)
    store = orchestrator._adapters.store

    async def full(*_arguments: Any, **_options: Any) -> Any:
        raise StoreFull("no space left")

    monkeypatch.setattr(store, "append", full)
    bench.gate("a").set()
    with pytest.raises(StoreFull):
        await running.result()
    monkeypatch.undo()
    assert (await orchestrator.resume_pipeline("e")).outputs == {"a": "A"}
    assert bench.calls == ["a", "a", "b"]


async def test_a_caller_waiting_for_a_run_that_dies_is_told(
    bench: Bench, orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await held(bench, orchestrator)

    async def full(*_arguments: Any, **_options: Any) -> Any:
        raise StoreFull("no space left")

    monkeypatch.setattr(orchestrator._adapters.store, "append", full)
    started = time.monotonic()
    with pytest.raises(OrchestratorError):
        await orchestrator.resume_manager.create_resume_checkpoint("e")
    assert time.monotonic() - started < 5
    with pytest.raises(StoreFull):
        await running.result()


# -- signals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
async def test_the_first_signal_stops_gracefully(
    bench: Bench, orchestrator: Orchestrator, sent: signal.Signals, code: int
) -> None:
    before = signal.getsignal(sent)
    told: list[tuple[int, int]] = []
    with orchestrator.signals(lambda number, count: told.append((number, count))):
        running = await held(bench, orchestrator)
        os.kill(os.getpid(), sent)
        await wait_until(lambda: running.engine.stopped_by, description="the signal arrives")
        bench.gate("a").set()
        with pytest.raises(ExecutionStopped) as caught:
            await running.result()
    assert caught.value.exit_code == code
    assert told == [(code - 128, 1)]
    assert orchestrator.stop_asked == code - 128
    assert signal.getsignal(sent) == before
    assert await statuses(orchestrator, "e") == {"a": "completed", "b": "pending"}


# -- the lease in time ---------------------------------------------------------------------------------------------


async def test_a_lease_that_is_about_to_end_is_renewed_before_anything_begins(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    running = await held(bench, orchestrator)
    lease = running.engine.recorder.lease
    orchestrator._adapters.keeper.drop(lease)
    lease.deadline = orchestrator._clock.monotonic() + 1
    bench.gate("a").set()
    await running.result()
    assert lease.deadline > orchestrator._clock.monotonic() + 20
