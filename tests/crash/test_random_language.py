"""Random pipelines of the whole language, killed at random commits and resumed; the fold is counted after each fact.

``python -m chaos language --seeds N`` tries more of them; so does ORCHESTRATOR_TEST_LANGUAGE=N here.
"""

from __future__ import annotations

import os

import pytest

from chaos.language import case

SEEDS = int(os.environ.get("ORCHESTRATOR_TEST_LANGUAGE", "12"))
FOUND = ()
"""Seeds that once found something, in the order of their finding."""


def test_whatever_is_killed_ends_in_what_its_values_come_to() -> None:
    found = [violated for seed in range(1, SEEDS + 1) if (violated := case(seed)[1])]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_once_stays_found(seed: int) -> None:
    assert case(seed) == ("trials", "")
