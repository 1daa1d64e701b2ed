"""One step of an execution, with all that is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.cli import output
from orchestrator.cli.display import far, reused
from orchestrator.cli.folding import Inside, inside, statuses
from orchestrator.cli.output import duration, iso, plural
from orchestrator.core.family import child_of
from orchestrator.domain.events import (
    DecisionMade,
    DefinitionChanged,
    ResultSet,
    TaskClaimed,
    TaskCompleted,
    TaskFailed,
    TaskGathered,
    TaskInterrupted,
    TaskReused,
    TasksInvalidated,
    TaskSkipped,
    TasksReset,
)
from orchestrator.domain.execution import DONE, ExecutionState, TaskStatus
from orchestrator.domain.ids import TaskId
from orchestrator.domain.words import did_you_mean
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.domain.events import Event
    from orchestrator.domain.execution import ExecutionState
    from orchestrator.orchestrator import Orchestrator
    from orchestrator.ports.store import ExecutionSummary

CHANGES = 20
"""Of what was done about a step besides its attempts, the last ones are shown."""


def no_step(execution: str, state: ExecutionState, step: str) -> UsageError:
    """Return the error for a name that no step of an execution has."""
    hint = did_you_mean(step, state.tasks)
    return UsageError(f"no step named {step!r} in execution {execution!r}{f' ({hint})' if hint else ''}")


async def step_object(
    orchestrator: Orchestrator, summary: ExecutionSummary, state: ExecutionState, step: str
) -> dict[str, Any]:
    """Return everything that is known of one step; raise UsageError if there is none of this name."""
    execution = summary.execution_id
    if step not in state.tasks or state.pipeline is None:
        raise no_step(execution, state, step)
    name: TaskId = step
    task, definition = state.tasks[name], state.graph[name]
    within = inside(state, name)
    attempts, changes = await _happenings(orchestrator, state, execution, name)
    status = statuses(state, summary)[name]
    if status is TaskStatus.INTERRUPTED:
        attempts[task.attempt]["outcome"] = status.value
    parameters: Any = dict(definition.parameters)
    prior, templated = task.prior, definition.reads is not None
    rendered = prior.parameters if prior is not None else task.parameters
    if isinstance(rendered, bytes):
        parameters = {"…": "too large to be kept"}
    elif rendered is not None:
        parameters = await orchestrator.get_value(rendered)
    return {
        "execution_id": execution,
        "task": step,
        "status": status.value,
        "within": task.within,
        "inside": within._asdict() if within is not None else None,
        "tool": definition.tool,
        "action": definition.action,
        "needs": list(definition.needs),
        "started_at": iso(task.started_at),
        "ended_at": iso(task.ended_at),
        "seconds": task.ended_at - task.started_at if task.started_at and task.ended_at and not task.pinned else None,
        "attempts": list(attempts.values()),
        "changes": changes,
        "failures": task.failures,
        "crashes": task.crashes,
        "parameters": parameters,
        "parameters_are_templates": templated and rendered is None,
        "result": await orchestrator.get_result(execution, name) if task.status in DONE else None,
        "error": task.error._asdict() if task.error else None,
        "progress": dict(zip(("done", "total", "message"), task.progress, strict=True)) if task.progress else None,
        "saved": await orchestrator.get_value(task.saved),
        "child": child_of(execution, state, name),
    }


async def _happenings(
    orchestrator: Orchestrator, state: ExecutionState, execution: str, step: TaskId
) -> tuple[dict[int, dict[str, Any]], list[dict[str, Any]]]:
    """Return the attempts of a step by their numbers, and what else was done about it, under all of its names."""
    attempts: dict[int, dict[str, Any]] = {}
    changes: list[dict[str, Any]] = []
    names = await _names(orchestrator, state, execution, step)
    version = 1
    async for seq, event in orchestrator.facts(execution):
        name = names[version - 1]
        match event:
            case TaskClaimed(at, found, number) if found == name:
                attempts[number] = {"attempt": number, "version": version, "seq": seq, "started_at": iso(at)}
                attempts[number]["outcome"] = "running"
            case TaskCompleted(at, found, number) if found == name:
                attempts.setdefault(number, {"attempt": number}).update(ended_at=iso(at), outcome="completed")
            case TaskFailed(at, found, number, error) if found == name:
                what = {"ended_at": iso(at), "outcome": "failed", "error": f"{error.kind}: {error.message}"}
                attempts.setdefault(number, {"attempt": number}).update(what)
            case TaskInterrupted(at, found, number, _, reason) if found == name:
                attempts.setdefault(number, {"attempt": number}).update(
                    ended_at=iso(at), outcome="interrupted", error=reason
                )
            case _:
                version += isinstance(event, DefinitionChanged)
                if text := _change(event, execution, name, names[version - 1]):
                    changes.append({"seq": seq, "at": iso(event.at), "what": text})
    return attempts, changes


async def _names(orchestrator: Orchestrator, state: ExecutionState, execution: str, step: TaskId) -> list[TaskId]:
    """Return what a step was called under each version of the definition."""
    names = [step]
    if state.versions > 1:
        renames = [
            event.renamed async for _seq, event in orchestrator.facts(execution) if isinstance(event, DefinitionChanged)
        ]
        outer = step
        while (around := state.tasks[outer].within) is not None:
            outer = around
        for renamed in reversed(renames):
            was = renamed.get(outer, outer)
            names.append(TaskId(was + names[-1][len(outer) :]))
            outer = was
    return names[::-1]


def _change(event: Event, execution: str, name: TaskId, new: TaskId) -> str:
    """Say what a fact that is no attempt means to a step; empty if nothing."""
    match event:
        case TaskReused() if event.task == name:
            return reused(event, execution)
        case ResultSet() if event.task == name:
            return f"was given its result by {event.by}" + (f": {event.reason}" if event.reason else "")
        case TaskSkipped() if event.task == name:
            return f"skipped: {event.reason}"
        case TasksReset() if name in event.tasks:
            return f"is to run again: {event.reason}"
        case TasksInvalidated() if name in event.tasks:
            return f"is looked at again: {event.reason}"
        case DecisionMade() if event.task == name:
            return _decision(event)
        case TaskGathered() if event.task == name:
            return "its result is made of what is in it" + (f", without {', '.join(event.lost)}" if event.lost else "")
        case DefinitionChanged() if name != new:
            return f"was renamed: {name} → {new}"
        case _:
            return ""


def _decision(event: DecisionMade) -> str:
    """Say what was decided, and on what."""
    kind = f"{event.kind}, round {event.round}" if event.round else event.kind
    reads = ", ".join(f"{name} = {value}" for name, value in event.reads.items())
    return f"{kind}: {event.value}" + (f" ({reads})" if reads else "")


def print_step(found: dict[str, Any]) -> None:
    """Print what `step_object` has found."""
    status = found["status"]
    progress, error = found["progress"], found["error"]
    output.say(f"step {output.style(found['task'], 'bold')} of execution {found['execution_id']}")
    counts = [
        plural(found[name], name[:-1] if name == "failures" else "crash") for name in ("failures",) if found[name]
    ]
    output.facts(
        [
            ("status", output.style(status.replace("_", " "), output.STATUS_COLOUR.get(status, "bold"))),
            ("tool", f"{found['tool']} {found['action'] or ''}".rstrip()),
            ("in", output.one_line(found["within"] or "")),
            ("holds", Inside(**found["inside"]).told() if found["inside"] is not None else ""),
            ("needs", ", ".join(found["needs"])),
            ("took", duration(found["seconds"]) if found["seconds"] is not None else ""),
            ("failed", ", ".join(counts)),
            (
                "progress",
                output.one_line(f"{far(progress['done'], progress['total'])} {progress['message']}")
                if progress
                else "",
            ),
        ]
    )
    if found["attempts"]:
        keys = {"attempt": "attempt", "outcome": "outcome", "started_at": "started", "ended_at": "ended"}
        if any(each.get("version", 1) > 1 for each in found["attempts"]):
            keys["version"] = "version"
        keys["error"] = "error"
        rows = [[output.one_line(each.get(key) or "", 200) for key in keys] for each in found["attempts"]]
        output.say("")
        output.table(list(keys.values()), rows, paint=output.paint_status)
    if found["changes"]:
        output.say("", "what else was done")
        output.facts((each["at"], output.one_line(each["what"], 200)) for each in found["changes"][-CHANGES:])
    note = " (as templates: the rendered ones are kept up to 1 KiB, once an attempt began)"
    _section(f"parameters{note if found['parameters_are_templates'] else ''}", found["parameters"])
    if status == TaskStatus.COMPLETED.value:
        output.say("", "result", output.pretty(found["result"]))
    _section("saved state", found["saved"])
    if error:
        output.say("", "error", output.clean(f"{error['kind']}: {error['message']}"))
        if error["trace"]:
            output.say(output.clean(error["trace"]).rstrip())


def _section(name: str, value: Any) -> None:
    if value not in (None, {}):
        output.say("", name, output.pretty(value))
