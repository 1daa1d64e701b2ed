"""``python -m chaos mutants``: plants every bug that we know how to make, one at a time, and says what catches it.

Each is planted in processes of its own, for good; nothing of it is in the product.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import random
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from chaos import bitflips, powercut
from chaos.client import Forks
from chaos.contests import contest
from chaos.disk import POLICIES, Disk
from chaos.faults import plan as fault_plan
from chaos.mutants import MUTANTS
from chaos.mutants_disk import BY_BIT_FLIPS, BY_FAULTS, BY_POWER_CUT, PLANTED
from chaos.mutants_servers import PLANTED_ON_SERVERS
from chaos.outcome import Outcome
from chaos.plans import Kill, Plan, Verdict
from chaos.planted_servers import find, store_of
from chaos.simulation.bugs import BUGS
from chaos.simulation.run import SQLITE_EVERY, simulate
from chaos.trials import Lab, default_base
from chaos.zombies import zombie

SEEDS = 3000
ON_SERVERS = "kills, contest, zombies, servers"
TRIES = 20

Trial = Callable[[Lab, int], Verdict]


def killed_at(point: str) -> Trial:
    """Return a trial that kills a run at a named point."""

    def trial(lab: Lab, seed: int) -> Verdict:
        return lab.run(Plan(f"mutant-{seed}", (Kill(point=point, count=3 + seed),), pace=0.002))

    return trial


BY_TRIALS: dict[str, tuple[str, Trial]] = {
    "tells_before_the_commit": ("I1", killed_at("before_commit")),
    "begins_before_the_claim": ("I8", killed_at("before_claim")),
    "runs_again_what_was_done": ("I1", killed_at("after_commit")),
    "forgets_what_was_saved": ("I4", killed_at("after_commit")),
    "starts_twice": ("I8", killed_at("after_commit")),
    "locks_nothing": ("I7", contest),
    "minds_no_epoch": ("I5", zombie),
}
"""Bugs in processes that are really killed, stopped or set against each other: by which invariant they are caught."""


class Bug(NamedTuple):
    """A bug to plant: ``check`` plants it, looks for it, and returns what was violated ('' if nothing was)."""

    name: str
    text: str
    campaign: str
    check: Callable[[], str]


def _in_simulation(name: str) -> str:
    BUGS[name]()
    for seed in range(1, SEEDS):
        if seed % SQLITE_EVERY:
            report = simulate(seed, "memory")
            if report.violation is not None:
                return str(report.violation)
    return ""


def _in_trials(name: str) -> str:
    invariant, trial = BY_TRIALS[name]
    with Forks() as forks:
        lab = Lab(forks)
        mutated = Lab(forks, mutant=name)
        mutated.adopt(lab)
        for seed in range(TRIES):
            for found, text in trial(mutated, seed).violations:
                if found == invariant:
                    return f"{found}: {text}"
    return ""


def _in_power_cuts(name: str) -> str:
    PLANTED[name]()
    with tempfile.TemporaryDirectory(prefix="planted-", dir=default_base()) as root:
        recording = powercut.record(Path(root), "full")
        disk = Disk(recording.root)
        for number, call in enumerate(recording.calls, 1):
            disk.apply(call)
            for policy in POLICIES:
                with tempfile.TemporaryDirectory(prefix="planted-", dir=default_base()) as folder:
                    disk.cut(Path(folder), policy, random.Random(number))
                    found = powercut.judge(recording, number, Path(folder), "full")
                if found:
                    return found
    return ""


def _in_faults(name: str) -> str:
    with Forks() as forks:
        lab = Lab(forks)
        mutated = Lab(forks, mutant=name)
        mutated.adopt(lab)
        for number in range(40, 300, 3):
            for kind in ("enospc+", "eio"):
                verdict = mutated.run(fault_plan("run", f"{kind}:{number}"))
                if not verdict.ok:
                    invariant, text = verdict.violations[0]
                    return f"{invariant}: {text.splitlines()[0]}"
    return ""


def _in_bit_flips(name: str) -> str:
    store = bitflips.sample("closed")
    PLANTED[name]()
    tally = bitflips.Tally()
    for file, bit in bitflips.cases(store, 1, 1):
        bitflips.flip(store, file, bit, tally, "closed")
        if tally.failures:
            return tally.failures[0].splitlines()[0]
    return ""


def _on_server(name: str) -> str:
    return find(store_of(name), [name])[name]


def _gather() -> Iterator[Bug]:
    groups: tuple[tuple[str, Any, Any, Callable[[str], str]], ...] = (
        ("simulate", BUGS, BUGS, _in_simulation),
        ("kills, contest, zombies", BY_TRIALS, MUTANTS, _in_trials),
        ("powercut", BY_POWER_CUT, PLANTED, _in_power_cuts),
        ("faults", BY_FAULTS, PLANTED, _in_faults),
        ("bitflips", BY_BIT_FLIPS, PLANTED, _in_bit_flips),
        (ON_SERVERS, PLANTED_ON_SERVERS, PLANTED_ON_SERVERS, _on_server),
    )
    for campaign_name, names, functions, check in groups:
        for name in names:
            text = (functions[name].__doc__ or "").strip().rstrip(".")
            yield Bug(name, text, campaign_name, partial(check, name))


def all_bugs() -> list[Bug]:
    """Return every bug that can be planted."""
    return list(_gather())


def try_out(bug: Bug) -> str:
    """Plant a bug in a child process and return what was violated; '' if nothing caught it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        answer = Path(folder, "answer")
        child = os.fork()
        if child == 0:
            logging.disable(logging.CRITICAL)
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    answer.write_text(bug.check())
            except BaseException:  # noqa: BLE001 - nothing may reach the process that this one was forked from
                answer.write_text("error: " + traceback.format_exc())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        return answer.read_text()


def campaign(arguments: argparse.Namespace) -> int:
    """Plant as asked; return the exit code."""
    began = time.monotonic()
    outcome = Outcome("mutants")
    wanted = [bug for bug in all_bugs() if arguments.only in (None, bug.name)]
    caught = 0
    for bug in wanted:
        if arguments.seconds and time.monotonic() - began > arguments.seconds:
            outcome.notes["not reached in the time given"] = len(wanted) - wanted.index(bug)
            break
        found = try_out(bug)
        what = f"{bug.campaign}: {bug.name}"
        if found and not found.startswith("error"):
            caught += 1
            outcome.notes[what] = found[:160]
            print(f"{what:60} {found[:100]}", flush=True)
        else:
            outcome.failures.append(f"{what} was not caught {found}\n    python -m chaos mutants --only {bug.name}")
        outcome.tried["bugs planted"] = outcome.tried.get("bugs planted", 0) + 1
    outcome.tried["bugs caught"] = caught
    outcome.seconds = time.monotonic() - began
    return outcome.report(arguments)


def register(commands: Any) -> None:
    """Add the command (see ``chaos.outcome``)."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "mutants", help="plant bugs, and see which check catches each"
    )
    parser.add_argument("--only", metavar="BUG", choices=sorted({bug.name for bug in all_bugs()}))
    parser.add_argument("--seconds", type=float, help="plant nothing after so long")
    parser.add_argument("--seed", type=int, help="taken for the sake of uniformity")
    parser.add_argument("--jobs", type=int, default=1, help="taken for the sake of uniformity")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcome there, too")
    parser.set_defaults(run=campaign)
