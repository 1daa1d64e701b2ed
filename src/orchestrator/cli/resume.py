"""`orchestrator resume`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, fields
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.completing import complete_execution
from orchestrator.cli.driving import Options, run_options
from orchestrator.cli.plan import show_plan
from orchestrator.cli.requests import Request, expect_option, request_options, strategy_of, strategy_option
from orchestrator.cli.selecting import Selection, selection_options
from orchestrator.cli.steering import Wanted, give_to_servers
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.plan import Verb
from orchestrator.errors import ExecutionCancelled, ExecutionOwned, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.cli.driving import Drive
    from orchestrator.core.ending import Result
    from orchestrator.core.engine import Engine
    from orchestrator.domain.plan import Plan
    from orchestrator.domain.strategy import ResumeStrategy

T = TypeVar("T")

WAIT_POLL_SECONDS = 0.5
NAMED = 3


@click.command(
    "resume",
    cls=Command,
    examples=(
        "orchestrator resume exec_1a2b3c",
        "orchestrator resume exec_1a2b3c --dry-run",
        "orchestrator resume exec_1a2b3c --retry clean --skip report",
        "orchestrator resume exec_1a2b3c --pipeline edited.yaml",
        "orchestrator resume exec_1a2b3c --from clean --downstream --reason 'the filter was wrong'",
        "orchestrator resume exec_1a2b3c --from exec_1a2b3c@17",
        "orchestrator resume exec_1a2b3c --set-result fetch=@rows.json --until report",
        "orchestrator resume exec_1a2b3c --strategy max_retry_attempts=5 --wait",
        "orchestrator resume exec_1a2b3c --detach --to-queue nightly",
        "orchestrator resume --all --status failed --since 1d --yes",
    ),
)
@click.argument("execution", required=False, shell_complete=complete_execution)
@request_options
@expect_option
@strategy_option
@click.option("--steal", is_flag=True, help="Take over from an owner that is stopped.")
@click.option("--wait", is_flag=True, help="Wait until the present owner is gone.")
@click.option("--detach", is_flag=True, help="Let a server of the store go on with it.")
@click.option("--to-queue", metavar="QUEUE", help="With --detach or --all: the queue to wait in, else its own.")
@click.option("--priority", type=int, metavar="N", help="With --detach or --all: higher goes first, else its own.")
@selection_options
@run_options
@pass_common
async def resume_command(
    common: Common,
    execution: str | None,
    *,
    expect: str | None,
    detach: bool,
    to_queue: str | None,
    priority: int | None,
    **others: Any,
) -> int:
    """Go on with an execution exactly where it was.

    What was completed is reused; what was running when the process died, or failed, runs again. The plan is printed
    first. A completed execution is left as it is. A pause is taken back.

    With --pipeline it goes on under an edited definition: what is not affected keeps its results. --rerun, --from,
    --set-result and --until say what else is to run, or is not; `orchestrator plan` with the same options shows it.

    --detach leaves it to a server; --all does so with every execution that is paused, stopped or interrupted, or has
    the --status given. Without these it runs here, and --dry-run prints its plan and does nothing.
    """
    request, ownership = _take(Request, others), _take(_Ownership, others)
    options, selection = _take(Options, others), Selection(**others)
    selection.check([] if execution is None else [execution])
    if execution is None or detach:
        if ownership != _Ownership() or request.until is not None:
            raise UsageError("--until, --strategy, --steal and --wait are for a resume that runs here")
        if execution is None and expect is not None:
            raise UsageError("--expect is about one execution, not about --all")
        names = [] if execution is None else [execution]
        return await give_to_servers(common, names, selection, Wanted(to_queue, priority, request, expect))
    if to_queue is not None or priority is not None:
        raise UsageError("--to-queue and --priority go with --detach or --all")
    if selection.dry_run:
        async with common.reading(execution) as reader:
            await show_plan(reader, execution, request, ownership.strategy, as_json=options.as_json)
        return 0
    await _resume_here(common, _Wish(execution, request, ownership, expect, options))
    return 0


@dataclass(frozen=True, slots=True)
class _Ownership:
    """How to resume an execution here: what the options of the same names say."""

    strategy: tuple[str, ...] = ()
    steal: bool = False
    wait: bool = False


def _take(kind: type[T], given: dict[str, Any]) -> T:
    """Take the fields of a dataclass out of what was given."""
    return kind(**{field.name: given.pop(field.name) for field in fields(kind)})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Wish:
    """A resume that runs here: of what, and how."""

    execution: str
    request: Request
    ownership: _Ownership
    expect: str | None
    options: Options

    async def start(self, drive: Drive, strategy: ResumeStrategy | None, admitted: Callable[[Engine], None]) -> Result:
        """Begin it, and see it through."""
        orchestrator, planned = drive.orchestrator, False

        def note(plan: Plan) -> None:
            nonlocal planned
            planned = True
            drive.display.planned(self.execution, plan)
            self._tell_of_changes(drive, plan)

        result = await orchestrator.resume_pipeline(
            self.execution, strategy, steal=self.ownership.steal, expect=self.expect, admitted=admitted, planned=note,
            wait=drive.waits, **self.request.options(),
        )  # fmt: skip
        if not planned and not (self.options.as_json or self.options.quiet):
            output.say(f"execution {self.execution} is completed already; there is nothing to run")
            self._tell_of_changes(drive, await orchestrator.plan(self.execution))
        return result

    def _tell_of_changes(self, drive: Drive, plan: Plan) -> None:
        """Say to whoever goes on with what is recorded that its file, or what steps ran with, is another one now."""
        if self.request.pipeline is None:
            drive.note(drive.orchestrator.definition_on_disk(plan))
        kept = [each.task for each in plan.decisions if each.verb is Verb.REUSE and each.reason.startswith("kept, ")]
        if kept and self.request.on_change is None:
            named = ", ".join(kept[:NAMED]) + (f" and {len(kept) - NAMED:,} more" if len(kept) > NAMED else "")
            have, are = ("step has", "is") if len(kept) == 1 else ("steps have", "are")
            how = f"`orchestrator plan {self.execution}` says how; to follow: --on-change rerun"
            drive.note(f"{len(kept):,} finished {have} changed since and {are} kept ({named}): {how}")


async def _resume_here(common: Common, wish: _Wish) -> None:
    from orchestrator.cli.driving import Drive

    execution = wish.execution
    wish.request.options()  # what is wrong with them is told before anything else
    async with common.reading(execution) as reader:
        chosen = await strategy_of(reader, execution, wish.ownership.strategy)
    while True:
        drive = Drive(common, wish.options)
        try:
            await drive.run(execution, partial(wish.start, drive, chosen))
        except ExecutionOwned as error:
            if not wish.ownership.wait:
                raise
            await _wait_for_owner(common, execution, error)
        else:
            return


async def _wait_for_owner(common: Common, execution: str, error: ExecutionOwned) -> None:
    output.tell(f"waiting for the owner of execution {execution}: {output.clean(error.owner)}")
    async with common.reading(execution) as reader:
        while True:
            summary = await reader.get_summary(execution)
            if summary.holder is None or not summary.holder.alive:
                if summary.status is ExecutionStatus.CANCELLED:
                    # Who waits to go on was not asked; who cancelled has been told that nothing begins any more.
                    raise ExecutionCancelled(
                        f"execution {execution} was cancelled meanwhile; "
                        f"to go on after all: {reader.resume_command(execution)}",
                        execution,
                    )
                return
            await asyncio.sleep(WAIT_POLL_SECONDS)
