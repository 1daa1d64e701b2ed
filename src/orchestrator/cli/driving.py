"""Running and resuming alike: the display, the steps' log, signals, outputs at the end, and what to do next."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import display, output
from orchestrator.cli.output import duration, iso, plural
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.errors import (
    ExecutionError,
    ExecutionFailed,
    ExecutionWaiting,
    LeaseLost,
    StoreError,
    UsageError,
)
from orchestrator.observe.lines import TASK_LOGGER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from orchestrator.cli.common import Common
    from orchestrator.core.ending import Result
    from orchestrator.core.engine import Engine


@dataclass(frozen=True, slots=True)
class Options:
    """How to show a run, and how to carry it out; None means as the settings say."""

    as_json: bool = False
    quiet: bool = False
    max_concurrency: int | None = None
    grace: float | None = None
    no_wait: bool = False


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of Options to a command."""
    for option in (
        click.option(
            "--no-wait",
            is_flag=True,
            help="Once only waits are left (`wait`, `approval`), leave it waiting: exit code 9.",
        ),
        click.option("--grace", type=float, metavar="S", help="Seconds that Ctrl-C waits for running steps."),
        click.option("--max-concurrency", type=int, metavar="N", help="How many steps run at once."),
        click.option("-q", "--quiet", is_flag=True, help="Show nothing but the outputs and errors."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each fact, and the result."),
    ):
        function = option(function)
    return function


class Drive:
    """One run or resume, from the wiring to the outputs."""

    def __init__(self, common: Common, options: Options) -> None:
        settings = common.settings()
        if options.grace is not None:
            if not 0 <= options.grace < float("inf"):
                raise UsageError(f"--grace: expected seconds, 0 or more, got {options.grace:g}")
            settings = replace(settings, grace=options.grace)
        self._options = options
        self._admitted = False
        self.waits = not options.no_wait
        self.display = choose(options)
        self.display.store = common.store
        self.orchestrator = common.orchestrator(
            settings=settings, listeners=[self.display], max_concurrency=options.max_concurrency
        )

    def note(self, text: str) -> None:
        """Tell the person something beside what is shown; nothing if there is nothing, or they want it quiet."""
        if text and not self._options.quiet:
            self.display.remark(f"note: {output.clean(text)}")

    async def run(self, execution_id: str, start: Callable[[Callable[[Engine], None]], Awaitable[Result]]) -> None:
        """Start it, see it through, print its outputs; ``start`` is given what is to be called once it is admitted.

        Ctrl-C stops gracefully from the moment the execution is admitted; before that it just ends the command.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(warnings_shown(self.display))

            def admitted(_engine: Engine) -> None:
                self._admitted = True
                stack.enter_context(self.orchestrator.signals(lambda *told: self._told(execution_id, *told)))

            try:
                async with self.orchestrator:
                    result = await start(admitted)
            except (ExecutionError, StoreError, LeaseLost, Exception) as error:
                self.display.close()
                self._report(execution_id, error)
                raise
            except BaseException:
                self.display.close()
                raise
            self.display.close()
        conclude(result, as_json=self._options.as_json)
        if result.status != ExecutionStatus.COMPLETED and not self._options.as_json:
            command = output.clean(self.orchestrator.resume_command(execution_id))
            output.say(f"all that was asked for is done; go on with: {command}")

    def _told(self, execution_id: str, number: int, count: int) -> None:
        """Say what a signal does. The second time this runs inside the signal handler: no locks, no lists."""
        command = self.orchestrator.resume_command(execution_id)
        if count > 1:
            self.display.leave()
            output.tell(f"left at once; go on with: {output.clean(command)}")
            return
        running = len(self.display.running)
        if not running:
            self.display.remark("stopping")
            return
        grace = self.orchestrator.settings.grace
        again = "press Ctrl-C again" if number == signal.SIGINT else "send the signal again"
        waiting = f"waiting up to {duration(grace)} for {plural(running, 'running step')}"
        self.display.remark(f"stopping: {waiting} ({again} to leave at once)")

    def _report(self, execution_id: str, error: BaseException) -> None:
        """Say, before the error itself is told, what it does not say: the machine's result, or how to go on."""
        if self._options.as_json and self._admitted:
            output.emit(failure_object(execution_id, error, self.orchestrator.resume_command(execution_id)))
        if self._admitted and not isinstance(error, (ExecutionError, LeaseLost)):
            command = self.orchestrator.resume_command(execution_id)
            output.tell(f"the execution is kept; go on with: {output.clean(command)}")


def conclude(result: Result, *, as_json: bool) -> None:
    """Print how a run ended well: its outputs, if it came to them."""
    if as_json:
        output.emit(
            {
                "event": "result",
                "execution_id": result.execution_id,
                "status": result.status,
                "outputs": result.outputs,
            }
        )
        return
    for name, value in result.outputs.items():
        output.say(f"{output.style(output.one_line(name), 'bold')}: {output.pretty(value).rstrip()}")


def choose(options: Options) -> display.Display:
    """Return the display that suits where stdout goes."""
    if options.as_json:
        return display.JsonDisplay()
    if options.quiet:
        return display.Display()
    if output.is_terminal(sys.stdout) and os.environ.get("TERM") != "dumb":
        from orchestrator.cli.live import LiveDisplay

        return LiveDisplay()
    return display.PlainDisplay()


def failure_object(execution_id: str, error: BaseException, command: str) -> dict[str, Any]:
    """Return for machines how an execution ended short of completion; ``command`` resumes it."""
    made: dict[str, Any] = {
        "event": "result",
        "execution_id": execution_id,
        "status": "failed",
        "error": type(error).__name__,
        "message": str(error),
        "exit_code": getattr(error, "exit_code", 70),
    }
    if isinstance(error, ExecutionWaiting):
        made |= {"waits": error.waits, "due": iso(error.due)}
    if isinstance(error, ExecutionFailed):
        made |= {"failures": error.failures, "parked": error.parked, "resume_command": error.resume_command}
    elif isinstance(error, ExecutionError):
        made["status"] = _STATUSES.get(type(error).__name__, "stopped")
        made["resume_command"] = command if str(error).endswith(command) else ""  # "": its pipeline forbids it
    elif not isinstance(error, LeaseLost):
        made["resume_command"] = command
    return made


_STATUSES = {"ExecutionCancelled": "cancelled", "ExecutionWaiting": "waiting"}


@contextlib.contextmanager
def warnings_shown(shown: display.Display) -> Iterator[None]:
    """Let what the engine warns of reach the person, beside what is drawn; the steps' own lines stay in their log."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name != TASK_LOGGER:
                shown.remark(f"{record.levelname.lower()}: {output.one_line(record.getMessage(), 1000)}")

    logger = logging.getLogger("orchestrator")
    if logger.handlers:
        yield  # --debug shows all of it
        return
    handler = Handler(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
