"""`orchestrator schema`: the language for editors."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common


@click.command(
    "schema",
    cls=Command,
    examples=("orchestrator schema > pipeline.schema.json", "orchestrator schema --output pipeline.schema.json"),
)
@click.option("-o", "--output", "file", metavar="FILE", type=click.Path(), help="Write it there, not to stdout.")
@pass_common
def schema_command(_common: Common, *, file: str | None) -> None:
    """Print the JSON Schema of pipeline files.

    With it an editor completes keys, shows what they mean, and underlines mistakes while they are typed. It knows the
    shape of a file; what needs the whole of it, names and templates and tools, is for `orchestrator validate`.
    """
    import json

    from orchestrator.compiler.schema import json_schema

    text = json.dumps(json_schema(), indent=2)
    if file is None:
        output.say(text)
        return
    from orchestrator.cli.files import replace_file

    replace_file(Path(file), f"{text}\n".encode())
    output.tell(f"wrote {output.clean(file)}")
