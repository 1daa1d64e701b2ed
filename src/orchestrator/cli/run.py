"""`orchestrator run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.common import Command, Common, pass_common, run_async
from orchestrator.cli.driving import Options, run_options
from orchestrator.errors import DefinitionError, Diagnostic, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.cli.driving import Drive
    from orchestrator.core.ending import Result
    from orchestrator.core.engine import Engine
    from orchestrator.domain.pipeline import Pipeline

INPUT_BYTES = 100_000_000


def input_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add to a command what says with which inputs an execution is made, and under which id."""
    for option in (
        click.option("--execution-id", metavar="ID", help="The id of the new execution; made up if not given."),
        click.option(
            "--input-file", type=click.Path(), metavar="FILE", help="Inputs from a JSON or YAML file; -i goes before."
        ),
        click.option(
            "-i",
            "--input",
            "given",
            multiple=True,
            metavar="NAME=VALUE",
            help="An input, read as its declared type; NAME=@FILE takes a file's text, NAME=@@x the text @x.",
        ),
    ):
        function = option(function)
    return function


@click.command(
    "run",
    cls=Command,
    examples=(
        "orchestrator run pipeline.yaml",
        "orchestrator run flow.py:nightly -i user=ada",
        "orchestrator run pipeline.yaml -i limit=100 -i name=JFK -i 'days=[1, 2, 3]'",
        "orchestrator run pipeline.yaml -i query=@query.sql --input-file inputs.yaml",
        "orchestrator run pipeline.yaml --execution-id nightly-2026-01-31 --json",
    ),
)
@click.argument("file", metavar="FILE|MODULE:NAME", type=click.Path())
@input_options
@run_options
@pass_common
def run_command(
    common: Common, file: str, given: tuple[str, ...], input_file: str | None, execution_id: str | None, **options: Any
) -> None:
    """Run a pipeline as a new execution.

    It is that of a file, or one in Python: MODULE:NAME, FILE.py:NAME. The first line tells the execution's id;
    whatever happens then, `orchestrator resume ID` goes on from there. Ctrl-C once stops gracefully, twice leaves at
    once.
    """
    from orchestrator.cli.driving import Drive
    from orchestrator.compiler.places import compile_at
    from orchestrator.domain.ids import chosen_id

    if execution_id is not None:
        chosen_id(execution_id)
    drive = Drive(common, Options(**options))
    pipeline = compile_at(Path(file), tools=drive.orchestrator.tools, library=drive.orchestrator.library)
    inputs = read_inputs(pipeline, given, input_file)
    run_async(_run(drive, pipeline, inputs, execution_id or drive.orchestrator.new_execution_id(), Path(file)))


async def _run(drive: Drive, pipeline: Pipeline, inputs: dict[str, Any], execution_id: str, source: Path) -> None:
    async def start(admitted: Callable[[Engine], None]) -> Result:
        return await drive.orchestrator.run_pipeline(
            pipeline, inputs, execution_id=execution_id, admitted=admitted, source=source, wait=drive.waits
        )

    await drive.run(execution_id, start)


def read_inputs(
    pipeline: Pipeline, given: Sequence[str], input_file: str | None, recorded: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the inputs a command line names, each read as its declared type; ``recorded`` hold where it names none.

    Raises DefinitionError with everything that is wrong with them, UsageError for an option that is none.
    """
    from orchestrator.compiler.inputs import bind_inputs, parse_input

    values: dict[str, Any] = {} if input_file is None else _read_file(Path(input_file))
    mistakes: list[Diagnostic] = []
    for item in given:
        name, equals, text = item.partition("=")
        if not equals or not name:
            raise UsageError(f"-i {item}: expected NAME=VALUE")
        text = _text_of(name, text)
        declared = pipeline.inputs.get(name)
        try:
            values[name] = text if declared is None else parse_input(declared, text)
        except UsageError as error:
            values.pop(name, None)
            message = str(error).removeprefix(f"input {name}: ")
            mistakes.append(Diagnostic(message, name, "<inputs>"))
    try:
        bind_inputs(pipeline, {**(recorded or {}), **values})
    except DefinitionError as error:
        known = {mistake.path for mistake in mistakes}
        mistakes += [each for each in error.diagnostics if each.path not in known]
    if mistakes:
        raise DefinitionError(mistakes)
    return values


def _text_of(name: str, text: str) -> str:
    if text.startswith("@@"):
        return text[1:]
    if text.startswith("@"):
        return read_text(Path(text[1:]), f"-i {name}=@")
    return text


def read_text(path: Path, what: str) -> str:
    """Return the text of a file that a command line names; ``what`` begins the message if it cannot be read."""
    try:
        if path.stat().st_size > INPUT_BYTES:
            raise UsageError(f"{what}{path}: larger than {INPUT_BYTES:,} bytes")
        return path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"{what}{path}: {error.strerror or error}") from error
    except ValueError as error:
        raise UsageError(f"{what}{path}: not UTF-8 text ({error})") from error


def _read_file(path: Path) -> dict[str, Any]:
    what = "--input-file "
    text = read_text(path, what)
    if path.suffix == ".json":
        import json

        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{what}{path}: not JSON: {error}") from error
    else:
        from orchestrator.compiler.load import load

        values = load(text, file=str(path)).plain()
    if not isinstance(values, dict):
        raise UsageError(f"{what}{path}: expected a mapping of input names to values")
    return values
