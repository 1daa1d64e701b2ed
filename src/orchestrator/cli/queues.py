"""`orchestrator queues`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.inspect import as_json_option
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.orchestrator import Orchestrator
    from orchestrator.ports.store import QueueSummary


@click.command(
    "queues",
    cls=Command,
    examples=(
        "orchestrator queues",
        "orchestrator queues set nightly --limit 4",
        "orchestrator queues set nightly --no-limit",
        "orchestrator queues pause nightly",
        "orchestrator queues resume nightly",
    ),
)
@click.argument("action", metavar="[set|pause|resume]", required=False, type=click.Choice(["set", "pause", "resume"]))
@click.argument("queue", required=False)
@click.option("--limit", type=click.IntRange(min=0), metavar="N", help="How many of it run at once, over all servers.")
@click.option("--no-limit", is_flag=True, help="Any number of it may run at once.")
@as_json_option
@pass_common
async def queues_command(
    common: Common, action: str | None, queue: str | None, *, limit: int | None, no_limit: bool, as_json: bool
) -> None:
    """List the queues, or set what holds for one.

    A limit holds over all servers of the store together. Nothing of a paused queue is taken; what runs goes on.
    """
    if (action is None) != (queue is None):
        raise UsageError(f"queues {action}: name the queue")
    if action == "set" and (limit is None) is not no_limit:
        raise UsageError("queues set: say --limit N or --no-limit")
    if action != "set" and (limit is not None or no_limit):
        raise UsageError("--limit and --no-limit go with `queues set QUEUE`")
    found: list[QueueSummary] = []
    if common.has_store() or action is not None:
        async with common.reading() as orchestrator:
            if action is not None and queue is not None:
                await _change(orchestrator, action, queue, limit)
            found = await orchestrator.queues()
    if as_json:
        for each in found:
            output.emit(queue_object(each))
    elif found:
        print_queues(found)
    else:
        output.tell("no queues: nothing was set, and nothing waits")


async def _change(orchestrator: Orchestrator, action: str, queue: str, limit: int | None) -> None:
    from orchestrator.core.system import user_name

    known = {each.name: each for each in await orchestrator.queues()}
    before = known.get(queue)
    limit_before, paused_by = (None, None) if before is None else (before.limit, before.paused_by)
    match action:
        case "set":
            await orchestrator.set_queue(queue, limit=limit, paused_by=paused_by)
        case "pause":
            await orchestrator.set_queue(queue, limit=limit_before, paused_by=user_name())
        case _:
            await orchestrator.set_queue(queue, limit=limit_before)


def queue_object(queue: QueueSummary) -> dict[str, Any]:
    """Return a queue for machines."""
    return queue._asdict()


def print_queues(queues: Sequence[QueueSummary]) -> None:
    """Print a table of queues."""
    rows = [
        (
            each.name,
            f"{each.waiting:,}",
            f"{each.owned:,}",
            "" if each.limit is None else f"{each.limit:,}",
            f"by {each.paused_by}" if each.paused_by is not None else "",
        )
        for each in queues
    ]
    output.table(("queue", "waiting", "running", "limit", "paused"), rows)
