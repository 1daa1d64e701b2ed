"""Pipelines on a Redis store, whose process or server is killed under them."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from chaos.servers import ServerUnavailable
from chaos.servers.redis import RedisServer
from orchestrator import Orchestrator, Pipeline, Task
from orchestrator.domain.ids import TaskId
from orchestrator.errors import CheckpointUnreadable, ExecutionOwned, StoreDamaged
from orchestrator.settings import load_settings
from orchestrator.tools.registry import ToolRegistry
from tests.contract.redis_tools import age_leases, wait_until
from tests.services_redis import RedisPlace

LENGTH = 12
CHILD = """
import asyncio, sys
from tests.contract.test_redis_runs import chain, orchestrator_at, registry

async def main():
    calls = []
    tools = registry(calls, pause=0.05, told=lambda name: print(name, flush=True))
    async with orchestrator_at(sys.argv[1], tools) as orchestrator:
        await orchestrator.run_pipeline(chain(tools), execution_id="run")

asyncio.run(main())
"""


def registry(calls: list[str], *, pause: float = 0.0, told: Any = None) -> ToolRegistry:
    async def note(name: str) -> str:
        calls.append(name)
        if told is not None:
            told(name)
        await asyncio.sleep(pause)
        return name * 1000  # more than stands in the journal itself

    tools = ToolRegistry()
    tools.register("note", note)
    return tools


def chain(tools: ToolRegistry) -> Any:
    names = [TaskId(f"s{number}") for number in range(LENGTH)]
    tasks = [
        Task(name, "note", parameters={"name": str(name)}, dependencies=(names[number - 1],) if number else ())
        for number, name in enumerate(names)
    ]
    return Pipeline(id="chain", tasks=tasks, tools=tools).definition


def orchestrator_at(url: str, tools: ToolRegistry) -> Orchestrator:
    return Orchestrator(store=url, settings=replace(load_settings(), lease=2.0), tools=tools)


async def _until_called(calls: list[str], count: int, running: asyncio.Task[Any]) -> None:
    await wait_until(lambda: len(calls) >= count or running.done(), f"{count} steps began")
    assert not running.done()


@pytest.fixture
def private() -> Iterator[RedisServer]:
    one = RedisServer(appendonly="yes", appendfsync="always")
    try:
        one.start()
    except ServerUnavailable as error:
        pytest.skip(str(error))
    yield one
    one.close()


async def test_a_killed_run_is_resumed_by_another_process(redis_place: RedisPlace) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, redis_place.url], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert child.stdout is not None
    begun = [child.stdout.readline().strip() for _ in range(4)]
    child.send_signal(signal.SIGKILL)
    begun += child.stdout.read().split()
    child.wait()
    child.stdout.close()
    calls: list[str] = []
    async with orchestrator_at(redis_place.url, registry(calls)) as orchestrator:
        with pytest.raises(ExecutionOwned, match="it is free in"):
            await orchestrator.resume_pipeline("run")
        with redis.Redis.from_url(redis_place.server_url) as client:
            age_leases(client, redis_place.prefix, 2)
        assert (await orchestrator.resume_pipeline("run")).status == "completed"
        assert await orchestrator.get_result("run", "s11") == "s11" * 1000
    assert calls[-1] == f"s{LENGTH - 1}"
    assert len(begun) + len(calls) in (LENGTH, LENGTH + 1)  # the one that was running is done again
    assert calls == [f"s{number}" for number in range(LENGTH - len(calls), LENGTH)]


async def test_a_run_outlives_its_server(private: RedisServer) -> None:
    calls: list[str] = []
    tools = registry(calls, pause=0.02)
    async with orchestrator_at(private.url, tools) as orchestrator:
        running = asyncio.create_task(orchestrator.run_pipeline(chain(tools), execution_id="run"))
        for count in (3, 6, 9):
            await _until_called(calls, count, running)
            await asyncio.to_thread(private.restart)
        assert (await running).status == "completed"
    assert calls == [f"s{number}" for number in range(LENGTH)]


async def test_a_run_whose_history_is_lost_ends_with_7(private: RedisServer) -> None:
    calls: list[str] = []
    tools = registry(calls, pause=0.01)
    async with orchestrator_at(private.url, tools) as orchestrator:
        running = asyncio.create_task(orchestrator.run_pipeline(chain(tools), execution_id="run"))
        await _until_called(calls, 3, running)
        with redis.Redis.from_url(private.url) as client:
            client.flushall()
        with pytest.raises((StoreDamaged, CheckpointUnreadable)) as caught:
            await running
        assert caught.value.exit_code == 7
    assert len(calls) < 6


def test_without_the_driver_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['redis'] = None\n"
        "from orchestrator.cli import main; sys.exit(main(['list', '--store', 'redis://me:secret-word@host/0']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'durable-orchestrator[redis]'" in done.stderr
    assert "secret-word" not in done.stderr + done.stdout


def test_a_server_that_is_not_there_ends_a_command_with_6(private: RedisServer) -> None:
    url = private.url.replace("://", "://me:secret-word@")
    private.stop()
    command = [sys.executable, "-m", "orchestrator", "list", "--store", url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert "check that it runs" in done.stderr
    assert "secret-word" not in done.stderr + done.stdout
