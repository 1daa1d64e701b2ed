"""What a step saves and tells while it runs: coalesced, made durable in time, and there to go on from."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator import ExecutionCancelled, ExecutionFailed, ExecutionStopped, Orchestrator, TaskContext, TaskError
from orchestrator.domain.events import CheckpointMade, Event, TaskCompleted, TaskProgressed
from tests.unit.core.bench import Bench, Running, begin, journal, step, wait_until

SLOW = {"checkpoint_interval": 1000}
QUICK = {"checkpoint_interval": 0.02}


async def progressed(orchestrator: Orchestrator) -> list[TaskProgressed]:
    return [event for event in await journal(orchestrator, "e") if isinstance(event, TaskProgressed)]


async def saved_state(orchestrator: Orchestrator, name: str = "a") -> Any:
    state = await orchestrator.get_state("e")
    ref = next(task.saved for key, task in state.tasks.items() if key == name)
    return None if ref is None else orchestrator._adapters.codec.decode(await orchestrator._adapters.store.get(ref))


def saver(bench: Bench, *states: Any, fail: bool = False) -> None:
    """Register ``save``: saves the states, then waits for its gate or fails; keeps what it found saved."""

    async def save(context: TaskContext) -> Any:
        bench.note(context)
        found = context.saved
        for number, state in enumerate(states, 1):
            context.save(state)
            context.progress(number, len(states), f"state {number}")
        if fail and context.attempt == 1:
            raise TaskError("out of luck")
        await bench.gate(context.task_id).wait()
        return found

    bench.register(save)


async def test_saves_are_coalesced_and_kept_every_interval(bench: Bench, orchestrator: Orchestrator) -> None:
    saver(bench, *range(1000))
    running = await begin(orchestrator.run_pipeline, bench.pipeline(step("a", "save"), resume=QUICK), execution_id="e")
    await wait_until(lambda: progressed(orchestrator), description="an interval passes")
    bench.gate("a").set()
    await running.result()
    events = await progressed(orchestrator)
    assert [(event.done, event.total, event.message) for event in events] == [(1000, 1000, "state 1000")]


async def test_nothing_is_written_where_nothing_is_new(bench: Bench, orchestrator: Orchestrator) -> None:
    saver(bench, 1)
    running = await begin(orchestrator.run_pipeline, bench.pipeline(step("a", "save"), resume=QUICK), execution_id="e")

    async def periodic() -> int:
        return sum(isinstance(event, CheckpointMade) for event in await journal(orchestrator, "e"))

    await wait_until(lambda: _more_than(periodic, 2), description="three intervals pass")
    bench.gate("a").set()
    await running.result()
    assert len(await progressed(orchestrator)) == 1


async def _more_than(count: Any, number: int) -> bool:
    return bool(await count() > number)


async def test_periodic_checkpoints_are_made_while_something_runs(bench: Bench, orchestrator: Orchestrator) -> None:
    running = await begin(
        orchestrator.run_pipeline,
        bench.pipeline(step("a"), step("b", "hold", after="a"), resume=QUICK),
        execution_id="e",
    )

    async def found() -> list[dict[str, Any]]:
        checkpoints = await orchestrator.state_manager.list_checkpoints("e")
        return [entry for entry in checkpoints if entry["reason"] == "periodic"]

    await wait_until(found, description="a periodic checkpoint")
    bench.gate("b").set()
    await running.result()
    entry = (await found())[0]
    assert (entry["completed_count"], entry["total_count"], entry["metadata"]["running"]) == (1, 2, 1)


async def test_a_retry_goes_on_from_the_saved_state(bench: Bench, orchestrator: Orchestrator) -> None:
    saver(bench, {"row": 7}, fail=True)
    bench.gate("a").set()
    retry = {"max_attempts": 2, "delay": 0.001}
    pipeline = bench.pipeline(step("a", "save", retry=retry), resume=SLOW, outputs={"found": "{{ a.result }}"})
    assert (await orchestrator.run_pipeline(pipeline)).outputs == {"found": {"row": 7}}


async def test_a_failure_keeps_the_saved_state_for_the_resume(bench: Bench, orchestrator: Orchestrator) -> None:
    saver(bench, {"row": 7}, fail=True)
    pipeline = bench.pipeline(step("a", "save"), resume=SLOW, outputs={"found": "{{ a.result }}"})
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(pipeline, execution_id="e")
    assert await saved_state(orchestrator) == {"row": 7}
    bench.gate("a").set()
    assert (await orchestrator.resume_pipeline("e")).outputs == {"found": {"row": 7}}


async def test_a_stop_keeps_the_saved_state_at_once(bench: Bench, orchestrator: Orchestrator) -> None:
    saver(bench, "half")
    running = await begin(orchestrator.run_pipeline, bench.pipeline(step("a", "save"), resume=SLOW), execution_id="e")
    await bench.started("a")
    assert await progressed(orchestrator) == []
    running.engine.stop(15)
    await wait_until(lambda: progressed(orchestrator), description="the state is kept")
    bench.gate("a").set()
    with_result = await asyncio.gather(running.task, return_exceptions=True)
    assert getattr(with_result[0], "status", None) == "completed" or isinstance(with_result[0], ExecutionStopped)


@pytest.mark.parametrize("how", ["cancel", "abandon"])
async def test_a_cancel_keeps_the_saved_state(bench: Bench, orchestrator: Orchestrator, how: str) -> None:
    saver(bench, "half")
    pipeline = bench.pipeline(step("a", "save"), resume=SLOW, outputs={"found": "{{ a.result }}"})
    running = await begin(orchestrator.run_pipeline, pipeline, execution_id="e")
    await bench.started("a")
    if how == "cancel":
        await orchestrator.cancel("e")
        with pytest.raises(ExecutionCancelled):
            await running.result()
    else:
        running.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running.task
    bench.gate("a").set()
    assert (await orchestrator.resume_pipeline("e")).outputs == {"found": "half"}


async def test_a_critical_step_keeps_each_save_at_once(bench: Bench, orchestrator: Orchestrator) -> None:
    async def critical(context: TaskContext) -> list[Any]:
        found = []
        for number in range(3):
            context.save(number)
            await wait_until(lambda: saved_state(orchestrator), description="it is kept") if number else None
            await asyncio.sleep(0.01)
            found.append(await saved_state(orchestrator))
        return found

    bench.register(critical)
    pipeline = bench.pipeline(step("a", "critical", resume={"critical": True}), resume=SLOW)
    await orchestrator.run_pipeline(pipeline, execution_id="e")
    assert await orchestrator.get_result("e", "a") == [0, 1, 2]


async def test_success_writes_no_progress(bench: Bench, orchestrator: Orchestrator) -> None:
    saver(bench, 1, 2, 3)
    bench.gate("a").set()
    await orchestrator.run_pipeline(bench.pipeline(step("a", "save"), resume=SLOW), execution_id="e")
    events: list[Event] = await journal(orchestrator, "e")
    assert await progressed(orchestrator) == []
    assert any(isinstance(event, TaskCompleted) for event in events)


async def test_a_save_is_a_copy(bench: Bench, orchestrator: Orchestrator) -> None:
    async def spoil(context: TaskContext) -> Any:
        if context.attempt == 1:
            state = [1]
            context.save(state)
            state.append(99)
            context.saved.append(98)
            raise TaskError("again")
        return context.saved

    bench.register(spoil)
    pipeline = bench.pipeline(step("a", "spoil", retry={"max_attempts": 2, "delay": 0.001}))
    await orchestrator.run_pipeline(pipeline, execution_id="e")
    assert await orchestrator.get_result("e", "a") == [1]


@dataclass
class Strange:
    """A type that nobody registered."""


async def test_a_state_that_cannot_be_kept_fails_the_step_naming_it(bench: Bench, orchestrator: Orchestrator) -> None:
    async def save(context: TaskContext) -> None:
        context.save({"cursor": Strange()})

    bench.register(save)
    with pytest.raises(ExecutionFailed, match=r"state\.cursor"):
        await orchestrator.run_pipeline(bench.pipeline(step("a", "save")))


async def test_a_saved_state_does_not_outlive_its_result(bench: Bench, orchestrator: Orchestrator) -> None:
    saver(bench, "first")
    bench.gate("a").set()
    pipeline = bench.pipeline(step("a", "save", resume={"critical": True}), step("b", "fail", after="a"))
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(pipeline, execution_id="e")
    await orchestrator.resume_pipeline("e", from_checkpoint=1)
    assert await orchestrator.get_result("e", "a") is None  # it began anew


async def test_progress_is_shown_at_once_but_not_written(bench: Bench) -> None:
    shown: list[tuple[Any, ...]] = []

    class Listener:
        def notify(self, *event: Any) -> None: ...

        def progress(self, *told: Any) -> None:
            shown.append(told)

    orchestrator = bench.open(listeners=[Listener()])
    saver(bench, 1)
    running = await begin(orchestrator.run_pipeline, bench.pipeline(step("a", "save"), resume=SLOW), execution_id="e")
    await wait_until(lambda: shown, description="progress is shown")
    assert shown == [("e", "a", 1, 1, "state 1")]
    assert await progressed(orchestrator) == []
    bench.gate("a").set()
    await running.result()


async def test_what_an_abandoned_attempt_says_changes_nothing(bench: Bench, orchestrator: Orchestrator) -> None:
    def stubborn(context: TaskContext) -> Any:
        if context.attempt > 1:
            return context.saved
        bench.thread_gate("a").wait(10)
        context.save("too late")
        context.progress(9, 9)
        bench.ended.append("a")
        return None

    bench.register(stubborn)
    retry = {"max_attempts": 2, "delay": 0.001, "on": "timeout"}
    monkey = orchestrator._adapters.executor._inner._inner  # type: ignore[attr-defined]
    monkey._local._grace = 0.01
    running: Running = await begin(
        orchestrator.run_pipeline, bench.pipeline(step("a", "stubborn", timeout=0.02, retry=retry)), execution_id="e"
    )
    await running.result()
    bench.thread_gate("a").set()
    await wait_until(lambda: bench.ended, description="the abandoned thread ends")
    assert await orchestrator.get_result("e", "a") is None
    assert await progressed(orchestrator) == []


async def test_a_number_too_large_for_the_journal_ends_no_run(bench: Bench, orchestrator: Orchestrator) -> None:
    async def count(context: TaskContext) -> None:
        context.progress(10**30, 10**31, "atoms")
        raise TaskError("so far")

    bench.register(count)
    with pytest.raises(ExecutionFailed, match="so far"):
        await orchestrator.run_pipeline(bench.pipeline(step("a", "count")), execution_id="e")
    assert [(event.done, event.total) for event in await progressed(orchestrator)] == [(1e30, 1e31)]
