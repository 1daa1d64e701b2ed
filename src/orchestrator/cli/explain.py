"""`orchestrator explain`: what a step's result was computed of, and what of that is another now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import display, output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.completing import complete_execution, complete_steps
from orchestrator.cli.inspect import as_json_option
from orchestrator.cli.plan import COLOURS
from orchestrator.cli.requests import pipeline_option

if TYPE_CHECKING:
    from orchestrator.core.explaining import Explanation


@click.command(
    "explain",
    cls=Command,
    examples=(
        "orchestrator explain exec_1a2b3c report",
        "orchestrator explain exec_1a2b3c report --pipeline edited.yaml",
        "orchestrator explain exec_1a2b3c report --json",
    ),
)
@click.argument("execution", shell_complete=complete_execution)
@click.argument("step", shell_complete=complete_steps)
@pipeline_option
@as_json_option
@pass_common
async def explain_command(common: Common, execution: str, step: str, *, pipeline: str | None, as_json: bool) -> None:
    """Show what a step's result was computed of, and what of that has changed.

    These are the parts of its fingerprint: tool and version, code, parameters, the results and files it read. First
    comes what a resume would do with the step, and why.
    """
    async with common.reading(execution) as orchestrator:
        found = await orchestrator.explain(execution, step, pipeline=pipeline)
    if as_json:
        output.emit(_object(execution, found))
        return
    decision = found.decision
    verb = display.verb_of(decision)
    recorded = f"; its result is that of {found.recorded_at}" if found.recorded_at else ""
    name = output.style(output.one_line(found.task), "bold")
    output.say(f"{name}: {output.style(verb, COLOURS[verb])}, {output.one_line(decision.reason)}{recorded}")
    if found.parts:
        changed = [(part, was, now if now is not None else "the same") for part, was, now in found.parts]
        output.say("")
        output.table(("part", "recorded", "now"), changed, paint={"the same": "dim"}.get)


def _object(execution: str, found: Explanation) -> dict[str, Any]:
    decision = found.decision
    return {
        "execution_id": execution,
        "task": found.task,
        "status": found.status,
        "verb": decision.verb.value,
        "conditional": decision.conditional,
        "reason": decision.reason,
        "recorded_at": found.recorded_at or None,
        "parts": [
            {"name": name, "recorded": was, "now": was if now is None else now, "changed": now is not None}
            for name, was, now in found.parts
        ],
    }
