"""What happens in an execution, as objects for people and machines: the CLI's ``--json`` and the web share them.

What a ``core.recorder.Listener`` hears becomes JSON here. Every object has ``event`` (its name), ``execution_id``,
``seq`` (its number in the journal) and ``at`` (ISO 8601, UTC, milliseconds). Names and fields are stable; new fields
may come. No values are inside, only their sizes in bytes of the encoded, uncompressed value. An ``error`` is null or
``{kind, message, retryable}``. By event:

``execution_created``
    ``pipeline``, ``tasks`` (how many), ``origin`` (``run`` or ``manual``), ``inputs_bytes``
``execution_started``, ``execution_resumed``
    ``epoch``, ``owner``, ``strategy`` (the resume strategy's fields)
``task_started``
    ``task``, ``attempt``
``task_completed``
    ``task``, ``attempt``, ``bytes``
``task_failed``
    ``task``, ``attempt``, ``error``, ``retry_at`` (null: not again in this run), ``crashed``, ``parked``
``task_interrupted``
    ``task``, ``attempt``, ``outcome`` (``rerun``, ``fail`` or ``ask``), ``reason``
``task_skipped``
    ``task``, ``reason``
``decision_made``
    ``task``, ``kind`` (``condition``, ``for_each``, ``while``, ``until`` or ``switch``), ``round`` (of a loop, else 0),
    ``value`` and ``reads`` (what it yielded and what it read, in a few words); also what became of a signal (``kind``
    is ``signal`` or ``send_back``)
``task_waiting``
    ``task``, ``attempt``, ``kind`` (``time``, ``signal`` or ``approval``), ``name`` (of the signal), ``until`` (null:
    without an end), ``text`` (what is waited for)
``signal_received``
    ``id``, ``name``, ``by``, ``sent_at``, ``bytes`` (of the payload)
``task_expanded``
    ``task`` (the step that others are in), ``keys`` (of the items, or the round), ``branch``, ``tasks`` (how many the
    execution has from here on)
``task_gathered``
    ``task``, ``lost`` (keys of items that failed and may)
``tasks_reset``
    ``tasks``, ``reason``, ``forgive``
``task_reused``
    ``task``, ``source`` (``EXECUTION@SEQ`` of the fact that recorded the result), ``bytes``
``tasks_invalidated``
    ``tasks``, ``reason``
``task_traced``
    ``task``, ``attempt``, ``reads`` and ``writes`` (paths), ``inputs`` (whether it looked at them by itself)
``result_set``
    ``task``, ``by``, ``reason``, ``bytes``
``resume_planned``
    ``plan`` (the digest of the plan), ``by``, ``reason``, ``request`` (what was asked for), ``until`` (tasks, or null)
``definition_changed``
    ``total`` (tasks), ``renamed`` (new id -> old id), ``source`` (a file, or empty), ``by``
``definition_loaded``
    ``source``, ``sha256`` (of the file)
``tools_resolved``
    ``calls`` (each ``tool``, ``action``, ``version``, ``code``)
``execution_forked``
    ``source`` (``EXECUTION@SEQ``), ``inputs`` (the names of those that differ), ``by``, ``reason``
``execution_linked``
    ``parent`` (the execution whose step started it), ``task``, ``depth``
``task_progressed``
    ``task``, ``attempt``, ``done``, ``total``, ``message``, ``saved_bytes`` (null: no state saved)
``checkpoint_made``
    ``checkpoint`` (``EXECUTION@SEQ``), ``reason``, ``task`` (or null)
``cancel_requested``
    ``by``
``execution_finished``
    ``status`` (``completed``, ``failed``, ``cancelled`` or ``stopped``), ``error``, ``outputs_bytes`` (or null)
``execution_waiting``
    ``due`` (when it goes on by itself, or null)

How far a running step says it is, is shown before it is a fact. Such an object has no ``seq`` and no ``at``:

``progress``
    ``task``, ``done``, ``total``, ``message``
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeAlias, assert_never

from orchestrator.domain.events import (
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
from orchestrator.domain.ids import checkpoint_id

if TYPE_CHECKING:
    from orchestrator.domain.values import ValueRef

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"


def describe(event: Event, execution_id: str, seq: int) -> dict[str, JSON]:
    """Return a fact as an object that ``json.dumps`` takes; the fields are those of this module's docstring."""
    name, fields = _fields(event, execution_id, seq)
    return {"event": name, "execution_id": execution_id, "seq": seq, "at": _time(event.at), **fields}


def describe_progress(
    execution_id: str, task: str, done: float | None, total: float | None, message: str
) -> dict[str, JSON]:
    """Return what a running step just said as an object of the event ``progress``."""
    return {
        "event": "progress",
        "execution_id": execution_id,
        "task": task,
        "done": _finite(done),
        "total": _finite(total),
        "message": message,
    }


