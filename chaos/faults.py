"""``python -m chaos faults``: each file call of a run, and of a resume, goes wrong in every way, one trial for each."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.client import Forks
from chaos.files import Fault
from chaos.outcome import Outcome
from chaos.preload import PREFIX, library
from chaos.trials import Kill, Lab, Plan, default_base

if TYPE_CHECKING:
    import argparse

HALF_WAY = (Kill(point="after_commit", count=4),)
STAGES = {"run": (), "resume": HALF_WAY, "libc-run": (), "libc-resume": HALF_WAY}
"""Which process is disturbed: the run itself, or the resume after a run that was killed half way.

Those with ``libc`` meet the calls of libc (see ``chaos.preload``), the others those that Python can see.
"""


def plan(stage: str, fault: str) -> Plan:
    """Return the trial in which one call of that process goes wrong; steps run one at a time, to repeat it exactly."""
    fault = f"{PREFIX}{fault}" if stage.startswith("libc") else fault
    faults = ("",) * len(STAGES[stage]) + (fault,)
    return Plan(f"{stage}-{fault.replace(':', '-')}", STAGES[stage], concurrency=1, pace=0.0, faults=faults)


@dataclass
class Sweep:
    """One kind of fault in one process: its numbers are handed out until one finds no call to strike."""

    stage: str
    kind: str
    step: int = 1
    next: int = 1
    last: int | None = None
    struck: int = 0


@dataclass
class Shared:
    """What several jobs share: the sweeps, until when to begin trials, and what was found."""

    sweeps: list[Sweep]
    until: float
    mutex: threading.Lock = field(default_factory=threading.Lock)
    failures: list[str] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)
    errors: list[BaseException] = field(default_factory=list)

    def take(self) -> tuple[Sweep, int] | None:
        """Hand out the next case, of the sweep that is least far; None when all is done."""
        with self.mutex:
            open_ones = [sweep for sweep in self.sweeps if sweep.last is None]
            if not open_ones or time.monotonic() > self.until or self.errors:
                return None
            sweep = min(open_ones, key=lambda each: each.next)
            number = sweep.next
            sweep.next += sweep.step
            return sweep, number


def strike(lab: Lab, sweep: Sweep, number: int) -> str:
    """Make one trial; return what was violated."""
    verdict = lab.run(plan(sweep.stage, f"{sweep.kind}:{number}"))
    if verdict.fired:
        sweep.struck += 1
    elif verdict.calls < number:
        sweep.last = number
    if verdict.ok:
        return ""
    return f"{verdict}\n    python -m chaos faults --only {sweep.stage}:{sweep.kind}:{number}"


def sweep_all(shared: Shared, jobs: int, base: Path, mutant: str = "") -> None:
    """Carry out every sweep, by several jobs."""

    def job() -> None:
        try:
            with Forks(library()) as forks:
                lab = Lab(forks, base, mutant=mutant)
                while (case := shared.take()) is not None:
                    found = strike(lab, *case)
                    if found:
                        with shared.mutex:
                            shared.failures.append(found)
                            print(found, flush=True)
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            shared.errors.append(error)

    threads = [threading.Thread(target=job, daemon=True) for _ in range(jobs)]
    for thread in threads:
        thread.start()
    reported = time.monotonic()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.1)
        if time.monotonic() - reported > 10:
            reported = time.monotonic()
            struck = sum(sweep.struck for sweep in shared.sweeps)
            print(f"{struck} calls struck, {len(shared.failures)} failed", flush=True)
    if shared.errors:
        raise shared.errors[0]


def campaign(arguments: argparse.Namespace) -> int:
    """Sweep as asked; return the exit code."""
    began = time.monotonic()
    if arguments.only:
        stage, kind, number = arguments.only.split(":")
        with Forks(library()) as forks:
            verdict = Lab(forks, default_base()).run(plan(stage, f"{kind}:{number}"))
        print(verdict, "" if not verdict.ok else "  nothing was violated", sep="\n")
        return 0 if verdict.ok else 1
    stages = [stage for stage in STAGES if library() is not None or not stage.startswith("libc")]
    sweeps = [Sweep(stage, kind, arguments.step) for stage in stages for kind in Fault.KINDS]
    shared = Shared(sweeps, began + (arguments.seconds or float("inf")))
    sweep_all(shared, arguments.jobs, default_base())
    outcome = Outcome("faults")
    if len(stages) < len(STAGES):
        outcome.notes["not tried"] = "the calls of libc: no C compiler here"
    for stage in stages:
        for kind in Fault.KINDS:
            struck = next(each.struck for each in sweeps if (each.stage, each.kind) == (stage, kind))
            outcome.tried[f"{kind} in a {stage}"] = struck
    unfinished = [f"{each.stage}:{each.kind}" for each in sweeps if each.last is None]
    outcome.notes["sweeps that reached the last call"] = f"{len(sweeps) - len(unfinished)} of {len(sweeps)}"
    if arguments.step > 1:
        outcome.notes["step"] = f"every {arguments.step}th call"
    outcome.failures = shared.failures
    outcome.seconds = time.monotonic() - began
    return outcome.report(arguments)


def register(commands: Any) -> None:
    """Add the command (see ``chaos.outcome``)."""
    parser: argparse.ArgumentParser = commands.add_parser("faults", help="let every file call of a run go wrong")
    parser.add_argument("--only", metavar="STAGE:KIND:N", help="one case: run:eio:37")
    parser.add_argument("--step", type=int, default=1, help="strike every so-manieth call only")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, help="begin no trial after so long")
    parser.add_argument("--seed", type=int, help="nothing is random here: taken for the sake of uniformity")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcome there, too")
    parser.set_defaults(run=campaign)
