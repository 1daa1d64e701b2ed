"""``python -m chaos simulate``: as many seeds as wanted, several at once; a failing one names the command to replay."""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.outcome import Outcome
from chaos.simulation.bugs import BUGS
from chaos.simulation.run import SQLITE_EVERY, simulate

if TYPE_CHECKING:
    from chaos.simulation.run import Report

BATCH = 200
REPORT_SECONDS = 10.0


@dataclass
class Tally:
    """What a batch of seeds came to."""

    seeds: int = 0
    steps: int = 0
    facts: int = 0
    effects: int = 0
    processes: int = 0
    on_sqlite: int = 0
    dangers: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, report: Report) -> None:
        """Count a seed."""
        self.seeds += 1
        self.steps += report.steps
        self.facts += report.facts
        self.effects += report.effects
        self.processes += report.processes
        self.on_sqlite += report.store == "sqlite"
        self.dangers.update(report.seen)
        if report.violation is not None:
            self.failures.append(f"{report.violation}\n    {replay(report)}")

    def merge(self, other: Tally) -> None:
        """Add another batch."""
        for name in ("seeds", "steps", "facts", "effects", "processes", "on_sqlite"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.dangers.update(other.dangers)
        self.failures += other.failures


def replay(report: Report) -> str:
    """Return the command that plays a seed again, with its story."""
    return f"python -m chaos simulate --seed {report.seed} --seeds 1 --store {report.store} --story"


def play(first: int, seeds: int, store: str = "", until: float = float("inf")) -> Tally:
    """Play seeds one after the other; none is begun after ``until`` (monotonic seconds)."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # the engine rightly warns of much that is done to it here
    tally = Tally()
    try:
        for seed in range(first, first + seeds):
            if time.monotonic() > until:
                break
            tally.add(simulate(seed, store))
    finally:
        logging.disable(before)
    return tally


def campaign(arguments: argparse.Namespace) -> int:
    """Play the seeds that are asked for; return the exit code."""
    began = time.monotonic()
    if arguments.plant:
        BUGS[arguments.plant]()
    if arguments.story:
        logging.disable(logging.CRITICAL)
        report = simulate(arguments.seed, arguments.store)
        print("\n".join(report.story), report.violation or "nothing was violated", sep="\n")
        return 1 if report.violation else 0
    until = began + arguments.seconds if arguments.seconds else float("inf")
    total = _play_all(arguments, until)
    outcome = Outcome("simulate", arguments.seed)
    outcome.tried = {
        "seeds": total.seeds,
        "seeds on a real SQLite file": total.on_sqlite,
        "simulated processes": total.processes,
        "callbacks, each a step after which the invariants were checked": total.steps,
        "facts recorded and judged": total.facts,
        "attempts begun": total.effects,
        "dangers met": total.dangers.total(),
    }
    outcome.notes = {f"danger: {name}": times for name, times in total.dangers.most_common()}
    outcome.failures = total.failures
    outcome.seconds = time.monotonic() - began
    return outcome.report(arguments)


def _play_all(arguments: argparse.Namespace, until: float) -> Tally:
    total = Tally()
    if arguments.jobs == 1:
        return play(arguments.seed, arguments.seeds, arguments.store, until)
    end = arguments.seed + arguments.seeds
    firsts = count(arguments.seed, BATCH)
    running: set[Future[Tally]] = set()
    next_report = time.monotonic() + REPORT_SECONDS
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("fork")) as pool:
        first = next(firsts)
        while running or (first < end and time.monotonic() < until and not total.failures):
            while len(running) < 2 * arguments.jobs and first < end and time.monotonic() < until:
                running.add(pool.submit(play, first, min(BATCH, end - first), arguments.store, until))
                first = next(firsts)
            done, running = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in done:
                total.merge(future.result())
            if time.monotonic() > next_report:
                next_report += REPORT_SECONDS
                print(f"{total.seeds:,} seeds, {total.facts:,} facts, {len(total.failures)} failed", flush=True)
    return total


def register(commands: Any) -> None:
    """Add the command (see ``chaos.outcome``)."""
    parser: argparse.ArgumentParser = commands.add_parser("simulate", help="play seeds in the simulator")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many, each one more than the last")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--seconds", type=float, help="begin no seed after so long")
    parser.add_argument(
        "--store",
        choices=("", "memory", "sqlite"),
        default="",
        help=f"default: one seed in {SQLITE_EVERY} on SQLite, the others in memory",
    )
    parser.add_argument("--story", action="store_true", help="play one seed and tell what happened")
    parser.add_argument("--plant", choices=sorted(BUGS), help="plant this bug first")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcome there, too")
    parser.set_defaults(run=campaign)
