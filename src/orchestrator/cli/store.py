"""Keeping a store in order: `prune` and `verify`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.completing import complete_execution
from orchestrator.cli.output import plural
from orchestrator.errors import CheckpointUnreadable, StoreError, UnknownExecution, UsageError
from orchestrator.settings import seconds_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.orchestrator import Orchestrator

DAMAGED_EXIT_CODE = 7
QUIET_SECONDS = 2.0
"""A check that is over sooner shows no progress."""
BAR_WIDTH = 30


@click.command(
    "prune",
    cls=Command,
    examples=(
        "orchestrator prune --older-than 30d --dry-run",
        "orchestrator prune --older-than 2w --keep-last 10 --pipeline-id flights",
        "orchestrator prune --execution exec_1a2b3c --yes",
        "orchestrator prune --dry-run",
    ),
)
@click.option("--older-than", metavar="AGE", help="Only what ended longer ago: 30d, 12h, 90m, 45s, 2w.")
@click.option("--keep-last", type=click.IntRange(min=0), metavar="N", help="Spare the newest N of each pipeline.")
@click.option("--pipeline-id", metavar="ID", help="Only executions of this pipeline.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be removed.")
@click.option("--execution", "executions", multiple=True, metavar="ID", shell_complete=complete_execution,
              help="Remove this execution, whatever its status; may be repeated.")  # fmt: skip
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@pass_common
async def prune_command(
    common: Common,
    *,
    older_than: str | None,
    keep_last: int | None,
    pipeline_id: str | None,
    dry_run: bool,
    executions: tuple[str, ...],
    yes: bool,
) -> None:
    """Remove completed executions.

    Their results and logs go with them. What can still be resumed is never touched, unless it is named by
    --execution. --older-than and --keep-last both spare what they name. With none of these, the rules of
    [[retention]] in orchestrator.toml hold; --dry-run then tells what would go, and why.
    """
    chosen = older_than is not None or keep_last is not None
    if executions and (chosen or pipeline_id is not None):
        raise UsageError("--execution goes alone: the other options choose among completed executions")
    by_policy = not executions and not chosen
    if by_policy and (pipeline_id is not None or not common.settings().retention):
        raise UsageError(
            "say what to remove: --older-than 30d, --keep-last 10, or --execution ID "
            "(or set rules: [[retention]] in orchestrator.toml)"
        )
    try:
        seconds = seconds_of(older_than) if older_than is not None else None
    except ValueError as error:
        raise UsageError(f"--older-than: {error}") from error
    if not common.has_store():
        if executions:
            raise UnknownExecution(executions[0])
        output.tell("nothing to remove: there is no store yet")
        return
    async with common.reading() as orchestrator:
        if executions:
            await _remove(orchestrator, executions, dry_run=dry_run, yes=yes)
            removed = list(executions)
        elif by_policy:
            removals = await orchestrator.state_manager.apply_retention(dry_run=dry_run)
            removed = [f"{each.execution_id}  {each.reason}" for each in removals]
        else:
            removed = await orchestrator.state_manager.cleanup(
                seconds, keep_last, pipeline_id=pipeline_id, dry_run=dry_run
            )
    for name in removed:
        output.say(name)
    output.tell(f"{'would remove' if dry_run else 'removed'} {plural(len(removed), 'execution')}")


async def _remove(orchestrator: Orchestrator, executions: Iterable[str], *, dry_run: bool, yes: bool) -> None:
    for name in executions:
        summary = await orchestrator.get_summary(name)
        try:
            resumable = await orchestrator.resume_manager.can_resume(name)
        except CheckpointUnreadable:
            resumable = False
            output.tell(f"{name} is damaged")
        if resumable:
            output.tell(f"{name} is {summary.status.value} and could still be resumed")
    if dry_run:
        return
    if not yes:
        if not output.is_terminal(sys.stdin):
            raise UsageError("removing executions by name cannot be undone: say --yes")
        click.confirm("Remove for good?", abort=True, err=True)
    await orchestrator.state_manager.remove(list(executions))


@click.command(
    "verify",
    cls=Command,
    examples=("orchestrator verify", "orchestrator verify --store sqlite:////backup/store.db"),
)
@pass_common
async def verify_command(common: Common) -> int:
    """Check every record of the store.

    Ends with 7 and a line for each problem if anything is wrong; other executions stay usable.
    """
    if not common.has_store():
        raise StoreError(f"there is no store at {output.clean(common.settings().store)}")
    bar = _Bar()
    async with common.reading() as orchestrator:
        try:
            problems = await orchestrator.state_manager.verify(bar.advance)
        finally:
            bar.close()
        statistics = await orchestrator.state_manager.get_statistics()
    for problem in problems:
        output.say(output.one_line(problem))
    if problems:
        output.tell(f"{plural(len(problems), 'problem')} in {output.clean(statistics['url'])}")
        return DAMAGED_EXIT_CODE
    counts = [plural(statistics["executions"], "execution"), plural(statistics["commits"], "commit")]
    counts += [plural(statistics["values"] + statistics["blobs"], "value")]
    output.say(f"{output.style('OK', 'green')}: {', '.join(counts)}")
    return 0


class _Bar:
    """A bar on stderr, for a person who has waited long enough to wonder."""

    def __init__(self) -> None:
        from orchestrator.core.system import SystemClock

        self._clock = SystemClock()
        self._last = self._clock.monotonic() + QUIET_SECONDS
        self._drawn = False
        self._wanted = output.is_terminal(sys.stderr)

    def advance(self, done: int, total: int) -> None:
        """Draw, at most ten times a second."""
        now = self._clock.monotonic()
        if not self._wanted or now < self._last:
            return
        self._last, self._drawn = now + 0.1, True
        filled = BAR_WIDTH * done // max(1, total)
        output.write(f"\r{'█' * filled}{'░' * (BAR_WIDTH - filled)} {done:,}/{total:,} executions", "stderr")

    def close(self) -> None:
        """Wipe the line."""
        if self._drawn:
            output.write("\r\x1b[K", "stderr")
