"""A child is SIGKILLed at every named point of claim, effect, commit and acknowledgement; a fresh process resumes."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.client import Fresh
from chaos.plans import Kill, Plan
from chaos.trials import Lab
from orchestrator.crashpoints import POINTS

WAITING_POINTS = ("before_signal", "after_signal")
"""What is passed where something waits: tests/e2e/test_waiting.py kills there."""
CONTAINER_POINTS = ("before_expand", "after_expand", "before_gather", "after_gather")
"""What is passed where steps hold others: tests/crash/test_constructs.py kills there."""
ELSEWHERE = (*WAITING_POINTS, *CONTAINER_POINTS)
RUN_POINTS = tuple(point for point in POINTS if point not in ("before_resume", "after_resume", *ELSEWHERE))
"""What a first run passes."""
RESUME_POINTS = tuple(point for point in POINTS if point not in ("before_admission", "after_admission", *ELSEWHERE))
ONCE = {"before_admission", "after_admission", "before_finish", "after_finish", "before_blob", "after_blob"}
COUNTS = (1, 2, 4, 7)
AT_WORK = Kill(point="after_commit", count=3)
"""Where the first process dies when it is the resume that is to be killed."""

pytestmark = pytest.mark.chaos


def counts(point: str) -> tuple[int, ...]:
    return (1,) if point in ONCE else COUNTS


@pytest.mark.parametrize(("point", "count"), [(point, count) for point in RUN_POINTS for count in counts(point)])
def test_a_run_killed_at_a_point_is_resumed_exactly(lab: Lab, point: str, count: int) -> None:
    plan = Plan(f"{point}-{count}", (Kill(point=point, count=count),), resume_after=count == 1)
    verdict = lab.run(plan)
    assert verdict.ok, verdict
    assert verdict.kills == 1, f"{point} was not passed {count} times: {verdict}"


@pytest.mark.parametrize("point", RESUME_POINTS)
def test_a_resume_killed_at_a_point_is_resumed_exactly(lab: Lab, point: str) -> None:
    # By the later one the blob may have been written already.
    first = Kill(point="after_claim", count=2) if "blob" in point else AT_WORK
    count = 1 if point in ONCE or "resume" in point else 2
    kills = (first, Kill(point=point, count=1), Kill(point=point, count=count))
    verdict = lab.run(Plan(f"resume-{point}", kills, durability="process"))
    assert verdict.ok, verdict
    assert verdict.kills >= 2, f"no resume was killed at {point}: {verdict}"


def test_steps_in_processes_of_their_own_die_with_the_orchestrator_and_run_again(lab: Lab) -> None:
    verdict = lab.run(Plan("processes", (Kill(moment=0.5, told=True), Kill(moment=0.3, told=True)), "processes"))
    assert verdict.ok, verdict


@pytest.mark.parametrize("point", ["after_claim", "before_resume"])
def test_fresh_interpreters_with_the_environment_variable_do_the_same(tmp_path: Path, lab: Lab, point: str) -> None:
    """The children above are forks of a warm process; these start as a user's would."""
    first = Kill(point="after_effect", count=4) if point == "before_resume" else Kill(point=point)
    kills = (first, Kill(point=point)) if point == "before_resume" else (first,)
    fresh = Lab(Fresh(), tmp_path)
    fresh.adopt(lab)
    verdict = fresh.run(Plan(f"fresh-{point}", kills))
    assert verdict.ok, verdict
    assert verdict.kills == len(kills), verdict


def test_every_point_is_in_the_matrix() -> None:
    assert set(RUN_POINTS) | set(RESUME_POINTS) | set(ELSEWHERE) == set(POINTS)
    assert all(counts(point) for point in RUN_POINTS)
