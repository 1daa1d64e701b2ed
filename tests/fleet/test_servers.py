"""Many processes, one truth: servers killed, stopped, drained and limited, on every store that can be shared."""

from __future__ import annotations

import signal
import time
from collections import Counter
from typing import Any

import pytest

from orchestrator import ExecutionStatus
from orchestrator.cli.ps import state_of
from tests.fleet.yard import LEASE, Yard, chain, wait_until

pytestmark = pytest.mark.chaos
POSTGRES, REDIS = (pytest.param(kind, marks=pytest.mark.slow) for kind in ("postgres", "redis"))


def on(*kinds: Any) -> pytest.MarkDecorator:
    """Run on these stores: what a store itself has to decide. The suite of stores holds all of them to the same."""
    return pytest.mark.parametrize("store_url", ["sqlite", *kinds], indirect=True)


@on(POSTGRES, REDIS)
async def test_what_a_killed_server_had_in_hand_is_finished_by_another(yard: Yard) -> None:
    pipeline = yard.pipeline(chain([0.05] * 8))
    async with yard.open() as orchestrator:
        names = [await orchestrator.submit(pipeline, execution_id=f"e{number}") for number in range(3)]
        first = yard.serve()
        wait_until(lambda: yard.has_begun("e0", "s4"), "the first server is in the middle")
        first.kill()
        states = {name: await orchestrator.get_state(name) for name in names}
        done = {name: [one for one, task in state.tasks.items() if task.value] for name, state in states.items()}
        before = yard.begun()
        await yard.let_go(orchestrator, *names)
        second = yard.serve("--exit-when-idle")
        for name in names:
            assert (await orchestrator.wait(name)).status == "completed"
        assert second.end() == 0
        assert sorted(second.told("taken")) == names
        after = yard.begun()
        for name in names:
            for task in done[name]:
                assert after[name, task] == before[name, task] == 1, f"{task} of {name} was recorded, and ran again"
        assert max(after.values()) <= 2
        assert await orchestrator.state_manager.verify() == []


async def test_a_server_that_stood_still_changes_nothing_and_serves_on(yard: Yard) -> None:
    async with yard.open() as orchestrator:
        first = yard.serve()
        await orchestrator.submit(yard.pipeline(chain([0.1, 1.0, 0.1])), execution_id="e")
        wait_until(lambda: yard.has_begun("e", "s1"), "the first server is at work")
        first.signal(signal.SIGSTOP)
        stopped = time.monotonic()
        second = yard.serve()
        wait_until(lambda: second.when("taken", "e"), "the second server takes it")
        assert time.monotonic() - stopped > LEASE / 2  # not before the lease was over
        wait_until(lambda: second.when("ended", "e"), "the second server finishes it")
        facts = [event async for event in orchestrator.facts("e")]
        first.signal(signal.SIGCONT)
        wait_until(lambda: first.when("lost", "e"), "the first server notices", 10)
        assert [event async for event in orchestrator.facts("e")] == facts
        second.signal(signal.SIGTERM)
        assert second.end() == 0
        await orchestrator.submit(yard.pipeline(chain([0.0])), execution_id="f")
        wait_until(lambda: first.when("ended", "f"), "the first server serves on")
        assert first.process.poll() is None
        assert await orchestrator.state_manager.verify() == []


@on(POSTGRES)
async def test_a_run_that_stood_still_is_adopted_and_ends_with_5(yard: Yard) -> None:
    import yaml

    (yard.folder / "p.yaml").write_text(yaml.safe_dump(chain([0.1, 1.0, 0.1])))
    run = yard.start("run", "p.yaml", "--execution-id", "e", "--json")
    wait_until(lambda: yard.has_begun("e", "s1"), "it runs")
    run.signal(signal.SIGSTOP)
    async with yard.open() as orchestrator:
        server = yard.serve("--adopt", "runs")
        wait_until(lambda: server.when("taken", "e"), "it is adopted")
        run.signal(signal.SIGCONT)
        assert run.end(10) == 5
        assert (await orchestrator.wait("e")).status == "completed"
        assert await orchestrator.state_manager.verify() == []


async def test_two_servers_take_everything_exactly_once(yard: Yard) -> None:
    pipeline = yard.pipeline(chain([0.0, 0.0]))
    async with yard.open() as orchestrator:
        names = [await orchestrator.submit(pipeline, execution_id=f"e{number:02}") for number in range(60)]
        servers = [yard.serve("--exit-when-idle", "--max-executions", "5") for _ in range(2)]
        for server in servers:
            assert server.end() == 0
        taken = Counter(name for server in servers for name in server.told("taken"))
        assert taken == dict.fromkeys(names, 1)
        assert yard.begun() == {(name, task): 1 for name in names for task in ("s0", "s1")}
        assert all(one.status is ExecutionStatus.COMPLETED for one in await orchestrator.list_executions())


