"""``python -m chaos powercut``: the power fails after each file operation of a run, and the store is opened again."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos import checks, workload
from chaos.child import EXECUTION, Order
from chaos.client import Forks
from chaos.disk import POLICIES, Disk
from chaos.files import Call, watch
from chaos.ground import FILES
from chaos.outcome import Outcome
from chaos.trials import Lab, default_base
from orchestrator import Orchestrator, OrchestratorError

if TYPE_CHECKING:
    import argparse

    from orchestrator.domain.events import Event

MAY_BE_BEHIND = ("process",)
"""Settings of ``durability`` under which the last facts may be lost in a power cut, though nothing be damaged."""


@dataclass
class Recording:
    """A run: the calls on its store's files, and what it told, each with the number of calls made by then."""

    root: Path
    calls: list[Call] = field(default_factory=list)
    told: list[tuple[int, int, Event]] = field(default_factory=list)
    closed: bool = False

    def before(self, call: Call) -> None:
        """See Observer."""

    def after(self, call: Call) -> None:
        """See Observer."""
        if not self.closed and call.path.startswith(str(self.root)):
            self.calls.append(call)

    def notify(self, event: Event, execution_id: str, seq: int) -> None:
        """See Listener."""
        del execution_id
        self.told.append((len(self.calls), seq, event))

    def progress(self, execution_id: str, task: str, done: float | None, total: float | None, message: str) -> None:
        """See Listener."""


def record(root: Path, durability: str) -> Recording:
    """Run the pipeline in ``root`` and return what was recorded; this process is watched from then on."""
    recording = Recording(root)
    watch(recording, root / checks.STORE)

    async def run() -> None:
        url = FILES.url(root, durability)
        async with Orchestrator(store=url, listeners=[recording], max_concurrency=1) as runner:
            inputs = {"log": str(root / "effects.log"), "pace": 0.0}
            await runner.run_pipeline(workload.make(), inputs, execution_id=EXECUTION)

    asyncio.run(run())
    recording.closed = True
    return recording


def judge(recording: Recording, cut: int, folder: Path, durability: str) -> str:
    """Open what a power cut after ``cut`` calls left in ``folder``; return what is wrong with it."""
    told = [(seq, event) for calls, seq, event in recording.told if calls <= cut]
    if not (folder / checks.STORE).exists():
        return f"I0: no store, after {len(told)} facts were told" if told and durability == "full" else ""
    try:
        seen = asyncio.run(checks.open_and_see(FILES.url(folder, "process")))
    except OrchestratorError as error:
        return f"I10: {type(error).__name__}: {error}"
    if seen.problems:
        return f"I10: {'; '.join(seen.problems)}"
    full = [event for _, _, event in recording.told]
    if seen.events != full[: len(seen.events)]:
        return "I11: the history is another than the one that was told"
    if durability not in MAY_BE_BEHIND and len(seen.events) < len(told):
        return f"I1: {len(told)} facts were told, {len(seen.events)} are there"
    return ""


def _resume(lab: Lab, folder: Path, expected: Any) -> str:
    """Resume what is there to the end; return what is wrong."""
    order = Order("resume", str(folder), FILES.url(folder), str(folder / "answer.json"))
    pid = lab.children.start(order)
    status = lab.wait_or_kill(pid)
    from chaos.course import read_answer

    answer = read_answer(order)
    if status == 3:  # nothing had been admitted
        return ""
    if status != 0:
        return f"I6: the resume ended with {status}: {answer.get('error')}"
    return "" if answer["outputs"] == expected else f"I4: outputs {answer['outputs']}, undisturbed {expected}"


@dataclass
class _Cuts:
    arguments: argparse.Namespace
    durability: str
    outcome: Outcome
    until: float

    def make(self, lab: Lab, recording: Recording) -> None:
        """Cut the power after every call, in every way."""
        reference = lab.reference("threads")["outputs"]
        disk = Disk(recording.root)
        only = self.arguments.only
        for number, call in enumerate(recording.calls, 1):
            disk.apply(call)
            if time.monotonic() > self.until or (number % self.arguments.step and not only):
                continue
            for policy in POLICIES:
                for seed in range(self.arguments.seeds if policy == "random" else 1):
                    case = f"{self.durability}:{number}:{policy}:{self.arguments.seed + seed}"
                    if only in (None, case):
                        self._cut(lab, recording, disk, case, reference)

    def _cut(self, lab: Lab, recording: Recording, disk: Disk, case: str, reference: Any) -> None:
        _, number, policy, seed = case.split(":")
        chance = random.Random(f"{number}:{seed}")
        tried = self.outcome.tried
        with tempfile.TemporaryDirectory(prefix="powercut-", dir=default_base()) as name:
            folder = Path(name)
            disk.cut(folder, policy, chance)
            found = judge(recording, int(number), folder, self.durability)
            tried[f"power cuts, durability {self.durability}"] = (
                tried.get(f"power cuts, durability {self.durability}", 0) + 1
            )
            if not found and (chance.random() < self.arguments.resumed or self.arguments.only):
                found = _resume(lab, folder, reference)
                tried["resumed to the end after a cut"] = tried.get("resumed to the end after a cut", 0) + 1
        if found:
            what = recording.calls[int(number) - 1]
            where = f"{what.what} {Path(what.path).name}"
            self.outcome.failures.append(
                f"{found} (after call {number}, {where}, {policy})\n    python -m chaos powercut --only {case}"
            )


def campaign(arguments: argparse.Namespace) -> int:
    """Record a run and cut its power; return the exit code."""
    began = time.monotonic()
    outcome = Outcome("powercut", arguments.seed)
    until = began + (arguments.seconds or float("inf"))
    root = Path(tempfile.mkdtemp(prefix="powercut-run-", dir=default_base()))
    if arguments.plant:
        from chaos.mutants_disk import PLANTED

        PLANTED[arguments.plant]()
    try:
        with Forks() as forks:
            lab = Lab(forks, default_base())
            durability = arguments.only.split(":")[0] if arguments.only else arguments.durability
            recording = record(root, durability)
            outcome.notes["file operations recorded"] = len(recording.calls)
            outcome.notes["facts told"] = len(recording.told)
            _Cuts(arguments, durability, outcome, until).make(lab, recording)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    outcome.seconds = time.monotonic() - began
    return outcome.report(arguments)


def register(commands: Any) -> None:
    """Add the command (see ``chaos.outcome``)."""
    parser: argparse.ArgumentParser = commands.add_parser("powercut", help="cut the power after every file operation")
    parser.add_argument("--durability", choices=("full", "process"), default="full")
    parser.add_argument("--seeds", type=int, default=20, help="how often the policy `random` is played at each place")
    parser.add_argument("--seed", type=int, default=1, help="the first of these seeds")
    parser.add_argument("--step", type=int, default=1, help="cut after every so-manieth call only")
    parser.add_argument("--resumed", type=float, default=0.05, help="the part of the cases that are resumed to the end")
    parser.add_argument("--only", metavar="CASE", help="one case: full:37:random:4")
    parser.add_argument("--plant", help="plant this bug first (see chaos.mutants_disk)")
    parser.add_argument("--jobs", type=int, default=1, help="taken for the sake of uniformity")
    parser.add_argument("--seconds", type=float, help="cut no power after so long")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcome there, too")
    parser.set_defaults(run=campaign)
