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
    from orchestrator.domain.execution import TaskStatus
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.tools.registry import ActionDescription, ToolDescription

MARKS = {
    "completed": "✓",
    "failed": "✗",
    "parked": "✗",
    "in_doubt": "?",
    "running": "▶",
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
    need it.
    """
    pipeline, shown = await _graph_of(common, name)
    from orchestrator.cli import drawing

    tasks = {str(step): task for step, task in pipeline.tasks.items()}
    needs = {step: task.needs for step, task in tasks.items()}
    status = {str(step): known.value for step, known in shown.items()}

    def described(step: str) -> str:
        task = tasks[step]
        tool = output.one_line(f"{task.tool}{f'.{task.action}' if task.action else ''}", 60)
        return f"{step}  {tool}" + (f"  {status[step].replace('_', ' ')}" if status else "")

    if form == "mermaid":
        for line in drawing.mermaid(needs, described, status):
            output.say(line)
        return

    def label(step: str) -> str:
        name, _, rest = described(step).partition("  ")
        return f"{style(name, 'bold')}  {style(rest, output.STATUS_COLOUR.get(status.get(step, ''), 'dim'))}"

    def mark(step: str) -> str:
        known: str = status.get(step, "")
        return style(MARKS.get(known, "●"), output.STATUS_COLOUR.get(known, "bold"))

    for line in drawing.draw(needs, label, mark):
        output.say(line)


def _is_file(path: Path) -> bool:
    from orchestrator.compiler.places import python_place

    named = path.suffix in (".yaml", ".yml", ".py") or len(path.parts) > 1
    return named or path.exists() or python_place(path) is not None


async def pipeline_of(common: Common, name: str) -> Pipeline:
    """Return the pipeline of a file, or of an execution."""
    return (await _graph_of(common, name))[0]


async def _graph_of(common: Common, name: str) -> tuple[Pipeline, dict[TaskId, TaskStatus]]:
    """Return the pipeline of a file, or of an execution with the statuses of its steps."""
    from orchestrator.cli.show import statuses
    from orchestrator.compiler.places import compile_at

    if _is_file(Path(name)):
        orchestrator = common.orchestrator()
        return compile_at(name, tools=orchestrator.tools, library=orchestrator.library), {}
    async with common.reading(name) as orchestrator:
        summary = await orchestrator.get_summary(name)
        state = await orchestrator.get_state(name)
    if state.pipeline is None:
        raise UsageError(f"execution {name!r} was saved without a pipeline: there are no steps to look at")
    return state.pipeline, statuses(state, summary)


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
