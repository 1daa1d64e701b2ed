"""Looking at what is in the store: `list`, `checkpoints`, `history`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.completing import complete_execution
from orchestrator.cli.output import duration, iso, moment
from orchestrator.core.family import in_families
from orchestrator.domain.events import DefinitionChanged, TaskClaimed, TaskReused
from orchestrator.domain.ids import parent_of
from orchestrator.errors import UnknownExecution

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.orchestrator import Orchestrator
    from orchestrator.ports.store import ExecutionSummary

STATUSES = ("created", "running", "completed", "failed", "cancelled", "stopped", "interrupted", "paused")

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")


def limit_option(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option --limit."""
    return click.option(
        "--limit", type=click.IntRange(min=0), default=default, show_default=True, metavar="N", help="At most so many."
    )


@click.command(
    "list",
    cls=Command,
    examples=(
        "orchestrator list",
        "orchestrator list --status failed --limit 5",
        "orchestrator list --pipeline-id flights --json",
        "orchestrator list --queue nightly --status paused",
    ),
)
@click.option("--pipeline-id", metavar="ID", help="Only executions of this pipeline.")
@click.option("--status", type=click.Choice(STATUSES), help="Only executions of this status.")
@click.option("--queue", metavar="QUEUE", help="Only executions that were given to this queue.")
@click.option("--all", "everything", is_flag=True, help="Also those that steps of others started.")
@limit_option(50)
@as_json_option
@pass_common
async def list_command(common: Common, *, as_json: bool, everything: bool, **chosen: Any) -> None:
    """List executions, newest first.

    One that is recorded as running but whose process is gone is shown as interrupted: it can be resumed. One that
    somebody keeps from going on is paused. One that a step of another started stands below that one, with --all.
    """
    found: list[ExecutionSummary] = []
    if common.has_store():
        async with common.reading() as orchestrator:
            found = await orchestrator.list_executions(children=everything, **chosen)
    if as_json:
        for each in found:
            output.emit(summary_object(each))
        return
    if not found:
        filtered = chosen["pipeline_id"] or chosen["status"] or chosen["queue"]
        output.tell("no executions" if filtered else "no executions yet; `orchestrator run FILE` makes one")
        return
    rows = [
        (
            "  " * deep + each.execution_id,
            each.pipeline_id,
            each.status.value,
            f"{each.completed:,}/{each.total:,}",
            moment(each.created_at),
            duration(each.updated_at - each.created_at),
        )
        for deep, each in in_families(found)
    ]
    output.table(("execution", "pipeline", "status", "done", "created", "spanning"), rows, paint=output.paint_status)


def summary_object(summary: ExecutionSummary) -> dict[str, Any]:
    """Return a summary for machines."""
    holder = summary.holder
    return {
        "execution_id": summary.execution_id,
        "parent": parent_of(summary.execution_id),
        "pipeline": summary.pipeline_id,
        "status": summary.status.value,
        "completed": summary.completed,
        "total": summary.total,
        "seq": summary.seq,
        "created_at": iso(summary.created_at),
        "updated_at": iso(summary.updated_at),
        "owner": holder.owner if holder is not None and holder.alive else None,
        "queue": summary.place.queue if summary.place is not None else None,
        "priority": summary.place.priority if summary.place is not None else None,
        "waiting": summary.waiting,
        "paused_by": summary.paused_by,
    }


@click.command(
    "checkpoints",
    cls=Command,
    examples=("orchestrator checkpoints exec_1a2b3c", "orchestrator checkpoints exec_1a2b3c --limit 5 --json"),
)
@click.argument("execution", shell_complete=complete_execution)
@limit_option(50)
@as_json_option
@pass_common
async def checkpoints_command(common: Common, execution: str, *, limit: int, as_json: bool) -> None:
    """List the checkpoints of an execution, newest first.

    `orchestrator resume EXECUTION --from CHECKPOINT` goes back to one.
    """
    async with common.reading(execution) as orchestrator:
        await orchestrator.get_summary(execution)
        found = await orchestrator.state_manager.list_checkpoints(execution, limit)
    _print_checkpoints(found, as_json=as_json)


def _print_checkpoints(found: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        for each in found:
            output.emit(each)
        return
    if not found:
        output.tell("no checkpoints")
        return
    rows = [
        (
            each["checkpoint_id"],
            moment(each["timestamp"].timestamp()),
            each["reason"],
            each["task"] or "",
            f"{each['completed_count']:,}/{each['total_count']:,}",
        )
        for each in found
    ]
    output.table(("checkpoint", "time", "reason", "step", "done"), rows)


@click.command(
    "history",
    cls=Command,
    examples=("orchestrator history flights --limit 20", "orchestrator history exec_1a2b3c --json"),
)
@click.argument("name", metavar="PIPELINE_ID|EXECUTION", shell_complete=complete_execution)
@click.option(
    "--limit", type=click.IntRange(min=0), metavar="N", help="At most so many; of a pipeline 50, if not given."
)
@as_json_option
@pass_common
async def history_command(common: Common, name: str, *, limit: int | None, as_json: bool) -> None:
    """Show a pipeline's checkpoints, or an execution's facts.

    Of a pipeline: the checkpoints of all its executions, newest first. Of an execution: every fact of its journal, in
    order (--limit: the last ones), with what was asked for, by whom and why. After the definition has changed, the
    version that a step ran under stands with it: 2 for the first edited one.
    """
    async with common.reading(name) as orchestrator:
        try:
            summary = await orchestrator.get_summary(name)
        except UnknownExecution:
            found = await orchestrator.resume_manager.get_resume_history(name, 50 if limit is None else limit)
            if not found and not await orchestrator.list_executions(pipeline_id=name, limit=1):
                raise
            _print_checkpoints(found, as_json=as_json)
            return
        await _print_facts(orchestrator, name, 0 if limit is None else max(0, summary.seq - limit), as_json=as_json)


async def _print_facts(orchestrator: Orchestrator, execution: str, after: int, *, as_json: bool) -> None:
    """Print the facts after a position; once the definition has changed, with the version that steps ran under."""
    from orchestrator.observe.progress import describe

    version = 1
    async for seq, event in orchestrator.facts(execution):
        version += isinstance(event, DefinitionChanged)
        if seq <= after:
            continue
        if output.is_closed():
            return
        told = describe(event, execution, seq)
        if version > 1 and isinstance(event, (DefinitionChanged, TaskClaimed, TaskReused)):
            told["version"] = version
        if as_json:
            output.emit(told)
            continue
        details = [
            f"{key}={output.head(value, 200)}"
            for key, value in told.items()
            if key not in ("event", "execution_id", "seq", "at", "strategy") and value not in (None, "", [], {})
        ]
        output.say(f"{seq:>6}  {moment(event.at)}  {told['event']!s:<19} {output.clean(' '.join(details))}".rstrip())
