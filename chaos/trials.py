"""One trial: start an execution, kill it as planned, resume it until it is done, and judge what happened."""

from __future__ import annotations

import json
import random
import shutil
import signal
import tempfile
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Self

from chaos.child import UNEXPECTED, Order
from chaos.client import kill
from chaos.effects import size_of
from chaos.ground import FILES
from orchestrator.core.keeper import POLL_SECONDS

if TYPE_CHECKING:
    from chaos.client import Children
    from chaos.ground import Ground

PATIENCE_SECONDS = 30.0
"""How long a run or a resume may take (it takes some 0.1 s); beyond that it hangs (I6)."""
ORPHAN_SECONDS = 2.0
MAX_STAGES = 20
UNAVAILABLE = 6
"""Exit code of a run or a resume whose store failed."""
ABSENT = 3
"""Exit code of a resume that finds no such execution."""


@dataclass(frozen=True)
class Kill:
    """When to kill a process: at the ``count``-th passing of ``point``, or from outside after some time.

    ``moment`` is a part of the usual length of a run; ``told`` counts it from the first fact that the process told
    (so after admission), else from the process's start.
    """

    moment: float = 0.0
    told: bool = False
    point: str = ""
    count: int = 1

    @classmethod
    def random(cls, chance: random.Random, longest: float = 1.0) -> Self:
        """Return a kill from outside: mostly while steps run, sometimes while the process starts or takes over."""
        told = chance.random() < 0.85
        return cls(moment=chance.random() * longest, told=told)

    def __str__(self) -> str:
        """Describe it in a word."""
        return f"{self.point}:{self.count}" if self.point else f"{self.moment:.3f}{' told' if self.told else ''}"


@dataclass(frozen=True)
class Plan:
    """What a trial does: its pipeline, how it runs, and which process is killed when (the first, its resume, ...).

    ``faults`` are those that disturb a file call of the first process, of its resume, ... (see ``chaos.files.Fault``).
    """

    name: str
    kills: tuple[Kill, ...] = ()
    variant: str = "threads"
    durability: str = "full"
    concurrency: int = 8
    pace: float = 0.001
    resume_after: bool = False
    faults: tuple[str, ...] = ()

    @classmethod
    def of_seed(cls, seed: int) -> Plan:
        """Return the plan of a random trial: one kill, in a tenth of them up to eight, one resume after another."""
        chance = random.Random(seed)
        deep = chance.random() < 0.1
        number = chance.randint(2, 8) if deep else 1
        kills = tuple(Kill.random(chance, 0.95 if number == 1 else 0.5) for _ in range(number))
        return cls(
            name=f"seed-{seed}",
            kills=kills,
            variant="processes" if chance.random() < 0.03 else "threads",
            durability=chance.choice(["full", "process"]),
            concurrency=chance.choice([1, 2, 4, 8, 32]),
            pace=chance.choice([0.0, 0.0005, 0.001, 0.003]),
            resume_after=chance.random() < 0.2,
        )