async def test_a_drained_server_hands_over_at_once(yard: Yard) -> None:
    yard.settle(lease=60)
    async with yard.open() as orchestrator:
        first = yard.serve()
        await orchestrator.submit(yard.pipeline(chain([0.1, 20, 0.0])), execution_id="e")
        wait_until(lambda: yard.has_begun("e", "s1"), "the first server is at work")
        second = yard.serve()
        first.signal(signal.SIGTERM)
        asked = time.monotonic()
        assert first.end() == 0
        assert first.told("ended") == ["e"]
        wait_until(lambda: second.when("taken", "e"), "the second server goes on")
        assert time.monotonic() - asked < 10  # and not after the lease
        assert yard.begun()["e", "s0"] == 1
        assert await orchestrator.cancel("e")
        assert await orchestrator.state_manager.verify() == []


async def test_a_second_signal_leaves_at_once(yard: Yard) -> None:
    yard.settle(lease=LEASE, grace=60)
    step = {"id": "a", "tool": "python", "action": "fleet_steps:deaf", "parameters": {"file": "never"}}
    async with yard.open() as orchestrator:
        server = yard.serve()
        await orchestrator.submit(yard.pipeline({"id": "p", "steps": [step]}), execution_id="e")
        wait_until(lambda: yard.has_begun("e", "a"), "it is at work")
        server.signal(signal.SIGTERM)
        wait_until(lambda: any(line["event"] == "draining" for line in server.lines()), "it drains")
        server.signal(signal.SIGTERM)
        assert server.end(5) == 143
        await yard.let_go(orchestrator, "e")
        assert (await orchestrator.get_summary("e")).status is ExecutionStatus.INTERRUPTED


@on(REDIS)
async def test_a_limit_and_priorities_hold_over_two_servers(yard: Yard) -> None:
    pipeline = yard.pipeline(chain([0.4]))
    async with yard.open() as orchestrator:
        await orchestrator.set_queue("default", limit=3, paused_by="the test")
        priorities = {f"e{number}": priority for number, priority in enumerate([0, 5, 0, 9, 1, 7, 0, 3])}
        for name, priority in priorities.items():
            await orchestrator.submit(pipeline, priority=priority, execution_id=name)
        servers = [yard.serve("--max-executions", "2") for _ in range(2)]
        await orchestrator.set_queue("default", limit=3)
        for name in priorities:
            await orchestrator.wait(name)
        level = most = 0
        for _at, _name, _task, what, _pid in yard.effects():
            level += 1 if what == "begin" else -1
            most = max(most, level)
        assert 1 < most <= 3
        for server in servers:
            taken = [priorities[name] for name in server.told("taken")]
            assert taken == sorted(taken, reverse=True) != []
        assert await orchestrator.queues() == [("default", 3, None, 0, 0)]


@on(POSTGRES)
async def test_pause_resume_and_cancel_of_what_runs_waits_and_was_left(yard: Yard) -> None:
    slow = yard.pipeline(chain([0.1, 5.0, 0.0]))
    async with yard.open() as orchestrator:
        server = yard.serve("--max-executions", "2")
        for name in ("running", "cancelled"):
            await orchestrator.submit(slow, execution_id=name)
        wait_until(lambda: yard.has_begun("running", "s1") and yard.has_begun("cancelled", "s1"), "two run")
        for name in ("waiting", "unwanted"):
            await orchestrator.submit(slow, execution_id=name)
        assert await orchestrator.pause("running", by="me")
        assert await orchestrator.pause("waiting", by="me")
        assert await orchestrator.cancel("cancelled")
        assert await orchestrator.cancel("unwanted")
        status = {one.execution_id: one.status.value for one in await orchestrator.list_executions()}
        assert status == {
            "running": "paused", "waiting": "paused", "cancelled": "cancelled", "unwanted": "cancelled",
        }  # fmt: skip
        yard.call("resume", "--all", "--yes")
        wait_until(lambda: yard.begun()["running", "s1"] == 2 and yard.has_begun("waiting", "s1"), "both go on")
        assert yard.begun()["running", "s0"] == 1
        server.kill()  # and now both are orphans
        left = {one.execution_id: state_of(one) for one in await orchestrator.under_way()}
        assert set(left.values()) <= {"running", "orphaned"}  # told apart once the lease is over, or at once
        assert await orchestrator.pause("running", by="me")
        assert await orchestrator.cancel("waiting")
        heir = yard.serve("--exit-when-idle")
        assert heir.end() == 0
        assert heir.told("taken") == []
        assert (await orchestrator.get_summary("running")).status is ExecutionStatus.PAUSED
        await orchestrator.enqueue("running", priority=7)
        assert await orchestrator.cancel("running")
        assert await orchestrator.state_manager.verify() == []


@pytest.mark.slow
async def test_what_kills_every_server_is_laid_aside(yard: Yard) -> None:
    steps = [{"id": "a", "tool": "python", "action": "fleet_steps:deadly"}]
    async with yard.open() as orchestrator:
        await orchestrator.submit(yard.pipeline({"id": "p", "steps": steps}), execution_id="poison")
        deaths = 0
        while True:
            server = yard.start("serve", "--json", "--exit-when-idle")
            if server.end() == 0:
                break
            deaths += 1
            await yard.let_go(orchestrator, "poison")
            assert deaths < 8
        assert deaths == 5
        summary = await orchestrator.get_summary("poison")
        assert summary.status is ExecutionStatus.PAUSED
        assert "5 owners in a row died over it" in str(summary.paused_by)
        assert "died over it" in yard.call("show", "poison")
