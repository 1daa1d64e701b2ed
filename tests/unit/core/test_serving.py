"""A server in this process: what it takes, runs, gives back and lays aside."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from orchestrator import ExecutionCancelled, ExecutionFailed, Orchestrator, ResumeError, UsageError
from orchestrator.core.parking import MOST_DEATHS, MOST_SILENT_DEATHS, why_poison
from orchestrator.core.serving import Notice, Server
from orchestrator.domain.events import CheckpointMade, Event, ExecutionFinished, ExecutionStarted, TaskClaimed
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import ExecutionId, Seq, TaskId
from orchestrator.errors import ExecutionExists, StoreBroken, StoreUnavailable, UnknownExecution
from orchestrator.ports.store import Lease, Place, Store
from tests.unit.core.bench import Bench, begin, journal, statuses, step, wait_until

E = ExecutionId("e")


@pytest.fixture
def orchestrator(bench: Bench) -> Orchestrator:
    """Return one that gives running steps little time to end."""
    made = bench.open()
    made._settings = replace(made._settings, grace=0.02)
    return made


class Told(list[Notice]):
    """What a server said."""

    def __call__(self, notice: Notice) -> None:
        self.append(notice)

    def of(self, kind: str) -> list[str]:
        return [notice.execution_id for notice in self if notice.kind == kind]

    def ends(self) -> dict[str, str]:
        return {notice.execution_id: notice.text for notice in self if notice.kind == "ended"}


@contextlib.asynccontextmanager
async def serving(orchestrator: Orchestrator, **options: Any) -> AsyncIterator[Told]:
    """Within: a server at work; it is drained at the end."""
    told = Told()
    task = asyncio.create_task(orchestrator.serve(told=told, **options))
    try:
        yield told
    finally:
        await asyncio.sleep(0)
        orchestrator._fleet.stop(signal.SIGTERM)
        async with asyncio.timeout(20):
            await task


def store_of(orchestrator: Orchestrator) -> Store:
    return orchestrator._adapters.store


async def ended(told: Told, *names: str) -> None:
    await wait_until(lambda: set(names) <= set(told.ends()), description=f"{names} end")


# -- submitting and waiting ------------------------------------------------------------------------------------------


async def test_what_is_submitted_is_run_and_waited_for(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(step("a", value="A"), step("b", after="a"), outputs={"a": "{{ a.result }}"})
    name = await orchestrator.submit(pipeline, queue="q", priority=4)
    summary = await orchestrator.get_summary(name)
    assert (summary.place, summary.waiting, summary.status) == (Place("q", 4), True, ExecutionStatus.CREATED)
    assert bench.calls == []
    async with serving(orchestrator, queues=["q"]) as told:
        result = await orchestrator.wait(name)
    assert (result.status, result.outputs) == ("completed", {"a": "A"})
    assert told.ends() == {name: "completed"}
    first = next(event for event in await journal(orchestrator, name) if isinstance(event, ExecutionStarted))
    assert (first.epoch, first.resumed) == (1, False)


async def test_inputs_ids_queues_and_priorities_are_checked_before_anything_is_kept(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    pipeline = bench.pipeline(step("a"), inputs={"n": {"type": "integer"}})
    odd: list[dict[str, Any]] = [{"queue": "no good"}, {"priority": 10**7}, {"execution_id": "../x"}]
    for wrong in odd:
        with pytest.raises(UsageError):
            await orchestrator.submit(pipeline, {"n": 1}, **wrong)
    with pytest.raises(Exception, match="n"):
        await orchestrator.submit(pipeline, {"n": "many"})
    assert await orchestrator.list_executions() == []
    await orchestrator.submit(pipeline, {"n": 1}, execution_id="e")
    with pytest.raises(ExecutionExists):
        await orchestrator.submit(pipeline, {"n": 1}, execution_id="e")


async def test_a_cancellation_in_the_step_in_which_it_is_woken_is_heard(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    resting: list[Server] = []
    rest = Server._rest

    async def noted(self: Server) -> None:
        resting.append(self)
        await rest(self)

    monkeypatch.setattr(Server, "_rest", noted)
    task = asyncio.create_task(orchestrator.serve())
    await wait_until(lambda: resting, description="it rests")
    await asyncio.sleep(0)
    resting[0].wake()
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.cancelled()


async def test_what_is_submitted_here_is_taken_at_once(bench: Bench, orchestrator: Orchestrator) -> None:
    async with serving(orchestrator):
        await asyncio.sleep(0.05)  # it has looked, and found nothing
        began = asyncio.get_running_loop().time()
        result = await orchestrator.wait(await orchestrator.submit(bench.pipeline(step("a"))))
        assert asyncio.get_running_loop().time() - began < 0.45  # the shortest poll takes half a second
    assert result.status == "completed"


async def test_waiting_tells_failures_and_cancels_and_outlasts_stops(bench: Bench, orchestrator: Orchestrator) -> None:
    failing = bench.pipeline(step("a", "fail", times=9, retryable=False))
    holding = bench.pipeline(step("a", "hold"))
    async with serving(orchestrator):
        with pytest.raises(ExecutionFailed, match="out of luck"):
            await orchestrator.wait(await orchestrator.submit(failing))
        name = await orchestrator.submit(holding)
        waiting = asyncio.create_task(orchestrator.wait(name))
        await wait_until(lambda: orchestrator._live.engine(name), description="it runs")
        assert await orchestrator.cancel(name, by="me")
        with pytest.raises(ExecutionCancelled):
            await waiting
    with pytest.raises(UnknownExecution):
        await orchestrator.wait("nobody")


async def test_an_execution_whose_pipeline_forbids_resuming_runs_once(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(step("a", "hold"), resume={"enabled": False})
    await orchestrator.submit(pipeline, execution_id="e")
    async with serving(orchestrator):
        await bench.started("a")
    async with serving(orchestrator) as told:  # it was stopped, and cannot be resumed
        await wait_until(lambda: told.of("paused"), description="it is laid aside")
    summary = await orchestrator.get_summary("e")
    assert summary.status is ExecutionStatus.PAUSED
    assert "resume.enabled: false" in str(summary.paused_by)


async def test_an_execution_that_lacks_a_secret_is_laid_aside_untouched(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    pipeline = bench.pipeline(step("a", "hold", value="{{ secrets.NOWHERE }}"))
    await orchestrator.submit(pipeline, execution_id="e")
    async with serving(orchestrator) as told:
        await wait_until(lambda: told.of("paused"), description="it is laid aside")
    summary = await orchestrator.get_summary("e")
    assert "secrets.NOWHERE: not in the variable" in str(summary.paused_by)
    assert bench.calls == []


# -- serving ---------------------------------------------------------------------------------------------------------


async def test_no_more_than_so_many_at_once(bench: Bench, orchestrator: Orchestrator) -> None:
    names = [await orchestrator.submit(bench.pipeline(step("a", "hold")), execution_id=f"e{n}") for n in range(5)]
    async with serving(orchestrator, max_executions=2) as told:
        await wait_until(lambda: len(bench.calls) == 2, description="two run")
        await asyncio.sleep(0.05)
        assert told.of("taken") == names[:2]
        bench.gate("a").set()
        await ended(told, *names)
    assert len(bench.calls) == 5


async def test_a_server_that_ends_when_idle(bench: Bench, orchestrator: Orchestrator) -> None:
    names = [await orchestrator.submit(bench.pipeline(step("a"))) for _ in range(30)]
    await orchestrator.submit(bench.pipeline(step("a")), queue="another")
    told = Told()
    async with asyncio.timeout(20):
        await orchestrator.serve(until_idle=True, told=told, max_executions=7)
    assert told.ends() == dict.fromkeys(names, "completed")
    assert [queue.waiting for queue in await orchestrator.queues()] == [1]


async def test_stopping_gives_back_what_runs(bench: Bench, orchestrator: Orchestrator) -> None:
    other = bench.open()
    pipeline = bench.pipeline(step("a"), step("b", "hold", after="a"))
    await orchestrator.submit(pipeline, execution_id="e")
    async with serving(orchestrator) as told:
        await bench.started("b")
    assert told.ends() == {"e": "stopped"}
    assert (await other.get_summary("e")).waiting
    bench.gate("b").set()
    async with serving(other) as told:
        await ended(told, "e")
    assert bench.calls == ["a", "b", "b"]


async def test_cancelling_the_call_gives_back_what_runs(bench: Bench, orchestrator: Orchestrator) -> None:
    await orchestrator.submit(bench.pipeline(step("a", "hold")), execution_id="e")
    task = asyncio.create_task(orchestrator.serve())
    await bench.started("a")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    summary = await orchestrator.get_summary("e")
    assert (summary.status, summary.holder, summary.waiting) == (ExecutionStatus.STOPPED, None, True)


async def test_closing_ends_a_server(bench: Bench, orchestrator: Orchestrator) -> None:
    await orchestrator.submit(bench.pipeline(step("a", "hold")), execution_id="e")
    task = asyncio.create_task(orchestrator.serve())
    await bench.started("a")
    await orchestrator.close()
    with contextlib.suppress(StoreBroken, StoreUnavailable):
        async with asyncio.timeout(20):
            await task
    summary = await bench.open().get_summary("e")
    assert (summary.status, summary.holder, summary.waiting) == (ExecutionStatus.STOPPED, None, True)


async def test_a_stopped_run_that_was_adopted_is_handed_on(bench: Bench, orchestrator: Orchestrator) -> None:
    await store_of(orchestrator).release((await orchestrator._live.admit(
        bench.pipeline(step("a", "hold")), "p", {}, "e", "run")).lease)  # fmt: skip
    async with serving(orchestrator) as told:
        await asyncio.sleep(0.05)
        assert told == []
    async with serving(orchestrator, adopt_runs=True) as told:
        await bench.started("a")
    assert told.ends() == {"e": "stopped"}
    summary = await orchestrator.get_summary("e")
    assert (summary.place, summary.waiting) == (Place(), True)


async def test_wrong_options_are_refused(orchestrator: Orchestrator) -> None:
    odd: list[dict[str, Any]] = [{"max_executions": 0}, {"queues": []}, {"queues": ["a b"]}]
    for wrong in odd:
        with pytest.raises(UsageError):
            await orchestrator.serve(**wrong)
    with pytest.raises(UsageError):
        await orchestrator.set_queue("q", limit=-1)


# -- pausing ---------------------------------------------------------------------------------------------------------


async def test_pause_stops_what_runs_and_enqueue_goes_on(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(step("a", "hold"), step("b", after="a"))
    await orchestrator.submit(pipeline, queue="q", priority=2, execution_id="e")
    async with serving(orchestrator, queues=["q"]) as told:
        await bench.started("a")
        pausing = asyncio.create_task(orchestrator.pause("e", by="me"))
        await wait_until(lambda: orchestrator._live.engine("e").stopped_by, description="it stops")  # type: ignore[union-attr]
        bench.gate("a").set()  # what runs may end
        assert await pausing
        summary = await orchestrator.get_summary("e")
        assert (summary.status, summary.paused_by, summary.completed) == (ExecutionStatus.PAUSED, "me", 1)
        await asyncio.sleep(0.05)
        assert told.of("taken") == ["e"]
        assert await orchestrator.enqueue("e") == Place("q", 2)
        await wait_until(lambda: told.ends().get("e") == "completed", description="it goes on")
    assert bench.calls == ["a", "b"]


async def test_pause_keeps_what_waits_and_a_resume_takes_it_back(bench: Bench, orchestrator: Orchestrator) -> None:
    await orchestrator.submit(bench.pipeline(step("a")), execution_id="e")
    assert await orchestrator.pause("e")
    async with serving(orchestrator) as told:
        await asyncio.sleep(0.05)
    assert told == []
    assert [one.execution_id for one in await orchestrator.list_executions(status="paused")] == ["e"]
    assert (await orchestrator.resume_pipeline("e")).status == "completed"


async def test_what_has_ended_is_neither_paused_nor_enqueued(bench: Bench, orchestrator: Orchestrator) -> None:
    await orchestrator.run_pipeline(bench.pipeline(step("a")), execution_id="e")
    for act in (orchestrator.pause, orchestrator.enqueue):
        with pytest.raises(ResumeError, match="completed"):
            await act("e")
        with pytest.raises(UnknownExecution):
            await act("nobody")


async def test_a_checkpoint_by_hand_leaves_a_pause(bench: Bench, orchestrator: Orchestrator) -> None:
    await orchestrator.submit(bench.pipeline(step("a")), execution_id="e")
    await orchestrator.pause("e", by="me")
    await orchestrator.state_manager.save_checkpoint("e", {"n": 1})
    assert (await orchestrator.get_summary("e")).paused_by == "me"


async def test_a_run_asked_to_pause_from_elsewhere_stops(bench: Bench, orchestrator: Orchestrator) -> None:
    running = await begin(orchestrator.run_pipeline, bench.pipeline(step("a", "hold")), execution_id="e")
    await bench.started("a")
    other = bench.open()
    assert not await other.pause("e", wait_seconds=0)
    await wait_until(lambda: running.engine.stopped_by, description="it was asked")
    bench.gate("a").set()
    assert (await running.result()).status == "completed"  # a pause during the last step stops nothing
    assert (await orchestrator.get_summary("e")).status is ExecutionStatus.COMPLETED


# -- trouble ---------------------------------------------------------------------------------------------------------


async def test_a_store_that_is_away_is_waited_for(
    bench: Bench, orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(orchestrator)
    take, failures = store.take, 0

    async def away(*arguments: Any, **options: Any) -> list[Lease]:
        nonlocal failures
        failures += 1
        if failures < 3:
            raise StoreUnavailable("nobody answers")
        return await take(*arguments, **options)

    monkeypatch.setattr(store, "take", away)
    orchestrator._settings = replace(orchestrator._settings, lease=0.2)
    await orchestrator.submit(bench.pipeline(step("a")), execution_id="e")
    async with serving(orchestrator) as told:
        await ended(told, "e")
    assert [notice.kind for notice in told] == ["trouble", "recovered", "taken", "ended"]
    assert "nobody answers" in told[0].text


async def test_a_store_that_this_process_lost_ends_the_server(
    orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> list[Lease]:
        raise StoreBroken("an fsync failed")

    monkeypatch.setattr(store_of(orchestrator), "take", broken)
    with pytest.raises(StoreBroken):
        await orchestrator.serve()


async def test_a_lost_execution_ends_alone(bench: Bench, orchestrator: Orchestrator) -> None:
    for name in ("e", "f"):
        await orchestrator.submit(bench.pipeline(step(f"in_{name}", "hold")), execution_id=name)
    async with serving(orchestrator) as told:
        await bench.started("in_e", "in_f")
        other = bench.open()
        lease = await store_of(other).acquire(E, "a thief", steal=True)
        await wait_until(lambda: told.of("lost"), description="it is told")
        assert told.of("lost") == ["e"]
        bench.gate("in_f").set()
        await ended(told, "f")
        await store_of(other).release(lease)


@pytest.mark.parametrize("error", [ValueError("a bug"), StoreUnavailable("gone")])
async def test_a_fault_in_one_leaves_the_others_alone(
    bench: Bench, orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    carry_on, faults = orchestrator._live.carry_on, [error]

    async def faulty(lease: Lease, *arguments: Any, **options: Any) -> Any:
        if lease.execution_id == "e" and faults:
            await store_of(orchestrator).release(lease)
            raise faults.pop()
        return await carry_on(lease, *arguments, **options)

    monkeypatch.setattr(orchestrator._live, "carry_on", faulty)
    orchestrator._settings = replace(orchestrator._settings, lease=0.2)
    for name in ("e", "f"):
        await orchestrator.submit(bench.pipeline(step("a")), execution_id=name)
    async with serving(orchestrator) as told:
        await ended(told, "e", "f")
    assert len(told.of("taken")) == 3
    assert told.of("lost") + told.of("failed") == ["e"]


# -- poison ----------------------------------------------------------------------------------------------------------


async def die(store: Store, times: int, *, started: bool = True) -> Seq:
    """Take the only execution so often, begin it, and leave it as a death does."""
    seq = (await store.summary(E)).seq
    for _ in range(times):
        (lease,) = await store.take("somebody", ["default"], 1)
        if started:
            begun = ExecutionStarted(1.0, lease.epoch, "o", True, {})
            seq = await store.append(lease, [begun], [], expected_seq=seq, completed=0)
        await store.release(lease)
    return seq


async def test_an_execution_that_kills_its_owners_is_laid_aside(bench: Bench, orchestrator: Orchestrator) -> None:
    await orchestrator.submit(bench.pipeline(step("a"), step("b", after="a")), execution_id="e")
    await die(store_of(orchestrator), MOST_DEATHS)
    await orchestrator.submit(bench.pipeline(step("a")), execution_id="f")
    async with serving(orchestrator) as told:
        await ended(told, "f")
        await wait_until(lambda: told.of("paused"), description="it is laid aside")
    assert bench.calls == ["a"]
    summary = await orchestrator.get_summary("e")
    assert (summary.status, summary.holder) == (ExecutionStatus.PAUSED, None)
    last = (await journal(orchestrator, "e"))[-1]
    assert isinstance(last, ExecutionFinished)
    assert last.error is not None
    assert "5 owners in a row" in last.error.message
    assert "5 owners in a row" in str(summary.paused_by)
    assert await orchestrator.state_manager.verify() == []
    # Whoever thinks better of it gives it as many chances again.
    await orchestrator.enqueue("e")
    async with serving(orchestrator) as told:
        await ended(told, "e")
    assert await statuses(orchestrator, "e") == {"a": "completed", "b": "completed"}


async def test_what_was_running_then_is_recorded_as_interrupted(bench: Bench, orchestrator: Orchestrator) -> None:
    await orchestrator.submit(bench.pipeline(step("a")), execution_id="e")
    store = store_of(orchestrator)
    seq = await die(store, MOST_DEATHS - 1)
    (lease,) = await store.take("somebody", ["default"], 1)
    facts: list[Event] = [ExecutionStarted(1.0, lease.epoch, "o", True, {}), TaskClaimed(1.0, TaskId("a"), 1, None)]
    await store.append(lease, facts, [], expected_seq=seq, completed=0)
    await store.release(lease)
    async with serving(orchestrator) as told:
        await wait_until(lambda: told.of("paused"), description="it is laid aside")
    assert await statuses(orchestrator, "e") == {"a": "pending"}
    assert await orchestrator.state_manager.verify() == []


async def test_only_deaths_in_a_row_count(bench: Bench, orchestrator: Orchestrator) -> None:
    await orchestrator.submit(bench.pipeline(step("a")), execution_id="e")
    store = store_of(orchestrator)

    async def verdict() -> str | None:
        (lease,) = await store.take("somebody", ["default"], 1)
        try:
            return await why_poison(store, lease)
        finally:
            await store.release(lease)

    await die(store, MOST_DEATHS - 1)
    assert await verdict() is None
    (lease,) = await store.take("somebody", ["default"], 1)
    seq = (await store.summary(E)).seq
    begun = ExecutionStarted(1.0, lease.epoch, "o", True, {})
    await store.append(lease, [begun, ExecutionFinished(1.0, "stopped", None, None)], [], expected_seq=seq, completed=0)
    assert await verdict() is None  # one stopped as it should
    await die(store, MOST_DEATHS - 1)
    assert await verdict() is None
    await die(store, 1)
    assert "died over it" in str(await verdict())


async def test_owners_who_died_without_a_word_count_too(bench: Bench, orchestrator: Orchestrator) -> None:
    await orchestrator.submit(bench.pipeline(step("a")), execution_id="e")
    store = store_of(orchestrator)
    for _ in range(10):  # these said something, by hand
        lease = await store.acquire(E, "somebody")
        seq = (await store.summary(E)).seq
        made = CheckpointMade(1.0, "manual", None, {}, None)
        await store.append(lease, [made], [], expected_seq=seq, completed=0)
        await store.release(lease)
    await die(store, MOST_SILENT_DEATHS, started=False)
    (lease,) = await store.take("somebody", ["default"], 1)
    assert "as they read it" in str(await why_poison(store, lease))
    assert await why_poison(store, Lease(E, type(lease.epoch)(lease.epoch - 1), lease.token, 0.0)) is None
