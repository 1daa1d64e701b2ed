"""Answering what waits: `signal` and `approve`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.completing import complete_choice, complete_execution, complete_signal, complete_waiting
from orchestrator.cli.inspect import as_json_option
from orchestrator.cli.output import iso, moment
from orchestrator.cli.run import read_text
from orchestrator.domain.waits import SEND_BACK
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.answering import PendingWait
    from orchestrator.orchestrator import Orchestrator


@click.command(
    "signal",
    cls=Command,
    examples=(
        "orchestrator signal exec_1a2b3c paid",
        "orchestrator signal exec_1a2b3c paid --payload '{\"amount\": 12.5}' --by billing",
        "orchestrator signal exec_1a2b3c delivered --payload @delivery.json",
    ),
)
@click.argument("execution", shell_complete=complete_execution)
@click.argument("name", shell_complete=complete_signal)
@click.option("--payload", metavar="JSON", help="What is sent along: JSON, or @FILE with JSON in it; else nothing.")
@click.option("--by", metavar="NAME", help="Who sends it; else the user of this process.")
@pass_common
async def signal_command(common: Common, execution: str, name: str, payload: str | None, by: str | None) -> None:
    """Send a signal to an execution, for a step that waits for one of this name.

    It is kept until the execution has it on record, whoever is at work on it or nobody, and also if no step waits for
    it yet. A payload that is not what the waiting step's schema says is refused.
    """
    value = None if payload is None else read_json(payload, "--payload")
    async with common.reading(execution) as orchestrator:
        await orchestrator.signal(execution, name, value, by=by)
        output.say(f"execution {execution}: signal {output.one_line(name)} is sent")
        await _tell_what_is_next(orchestrator, execution)


@click.command(
    "approve",
    cls=Command,
    examples=(
        "orchestrator approve",
        "orchestrator approve exec_1a2b3c",
        "orchestrator approve exec_1a2b3c review publish --comment 'well done'",
        "orchestrator approve exec_1a2b3c order --form '{\"amount\": 3}' --by Ann",
        "orchestrator approve exec_1a2b3c review --send-back draft --comment 'too long'",
    ),
)
@click.argument("execution", required=False, shell_complete=complete_execution)
@click.argument("step", required=False, shell_complete=complete_waiting)
@click.argument("choice", required=False, shell_complete=complete_choice)
@click.option("--form", metavar="JSON", help="What is filled in: JSON, or @FILE with JSON in it.")
@click.option("--comment", metavar="TEXT", help="Recorded with the answer.")
@click.option("--send-back", metavar="STEP", help="Instead of a choice: run this step and all after it again.")
@click.option("--by", metavar="NAME", help="Who answers; else the user of this process.")
@as_json_option
@pass_common
async def approve_command(  # noqa: PLR0913 - an answer has these parts
    common: Common,
    execution: str | None,
    step: str | None,
    choice: str | None,
    *,
    form: str | None,
    comment: str | None,
    send_back: str | None,
    by: str | None,
    as_json: bool,
) -> None:
    """Answer a step that asks for an approval; without EXECUTION, list the steps that ask.

    STEP may be left out where only one asks. At a terminal, what is missing is asked for. The answer is kept until the
    execution has it on record, whoever is at work on it or nobody; who answered and when stands in the step's result.
    """
    if execution is None or (as_json and step is None and choice is None):
        await _list(common, execution, as_json=as_json)
        return
    filled = None if form is None else read_json(form, "--form")
    async with common.reading(execution) as orchestrator:
        asking = await orchestrator.pending_approvals(execution)
        found = next((each for each in asking if each.step == step), None) if step is not None else None
        if step is None and output.is_terminal(sys.stdin) and len(asking) > 1:
            step = _ask("step", [each.step for each in asking])
        if step is None and len(asking) == 1:
            found = asking[0]
        found = found or next((each for each in asking if each.step == step), None)
        if found is not None and choice is None and send_back is None and output.is_terminal(sys.stdin):
            choice, filled, send_back, comment = _interview(found, filled, comment)
        if choice == SEND_BACK and found is not None and len(found.send_back) == 1 and SEND_BACK not in found.choices:
            choice, send_back = None, found.send_back[0]
        answer = await orchestrator.approve(
            execution, step, choice, form=filled, comment=comment, send_back=send_back, by=by
        )
        if as_json:
            output.emit({"execution_id": execution, "step": step, "answer": answer})
            return
        named = step or (found.step if found is not None else "")
        said = f"sent back to {send_back}" if send_back is not None else choice if choice is not None else "filled in"
        output.say(f"execution {execution}: {output.one_line(named)}: {output.one_line(said)}")
        await _tell_what_is_next(orchestrator, execution)


async def _list(common: Common, execution: str | None, *, as_json: bool) -> None:
    """List what asks for an approval."""
    found: list[PendingWait] = []
    if common.has_store() or execution is not None:
        async with common.reading(execution) as orchestrator:
            found = await orchestrator.pending_approvals(execution)
    if as_json:
        for each in found:
            output.emit(wait_object(each))
        return
    if not found:
        output.tell("no step asks for an approval")
        return
    rows = [
        (each.execution_id, each.step, output.one_line(each.text, 160), moment(each.since), _until(each.until))
        for each in found
    ]
    output.table(("execution", "step", "question", "since", "until"), rows)
    output.tell("answer with: orchestrator approve EXECUTION STEP CHOICE")


def wait_object(wait: PendingWait) -> dict[str, Any]:
    """Return for machines what a step waits for."""
    return {
        "execution_id": wait.execution_id,
        "step": wait.step,
        "kind": wait.kind,
        "name": wait.name,
        "text": wait.text,
        "question": wait.question or None,
        "choices": list(wait.choices),
        "schema": wait.schema,
        "send_back": list(wait.send_back),
        "since": iso(wait.since),
        "until": iso(wait.until),
        "answered_by": wait.answered_by or None,
    }


def _until(at: float | None) -> str:
    return "" if at is None else moment(at)


def _interview(wait: PendingWait, form: Any, comment: str | None) -> tuple[str | None, Any, str | None, str | None]:
    """Ask at the terminal for what is missing: the choice, the form, the comment, and the step it is sent back to."""
    output.tell(output.clean(wait.question))
    choice: str | None = None
    offered = [*wait.choices, *([SEND_BACK] if wait.send_back else [])]
    if offered:
        choice = _ask("choice", [*([] if wait.choices or form is not None else ["form"]), *offered])
    if choice == SEND_BACK and SEND_BACK not in wait.choices:
        step = wait.send_back[0] if len(wait.send_back) == 1 else _ask("back to", wait.send_back)
        return None, None, step, comment or click.prompt("comment", default="", show_default=False, err=True) or None
    if choice == "form" and not wait.choices:
        choice = None
    if wait.schema is not None and form is None:
        form = read_json(click.prompt("form (JSON)", err=True), "form")
    return choice, form, None, comment


def _ask(what: str, offered: Sequence[str]) -> str:
    found: str = click.prompt(what, type=click.Choice(list(offered)), err=True)
    return found


def read_json(text: str, what: str) -> Any:
    """Read JSON that a command line holds, or the file after an @; ``what`` begins the message if it is none."""
    hint = "; a text needs its quotes, a file its @"
    if text.startswith("@"):
        what, hint = f"{what} {text}", ""
        text = read_text(Path(text[1:]), f"{what.partition(' ')[0]} @")
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{what}: not JSON: {error}{hint}") from error


def _no_constant(name: str) -> Any:
    raise ValueError(f"JSON has no {name}")


async def _tell_what_is_next(orchestrator: Orchestrator, execution: str) -> None:
    """Say who goes on with the execution, or the command that does."""
    summary = await orchestrator.get_summary(execution)
    if summary.holder is not None and summary.holder.alive:
        output.tell(f"it goes on: {output.one_line(summary.holder.owner)} is at work on it")
    elif summary.place is not None and summary.paused_by is None:
        output.tell(f"the next server of queue {summary.place.queue} goes on with it")
    else:
        output.tell(f"go on with: {output.clean(orchestrator.resume_command(execution))}")
