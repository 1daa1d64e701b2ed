"""Results of other executions: taken where everything that counts is the same, and only there."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from orchestrator.domain.events import TaskReused
from tests.edits.ground import Ground

PIPELINE = """
id: cached
inputs: {day: monday, least: 2}
steps:
- {id: load, tool: python, action: "work:load", parameters: {day: "{{ inputs.day }}"}, CACHE}
- {id: count, tool: python, action: "work:count", parameters: {rows: "{{ load.result }}", least: "{{ inputs.least }}"}}
outputs: {count: "{{ count.result }}"}
"""
CODE = """
def load(context, day):
    note(context)
    with open("rows.txt", encoding="utf-8") as file:
        return [day, *file.read().split()] + ["x" * 3000]

def count(context, rows, least):
    note(context)
    return max(len(rows), least)

def write(context, day):
    note(context)
    with open("written.txt", "w", encoding="utf-8") as file:
        file.write(day)
    return day
"""


@pytest.fixture(params=["memory", "sqlite"])
def ground(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    url = f"memory://{uuid4()}" if request.param == "memory" else "sqlite:///store.db"
    made = Ground(url)
    made.code(CODE)
    (tmp_path / "rows.txt").write_text("a b")
    return made


def given(ground: Ground, cache: str) -> None:
    ground.pipeline(PIPELINE.replace("CACHE", cache))


async def test_a_result_of_another_execution_is_taken_and_shown(ground: Ground) -> None:
    given(ground, "cache: true")
    assert await ground.run() == ["load", "count"]
    outputs = ground.outputs
    assert await ground.run_again("second") == ["count"]
    assert ground.outputs == outputs
    taken = [event for event in await ground.facts("second") if isinstance(event, TaskReused)]
    assert [(event.task, event.source.partition("@")[0]) for event in taken] == [("load", "run")]
    plan = await ground.plan("second")
    assert plan.decisions[0].reason.startswith("completed, taken from run@")


async def test_a_taken_result_stays_when_the_other_execution_is_removed(ground: Ground) -> None:
    given(ground, "cache: true")
    await ground.run()
    await ground.run_again("second")
    async with ground.open() as made:
        await made.state_manager.remove(["run"])
    assert (await ground.results("second"))["load"][1][0] == "monday"
    assert await ground.run_again("third") == ["load", "count"], "its entry went with the execution"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("cache: true, files: {reads: rows.txt}", "a file"),
        ("cache: true", "the code"),
        ("cache: true", "a parameter"),
        ("cache: {key: '{{ inputs.least }}'}", "the key"),
        ("cache: true", "the pipeline"),
        ("cache: 0.000001s", "its age"),
        ("cache: false", "nothing"),
    ],
)
async def test_what_differs_is_computed(ground: Ground, before: str, after: str) -> None:
    given(ground, before)
    await ground.run()
    text = (ground.folder / "pipeline.yaml").read_text()
    if after == "a file":
        (ground.folder / "rows.txt").write_text("a b c")
    elif after == "the code":
        ground.code(CODE.replace("[day, *", "[day.upper(), *"))
    elif after == "a parameter":
        ground.pipeline(text.replace("day: monday", "day: tuesday"))
    elif after == "the key":
        ground.pipeline(text.replace("least: 2}", "least: 3}"))
    elif after == "the pipeline":
        ground.pipeline(text.replace("id: cached", "id: another"))
    assert await ground.run_again("second") == ["load", "count"]


async def test_the_store_as_scope_shares_among_pipelines(ground: Ground) -> None:
    given(ground, "cache: {scope: store, ttl: 1h}")
    await ground.run()
    text = (ground.folder / "pipeline.yaml").read_text()
    ground.pipeline(
        text.replace("id: cached", "id: another").replace("id: load", "id: fetch").replace("load.", "fetch.")
    )
    assert await ground.run_again("second") == ["count"]


async def test_a_result_whose_file_is_gone_is_computed(ground: Ground) -> None:
    ground.pipeline(
        PIPELINE.replace("work:load", "work:write").replace("CACHE", "cache: true, files: {writes: written.txt}")
    )
    await ground.run()
    assert await ground.run_again("second") == ["count"]
    (ground.folder / "written.txt").unlink()
    assert await ground.run_again("third") == ["load", "count"]
    assert (ground.folder / "written.txt").read_text() == "monday"
