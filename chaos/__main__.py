"""``python -m chaos COMMAND``: the long forms of the trials in ``tests/crash``.

::

    python -m chaos kills --trials 10000 --seed 1 --jobs 2     SIGKILL at random moments, resumes killed as well
    python -m chaos replay SEED                                the plan of one such trial once more
    python -m chaos contest --resumers 8 --trials 100          many resumes at once
    python -m chaos zombies --trials 50                        stopped owners, robbed and woken

Each ends with a summary and exits 1 if anything was violated. A trial follows from its seed but for the moments of
the machine itself: ``replay --times N`` repeats one often enough to meet a race again.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

from chaos import bitflips, faults, planted, powercut
from chaos.client import Forks
from chaos.contests import contest
from chaos.outcome import versions
from chaos.simulation import command as simulation
from chaos.trials import Lab, Plan, Verdict, default_base
from chaos.zombies import zombie

REPORT_SECONDS = 10.0
MODULES: tuple[Any, ...] = (simulation, faults, powercut, bitflips, planted)
"""The campaigns in modules of their own, each with ``register`` (see ``chaos.outcome``)."""

Trial = Callable[[Lab, int], Verdict]


@dataclass
class Summary:
    """What came of many trials."""

    command: str
    seed: int
    jobs: int
    base: str
    trials: int = 0
    with_kill: int = 0
    kills: int = 0
    resumes: int = 0
    absent: int = 0
    seconds: float = 0.0
    failed: list[str] = field(default_factory=list)
    violations: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    depths: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def add(self, verdict: Verdict) -> None:
        """Count a trial."""
        self.trials += 1
        self.kills += verdict.kills
        self.with_kill += bool(verdict.kills)
        self.depths[verdict.kills] += 1
        self.resumes += verdict.resumes
        self.absent += verdict.absent
        self.notes += verdict.notes
        self.latencies += verdict.latencies
        if not verdict.ok:
            self.failed.append(verdict.name)
            self.violations += Counter(name for name, _ in verdict.violations)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "command": self.command,
            "seed": self.seed,
            "jobs": self.jobs,
            "folder": self.base,
            "trials": self.trials,
            "trials_with_a_kill": self.with_kill,
            "kills": self.kills,
            "kills_in_one_trial": dict(sorted(self.depths.items())),
            "resumes": self.resumes,
            "killed_before_admission": self.absent,
            "violations": sum(self.violations.values()),
            "violations_by_invariant": dict(self.violations),
            "failed": self.failed,
            "notes": dict(self.notes),
            "latency_ms": _percentiles(self.latencies),
            "seconds": round(self.seconds, 1),
            "trials_per_second": round(self.trials / self.seconds, 2) if self.seconds else None,
            "versions": versions(),
        }

    def __str__(self) -> str:
        """Tell it for people, one fact a line."""
        lines = []
        for name, value in self.to_dict().items():
            if isinstance(value, dict):
                shown = ", ".join(f"{key}: {each}" for key, each in value.items()) or "none"
            elif isinstance(value, list):
                shown = ", ".join(map(str, value)) or "none"
            else:
                shown = str(value)
            lines.append(f"{name.replace('_', ' '):26} {shown}")
        return "\n".join(lines)


def _percentiles(seconds: list[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return {}
    cuts = quantiles(seconds, n=100)
    return {"median": round(cuts[49] * 1000, 1), "p99": round(cuts[98] * 1000, 1), "max": round(max(seconds) * 1000, 1)}


class _Campaign:
    """Many trials, by several jobs at once, each with a server of its own."""

    def __init__(self, summary: Summary, trial: Trial, arguments: argparse.Namespace) -> None:
        self._summary = summary
        self._trial = trial
        self._keep: Path | None = arguments.keep_failures
        self._base: Path = arguments.folder
        self._wanted: int = arguments.trials
        self._seeds: Iterator[int] = iter(range(arguments.seed, arguments.seed + arguments.trials))
        self._end = time.monotonic() + (arguments.seconds or float("inf"))
        self._mutex = threading.Lock()
        self._errors: list[BaseException] = []

    def run(self, jobs: int) -> None:
        began = time.monotonic()
        threads = [threading.Thread(target=self._job, daemon=True) for _ in range(jobs)]
        for thread in threads:
            thread.start()
        next_report = began + REPORT_SECONDS
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.2)
            if time.monotonic() > next_report:
                next_report += REPORT_SECONDS
                self._report(time.monotonic() - began)
        self._summary.seconds = time.monotonic() - began
        if self._errors:
            raise self._errors[0]

    def _report(self, seconds: float) -> None:
        summary = self._summary
        print(
            f"{summary.trials} of {self._wanted} trials, {summary.kills} kills, {len(summary.failed)} failed, "
            f"{summary.trials / seconds:.1f} trials/s",
            flush=True,
        )

    def _job(self) -> None:
        try:
            with Forks() as forks:
                lab = Lab(forks, self._base, self._keep)
                while (seed := self._next()) is not None:
                    verdict = self._trial(lab, seed)
                    with self._mutex:
                        self._summary.add(verdict)
                        if not verdict.ok:
                            print(f"{verdict}", flush=True)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the user sees it
            self._errors.append(error)

    def _next(self) -> int | None:
        with self._mutex:
            return None if self._errors or time.monotonic() > self._end else next(self._seeds, None)


def _kill(lab: Lab, seed: int) -> Verdict:
    return lab.run(Plan.of_seed(seed))


def _replay(arguments: argparse.Namespace) -> int:
    plan = Plan.of_seed(arguments.seed)
    print(plan)
    failed = 0
    with Forks() as forks:
        lab = Lab(forks, arguments.folder, arguments.keep_failures)
        for _ in range(arguments.times):
            verdict = lab.run(plan)
            failed += not verdict.ok
            print(verdict, "" if not verdict.ok else "  nothing was violated", sep="\n")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text, trials in (
        ("kills", "kill executions at random moments", 1000),
        ("contest", "resume one execution many times at once", 100),
        ("zombies", "stop owners, rob them, wake them", 50),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--trials", type=int, default=trials)
        command.add_argument("--seed", type=int, default=1, help="seed of the first trial; each next one adds 1")
        command.add_argument("--jobs", type=int, default=2)
        command.add_argument("--seconds", type=float, help="begin no trial after so long")
        command.add_argument("--json", type=Path, metavar="FILE", help="write the summary there, too")
        if name == "contest":
            command.add_argument("--resumers", type=int, default=8, help="the most that compete (from 2)")
    replay = commands.add_parser("replay", help="repeat one trial of `kills`")
    replay.add_argument("seed", type=int)
    replay.add_argument("--times", type=int, default=1)
    campaigns = set(commands.choices)
    for module in MODULES:
        module.register(commands)
    for name in campaigns:
        command = commands.choices[name]
        command.add_argument("--keep-failures", type=Path, metavar="DIR", help="keep stores and logs of failed trials")
        command.add_argument("--folder", type=Path, default=default_base(), help="where stores are made")
    return parser


def main() -> int:
    """Run a command; return its exit code."""
    arguments = _parser().parse_args()
    if hasattr(arguments, "run"):
        return int(arguments.run(arguments))
    if arguments.keep_failures is not None:
        arguments.keep_failures.mkdir(parents=True, exist_ok=True)
    if arguments.command == "replay":
        return _replay(arguments)
    trials: dict[str, Trial] = {"kills": _kill, "zombies": zombie}
    trial = trials.get(arguments.command) or partial(contest, resumers=arguments.resumers)
    command = "python -m chaos " + " ".join(sys.argv[1:])
    summary = Summary(command, arguments.seed, arguments.jobs, str(arguments.folder))
    try:
        _Campaign(summary, trial, arguments).run(arguments.jobs)
    finally:
        print(summary)
        if arguments.json is not None:
            arguments.json.write_text(json.dumps(summary.to_dict(), indent=2) + "\n")
    return 1 if summary.failed or not summary.trials else 0


if __name__ == "__main__":
    sys.exit(main())
