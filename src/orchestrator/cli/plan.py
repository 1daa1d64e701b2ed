"""`orchestrator plan`: what a resume would do with each step, and why; `resume --dry-run` and `fork --dry-run` too."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import display, output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.completing import complete_execution
from orchestrator.cli.folding import ITEMS, folded
from orchestrator.cli.inspect import as_json_option
from orchestrator.cli.requests import Request, request_options, strategy_of, strategy_option
from orchestrator.domain.expansion import Graph
from orchestrator.domain.plan import Verb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.plan import Plan
    from orchestrator.orchestrator import Orchestrator

ROWS = 200
"""Steps shown of each verb; where there are more steps in all, those that are reused are only counted.

Long containers are folded before.
"""
COLOURS = {"reuse": "green", "rerun": "yellow", "rerun?": "yellow", "run": "cyan", "skip": "dim", "wait": "red"}


@click.command(
    "plan",
    cls=Command,
    examples=(
        "orchestrator plan exec_1a2b3c",
        "orchestrator plan exec_1a2b3c --pipeline edited.yaml",
        "orchestrator plan exec_1a2b3c --rerun clean --downstream",
        "orchestrator plan exec_1a2b3c --set-result fetch=@rows.json --until report",
        "orchestrator plan exec_1a2b3c --pipeline edited.yaml --json",
    ),
)
@click.argument("execution", shell_complete=complete_execution)
@request_options
@strategy_option
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help=f"List all steps, where there are more than {ROWS}, or than {ITEMS} items.",
)
@as_json_option
@pass_common
async def plan_command(
    common: Common, execution: str, *, strategy: tuple[str, ...], everything: bool, as_json: bool, **asked: Any
) -> None:
    """Show what a resume would do with each step, and why.

    Takes what `orchestrator resume` takes, owns nothing and changes nothing. A step is reused, run again (rerun? is
    only run again if what it is given turns out to be something else), run, skipped, or has to wait. The last line is
    the command that does exactly this, and refuses to do anything else.
    """
    async with common.reading(execution) as reader:
        await show_plan(reader, execution, Request(**asked), strategy, as_json=as_json, everything=everything)


async def show_plan(
    reader: Orchestrator,
    execution: str,
    request: Request,
    strategy: Sequence[str] = (),
    *,
    as_json: bool,
    everything: bool = False,
) -> None:
    """Print the plan of a resume, and the command that carries it out."""
    options = request.options()
    plan = await reader.plan(execution, await strategy_of(reader, execution, strategy), **options)
    note = "" if request.pipeline is not None else reader.definition_on_disk(plan)
    words = [*request.words(), *(word for each in strategy for word in ("--strategy", each))]
    command = carrying_out(reader.resume_command(execution), words, plan)
    if as_json:
        output.emit(display.plan_object(execution, plan) | {"command": command, "note": note})
        return
    if note:
        output.tell(f"note: {output.clean(note)}")
    print_plan(plan, "" if plan.changes_nothing else command, everything=everything)


def carrying_out(command: str, words: Sequence[str], plan: Plan) -> str:
    """Return the command that carries a plan out, and no other one; ``command`` is it without its options."""
    import shlex

    return f"{command} {shlex.join([*words, '--expect', plan.digest])}"


def print_plan(plan: Plan, command: str, *, everything: bool) -> None:
    """Print a plan: in one line, what else changes, step by step, and how to carry it out (empty: nothing to do)."""
    output.say(display.plan_line(plan), *display.plan_notes(plan))
    rows, left = _rows(plan, everything=everything)
    output.say("")
    if rows:
        output.table(("step", "verb", "why"), rows, paint=COLOURS.get)
    for verb, more in left.items():
        output.say(f"… and {more:,} more: {verb} (`orchestrator plan --all` lists them)")
    digest = output.style(plan.digest, "bold")
    how = f"carry it out with: {output.clean(command)}" if command else "there is nothing to run"
    output.say("", f"plan {digest}; {how}")


def _rows(plan: Plan, *, everything: bool) -> tuple[list[tuple[str, str, str]], dict[str, int]]:
    """Return the rows of a plan, and how many decisions of each verb are left out at the end of it."""
    many = len(plan.decisions) > ROWS and not everything
    decisions = {decision.task: decision for decision in plan.decisions}
    left: dict[str, int] = {}
    rows = []
    graph = plan.graph if plan.graph is not None else Graph({})
    for row in folded(graph, lambda name: decisions[name].verb is not Verb.REUSE, everything=everything):
        if row.hidden:
            verbs = Counter(display.verb_of(decisions[name]) for name in row.hidden)
            told = ", ".join(f"{count:,} {verb}" for verb, count in verbs.items())
            rows.append((row.shown, "", f"{told} (`orchestrator plan --all` lists them)"))
            continue
        decision = decisions[row.name]
        verb = display.verb_of(decision)
        seen = left[verb] = left.get(verb, 0) + 1
        if not many or (seen <= ROWS and verb != "reuse"):
            rows.append((row.shown, verb, decision.reason))
    more = {verb: count if verb == "reuse" else count - ROWS for verb, count in left.items()} if many else {}
    return rows, {verb: count for verb, count in more.items() if count > 0}
