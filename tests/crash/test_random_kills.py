"""100 random moments: SIGKILL from outside, whatever the process is at."""

from __future__ import annotations

import pytest

from chaos.plans import Plan
from chaos.trials import Lab

TRIALS = 100
PER_TEST = 10

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("first", range(0, TRIALS, PER_TEST))
def test_an_execution_killed_at_random_moments_ends_as_if_undisturbed(lab: Lab, first: int) -> None:
    kills = 0
    for seed in range(first, first + PER_TEST):
        verdict = lab.run(Plan.of_seed(seed))
        assert verdict.ok, f"{verdict}\nonce more: python -m chaos replay {seed}"
        kills += verdict.kills
    assert kills >= PER_TEST // 2, "most kills came too late to be any"
