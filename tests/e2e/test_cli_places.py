"""A pipeline in Python, wherever the command line takes a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli import main

FLOW = """
import orchestrator as orc

@orc.task
def rows(n: int) -> list[int]:
    return list(range(n))

@orc.task(retry=2)
def total(rows: list[int]) -> int:
    return sum(rows)

@orc.pipeline
def counting(n: int = 3) -> int:
    return total(rows(n))

def helper():
    pass
"""


def test_every_command_that_takes_a_file_takes_a_name_in_python(capfd: pytest.CaptureFixture[str]) -> None:
    flow = Path("places_cli.py")
    flow.write_text(FLOW)

    def typed(*words: str) -> str:
        code = main(words)
        captured = capfd.readouterr()
        assert code == 0, captured.err
        return captured.out

    assert "places_cli:counting: OK, pipeline counting, 2 steps, 1 input, 1 output" in typed(
        "validate", "places_cli:counting", "places_cli.py:counting"
    )
    assert "places_cli:total" in typed("graph", "places_cli.py:counting")
    done = typed("run", "places_cli.py:counting", "-i", "n=4", "--execution-id", "one", "--json")
    assert json.loads(done.splitlines()[-1])["outputs"] == {"result": 6}
    assert "reused 2" in typed("plan", "one", "--pipeline", "places_cli:counting")
    assert "reused 2" in typed("fork", "one", "--pipeline", "places_cli.py:counting", "--dry-run")
    assert typed("submit", "places_cli:counting", "--execution-id", "two").strip() == "two"

    flow.write_text(FLOW.replace("retry=2", "retry=3"))  # how a step runs is no part of what it computes
    assert "reused 2" in typed("plan", "one", "--pipeline", "places_cli.py:counting")
    flow.write_text(FLOW.replace("sum(rows)", "2 * sum(rows)"))
    plan = json.loads(typed("plan", "one", "--pipeline", "places_cli.py:counting", "--json"))
    assert [step["verb"] for step in plan["decisions"]] == ["reuse", "rerun"]
    assert json.loads(typed("show", "one", "--json").splitlines()[0])["execution_id"] == "one"


def test_what_is_wrong_with_such_a_name_is_told_with_all_other_mistakes(capfd: pytest.CaptureFixture[str]) -> None:
    Path("places_wrong.py").write_text(FLOW.replace("total(rows(n))", "total(7) + 1"))
    Path("wrong.yaml").write_text("steps: [{id: a, tool: nothing}]")
    places = ["places_wrong.py:counting", "places_wrong:helper", "places_wrong.py", "wrong.yaml"]
    assert main(["validate", *places]) == 2
    told = capfd.readouterr().err
    assert "places_wrong.py:14: {{ total.result }} is not there yet, so there is no sum" in told
    assert "places_wrong:helper  this is a function, not a pipeline" in told
    assert "name the pipeline in it: places_wrong.py:NAME" in told
    assert "no tool named 'nothing'" in told
    assert "4 mistakes" in told
