"""An owner is stopped, an heir takes over by force, the owner wakes: it must end, and change nothing (I5)."""

from __future__ import annotations

import random
import signal
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from chaos.course import PATIENCE_SECONDS, read_answer, stage_of
from chaos.effects import read_effects, size_of
from chaos.plans import Plan, Verdict
from chaos.trials import Lab

if TYPE_CHECKING:
    from pathlib import Path

    from chaos.child import Order

OWNED = 4
LOST = 5
WAKE_SECONDS = 10.0
"""How soon after it can run again a robbed owner must have ended (I5)."""
REFUSAL_SECONDS = 2.0
"""A resume is refused in some 0.1 s; one that takes this long waits for a lock that the stopped owner holds."""
SHORT_LEASE = 0.8
TRIES = 8


def zombie(lab: Lab, seed: int) -> Verdict:
    """Make one trial. In half of them the heir has finished when the owner wakes, in the others it is at work.

    In a fifth the owner sleeps beyond its lease, on servers in half of them: there it is enough for the heir to wait,
    where a lock of the system's would keep it out, so that it takes over without force.
    """
    chance = random.Random(f"zombie {seed}")
    plan = Plan(
        f"zombie-{seed}",
        durability=chance.choice(["full", "process"]),
        concurrency=chance.choice([1, 4, 8]),
        pace=0.003,
    )
    reference = lab.reference(plan.variant)
    verdict = Verdict(plan.name)
    overslept = chance.random() < (0.5 if lab.ground.lease else 0.2)
    for number in range(TRIES):
        moment = chance.random() * (0.9 if number == 0 else 0.5)
        with lab.folder(plan.name) as folder:
            trial = _Zombie(lab, plan, folder, verdict, (lab.ground.lease or SHORT_LEASE) if overslept else 0.0)
            if trial.fall_asleep(moment):
                trial.robbed(chance)
                facts = {
                    "reference": reference,
                    "stages": trial.stages,
                    "takeovers": 1,
                    "zombie": trial.owner,
                }
                lab.audit(folder, facts, verdict)
                lab.settle(folder, verdict, asdict(plan))
                return verdict
    verdict.violations.append(["trial", f"the owner was never caught at work in {TRIES} tries"])
    return verdict


class _Zombie:
    def __init__(self, lab: Lab, plan: Plan, folder: Path, verdict: Verdict, lease: float) -> None:
        self._lab = lab
        self._plan = plan
        self._folder = folder
        self._verdict = verdict
        self._lease = lease
        self.stages: list[dict[str, Any]] = []
        self.owner = 0

    def fall_asleep(self, moment: float) -> bool:
        """Start the owner and stop it; False if it had ended before."""
        lab, children = self._lab, self._lab.children
        self._order = replace(lab.order(self._plan, self._folder, "run"), lease=self._lease)
        self.owner = children.start(self._order)
        seconds, size = lab.moment(self._plan, moment, 0)
        if children.wait(self.owner, seconds, self._order.told, size) is not None:
            return False
        children.signal(self.owner, signal.SIGSTOP)
        self._say(f"owner (pid {self.owner}) stopped at {moment:.3f}")
        return True

    def robbed(self, chance: random.Random) -> None:
        """Take over by force, wake the owner, and see how both end."""
        children = self._lab.children
        heir_order, locked = self._way_to_rob()
        before = size_of(heir_order.told)
        heir = children.start(heir_order)
        self._verdict.resumes += 1
        finishes = chance.random() < 0.5
        if locked:
            self._note("stopped inside a commit")
            time.sleep(0.2)
        elif finishes:
            self._heir_ended(heir, heir_order)
            self.stages.append(stage_of(self._lab.ground, heir_order, 2, killed=False, copied=True))
            self._note("woken after the heir had finished")
        else:
            children.wait(heir, chance.random() * 0.05, heir_order.told, before)
            self._note("woken while the heir worked")
        woken, lines = time.monotonic(), len(read_effects(self._order.log))
        children.signal(self.owner, signal.SIGCONT)
        status = children.wait(self.owner, WAKE_SECONDS)
        took = time.monotonic() - woken
        answer = read_answer(self._order)
        self._say(f"owner ended with {status} {took * 1000:.0f} ms after it was woken: {answer.get('error', '')}")
        self._verdict.latencies.append(took)
        if status is None:
            self._violated("I5", f"the robbed owner had not ended {WAKE_SECONDS:g} s after it was woken")
            self._lab.wait_or_kill(self.owner, 0)
        elif status == 0:
            # It was stopped (or, stopped inside a commit, got) beyond its last commit: there was nothing to rob.
            self._note("the owner had finished")
        elif status != LOST or not answer["error"].startswith("LeaseLost"):
            self._violated("I5", f"the robbed owner ended with {status}: {answer.get('error')}")
        if locked or not finishes:
            self._heir_ended(heir, heir_order)

        if status == 0 and "admitted" in read_answer(heir_order):
            self._violated("I5", "the robbed owner went on to the end, though its heir had taken over")
        late = [effect for effect in read_effects(self._order.log)[lines:] if effect.pid == self.owner]
        if any(effect.what == "begin" for effect in late):
            # Claimed before the takeover and past the look at its own clock: nothing can hold it back any more.
            self._note("the owner still began attempts of its own")

    def _way_to_rob(self) -> tuple[Order, bool]:
        """Return the order for the heir, and whether the stopped owner even holds the database's lock."""
        order = self._lab.order(self._plan, self._folder, "resume", 2)
        if self._lease:
            self._note("overslept its lease")
        if self._lease and self._lab.ground.lease:
            return replace(order, patience=self._lab.patience), False
        time.sleep(self._lease * 1.25)
        return replace(order, steal=True), self._refused()

    def _refused(self) -> bool:
        """See that nobody gets it without force; return whether the stopped owner even holds the database's lock."""
        children = self._lab.children
        order = self._lab.order(self._plan, self._folder, "resume", 1)
        pid = children.start(order)
        status = children.wait(pid, REFUSAL_SECONDS)
        if status is None:
            self._lab.wait_or_kill(pid, 0)
            return True
        if status not in (OWNED, 0):
            self._violated("I7", f"a resume without force ended with {status}: {read_answer(order).get('error')}")
        elif status == 0 and "admitted" in read_answer(order):
            self._violated("I7", "a resume without force took over from an owner that lives")
        return False

    def _heir_ended(self, heir: int, order: Order) -> None:
        status = self._lab.wait_or_kill(heir, PATIENCE_SECONDS)
        answer = read_answer(order)
        self._say(f"heir (pid {heir}) ended with {status} {answer.get('error', '')}")
        if status != 0:
            self._violated("I6", f"the heir ended with {status}: {answer.get('error')}")

    def _say(self, text: str) -> None:
        self._verdict.story.append(text)

    def _note(self, text: str) -> None:
        self._verdict.notes[text] += 1

    def _violated(self, invariant: str, text: str) -> None:
        self._verdict.violations.append([invariant, text])
