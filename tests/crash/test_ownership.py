"""Many resumes at once, and owners that were stopped and robbed."""

from __future__ import annotations

import pytest

from chaos.contests import contest
from chaos.trials import Lab
from chaos.zombies import zombie

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("seed", range(10))
def test_of_many_resumes_at_once_one_proceeds(lab: Lab, seed: int) -> None:
    verdict = contest(lab, seed)
    assert verdict.ok, f"{verdict}\nonce more: python -m chaos contest --seed {seed} --trials 1"


@pytest.mark.parametrize("seed", range(5))
def test_a_stopped_owner_that_was_robbed_ends_and_changes_nothing(lab: Lab, seed: int) -> None:
    verdict = zombie(lab, seed)
    assert verdict.ok, f"{verdict}\nonce more: python -m chaos zombies --seed {seed} --trials 1"
