"""Servers: how soon what was left behind goes on, and what many executions at once cost. For any store by its URL.

``ORCHESTRATOR_BENCH_TRIALS`` says how often an adoption is measured (10).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from benchmarks.pipelines import chain, registry
from orchestrator import Orchestrator, Pipeline

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEASE = 2.0
PATIENCE = 60.0
STUCK = 15.0
PERIOD = 0.002
LENGTH = 10
_STEPS = "async def nap(seconds: float):\n    import asyncio\n    await asyncio.sleep(seconds)\n"


def trials() -> int:
    """Return how often an adoption is measured."""
    return int(os.environ.get("ORCHESTRATOR_BENCH_TRIALS", "10"))


# -- adoption --------------------------------------------------------------------------------------------------------


@dataclass
class _Server:
    process: subprocess.Popen[bytes]
    out: Path

    def took(self, execution_id: str) -> float | None:
        """Return when it took an execution, as far as one can see from here."""
        needle = b'"event": "taken"'
        name = f'"{execution_id}"'.encode()
        found = any(needle in line and name in line for line in self.out.read_bytes().splitlines())
        return time.monotonic() if found else None


class _Servers:
    """Two servers; the one that is killed is replaced."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made = 0
        self.alive = [self._start(), self._start()]

    def _start(self) -> _Server:
        self._made += 1
        out = self._folder / f"server-{self._made}.txt"
        with out.open("wb") as file:
            process = subprocess.Popen(
                (sys.executable, "-m", "orchestrator", "serve", "--json"), cwd=self._folder, stdout=file, stderr=file
            )
        server = _Server(process, out)
        _wait(lambda: b"serving" in out.read_bytes(), "a server serves")
        return server

    def owner(self, execution_id: str) -> _Server:
        """Return the server that took an execution."""
        found: list[_Server] = []

        def taken() -> bool:
            found[:] = [server for server in self.alive if server.took(execution_id)]
            return bool(found)

        _wait(taken, "a server takes it")
        return found[0]

    def replace(self, server: _Server) -> None:
        """Start another in place of one that was killed."""
        server.process.wait()
        self.alive[self.alive.index(server)] = self._start()

    def close(self) -> None:
        """End both."""
        for server in self.alive:
            server.process.kill()
            server.process.wait()


def _wait(condition: Any, what: str, seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(PERIOD)


@contextlib.contextmanager
def _servers(folder: Path, url: str) -> Iterator[_Servers]:
    (folder / "bench_steps.py").write_text(_STEPS)
    (folder / "orchestrator.toml").write_text(f"store = {json.dumps(url)}\nlease = {LEASE}\ngrace = 0\n")
    servers = _Servers(folder)
    try:
        yield servers
    finally:
        servers.close()


def adoptions(folder: Path, url: str, number: int) -> list[float]:
    """Return how long it took, again and again, from an owner's end by this signal until another had taken over.

    An owner that happens to be stopped inside a commit to a file holds the file's lock, so that nobody can take over
    before it goes on: such a trial is said, and made again.
    """
    step = {"id": "a", "tool": "python", "action": "bench_steps:nap", "parameters": {"seconds": 600}}
    definition = {"id": "p", "steps": [step]}
    found: list[float] = []
    with _servers(folder, url) as servers, contextlib.chdir(folder):
        pipeline = Pipeline.from_dict(definition)
        for trial in count():
            if len(found) == trials():
                break
            name = f"trial-{trial}"
            asyncio.run(_submit(pipeline, name))
            owner = servers.owner(name)
            time.sleep(LEASE / 2 * (trial % 5) / 5)  # at any moment between two renewals
            (heir,) = [server for server in servers.alive if server is not owner]
            owner.process.send_signal(number)
            began = time.monotonic()
            try:
                _wait(lambda heir=heir, name=name: heir.took(name), "it is adopted", STUCK)
                found.append(time.monotonic() - began)
            except TimeoutError:
                if number != signal.SIGSTOP:
                    raise
                print("  a server was stopped inside a commit; once more", file=sys.stderr)
            if number == signal.SIGSTOP:
                owner.process.send_signal(signal.SIGCONT)
            else:
                servers.replace(owner)
            asyncio.run(_cancel(name))
    return found


async def _submit(pipeline: Pipeline, name: str) -> None:
    async with Orchestrator() as orchestrator:
        await orchestrator.submit(pipeline.definition, execution_id=name)


async def _cancel(name: str) -> None:
    async with Orchestrator() as orchestrator:
        await orchestrator.cancel(name)


def spread(found: list[float]) -> str:
    """Return the median and the worst, in words."""
    return f"{statistics.median(found):.2f} s, worst {max(found):.2f} s of {len(found)}"


# -- many at once ----------------------------------------------------------------------------------------------------


async def submit_many(number: int, url: str) -> dict[str, float]:
    """Submit so many chains; report executions a second."""
    tools = registry()
    pipeline = chain(LENGTH, tools).definition
    async with Orchestrator(store=url, tools=tools) as orchestrator:
        start = time.perf_counter()
        for _ in range(number):
            await orchestrator.submit(pipeline)
        return {"rate": number / (time.perf_counter() - start)}


async def serve_many(number: int, url: str) -> dict[str, float]:
    """Serve until idle, so many at once; report steps a second and the peak memory in MB."""
    done = 0

    def told(notice: Any) -> None:
        nonlocal done
        done += notice.kind == "ended"

    async with Orchestrator(store=url, tools=registry()) as orchestrator:
        start = time.perf_counter()
        await orchestrator.serve(until_idle=True, max_executions=number, told=told)
        seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"steps": done * LENGTH, "seconds": seconds, "peak_mb": peak}
