"""Pipelines, facts and a journal for the tests of the domain; no store, no clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.domain.decide import Claim, Finish, decide
from orchestrator.domain.events import (
    ErrorInfo,
    Event,
    ExecutionCreated,
    ExecutionFinished,
    ExecutionStarted,
    TaskClaimed,
    TaskCompleted,
    TaskFailed,
    TaskSkipped,
)
from orchestrator.domain.execution import ExecutionState, TaskState
from orchestrator.domain.ids import TaskId
from orchestrator.domain.pipeline import Pipeline, Task
from orchestrator.domain.plan import Evidence, Plan, PlanRequest
from orchestrator.domain.planner import plan
from orchestrator.domain.strategy import ResumeStrategy
from orchestrator.domain.values import ValueRef

INPUTS = ValueRef(b"inputs", 6, inline=True)


def task_id(name: str) -> TaskId:
    return TaskId(name)


def pipeline(needs: Mapping[str, Iterable[str]], **options: Any) -> Pipeline:
    """Return a pipeline of tasks with their needs; ``options`` are given to every task."""
    return Pipeline(
        "p",
        {
            TaskId(name): Task(TaskId(name), "noop", needs=tuple(TaskId(need) for need in wanted), **options)
            for name, wanted in needs.items()
        },
    )


def value(text: str) -> ValueRef:
    return ValueRef(text.encode(), len(text), inline=True)


def begun(definition: Pipeline, *, at: float = 0.0) -> tuple[ExecutionState, list[Event]]:
    """Return the state of an execution that has just begun, and its journal."""
    events: list[Event] = [
        ExecutionCreated(at, definition.id, None, INPUTS, len(definition.tasks), "run"),
        ExecutionStarted(at, 1, "me", resumed=False, strategy={}),
    ]
    state = ExecutionState(definition)
    state.apply_all(events)
    return state, events


def claimed(name: str, attempt: int = 1, at: float = 1.0) -> TaskClaimed:
    return TaskClaimed(at, TaskId(name), attempt, None)


def completed(name: str, attempt: int = 1, at: float = 2.0) -> TaskCompleted:
    return TaskCompleted(at, TaskId(name), attempt, value(name))


def skipped(name: str, at: float = 2.0) -> TaskSkipped:
    return TaskSkipped(at, TaskId(name), "why not")


def failed(
    name: str,
    attempt: int = 1,
    *,
    at: float = 2.0,
    retry_at: float | None = None,
    crashed: bool = False,
    parked: bool = False,
) -> TaskFailed:
    return TaskFailed(at, TaskId(name), attempt, ErrorInfo("Boom", "it failed"), retry_at, crashed, parked)


def facts(state: ExecutionState) -> dict[str, Any]:
    """Return everything that a state knows, to compare two of them."""
    known: dict[str, Any] = {
        name: getattr(state, name) for name in state.__slots__ if name not in ("pipeline", "tasks", "limits")
    }
    known["ready"] = list(state.ready)
    known["running"] = list(state.running)
    queues = state.limits.queues
    known["waiting"] = {names: list(queue.ready) for names, queue in queues.items() if queue.ready}
    retries = (each for queue in queues.values() for each in queue.retries)
    known["retries"] = sorted(filter(state._waits, retries))
    known["gates"] = {name: (gate.working, list(gate.begun)) for name, gate in state.limits.gates.items()}
    known["waits"] = {name: getattr(state.waits, name) for name in state.waits.__slots__}
    known["tasks"] = {name: task_facts(task) for name, task in state.tasks.items()}
    return known


def task_facts(task: TaskState) -> dict[str, Any]:
    return {name: getattr(task, name) for name in task.__slots__}


def run_to_end(state: ExecutionState, capacity: int = 1 << 30) -> int:
    """Complete everything that decide claims until it says finish; return how often decide was asked."""
    asked = 0
    while True:
        commands = decide(state, 0.0, capacity, stopping=False)
        asked += 1
        names: list[TaskId] = []
        for command in commands:
            match command:
                case Claim(name):
                    state.apply(TaskClaimed(0.0, name, 1, None))
                    names.append(name)
                case Finish(status):
                    state.apply(ExecutionFinished(0.0, status.value, None, None))
                    return asked
                case _:
                    raise AssertionError(command)
        assert names, "decide waits although nothing runs"
        for name in names:
            state.apply(TaskCompleted(0.0, name, 1, INPUTS))


def planned(
    definition: Pipeline, state: ExecutionState, strategy: ResumeStrategy, request: PlanRequest, now: float
) -> Plan:
    """Return the plan of a resume under a strategy, with nothing known of the world outside the journal."""
    return plan(definition, state, replace(request, strategy=strategy), Evidence(), now)
