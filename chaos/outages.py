"""``python -m chaos servers``: the server of a store dies under load and comes back; its connections break.

Two parts. *restarts*: the server is killed (SIGKILL) at random moments, again and again, while runs are at work on it.
*cuts*: in one trial for each message of a run, and of a resume after a kill, the connection breaks at that message, in
each of several ways; the worst is a commit that was carried out while its answer is lost. A process goes on, or ends
with exit code 6 (5, where the server was away for longer than its lease) and is resumed.
"""

from __future__ import annotations

import argparse
import random
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from chaos.campaigns import BROKEN, RESTARTS
from chaos.ground import FILES, GROUNDS
from chaos.killing import JOBS, Campaign, lab_on
from chaos.outcome import Outcome
from chaos.plans import Kill, Plan, Verdict
from chaos.servers.proxy import Proxy
from chaos.sweeps import Shared, Sweep, sweep_all
from chaos.trials import default_base

if TYPE_CHECKING:
    from collections.abc import Iterator

    from chaos.client import Forks
    from chaos.ground import ServerGround
    from chaos.killing import Tally
    from chaos.trials import Lab

STAGES = ("run", "resume")
TEXTS = {
    "before": "before a message",
    "torn": "within a message",
    "after": "after a message (each commit among them), its answer lost",
    "answer": "before an answer",
    "away": "before a message, and nobody there for 3 s",
    "gone": "before a message, for good",
}
"""What happens at the n-th message, in words."""
AWAY_SECONDS = 3.0
"""Longer than the lease of a trial."""
RARE = {"gone": 12}
"""One in so many is enough of those that take half a minute: so long a server is waited for by who owns nothing."""
STORES = tuple(sorted(set(GROUNDS) - {FILES.kind}))
SHARE_OF_RESTARTS = 0.4
LONGEST_OUTAGE = 1.0
CUT_JOBS = 8
PACE = 0.03
"""Long steps, so that runs meet outages."""


class Net:
    """What breaks connections: a Disturber (see ``chaos.trials``) whose names are ``KIND:N``."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._seen = 0
        self._cuts = 0
        self._gone = 0
        self._back: threading.Timer | None = None

    def begin(self, name: str) -> None:
        """See Disturber."""
        kind, _, text = name.partition(":")
        number = int(text)
        self._seen, self._cuts = 0, self._proxy.cuts
        self._gone = number if kind in ("away", "gone") else 0
        self._back = threading.Timer(AWAY_SECONDS, self._return) if kind == "away" else None
        self._proxy.swallow(partial(self._is_it, number if kind == "after" else 0))
        if kind == "answer":
            self._proxy.cut_at(number, "to client")
        elif kind != "after":
            self._proxy.cut_at(number, "to server", torn=kind == "torn")

    def end(self) -> tuple[int, bool]:
        """See Disturber."""
        self._proxy.swallow(None)
        self._proxy.cut_at(0)
        if self._back is not None:
            self._back.cancel()
        self._return()
        return self._seen, self._proxy.cuts > self._cuts

    def _is_it(self, number: int, _piece: bytes) -> bool:
        """Count a message; tell whether it is the one whose answer is to be lost."""
        self._seen += 1
        if self._seen == self._gone:
            self._proxy.refusing = True
            if self._back is not None:
                self._back.start()
        return self._seen == number

    def _return(self) -> None:
        self._proxy.refusing = False


def plan(stage: str, fault: str) -> Plan:
    """Return the trial in which the connections of that process break."""
    before = (Kill(point="after_commit", count=4),) if stage == "resume" else ()
    faults = ("",) * len(before) + (fault,)
    return Plan(f"{stage}-{fault.replace(':', '-')}", before, concurrency=4, pace=0.0, faults=faults)


def outage(lab: Lab, seed: int) -> Verdict:
    """Make a trial on a server that may go away at any time; in a fifth of them a process is killed as well."""
    chance = random.Random(f"outage {seed}")
    kills = (Kill.random(chance, 0.95),) if chance.random() < 0.2 else ()
    return lab.run(Plan(f"outage-{seed}", kills, concurrency=chance.choice([1, 4, 8]), pace=PACE))


class Breaker:
    """Kills the server of a ground at random moments and starts it again, until told to end."""

    def __init__(self, ground: ServerGround, seed: int) -> None:
        self.restarts = 0
        self._server = ground.server
        self._chance = random.Random(f"restarts {seed}")
        self._end = threading.Event()
        self._errors: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, with a server that runs."""
        self._end.set()
        self._thread.join()
        if self._errors:
            raise self._errors[0]

    def _run(self) -> None:
        chance = self._chance
        try:
            took = 0.0
            while not self._end.wait(0.2 + chance.random() + 3 * took):  # on a busy machine all gets on slowly
                self._server.kill()
                self._end.wait(LONGEST_OUTAGE * chance.random() ** 2)
                began = time.monotonic()
                self._server.start()
                took = time.monotonic() - began
                self.restarts += 1
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._errors.append(error)


