"""Steering executions from outside, one or many: `cancel`, `pause`, and the resumes that servers carry out."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.completing import complete_execution
from orchestrator.cli.display import plan_summary
from orchestrator.cli.output import plural
from orchestrator.cli.requests import PLAIN, Request
from orchestrator.cli.selecting import Selection, selection_options
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.revisions import must_be

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from orchestrator.orchestrator import Orchestrator

NOT_OWNED_EXIT_CODE = 4
AT_ONCE = 50
"""So many executions are asked at the same time; each of their owners may take a while to answer."""
CANCELLABLE = ("created", "running", "stopped", "interrupted", "paused")
PAUSABLE = ("created", "running", "stopped", "interrupted")
RESUMABLE = ("paused", "stopped", "interrupted")


@click.command(
    "cancel",
    cls=Command,
    examples=(
        "orchestrator cancel exec_1a2b3c",
        "orchestrator cancel exec_1a2b3c --reason 'wrong input'",
        "orchestrator cancel --all --pipeline-id flights --since 2h --dry-run",
    ),
)
@click.argument("executions", metavar="[EXECUTION]...", nargs=-1, shell_complete=complete_execution)
@click.option("--reason", metavar="TEXT", help="Why; kept with the fact.")
@click.option("--at-once", is_flag=True, help="Undo nothing, and leave out the steps of `finally`, or what is left.")
@selection_options
@pass_common
async def cancel_command(
    common: Common, executions: tuple[str, ...], reason: str | None, at_once: bool, **chosen: Any
) -> int:
    """Cancel executions.

    Running attempts are ended, and no further ones begin but those of later stages: completed steps are undone
    (`undo`), and the steps of `finally` run. If a process is at work on it, that one is asked, and waited for; else
    this is done here. --all cancels all that have not ended.
    """

    async def cancel(orchestrator: Orchestrator, name: str) -> str | None:
        return "cancelled" if await orchestrator.cancel(name, by=_by(reason), at_once=at_once) else None

    return await _steer(common, Steering("cancel", cancel), executions, Selection(**chosen), CANCELLABLE)


@click.command(
    "pause",
    cls=Command,
    examples=(
        "orchestrator pause exec_1a2b3c",
        "orchestrator pause --all --queue nightly --yes",
        "orchestrator pause exec_1a2b3c exec_4d5e6f --reason 'the disk is full'",
    ),
)
@click.argument("executions", metavar="[EXECUTION]...", nargs=-1, shell_complete=complete_execution)
@click.option("--reason", metavar="TEXT", help="Why; shown with the execution.")
@selection_options
@pass_common
async def pause_command(common: Common, executions: tuple[str, ...], reason: str | None, **chosen: Any) -> int:
    """Keep executions from going on.

    One that waits for a server is not taken. Whoever is at work on one is asked to stop gracefully, and waited for.
    `orchestrator resume` takes a pause back. --all pauses all that have not ended.
    """

    async def pause(orchestrator: Orchestrator, name: str) -> str | None:
        return "paused" if await orchestrator.pause(name, by=_by(reason)) else None

    return await _steer(common, Steering("pause", pause), executions, Selection(**chosen), PAUSABLE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """How servers are to go on: in which queue, with which priority (None: its own), and what was asked for.

    ``expect`` is the digest of the plan that was looked at before.
    """

    queue: str | None = None
    priority: int | None = None
    request: Request = PLAIN
    expect: str | None = None


async def give_to_servers(common: Common, executions: Sequence[str], selection: Selection, wanted: Wanted) -> int:
    """Let servers go on with executions, those named or those chosen; return the exit code."""
    request = wanted.request
    if selection.everything:
        request.check_for_many()
    options = request.options()

    async def enqueue(orchestrator: Orchestrator, name: str) -> str | None:
        told = ""
        if request != PLAIN or wanted.expect is not None:
            check = None if wanted.expect is None else must_be(wanted.expect)
            plan = await orchestrator.revise(name, planned=check, **options)
            if plan.changes_nothing and (await orchestrator.get_summary(name)).status is ExecutionStatus.COMPLETED:
                return "completed already; there is nothing to run"
            told = f" (plan {plan.digest})"
        place = await orchestrator.enqueue(name, queue=wanted.queue, priority=wanted.priority)
        return f"waits in queue {place.queue}{told}"

    async def foresee(orchestrator: Orchestrator, name: str) -> str:
        plan = await orchestrator.plan(name, **options)
        return f"plan {plan.digest}: {plan_summary(plan)}"

    return await _steer(common, Steering("resume", enqueue, foresee), executions, selection, RESUMABLE)


def _by(reason: str | None) -> str | None:
    if reason is None:
        return None
    from orchestrator.core.system import user_name

    return f"{user_name()}: {reason}"


@dataclass(frozen=True, slots=True)
class Steering:
    """Something that is done to executions: its verb, and how.

    ``act`` returns what to say, or None where the owner has not answered yet. ``foresee`` says what it would come to.
    """

    verb: str
    act: Callable[[Orchestrator, str], Awaitable[str | None]]
    foresee: Callable[[Orchestrator, str], Awaitable[str]] | None = None


async def _steer(
    common: Common, steering: Steering, named: Sequence[str], selection: Selection, usual: Collection[str]
) -> int:
    """Do something to executions, and say what became of each; return the worst exit code."""
    verb = steering.verb
    selection.check(named)
    if named and selection.dry_run:
        raise UsageError("--dry-run goes with --all" + ", or with a resume that runs here" * (verb == "resume"))
    if selection.everything and not common.has_store():
        output.tell(f"nothing to {verb}: there is no store yet")
        return 0
    async with common.reading(named[0] if named else None) as orchestrator:
        if not selection.everything:
            if len(named) == 1:
                return await _one(orchestrator, steering, named[0])
            return await _many(orchestrator, steering, named)
        found = await selection.find(orchestrator, usual)
        names = [one.execution_id for one in found]
        if found and selection.dry_run and steering.foresee is not None:
            code = await _foresee(orchestrator, steering.foresee, names)
            output.tell(f"would {verb} {plural(len(found), 'execution')}")
            return code
        if not selection.confirm(verb, found):
            return 0
        return await _many(orchestrator, steering, names)


async def _foresee(
    orchestrator: Orchestrator, foresee: Callable[[Orchestrator, str], Awaitable[str]], names: Sequence[str]
) -> int:
    """Say of each what would come of it; one that refuses is told and leaves the others alone."""
    worst = 0
    for name in names:
        try:
            output.say(f"{name}  {await foresee(orchestrator, name)}")
        except OrchestratorError as error:
            output.tell(f"execution {name}: {output.clean(error)}")
            worst = max(worst, error.exit_code)
    return worst


async def _one(orchestrator: Orchestrator, steering: Steering, name: str) -> int:
    done = await steering.act(orchestrator, name)
    if done is not None:
        output.say(f"execution {name}: {done}")
        return 0
    holder = (await orchestrator.get_summary(name)).holder
    owner = f" by {output.one_line(holder.owner)}" if holder is not None else ""
    output.tell(
        f"execution {name}: asked to {steering.verb}, and not yet answered{owner}; look again with `orchestrator list`"
    )
    return NOT_OWNED_EXIT_CODE


async def _many(orchestrator: Orchestrator, steering: Steering, names: Sequence[str]) -> int:
    """Do it to each, many at the same time; one that refuses is told and leaves the others alone."""
    gate = asyncio.Semaphore(AT_ONCE)
    codes: list[int] = []

    async def one(name: str) -> None:
        async with gate:
            try:
                codes.append(await _one(orchestrator, steering, name))
            except OrchestratorError as error:
                output.tell(f"execution {name}: {output.clean(error)}")
                codes.append(error.exit_code)

    await asyncio.gather(*(one(name) for name in names))
    done = codes.count(0)
    output.tell(f"{steering.verb}: {done:,} of {plural(len(codes), 'execution')}")
    return max(codes)
