"""The laboratory: where trials are made, and what is known there of undisturbed runs."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections import deque
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from chaos.child import Order
from chaos.client import kill
from chaos.course import PATIENCE_SECONDS, UNAVAILABLE, Course, read_answer
from chaos.effects import size_of
from chaos.ground import FILES
from chaos.plans import Plan, Verdict
from orchestrator.core.keeper import POLL_SECONDS

COMMITS = 15
"""How many commits a run has, about."""

if TYPE_CHECKING:
    from chaos.client import Children
    from chaos.ground import Ground


class Usual(NamedTuple):
    """An undisturbed run: the seconds until it is admitted, those of its work, the bytes of what it tells."""

    start: float
    work: float
    told: float


class Disturber(Protocol):
    """What gets at a process from outside while it works.

    ``name`` says what to; ``begin`` is called before the process starts, ``end`` after it has ended. That one tells
    how many calls or messages it saw, and whether it struck.
    """

    def begin(self, name: str) -> None:
        """Lie in wait."""

    def end(self) -> tuple[int, bool]:
        """Let it be."""


class Lab:
    """Where trials are made.

    ``base`` is a folder for them, ``keep`` one for those that fail (None: not kept), ``mutant`` a bug to plant,
    ``ground`` where their stores are.
    """

    def __init__(
        self,
        children: Children,
        base: Path | None = None,
        keep: Path | None = None,
        mutant: str = "",
        ground: Ground = FILES,
    ) -> None:
        self.children = children
        self.ground = ground
        self._judges = children
        self.mutant = mutant
        self._base = base
        self._keep = keep
        self._references: dict[str, dict[str, Any]] = {}
        self._usual: dict[tuple[Any, ...], deque[Usual]] = {}
        self.disturber: Disturber | None = None
        self.shaky = False
        """Whether the server may be gone at any time: then each process may end because of that."""

    # -- running -------------------------------------------------------------------------------------------------

    def run(self, plan: Plan) -> Verdict:
        """Make one trial."""
        reference = self.reference(plan.variant)
        with self.folder(plan.name) as folder:
            course = Course(self, plan, folder, reference)
            course.run()
            self.settle(folder, course.verdict, asdict(plan))
            return course.verdict

    def settle(self, folder: Path, verdict: Verdict, plan: dict[str, Any]) -> None:
        """Keep the folder of a failed trial, with the account of it."""
        if verdict.ok or self._keep is None:
            return
        (folder / "verdict.txt").write_text(f"{verdict}\n\n{json.dumps(plan, indent=2)}\n")
        target = self._keep / verdict.name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder, target)

    def folder(self, name: str) -> _Folder:
        """Return a context manager of a new folder that is removed afterwards."""
        return _Folder(self._base, name, self.ground)

    def reference(self, variant: str) -> dict[str, Any]:
        """Return what an undisturbed run ends with."""
        known = self._references.get(variant)
        if known is None:
            with self.folder(f"undisturbed-{variant}") as folder:
                plan = Plan("undisturbed", variant=variant)
                self._finish(self.order(plan, folder, "run"))
                answer = self._finish(self.order(plan, folder, "look"))
                known = self._references[variant] = answer["facts"]
            if known["problems"]:
                raise RuntimeError(f"the undisturbed run is not sound: {known['problems']}")
        return known

    def adopt(self, other: Lab) -> None:
        """Take over what another lab knows of undisturbed runs, and leave the judging to its children."""
        self._references["threads"] = other.reference("threads")
        self._judges = other.children

    def planted(self, mutant: str, children: Children, ground: Ground | None = None) -> Lab:
        """Return a lab beside this one in whose runs and resumes there is a bug."""
        made = self.beside(children, ground)
        made.mutant = mutant
        return made

    def beside(self, children: Children, ground: Ground | None = None) -> Lab:
        """Return a lab for one more thread, which learns together with this one how undisturbed runs are."""
        made = Lab(children, self._base, self._keep, self.mutant, ground or self.ground)
        made._references, made._usual = self._references, self._usual
        made.disturber, made.shaky = self.disturber, self.shaky
        return made

    def usual(self, plan: Plan) -> Usual:
        """Return what an undisturbed run of this kind is like now."""
        known = self._usual.setdefault(_kind_of(plan), deque(maxlen=5))
        if not known:
            with self.folder(f"usual-{plan.name}") as folder:
                order = self.order(plan, folder, "run")
                began = time.monotonic()
                self._finish(order)
                self.note_usual(plan, began, order)
        return Usual(*(median(each) for each in zip(*known, strict=True)))

    def note_usual(self, plan: Plan, began: float, order: Order) -> None:
        """Take note of what an undisturbed run was like: the machine has quick and slow hours."""
        answer = read_answer(order)
        noted = Usual(answer["admitted"] - began, answer["ended"] - answer["admitted"], size_of(order.told))
        self._usual.setdefault(_kind_of(plan), deque(maxlen=5)).append(noted)

    def moment(self, plan: Plan, part: float, told: int) -> tuple[float, int]:
        """Return when a process that works has done so much of what is left to do.

        That is so many seconds after the log of what is told, which has ``told`` bytes now, is longer than so many
        bytes: how far a process is shows there, on a busy machine as well as on a calm one.
        """
        usual = self.usual(plan)
        spread = part * 97 % 1  # within a commit, too
        return spread * usual.work / COMMITS, told + int(part * max(0.0, usual.told - told))

    def passes(self, plan: Plan, point: str) -> int:
        """Return how often an undisturbed run passes a crash point."""
        with self.folder(f"count-{point}") as folder:
            limit = 1_000_000_000
            order = replace(self.order(plan, folder, "run"), point=f"{point}:{limit}")
            return int(self._finish(order)["passed"])

    def order(self, plan: Plan, folder: Path, action: str, number: int = 0) -> Order:
        """Return the order for a child of a trial."""
        return Order(
            action,
            str(folder),
            self.ground.url(folder, plan.durability),
            str(folder / f"answer-{number}.json"),
            variant=plan.variant,
            concurrency=plan.concurrency,
            pace=plan.pace,
            mutant=self.mutant,
        )

    def doomed(self, order: Order) -> Order:
        """Return the order for a child that is to be killed, or cut off: others shall not wait long for what it had."""
        return replace(order, lease=self.ground.lease)

    @property
    def patience(self) -> float:
        """Return within how many seconds what a dead owner had must be there for others: its lease and one renewal."""
        lease = self.ground.lease
        return lease + max(POLL_SECONDS, lease / 4) if lease else 0.0

    def audit(self, folder: Path, facts: dict[str, Any], verdict: Verdict) -> None:
        """Have a trial judged, and put what is wrong into the verdict."""
        order = Order("audit", str(folder), self.ground.url(folder), str(folder / "audit.json"), facts=facts)
        try:
            verdict.violations += self._finish(order)["violations"]
        except RuntimeError as error:
            verdict.violations.append(["audit", str(error)])

    def _finish(self, order: Order) -> dict[str, Any]:
        """Let a child do something that is not to be disturbed, and return its answer."""
        children = self.children if order.action == "run" else self._judges
        status: int | None = None
        answer: dict[str, Any] = {}
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            pid = children.start(order)
            status = children.wait(pid, PATIENCE_SECONDS)
            answer = read_answer(order)
            if status is None:
                kill(children, pid)
            if status not in (UNAVAILABLE, None) or order.action == "run" or not self.shaky or time.monotonic() > end:
                break
            time.sleep(0.1)  # who only reads may try again, until the server is back
        if status != 0:
            raise RuntimeError(f"{order.action} ended with {status}: {answer.get('error')}")
        return answer

    def wait_or_kill(self, pid: int, seconds: float = PATIENCE_SECONDS) -> int | None:
        """Return the status of a child; None if it hangs, after which it is killed."""
        status = self.children.wait(pid, seconds)
        if status is None:
            kill(self.children, pid)
        return status


def _kind_of(plan: Plan) -> tuple[Any, ...]:
    """Return what the length of an undisturbed run depends on most."""
    return (plan.variant, plan.concurrency == 1, plan.pace)


class _Folder:
    def __init__(self, base: Path | None, name: str, ground: Ground) -> None:
        self._base = base if base is not None else default_base()
        self._name = name
        self._ground = ground

    def __enter__(self) -> Path:
        self._path = Path(tempfile.mkdtemp(prefix=f"chaos-{self._name}-", dir=self._base))
        return self._path

    def __exit__(self, *_error: object) -> None:
        self._ground.clear(self._path)
        shutil.rmtree(self._path, ignore_errors=True)


def default_base() -> Path:
    """Return a folder in memory if there is one: a kill -9 does not care, and trials are many times faster."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() else Path(tempfile.gettempdir())
