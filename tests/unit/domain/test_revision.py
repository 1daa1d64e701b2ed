"""What an edit of a definition changed."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from typing import Any

import pytest

from orchestrator.domain.changes import MISSING
from orchestrator.domain.control import Block, ForEach, Loop
from orchestrator.domain.pipeline import (
    CachePolicy,
    CheckpointWhen,
    DeclaredFiles,
    Input,
    Isolation,
    OnChange,
    OnInterrupted,
    Pipeline,
    RetryPolicy,
    Task,
)
from orchestrator.domain.revision import called_alike, changed_parts, former, pipeline_changes
from orchestrator.domain.schedule import Schedule
from orchestrator.domain.stage import Stage
from orchestrator.domain.strategy import ResumeStrategy

STEP = Task("a", "t", parameters={"x": 1, "deep": {"rows": [1, 2]}}, dependencies=("z",))
EDITS: list[tuple[dict[str, Any], bool, list[str]]] = [
    ({"tool": "u"}, False, ["tool: 't' → 'u'"]),
    ({"action": "run"}, False, ["action: (none) → 'run'"]),
    ({"parameters": {"deep": {"rows": [1, 2]}, "x": 1}}, True, []),
    ({"parameters": {"x": 1.0, "deep": {"rows": [1, 2]}}}, False, ["parameters.x: 1 → 1.0"]),
    ({"parameters": {"x": 1, "deep": {"rows": [1, 3]}}}, False, ["parameters.deep.rows[1]: 2 → 3"]),
    ({"parameters": {"deep": {"rows": [1, 2]}}}, False, ["parameters.x: 1 → (none)"]),
    ({"condition": "true"}, False, ["condition: (none) → 'true'"]),
    ({"files": DeclaredFiles(reads=("m",))}, False, ["files.reads (length): 0 → 1", "files.reads[0]: (none) → 'm'"]),
    ({"files": DeclaredFiles(writes=("m",))}, True, ["files.writes (length): 0 → 1", "files.writes[0]: (none) → 'm'"]),
    ({"dependencies": ("y",)}, True, ["dependencies[0]: 'z' → 'y'"]),
    ({"name": "A"}, True, ["name: (none) → 'A'"]),
    ({"description": "A"}, True, ["description: (none) → 'A'"]),
    ({"timeout": 5.0}, True, ["timeout: (none) → 5.0"]),
    ({"retry": RetryPolicy(3, delay_seconds=2.0)}, True, ["retry.max_attempts: 1 → 3", "retry.delay: 1.0 → 2.0"]),
    ({"critical": True}, True, ["resume.critical: false → true"]),
    ({"checkpoint": CheckpointWhen.BOTH}, True, ["resume.checkpoint: 'after' → 'both'"]),
    ({"on_interrupted": OnInterrupted.ASK}, True, ["on_interrupted: 'rerun' → 'ask'"]),
    ({"isolation": Isolation.PROCESS}, True, ["isolation: 'none' → 'process'"]),
    ({"output_schema": {"type": "object"}}, True, ["output_schema: (none) → {type: 'object'}"]),
    ({"on_change": OnChange.KEEP}, True, ["on_change: (none) → 'keep'"]),
    ({"migrate": "m:f"}, True, ["migrate: (none) → 'm:f'"]),
    ({"renamed_from": "b"}, True, ["renamed_from: (none) → 'b'"]),
    ({"idle_timeout": 5.0}, True, ["idle_timeout: (none) → 5.0"]),
    ({"limits": ("api",)}, True, ["limits: (none) → ('api')"]),
    ({"cache": CachePolicy(60.0)}, True, ["cache: (none) → {ttl: 60.0, scope: 'pipeline'}"]),
    ({"control": Block()}, False, []),
    ({"control": Loop(until="last.done")}, False, ["until: (none) → 'last.done'", "max_iterations: (none) → 1000"]),
    ({"control": ForEach([1])}, False, ["for_each: (none) → {items: [1], tolerate: 0}"]),
    ({"body": (Task("b", "t", timeout=5.0),)}, True, ["steps: (none) → {b: {tool: 't', timeout: 5.0}}"]),
    ({"undo": (Task("", "t", timeout=5.0),)}, True, ["undo: (none) → {step: {tool: 't', timeout: 5.0}}"]),
    ({"id": "b"}, True, []),
    ({"stage": Stage.UNDO, "undoes": "c"}, True, []),
    ({"uses": ("item",), "within": "c", "key": "k", "index": 1, "local": {"x": "c.x"}}, True, []),
    ({"needs": ("z", "y"), "reads": ("y",)}, True, []),
]


@pytest.mark.parametrize(("edit", "alike", "parts"), EDITS, ids=lambda value: str(value)[:40])
def test_an_edit_of_a_step_is_named_and_weighed(edit: dict[str, Any], alike: bool, parts: list[str]) -> None:
    edited = replace(STEP, **edit)
    assert called_alike(STEP, edited) is called_alike(edited, STEP) is alike
    assert [str(part) for part in changed_parts(STEP, edited)] == parts


def test_every_field_of_a_step_is_among_the_edits() -> None:
    assert {name for edit, _, _ in EDITS for name in edit} == {field.name for field in fields(Task)}


def pipeline(*tasks: Task, **parts: Any) -> Pipeline:
    return Pipeline("p", {task.id: task for task in tasks}, **parts)


def test_an_edit_of_a_pipeline() -> None:
    old = pipeline(
        Task("a", "t"),
        Task("b", "t"),
        Task("c", "t"),
        inputs={"n": Input("n", "integer", default=1)},
        schedule=Schedule("@daily"),
    )
    new = pipeline(
        Task("d", "t", timeout=5, renamed_from="c"),
        Task("a", "t"),
        Task("e", "t"),
        name="P",
        inputs={"n": Input("n", "integer", default=2), "m": Input("m", required=True)},
        outputs={"o": "{{ a.result }}"},
        resume=ResumeStrategy(max_retry_attempts=5),
        resume_enabled=False,
        schedule=Schedule("@hourly", input="n"),
    )
    found = pipeline_changes(old, new)
    assert (found.added, found.removed, found.renamed) == (("e",), ("b",), {"d": "c"})
    assert {step: [part.path for part in parts] for step, parts in found.changed.items()} == {
        "d": ["timeout", "renamed_from"]
    }
    assert [str(part) for part in found.settings] == [
        "inputs.n.default: 1 → 2",
        "inputs.m: (none) → {type: 'any', required: true}",
        "resume.enabled: true → false",
        "resume.max_retries: 3 → 5",
        "outputs.o: (none) → '{{ a.result }}'",
        "schedule.cron: '@daily' → '@hourly'",
        "schedule.input: (none) → 'n'",
        "name: (none) → 'P'",
    ]
    assert found
    assert not pipeline_changes(old, old)
    assert not pipeline_changes(
        old, pipeline(*reversed(list(old.tasks.values())), inputs=old.inputs, schedule=old.schedule)
    )


def test_a_step_is_found_under_the_name_it_had() -> None:
    old = pipeline(Task("a", "t"), Task("b", "t"))
    assert former(Task("a", "t"), old) == "a"
    assert former(Task("c", "t", renamed_from="a"), old) == "a"
    assert former(Task("b", "t", renamed_from="a"), old) == "a"
    assert former(Task("b", "t", renamed_from="gone"), old) == "b"
    assert former(Task("c", "t", renamed_from="gone"), old) is None
    assert changed_parts(Task("a", "t"), Task("a", "t", condition="x"))[0].old is MISSING


@pytest.mark.slow
def test_equal_pipelines_are_told_quickly() -> None:
    def made() -> Pipeline:
        return pipeline(*(Task(f"t{n}", "t", parameters={"n": n, "of": ["x", 1.5]}) for n in range(30_000)))

    old, new = made(), made()
    start = time.process_time()
    assert not pipeline_changes(old, new)
    assert all(called_alike(task, new.tasks[name]) for name, task in old.tasks.items())
    assert time.process_time() - start < 3
