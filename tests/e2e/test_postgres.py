"""Runs on PostgreSQL as a person has them: processes that are killed, servers that are restarted under them."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from chaos.servers.postgres import PostgresServer
from chaos.servers.proxy import Proxy
from orchestrator import Orchestrator, compile  # noqa: A004 - the public name

STEPS = """
import pathlib, time

def note(context, name, wait: str = ""):
    with open("effects.txt", "a") as file:
        file.write(name + "\\n")
    while wait and not pathlib.Path(wait).exists():
        time.sleep(0.01)
    return name
"""
PIPELINE = """
id: watched
steps:
  - {id: first, tool: python, action: "pg_steps:note", parameters: {name: first}}
  - {id: second, tool: python, action: "pg_steps:note", parameters: {name: "{{ first.result }} second", wait: go}}
  - {id: third, tool: python, action: "pg_steps:note", parameters: {name: "{{ second.result }} third"}}
outputs:
  last: "{{ third.result }}"
"""
CHAIN = """
id: chain
steps:
""" + "".join(
    f"  - {{id: s{n}, tool: python, action: 'pg_steps:note', parameters: {{name: s{n}}}"
    + (f", depends_on: [s{n - 1}]" if n else "")
    + "}\n"
    for n in range(60)
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pg_steps.py").write_text(STEPS)
    (tmp_path / "watched.yaml").write_text(PIPELINE)
    (tmp_path / "chain.yaml").write_text(CHAIN)
    return tmp_path


def effects(project: Path) -> list[str]:
    file = project / "effects.txt"
    return file.read_text().splitlines() if file.exists() else []


async def until(condition: Callable[[], bool], description: str) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, f"never: {description}"
        await asyncio.sleep(0.01)


@contextlib.contextmanager
def started(project: Path, url: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *arguments, "--store", url],
        cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def resume(project: Path, url: str) -> tuple[int, str]:
    with started(project, url, "resume", "x") as process:
        told, _ = process.communicate(timeout=30)
        return process.returncode, told


@pytest.mark.chaos
async def test_a_killed_run_is_refused_while_its_lease_runs_and_then_resumed(project: Path, postgres_url: str) -> None:
    (project / "orchestrator.toml").write_text("lease = 2\n")
    with started(project, postgres_url, "run", "watched.yaml", "--execution-id", "x") as owner:
        await until(lambda: len(effects(project)) == 2 or owner.poll() is not None, "the second step runs")
        owner.send_signal(signal.SIGKILL)
    (project / "go").touch()
    code, told = resume(project, postgres_url)
    if code == 4:  # unless this machine was so slow that the lease was over already
        assert "lease ends in" in told
        await asyncio.sleep(2.1)
        code, told = resume(project, postgres_url)
    assert code == 0, told
    assert effects(project) == ["first", "first second", "first second", "first second third"]
    async with Orchestrator(store=postgres_url) as orchestrator:
        (summary,) = await orchestrator.list_executions()
        assert (summary.status.value, summary.completed) == ("completed", 3)


@pytest.mark.chaos
@pytest.mark.parametrize("mode", ["kill", "fast"])
async def test_a_run_goes_on_over_restarts_of_the_server(project: Path, mode: str) -> None:
    sys.path.insert(0, str(project))
    with PostgresServer() as server:
        async with Orchestrator(store=server.url) as orchestrator:
            run = asyncio.create_task(orchestrator.run_pipeline(compile(project / "chain.yaml"), execution_id="x"))
            for restart in range(3):
                await until(lambda done=restart: len(effects(project)) > 15 * (done + 1), "the run gets on")  # type: ignore[misc]
                await asyncio.to_thread(server.restart, mode)
            await run
            assert effects(project) == [f"s{number}" for number in range(60)]
            (summary,) = await orchestrator.list_executions()
            assert (summary.status.value, summary.completed) == ("completed", 60)


@pytest.mark.chaos
async def test_a_run_whose_every_commit_is_answered_into_the_void(
    project: Path, postgres_url: str, postgres_server_url: str
) -> None:
    sys.path.insert(0, str(project))
    info = conninfo_to_dict(postgres_server_url)
    options = postgres_url.partition("?")[2]
    with Proxy(int(info.get("port") or 5432), str(info.get("host") or "127.0.0.1")) as proxy:
        url = f"postgresql://{info['user']}@127.0.0.1:{proxy.port}/{info['dbname']}?{options}"

        def is_commit(piece: bytes) -> bool:
            return piece.startswith(b"B") and b"orchestrator_append" in piece

        async def lose_each() -> None:
            known = -1
            while True:
                if proxy.cuts != known:
                    known = proxy.cuts
                    proxy.swallow(is_commit)
                await asyncio.sleep(0.001)

        async with Orchestrator(store=url) as orchestrator:
            losing = asyncio.create_task(lose_each())
            await orchestrator.run_pipeline(compile(project / "chain.yaml"), execution_id="x")
            losing.cancel()
            assert proxy.cuts >= 25
            assert effects(project) == [f"s{number}" for number in range(60)]
            (summary,) = await orchestrator.list_executions()
            assert (summary.status.value, summary.completed) == ("completed", 60)
