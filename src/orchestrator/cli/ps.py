"""`orchestrator ps`: who is at work, and what waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.inspect import as_json_option, summary_object
from orchestrator.cli.output import duration, plural
from orchestrator.cli.queues import print_queues, queue_object
from orchestrator.core.family import in_families
from orchestrator.core.ledger import process_of
from orchestrator.domain.execution import ExecutionStatus

if TYPE_CHECKING:
    from orchestrator.ports.store import ExecutionSummary

ROWS = 100


@click.command("ps", cls=Command, examples=("orchestrator ps", "orchestrator ps --json"))
@click.option("--all", "everything", is_flag=True, help=f"Show all executions, where there are more than {ROWS}.")
@as_json_option
@pass_common
async def ps_command(common: Common, *, everything: bool, as_json: bool) -> None:
    """Show who is at work, and what waits.

    Owners with their executions and what their leases have left, the queues, and every execution that has not ended:
    running, waiting, paused, orphaned (its owner died or stalled: the next server takes it), or left for you to resume.
    """
    found: list[ExecutionSummary] = []
    queues = []
    if common.has_store():
        async with common.reading() as orchestrator:
            found = await orchestrator.under_way()
            queues = await orchestrator.queues()
    owners = _owners(found)
    if as_json:
        for owner, owned in owners.items():
            output.emit({"kind": "owner", "owner": owner, "executions": len(owned), "lease_left": _least(owned)})
        for queue in queues:
            output.emit({"kind": "queue", **queue_object(queue)})
        for each in found:
            state = {"state": state_of(each), "lease_left": each.lease_left}
            output.emit({"kind": "execution", **summary_object(each), **state})
        return
    if not found and not queues:
        output.tell("nothing runs, and nothing waits")
        return
    _print(found, owners, everything=everything)
    if queues:
        output.say("")
        print_queues(queues)


def state_of(summary: ExecutionSummary) -> str:
    """Say in one word what an execution that has not ended is doing."""
    if summary.holder is not None:
        overdue = summary.lease_left is not None and summary.lease_left <= 0
        return "running" if summary.holder.alive and not overdue else "orphaned"
    if summary.status is ExecutionStatus.PAUSED or not summary.waiting:
        return summary.status.value
    return "waiting"


def _owners(found: list[ExecutionSummary]) -> dict[str, list[ExecutionSummary]]:
    """Return who owns what; a process that runs an execution is not told again as the owner of its children."""
    owners: dict[str, list[ExecutionSummary]] = {}
    above: list[str] = []
    for deep, each in in_families(found):
        owner = each.holder.owner if each.holder is not None else ""
        if deep and process_of(above[deep - 1]) == process_of(owner):
            owner = above[deep - 1]
        above[deep:] = [owner]
        if owner:
            owners.setdefault(owner, []).append(each)
    return owners


def _least(owned: list[ExecutionSummary]) -> float | None:
    return min((each.lease_left for each in owned if each.lease_left is not None), default=None)


def _lease(left: float | None) -> str:
    if left is None:
        return ""
    return f"{duration(left)} left" if left > 0 else f"silent, {duration(-left)} overdue"


def _print(found: list[ExecutionSummary], owners: dict[str, list[ExecutionSummary]], *, everything: bool) -> None:
    if owners:
        rows = [(owner, f"{len(owned):,}", _lease(_least(owned))) for owner, owned in owners.items()]
        output.table(("owner", "executions", "lease"), rows)
        output.say("")
    shown = found if everything else found[:ROWS]
    if shown:
        output.table(
            ("execution", "pipeline", "state", "done", "queue", "priority", "lease", "owner"),
            [_row(each, deep) for deep, each in in_families(shown)],
            paint=output.paint_status,
        )
    if len(shown) < len(found):
        output.tell(f"and {plural(len(found) - len(shown), 'more execution')}; --all shows them")


def _row(each: ExecutionSummary, deep: int) -> tuple[str, ...]:
    place: tuple[Any, ...] = each.place or ("", "")
    return (
        "  " * deep + each.execution_id,
        each.pipeline_id,
        state_of(each),
        f"{each.completed:,}/{each.total:,}",
        str(place[0]),
        str(place[1]),
        _lease(each.lease_left),
        each.holder.owner if each.holder is not None else f"paused by {each.paused_by}" if each.paused_by else "",
    )
