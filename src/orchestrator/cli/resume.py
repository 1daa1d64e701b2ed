"""`orchestrator resume`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from orchestrator.cli import display, output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.completing import complete_checkpoint, complete_execution, complete_steps
from orchestrator.cli.driving import Options, run_options
from orchestrator.cli.selecting import Selection, selection_options
from orchestrator.cli.steering import give_to_servers
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.plan import Verb
from orchestrator.errors import ExecutionCancelled, ExecutionOwned, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.core.ending import Result
    from orchestrator.core.engine import Engine
    from orchestrator.domain.plan import Plan
    from orchestrator.domain.strategy import ResumeStrategy
    from orchestrator.orchestrator import Orchestrator

T = TypeVar("T")

WAIT_POLL_SECONDS = 0.5
ALIASES = {
    "max_retries": "max_retry_attempts",
    "checkpoint_interval": "checkpoint_interval_seconds",
    "retry_failed": "retry_failed_tasks",
}


@click.command(
    "resume",
    cls=Command,
    examples=(
        "orchestrator resume exec_1a2b3c",
        "orchestrator resume exec_1a2b3c --dry-run",
        "orchestrator resume exec_1a2b3c --retry clean --skip report",
        "orchestrator resume exec_1a2b3c --from exec_1a2b3c@17",
        "orchestrator resume exec_1a2b3c --strategy max_retry_attempts=5 --wait",
        "orchestrator resume exec_1a2b3c --detach --to-queue nightly",
        "orchestrator resume --all --status failed --since 1d --yes",
    ),
)
@click.argument("execution", required=False, shell_complete=complete_execution)
@click.option(
    "--from", "from_checkpoint", metavar="CHECKPOINT", shell_complete=complete_checkpoint,
    help="Go back to a checkpoint first: what came after it runs again.",
)  # fmt: skip
@click.option(
    "--retry", multiple=True, metavar="STEP", shell_complete=complete_steps, help="Release a failed or parked step."
)
@click.option("--skip", multiple=True, metavar="STEP", shell_complete=complete_steps, help="Go on without a step.")
@click.option(
    "--strategy", multiple=True, metavar="NAME=VALUE", help="A field of the resume strategy, like max_retries=5."
)
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
    detach: bool,
    to_queue: str | None,
    priority: int | None,
    **others: Any,
) -> int:
    """Go on with an execution exactly where it was.

    What was completed is reused; what was running when the process died, or failed, runs again. The plan is printed
    first. A completed execution is left as it is. A pause is taken back.

    --detach leaves it to a server; --all does so with every execution that is paused, stopped or interrupted, or has
    the --status given. Without these it runs here, and --dry-run prints its plan and does nothing.
    """
    wish, options, selection = _take(_Wish, others), _take(Options, others), Selection(**others)
    selection.check([] if execution is None else [execution])
    if execution is None or detach:
        if wish != _Wish():
            raise UsageError("--from, --retry, --skip, --strategy, --steal and --wait are for a resume that runs here")
        names = [] if execution is None else [execution]
        return await give_to_servers(common, names, selection, to_queue, priority)
    if to_queue is not None or priority is not None:
        raise UsageError("--to-queue and --priority go with --detach or --all")
    await _resume_here(common, execution, wish, options, dry_run=selection.dry_run)
    return 0


@dataclass(frozen=True, slots=True)
class _Wish:
    """How to resume an execution here: what the options of the same names say."""

    from_checkpoint: str | None = None
    retry: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    strategy: tuple[str, ...] = ()
    steal: bool = False
    wait: bool = False


def _take(kind: type[T], given: dict[str, Any]) -> T:
    """Take the fields of a dataclass out of what was given."""
    return kind(**{field.name: given.pop(field.name) for field in fields(kind)})  # type: ignore[arg-type]


async def _resume_here(common: Common, execution: str, wish: _Wish, options: Options, *, dry_run: bool) -> None:
    from orchestrator.cli.driving import Drive

    back: dict[str, Any] = {"from_checkpoint": wish.from_checkpoint, "retry": wish.retry, "skip": wish.skip}
    async with common.reading(execution) as reader:
        chosen = await _strategy(reader, execution, wish.strategy)
        if dry_run:
            plan = await reader.plan(execution, chosen, **back)
            _print_plan(execution, plan, as_json=options.as_json)
            return
    while True:
        drive = Drive(common, options)
        planned: list[Plan] = []

        def note(plan: Plan, drive: Drive = drive, planned: list[Plan] = planned) -> None:
            planned.append(plan)
            drive.display.planned(execution, plan)

        async def start(
            admitted: Callable[[Engine], None], drive: Drive = drive, planned: list[Plan] = planned, note: Any = note
        ) -> Result:
            result = await drive.orchestrator.resume_pipeline(
                execution, chosen, **back, steal=wish.steal, admitted=admitted, planned=note
            )
            if not planned and not (options.as_json or options.quiet):
                output.say(f"execution {execution} is completed already; there is nothing to run")
            return result

        try:
            await drive.run(execution, start)
        except ExecutionOwned as error:
            if not wish.wait:
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


async def _strategy(reader: Orchestrator, execution: str, given: Sequence[str]) -> ResumeStrategy | None:
    """Return the pipeline's own strategy with the fields that were given; None if none were."""
    if not given:
        return None
    changes = parse_strategy(given)
    state = await reader.get_state(execution)
    if state.pipeline is None:
        return None  # the resume itself says why it cannot be
    return replace(state.pipeline.resume, **changes)


def parse_strategy(given: Sequence[str]) -> dict[str, Any]:
    """Read ``name=value`` fields of a ResumeStrategy, by their own names or those of the YAML."""
    from orchestrator.domain.strategy import ResumeStrategy

    kinds: dict[str, Any] = {field.name: type(field.default) for field in fields(ResumeStrategy)}
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    changes: dict[str, Any] = {}
    for item in given:
        name, equals, text = item.partition("=")
        name = ALIASES.get(name, name)
        if not equals or name not in kinds:
            import difflib

            near = difflib.get_close_matches(name, [*kinds, *ALIASES], n=1)
            hint = f"did you mean {near[0]}=...?" if near else f"the fields are {', '.join(kinds)}"
            raise UsageError(f"--strategy {item}: expected NAME=VALUE ({hint})")
        try:
            changes[name] = words[text.strip().lower()] if kinds[name] is bool else kinds[name](text)
        except (KeyError, ValueError):
            form = {bool: "true or false", int: "a whole number", float: "a number"}[kinds[name]]
            raise UsageError(f"--strategy {item}: expected {form}") from None
    return changes


def _print_plan(execution: str, plan: Plan, *, as_json: bool) -> None:
    if as_json:
        output.emit(display.plan_object(execution, plan))
        return
    output.say(display.plan_line(plan))
    colours = {Verb.REUSE: "green", Verb.RERUN: "yellow", Verb.RUN: "cyan", Verb.SKIP: "dim", Verb.WAIT: "red"}
    paint = {verb.value: colour for verb, colour in colours.items()}
    output.table(
        ("step", "verb", "why"),
        [(each.task, each.verb.value, each.reason) for each in plan.decisions],
        paint=paint.get,
    )
