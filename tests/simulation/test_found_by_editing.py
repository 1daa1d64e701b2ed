"""What the simulator has found in plans, edits and forks, each played again by hand."""

from __future__ import annotations

from pathlib import Path

from orchestrator import Orchestrator, Pipeline, Task
from orchestrator.domain.events import DefinitionChanged, ResultSet, ResumePlanned
from orchestrator.domain.ids import ExecutionId, TaskId
from orchestrator.tools.registry import ToolRegistry


async def give(of: object = None, level: int = 1) -> object:
    """Return what it is given, so that values tell what they were made of."""
    return [level, of]


def tools() -> ToolRegistry:
    registry = ToolRegistry()
    registry.register("give", give)
    return registry


def pipeline(second: object = "{{ first.result }}", level: int = 1) -> Pipeline:
    first = Task(TaskId("first"), "give", parameters={"level": level})
    return Pipeline(id="p", tasks=[first, Task(TaskId("second"), "give", parameters={"of": second})], tools=tools())


async def run(orchestrator: Orchestrator) -> None:
    await orchestrator.run_pipeline(pipeline().definition, execution_id="a")


async def position(orchestrator: Orchestrator, name: str, kind: type) -> int:
    """Return the seq of the first fact of a kind."""
    seq = 0
    async for commit in orchestrator._adapters.store.read(ExecutionId(name)):
        for event in commit.events:
            seq += 1
            if isinstance(event, kind):
                return seq
    raise LookupError(kind)


async def test_what_read_another_value_follows_a_given_result(tmp_path: Path) -> None:
    async with Orchestrator(store=f"sqlite:///{tmp_path}/s.db", tools=tools()) as orchestrator:
        await run(orchestrator)
        await orchestrator.resume_pipeline("a", set_results={"first": "by hand"})
        assert await orchestrator.get_result("a", "second") == [1, "by hand"]


async def test_a_fork_from_the_midst_of_an_edit_takes_over_nothing_of_the_old_text(tmp_path: Path) -> None:
    async with Orchestrator(store=f"sqlite:///{tmp_path}/s.db", tools=tools()) as orchestrator:
        await run(orchestrator)
        await orchestrator.resume_pipeline("a", pipeline=pipeline(level=2))
        seq = await position(orchestrator, "a", DefinitionChanged)
        await orchestrator.fork(f"a@{seq}", execution_id="b")
        await orchestrator.resume_pipeline("b")
        assert await orchestrator.get_result("b", "second") == [1, [2, None]]


async def test_a_fork_from_the_midst_of_an_edit_weighs_parameters_that_are_no_template_any_more(tmp_path: Path) -> None:
    async with Orchestrator(store=f"sqlite:///{tmp_path}/s.db", tools=tools()) as orchestrator:
        await run(orchestrator)
        await orchestrator.resume_pipeline("a", pipeline=pipeline(second="fixed"))
        seq = await position(orchestrator, "a", DefinitionChanged)
        await orchestrator.fork(f"a@{seq}", execution_id="b")
        await orchestrator.resume_pipeline("b")
        assert await orchestrator.get_result("b", "second") == [1, "fixed"]


async def test_a_resume_with_the_recorded_definition_records_that_it_follows_changes(tmp_path: Path) -> None:
    async with Orchestrator(store=f"sqlite:///{tmp_path}/s.db", tools=tools()) as orchestrator:
        await run(orchestrator)
        await orchestrator.resume_pipeline("a", pipeline=pipeline(), set_results={"first": 1})
        found = [
            event async for commit in orchestrator._adapters.store.read(ExecutionId("a")) for event in commit.events
        ]
        planned = next(event for event in found if isinstance(event, ResumePlanned))
        assert planned.request == {"set_result": ["first"], "follow": True}
        assert any(isinstance(event, ResultSet) for event in found)
