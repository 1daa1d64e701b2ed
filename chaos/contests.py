"""Two to eight resumes of one execution at once: one proceeds, the others are told that it is owned (I7)."""

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
SHARE_OF_LIVING = 1 / 6
START_SECONDS = 0.03
"""How long forking one resumer may take; all are let loose when the last can be expected to be there."""


def contest(lab: Lab, seed: int, resumers: int = 8) -> Verdict:
    """Make one contest of two to ``resumers`` resumes; in a quarter of them one is killed at a random moment.

    On servers there is no owner to compete with in a sixth of them, but one that lives for longer than its lease.
    """
    chance = random.Random(f"contest {seed}")
    if lab.ground.lease and chance.random() < SHARE_OF_LIVING:
        return living(lab, seed)
    plan = Plan(
        f"contest-{seed}",
        durability=chance.choice(["full", "process"]),
        concurrency=chance.choice([1, 4, 8]),
        pace=0.003,
    )
    number = chance.randint(2, max(2, resumers))
    victim = chance.randrange(number) if chance.random() < 0.25 else None
    reference = lab.reference(plan.variant)
    verdict = Verdict(plan.name)
    with lab.folder(plan.name) as folder:
        stages = [_killed_run(lab, plan, folder, chance, verdict)]
        begun = size_of(folder / "effects.log")
        answers = _compete(lab, plan, folder, verdict, number, victim, chance.random() * 0.1)
        facts: dict[str, Any] = {"reference": reference, "stages": stages}
        if victim is not None:
            facts["takeovers"] = 1
        proceeded = [answer for answer in answers if "admitted" in answer]
        verdict.latencies += [answer["admitted"] - answer["began"] for answer in proceeded]
        if not any(answer["code"] == 0 for answer in answers):
            if victim is None:
                verdict.violations.append(["I6", "no resume proceeded"])
            _last_resume(lab, plan, folder, verdict)
        elif victim is None:
            if len(proceeded) != 1:
                verdict.violations.append(["I7", f"{len(proceeded)} resumes proceeded"])
            at_work = {effect.pid for effect in read_effects(folder / "effects.log")[_lines(folder, begun) :]}
            if len(at_work) > 1:
                verdict.violations.append(["I7", f"{len(at_work)} processes were at work at once: {sorted(at_work)}"])
        for answer in answers:
            if answer["code"] == 0 and answer["outputs"] != reference["outputs"]:
                verdict.violations.append(["I4", f"a resume returned {answer['outputs']}"])
        lab.audit(folder, facts, verdict)
        lab.settle(folder, verdict, asdict(plan))
    return verdict


def living(lab: Lab, seed: int) -> Verdict:
    """Let an owner work for longer than its lease, while another process tries again and again to take over."""
    plan = Plan(f"living-{seed}", concurrency=4, pace=lab.ground.lease / 4)
    reference = lab.reference(plan.variant)
    verdict = Verdict(plan.name)
    with lab.folder(plan.name) as folder:
        order = lab.doomed(lab.order(plan, folder, "run"))
        rival = replace(lab.order(plan, folder, "resume", 1), patience=PATIENCE_SECONDS)
        owner = lab.children.start(order)
        lab.children.wait(owner, 0.0, order.told)
        pid = lab.children.start(rival)
        for name, child, of in (("the owner", owner, order), ("its rival", pid, rival)):
            status = lab.wait_or_kill(child)
            answer = read_answer(of)
            verdict.story.append(f"{name} (pid {child}) ended with {status} {answer.get('error', '')}")
            if status != 0:
                verdict.violations.append(["I7", f"{name} ended with {status}: {answer.get('error')}"])
            elif of is rival and "admitted" in answer:
                verdict.violations.append(["I7", "an owner that lived and renewed its lease was robbed"])
            verdict.notes["refused while the owner lived"] += answer.get("refused", 0)
        verdict.resumes += 1
        lab.audit(folder, {"reference": reference, "stages": []}, verdict)
        lab.settle(folder, verdict, asdict(plan))
    return verdict


def _killed_run(lab: Lab, plan: Plan, folder: Path, chance: random.Random, verdict: Verdict) -> dict[str, Any]:
    point = f"{chance.choice(['after_commit', 'before_effect', 'after_effect'])}:{chance.randint(1, 5)}"
    order = lab.doomed(replace(lab.order(plan, folder, "run"), point=point))
    status = lab.wait_or_kill(lab.children.start(order))
    verdict.story.append(f"run killed at {point}: {status}")
    if status != -signal.SIGKILL:
        verdict.violations.append(["I6", f"the run was to be killed at {point}, and ended with {status}"])
    verdict.kills += 1
    return stage_of(lab.ground, order, 0, killed=True)


def _compete(
    lab: Lab, plan: Plan, folder: Path, verdict: Verdict, number: int, victim: int | None, after: float
) -> list[dict[str, Any]]:
    """Let the resumes loose, and return what those had to say that were not killed."""
    time.sleep(lab.ground.lease)
    at = time.monotonic() + START_SECONDS * number
    orders: list[Order] = [replace(lab.order(plan, folder, "resume", n + 1), at=at) for n in range(number)]
    if victim is not None:
        orders[victim] = lab.doomed(orders[victim])
    pids = [lab.children.start(order) for order in orders]
    if victim is not None:
        time.sleep(max(0.0, at - time.monotonic()) + after)
        lab.children.signal(pids[victim], signal.SIGKILL)
    answers = []
    for index, (pid, order) in enumerate(zip(pids, orders, strict=True)):
        status = lab.wait_or_kill(pid)
        answer = read_answer(order)
        verdict.story.append(f"resume {index} (pid {pid}) ended with {status} {answer.get('error', '')}")
        if index == victim and status == -signal.SIGKILL:
            verdict.kills += 1
        elif status not in (0, OWNED):
            verdict.violations.append(["I7", f"resume {index} ended with {status}: {answer.get('error')}"])
        else:
            verdict.notes["proceeded" if "admitted" in answer else "owned" if status else "completed already"] += 1
            answers.append(answer)
    verdict.resumes += number
    return answers


def _last_resume(lab: Lab, plan: Plan, folder: Path, verdict: Verdict) -> None:
    """The killed resume was the one that proceeded, and the others had gone: one more gets to the end."""
    order = replace(lab.order(plan, folder, "resume", 99), patience=lab.patience)
    status = lab.wait_or_kill(lab.children.start(order))
    verdict.resumes += 1
    if status != 0:
        verdict.violations.append(["I6", f"the last resume ended with {status}: {read_answer(order).get('error')}"])


def _lines(folder: Path, size: int) -> int:
    return len(read_effects(folder / "effects.log", size))