def _fields(event: Event, execution_id: str, seq: int) -> tuple[str, dict[str, JSON]]:  # noqa: C901, PLR0912 - one case for each event
    match event:
        case ExecutionCreated():
            return "execution_created", {
                "pipeline": event.pipeline_id,
                "tasks": event.total,
                "origin": event.origin,
                "inputs_bytes": _size(event.inputs),
            }
        case ExecutionStarted():
            name = "execution_resumed" if event.resumed else "execution_started"
            return name, {"epoch": event.epoch, "owner": event.owner, "strategy": event.strategy}
        case TaskClaimed():
            return "task_started", {"task": event.task, "attempt": event.attempt}
        case TaskCompleted():
            return "task_completed", {"task": event.task, "attempt": event.attempt, "bytes": _size(event.value)}
        case TaskFailed():
            return "task_failed", {
                "task": event.task,
                "attempt": event.attempt,
                "error": _error(event.error),
                "retry_at": None if event.retry_at is None else _time(event.retry_at),
                "crashed": event.crashed,
                "parked": event.parked,
            }
        case TaskInterrupted():
            return "task_interrupted", {
                "task": event.task,
                "attempt": event.attempt,
                "outcome": event.outcome,
                "reason": event.reason,
            }
        case TaskSkipped():
            return "task_skipped", {"task": event.task, "reason": event.reason}
        case TasksReset():
            return "tasks_reset", {"tasks": list(event.tasks), "reason": event.reason, "forgive": event.forgive}
        case TaskProgressed():
            return "task_progressed", {
                "task": event.task,
                "attempt": event.attempt,
                "done": _finite(event.done),
                "total": _finite(event.total),
                "message": event.message,
                "saved_bytes": _size(event.saved),
            }
        case CheckpointMade():
            return "checkpoint_made", {
                "checkpoint": checkpoint_id(execution_id, seq),
                "reason": event.reason,
                "task": event.task,
            }
        case CancelRequested():
            return "cancel_requested", {"by": event.by}
        case ExecutionFinished():
            return "execution_finished", {
                "status": event.status,
                "error": _error(event.error),
                "outputs_bytes": _size(event.outputs),
            }
        case ExecutionWaiting():
            return "execution_waiting", {"due": None if event.due is None else _time(event.due)}
        case TaskReused():
            return "task_reused", {"task": event.task, "source": event.source, "bytes": _size(event.value)}
        case ResultSet():
            return "result_set", {
                "task": event.task,
                "by": event.by,
                "reason": event.reason,
                "bytes": _size(event.value),
            }
        case TasksInvalidated():
            return "tasks_invalidated", {"tasks": list(event.tasks), "reason": event.reason}
        case TaskTraced():
            return "task_traced", {
                "task": event.task,
                "attempt": event.attempt,
                "reads": [file.path for file in event.reads],
                "writes": [file.path for file in event.writes],
                "inputs": event.inputs,
            }
        case DecisionMade() | TaskExpanded() | TaskGathered():
            return _of_a_container(event)
        case TaskWaiting() | SignalReceived():
            return _of_a_wait(event)
        case _:
            return _of_the_execution(event)


def _of_a_wait(event: TaskWaiting | SignalReceived) -> tuple[str, dict[str, JSON]]:
    """Name and tell what is waited for, or what came."""
    match event:
        case TaskWaiting():
            return "task_waiting", {
                "task": event.task,
                "attempt": event.attempt,
                "kind": event.kind,
                "name": event.name,
                "until": None if event.until is None else _time(event.until),
                "text": event.text,
            }
        case SignalReceived():
            return "signal_received", {
                "id": event.id,
                "name": event.name,
                "by": event.by,
                "sent_at": _time(event.sent_at),
                "bytes": _size(event.payload),
            }
        case _:
            assert_never(event)


def _of_a_container(event: DecisionMade | TaskExpanded | TaskGathered) -> tuple[str, dict[str, JSON]]:
    """Name and tell what was decided for a step, or what it is made of."""
    match event:
        case DecisionMade():
            return "decision_made", {
                "task": event.task,
                "kind": event.kind,
                "round": event.round,
                "value": event.value,
                "reads": dict(event.reads),
            }
        case TaskExpanded():
            return "task_expanded", {
                "task": event.task,
                "keys": list(event.keys),
                "branch": event.branch,
                "tasks": event.total,
            }
        case TaskGathered():
            return "task_gathered", {"task": event.task, "lost": list(event.lost)}
        case _:
            assert_never(event)


def _of_the_execution(
    event: StageEntered
    | ToolsResolved
    | DefinitionChanged
    | ResumePlanned
    | DefinitionLoaded
    | ExecutionForked
    | ExecutionLinked,
) -> tuple[str, dict[str, JSON]]:
    """Name and tell a fact that is about no single task."""
    match event:
        case StageEntered():
            return "stage_entered", {
                "stage": event.stage,
                "outcome": event.outcome,
                "tasks": list(event.tasks),
                "error": _error(event.error),
            }
        case ToolsResolved():
            calls: list[JSON] = [
                {"tool": tool, "action": action, "version": version, "code": dict(code)}
                for tool, action, version, code in event.calls
            ]
            return "tools_resolved", {"calls": calls}
        case DefinitionChanged():
            return "definition_changed", {
                "total": event.total,
                "renamed": dict(event.renamed),
                "source": event.source,
                "by": event.by,
            }
        case ResumePlanned():
            return "resume_planned", {
                "plan": event.digest,
                "by": event.by,
                "reason": event.reason,
                "request": event.request,
                "until": None if event.until is None else list(event.until),
            }
        case DefinitionLoaded():
            return "definition_loaded", {"source": event.source, "sha256": event.digest}
        case ExecutionLinked():
            return "execution_linked", {"parent": event.parent, "task": event.task, "depth": event.depth}
        case ExecutionForked():
            return "execution_forked", {
                "source": event.source,
                "inputs": list(event.inputs),
                "by": event.by,
                "reason": event.reason,
            }
        case _:
            assert_never(event)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _size(value: ValueRef | None) -> int | None:
    return None if value is None else value.size


def _error(error: ErrorInfo | None) -> JSON:
    return error and {"kind": error.kind, "message": error.message, "retryable": error.retryable}


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
