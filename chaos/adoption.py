"""``python -m chaos adoption``: an owner is killed, and a server goes on with what it had in hand: how soon.

Two ``serve`` processes look after one store. In half of the trials one of them has taken an execution that was
submitted, in the others an ``orchestrator run`` is at work. Whoever owns it is killed (SIGKILL) at a random moment, and
the time until a server has taken it over is measured. The whole trial is judged as those of ``kills`` are.

What there is to wait for: where no lock of the system's tells that a process is dead, the lease of the dead owner (less
what had passed since it was renewed last), then the next look of a server, each quarter of a lease (at most a second),
give or take a half.
"""

from __future__ import annotations

import random
import signal
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.child import READY
from chaos.course import PATIENCE_SECONDS, read_answer, stage_of
from chaos.effects import read_told
from chaos.plans import Plan, Verdict
from orchestrator.core.keeper import POLL_SECONDS

if TYPE_CHECKING:
    from chaos.child import Order
    from chaos.trials import Lab

LEASE_SECONDS = 2.0
LOOK_SECONDS = 1.5
"""How long a server may rest between two looks, and a bit of a busy machine."""
SERVERS = 2


def adoption(lab: Lab, seed: int, lease: float = LEASE_SECONDS) -> Verdict:
    """Make one trial."""
    chance = random.Random(f"adoption {seed}")
    plan = Plan(f"adoption-{seed}", concurrency=chance.choice([1, 4, 8]), pace=0.04)
    reference = lab.reference(plan.variant)
    verdict = Verdict(plan.name)
    with lab.folder(plan.name) as folder:
        trial = _Adoption(lab, plan, folder, verdict, lease)
        trial.run(submitted=chance.random() < 0.5, part=0.05 + 0.6 * chance.random())
        lab.audit(folder, {"reference": reference, "stages": trial.stages}, verdict)
        lab.settle(folder, verdict, asdict(plan))
    return verdict


class _Adoption:
    def __init__(self, lab: Lab, plan: Plan, folder: Path, verdict: Verdict, lease: float) -> None:
        self._lab = lab
        self._plan = plan
        self._folder = folder
        self._verdict = verdict
        self._lease = lease
        self._servers: dict[int, Order] = {}
        self.stages: list[dict[str, Any]] = []

    def run(self, *, submitted: bool, part: float) -> None:
        """Let the owner die and see who goes on."""
        children = self._lab.children
        seconds, size = self._lab.moment(self._plan, part, 0)
        for number in range(1, SERVERS + 1):
            order = self._order("serve", number)
            self._servers[children.start(order)] = order
        self._await_ready()
        order = self._order("submit" if submitted else "run", 0)
        pid = children.start(order)
        if submitted and self._lab.wait_or_kill(pid) != 0:
            self._violated("I6", f"it could not be submitted: {read_answer(order).get('error')}")
        children.wait(next(iter(self._servers)) if submitted else pid, seconds, order.told, size)
        told = read_told(order.told)
        owner = told[-1].pid if told else pid
        died = time.monotonic()
        if children.signal(owner, signal.SIGKILL):
            children.wait(owner, 10.0)
            self._verdict.kills += 1
            # Where nothing has to run out, the heir may be at work already: no time for a copy.
            waits = self._lab.ground.lease > 0
            self.stages.append(stage_of(self._lab.ground, order, 1, killed=True, copied=waits))
            self._verdict.story.append(f"owner (pid {owner}, {'a server' if submitted else 'a run'}) killed")
        else:
            self._verdict.notes["the owner had ended"] += 1
        self._servers.pop(owner, None)
        self._adopted(died)

    def _await_ready(self) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        files = [Path(order.answer + READY) for order in self._servers.values()]
        while not all(file.exists() for file in files) and time.monotonic() < end:
            time.sleep(0.01)

    def _adopted(self, died: float) -> None:
        """See that one server took it over in time, and that all heard how it ended."""
        taken = []
        for pid, order in self._servers.items():
            status = self._lab.wait_or_kill(pid, PATIENCE_SECONDS + self._lease)
            answer = read_answer(order)
            self._verdict.story.append(f"server (pid {pid}) ended with {status}: {answer.get('notices')}")
            if status != 0:
                self._violated("I6", f"a server ended with {status}: {answer.get('error')}")
            if answer.get("taken", 0.0) > died:
                taken.append(answer["taken"] - died)
        self._verdict.resumes += len(taken)
        self._verdict.latencies += taken
        if len(taken) > 1:
            self._violated("I7", f"{len(taken)} servers took it over")
        bound = self._lease + max(POLL_SECONDS, self._lease / 4) + LOOK_SECONDS
        if any(seconds > bound for seconds in taken):
            self._violated("I6", f"it was taken over {max(taken):.2f} s after its owner's death, not within {bound:g}")

    def _order(self, action: str, number: int) -> Order:
        return replace(self._lab.order(self._plan, self._folder, action, number), lease=self._lease)

    def _violated(self, invariant: str, text: str) -> None:
        self._verdict.violations.append([invariant, text])
