"""How every end becomes an exit code and a message: those of ``orchestrator.errors``, and 70 for our own mistakes."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import click

from orchestrator.cli import output
from orchestrator.errors import DefinitionError, ExecutionStopped, ExecutionWaiting, LeaseLost, OrchestratorError

BUG_EXIT_CODE = 70
INTERRUPTED_EXIT_CODE = 130


def end(error: BaseException) -> int:
    """Say what went wrong, and return the exit code."""
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case click.Abort() | KeyboardInterrupt():
            return INTERRUPTED_EXIT_CODE
        case click.exceptions.NoArgsIsHelpError():
            output.tell(error.format_message())
            return error.exit_code
        case click.UsageError():
            usage = error.ctx.command_path if error.ctx is not None else "orchestrator"
            output.tell(message(error.format_message()), output.clean(f"help: {usage} --help"))
            return error.exit_code
        case click.ClickException():
            output.tell(message(error.format_message()))
            return error.exit_code
        case DefinitionError():
            count = len(error.diagnostics)
            output.tell(output.clean(error), message(f"{count} mistake{'' if count == 1 else 's'}"))
            return error.exit_code
        case ExecutionStopped() | ExecutionWaiting():
            output.tell(output.clean(error))
            return error.exit_code
        case OrchestratorError() | LeaseLost():
            output.tell(message(str(error)))
            return error.exit_code
        case OSError() if error.errno == errno.EPIPE:
            return 0
        case _:
            return _bug(error)


def message(text: str) -> str:
    """Return an error's text as it is shown."""
    return output.style("error:", "red", "bold", stream=sys.stderr) + " " + output.clean(text)


def _bug(error: BaseException) -> int:
    """Say that this is our fault, and keep the traceback where it can be sent from."""
    import traceback

    text = "".join(traceback.format_exception(error))
    what = output.one_line(f"{type(error).__name__}: {error}", 200)
    output.tell(message(f"this is a bug in orchestrator: {what}"))
    if "--debug" in sys.argv or "-v" in sys.argv:
        output.tell(output.clean(text))
    else:
        output.tell(f"the traceback is in {output.clean(_keep_traceback(text))}; please report it")
    return BUG_EXIT_CODE


def _keep_traceback(text: str) -> str:
    import tempfile

    from orchestrator.settings import FOLDER_NAME

    for folder in (Path(FOLDER_NAME), Path(tempfile.gettempdir())):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            descriptor, path = tempfile.mkstemp(prefix="bug-", suffix=".txt", dir=folder)
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{sys.version}\n{sys.platform}\n\n{text}")
        except OSError:
            continue
        return path
    return "no file, for none could be written"


def flush() -> None:
    """Flush what click wrote; where nobody reads any more, make sure that the interpreter's own flush is quiet too."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
