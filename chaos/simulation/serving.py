"""Simulated servers and those who pause; and what an execution must have come to in the end, whoever ran it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from chaos.simulation.facts import Violation
from orchestrator.core.serving import Server, Service
from orchestrator.domain.ids import ExecutionId
from orchestrator.ports.store import Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.simulation.facts import Call, Facts
    from chaos.simulation.scenario import Scenario
    from chaos.simulation.world import Process
    from orchestrator.core.serving import Notice

    Guarded = Callable[[Process, Any, str], Any]

SUBMITTED = 0.25
"""How likely an execution is given to a server, instead of being run or resumed by a person."""


async def serve(
    process: Process, scenario: Scenario, guarded: Guarded, *, submit: bool = False, enqueue: bool = False
) -> None:
    """Serve until there is nothing to take; before that, give servers this execution, new or once more."""
    name = ExecutionId(scenario.execution_id)
    if submit:
        await guarded(process, process.live.submit(scenario.pipeline, scenario.inputs, name, Place()), "submit")
    if enqueue:
        await guarded(process, process.store.enqueue(name, Place()), "enqueue")
    process.serves = True
    service = Service(max_executions=process.world.random.choice((1, 2, 5)), runs=True, until_idle=True)
    server = Server(process.adapters, process.live, service, tell=partial(_noted, process))
    await guarded(process, server.run(), "serve")


def _noted(process: Process, notice: Notice) -> None:
    process.world.log(f"{process.name}: {notice.execution_id} {notice.kind} {notice.text}")


async def pause(process: Process, scenario: Scenario, guarded: Guarded) -> None:
    """Pause, as an operator does."""
    asked = process.store.request_pause(ExecutionId(scenario.execution_id), "the operator")
    await guarded(process, asked, "pause")


def all_done(facts: Facts, call: Call) -> bool:
    """Tell whether everything is done that gets done in an undisturbed run."""
    return all(facts.tasks[name].status in ("completed", "skipped") for name in facts.expected(call))


def compare(facts: Facts, name: str, call: Call) -> None:
    """Compare with an undisturbed run of the definition that holds now (I4)."""
    expected = facts.expected(call)
    wanted = "completed" if len(expected) == len(facts.tasks) else "failed"
    if facts.status != wanted:
        raise Violation("I4", f"{name} ended {facts.status}; an undisturbed run is {wanted}")
    for task, state in facts.tasks.items():
        if task not in expected:
            if state.status in ("completed", "skipped"):
                raise Violation("I4", f"{task} is {state.status}; an undisturbed run never gets there")
            continue
        value = facts.value(task)
        found = None if value is None else value["v"]
        if state.status not in ("completed", "skipped") or found != expected[task]:
            raise Violation("I4", f"{task} is {state.status} with {found}, undisturbed {expected[task]}")
