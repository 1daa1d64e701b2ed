"""The program: its commands by name, the options they share, and how every end becomes an exit code.

Commands live in modules of their own, imported when one is called or asked for its help: `orchestrator --help` needs
none of them, nor the engine.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import endings, output
from orchestrator.cli.common import common_options, write_examples
from orchestrator.errors import LeaseLost

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "run": ("run", "Run a pipeline as a new execution."),
    "plan": ("plan", "Show what a resume would do with each step, and why."),
    "resume": ("resume", "Go on with an execution exactly where it was."),
    "approve": ("answering", "Answer a step that asks for an approval; without EXECUTION, list the steps that ask."),
    "signal": ("answering", "Send a signal to an execution, for a step that waits for one of this name."),
    "fork": ("fork", "Make a new execution that begins with what another one has recorded, and run it."),
    "explain": ("explain", "Show what a step's result was computed of, and what of that has changed."),
    "submit": ("submit", "Give a pipeline to the servers of the store."),
    "serve": ("serve", "Run what was submitted, and what others left behind."),
    "schedules": ("schedules", "Show what schedules have run, and what comes next."),
    "ps": ("ps", "Show who is at work, and what waits."),
    "queues": ("queues", "List the queues, or set what holds for one."),
    "list": ("inspect", "List executions, newest first."),
    "show": ("show", "Show an execution, or one step of it."),
    "checkpoints": ("inspect", "List the checkpoints of an execution, newest first."),
    "history": ("inspect", "Show a pipeline's checkpoints, or an execution's facts."),
    "diff": ("diff", "Show what differs between two executions, or two checkpoints."),
    "logs": ("logs", "Print what the steps logged."),
    "pause": ("steering", "Keep executions from going on."),
    "cancel": ("steering", "Cancel executions."),
    "validate": ("definition", "Check pipelines and report every mistake."),
    "fmt": ("fmt", "Write pipeline files in the one layout."),
    "schema": ("schema", "Print the JSON Schema of pipeline files."),
    "init": ("init", "Write a pipeline to start from."),
    "graph": ("definition", "Draw the steps and what they depend on."),
    "tools": ("definition", "List the tools, or describe one."),
    "secrets": ("secrets", "Tell which secrets a pipeline needs and where each is found, or keep one."),
    "prune": ("store", "Remove completed executions."),
    "export": ("moving", "Write executions into a file."),
    "import": ("moving", "Read executions from a file into the store."),
    "copy": ("moving", "Copy or move executions from one store to another."),
    "verify": ("store", "Check every record of the store."),
    "key": ("key", "Make a key for encryption."),
    "doctor": ("doctor", "Look at the installation, the settings and the store."),
    "completion": ("completion", "Print the completion script of a shell."),
}
"""Name of a command -> the module that has it (as ``<name>_command``), and its line in the list."""


class Program(click.Group):
    """The group of all commands, each imported when it is needed."""

    examples = (
        "orchestrator run pipeline.yaml -i limit=100",
        "orchestrator list",
        "orchestrator resume exec_1a2b3c",
    )

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and return a command; None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"orchestrator.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may have been meant."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            import difflib

            near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command {name!r} ({hint})", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_module, line) in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the examples."""
        write_examples(formatter, self.examples)


def _version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        from orchestrator import __version__

        output.say(f"orchestrator {__version__}")
        context.exit(0)


program = Program(
    name="orchestrator",
    help="Pipelines that survive: run them, kill them, resume them exactly where they were.",
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[
        *common_options(),
        click.Option(
            ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
        ),
    ],
    no_args_is_help=True,
)


# -- the end of every command ------------------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit code, which is as ``orchestrator.errors`` says.

    A mistake of the user gets a message, never a traceback. A mistake of ours gets 70 and a file with the traceback.
    ``argv`` None means the arguments of this process.
    """
    name = Path(sys.argv[0]).name if sys.argv else ""
    try:
        code = program.main(
            args=None if argv is None else list(argv),
            prog_name="orc" if name == "orc" else "orchestrator",
            standalone_mode=False,
        )
    except SystemExit as error:
        # click ends so after answering a shell's completion, and with 1 where nobody reads its help any more.
        code = 0 if type(sys.stdout).__name__.endswith("PacifyFlushWrapper") else error.code
    except (Exception, KeyboardInterrupt, LeaseLost) as error:  # noqa: BLE001 - everything ends here
        code = endings.end(error)
    endings.flush()
    return code if isinstance(code, int) else 0
