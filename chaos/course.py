"""The course of one trial: start an execution, kill it as planned, resume it until it is done."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.child import UNEXPECTED, Order
from chaos.effects import size_of
from chaos.plans import Kill, Plan, Verdict

if TYPE_CHECKING:
    from chaos.ground import Ground
    from chaos.trials import Lab

PATIENCE_SECONDS = 30.0
"""How long a run or a resume may take (it takes some 0.1 s); beyond that it hangs (I6)."""
GONE_SECONDS = 45.0
"""How much longer it may take where the server is gone for good."""
ORPHAN_SECONDS = 2.0
MAX_STAGES = 20
LOST = 5
"""Exit code of a run or a resume that could not renew its lease in time."""
UNAVAILABLE = 6
"""Exit code of a run or a resume whose store failed."""
ABSENT = 3
"""Exit code of a resume that finds no such execution."""


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


class Course:
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
        """Carry the plan out; what comes of it is in ``verdict``."""
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
            if self._gave_up(fault, status):
                action = "resume"  # it said so, and ended: whatever it had not told is open
                self.verdict.notes[f"ended with {status}, and was resumed"] += 1
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
        disturber = self._lab.disturber if fault else None
        order = self._lab.order(self._plan, self._folder, action, number)
        order = replace(order, fault="" if disturber else fault, patience=self._lab.patience)
        if kill is not None or fault or self._lab.shaky:
            order = self._lab.doomed(order)
        if kill is not None and kill.point:
            order = replace(order, point=str(kill))
        at_start = kill is not None and not kill.told and not kill.point
        if action == "resume" and (at_start or disturber is not None):
            # It is to be killed or disturbed at work, not while it waits for a lease.
            time.sleep(max(0.0, self._left + self._lab.ground.lease - time.monotonic()))
        if disturber is not None:
            disturber.begin(fault)
        began = time.monotonic()
        status, pid, hangs = self._process(order, kill)
        self._left = time.monotonic()
        if disturber is not None:
            self.verdict.calls, struck = disturber.end()
            self.verdict.fired = self.verdict.fired or struck
        if hangs:
            return None, {}
        killed = status == -signal.SIGKILL or self._gave_up(fault, status)
        answer = read_answer(order)
        self._note_fault(order, action, answer, killed=killed)
        if action == "run" and status == 0 and not fault:
            self._lab.note_usual(self._plan, began, order)
        end = f"killed at {kill}" if status == -signal.SIGKILL else f"ended with {status} {answer.get('error', '')}"
        self.verdict.story.append(f"{action} (pid {pid}) {end} after {(self._left - began) * 1000:.0f} ms")
        self._count(order, status, answer, fault)
        self._stages.append(stage_of(self._lab.ground, order, number, killed=killed))
        return status, answer

    def _process(self, order: Order, kill: Kill | None) -> tuple[int | None, int, bool]:
        """Start a process and kill it as planned; return its status, its pid, and whether it had to be killed."""
        children = self._lab.children
        seconds, file, size = PATIENCE_SECONDS, None, 0
        if kill is not None and kill.told:
            file = order.told
            seconds, size = self._lab.moment(self._plan, kill.moment, size_of(file))
        elif kill is not None and not kill.point:
            seconds = kill.moment * self._lab.usual(self._plan).start
        pid = children.start(order)
        status = children.wait(pid, seconds, file, size)
        if status is None and seconds == PATIENCE_SECONDS and self._lab.disturber is not None:
            status = children.wait(pid, GONE_SECONDS)
        if status is not None:
            return status, pid, False
        children.signal(pid, signal.SIGKILL)
        return children.wait(pid, 10.0), pid, seconds == PATIENCE_SECONDS

    def _count(self, order: Order, status: int | None, answer: dict[str, Any], fault: str) -> None:
        if status == -signal.SIGKILL and not fault:
            self.verdict.kills += 1
        if order.action == "resume" and status in (0, -signal.SIGKILL):
            self.verdict.resumes += 1
        if order.action == "resume" and "admitted" in answer:
            self.verdict.latencies.append(answer["admitted"] - answer["began"])

    def _gave_up(self, fault: str, status: int | None) -> bool:
        """Tell whether a process ended as it may: its store failed, or was away for longer than its lease."""
        if self._lab.shaky:
            return status in (UNAVAILABLE, LOST)
        return bool(fault) and status == UNAVAILABLE

    def _note_fault(self, order: Order, action: str, answer: dict[str, Any], *, killed: bool) -> None:
        if order.fault:
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
