"""How an execution ended, told to whoever started or resumed it: a result, or an error with what to do next."""

from __future__ import annotations

import shlex
import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.domain.execution import DONE, ExecutionState, ExecutionStatus, TaskStatus
from orchestrator.domain.planner import exhaustion
from orchestrator.domain.retry import is_exhausted
from orchestrator.domain.strategy import ResumeStrategy
from orchestrator.domain.waits import APPROVAL, SIGNAL
from orchestrator.errors import ExecutionCancelled, ExecutionError, ExecutionFailed, ExecutionStopped, ExecutionWaiting

if TYPE_CHECKING:
    from orchestrator.ports.codec import Codec
    from orchestrator.ports.store import Values


@dataclass(frozen=True, slots=True)
class Result:
    """How an execution ended: its id, its outputs by name (empty where the pipeline declares none).

    ``statuses`` maps task id to ``completed`` or ``skipped``. Results of single steps are read on demand:
    ``await Orchestrator().get_result(execution_id, step)``.

    >>> Result("exec_1", "completed", {"rows": 3}, {"count": "completed"}).outputs["rows"]
    3
    """

    execution_id: str
    status: str
    outputs: dict[str, Any]
    statuses: dict[str, str]


async def result_of(name: str, state: ExecutionState, values: Values, codec: Codec) -> Result:
    """Return the result of a completed execution."""
    outputs = {} if state.outputs is None else codec.decode(await values.get(state.outputs))
    statuses = {str(task): known.status.value for task, known in state.tasks.items()}
    return Result(name, state.status.value, outputs, statuses)


def error_of(name: str, state: ExecutionState, command: str, stopped_by: int | None) -> ExecutionError:
    """Return the error that tells how an execution ended short of completion; ``command`` resumes it."""
    if state.pipeline is not None and not state.pipeline.resume_enabled:
        command = ""
    if state.status is ExecutionStatus.CANCELLED:
        by = state.cancel_requested
        return ExecutionCancelled(
            f"execution {name} was cancelled by {by}; {_to_go_on('to go on after all', command)}", name
        )
    if state.status is ExecutionStatus.STOPPED:
        number = stopped_by or int(signal.SIGTERM)
        return ExecutionStopped(f"execution {name} was stopped; {_to_go_on('go on with', command)}", name, number)
    if state.status is ExecutionStatus.WAITING:
        return _waiting(name, state, command)
    return _failure(name, state, command)


def _waiting(name: str, state: ExecutionState, command: str) -> ExecutionWaiting:
    waits = {str(task): waiting.text for task, waiting in state.waits.tasks.items()}
    store = command.partition(f" {name}")[2] if command else ""
    lines = [f"execution {name} is waiting:"]
    for task, waiting in state.waits.tasks.items():
        how = answer_command(name, task, waiting.kind, waiting.name)
        until = "" if waiting.until is None else f" until {_moment(waiting.until)}"
        lines.append(f"  {task}: {waiting.text}{until}" + (f"; answer with: {how}{store}" if how else ""))
    lines.append(_to_go_on("then go on with", command))
    due = state.waits.due()
    return ExecutionWaiting("\n".join(lines), name, waits, None if due is None else due[0])


def answer_command(execution_id: str, task: str, kind: str, name: str) -> str:
    """Return the command that answers a wait; empty for one that only time ends."""
    if kind == APPROVAL:
        return shlex.join(["orchestrator", "approve", execution_id, task])
    return shlex.join(["orchestrator", "signal", execution_id, name]) if kind == SIGNAL else ""


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _to_go_on(words: str, command: str) -> str:
    return f"{words}: {command}" if command else "it cannot be resumed: its pipeline says resume.enabled: false"


def _failure(name: str, state: ExecutionState, command: str) -> ExecutionFailed:
    failures = {
        str(task): known.error.message if known.error else known.status.value
        for task, known in state.tasks.items()
        if (known.within is None or state.tasks[known.within].status not in DONE)
        and known.status in (TaskStatus.FAILED, TaskStatus.PARKED, TaskStatus.IN_DOUBT)
    }
    strategy = ResumeStrategy(**state.strategy)
    parked: list[str] = []
    lines = []
    for task, text in failures.items():
        known = state.tasks[task]
        lines.append(f"step {task!r} {known.status.value.replace('_', ' ')} (attempt {known.attempt}): {text}")
        node = state.graph[task] if state.pipeline is not None else None
        # Under a lower maximum than it failed under, a failed task is parked from now on.
        if node is not None and not known.ending and is_exhausted(node, known.failures, known.crashes, strategy):
            parked.append(task)
            why = exhaustion(node, known, strategy)
            lines.append(f"  parked: {why}; release it with --retry {task}, --skip {task} or a higher maximum")
        if known.status is TaskStatus.IN_DOUBT:
            lines.append(f"  it may have had its effect; decide with --retry {task} or --skip {task}")
    if state.error is not None and (not failures or state.error.kind == "timeout"):
        lines.append(state.error.message)
    blocked = len(state.blocked())
    if blocked:
        lines.append(f"{blocked} step{'s' if blocked > 1 else ''} blocked behind")
    lines.append(_to_go_on("resume with", command))
    return ExecutionFailed("\n".join(lines), name, failures, parked, command)
