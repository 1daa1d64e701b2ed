"""`orchestrator logs`: what the steps logged, from the files that `observe.logs` writes."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.completing import complete_execution, complete_steps
from orchestrator.cli.inspect import as_json_option
from orchestrator.cli.step import no_step
from orchestrator.errors import CheckpointUnreadable, UnknownExecution

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.orchestrator import Orchestrator

POLL_SECONDS = 0.3
COLOURS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red", "DEBUG": "dim"}


@click.command(
    "logs",
    cls=Command,
    examples=(
        "orchestrator logs exec_1a2b3c",
        "orchestrator logs exec_1a2b3c clean --tail 20",
        "orchestrator logs exec_1a2b3c --follow",
    ),
)
@click.argument("execution", shell_complete=complete_execution)
@click.argument("step", required=False, shell_complete=complete_steps)
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="Only the last N lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until the execution ends.")
@as_json_option
@pass_common
async def logs_command(
    common: Common, execution: str, step: str | None, *, tail: int | None, follow: bool, as_json: bool
) -> None:
    """Print what the steps logged.

    That is their own lines, and what the commands they ran wrote on stdout and stderr.
    """
    from orchestrator.observe.logs import read_logs

    folder = common.log_folder()
    path = folder / f"{execution}.jsonl"
    async with common.reading(execution) as orchestrator:
        kept = path.exists() if step is None else any(True for _line in read_logs(folder, execution, step))
        await _check(orchestrator, execution, step, kept=kept)
        position = path.stat().st_size if follow and path.exists() else 0
        count = 0
        for line in read_logs(folder, execution, step, tail):
            if output.is_closed():
                return
            count += 1
            _print(line, as_json=as_json)
        if not count and not follow:
            output.tell("no lines logged")
        while follow and not output.is_closed():
            # The order matters: look whether somebody is at work first, then for the last lines they wrote.
            holder = (await orchestrator.get_summary(execution)).holder
            lines, position = _new_lines(path, position)
            for line in lines:
                if step is None or line.get("task") == step:
                    _print(line, as_json=as_json)
            if holder is None or not holder.alive:
                return
            await asyncio.sleep(POLL_SECONDS)


async def _check(orchestrator: Orchestrator, execution: str, step: str | None, *, kept: bool) -> None:
    """Raise if there is no such execution or step.

    Where that cannot be told, or a step that an edited definition has no more, the lines that are kept are enough.
    """
    try:
        await orchestrator.get_summary(execution)
        state = await orchestrator.get_state(execution) if step is not None else None
    except (UnknownExecution, CheckpointUnreadable):
        if not kept:
            raise
        return
    if step is not None and state is not None and step not in state.tasks and not kept:
        raise no_step(execution, state, step)


def _new_lines(path: Path, position: int) -> tuple[list[dict[str, Any]], int]:
    """Return the whole lines after a position, and the position after them; a file begun anew is read from 0."""
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) < position:
                position = 0
            file.seek(position)
            data = file.read()
    except FileNotFoundError:
        return [], 0
    whole = data[: data.rfind(b"\n") + 1]
    lines = []
    for raw in whole.splitlines():
        try:
            line = json.loads(raw)
        except ValueError:
            continue
        if isinstance(line, dict):
            lines.append(line)
    return lines, position + len(whole)


def _print(line: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.emit(line)
        return
    level = str(line.get("level", ""))
    clock = output.one_line(str(line.get("time", "")))[11:23]
    task = output.style(output.one_line(line.get("task", "")), "cyan")
    mark = "" if level == "INFO" else output.style(f"{output.one_line(level)} ", COLOURS.get(level, "bold"))
    output.say(f"{clock} {task} {mark}{output.clean(line.get('message', ''))}")
