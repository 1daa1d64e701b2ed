"""What may be asked of a plan, and what is said of everything else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.pipeline import OnChange
from orchestrator.domain.plan import PlanRequest
from orchestrator.domain.values import EncodedValue
from orchestrator.errors import NoCheckpoint, PipelineChanged, ResumeError
from tests.unit.domain.graphs import begun, claimed, completed, failed, pipeline, planned, value

GRAPH = pipeline({"load": [], "clean": ["load"], "report": ["clean"]})
GIVEN = EncodedValue(value("given"), b"given")

WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a step that is none": ({"rerun": frozenset({"laod"})}, ResumeError, "no step named 'laod'.*did you mean 'load'"),
    "a result for none": ({"results": {"nope": GIVEN}}, ResumeError, "no step named 'nope' in this pipeline$"),
    "until none": ({"until": "repotr"}, ResumeError, "no step named 'repotr'.*did you mean 'report'"),
    "a done step to retry": ({"retry": frozenset({"load"})}, ResumeError, "completed.*to run it again: --rerun load"),
    "a done step to skip": ({"skip": frozenset({"load"})}, ResumeError, "completed.*nothing to retry or to skip"),
    "two things at once": (
        {"skip": frozenset({"report"}), "results": {"report": GIVEN}},
        ResumeError,
        "'report' cannot be both skipped and given a result",
    ),
    "a position after the end": ({"from_seq": 99}, NoCheckpoint, "no position 99: the journal has"),
    "a position before the beginning": ({"from_seq": 0}, NoCheckpoint, "no position 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused(name: str) -> None:
    asked, kind, message = WRONG[name]
    state, _ = begun(GRAPH)
    state.apply_all([claimed("load"), completed("load"), claimed("clean"), failed("clean")])
    with pytest.raises(kind, match=message):
        planned(GRAPH, state, GRAPH.resume, PlanRequest(**asked), 5.0)


def test_a_plan_that_must_not_change_anything_says_what_it_would() -> None:
    graph = pipeline({"load": [], "clean": ["load"]}, on_change=OnChange.FAIL)
    graph = replace(graph, tasks={name: replace(task, reads=task.needs) for name, task in graph.tasks.items()})
    state, _ = begun(graph)
    state.apply_all([claimed("load"), completed("load"), claimed("clean"), completed("clean")])
    with pytest.raises(PipelineChanged, match="clean: reads load"):
        planned(graph, state, graph.resume, PlanRequest(rerun=frozenset({"load"})), 5.0)


def test_only_what_was_asked_for_is_told() -> None:
    assert PlanRequest().told() == {}
    asked = PlanRequest(rerun=frozenset({"b", "a"}), until="c", on_change=OnChange.KEEP)
    assert asked.told() == {"rerun": ["a", "b"], "until": "c", "on_change": "keep"}
