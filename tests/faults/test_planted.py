"""The checks are checked: every bug that we know how to plant is caught (those of the simulator: tests/simulation)."""

from __future__ import annotations

import pytest

from chaos.mutants import MUTANTS
from chaos.mutants_disk import BY_BIT_FLIPS, BY_FAULTS, BY_POWER_CUT, PLANTED
from chaos.planted import BY_TRIALS, ON_SERVERS, Bug, all_bugs, try_out

pytestmark = pytest.mark.chaos

HERE = [bug for bug in all_bugs() if bug.campaign not in ("simulate", ON_SERVERS)]


@pytest.mark.parametrize("bug", HERE, ids=[bug.name for bug in HERE])
def test_a_planted_bug_is_caught(bug: Bug) -> None:
    found = try_out(bug)
    assert found, f"{bug.name} was not caught by {bug.campaign}"
    assert not found.startswith("error"), found


def test_every_bug_has_a_check_that_is_to_catch_it() -> None:
    assert set(BY_TRIALS) == set(MUTANTS)
    assert set(BY_POWER_CUT) | set(BY_FAULTS) | set(BY_BIT_FLIPS) == set(PLANTED)


def test_there_are_at_least_forty_and_each_is_described() -> None:
    bugs = all_bugs()
    assert len({(bug.campaign, bug.name) for bug in bugs}) == len(bugs) >= 60
    assert all(bug.text for bug in bugs)
