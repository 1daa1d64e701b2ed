"""Forks: they share what was recorded, run only what differs, and leave the original as it is, even when that goes."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from orchestrator.errors import DefinitionError
from tests.edits.ground import Ground, may_run, must_run

PIPELINE = """id: forked
inputs: {rows: {type: any, default: 3}, above: 1}
steps:
- {id: load, tool: python, action: "work:load", parameters: {rows: "{{ inputs.rows }}"}}
- {id: keep, tool: python, action: "work:keep", parameters: {rows: "{{ load.result }}", above: "{{ inputs.above }}"}}
- {id: big, tool: python, action: "work:big", parameters: {rows: "{{ load.result }}"}}
- {id: report, tool: python, action: "work:report", parameters: {rows: "{{ keep.result }}", big: "{{ big.result }}"}}
outputs: {report: "{{ report.result }}"}
"""
CODE = """
def load(context, rows):
    note(context)
    return list(range(rows if isinstance(rows, int) else len(rows)))

def keep(context, rows, above):
    note(context)
    return [row for row in rows if row >= above]

def big(context, rows):
    note(context)
    return "x" * 100_000 * len(rows)

def report(context, rows, big):
    note(context)
    return f"{rows} of {len(big)}"
"""


@pytest.fixture(params=["memory", "sqlite"])
async def ground(request: pytest.FixtureRequest) -> Ground:
    """A project whose execution `run` is complete; its big result is a file beside the store."""
    stores = {"memory": f"memory://{uuid4()}", "sqlite": "sqlite:///store.db?durability=process"}
    made = Ground(stores[request.param])
    made.pipeline(PIPELINE)
    made.code(CODE)
    assert sorted(await made.run()) == sorted(["load", "keep", "big", "report"])
    return made


async def journal(ground: Ground, name: str = "run") -> list[Any]:
    async with ground.open() as made:
        return [(seq, event) async for seq, event in made.facts(name)]


async def test_a_fork_as_it_is_runs_nothing_and_alters_nothing(ground: Ground) -> None:
    before = await journal(ground)
    await ground.fork()
    assert await ground.results("fork") == await ground.results("run")
    assert await ground.resume("fork") == []
    assert (ground.status, ground.outputs) == ("completed", {"report": "[1, 2] of 300000"})
    assert await journal(ground) == before


async def test_only_what_reads_another_input_runs(ground: Ground) -> None:
    before = await journal(ground)
    await ground.fork(inputs={"above": 2})
    plan = await ground.plan("fork")
    assert (must_run(plan), may_run(plan)) == ({"keep"}, {"report"})
    assert await ground.resume("fork") == ["keep", "report"]
    assert ground.outputs == {"report": "[2] of 300000"}
    assert await journal(ground) == before
    assert (await ground.results("run"))["keep"] == ("completed", [1, 2])


async def test_a_fork_outlives_what_it_came_of(ground: Ground) -> None:
    await ground.fork(inputs={"above": 2})
    async with ground.open() as made:
        await made.state_manager.remove(["run"])
    assert await ground.resume("fork") == ["keep", "report"]
    assert ground.outputs == {"report": "[2] of 300000"}
    await ground.fork("fork", "second", inputs={"above": 0})
    async with ground.open() as made:
        await made.state_manager.remove(["fork"])
    assert await ground.resume("second") == ["keep", "report"]
    assert ground.outputs == {"report": "[0, 1, 2] of 300000"}


async def test_a_fork_at_every_position_ends_the_same(ground: Ground) -> None:
    """What was recorded by then is not run again, and all else is."""
    facts = await journal(ground)
    done: set[str] = set()
    for seq, event in facts:
        if type(event).__name__ == "TaskCompleted":
            done.add(event.task)
        await ground.fork(f"run@{seq}", f"at-{seq}")
        assert set(await ground.resume(f"at-{seq}")) == {"load", "keep", "big", "report"} - done
        assert ground.outputs == {"report": "[1, 2] of 300000"}
    assert await journal(ground) == facts


async def test_large_inputs_of_a_fork(ground: Ground) -> None:
    """They are in no store when the plan is made."""
    await ground.fork(inputs={"rows": ["row" * 10] * 100 + [1, 2, 3]})
    assert sorted(await ground.resume("fork")) == sorted(["load", "keep", "big", "report"])
    assert ground.outputs["report"].endswith("of 10300000")


async def test_inputs_are_held_against_the_schema_of_the_definition_that_is_gone_on_with(ground: Ground) -> None:
    """Those given to a fork, and those recorded, which an edited definition may not allow any more."""
    ground.pipeline(PIPELINE.replace("above: 1", "above: {default: 1, schema: {maximum: 5}}"))
    with pytest.raises(DefinitionError, match="above: expected 5 or less, got 9"):
        await ground.fork(pipeline="pipeline.yaml", inputs={"above": 9})
    await ground.fork(inputs={"above": 9})
    with pytest.raises(DefinitionError, match="above: expected 5 or less, got 9"):
        await ground.plan("fork", pipeline="pipeline.yaml")
    assert await ground.resume("run", pipeline="pipeline.yaml") == []


async def test_a_fork_with_inputs_and_an_edited_definition(ground: Ground) -> None:
    """The inputs are those of the new definition; one given as the old default was is given all the same."""
    ground.pipeline(PIPELINE.replace("above: 1", "above: 0, title: x"))
    for wrong, what in (({"obove": 1}, "obove"), ({"rows": 3, "other": 1}, "other")):
        with pytest.raises(DefinitionError, match=f"{what}: the pipeline forked has no such input"):
            await ground.fork(pipeline="pipeline.yaml", inputs=wrong)
    await ground.fork(pipeline="pipeline.yaml", inputs={"above": 1, "title": "y"})
    assert await ground.resume("fork") == []
    assert ground.outputs == {"report": "[1, 2] of 300000"}
    await ground.fork("run", "other", pipeline="pipeline.yaml")
    assert await ground.resume("other") == ["keep", "report"]


async def test_a_fork_of_what_was_edited_and_not_run_yet(ground: Ground) -> None:
    """A text without templates counts, too, though the fork does not know what it was before."""
    ground.pipeline(PIPELINE.replace('"{{ inputs.rows }}"', "4"))
    async with ground.open() as made:
        await made.revise("run", pipeline="pipeline.yaml")
    await ground.fork()
    assert sorted(await ground.resume("fork")) == sorted(["load", "keep", "big", "report"])
    assert ground.outputs == {"report": "[1, 2, 3] of 400000"}
