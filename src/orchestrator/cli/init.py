"""`orchestrator init`: a pipeline to start from, out of the templates of this package."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.errors import UsageError

TEMPLATES = {
    "hello": "A function and a command, an input and an output: the least that shows how it goes.",
    "etl": "A CSV file read, cleaned, summed up and checked, with DuckDB (extra `data`).",
    "python": "Functions, one of them long: progress, saved state, retries, a condition.",
}
IGNORED = (".orchestrator/", "__pycache__/")
"""What git should not see: the store, and what Python compiles."""
_FOLDER = Path(__file__).parent / "templates"


class _File(NamedTuple):
    """A file to write, and what shall stand in it."""

    path: Path
    data: bytes


@click.command(
    "init",
    cls=Command,
    examples=("orchestrator init", "orchestrator init sales --template etl", "orchestrator init --list"),
)
@click.argument("folder", required=False, default=".", type=click.Path())
@click.option("--template", type=click.Choice(list(TEMPLATES)), default="hello", show_default=True, help="Which one.")
@click.option("--list", "listing", is_flag=True, help="Only list the templates.")
@click.option("--force", is_flag=True, help="Write over files that are there.")
@pass_common
def init_command(_common: Common, folder: str, template: str, *, listing: bool, force: bool) -> None:
    """Write a pipeline to start from.

    Writes pipeline.yaml, steps.py and orchestrator.toml into FOLDER (the working folder if not given; made if it is
    not there), and adds lines to its .gitignore. The pipeline runs at once. If one of the files is there already,
    nothing is written.
    """
    if listing:
        output.table(("template", "what it is"), list(TEMPLATES.items()))
        return
    place = Path(folder)
    files = _files(place, template)
    there = [file.path for file in files if _exists(file.path)]
    if there and not force:
        names = ", ".join(output.clean(path) for path in there)
        what = "these files are" if len(there) > 1 else "this file is"
        hint = "name another folder, or write over with --force"
        raise UsageError(f"nothing was written, for {what} there already: {names} ({hint})")
    _write(place, files)
    elsewhere = place != Path()
    into = f" in {output.clean(folder)}" if elsewhere else ""
    output.say(f"wrote {', '.join(file.path.name for file in files)}{into}")
    output.say("next:")
    if elsewhere:
        import shlex

        output.say(f"  cd {shlex.quote(output.clean(folder))}")
    if template == "etl":
        output.say("  pip install 'durable-orchestrator[data]'")
    output.say("  orchestrator run pipeline.yaml", "  orchestrator list")


def _files(place: Path, template: str) -> list[_File]:
    sources = [_FOLDER / template / "pipeline.yaml", _FOLDER / template / "steps.py", _FOLDER / "orchestrator.toml"]
    return [_File(place / source.name, source.read_bytes()) for source in sources]


def _exists(path: Path) -> bool:
    """Tell whether something has that name, a link that leads nowhere included."""
    try:
        return path.exists() or path.is_symlink()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be looked at: {getattr(error, 'strerror', None) or error}") from error


def _write(place: Path, files: list[_File]) -> None:
    from orchestrator.cli.files import replace_file

    try:
        place.mkdir(parents=True, exist_ok=True)
        ignore = place / ".gitignore"
        known = ignore.read_bytes() if ignore.exists() else b""
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"{place} cannot be used: it is no folder, or leads through something that is none") from error
    except OSError as error:
        raise UsageError(f"{place} cannot be used: {error.strerror or error}") from error
    lines = known.decode("utf-8", "replace").splitlines()
    missing = "".join(f"{line}\n" for line in IGNORED if line not in lines)
    if missing:
        end = b"" if not known or known.endswith(b"\n") else b"\n"
        replace_file(ignore, known + end + missing.encode())
    for file in files:
        replace_file(file.path, file.data)
