"""Random pipelines of the whole language, killed at random commits and resumed; the fold is counted after each fact.

``python -m chaos language --seeds N`` tries more of them; so does ORCHESTRATOR_TEST_LANGUAGE=N here.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest

from chaos.language import Trial, attempt, case, dies
from chaos.meaning import mean
from chaos.sketches import Node, Sketch
from orchestrator.domain.execution import TaskStatus
from orchestrator.domain.ids import TaskId

SEEDS = int(os.environ.get("ORCHESTRATOR_TEST_LANGUAGE", "3"))
FOUND = (32, 54, 68, 71, 74, 76, 136, 305, 393, 256, 753, 3057, 11550)
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


@pytest.mark.parametrize("edited", [{"cases": (("2", ("one",)),)}, {"kind": "block", "body": (Node("two"),)}])
def test_a_construct_at_work_whose_steps_an_edit_takes_away_is_worked_out_anew(edited: dict[str, Any]) -> None:
    trial = Trial(-2 - (edited.get("kind") == "block"))  # a store each
    switch = Node("way", "switch", reads=("inputs.a",), cases=(("1", ("one",)),), body=(Node("one"),))
    trial.sketch = Sketch({"a": 1, "b": 0}, (switch,))

    async def cut_off_and_edited() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trial, "_admitted", lambda engine: dies(engine, 1, after=True))
            assert not await trial.drive()
        state = await trial.look(trial.due(mean(trial.sketch)))
        assert state.tasks[TaskId("way")].status is TaskStatus.EXPANDED
        trial.sketch = replace(trial.sketch, steps=(replace(switch, **edited),))
        await trial.to_the_end(pipeline=trial.compiled())

    assert attempt(trial, cut_off_and_edited) == ""
