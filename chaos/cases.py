"""What the campaigns over content share: cases that follow from a number each, tried one after another."""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from chaos.outcome import Outcome

MOST_FAILURES = 50


class Part(NamedTuple):
    """What one job tried and found."""

    tried: Counter[str]
    failures: list[str]


Case = Callable[[int], tuple[str, str]]
"""Tries the case of a number; returns what kind it was, and what was violated ('' if nothing)."""


def work(case: Case, numbers: range, end: float | None) -> Part:
    """Try the cases of these numbers until ``end``, on the clock ``time.monotonic``."""
    tried: Counter[str] = Counter()
    failures: list[str] = []
    for number in numbers:
        if (end is not None and time.monotonic() > end) or len(failures) >= MOST_FAILURES:
            break
        kind, violated = case(number)
        tried[kind] += 1
        if violated:
            failures.append(violated)
    return Part(tried, failures)


def campaign(name: str, case: Case, count: int, arguments: argparse.Namespace) -> Outcome:
    """Try ``count`` cases from ``--seed`` on in ``--jobs`` processes, and begin none after ``--seconds``."""
    began = time.monotonic()
    end = began + arguments.seconds if arguments.seconds else None
    jobs = max(1, min(arguments.jobs, count))
    outcome = Outcome(name, arguments.seed)
    shares = [range(arguments.seed + job, arguments.seed + count, jobs) for job in range(jobs)]
    if jobs == 1:
        parts = [work(case, shares[0], end)]
    else:
        with multiprocessing.get_context("fork").Pool(jobs) as pool:
            parts = pool.map(partial(_share, case, end), shares, chunksize=1)
    tried = sum((part.tried for part in parts), Counter[str]())
    outcome.tried = {"cases": tried.total(), **dict(sorted(tried.items()))}
    outcome.failures = [failure for part in parts for failure in part.failures]
    if tried.total() < count:
        outcome.notes["not reached in the time given"] = count - tried.total()
    outcome.seconds = time.monotonic() - began
    return outcome


def _share(case: Case, end: float | None, numbers: range) -> Part:
    return work(case, numbers, end)


def options(parser: argparse.ArgumentParser, option: str, count: int) -> None:
    """Add what all of these campaigns understand; ``option`` is the number of cases."""
    parser.add_argument(f"--{option}", dest="count", type=int, default=count, help="how many cases")
    parser.add_argument("--seed", type=int, default=1, help="number of the first case; each next one adds 1")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seconds", type=float, help="begin no case after so long")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcome there, too")
