"""`orchestrator schedules`: what a schedule has run, and what comes next."""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.inspect import as_json_option
from orchestrator.cli.output import plural, style
from orchestrator.core.system import SystemClock
from orchestrator.domain.cron import parse_cron, times_after
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.schedule import due, local_text, scheduled_id, scheduled_time, zone_of
from orchestrator.errors import DefinitionError, Diagnostic, ResumeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.domain.schedule import Schedule
    from orchestrator.orchestrator import Orchestrator
    from orchestrator.ports.store import ExecutionSummary

UTC = zone_of("UTC")


class _Row(NamedTuple):
    at: float
    state: str
    reason: str = ""


@click.command(
    "schedules",
    cls=Command,
    examples=("orchestrator schedules nightly.yaml", "orchestrator schedules pipelines/*.yaml --next 20 --json"),
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option("--next", "coming", type=click.IntRange(min=0), default=5, show_default=True, metavar="N",
              help="How many times to come are shown.")  # fmt: skip
@click.option("--last", type=click.IntRange(min=0), default=5, show_default=True, metavar="N",
              help="How many of the times decided last are shown.")  # fmt: skip
@as_json_option
@pass_common
async def schedules_command(common: Common, files: tuple[str, ...], *, coming: int, last: int, as_json: bool) -> None:
    """Show what schedules have run, and what comes next.

    Each time stands as the schedule's clocks show it, and in UTC, with the id of its execution. A time that was
    skipped is a cancelled execution; the reason stands beside it. What is due is run as soon as an
    `orchestrator serve --schedule FILE` looks.
    """
    pipelines = _compiled(common, files)
    now = SystemClock().now()
    async with common.orchestrator() as orchestrator:
        for number, (pipeline, schedule) in enumerate(pipelines):
            known = await orchestrator.list_executions(pipeline_id=pipeline.id) if common.has_store() else []
            made = sorted((at, each) for each in known if (at := scheduled_time(pipeline.id, each.execution_id)))
            rows = [await _recorded(orchestrator, at, each) for at, each in made[len(made) - min(last, len(made)) :]]
            passed = 0
            if made:
                found = due(schedule, made[-1][0], now)
                passed = found.passed
                rows += [_Row(at, "due") for at in found.times]
            rows += [_Row(at, "to come") for at in islice(_coming(schedule, now), coming)]
            if as_json:
                for row in rows:
                    _emit(pipeline, schedule, row)
                continue
            if number:
                output.say("")
            _print(pipeline, schedule, rows)
            if passed:
                output.tell(f"{plural(passed, 'time')} came since, and will not be run (catchup: {schedule.catchup})")


def _compiled(common: Common, files: tuple[str, ...]) -> list[tuple[Pipeline, Schedule]]:
    from orchestrator.compiler.compile import compile_file

    tools = common.orchestrator().tools
    found: list[tuple[Pipeline, Schedule]] = []
    mistakes: list[Diagnostic] = []
    for file in files:
        try:
            pipeline = compile_file(Path(file), tools=tools)
        except DefinitionError as error:
            mistakes += error.diagnostics
            continue
        if pipeline.schedule is None:
            hint = 'add one, like schedule: "0 2 * * *"'
            mistakes.append(Diagnostic(f"pipeline {pipeline.id} has no schedule", "schedule", file, hint=hint))
        else:
            found.append((pipeline, pipeline.schedule))
    if mistakes:
        raise DefinitionError(mistakes)
    return found


def _coming(schedule: Schedule, now: float) -> Iterator[float]:
    return times_after(parse_cron(schedule.cron), zone_of(schedule.timezone), now)


async def _recorded(orchestrator: Orchestrator, at: float, summary: ExecutionSummary) -> _Row:
    state = summary.status.value
    if summary.status is ExecutionStatus.CREATED:
        waits = summary.place is not None
        return _Row(at, "waiting", "for a server" if waits else "for the end of an earlier one")
    if summary.status is ExecutionStatus.CANCELLED:
        try:
            by = (await orchestrator.get_state(summary.execution_id)).cancel_requested
        except ResumeError as error:  # removed meanwhile, or damaged: the others are shown
            return _Row(at, state, str(error))
        return _Row(at, state, f"by {by}" if by else "")
    return _Row(at, state)


def _emit(pipeline: Pipeline, schedule: Schedule, row: _Row) -> None:
    output.emit(
        {
            "pipeline": pipeline.id,
            "at": output.iso(row.at),
            "local": local_text(schedule, row.at),
            "timezone": schedule.timezone,
            "execution_id": scheduled_id(pipeline.id, row.at),
            "state": row.state,
            "reason": row.reason or None,
        }
    )


def _print(pipeline: Pipeline, schedule: Schedule, rows: list[_Row]) -> None:
    settings = f"catchup {schedule.catchup}, overlap {schedule.overlap}"
    cron = output.one_line(schedule.cron)
    output.say(f"{style(pipeline.id, 'bold')}: {cron} in {schedule.timezone}, {settings}")
    zone = zone_of(schedule.timezone)
    cells = [
        (
            datetime.fromtimestamp(row.at, zone).strftime("%a %Y-%m-%d %H:%M %z"),
            datetime.fromtimestamp(row.at, UTC).strftime("%Y-%m-%d %H:%M"),
            scheduled_id(pipeline.id, row.at),
            row.state,
            row.reason,
        )
        for row in rows
    ]
    output.table(("time", "utc", "execution", "state", "reason"), cells, paint=output.paint_status)
