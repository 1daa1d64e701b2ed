"""`orchestrator completion`: the script that teaches a shell to complete the program's words."""

from __future__ import annotations

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common

PROGRAMS = ("orchestrator", "orc")


@click.command(
    "completion",
    cls=Command,
    examples=(
        "orchestrator completion bash >> ~/.bashrc",
        "orchestrator completion zsh >> ~/.zshrc",
        "orchestrator completion fish > ~/.config/fish/completions/orchestrator.fish",
    ),
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_common
def completion_command(_common: Common, shell: str) -> None:
    """Print the completion script of a shell.

    It completes both names of the program. Executions, their steps and checkpoints, and tools complete too.
    """
    from click.shell_completion import ShellComplete, get_completion_class

    from orchestrator.cli.app import program

    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover - the choice above allows only those there are
        raise click.UsageError(f"no completion for {shell}")
    for name in PROGRAMS:
        # Not kind.source(): for bash that first runs bash to look at its version.
        output.say(ShellComplete.source(kind(program, {}, name, f"_{name.upper()}_COMPLETE")))
