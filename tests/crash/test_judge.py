"""The judge itself is judged: planted bugs must be caught, by the invariant that they break."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaos.contests import contest
from chaos.mutants import MUTANTS
from chaos.trials import Kill, Lab, Plan, Verdict
from chaos.zombies import zombie

pytestmark = pytest.mark.chaos

TRIES = 20


def killed_at(point: str) -> Callable[[Lab, int], Verdict]:
    def trial(lab: Lab, seed: int) -> Verdict:
        return lab.run(Plan(f"mutant-{seed}", (Kill(point=point, count=3 + seed),), pace=0.002))

    return trial


CAUGHT_BY = {
    "tells_before_the_commit": ("I1", killed_at("before_commit")),
    "begins_before_the_claim": ("I8", killed_at("before_claim")),
    "runs_again_what_was_done": ("I1", killed_at("after_commit")),
    "forgets_what_was_saved": ("I4", killed_at("after_commit")),
    "starts_twice": ("I8", killed_at("after_commit")),
    "locks_nothing": ("I7", contest),
    "minds_no_epoch": ("I5", zombie),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_planted_bug_is_caught(lab: Lab, mutant: str) -> None:
    invariant, trial = CAUGHT_BY[mutant]
    mutated = Lab(lab.children, mutant=mutant)
    mutated.adopt(lab)
    found: set[str] = set()
    for seed in range(TRIES):
        found |= {name for name, _ in trial(mutated, seed).violations}
        if invariant in found:
            return
    pytest.fail(f"{mutant} was not caught by {invariant} in {TRIES} trials; found: {found or 'nothing'}")
