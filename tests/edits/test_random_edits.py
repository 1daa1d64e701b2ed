"""Random pipelines, edited at random and resumed: what runs, what it comes to, and what was told of it before.

``python -m chaos edits --seeds N`` tries more of them; so does ORCHESTRATOR_TEST_EDITS=N here.
"""

from __future__ import annotations

import os

import pytest

from chaos.drafts import Draft, Step, judge
from chaos.edits import case

SEEDS = int(os.environ.get("ORCHESTRATOR_TEST_EDITS", "40"))
FOUND = (270,)
"""Seeds that once found something, in the order of their finding."""


@pytest.mark.parametrize("first", range(1, SEEDS + 1, 10))
def test_a_resume_does_what_values_say_and_what_its_plan_says(first: int) -> None:
    found = [violated for seed in range(first, min(first + 10, SEEDS + 1)) if (violated := case(seed)[1])]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_once_stays_found(seed: int) -> None:
    assert case(seed) == ("trials", "")


def test_the_oracle_by_hand() -> None:
    """A changed salt runs its step; the one behind runs as its value differs; that a third one reads is cut off."""
    one = Step("one", "mix", 1)
    draft = Draft(
        {}, [one, Step("two", "mix", 0, ("one",)), Step("off", "mix", 0, condition="one.result == 0")], {"mix": 1}
    )
    first = judge(draft, {})
    assert (first.values, first.skipped) == ({"one": 1, "two": 1, "off": None}, {"off"})
    last = {
        "one": (("mix", 1, 1, False, (), None), 1),
        "two": (("mix", 1, 0, False, (1,), None), 1),
    }
    assert judge(draft, last).runs == set()
    draft.steps[0] = Step("one", "mix", 4)  # which comes to the same
    assert judge(draft, last).runs == {"one"}
    draft.steps[0] = Step("one", "mix", 0)
    assert judge(draft, last).runs == {"one", "two", "off"}
    draft.steps[0] = Step("one", "mix", 0, fails=True)
    failing = judge(draft, last)
    assert (failing.failed, failing.loose, failing.completes) == ({"one"}, {"two", "off"}, False)
