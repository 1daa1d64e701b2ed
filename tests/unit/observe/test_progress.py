from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.events import (
    TAGS,
    CancelRequested,
    CheckpointMade,
    DecisionMade,
    DefinitionChanged,
    DefinitionLoaded,
    ErrorInfo,
    Event,
    ExecutionCreated,
    ExecutionFinished,
    ExecutionForked,
    ExecutionLinked,
    ExecutionStarted,
    ExecutionWaiting,
    ResultSet,
    ResumePlanned,
    SignalReceived,
    StageEntered,
    TaskClaimed,
    TaskCompleted,
    TaskExpanded,
    TaskFailed,
    TaskGathered,
    TaskInterrupted,
    TaskProgressed,
    TaskReused,
    TasksInvalidated,
    TaskSkipped,
    TasksReset,
    TaskTraced,
    TaskWaiting,
    ToolsResolved,
)
from orchestrator.domain.files import FileSeen
from orchestrator.domain.ids import TaskId
from orchestrator.domain.values import ValueRef
from orchestrator.observe.progress import describe, describe_progress

if TYPE_CHECKING:
    from orchestrator.observe.progress import JSON

T = TaskId("t")
SECRET = ValueRef(b"secret", 6, inline=True)
ERROR = ErrorInfo("timeout", "too slow", retryable=True, trace="File ...")
AT = 1_700_000_000.25
ISO = "2023-11-14T22:13:20.250Z"

