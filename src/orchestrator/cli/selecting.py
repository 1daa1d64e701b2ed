"""Choosing many executions at once: the same filters for `cancel`, `pause` and `resume`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import output
from orchestrator.cli.inspect import STATUSES
from orchestrator.cli.output import plural
from orchestrator.errors import UsageError
from orchestrator.settings import seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from orchestrator.orchestrator import Orchestrator
    from orchestrator.ports.store import ExecutionSummary


@dataclass(frozen=True, slots=True)
class Selection:
    """What the filters of a command say; ``everything`` is --all, without which there are none."""

    everything: bool = False
    status: str | None = None
    pipeline_id: str | None = None
    queue: str | None = None
    since: str | None = None
    dry_run: bool = False
    yes: bool = False

    def check(self, named: Sequence[str]) -> None:
        """Raise UsageError unless executions are either named or chosen."""
        filters = (self.status, self.pipeline_id, self.queue, self.since)
        if self.everything and named:
            raise UsageError("name executions or choose them by --all, not both")
        if not self.everything and any(one is not None for one in filters):
            raise UsageError("the filters choose among all executions: say --all with them")
        if not self.everything and not named:
            raise UsageError("name an execution, or choose by --all (--status, --pipeline-id, --queue, --since)")

    async def find(self, orchestrator: Orchestrator, usual: Collection[str]) -> list[ExecutionSummary]:
        """Return those chosen, newest first; ``usual`` are the statuses that are meant where none is given."""
        try:
            age = seconds_of(self.since) if self.since is not None else None
        except ValueError as error:
            raise UsageError(f"--since: {error}") from error
        found = await orchestrator.list_executions(
            pipeline_id=self.pipeline_id, status=self.status, queue=self.queue, children=False
        )
        oldest = None if age is None else _now() - age
        return [
            one
            for one in found
            if (self.status is not None or one.status.value in usual) and (oldest is None or one.created_at >= oldest)
        ]

    def confirm(self, verb: str, found: Sequence[ExecutionSummary]) -> bool:
        """Show those chosen; True once it is clear that it shall be done."""
        if not found:
            output.tell(f"nothing to {verb}")
            return False
        if self.dry_run:
            for one in found:
                output.say(f"{one.execution_id}  {output.one_line(one.pipeline_id)}  {one.status.value}")
            output.tell(f"would {verb} {plural(len(found), 'execution')}")
            return False
        if not self.yes:
            if not output.is_terminal(sys.stdin):
                raise UsageError(f"{verb} {plural(len(found), 'execution')}: say --yes, or look first with --dry-run")
            click.confirm(f"{verb.capitalize()} {plural(len(found), 'execution')}?", abort=True, err=True)
        return True


def selection_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of Selection to a command; it gets them by their names."""
    for option in (
        click.option("-y", "--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Only tell what would be done."),
        click.option("--since", metavar="AGE", help="With --all: only what was created so recently: 90m, 12h, 7d."),
        click.option("--queue", metavar="QUEUE", help="With --all: only executions given to this queue."),
        click.option("--pipeline-id", metavar="ID", help="With --all: only executions of this pipeline."),
        click.option("--status", type=click.Choice(STATUSES), help="With --all: only executions of this status."),
        click.option("--all", "everything", is_flag=True, help="All executions that it can be done to."),
    ):
        function = option(function)
    return function


def _now() -> float:
    from orchestrator.core.system import SystemClock

    return SystemClock().now()
