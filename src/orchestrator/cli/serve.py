"""`orchestrator serve`."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.display import Written
from orchestrator.cli.driving import warnings_shown
from orchestrator.cli.output import duration, iso, moment, plural
from orchestrator.core.system import SystemClock
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.core.serving import Notice

FILES = 256
FILES_EACH = 8
"""Open files of a server, and of each of its executions: a lock, a log, and the pipes of a step's process."""


ENDS = ("ended", "paused", "lost", "failed")
"""What a server says of an execution that it has in hand no more."""


@click.command(
    "serve",
    cls=Command,
    examples=(
        "orchestrator serve",
        "orchestrator serve --queues nightly,default --max-executions 20",
        "orchestrator serve --store sqlite:////data/store.db --adopt runs --grace 60",
        "orchestrator serve --schedule nightly.yaml --schedule hourly.yaml",
        "orchestrator serve --exit-when-idle --json",
    ),
)
@click.option("--queues", default="default", show_default=True, metavar="A,B", help="The queues to take from.")
@click.option(
    "--max-executions",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="N",
    help="How many executions run here at once.",
)
@click.option("--max-concurrency", type=int, metavar="N", help="How many steps of one execution run at once.")
@click.option(
    "--adopt",
    type=click.Choice(["runs"]),
    help="Go on, besides, with what an `orchestrator run` or `resume` left whose process died.",
)
@click.option(
    "--schedule",
    "schedules",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="A pipeline file whose `schedule:` is served; may be given several times.",
)
@click.option("--grace", type=float, metavar="S", help="Seconds that a stop waits for running steps.")
@click.option("--exit-when-idle", is_flag=True, help="End once there is nothing to take and nothing runs.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each thing that happens.")
@pass_common
async def serve_command(  # noqa: PLR0913 - they are the options of a command, given by name
    common: Common,
    *,
    queues: str,
    max_executions: int,
    max_concurrency: int | None,
    adopt: str | None,
    schedules: tuple[str, ...],
    grace: float | None,
    exit_when_idle: bool,
    as_json: bool,
) -> None:
    """Run what was submitted, and what others left behind.

    Any number of servers may serve one store: each execution is taken by one of them. When a server dies or stalls,
    another goes on with what it had in hand once the lease is over. SIGTERM or Ctrl-C drains it: it takes nothing
    more, lets running steps end, gives back what is left for others to go on with, and ends with 0. A second signal
    leaves at once.

    With --schedule it gives the pipelines to the first of its queues whenever they are due. Any number of servers may
    serve the same schedule: each time is run once. `orchestrator schedules FILE` shows the times.
    """
    settings = common.settings()
    if grace is not None:
        if not 0 <= grace < float("inf"):
            raise UsageError(f"--grace: expected seconds, 0 or more, got {grace:g}")
        settings = replace(settings, grace=grace)
    names = [name.strip() for name in queues.split(",") if name.strip()]
    _raise_file_limit(max_executions)
    lines = _Lines(as_json=as_json)
    orchestrator = common.orchestrator(settings=settings, max_concurrency=max_concurrency)
    try:
        with warnings_shown(lines):
            async with orchestrator:
                with orchestrator.signals(lambda number, count: lines.draining(number, count, settings.grace)):
                    lines.say("serving", f"{', '.join(names)} of {orchestrator.store_url_shown}")
                    await orchestrator.serve(
                        queues=names,
                        max_executions=max_executions,
                        adopt_runs=adopt is not None,
                        until_idle=exit_when_idle,
                        schedules=schedules,
                        told=lines.note,
                    )
            lines.say("served", f"{plural(lines.ended, 'execution')} ended here")
    finally:
        lines.close()


def _raise_file_limit(executions: int) -> None:
    """Let this process open as many files as so many executions may need, as far as the system allows."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES + FILES_EACH * executions
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Lines(Written):
    """What a server says, a line each."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json
        self._clock = SystemClock()
        self._in_hand = 0
        self.ended = 0

    def say(self, kind: str, text: str, execution_id: str = "") -> None:
        """Put a line."""
        now = self._clock.now()
        if self._as_json:
            about = {"execution_id": execution_id} if execution_id else {}
            self.put(output.compact({"event": kind, "at": iso(now), **about, "text": text}))
            return
        words = {"ended": text, "taken": f"taken ({text})"}.get(kind, f"{kind}: {text}")
        self.put(output.one_line(f"{moment(now)}  {execution_id}{': ' if execution_id else ''}{words}", 1000))

    def note(self, notice: Notice) -> None:
        """Say what the server tells."""
        if notice.kind == "taken":
            self._in_hand += 1
        elif notice.kind in ENDS:
            self._in_hand -= 1
            self.ended += notice.kind == "ended" and notice.text != "stopped"
        self.say(notice.kind, notice.text, notice.execution_id)

    def remark(self, text: str) -> None:
        """Say what the engine warns of."""
        if self._as_json:
            self.say("warning", text)
        else:
            output.tell(text)

    def draining(self, number: int, count: int, grace: float) -> None:
        """Say what a signal does. The second time this runs inside the signal handler: no locks, no lists."""
        if count > 1:
            output.tell("left at once; what was in hand goes on elsewhere once its lease is over")
            return
        again = "press Ctrl-C again" if number == signal.SIGINT else "send the signal again"
        waiting = f", waiting up to {duration(grace)} for running steps ({again} to leave at once)"
        self.say("draining", f"{plural(self._in_hand, 'execution')} in hand{waiting if self._in_hand else ''}")