CASES: list[tuple[Event, dict[str, JSON]]] = [
    (
        ExecutionCreated(AT, "p", None, SECRET, 3, "run"),
        {"event": "execution_created", "pipeline": "p", "tasks": 3, "origin": "run", "inputs_bytes": 6},
    ),
    (
        ExecutionStarted(AT, 1, "host", resumed=False, strategy={}),
        {"event": "execution_started", "epoch": 1, "owner": "host", "strategy": {}},
    ),
    (
        ExecutionStarted(AT, 2, "host", resumed=True, strategy={"max_retry_attempts": 3}),
        {"event": "execution_resumed", "epoch": 2, "owner": "host", "strategy": {"max_retry_attempts": 3}},
    ),
    (TaskClaimed(AT, T, 1, SECRET), {"event": "task_started", "task": "t", "attempt": 1}),
    (TaskCompleted(AT, T, 1, SECRET), {"event": "task_completed", "task": "t", "attempt": 1, "bytes": 6}),
    (
        TaskFailed(AT, T, 1, ERROR, AT, crashed=False, parked=False),
        {
            "event": "task_failed",
            "task": "t",
            "attempt": 1,
            "error": {"kind": "timeout", "message": "too slow", "retryable": True},
            "retry_at": ISO,
            "crashed": False,
            "parked": False,
        },
    ),
    (
        TaskInterrupted(AT, T, 1, "rerun", "killed"),
        {"event": "task_interrupted", "task": "t", "attempt": 1, "outcome": "rerun", "reason": "killed"},
    ),
    (TaskSkipped(AT, T, "false"), {"event": "task_skipped", "task": "t", "reason": "false"}),
    (
        TasksReset(AT, [T], "asked", forgive=True),
        {"event": "tasks_reset", "tasks": ["t"], "reason": "asked", "forgive": True},
    ),
    (
        TaskProgressed(AT, T, 1, 0.5, float("inf"), "half", SECRET),
        {
            "event": "task_progressed",
            "task": "t",
            "attempt": 1,
            "done": 0.5,
            "total": None,
            "message": "half",
            "saved_bytes": 6,
        },
    ),
    (
        CheckpointMade(AT, "manual", None, {"who": "me"}, SECRET),
        {"event": "checkpoint_made", "checkpoint": "e1@7", "reason": "manual", "task": None},
    ),
    (CancelRequested(AT, "me"), {"event": "cancel_requested", "by": "me"}),
    (
        ExecutionFinished(AT, "completed", SECRET, None),
        {"event": "execution_finished", "status": "completed", "error": None, "outputs_bytes": 6},
    ),
    (
        ToolsResolved(AT, [("python", "m:f", "1", {"m:f": "ab"})]),
        {
            "event": "tools_resolved",
            "calls": [{"tool": "python", "action": "m:f", "version": "1", "code": {"m:f": "ab"}}],
        },
    ),
    (
        TaskTraced(AT, T, 1, [FileSeen("in.csv", 3, 7, "d")], [FileSeen("out.csv", -1, 0, "")], inputs=True),
        {
            "event": "task_traced",
            "task": "t",
            "attempt": 1,
            "reads": ["in.csv"],
            "writes": ["out.csv"],
            "inputs": True,
        },
    ),
    (TaskReused(AT, T, SECRET, None, "e0@3"), {"event": "task_reused", "task": "t", "source": "e0@3", "bytes": 6}),
    (TasksInvalidated(AT, [T], "why"), {"event": "tasks_invalidated", "tasks": ["t"], "reason": "why"}),
    (
        ResultSet(AT, T, SECRET, "me", "typo"),
        {"event": "result_set", "task": "t", "by": "me", "reason": "typo", "bytes": 6},
    ),
    (
        DefinitionChanged(AT, SECRET, SECRET, 3, {"new": "old"}, "p.yaml", "me"),
        {"event": "definition_changed", "total": 3, "renamed": {"new": "old"}, "source": "p.yaml", "by": "me"},
    ),
    (
        ResumePlanned(AT, "ab12", "me", "why", {"rerun": ["t"]}, [T]),
        {
            "event": "resume_planned",
            "plan": "ab12",
            "by": "me",
            "reason": "why",
            "request": {"rerun": ["t"]},
            "until": ["t"],
        },
    ),
    (
        DefinitionLoaded(AT, "p.yaml", "ab"),
        {"event": "definition_loaded", "source": "p.yaml", "sha256": "ab"},
    ),
    (
        ExecutionForked(AT, "e0@3", ["day"], "me", "why"),
        {"event": "execution_forked", "source": "e0@3", "inputs": ["day"], "by": "me", "reason": "why"},
    ),
    (
        DecisionMade(AT, "loop", "until", 2, "true", {"last.done": "true"}),
        {
            "event": "decision_made",
            "task": "loop",
            "kind": "until",
            "round": 2,
            "value": "true",
            "reads": {"last.done": "true"},
        },
    ),
    (
        TaskExpanded(AT, "each", ["a", "b"], None, False, "", 5),
        {"event": "task_expanded", "task": "each", "keys": ["a", "b"], "branch": "", "tasks": 5},
    ),
    (TaskGathered(AT, "each", ["b"]), {"event": "task_gathered", "task": "each", "lost": ["b"]}),
    (ExecutionWaiting(AT, AT), {"event": "execution_waiting", "due": ISO}),
    (
        SignalReceived(AT, "sig_1", "paid", SECRET, "Ann", AT),
        {"event": "signal_received", "id": "sig_1", "name": "paid", "by": "Ann", "sent_at": ISO, "bytes": 6},
    ),
    (
        TaskWaiting(AT, T, 1, "time", "", AT, "for a time", SECRET),
        {
            "event": "task_waiting",
            "task": "t",
            "attempt": 1,
            "kind": "time",
            "name": "",
            "until": ISO,
            "text": "for a time",
        },
    ),
    (
        ExecutionLinked(AT, "e0", "t", 1),
        {"event": "execution_linked", "parent": "e0", "task": "t", "depth": 1},
    ),
    (
        SignalReceived(AT, "s1", "go", SECRET, "me", AT),
        {"event": "signal_received", "id": "s1", "name": "go", "by": "me", "sent_at": ISO, "bytes": 6},
    ),
    (
        TaskWaiting(AT, "w", 1, "signal", "go", None, "for the signal 'go'", SECRET),
        {
            "event": "task_waiting",
            "task": "w",
            "attempt": 1,
            "kind": "signal",
            "name": "go",
            "until": None,
            "text": "for the signal 'go'",
        },
    ),
    (
        StageEntered(AT, "finally", "completed", ["clean"], None),
        {"event": "stage_entered", "stage": "finally", "outcome": "completed", "tasks": ["clean"], "error": None},
    ),
]


@pytest.mark.parametrize(("event", "expected"), CASES)
def test_every_event_is_described_without_its_values(event: Event, expected: dict[str, JSON]) -> None:
    described = describe(event, "e1", 7)
    assert described == {"execution_id": "e1", "seq": 7, "at": ISO, **expected}
    text = json.dumps(described, allow_nan=False)
    assert "secret" not in text
    assert "File" not in text


def test_no_event_is_forgotten() -> None:
    assert {type(event) for event, _ in CASES} == set(TAGS)


def test_progress_that_is_no_fact_yet() -> None:
    assert describe_progress("e1", "t", 1, float("nan"), "half") == {
        "event": "progress",
        "execution_id": "e1",
        "task": "t",
        "done": 1,
        "total": None,
        "message": "half",
    }
