"""Servers of one store as real processes, their effects, and what is asked of them afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orchestrator as orc
from orchestrator import Orchestrator
from orchestrator.domain.pipeline import Pipeline
from tests.unit.core import bench

PATIENCE = 30.0
LEASE = 2.0
STEPS = """
import os, pathlib, time

def note(context, what):
    line = f"{time.monotonic():.6f} {context.execution_id} {context.task_id} {what} {os.getpid()}\\n"
    fd = os.open("effects.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, line.encode())
    os.close(fd)

def work(context, seconds: float = 0.0):
    note(context, "begin")
    end = time.monotonic() + seconds
    while time.monotonic() < end and not context.cancelled:
        time.sleep(0.01)
    note(context, "end")
    return context.task_id

def deaf(context, file: str):
    note(context, "begin")
    while not pathlib.Path(file).exists():
        time.sleep(0.01)
    note(context, "end")

def deadly(context):
    note(context, "begin")
    os.kill(os.getpid(), 9)
"""


def wait_until(condition: Callable[[], Any], description: str, seconds: float = PATIENCE) -> Any:
    """Wait until ``condition`` is true, and return what it returned."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never came: {description}"
        time.sleep(0.01)
    return found


def chain(seconds: Sequence[float], *, action: str = "work", name: str = "p") -> dict[str, Any]:
    """Return a pipeline of steps one after the other, each so long."""
    steps = []
    for number, each in enumerate(seconds):
        step: dict[str, Any] = {
            "id": f"s{number}", "tool": "python", "action": f"fleet_steps:{action}", "parameters": {"seconds": each},
            "dependencies": [f"s{number - 1}"] if number else [],
        }  # fmt: skip
        steps.append(step)
    return {"id": name, "steps": steps}


@dataclass
class Process:
    """A process of the program, and what it printed."""

    process: subprocess.Popen[bytes]
    out: Path

    @property
    def pid(self) -> int:
        """Its id."""
        return self.process.pid

    def lines(self) -> list[dict[str, Any]]:
        """Return the JSON objects it printed so far."""
        text = self.out.read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if line.startswith("{")]

    def told(self, kind: str) -> list[str]:
        """Return the executions it said this of."""
        return [line["execution_id"] for line in self.lines() if line["event"] == kind]

    def when(self, kind: str, execution_id: str) -> bool:
        """Tell whether it said this of an execution."""
        return execution_id in self.told(kind)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill it and wait for it."""
        self.process.kill()
        self.process.wait()

    def end(self, seconds: float = PATIENCE) -> int:
        """Wait for its end and return its exit code."""
        return self.process.wait(seconds)


@dataclass
class Yard:
    """A folder with steps, a store, and processes at work on it."""

    folder: Path
    url: str
    lease: float = LEASE
    processes: list[Process] = field(default_factory=list)
    program: tuple[str, ...] = ("-m", "orchestrator")

    def __post_init__(self) -> None:
        (self.folder / "fleet_steps.py").write_text(STEPS)
        self.settle(self.lease)

    def settle(self, lease: float, grace: float = 0.3) -> None:
        """Set what holds for processes that start from now on."""
        (self.folder / "orchestrator.toml").write_text(
            f"store = {json.dumps(self.url)}\nlease = {lease}\ngrace = {grace}\n"
        )

    def open(self) -> Orchestrator:
        """Return an orchestrator of this process."""
        return Orchestrator()

    def pipeline(self, definition: dict[str, Any]) -> Pipeline:
        """Return a compiled pipeline."""
        return orc.Pipeline.from_dict(definition).definition

    def start(self, *arguments: str) -> Process:
        """Start the program."""
        out = self.folder / f"out-{len(self.processes)}.txt"
        with out.open("wb") as file:
            process = subprocess.Popen(
                (sys.executable, *self.program, *arguments), cwd=self.folder, stdout=file, stderr=file
            )
        self.processes.append(Process(process, out))
        return self.processes[-1]

    def serve(self, *arguments: str) -> Process:
        """Start a server, and return once it serves."""
        server = self.start("serve", "--json", *arguments)
        wait_until(lambda: server.lines() or server.process.poll() is not None, "a server serves")
        assert server.lines(), server.out.read_text()
        return server

    def call(self, *arguments: str) -> str:
        """Run the program to its end, which must be a good one, and return what it printed."""
        done = subprocess.run(
            (sys.executable, "-m", "orchestrator", *arguments),
            check=False,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done
        return done.stdout

    async def let_go(self, orchestrator: Orchestrator, *names: str) -> None:
        """Wait until none of these is a living owner's: a dead one's lease runs on where no lock tells of its death."""

        async def is_free() -> bool:
            holders = [(await orchestrator.get_summary(name)).holder for name in names]
            return not any(holder is not None and holder.alive for holder in holders)

        await bench.wait_until(is_free, description="the leases are over")

    def effects(self) -> list[tuple[float, str, str, str, int]]:
        """Return what the steps did: when, of which execution and task, whether begin or end, in which process."""
        file = self.folder / "effects.txt"
        rows = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
        return [(float(at), execution, task, what, int(pid)) for at, execution, task, what, pid in rows]

    def begun(self) -> Counter[tuple[str, str]]:
        """Return how often each task of each execution was begun."""
        return Counter((execution, task) for _at, execution, task, what, _pid in self.effects() if what == "begin")

    def has_begun(self, execution_id: str, task: str) -> bool:
        """Tell whether a task was begun."""
        return (execution_id, task) in self.begun()

    def close(self) -> None:
        """End all that still runs."""
        for each in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGCONT)
            each.kill()


@contextlib.contextmanager
def yard_of(folder: Path, url: str) -> Iterator[Yard]:
    """Make a yard, and leave nothing running in the end."""
    yard = Yard(folder, url)
    try:
        yield yard
    finally:
        yard.close()
