"""The public verbs: compile, the pipeline as a handle, and the one sync door."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import orchestrator as orc
from orchestrator import DefinitionError, ExecutionFailed, Orchestrator, Pipeline, ResumeStrategy, Task, UsageError
from orchestrator.settings import Settings
from tests.unit.core.bench import Bench, step

YAML = """
id: p
inputs: {n: 1}
steps:
  - {id: a, tool: echo, parameters: {value: "{{ inputs.n }}"}}
outputs: {n: "{{ a.result }}"}
"""


@pytest.fixture
def url() -> str:
    return "sqlite:///.orchestrator/store.db"  # what a run without arguments uses


def test_compile_outside_and_inside_a_running_loop_is_the_same_and_prints_nothing(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("p.yaml").write_text(YAML)
    outside = orc.compile("p.yaml", tools=bench.tools)

    async def inside() -> Pipeline:
        return orc.compile(Path("p.yaml"), tools=bench.tools)

    assert asyncio.run(inside()) == outside
    assert capsys.readouterr() == ("", "")
    assert repr(outside) == "<Pipeline p: 1 tasks>"
    assert (outside.id, list(outside.tasks), list(outside.inputs), outside.execution_id) == ("p", ["a"], ["n"], None)


async def test_compile_in_a_loop_of_the_default_tools(capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.yaml").write_text("steps: [{id: a, tool: shell, parameters: {command: [echo, hi]}}]")
    assert orc.compile("p.yaml").id == "p"
    assert capsys.readouterr() == ("", "")


def test_compile_takes_a_path() -> None:
    with pytest.raises(UsageError, match=r"Pipeline\.from_yaml"):
        orc.compile(YAML)
    with pytest.raises(DefinitionError, match=r"missing\.yaml.*there is no such file"):
        orc.compile("missing.yaml")


def test_a_pipeline_built_in_python_goes_through_the_same_checks(bench: Bench) -> None:
    built = Pipeline(
        id="p",
        tasks=[Task("a", "echo", parameters={"value": "{{ inputs.n }}"})],
        inputs=[orc.Input("n", "integer", required=False, default=1)],
        outputs={"n": "{{ a.result }}"},
        tools=bench.tools,
    )
    assert built == Pipeline.from_yaml(YAML, tools=bench.tools)
    assert built != Pipeline.from_yaml(YAML.replace("id: p", "id: q"), tools=bench.tools)
    with pytest.raises(DefinitionError, match="ghost"):
        Pipeline(id="p", tasks=[Task("a", "echo", dependencies=("ghost",))], tools=bench.tools)


def test_a_pipeline_round_trips(bench: Bench) -> None:
    pipeline = Pipeline.from_yaml(YAML, tools=bench.tools)
    assert Pipeline.from_dict(pipeline.to_dict(), tools=bench.tools) == pipeline
    assert Pipeline.from_yaml(pipeline.to_yaml(), tools=bench.tools) == pipeline


async def test_run_with_inputs_as_keywords(bench: Bench) -> None:
    pipeline = Pipeline.from_yaml(YAML, tools=bench.tools)
    orchestrator = bench.open()
    result = await pipeline.run(orchestrator=orchestrator, n=5)
    assert result.outputs == {"n": 5}
    assert pipeline.execution_id == result.execution_id
    again = await pipeline.run(orchestrator=orchestrator, execution_id="mine")
    assert (again.outputs, pipeline.execution_id) == ({"n": 1}, "mine")


async def test_the_handle_knows_its_execution_even_when_it_fails(bench: Bench) -> None:
    pipeline = Pipeline.from_dict({"id": "p", "steps": [step("a", "fail")]}, tools=bench.tools)
    orchestrator = bench.open()
    with pytest.raises(ExecutionFailed) as caught:
        await pipeline.run(orchestrator=orchestrator)
    assert pipeline.execution_id == caught.value.execution_id
    assert (await orchestrator.resume_pipeline(caught.value.execution_id)).status == "completed"


async def test_an_empty_execution_id_is_refused_and_not_replaced(bench: Bench) -> None:
    pipeline = Pipeline.from_yaml(YAML, tools=bench.tools)
    with pytest.raises(UsageError, match="not an execution id: ''"):
        await pipeline.run(execution_id="", orchestrator=bench.open())


async def test_an_orchestrator_runs_a_handle_too(bench: Bench) -> None:
    pipeline = Pipeline.from_yaml(YAML, tools=bench.tools)
    orchestrator = bench.open()
    assert (await orchestrator.run_pipeline(pipeline, {"n": 2})).outputs == {"n": 2}
    made = await orchestrator.resume_manager.create_resume_checkpoint("other", pipeline)
    assert made.startswith("other@")
    await orchestrator.resume_manager.start_periodic_checkpointing("third", pipeline, dict, 1000)
    await orchestrator.resume_manager.stop_periodic_checkpointing("third")


async def test_an_orchestrator_without_arguments_finds_what_run_wrote() -> None:
    Path("p.yaml").write_text("id: p\nsteps: [{id: a, tool: shell, parameters: {command: [echo, hi]}}]")
    result = await orc.compile("p.yaml").run()
    assert Path(".orchestrator/store.db").exists()
    async with Orchestrator() as orchestrator:
        assert [each.execution_id for each in await orchestrator.list_executions()] == [result.execution_id]
        assert orchestrator.resume_command("x") == "orchestrator resume x"


def test_run_sync() -> None:
    Path("p.yaml").write_text("id: p\nsteps: [{id: a, tool: shell, parameters: {command: [echo, hi]}}]")
    pipeline = orc.compile("p.yaml")
    result = pipeline.run_sync(execution_id="mine")
    assert (result.execution_id, result.status, pipeline.execution_id) == ("mine", "completed", "mine")


async def test_run_sync_inside_a_loop_says_what_to_do_instead(bench: Bench) -> None:
    pipeline = Pipeline.from_yaml(YAML, tools=bench.tools)
    with pytest.raises(UsageError, match=r"await pipeline\.run"):
        pipeline.run_sync()


def test_a_store_given_goes_before_the_settings_given(tmp_path: Path) -> None:
    settings = Settings(tmp_path, store="sqlite:///other.db", max_concurrency=3)
    orchestrator = Orchestrator("memory://here", settings=settings)
    assert orchestrator.store_url == "memory://here"
    assert orchestrator.settings.max_concurrency == 3


async def test_lists(bench: Bench) -> None:
    orchestrator = bench.open()
    good, bad = bench.pipeline(step("a")), bench.pipeline(step("a", "fail", times=9), id="q")
    await orchestrator.run_pipeline(good, execution_id="e1")
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(bad, execution_id="e2")

    async def names(**filters: Any) -> list[str]:
        return [each.execution_id for each in await orchestrator.list_executions(**filters)]

    assert await names() == ["e2", "e1"]
    assert await names(limit=1) == ["e2"]
    assert await names(pipeline_id="p") == ["e1"]
    assert await names(status="failed") == ["e2"]
    assert await names(status="interrupted") == []
    with pytest.raises(UsageError, match="unknown status 'odd'"):
        await names(status="odd")


async def test_close_is_idempotent_and_opens_nothing(bench: Bench) -> None:
    orchestrator = bench.open()
    await orchestrator.close()
    await orchestrator.close()
    assert not Path(".orchestrator").exists()


def test_importing_is_light_and_public_names_are_there() -> None:
    program = (
        "import sys, orchestrator as orc\n"
        "heavy = {'pydantic', 'jinja2', 'yaml', 'apsw', 'asyncio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert set(orc.__all__) <= set(dir(orc))\n"
        "for name in orc.__all__: getattr(orc, name)\n"
        "try: orc.ghost\n"
        "except AttributeError as error: assert 'ghost' in str(error)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_resume_strategy_has_one_home() -> None:
    from orchestrator.core import pipeline_resume_manager as module

    assert module.ResumeStrategy is ResumeStrategy is orc.ResumeStrategy
    assert {"PipelineResumeManager", "ResumeState", "ResumeStrategy"} <= set(module.__all__)
