"""StateManager: the public door to the store."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchestrator import ExecutionFailed, NoCheckpoint, Orchestrator, StateManager, UsageError
from orchestrator.errors import ExecutionOwned, UnknownExecution
from tests.unit.core.bench import Bench, begin, statuses, step


async def run(
    bench: Bench, orchestrator: Orchestrator, name: str, *, pipeline_id: str = "p", fails: bool = False
) -> None:
    pipeline = bench.pipeline(step("a", value=1), step("b", "fail", times=9 if fails else 0, after="a"), id=pipeline_id)
    bench.failed.clear()
    if fails:
        with pytest.raises(ExecutionFailed):
            await orchestrator.run_pipeline(pipeline, execution_id=name)
    else:
        await orchestrator.run_pipeline(pipeline, execution_id=name)


@pytest.fixture
def manager(orchestrator: Orchestrator) -> StateManager:
    return orchestrator.state_manager


# -- checkpoints ---------------------------------------------------------------------------------------------------


async def test_list_checkpoints(bench: Bench, orchestrator: Orchestrator, manager: StateManager) -> None:
    await run(bench, orchestrator, "e")
    found = await manager.list_checkpoints("e")
    assert [(entry["reason"], entry["task"], entry["completed_count"]) for entry in found] == [
        ("task", "b", 2),
        ("task", "a", 1),
        ("start", None, 0),
    ]
    for entry in found:
        assert entry["checkpoint_id"].startswith("e@")
        assert (entry["execution_id"], entry["pipeline_id"], entry["total_count"]) == ("e", "p", 2)
        assert isinstance(entry["timestamp"], datetime)
        assert entry["timestamp"].tzinfo is UTC
        facts = {key: entry[key] for key in ("reason", "task", "completed_count", "total_count")}
        assert facts.items() <= entry["metadata"].items()
    assert await manager.list_checkpoints("e", limit=2) == found[:2]
    assert await manager.list_checkpoints("e", limit=0) == []
    assert await manager.list_checkpoints("ghost") == []
    with pytest.raises(UsageError):
        await manager.list_checkpoints("no id")


async def test_what_is_saved_is_restored(manager: StateManager) -> None:
    state = {"cursor": 7, "rows": [(1, b"x"), {"when": datetime(2024, 1, 2, tzinfo=UTC)}]}
    metadata = {"why": "a good moment", "tags": ("x", 1), "at": timedelta(seconds=3)}
    name = await manager.save_checkpoint("mine", state, metadata)
    restored = await manager.restore_checkpoint(name)
    assert restored["state"] == state
    assert restored["reason"] == "saved"
    assert metadata.items() <= restored["metadata"].items()
    assert (await manager.restore_checkpoint("mine"))["checkpoint_id"] == name  # the newest
    assert (await manager.list_checkpoints("mine", limit=1))[0]["checkpoint_id"] == name


async def test_a_large_state(manager: StateManager) -> None:
    state = {"text": "".join(str(n) for n in range(200_000))}
    assert (await manager.restore_checkpoint(await manager.save_checkpoint("mine", state)))["state"] == state


async def test_saving_while_an_engine_runs_and_after(
    bench: Bench, orchestrator: Orchestrator, manager: StateManager
) -> None:
    running = await begin(orchestrator.run_pipeline, bench.pipeline(step("a", "hold")), execution_id="e")
    await bench.started("a")
    name = await manager.save_checkpoint("e", {"half": True})
    assert (await manager.restore_checkpoint(name))["state"] == {"half": True}
    with pytest.raises(ExecutionOwned):
        await bench.open().state_manager.save_checkpoint("e", {})
    bench.gate("a").set()
    await running.result()
    after = await manager.save_checkpoint("e", {"half": False})
    assert (await manager.restore_checkpoint(after))["state"] == {"half": False}
    assert await statuses(orchestrator, "e") == {"a": "completed"}
    assert (await orchestrator.list_executions())[0].status == "completed"
    assert await manager.verify() == []


async def test_a_checkpoint_of_the_engine_restores_the_results_of_its_moment(
    bench: Bench, orchestrator: Orchestrator, manager: StateManager
) -> None:
    await run(bench, orchestrator, "e")
    both, first, start = await manager.list_checkpoints("e")
    states = [(await manager.restore_checkpoint(entry["checkpoint_id"]))["state"] for entry in (start, first, both)]
    assert states == [{"task_results": {}}, {"task_results": {"a": 1}}, {"task_results": {"a": 1, "b": 1}}]


@pytest.mark.parametrize("name", ["ghost", "ghost@1", "e@999", "e@2"])
async def test_a_checkpoint_that_is_none(
    bench: Bench, orchestrator: Orchestrator, manager: StateManager, name: str
) -> None:
    await run(bench, orchestrator, "e")
    with pytest.raises(NoCheckpoint, match=r"^No resume checkpoint found") as caught:
        await manager.restore_checkpoint(name)
    assert caught.value.exit_code == 3
    assert not await manager.delete_checkpoint(name)


async def test_a_deleted_checkpoint_is_gone_from_the_lists_and_nothing_else(
    bench: Bench, orchestrator: Orchestrator, manager: StateManager
) -> None:
    await run(bench, orchestrator, "e", fails=True)
    listed = [entry["checkpoint_id"] for entry in await manager.list_checkpoints("e")]
    assert await manager.delete_checkpoint(listed[1])
    assert not await manager.delete_checkpoint(listed[1])
    assert [entry["checkpoint_id"] for entry in await manager.list_checkpoints("e")] == [listed[0], *listed[2:]]
    assert listed[1] not in [
        entry["checkpoint_id"] for entry in await orchestrator.resume_manager.get_resume_history("p")
    ]
    with pytest.raises(NoCheckpoint):
        await manager.restore_checkpoint(listed[1])
    bench.failed["b"] = 9
    assert (await orchestrator.resume_pipeline("e")).status == "completed"
    assert bench.calls.count("a") == 1


# -- clean-up ------------------------------------------------------------------------------------------------------


async def names(orchestrator: Orchestrator) -> set[str]:
    return {summary.execution_id for summary in await orchestrator.list_executions()}


async def test_cleanup_removes_completed_executions_only(
    bench: Bench, orchestrator: Orchestrator, manager: StateManager
) -> None:
    for name in ("e1", "e2"):
        await run(bench, orchestrator, name)
    await run(bench, orchestrator, "bad", fails=True)
    await manager.save_checkpoint("mine", {"x": 1})
    running = await begin(orchestrator.run_pipeline, bench.pipeline(step("h", "hold")), execution_id="running")
    await bench.started("h")
    assert await manager.cleanup(dry_run=True) == ["e2", "e1"]
    assert await names(orchestrator) == {"e1", "e2", "bad", "mine", "running"}
    assert await manager.cleanup() == ["e2", "e1"]
    assert await manager.cleanup() == []
    assert await names(orchestrator) == {"bad", "mine", "running"}
    bench.gate("h").set()
    await running.result()
    bench.failed["b"] = 9
    assert (await orchestrator.resume_pipeline("bad")).status == "completed"
    assert await manager.verify() == []


async def test_cleanup_spares_what_it_is_told_to(
    bench: Bench, orchestrator: Orchestrator, manager: StateManager
) -> None:
    for name, pipeline_id in (("p1", "p"), ("p2", "p"), ("q1", "q"), ("q2", "q")):
        await run(bench, orchestrator, name, pipeline_id=pipeline_id)
        await asyncio.sleep(0.002)
    assert await manager.cleanup(keep_last=1, dry_run=True) == ["q1", "p1"]
    assert await manager.cleanup(keep_last=5, dry_run=True) == []
    assert await manager.cleanup(older_than=timedelta(hours=1), dry_run=True) == []
    assert await manager.cleanup(older_than=0, dry_run=True) == ["q2", "q1", "p2", "p1"]
    assert await manager.cleanup(older_than=0.0, keep_last=1, pipeline_id="q", dry_run=True) == ["q1"]
    with pytest.raises(UsageError, match="older_than: expected 0 or more"):
        await manager.cleanup(older_than=-1)
    with pytest.raises(UsageError, match="keep_last: expected 0 or more"):
        await manager.cleanup(keep_last=-1)


async def test_remove_takes_any_status_but_not_what_is_worked_on(
    bench: Bench, orchestrator: Orchestrator, manager: StateManager
) -> None:
    await run(bench, orchestrator, "bad", fails=True)
    with pytest.raises(UnknownExecution):
        await manager.remove(["bad", "ghost"])
    assert await names(orchestrator) == {"bad"}
    await manager.remove(["bad"])
    assert await names(orchestrator) == set()
    assert not await orchestrator.resume_manager.can_resume("bad")
    running = await begin(orchestrator.run_pipeline, bench.pipeline(step("h", "hold")), execution_id="running")
    await bench.started("h")
    with pytest.raises(ExecutionOwned):
        await bench.open().state_manager.remove(["running"])
    bench.gate("h").set()
    assert (await running.result()).status == "completed"


# -- health and figures --------------------------------------------------------------------------------------------


async def test_statistics(bench: Bench, orchestrator: Orchestrator, manager: StateManager) -> None:
    await run(bench, orchestrator, "e1")
    await run(bench, orchestrator, "e2", fails=True)
    statistics = await manager.get_statistics()
    assert statistics["executions"] == 2
    assert statistics["by_status"] == {"completed": 1, "failed": 1}
    assert statistics["commits"] >= 6
    assert statistics["url"] == manager.url
    assert manager.url.startswith(bench.url.split(":", maxsplit=1)[0])


async def test_health(
    manager: StateManager,
    orchestrator: Orchestrator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from orchestrator.errors import StoreUnavailable

    assert await manager.is_healthy()

    async def broken() -> None:
        raise StoreUnavailable("the disk is on fire")

    monkeypatch.setattr(orchestrator._adapters.store, "probe", broken)
    with caplog.at_level(logging.WARNING):
        assert not await manager.is_healthy()
    assert "the disk is on fire" in caplog.text


async def test_verify_of_a_sound_store_finds_nothing(
    bench: Bench, orchestrator: Orchestrator, manager: StateManager
) -> None:
    await run(bench, orchestrator, "e1")
    await run(bench, orchestrator, "e2", fails=True)
    await orchestrator.resume_manager.create_resume_checkpoint("e3", bench.pipeline(step("a")))
    await manager.save_checkpoint("e4", {"x": 1})
    assert await manager.verify() == []


async def test_verify_finds_what_breaks_a_promise(
    bench: Bench, orchestrator: Orchestrator, manager: StateManager
) -> None:
    """Facts that no engine would record, written past it under a real lease."""
    from orchestrator.domain.events import ExecutionFinished, ExecutionStarted, TaskClaimed
    from orchestrator.domain.ids import ExecutionId, Seq

    await run(bench, orchestrator, "e", fails=True)
    store: Any = orchestrator._adapters.store
    name = ExecutionId("e")
    lease = await store.acquire(name, "a forger")
    seq = (await store.summary(name)).seq
    wrong = [
        ExecutionStarted(9e9, 2, "a forger", resumed=True, strategy={}),
        TaskClaimed(9e9, "a", 2, None),
        ExecutionFinished(9e9, "completed", None, None),
        TaskClaimed(9e9, "b", 2, None),
    ]
    await store.append(lease, wrong, [], expected_seq=Seq(seq), completed=0)
    await store.release(lease)
    text = "\n".join(await manager.verify())
    assert "a is claimed after it was done (I1)" in text
    assert "b is claimed after the end (I12)" in text