@contextmanager
def lab_behind_proxy(lab: Lab, forks: Forks, mutant: str = "") -> Iterator[Lab]:
    """Lend a lab whose processes reach the server through a proxy of their own; ``mutant`` is a bug to plant."""
    ground: Any = lab.ground
    with Proxy(ground.server.port) as proxy, forks.twin() as twin:
        made = lab.planted(mutant, twin, ground.through(proxy.port))
        made.disturber = Net(proxy)
        yield made


def restarts(lab: Lab, forks: Forks, arguments: argparse.Namespace, seconds: float | None) -> tuple[Tally, int]:
    """Let runs work on a server that dies; return what came of them, and how often it died."""
    ground: Any = lab.ground
    seeds = range(arguments.seed, arguments.seed + arguments.trials)
    made = Campaign(outage, seeds, lambda seed: f"{_command(arguments)} --part restarts --seed {seed}")
    lab.reference("threads")
    for concurrency in (1, 4):
        lab.usual(Plan("usual", concurrency=concurrency, pace=PACE))
    lab.shaky = True
    try:
        with Breaker(ground, arguments.seed) as breaker:
            made.run(lab, forks, arguments.jobs or JOBS[arguments.store], seconds)
    finally:
        lab.shaky = False
    return made.tally, breaker.restarts


def cuts(lab: Lab, forks: Forks, arguments: argparse.Namespace, until: float) -> Shared:
    """Break the connection at every message, in every way; return what was found."""
    sweeps = [Sweep(stage, kind, arguments.step * RARE.get(kind, 1)) for stage in STAGES for kind in arguments.kinds]
    shared = Shared(sweeps, until, plan, _command(arguments))
    sweep_all(shared, [partial(lab_behind_proxy, lab, forks)] * (arguments.jobs or CUT_JOBS))
    return shared


def campaign(arguments: argparse.Namespace) -> int:
    """Break as asked; return the exit code."""
    began = time.monotonic()
    outcome = Outcome("servers", arguments.seed)
    until = began + (arguments.seconds or float("inf"))
    with lab_on(arguments.store, default_base(), arguments.keep_failures) as (lab, forks):
        outcome.versions = lab.ground.versions
        if arguments.only:
            stage, kind, number = arguments.only.split(":")
            with lab_behind_proxy(lab, forks) as behind:
                verdict = behind.run(plan(stage, f"{kind}:{number}"))
            print(verdict, "" if not verdict.ok else "  nothing was violated", sep="\n")
            return 0 if verdict.ok else 1
        if arguments.part in (None, "restarts"):
            part = (arguments.seconds or 0) * (SHARE_OF_RESTARTS if arguments.part is None else 1)
            tally, died = restarts(lab, forks, arguments, part or None)
            outcome.tried |= {"runs while the server dies": tally.trials, RESTARTS: died}
            outcome.failures += tally.failures
            outcome.notes |= {f"while the server dies: {what}": often for what, often in tally.notes.items()}
        if arguments.part in (None, "cuts"):
            shared = cuts(lab, forks, arguments, until)
            for each in shared.sweeps:
                outcome.tried[f"{BROKEN}{each.stage}, {TEXTS[each.kind]}"] = each.struck
            outcome.failures += shared.failures
            outcome.notes |= {f"connection broken: {what}": often for what, often in shared.notes.items()}
            done = len(shared.sweeps) - len(shared.unfinished())
            outcome.notes["sweeps that reached the last message"] = f"{done} of {len(shared.sweeps)}"
            if arguments.step > 1:
                outcome.notes["step"] = f"every {arguments.step}th message"
    outcome.seconds = time.monotonic() - began
    return outcome.report(arguments)


def _command(arguments: argparse.Namespace) -> str:
    return f"python -m chaos servers --store {arguments.store}"


def register(commands: Any) -> None:
    """Add the command (see ``chaos.outcome``)."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "servers", help="kill the server of a store under load, and break its connections at every message"
    )
    parser.add_argument("--store", choices=STORES, default="postgres", help="the kind of store")
    parser.add_argument("--part", choices=["restarts", "cuts"], help="only this")
    parser.add_argument("--only", metavar="STAGE:KIND:N", help="one case of the cuts: run:after:37")
    parser.add_argument("--kinds", nargs="+", choices=sorted(TEXTS), default=list(TEXTS), help="of cuts (all)")
    parser.add_argument("--trials", type=int, default=1000, help="runs while the server dies")
    parser.add_argument("--step", type=int, default=1, help="cut at every so-manieth message only")
    parser.add_argument("--jobs", type=int, help="how many trials at once")
    parser.add_argument("--seconds", type=float, help="begin no trial after so long")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcome there, too")
    parser.add_argument("--keep-failures", type=Path, metavar="DIR", help="keep logs of failed trials")
    parser.set_defaults(run=campaign)
