"""What the commands show of containers: in their order, long ones folded, members by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli import main

PIPELINE = """
id: many
steps:
  - id: items
    for_each: {items: 14, max_parallel: 7}
    tool: shell
    parameters: {command: "test {{ item }} != 12", shell: true}
  - id: after
    tool: shell
    parameters: {command: [echo, "{{ items.result | length }}"]}
"""


def run(capfd: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    ended = main(words)
    out, err = capfd.readouterr()
    assert ended == code, (out, err)
    return out if code == 0 else err


def test_members_are_shown_counted_folded_and_named(capfd: pytest.CaptureFixture[str]) -> None:
    Path("many.yaml").write_text(PIPELINE)
    assert "1 of 14 items failed: 12" in run(capfd, "run", "many.yaml", "--execution-id", "e", code=1)

    shown = run(capfd, "show", "e").splitlines()
    steps = [line.split()[0] for line in shown if line.startswith(("items", "after"))]
    assert steps == ["items", *(f"items[{n}]" for n in (*range(9), 12)), "items[…]:", "after"]
    assert "13 of 14 items done, 1 failed: 12" in next(line for line in shown if line.startswith("items "))
    assert "4 more items" in "".join(shown)
    assert "4 completed (--all shows them)" in "".join(shown)
    assert "items[9]" in run(capfd, "show", "e", "--all")
    assert "behind items" in shown[-3]

    plan = run(capfd, "plan", "e")
    assert "4 reuse (`orchestrator plan --all` lists them)" in plan
    assert "items[9]" in run(capfd, "plan", "e", "--all")

    assert "✗  items  for_each shell  13 completed, 1 failed" in run(capfd, "graph", "e")
    assert run(capfd, "list").split("\n")[1].split()[3] == "13/16"
    found = json.loads(run(capfd, "show", "e", "items", "--json"))
    assert found["inside"] == {"kind": "item", "total": 14, "done": 13, "failed": ["12"], "branch": ""}
    assert found["changes"][0]["what"] == "for_each: 14 items"
    assert json.loads(run(capfd, "show", "e", "items[3]", "--json"))["within"] == "items"
    assert json.loads(run(capfd, "show", "e", "items[3]", "--result", "--json"))["exit_code"] == 0
    assert "no step named 'items[99]'" in run(capfd, "show", "e", "items[99]", "--result", code=2)
    assert "it is failed" in run(capfd, "show", "e", "items", "--result", code=2)
    assert "name the step" in run(capfd, "show", "e", "--result", code=2)
    assert run(capfd, "explain", "e", "items[12]").startswith("items[12]: rerun, failed 1x")
    assert "items[9]" not in run(capfd, "diff", "e", "e")


def test_nested_steps_are_drawn_in_boxes(capfd: pytest.CaptureFixture[str]) -> None:
    Path("nested.yaml").write_text(
        "id: nested\nsteps: [{id: a, for_each: 2, steps: [{id: b, tool: shell, parameters: {command: [date]}}]}]\n"
    )
    assert run(capfd, "graph", "nested.yaml") == "●  a  for_each\n     ●  b  shell\n"
    boxes = run(capfd, "graph", "nested.yaml", "--format", "mermaid")
    assert boxes == ('flowchart TD\n    subgraph n0["a  for_each"]\n        n0_0["b  shell"]\n    end\n')


def test_items_that_a_container_is_done_without_are_left_out_until_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    Path("many.yaml").write_text(
        PIPELINE.replace("max_parallel: 7", "on_item_failure: continue").replace("!= 12", "-gt 1")
    )
    run(capfd, "run", "many.yaml", "--execution-id", "e")
    plan = run(capfd, "plan", "e")
    assert "items is done without items[0] (try it again: --rerun 'items[0]')" in plan
    assert plan.endswith("there is nothing to run\n")

    again = run(capfd, "resume", "e", "--rerun", "items[0]")
    assert "items[0]: started (attempt 2)" in again
    assert "items[1]: started" not in again
    assert "items: completed without 2 items that failed" in again  # how long it took is told by `show`
