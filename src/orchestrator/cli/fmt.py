"""`orchestrator fmt`: pipeline files in the one layout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.errors import DefinitionError, UsageError

if TYPE_CHECKING:
    from orchestrator.errors import Diagnostic


@click.command(
    "fmt",
    cls=Command,
    examples=(
        "orchestrator fmt pipeline.yaml",
        "orchestrator fmt --check --diff pipelines/*.yaml",
        "orchestrator fmt - < pipeline.yaml",
    ),
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@click.option("--check", is_flag=True, help="Write nothing; exit code 1 if a file would change.")
@click.option("--diff", is_flag=True, help="Write nothing; print what would change.")
@pass_common
def fmt_command(_common: Common, files: tuple[str, ...], *, check: bool, diff: bool) -> None:
    """Write pipeline files in the one layout.

    Comments stay, and what a file means stays: that is checked before anything is written. A file with mistakes is
    left as it is and its mistakes are told. The FILE - stands for stdin, formatted to stdout.
    """
    mistakes: list[Diagnostic] = []
    refused = False
    changed = 0
    for file in files:
        try:
            changed += _format(file, check=check, diff=diff)
        except DefinitionError as error:
            mistakes += error.diagnostics
        except UsageError as error:
            refused = True
            output.tell(output.clean(error))
    if mistakes:
        raise DefinitionError(mistakes)
    if refused:
        raise click.exceptions.Exit(UsageError.exit_code)
    if check and changed:
        raise click.exceptions.Exit(1)


def _format(file: str, *, check: bool, diff: bool) -> bool:
    """Format a file as it is asked for; return whether that changes it."""
    from orchestrator.compiler.compile import read_file
    from orchestrator.compiler.format import formatted
    from orchestrator.compiler.load import MAX_BYTES

    stdin = file == "-"
    name = "<stdin>" if stdin else file
    before = sys.stdin.buffer.read(MAX_BYTES + 1) if stdin else read_file(file)
    try:
        text = formatted(before, file=name)
    except UsageError as error:
        raise UsageError(f"{name} is left as it is: {error}") from error
    after = text.encode()
    changed = after != before
    if diff and changed:
        _print_diff(name, before.decode("utf-8-sig"), text)
    if check and changed:
        output.tell(f"would format {output.clean(name)}")
    if check or diff:
        return changed
    if stdin:
        output.write(text)
    elif changed:
        from orchestrator.cli.files import replace_file

        replace_file(Path(file), after)
        output.tell(f"formatted {output.clean(file)}")
    return changed


def _print_diff(name: str, before: str, after: str) -> None:
    import difflib

    for line in difflib.unified_diff(before.splitlines(), after.splitlines(), name, f"{name} (formatted)", lineterm=""):
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        output.say(output.style(output.clean(line), *([colour] if colour else [])))
