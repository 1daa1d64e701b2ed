"""``python -m chaos scale``: pipelines and histories that are as large as anybody's, run, killed, resumed and read.

Each case is a process of its own, so that its memory is its own. ``wide``: steps that need nothing; ``deep``: a chain;
``join``: one step that needs all others. ``history``: one execution with so many facts, read from its end.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.outcome import Outcome
from chaos.trials import default_base
from orchestrator import Orchestrator, ResumeStrategy, Task, tool
from orchestrator.compiler.build import build
from orchestrator.domain.events import CheckpointMade, TaskClaimed, TaskProgressed
from orchestrator.domain.ids import TaskId

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from orchestrator.domain.events import Event
    from orchestrator.domain.pipeline import Pipeline

TOOL = "scale"
EXECUTION = "large"
BATCH = 5000
POINTS = 10
RESUME_SECONDS = 2.0
RESUME_SECONDS_A_TASK = 20e-6
TOLERANCE = 3.0
"""The machine may be so many times slower than the one that the bounds were made for."""
LIST_SECONDS = 2.0


@tool(TOOL, action="nothing")
async def nothing() -> None:
    """Do nothing."""


def _pipeline(shape: str, size: int) -> Pipeline:
    names = [TaskId(f"t{number}") for number in range(size)]
    needs: Callable[[int], tuple[TaskId, ...]]
    if shape == "deep":
        needs = lambda number: (names[number - 1],) if number else ()  # noqa: E731
    elif shape == "join":
        needs = lambda number: tuple(names[:-1]) if number == size - 1 else ()  # noqa: E731
    else:
        needs = lambda _number: ()  # noqa: E731
    tasks = [Task(name, TOOL, "nothing", dependencies=needs(number)) for number, name in enumerate(names)]
    return build(id=shape, tasks=tasks, resume=ResumeStrategy(validate_checkpoint_integrity=True))


class _Killer:
    """Listens, notes when work begins, and kills this process after so many completions."""

    def __init__(self, after: int) -> None:
        self._left = after
        self.began: float | None = None

    def notify(self, event: Event, execution_id: str, seq: int) -> None:
        """See Listener."""
        del execution_id, seq
        name = type(event).__name__
        if self.began is None and isinstance(event, TaskClaimed):
            self.began = time.monotonic()
        if name == "TaskCompleted":
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def progress(self, execution_id: str, task: str, done: float | None, total: float | None, message: str) -> None:
        """See Listener."""


async def _work(folder: Path, shape: str, size: int, kill_after: int, *, resume: bool) -> dict[str, Any]:
    killer = _Killer(kill_after)
    url = f"sqlite:///{folder}/store.db?durability=process"
    pipeline = None if resume else _pipeline(shape, size)
    began = time.monotonic()
    async with Orchestrator(store=url, listeners=[killer]) as runner:
        if pipeline is None:
            await runner.resume_pipeline(EXECUTION)
        else:
            await runner.run_pipeline(pipeline, {}, execution_id=EXECUTION)
        ended = time.monotonic()
        state = await runner.get_state(EXECUTION)
        attempts = sum(task.attempt for task in state.tasks.values())
    return {
        "seconds": ended - began,
        "to first claim": (killer.began or ended) - began,
        "done": state.done_count,
        "attempts": attempts,
    }


async def _history(folder: Path, size: int) -> dict[str, Any]:
    """Record facts by the hundred thousand, as a step that tells its progress for weeks does; read the newest."""
    url = f"sqlite:///{folder}/store.db?durability=process"
    async with Orchestrator(store=url) as runner:
        recorder = await runner._live.admit(_pipeline("wide", 1), "history", {}, EXECUTION, "manual")  # noqa: SLF001
        codec = runner._adapters.codec  # noqa: SLF001
        saved = codec.encode({"at": 1})
        began = time.monotonic()
        task = TaskId("t0")
        for number in range(size):
            recorder.record(TaskProgressed(float(number), task, 1, number, size, "", saved.ref))
            if number % 1000 == 0:
                recorder.record(CheckpointMade(float(number), "manual", None, {}, None))
            if number % BATCH == BATCH - 1:
                await recorder.flush()
        await recorder.flush()
        written = time.monotonic() - began
        await runner._live.give_back(recorder)  # noqa: SLF001
        began = time.monotonic()
        state = await runner.get_state(EXECUTION)
        folded = time.monotonic() - began
        began = time.monotonic()
        newest = await runner.state_manager.list_checkpoints(EXECUTION, limit=20)
        listed = time.monotonic() - began
    return {"written": written, "folded": folded, "listed": listed, "facts": state.seq, "newest": len(newest)}


def child(arguments: argparse.Namespace) -> int:
    """Carry out one case in this process and print what it took."""
    folder = Path(arguments.folder)
    if arguments.child == "history":
        answer = asyncio.run(_history(folder, arguments.size))
    else:
        resume = arguments.child == "resume"
        answer = asyncio.run(_work(folder, arguments.shape, arguments.size, arguments.kill_after, resume=resume))
    answer["peak MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(answer))
    return 0


def _start(folder: Path, kind: str, shape: str, size: int, kill_after: int = 0) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "chaos", "scale", "--child", kind, "--shape", shape, "--size", str(size)]
    command += ["--folder", str(folder), "--kill-after", str(kill_after)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
    return done.returncode, answer, done.stderr[-1500:]


def _shape(outcome: Outcome, shape: str, size: int) -> None:
    """Run a shape undisturbed, then once killed at ten places and resumed each time."""
    repeat = f"\n    python -m chaos scale --size {size} --only {shape}"
    with tempfile.TemporaryDirectory(prefix="scale-", dir=default_base()) as name:
        folder = Path(name)
        code, answer, error = _start(folder, "run", shape, size)
        if code or answer["done"] != size or answer["attempts"] != size:
            outcome.failures.append(f"I4: {shape}: the run ended with {code}, {answer} {error}{repeat}")
            return
        stored = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        outcome.notes[f"{shape}: steps/s, peak MiB, bytes stored a step"] = (
            f"{size / answer['seconds']:,.0f}, {answer['peak MiB']}, {stored / size:.0f}"
        )
        shutil.rmtree(folder)
        folder.mkdir()
        _killed(outcome, folder, shape, size, repeat)
    outcome.tried["steps"] = outcome.tried.get("steps", 0) + 2 * size


def _killed(outcome: Outcome, folder: Path, shape: str, size: int, repeat: str) -> None:
    after = max(1, size // (POINTS + 1))
    code, answer, error = _start(folder, "run", shape, size, after)
    slowest = 0.0
    for _ in range(3 * POINTS):
        if code != -signal.SIGKILL:
            break
        outcome.tried["SIGKILLs"] = outcome.tried.get("SIGKILLs", 0) + 1
        code, answer, error = _start(folder, "resume", shape, size, after)
        slowest = max(slowest, answer.get("to first claim", 0.0))
    if code or answer["done"] != size:
        outcome.failures.append(f"I4: {shape}: killed and resumed, it ended with {code}, {answer} {error}{repeat}")
        return
    running = answer["attempts"] - size
    if running > POINTS * 64:
        outcome.failures.append(f"I1: {shape}: {running} attempts more than steps after {POINTS} kills{repeat}")
    bound = RESUME_SECONDS + RESUME_SECONDS_A_TASK * size
    outcome.notes[f"{shape}: seconds from a resume to its first claim, at most"] = round(slowest, 2)
    if slowest > TOLERANCE * bound:
        outcome.failures.append(f"I6: {shape}: a resume took {slowest:.1f} s to begin; {bound:.1f} s are due{repeat}")


def _histories(outcome: Outcome, size: int) -> None:
    repeat = f"\n    python -m chaos scale --size {size // 10} --only history"
    with tempfile.TemporaryDirectory(prefix="scale-", dir=default_base()) as name:
        code, answer, error = _start(Path(name), "history", "wide", size)
    if code or answer["facts"] < size:
        outcome.failures.append(f"I6: history: it ended with {code}, {answer} {error}{repeat}")
        return
    outcome.tried["facts in one history"] = answer["facts"]
    for what in ("written", "folded", "listed"):
        outcome.notes[f"history: seconds, {what}"] = round(answer[what], 2)
    outcome.notes["history: peak MiB"] = answer["peak MiB"]
    if answer["listed"] > LIST_SECONDS or answer["newest"] != 20:
        outcome.failures.append(
            f"I6: history: {answer['newest']} of the newest 20 took {answer['listed']:.1f} s{repeat}"
        )


def campaign(arguments: argparse.Namespace) -> int:
    """Run the cases that are asked for; return the exit code."""
    if arguments.child:
        return child(arguments)
    began = time.monotonic()
    outcome = Outcome("scale")
    for shape in ("wide", "deep", "join"):
        if arguments.only in (None, shape):
            _shape(outcome, shape, arguments.size)
            print(f"{shape}: {time.monotonic() - began:.0f} s", flush=True)
    if arguments.only in (None, "history"):
        _histories(outcome, 10 * arguments.size)
    outcome.seconds = time.monotonic() - began
    return outcome.report(arguments)


def register(commands: Any) -> None:
    """Add the command (see ``chaos.outcome``)."""
    parser: argparse.ArgumentParser = commands.add_parser("scale", help="run, kill and resume very large pipelines")
    parser.add_argument("--size", type=int, default=100_000, help="steps; a history has ten times as many facts")
    parser.add_argument("--only", choices=("wide", "deep", "join", "history"))
    parser.add_argument("--seed", type=int, help="nothing is random here: taken for the sake of uniformity")
    parser.add_argument("--jobs", type=int, default=1, help="taken for the sake of uniformity")
    parser.add_argument("--seconds", type=float, help="taken for the sake of uniformity: it takes what it takes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcome there, too")
    for name in ("--child", "--shape", "--folder"):
        parser.add_argument(name, default="", help="used between the processes of this command")
    parser.add_argument("--kill-after", type=int, default=0, help="used between the processes of this command")
    parser.set_defaults(run=campaign)