@dataclass
class Verdict:
    """What came of a trial. ``kills`` counts processes that were killed at work, ``resumes`` those that took over.

    ``absent`` counts kills before admission: the execution was cleanly not there, and was started anew.
    ``latencies`` are the seconds from the beginning of a resume to its ownership. ``calls`` is how many file calls
    the last fault counted, ``fired`` whether any fault struck.
    """

    name: str
    kills: int = 0
    resumes: int = 0
    absent: int = 0
    violations: list[list[str]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    fired: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing was violated."""
        return not self.violations

    def __str__(self) -> str:
        """Tell the whole trial, for a failing test."""
        lines = [f"trial {self.name}:", *(f"  {line}" for line in self.story)]
        lines += [f"  {name}: {text}" for name, text in self.violations]
        return "\n".join(lines)


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
        self._mutant = mutant
        self._base = base
        self._keep = keep
        self._references: dict[str, dict[str, Any]] = {}
        self._usual: dict[tuple[Any, ...], deque[tuple[float, float]]] = {}

    # -- running -------------------------------------------------------------------------------------------------

    def run(self, plan: Plan) -> Verdict:
        """Make one trial."""
        reference = self.reference(plan.variant)
        with self.folder(plan.name) as folder:
            trial = _Trial(self, plan, folder, reference)
            trial.run()
            self.settle(folder, trial.verdict, asdict(plan))
            return trial.verdict

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

    def beside(self, children: Children) -> Lab:
        """Return a lab for one more thread, which learns together with this one how undisturbed runs are."""
        made = Lab(children, self._base, self._keep, self._mutant, self.ground)
        made._references, made._usual = self._references, self._usual
        return made

    def usual_seconds(self, plan: Plan, *, told: bool) -> float:
        """Return how long an undisturbed run of this kind takes now: from its start to admission, or from there on."""
        known = self._usual.setdefault(_kind_of(plan), deque(maxlen=5))
        if not known:
            with self.folder(f"usual-{plan.name}") as folder:
                began = time.monotonic()
                self.note_length(plan, began, self._finish(self.order(plan, folder, "run")))
        return median(lengths[told] for lengths in known)

    def note_length(self, plan: Plan, began: float, answer: dict[str, Any]) -> None:
        """Take note of how long an undisturbed run took: the machine has quick and slow hours."""
        lengths = (answer["admitted"] - began, answer["ended"] - answer["admitted"])
        self._usual.setdefault(_kind_of(plan), deque(maxlen=5)).append(lengths)

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
            lease=self.ground.lease,
            mutant=self._mutant,
        )

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
        pid = children.start(order)
        status = children.wait(pid, PATIENCE_SECONDS)
        answer = read_answer(order)
        if status is None:
            kill(children, pid)
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


def read_answer(order: Order) -> dict[str, Any]:
    """Return what a child had to say; nothing if it was killed before."""
    try:
        answer: dict[str, Any] = json.loads(Path(order.answer).read_text())
    except FileNotFoundError:
        return {}
    return answer


def stage_of(ground: Ground, order: Order, number: int, *, killed: bool, copied: bool | None = None) -> dict[str, Any]:
    """Return what the judge needs to know of a process that ended just now (see ``checks.audit``).

    The store is copied where ``copied`` says so, else after kills only.
    """
    return {
        "killed": killed,
        "effects": size_of(order.log),
        "told": size_of(order.told),
        "snapshot": ground.copy(Path(order.folder), number) if (killed if copied is None else copied) else None,
    }


class _Trial:
    """The course of one trial."""

    def __init__(self, lab: Lab, plan: Plan, folder: Path, reference: dict[str, Any]) -> None:
        self._lab = lab
        self._plan = plan
        self._folder = folder
        self._reference = reference
        self._stages: list[dict[str, Any]] = []
        self._left = 0.0
        self.verdict = Verdict(plan.name)

    def run(self) -> None:
        kills = list(self._plan.kills)
        faults = list(self._plan.faults)
        action = "run"
        answer: dict[str, Any] = {}
        for number in range(MAX_STAGES):
            kill = kills.pop(0) if kills else None
            fault = faults.pop(0) if faults else ""
            status, answer = self._stage(number, action, kill, fault)
            if status is None:
                self._violated("I6", f"{action} hangs: no end within {PATIENCE_SECONDS:g} s")
                return
            if status == -signal.SIGKILL:
                action = "resume"
                continue
            if fault and status == UNAVAILABLE:
                action = "resume"  # it said so, and ended: whatever it had not told is open
                continue
            if status == ABSENT and action == "resume":
                # Killed before admission. That nothing had been told or done by then is checked from the snapshot.
                self.verdict.absent += 1
                action = "run"
                continue
            if status != 0:
                what = "crashed" if status == UNEXPECTED else "was refused or failed"
                self._violated("I6", f"{action} {what} with exit code {status}: {answer.get('error')}")
                return
            break
        self._check_answer(answer)
        if self._plan.resume_after:
            self._resume_completed()
        left = self._lab.children.orphans(ORPHAN_SECONDS)
        if left:
            self._violated("I5", f"{len(left)} processes outlive the trial by {ORPHAN_SECONDS:g} s")
        facts = {"reference": self._reference, "stages": self._stages}
        self._lab.audit(self._folder, facts, self.verdict)

    def _stage(self, number: int, action: str, kill: Kill | None, fault: str = "") -> tuple[int | None, dict[str, Any]]:
        """Let one process work until it ends or is killed."""
        order = self._lab.order(self._plan, self._folder, action, number)
        order = replace(order, fault=fault, patience=self._lab.patience)
        children = self._lab.children
        seconds = PATIENCE_SECONDS
        file = None
        if kill is not None and kill.point:
            order = replace(order, point=str(kill))
        elif kill is not None:
            seconds = kill.moment * self._lab.usual_seconds(self._plan, told=kill.told)
            file = order.told if kill.told else None
            if action == "resume" and not kill.told:  # it is to be killed at work, not while it waits for a lease
                time.sleep(max(0.0, self._left + self._lab.ground.lease - time.monotonic()))
        size = size_of(order.told)
        began = time.monotonic()
        pid = children.start(order)
        status = children.wait(pid, seconds, file, size)
        if status is None:
            children.signal(pid, signal.SIGKILL)
            status = children.wait(pid, 10.0)
            if seconds == PATIENCE_SECONDS:
                return None, {}
        self._left = time.monotonic()
        killed = status == -signal.SIGKILL or (bool(fault) and status == UNAVAILABLE)
        answer = read_answer(order)
        self._note_fault(order, action, answer, killed=killed)
        took = time.monotonic() - began
        if action == "run" and status == 0:
            self._lab.note_length(self._plan, began, answer)
        end = f"killed at {kill}" if killed else f"ended with {status}"
        self.verdict.story.append(f"{action} (pid {pid}) {end} after {took * 1000:.0f} ms")
        if killed and not fault:
            self.verdict.kills += 1
        if action == "resume" and status in (0, -signal.SIGKILL):
            self.verdict.resumes += 1
        if action == "resume" and "admitted" in answer:
            self.verdict.latencies.append(answer["admitted"] - answer["began"])
        self._stages.append(stage_of(self._lab.ground, order, number, killed=killed))
        return status, answer

    def _note_fault(self, order: Order, action: str, answer: dict[str, Any], *, killed: bool) -> None:
        if not order.fault:
            return
        fault = answer.get("fault", {})
        self.verdict.calls = fault.get("seen", 0)
        self.verdict.fired = self.verdict.fired or killed or fault["fired"]
        if answer.get("code") == UNAVAILABLE and not answer.get("error"):
            self._violated("I16", f"{action} ended with {UNAVAILABLE} and said nothing")

    def _resume_completed(self) -> None:
        """A completed execution that is resumed once more is not run again, and tells the same."""
        log = self._folder / "effects.log"
        before = size_of(log)
        status, answer = self._stage(MAX_STAGES, "resume", None)
        if status != 0 or size_of(log) != before:
            self._violated("I1", f"a resume of the completed execution ended with {status} and ran something")
        self._check_answer(answer)

    def _check_answer(self, answer: dict[str, Any]) -> None:
        for name in ("outputs", "statuses"):
            if answer.get(name) != self._reference[name]:
                self._violated("I4", f"{name} returned: {answer.get(name)}, undisturbed {self._reference[name]}")

    def _violated(self, invariant: str, text: str) -> None:
        self.verdict.violations.append([invariant, text])
