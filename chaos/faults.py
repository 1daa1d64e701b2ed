"""``python -m chaos faults``: each file call of a run, and of a resume, goes wrong in every way, one trial for each."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.client import Forks
from chaos.files import Fault
from chaos.outcome import Outcome
from chaos.plans import Kill, Plan
from chaos.preload import PREFIX, library
from chaos.sweeps import Shared, Sweep, sweep_all
from chaos.trials import Lab, default_base

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

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


def sweeps_of(sweeps: list[Sweep], until: float = float("inf")) -> Shared:
    """Return what the jobs of these sweeps share."""
    return Shared(sweeps, until, plan, "python -m chaos faults")


@contextmanager
def lab_in(base: Path, mutant: str = "") -> Iterator[Lab]:
    """Lend a lab whose children can be disturbed in their calls of libc, too."""
    with Forks(library()) as forks:
        yield Lab(forks, base, mutant=mutant)


def campaign(arguments: argparse.Namespace) -> int:
    """Sweep as asked; return the exit code."""
    began = time.monotonic()
    if arguments.only:
        stage, kind, number = arguments.only.split(":")
        with lab_in(default_base()) as lab:
            verdict = lab.run(plan(stage, f"{kind}:{number}"))
        print(verdict, "" if not verdict.ok else "  nothing was violated", sep="\n")
        return 0 if verdict.ok else 1
    stages = [stage for stage in STAGES if library() is not None or not stage.startswith("libc")]
    sweeps = [Sweep(stage, kind, arguments.step) for stage in stages for kind in Fault.KINDS]
    shared = sweeps_of(sweeps, began + (arguments.seconds or float("inf")))
    sweep_all(shared, [partial(lab_in, default_base())] * arguments.jobs)
    outcome = Outcome("faults")
    if len(stages) < len(STAGES):
        outcome.notes["not tried"] = "the calls of libc: no C compiler here"
    for stage in stages:
        for kind in Fault.KINDS:
            struck = next(each.struck for each in sweeps if (each.stage, each.kind) == (stage, kind))
            outcome.tried[f"{kind} in a {stage}"] = struck
    outcome.notes["sweeps that reached the last call"] = f"{len(sweeps) - len(shared.unfinished())} of {len(sweeps)}"
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
