"""`orchestrator show`: an execution with all its steps, or one step with all that is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.completing import complete_execution, complete_steps
from orchestrator.cli.display import far
from orchestrator.cli.folding import ITEMS, counted, folded, inside, statuses
from orchestrator.cli.inspect import as_json_option, summary_object
from orchestrator.cli.output import duration, iso, moment, plural
from orchestrator.cli.step import no_step, print_step, step_object
from orchestrator.core.family import child_of
from orchestrator.domain.execution import DONE, STUCK, ExecutionState, TaskStatus
from orchestrator.domain.ids import TaskId
from orchestrator.errors import UnknownExecution, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.domain.execution import TaskState
    from orchestrator.orchestrator import Orchestrator
    from orchestrator.ports.store import ExecutionSummary

ROWS = 200
"""Steps shown of a large execution; those that are not done go first."""

_FIRST = STUCK | {TaskStatus.RUNNING, TaskStatus.RETRYING, TaskStatus.EXPANDED, TaskStatus.INTERRUPTED}
"""What is looked at first of many items."""
CHILDREN = 20
"""Executions shown that steps began."""


@click.command(
    "show",
    cls=Command,
    examples=(
        "orchestrator show exec_1a2b3c",
        "orchestrator show exec_1a2b3c clean",
        "orchestrator show exec_1a2b3c 'resize[a.png]' --result",
        "orchestrator show exec_1a2b3c --json",
    ),
)
@click.argument("execution", shell_complete=complete_execution)
@click.argument("step", required=False, shell_complete=complete_steps)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help=f"Show all steps, where there are more than {ROWS}, or than {ITEMS} items.",
)
@click.option("--result", "only_result", is_flag=True, help="Print the step's result, and nothing else.")
@as_json_option
@pass_common
async def show_command(
    common: Common, execution: str, step: str | None, *, everything: bool, only_result: bool, as_json: bool
) -> None:
    """Show an execution, or one step of it.

    Of an execution: the status of each step, its attempts, times, and the head of its result or error. Of a step: its
    parameters as they were rendered, its result, attempts, error, progress and saved state. Steps in others stand under
    these (resize[a.png].crop); of a for_each with many items, the first and those that failed or are at work are shown.
    """
    if only_result and step is None:
        raise UsageError("--result: name the step whose result is asked for")
    async with common.reading(execution) as orchestrator:
        summary = await orchestrator.get_summary(execution)
        state = await orchestrator.get_state(execution)
        if only_result and step is not None:
            if step not in state.tasks:
                raise no_step(execution, state, step)
            result = await orchestrator.get_result(execution, step)
            output.emit(result) if as_json else output.say(output.pretty(result))
        elif step is not None:
            found = await step_object(orchestrator, summary, state, step)
            output.emit(found) if as_json else print_step(found)
        elif as_json:
            output.emit(await _execution_object(orchestrator, summary, state))
        else:
            await _print_execution(orchestrator, summary, state, everything=everything)


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
                "within": task.within,
                "child": child_of(summary.execution_id, state, name),
            }
            for name, task in _in_order(state)
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
    await _print_steps(orchestrator, state, shown, everything=everything)
    await _print_children(orchestrator, summary.execution_id, state)
    outputs = await orchestrator.get_value(state.outputs)
    if outputs:
        output.say("", "outputs")
        output.facts((output.one_line(name), output.head(value, 200)) for name, value in outputs.items())
    if await orchestrator.resume_manager.can_resume(summary.execution_id):
        command = orchestrator.resume_command(summary.execution_id)
        output.say("", f"resume with: {output.clean(command)}")


def _in_order(state: ExecutionState) -> Iterator[tuple[TaskId, TaskState]]:
    """Yield what is known of each task, each container followed by what is in it."""
    return ((name, state.tasks[name]) for name in state.graph)


async def _print_steps(
    orchestrator: Orchestrator, state: ExecutionState, shown: Mapping[TaskId, TaskStatus], *, everything: bool
) -> None:
    found = list(folded(state.graph, lambda name: shown[name] in _FIRST, everything=everything))
    kept = found
    if len(found) > ROWS and not everything:
        kept = sorted(found, key=lambda row: not row.hidden and shown[row.name] in DONE)[:ROWS]
        if state.graph.expansions:  # then the order says what is in what
            chosen = {(row.name, row.items) for row in kept}
            kept = [row for row in found if (row.name, row.items) in chosen]
    rows = []
    for row in kept:
        if row.hidden:
            rows.append((row.shown, "", "", "", "", f"{counted(row.hidden, shown)} (--all shows them)"))
            continue
        task = state.tasks[row.name]
        started = moment(task.started_at) if task.started_at is not None else ""
        remark = await _remark(orchestrator, state, row.name, shown)
        status = shown[row.name].value.replace("_", " ")
        rows.append((row.shown, status, str(task.attempt or ""), started, _took(task), remark))
    output.say("")
    headings = ("step", "status", "attempts", "started", "took", "result, error or reason")
    output.table(headings, rows, paint=output.paint_status)
    left = sum(not row.hidden for row in found) - sum(not row.hidden for row in kept)
    if left:
        output.say(f"and {plural(left, 'step')} more (--all shows them)")


async def _print_children(orchestrator: Orchestrator, execution: str, state: ExecutionState) -> None:
    """Print the executions that steps began last, the first ones of many."""
    begun = [(name, child) for name in state.graph if (child := child_of(execution, state, name)) is not None]
    rows = []
    for name, child in begun[:CHILDREN]:
        try:
            found = await orchestrator.get_summary(child)
        except UnknownExecution:  # claimed, and the process ended before it was created; or removed
            continue
        rows.append((name, child, found.status.value, f"{found.completed:,}/{found.total:,}"))
    if rows:
        output.say("")
        output.table(("step", "its execution", "status", "done"), rows, paint=output.paint_status)
    if len(begun) > CHILDREN:
        output.say(f"and {len(begun) - CHILDREN:,} more (`orchestrator list --all`)")


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
    within = inside(state, name)
    match shown[name]:
        case TaskStatus.COMPLETED:
            if task.value is None:
                return within.told() if within is not None else ""
            by_hand = f"{output.one_line(task.pinned, 60)}: " if task.pinned else ""
            source = f" ({output.one_line(task.source)})" if task.source else ""
            inline = task.value.inline
            head = output.head(await orchestrator.get_value(task.value)) if inline else output.size(task.value.size)
            return f"{by_hand}{head}{source}"
        case TaskStatus.SKIPPED:
            return output.one_line(task.pinned, 100)
        case TaskStatus.WAITING if task.wait is not None:
            until = "" if task.wait.until is None else f" until {moment(task.wait.until)}"
            return f"{output.one_line(task.wait.text, 200)}{until}"
        case TaskStatus.PENDING if task.kept is not None:
            return "has a result, and keeps it if it is given the same again"
        case TaskStatus.FAILED | TaskStatus.PARKED | TaskStatus.IN_DOUBT | TaskStatus.RETRYING:
            error = f"{task.error.kind}: {task.error.message}" if task.error else ""
            return output.one_line(f"{error} ({within.told()})" if within is not None else error, 200)
        case TaskStatus.BLOCKED:
            around = [task.within] if task.within is not None else []
            needs = [*state.graph[name].needs, *around]
            stuck = [need for need in needs if shown[need] in STUCK or shown[need] is TaskStatus.BLOCKED]
            return f"behind {', '.join(stuck)}"
        case TaskStatus.RUNNING | TaskStatus.INTERRUPTED if task.progress is not None:
            return output.one_line(f"{far(task.progress[0], task.progress[1])} {task.progress[2]}", 100)
        case _:
            return within.told() if within is not None else ""
