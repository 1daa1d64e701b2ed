"""What a pipeline says and may say, before anything runs: `validate`, `graph`, `tools`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.completing import complete_execution, complete_tool
from orchestrator.cli.inspect import as_json_option
from orchestrator.cli.output import plural, style
from orchestrator.errors import DefinitionError, Diagnostic, TaskError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.cli.drawing import Node
    from orchestrator.cli.nodes import Counts
    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.tools.registry import ActionDescription, ToolDescription

MARKS = {
    "completed": "✓",
    "failed": "✗",
    "parked": "✗",
    "in_doubt": "?",
    "running": "▶",
    "expanded": "▶",
    "skipped": "○",
    "blocked": "·",
}


@click.command(
    "validate",
    cls=Command,
    examples=(
        "orchestrator validate pipeline.yaml",
        "orchestrator validate pipelines/*.yaml",
        "orchestrator validate flow.py:nightly",
    ),
)
@click.argument("files", metavar="FILE|MODULE:NAME...", nargs=-1, required=True, type=click.Path())
@pass_common
def validate_command(common: Common, files: tuple[str, ...]) -> None:
    """Check pipelines and report every mistake.

    They are files, or in Python. A mistake is told as file:line:column, the place in the document, what is wrong and
    what may have been meant. Tools and their parameters are checked too. Nothing is run.
    """
    from orchestrator.compiler.places import compile_at

    orchestrator = common.orchestrator()
    mistakes: list[Diagnostic] = []
    for file in files:
        try:
            pipeline = compile_at(Path(file), tools=orchestrator.tools, library=orchestrator.library)
        except DefinitionError as error:
            mistakes += error.diagnostics
            continue
        counts = [plural(len(pipeline.tasks), "step")]
        counts += [plural(len(pipeline.inputs), "input")] * bool(pipeline.inputs)
        counts += [plural(len(pipeline.outputs), "output")] * bool(pipeline.outputs)
        if pipeline.schedule is not None:
            counts.append(f"schedule {output.one_line(pipeline.schedule.cron)} in {pipeline.schedule.timezone}")
        output.say(f"{output.clean(file)}: {style('OK', 'green')}, pipeline {pipeline.id}, {', '.join(counts)}")
    if mistakes:
        raise DefinitionError(mistakes)


@click.command(
    "graph",
    cls=Command,
    examples=(
        "orchestrator graph pipeline.yaml",
        "orchestrator graph pipeline.yaml --format mermaid",
        "orchestrator graph exec_1a2b3c",
    ),
)
@click.argument("name", metavar="FILE|MODULE:NAME|EXECUTION", type=click.Path(), shell_complete=complete_execution)
@click.option("--format", "form", type=click.Choice(["text", "mermaid"]), default="text", show_default=True)
@pass_common
async def graph_command(common: Common, name: str, form: str) -> None:
    """Draw the steps and what they depend on.

    For an execution, the status of each stands with it. Read the lanes downwards: they lead from a step to those that
    need it. Steps in others are drawn once, under these; of those made of one, there stands how many have which status.
    """
    from orchestrator.cli import drawing
    from orchestrator.cli.nodes import nodes_of

    pipeline, counts = await _graph_of(common, name)
    nodes = nodes_of(pipeline.tasks.values(), counts)
    for line in drawing.mermaid(nodes) if form == "mermaid" else _drawn(nodes):
        output.say(line)


def _drawn(nodes: Mapping[str, Node]) -> list[str]:
    """Return the lines of a drawing of steps, with those in others under them."""
    from orchestrator.cli import drawing

    def label(step: str) -> str:
        name, _, rest = nodes[step].label.partition("  ")
        return f"{style(name, 'bold')}  {style(rest, output.STATUS_COLOUR.get(nodes[step].status, 'dim'))}"

    def mark(step: str) -> str:
        known = nodes[step].status
        return style(MARKS.get(known, "●"), output.STATUS_COLOUR.get(known, "bold"))

    def below(step: str) -> list[str]:
        return _drawn(nodes[step].inside) if nodes[step].inside else []

    return drawing.draw({step: node.needs for step, node in nodes.items()}, label, mark, below)


def _is_file(path: Path) -> bool:
    from orchestrator.compiler.places import python_place

    named = path.suffix in (".yaml", ".yml", ".py") or len(path.parts) > 1
    return named or path.exists() or python_place(path) is not None


async def pipeline_of(common: Common, name: str) -> Pipeline:
    """Return the pipeline of a file, or of an execution."""
    return (await _graph_of(common, name))[0]


async def _graph_of(common: Common, name: str) -> tuple[Pipeline, Counts]:
    """Return the pipeline of a file, or of an execution with the statuses of its steps."""
    from orchestrator.cli.folding import statuses
    from orchestrator.cli.nodes import counts_of
    from orchestrator.compiler.places import compile_at

    if _is_file(Path(name)):
        orchestrator = common.orchestrator()
        return compile_at(name, tools=orchestrator.tools, library=orchestrator.library), {}
    async with common.reading(name) as orchestrator:
        summary = await orchestrator.get_summary(name)
        state = await orchestrator.get_state(name)
    if state.pipeline is None:
        raise UsageError(f"execution {name!r} was saved without a pipeline: there are no steps to look at")
    return state.pipeline, counts_of(state.graph, statuses(state, summary))


@click.command(
    "tools",
    cls=Command,
    examples=("orchestrator tools", "orchestrator tools filesystem", "orchestrator tools shell --json"),
)
@click.argument("tool", required=False, shell_complete=complete_tool)
@as_json_option
@pass_common
def tools_command(common: Common, tool: str | None, *, as_json: bool) -> None:
    """List the tools, or describe one.

    A description has the tool's actions with their parameters, as steps name them.
    """
    registry: Any = common.orchestrator().tools
    if tool is not None:
        try:
            found: ToolDescription = registry.describe(tool)
        except TaskError as error:
            raise UsageError(_with_hint(error.message, tool, registry.names())) from error
        output.emit(_object(found)) if as_json else _print_tool(found)
        return
    faults: dict[str, str] = registry.faults()
    rows = []
    for name in registry.names():
        if name in faults:
            continue
        found = registry.describe(name)
        if as_json:
            output.emit(_object(found))
        else:
            rows.append((name, ", ".join(action.name for action in found.actions), found.summary))
    if not as_json:
        output.table(("tool", "actions", "what it does"), rows)
    for name, reason in faults.items():
        output.tell(f"tool {output.one_line(name)} cannot be used: {output.one_line(reason)}")


def _with_hint(message: str, tool: str, names: list[str]) -> str:
    from orchestrator.domain.words import did_you_mean

    hint = did_you_mean(tool, names)
    return f"{message} ({hint})" if hint else message


def _object(tool: ToolDescription) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(tool)


def _print_tool(tool: ToolDescription) -> None:
    output.say(f"{style(tool.name, 'bold')}  {output.clean(tool.summary)}", f"  {style(tool.origin, 'dim')}")
    for action in tool.actions:
        _print_action(action)


def _print_action(action: ActionDescription) -> None:
    note = style("  (default)", "dim") if action.default else ""
    output.say(
        "", f"{style(action.name, 'bold')}{note}", *(f"  {line}" for line in output.clean(action.text).splitlines())
    )
    rows = []
    for each in action.parameters:
        default = "required" if each.required else f"default {output.compact(each.default)}"
        rows.append((f"  {each.name}", each.type, default, each.description))
    if rows:
        width, second, third = (max(len(row[column]) for row in rows) for column in range(3))
        for name, kind, default, description in rows:
            line = f"{name:<{width}}  {kind:<{second}}  {default:<{third}}  {description}"
            output.say(output.clean(line).rstrip())
    if action.more:
        output.say("  and parameters of any other name")
