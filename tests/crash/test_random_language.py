"""Random pipelines of the whole language, killed at random commits and resumed; the fold is counted after each fact.

``python -m chaos language --seeds N`` tries more of them; so does ORCHESTRATOR_TEST_LANGUAGE=N here.
"""

from __future__ import annotations

import os

import pytest

from chaos.language import Trial, attempt, case
from chaos.sketches import Node, Sketch

SEEDS = int(os.environ.get("ORCHESTRATOR_TEST_LANGUAGE", "3"))
FOUND = (32, 54, 68, 71, 74, 76, 136, 305)
"""Seeds that once found something, in the order of their finding."""


def test_whatever_is_killed_and_edited_ends_in_what_its_values_come_to() -> None:
    found = [violated for seed in range(1, SEEDS + 1) if (violated := case(seed)[1])]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_once_stays_found(seed: int) -> None:
    assert case(seed) == ("trials", "")


def test_a_loop_that_begins_no_round_ends() -> None:
    trial = Trial(-1)
    trial.sketch = Sketch({"a": 0, "b": 0}, (Node("never", "loop", until=False, bound=0, body=(Node(""),)),))
    assert attempt(trial, trial.to_the_end) == ""
