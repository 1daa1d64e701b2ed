"""The short form of ``python -m chaos simulate``: thousands of seeds, and the proof that bugs would be seen."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest

from chaos.simulation.bugs import BUGS
from chaos.simulation.command import play
from chaos.simulation.run import SQLITE_EVERY, simulate

pytestmark = pytest.mark.chaos

CHUNKS = 6
SEEDS = 330
"""In each chunk: as many as fit into a minute of a slow core."""
BUG_SEEDS = 3000


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_seed_breaks_an_invariant(chunk: int) -> None:
    tally = play(1 + chunk * SEEDS, SEEDS)
    assert not tally.failures, "\n".join(tally.failures)
    assert tally.seeds == SEEDS
    assert tally.on_sqlite >= SEEDS // SQLITE_EVERY
    assert len(tally.dangers) > 15, "the seeds meet too few dangers to show anything"


@pytest.mark.parametrize("seed", [25, 77, 1059])
def test_a_seed_plays_the_same_every_time(seed: int) -> None:
    first, second = simulate(seed), simulate(seed)
    assert first.story == second.story
    assert (first.steps, first.facts, first.effects) == (second.steps, second.facts, second.effects)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught(bug: str, tmp_path: Path) -> None:
    answer = tmp_path / "answer"
    child = os.fork()  # a bug is planted for good: only in a process of its own
    if child == 0:
        try:
            answer.write_text(_violation_with(bug))
        except BaseException:  # noqa: BLE001 - nothing may reach the test run that this process was forked from
            answer.write_text("error: " + traceback.format_exc())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    found = answer.read_text()
    assert found, f"{bug} was not caught by {BUG_SEEDS} seeds"
    assert found.startswith("I"), found


def _violation_with(bug: str) -> str:
    BUGS[bug]()
    for seed in range(1, BUG_SEEDS):
        if seed % SQLITE_EVERY:
            report = simulate(seed, "memory")
            if report.violation is not None:
                return str(report.violation)
    return ""
