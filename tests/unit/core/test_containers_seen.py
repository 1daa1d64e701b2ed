"""Containers as callers see them: results, states, checkpoints, mistakes at run time, and what the commands print."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator import ExecutionFailed
from orchestrator.cli.display import Display
from orchestrator.compiler import compile_dict, compile_text, to_dict, to_yaml
from orchestrator.compiler.format import formatted
from orchestrator.domain.expansion import written_as
from orchestrator.domain.packed import pack, unpack
from tests.unit.core.bench import Bench

EVERYTHING = """\
id: all
steps:
  - id: each
    for_each: {items: {a: 1, b: 2}, max_parallel: 1, on_item_failure: 50%}
    steps:
      - {id: one, tool: echo, parameters: {value: "{{ item }}"}, resume: {checkpoint: none}}
      - id: two
        for_each: [x, y]
        tool: echo
        parameters: {value: "{{ key }}{{ one.result }}"}
  - {id: poll, tool: echo, until: last == 3, max_iterations: 9, parameters: {value: "{{ iteration }}"}}
  - id: route
    switch:
      value: poll.result
      cases: {"3": [{id: three, tool: echo, parameters: {value: 3}}]}
      default: [{id: other, tool: echo}]
  - {id: block, parallel: [{id: left, tool: echo, parameters: {value: l}}]}
"""


async def test_results_are_what_templates_see_wherever_they_are_asked_for(bench: Bench) -> None:
    orchestrator = bench.open()
    await orchestrator.run_pipeline(compile_text(EVERYTHING, tools=bench.tools), execution_id="e")
    each = {"a": {"one": 1, "two": ["x1", "y1"]}, "b": {"one": 2, "two": ["x2", "y2"]}}
    assert await orchestrator.get_result("e", "each") == each
    assert await orchestrator.get_result("e", "each[b].two") == ["x2", "y2"]
    assert await orchestrator.get_result("e", "poll") == 3
    assert await orchestrator.get_result("e", "route") == {"three": 3}
    _, state = await orchestrator.resume_manager.get_resume_state("e")
    assert state.task_results["each"] == each
    assert state.task_results["each[a].two[y]"] == "y1"
    assert not state.pending_tasks
    found = {each["task"] for each in await orchestrator.state_manager.list_checkpoints("e")}
    assert "each[a].two[x]" in found
    assert "each[a].one" not in found  # its own resume.checkpoint says none


async def test_a_caller_reports_steps_in_containers(bench: Bench) -> None:
    orchestrator = bench.open()
    pipeline = bench.pipeline({"id": "each", "tool": "fail", "for_each": ["x", "y"], "parameters": {"times": 1}})
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(pipeline, execution_id="e")
    results = {"each[x]": "by hand", "each[y]": "too"}
    await orchestrator.resume_manager.create_resume_checkpoint("e", pipeline, set(results), results)
    await orchestrator.resume_pipeline("e")
    assert await orchestrator.get_result("e", "each") == ["by hand", "too"]
    assert len(bench.calls) == 2


@pytest.mark.parametrize(
    ("construct", "message"),
    [
        ({"for_each": {"items": "{{ [1, 2] }}", "key": "k"}}, "items 0 and 1 have the same key 'k'"),
        ({"for_each": "{{ 'text' }}"}, "expected a list, a mapping or a whole number of items, got the text"),
        ({"for_each": {"items": [1], "key": "{{ 'k' * 201 }}"}}, "1 to 200 printable characters"),
        ({"for_each": {"items": [1], "key": "{{ [item] }}"}}, "the key of item 0 is a list"),
        ({"until": "last == 0", "max_iterations": 2}, "2 rounds without an end; max_iterations is 2"),
    ],
)
async def test_mistakes_at_run_time(construct: dict[str, Any], message: str, bench: Bench) -> None:
    orchestrator = bench.open()
    pipeline = bench.pipeline({"id": "a", "tool": "echo", "parameters": {"value": 1}, **construct})
    with pytest.raises(ExecutionFailed) as caught:
        await orchestrator.run_pipeline(pipeline, execution_id="e")
    assert message in str(caught.value)


def test_all_constructs_survive_every_way_out_and_back(bench: Bench) -> None:
    pipeline = compile_text(EVERYTHING, tools=bench.tools)
    assert compile_dict(to_dict(pipeline), tools=bench.tools) == pipeline
    assert compile_text(to_yaml(pipeline), tools=bench.tools) == pipeline
    assert unpack(pack(pipeline)) == pipeline
    neat = formatted(EVERYTHING)
    assert compile_text(neat, tools=bench.tools) == pipeline
    assert formatted(neat) == neat


def test_a_task_is_found_as_it_is_written_by_its_name_alone(bench: Bench) -> None:
    tasks = compile_text(EVERYTHING, tools=bench.tools).tasks
    names = {
        "each[a].one": "one",
        "each[a.one].one": "one",
        "each[a].two[x]": "",
        "each[a]].two": "two",
        "poll[7]": "",
        "route.three": "three",
        "block.left": "left",
    }
    for name, written in names.items():
        found = written_as(tasks, name)
        assert found is not None, name
        assert found.id == written
    assert [written_as(tasks, name) for name in ("each[a]", "each.one", "poll", "gone[1]")] == [
        None,
        None,
        tasks["poll"],
        None,
    ]


async def test_counts_follow_what_containers_become(bench: Bench) -> None:
    display = Display()
    orchestrator = bench.open(listeners=[display])
    many = {"items": 40, "on_item_failure": "continue"}
    value = {"value": "{{ 1 // (item - 30) }}"}
    await orchestrator.run_pipeline(
        bench.pipeline({"id": "many", "for_each": many, "tool": "echo", "parameters": value})
    )
    assert (display.done, display.total, display.containers) == (40, 41, {})
