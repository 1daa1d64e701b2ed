"""`orchestrator show`: an execution with all its steps, or one step with all that is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.completing import complete_execution, complete_steps
from orchestrator.cli.display import far, reused
from orchestrator.cli.inspect import as_json_option, summary_object
from orchestrator.cli.output import duration, iso, moment, plural
from orchestrator.core.family import child_of
from orchestrator.domain.events import (
    DefinitionChanged,
    ResultSet,
    TaskClaimed,
    TaskCompleted,
    TaskFailed,
    TaskInterrupted,
    TaskReused,
    TasksInvalidated,
    TaskSkipped,
    TasksReset,
)
from orchestrator.domain.execution import DONE, STUCK, ExecutionState, ExecutionStatus, TaskStatus
from orchestrator.domain.words import did_you_mean
from orchestrator.errors import UnknownExecution, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.domain.events import Event
    from orchestrator.domain.execution import TaskState
    from orchestrator.domain.ids import TaskId
    from orchestrator.orchestrator import Orchestrator
    from orchestrator.ports.store import ExecutionSummary

ROWS = 200
"""Steps shown of a large execution; those that are not done go first."""

CHANGES = 20
"""Of what was done about a step besides its attempts, the last ones are shown."""


@click.command(
    "show",
    cls=Command,
    examples=(
        "orchestrator show exec_1a2b3c",
        "orchestrator show exec_1a2b3c clean",
        "orchestrator show exec_1a2b3c --json",
    ),
)
@click.argument("execution", shell_complete=complete_execution)
@click.argument("step", required=False, shell_complete=complete_steps)
@click.option("--all", "everything", is_flag=True, help=f"Show all steps, where there are more than {ROWS}.")
@as_json_option
@pass_common
async def show_command(common: Common, execution: str, step: str | None, *, everything: bool, as_json: bool) -> None:
    """Show an execution, or one step of it.

    Of an execution: the status of each step, its attempts, times, and the head of its result or error. Of a step: its
    parameters as they were rendered, its result, attempts, error, progress and saved state.
    """
    async with common.reading(execution) as orchestrator:
        summary = await orchestrator.get_summary(execution)
        state = await orchestrator.get_state(execution)
        if step is not None:
            found = await step_object(orchestrator, summary, state, step)
            output.emit(found) if as_json else _print_step(found)
        elif as_json:
            output.emit(await _execution_object(orchestrator, summary, state))
        else:
            await _print_execution(orchestrator, summary, state, everything=everything)


def statuses(state: ExecutionState, summary: ExecutionSummary) -> dict[TaskId, TaskStatus]:
    """Return the status of each step as people see it.

    That is blocked behind a failed one, not pending; and interrupted, not running, where the process is gone.
    """
    shown = {name: task.status for name, task in state.tasks.items()} | dict.fromkeys(
        state.blocked(), TaskStatus.BLOCKED
    )
    if summary.status in (ExecutionStatus.INTERRUPTED, ExecutionStatus.PAUSED):
        shown |= dict.fromkeys(state.running, TaskStatus.INTERRUPTED)
    return shown


# -- an execution ------------------------------------------------------------------------------------------------


async def _execution_object(
    orchestrator: Orchestrator, summary: ExecutionSummary, state: ExecutionState
) -> dict[str, Any]:
    shown = statuses(state, summary)
    return summary_object(summary) | {
        "definition": {"version": state.versions, "source": state.definition_source or None},
        "forked_from": state.forked_from or None,
        "started_by": {"execution_id": state.link.parent, "task": state.link.task} if state.link else None,
        "inputs": await orchestrator.get_value(state.inputs),
        "outputs": await orchestrator.get_value(state.outputs),
        "error": state.error._asdict() if state.error else None,
        "tasks": [
            {
                "task": name,
                "status": shown[name].value,
                "attempts": task.attempt,
                "failures": task.failures,
                "crashes": task.crashes,
                "started_at": iso(task.started_at),
                "ended_at": iso(task.ended_at),
                "error": {"kind": task.error.kind, "message": task.error.message} if task.error else None,
                "result_bytes": task.value.size if task.value else None,
                "result_from": task.source or None,
                "by_hand": task.pinned or None,
                "child": child_of(summary.execution_id, state, name),
            }
            for name, task in state.tasks.items()
        ],
    }


def _waits(summary: ExecutionSummary) -> str:
    return "; waits for a server" if summary.waiting and summary.holder is None and not summary.paused_by else ""


async def _print_execution(
    orchestrator: Orchestrator, summary: ExecutionSummary, state: ExecutionState, *, everything: bool
) -> None:
    shown = statuses(state, summary)
    counts: dict[str, int] = {}
    for each in shown.values():
        counts[each.value] = counts.get(each.value, 0) + 1
    holder, place = summary.holder, summary.place
    status = summary.status.value
    output.say(f"execution {output.style(summary.execution_id, 'bold')}")
    output.facts(
        [
            ("pipeline", output.one_line(summary.pipeline_id)),
            ("definition", _version(state)),
            ("forked from", state.forked_from),
            ("started by", f"step {state.link.task} of {state.link.parent}" if state.link else ""),
            ("status", output.style(status, output.STATUS_COLOUR.get(status, "bold"))),
            ("why", output.one_line(state.error.message) if state.error else ""),
            ("steps", ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())),
            ("created", moment(summary.created_at)),
            ("last fact", f"{moment(summary.updated_at)} (seq {summary.seq})"),
            ("owner", output.one_line(holder.owner) if holder is not None and holder.alive else ""),
            ("queue", f"{place.queue}, priority {place.priority}{_waits(summary)}" if place is not None else ""),
            ("paused by", output.one_line(summary.paused_by or "")),
            ("inputs", output.head(await orchestrator.get_value(state.inputs) or {}, 200)),
        ]
    )
    names = list(state.tasks)
    if len(names) > ROWS and not everything:
        names = sorted(names, key=lambda name: shown[name] in DONE)[:ROWS]
    rows = []
    for name in names:
        task = state.tasks[name]
        rows.append(
            (
                name,
                shown[name].value.replace("_", " "),
                str(task.attempt or ""),
                moment(task.started_at) if task.started_at is not None else "",
                _took(task),
                await _remark(orchestrator, state, name, shown),
            )
        )
    output.say("")
    headings = ("step", "status", "attempts", "started", "took", "result, error or reason")
    output.table(headings, rows, paint=output.paint_status)
    if len(names) < len(state.tasks):
        output.say(f"and {plural(len(state.tasks) - len(names), 'step')} more (--all shows them)")
    await _print_children(orchestrator, summary.execution_id, state)
    outputs = await orchestrator.get_value(state.outputs)
    if outputs:
        output.say("", "outputs")
        output.facts((output.one_line(name), output.head(value, 200)) for name, value in outputs.items())
    if await orchestrator.resume_manager.can_resume(summary.execution_id):
        command = orchestrator.resume_command(summary.execution_id)
        output.say("", f"resume with: {output.clean(command)}")


async def _print_children(orchestrator: Orchestrator, execution: str, state: ExecutionState) -> None:
    """Print the executions that steps began last, the first ones of many."""
    begun = [(name, child) for name in state.tasks if (child := child_of(execution, state, name)) is not None]
    rows = []
    for name, child in begun[:CHANGES]:
        try:
            found = await orchestrator.get_summary(child)
        except UnknownExecution:  # claimed, and the process ended before it was created; or removed
            continue
        rows.append((name, child, found.status.value, f"{found.completed:,}/{found.total:,}"))
    if rows:
        output.say("")
        output.table(("step", "its execution", "status", "done"), rows, paint=output.paint_status)
    if len(begun) > CHANGES:
        output.say(f"and {len(begun) - CHANGES:,} more (`orchestrator list --all`)")


def _version(state: ExecutionState) -> str:
    """Say which definition it is that holds now, if it is not the first one."""
    if state.versions == 1:
        return ""
    source = f", from {output.one_line(state.definition_source)}" if state.definition_source else ""
    return f"version {state.versions}{source}"


def _took(task: TaskState) -> str:
    if task.started_at is None or task.ended_at is None or task.ended_at < task.started_at or task.pinned:
        return ""
    return duration(task.ended_at - task.started_at)


async def _remark(
    orchestrator: Orchestrator, state: ExecutionState, name: TaskId, shown: Mapping[TaskId, TaskStatus]
) -> str:
    """Return the head of a step's result, its error, or what it is blocked by."""
    task = state.tasks[name]
    match shown[name]:
        case TaskStatus.COMPLETED:
            if task.value is None:
                return ""
            by_hand = f"{output.one_line(task.pinned, 60)}: " if task.pinned else ""
            source = f" ({output.one_line(task.source)})" if task.source else ""
            inline = task.value.inline
            head = output.head(await orchestrator.get_value(task.value)) if inline else output.size(task.value.size)
            return f"{by_hand}{head}{source}"
        case TaskStatus.SKIPPED:
            return output.one_line(task.pinned, 100)
        case TaskStatus.PENDING if task.kept is not None:
            return "has a result, and keeps it if it is given the same again"
        case TaskStatus.FAILED | TaskStatus.PARKED | TaskStatus.IN_DOUBT | TaskStatus.RETRYING:
            return output.one_line(f"{task.error.kind}: {task.error.message}" if task.error else "", 200)
        case TaskStatus.BLOCKED:
            needs = state.pipeline.tasks[name].needs if state.pipeline else ()
            stuck = [need for need in needs if shown[need] in STUCK or shown[need] is TaskStatus.BLOCKED]
            return f"behind {', '.join(stuck)}"
        case TaskStatus.RUNNING | TaskStatus.INTERRUPTED if task.progress is not None:
            return output.one_line(f"{far(task.progress[0], task.progress[1])} {task.progress[2]}", 100)
        case _:
            return ""


# -- a step ------------------------------------------------------------------------------------------------------


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
        "result": await orchestrator.get_value(task.value),
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
        for renamed in reversed(renames):
            names.append(renamed.get(names[-1], names[-1]))
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
        case DefinitionChanged() if name != new:
            return f"was renamed: {name} → {new}"
        case _:
            return ""


def _print_step(found: dict[str, Any]) -> None:
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
