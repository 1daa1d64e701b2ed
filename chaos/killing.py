"""``python -m chaos kills``, ``contest``, ``zombies``, ``adoption``: processes are killed, compete, are stopped.

A trial follows from its seed but for the moments of the machine itself: ``replay --times N`` repeats one of ``kills``
often enough to meet a race again.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import quantiles
from typing import Any

from chaos.adoption import adoption
from chaos.client import Forks
from chaos.contests import contest
from chaos.ground import FILES, GROUNDS
from chaos.outcome import Outcome
from chaos.plans import Plan, Verdict
from chaos.trials import Lab, default_base
from chaos.zombies import zombie

REPORT_SECONDS = 10.0
LATENCIES = {
    "zombies": "ms from the waking of a robbed owner to its end",
    "adoption": "ms from the death of an owner to its adoption",
}
JOBS = {"sqlite": 2, "postgres": 12, "redis": 12}
"""How many trials there are at once: on servers they wait for leases most of the time."""

Trial = Callable[[Lab, int], Verdict]


@dataclass
class Tally:
    """What came of many trials."""

    trials: int = 0
    with_kill: int = 0
    kills: int = 0
    killed_again: int = 0
    resumes: int = 0
    absent: int = 0
    failures: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    depths: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def add(self, verdict: Verdict, repeat: str) -> None:
        """Count a trial; ``repeat`` is the command that makes it once more."""
        self.trials += 1
        self.kills += verdict.kills
        self.with_kill += bool(verdict.kills)
        self.killed_again += max(0, verdict.kills - 1)
        self.depths[verdict.kills] += 1
        self.resumes += verdict.resumes
        self.absent += verdict.absent
        self.notes += verdict.notes
        self.latencies += verdict.latencies
        if not verdict.ok:
            self.failures.append(f"{verdict}\n    {repeat}")

    def outcome(self, name: str, seed: int) -> Outcome:
        """Return it in the common form."""
        outcome = Outcome(name, seed, {"trials": self.trials}, self.failures)
        if name == "kills":
            outcome.tried |= {
                "trials with a kill": self.with_kill,
                "SIGKILLs": self.kills,
                "of them of a resume": self.killed_again,
            }
            outcome.notes["kills in one trial"] = dict(sorted(self.depths.items()))
            outcome.notes["killed before admission, then cleanly absent"] = self.absent
        outcome.tried["resumes"] = self.resumes
        outcome.notes |= dict(self.notes)
        if len(self.latencies) > 1:
            cuts = quantiles(self.latencies, n=100, method="inclusive")
            times = [f"{1000 * seconds:.1f}" for seconds in (cuts[49], cuts[98], max(self.latencies))]
            outcome.notes[LATENCIES.get(name, "ms from the start of a resume to its ownership")] = (
                f"median {times[0]}, 99th percentile {times[1]}, worst {times[2]}"
            )
        return outcome


class Campaign:
    """Many trials, by several jobs at once: ``repeat`` returns the command that makes one of them once more."""

    def __init__(self, trial: Trial, seeds: Iterable[int], repeat: Callable[[int], str]) -> None:
        self.tally = Tally()
        self._trial = trial
        self._repeat = repeat
        self._seeds: Iterator[int] = iter(seeds)
        self._end = float("inf")
        self._mutex = threading.Lock()
        self._errors: list[BaseException] = []

    def run(self, lab: Lab, forks: Forks, jobs: int, seconds: float | None = None) -> None:
        """Make them; begin none after ``seconds``. All jobs have children of forks of the same server."""
        began = time.monotonic()
        if seconds:
            self._end = began + seconds
        lab.reference("threads")
        with ExitStack() as stack:
            labs = [lab.beside(stack.enter_context(forks.twin())) for _ in range(jobs)]
            self._run([threading.Thread(target=self._job, args=[each], daemon=True) for each in labs], began)
        if self._errors:
            raise self._errors[0]

    def _run(self, threads: list[threading.Thread], began: float) -> None:
        for thread in threads:
            thread.start()
        next_report = began + REPORT_SECONDS
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.2)
            if time.monotonic() > next_report:
                next_report += REPORT_SECONDS
                self._report(time.monotonic() - began)

    def _report(self, seconds: float) -> None:
        tally = self.tally
        print(
            f"{tally.trials:,} trials, {tally.kills:,} kills, {len(tally.failures)} failed, "
            f"{tally.trials / seconds:.1f} trials/s",
            flush=True,
        )

    def _job(self, lab: Lab) -> None:
        try:
            while (seed := self._next()) is not None:
                verdict = self._trial(lab, seed)
                with self._mutex:
                    self.tally.add(verdict, self._repeat(seed))
                    if not verdict.ok:
                        print(f"{verdict}", flush=True)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the user sees it
            self._errors.append(error)

    def _next(self) -> int | None:
        with self._mutex:
            return None if self._errors or time.monotonic() > self._end else next(self._seeds, None)


def kill(lab: Lab, seed: int) -> Verdict:
    """Make one trial of ``kills``."""
    return lab.run(Plan.of_seed(seed))


@contextmanager
def lab_on(
    store: str, base: Path | None = None, keep: Path | None = None, mutant: str = ""
) -> Iterator[tuple[Lab, Forks]]:
    """Lend a lab on ground of that kind, and the server of its children."""
    ground = GROUNDS[store]()
    try:
        with Forks(store=ground.url(Path(f"warm-{store}")) if store != FILES.kind else "") as forks:
            yield Lab(forks, base, keep, mutant, ground), forks
    finally:
        ground.close()


def _replay(arguments: argparse.Namespace) -> int:
    plan = Plan.of_seed(arguments.seed)
    print(plan)
    failed = 0
    with lab_on(arguments.store, arguments.folder, arguments.keep_failures) as (lab, _):
        for _ in range(arguments.times):
            verdict = lab.run(plan)
            failed += not verdict.ok
            print(verdict, "" if not verdict.ok else "  nothing was violated", sep="\n")
    return 1 if failed else 0


def campaign(arguments: argparse.Namespace) -> int:
    """Make the trials that are asked for; return the exit code."""
    began = time.monotonic()
    if arguments.keep_failures is not None:
        arguments.keep_failures.mkdir(parents=True, exist_ok=True)
    trials: dict[str, Trial] = {"kills": kill, "zombies": zombie, "adoption": adoption}
    trial = trials.get(arguments.command) or partial(contest, resumers=arguments.resumers)
    seeds = range(arguments.seed, arguments.seed + arguments.trials)
    servers: dict[str, str] = {}
    made = Campaign(trial, seeds, partial(_again, arguments.command, arguments.store))
    try:
        with lab_on(arguments.store, arguments.folder, arguments.keep_failures) as (lab, forks):
            servers = lab.ground.versions
            made.run(lab, forks, arguments.jobs or JOBS[arguments.store], arguments.seconds)
    finally:
        outcome = made.tally.outcome(arguments.command, arguments.seed)
        outcome.seconds = time.monotonic() - began
        outcome.versions = servers
        code = outcome.report(arguments)
    return code


def _again(command: str, store: str, seed: int) -> str:
    """Return the command that makes a trial once more."""
    if command == "kills":
        return f"python -m chaos replay {seed} --times 50 --store {store}"
    return f"python -m chaos {command} --seed {seed} --trials 1 --store {store}"


def register(commands: Any) -> None:
    """Add the commands (see ``chaos.outcome``)."""
    for name, text, trials in (
        ("kills", "kill executions at random moments, and their resumes again", 1000),
        ("contest", "resume one execution many times at once", 100),
        ("zombies", "stop owners, rob them, wake them", 50),
        ("adoption", "kill owners, and see how long it takes until a server goes on", 50),
    ):
        parser: argparse.ArgumentParser = commands.add_parser(name, help=text)
        parser.add_argument("--trials", type=int, default=trials)
        parser.add_argument("--seed", type=int, default=1, help="seed of the first trial; each next one adds 1")
        parser.add_argument("--jobs", type=int, help="how many trials at once (as many as suits the store)")
        parser.add_argument("--seconds", type=float, help="begin no trial after so long")
        parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcome there, too")
        if name == "contest":
            parser.add_argument("--resumers", type=int, default=8, help="the most that compete (from 2)")
        _add_places(parser)
        parser.set_defaults(run=campaign)
    replay: argparse.ArgumentParser = commands.add_parser("replay", help="repeat one trial of `kills`")
    replay.add_argument("seed", type=int)
    replay.add_argument("--times", type=int, default=1)
    _add_places(replay)
    replay.set_defaults(run=_replay)


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", choices=sorted(GROUNDS), default=FILES.kind, help="the kind of store")
    parser.add_argument("--keep-failures", type=Path, metavar="DIR", help="keep stores and logs of failed trials")
    parser.add_argument("--folder", type=Path, default=default_base(), help="where stores are made")
