"""`orchestrator fork`: a new execution that begins with what another one has recorded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import display, output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.completing import complete_position
from orchestrator.cli.driving import Options, run_options
from orchestrator.cli.plan import carrying_out, print_plan
from orchestrator.cli.requests import Request, expect_option, request_options
from orchestrator.cli.run import input_options, read_inputs
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.cli.driving import Drive
    from orchestrator.core.ending import Result
    from orchestrator.core.engine import Engine
    from orchestrator.domain.plan import Plan
    from orchestrator.orchestrator import Orchestrator
    from orchestrator.revisions import PlanOptions


@click.command(
    "fork",
    cls=Command,
    examples=(
        "orchestrator fork exec_1a2b3c -i late_minutes=30",
        "orchestrator fork exec_1a2b3c@17 --execution-id another-try",
        "orchestrator fork exec_1a2b3c --pipeline edited.yaml --set-result fetch=@rows.json --dry-run",
        "orchestrator fork exec_1a2b3c --rerun clean --detach --to-queue nightly",
    ),
)
@click.argument("execution", metavar="EXECUTION[@SEQ]", shell_complete=complete_position)
@input_options
@request_options
@expect_option
@click.option("--dry-run", is_flag=True, help="Only print the plan of the fork.")
@click.option("--no-run", is_flag=True, help="Only create the fork; `orchestrator resume` runs it.")
@click.option("--detach", is_flag=True, help="Let a server of the store run it.")
@click.option("--to-queue", metavar="QUEUE", help="With --detach: the queue to wait in.")
@click.option("--priority", type=int, metavar="N", help="With --detach: higher goes first.")
@run_options
@pass_common
async def fork_command(  # noqa: PLR0913 - they are the options of a command, given by name
    common: Common,
    execution: str,
    *,
    given: tuple[str, ...],
    input_file: str | None,
    execution_id: str | None,
    expect: str | None,
    as_json: bool,
    quiet: bool,
    max_concurrency: int | None,
    grace: float | None,
    no_wait: bool,
    dry_run: bool,
    no_run: bool,
    detach: bool,
    to_queue: str | None,
    priority: int | None,
    **asked: Any,
) -> None:
    """Make a new execution that begins with what another one has recorded, and run it.

    Of an execution, or of a position in it (EXECUTION@SEQ). The new one shares the recorded values, and never alters
    the original. -i gives inputs that are to be other ones: what depends on them runs again, all else is reused.
    """
    request = Request(**asked)
    if request.position is not None:
        raise UsageError("--from: a fork begins at a position that is named with the execution: EXECUTION@SEQ")
    if (detach or no_run) and request.until is not None:
        raise UsageError("--until is for a fork that runs here")
    if sum((detach, no_run, dry_run)) > 1:
        raise UsageError("--dry-run, --no-run and --detach: choose one of them")
    if not detach and (to_queue is not None or priority is not None):
        raise UsageError("--to-queue and --priority go with --detach")
    source = execution.partition("@")[0]
    options = request.options()
    async with common.reading(source) as reader:
        inputs = await _inputs(reader, execution, request, given, input_file)
        fork = _Fork(execution, inputs, execution_id, options, expect)
        if dry_run:
            plan = await reader.plan_fork(execution, inputs=inputs, **options)
            words = [*_input_words(given, input_file, execution_id), *request.words()]
            command = carrying_out(reader.resume_command(execution).replace(" resume ", " fork ", 1), words, plan)
            if as_json:
                output.emit(display.plan_object(execution_id or "", plan) | {"command": command, "source": execution})
            else:
                print_plan(plan, command, everything=False)
            return
        if detach or no_run:
            name, plan = await fork.make(reader)
            _tell(name, execution, plan, as_json=as_json)
            if detach:
                place = await reader.enqueue(name, queue=to_queue, priority=priority)
                output.tell(f"execution {name}: waits in queue {place.queue}")
            return
    from orchestrator.cli.driving import Drive

    drive = Drive(common, Options(as_json, quiet, max_concurrency, grace, no_wait))
    name = execution_id or drive.orchestrator.new_execution_id()
    await drive.run(name, partial(fork.run, drive, name))


def _tell(name: str, source: str, plan: Plan, *, as_json: bool) -> None:
    """Print what was made: the id alone on stdout, so that it can be taken from there."""
    if as_json:
        output.emit(display.plan_object(name, plan) | {"event": "forked", "source": source})
        return
    output.say(name)
    output.tell(output.clean(display.plan_line(plan)), *display.plan_notes(plan))


async def _inputs(
    reader: Orchestrator, execution: str, request: Request, given: tuple[str, ...], input_file: str | None
) -> dict[str, Any]:
    """Return the inputs that are to be other ones, read as their declared types."""
    if not given and input_file is None:
        return {}
    from orchestrator.compiler.places import compile_at

    state = await reader.get_state(execution)
    pipeline = state.pipeline
    if request.pipeline is not None:
        pipeline = compile_at(
            request.pipeline, tools=reader.tools, default_id=state.pipeline_id or None, library=reader.library
        )
    if pipeline is None:
        return {}  # the fork itself says why it cannot be
    recorded: Mapping[str, Any] = await reader.get_value(state.inputs) or {}
    known = {name: value for name, value in recorded.items() if name in pipeline.inputs}
    return read_inputs(pipeline, given, input_file, known)


def _input_words(given: tuple[str, ...], input_file: str | None, execution_id: str | None) -> list[str]:
    words = [word for each in given for word in ("-i", each)]
    words += ["--input-file", input_file] if input_file is not None else []
    return words + (["--execution-id", execution_id] if execution_id is not None else [])


@dataclass(frozen=True, slots=True)
class _Fork:
    """What is to be forked, and how."""

    source: str
    inputs: dict[str, Any]
    execution_id: str | None
    options: PlanOptions
    expect: str | None

    async def make(self, orchestrator: Orchestrator, execution_id: str | None = None) -> tuple[str, Plan]:
        """Create the fork; return its id, and the plan that its facts begin to carry out."""
        from orchestrator.revisions import must_be

        found: list[Plan] = []
        until = self.options.get("until")
        if until is not None:
            # A run to some step is a matter of the resume; but it is to be planned, and checked, before anything is.
            found.append(await orchestrator.plan_fork(self.source, inputs=self.inputs, **self.options))

        def planned(plan: Plan) -> None:
            if not found:
                found.append(plan)
            if self.expect is not None:
                must_be(self.expect)(found[0])

        options: PlanOptions = {**self.options, "until": None}
        name = await orchestrator.fork(
            self.source,
            inputs=self.inputs,
            execution_id=execution_id or self.execution_id,
            planned=planned,
            **options,
        )
        return name, found[0]

    async def run(self, drive: Drive, execution_id: str, admitted: Callable[[Engine], None]) -> Result:
        """Create the fork, and run it here."""
        name, plan = await self.make(drive.orchestrator, execution_id)
        shown = drive.display
        shown.opening = f"forked from {self.source}"
        shown.planned(name, plan)
        until = self.options.get("until")
        return await drive.orchestrator.resume_pipeline(name, admitted=admitted, wait=drive.waits, until=until)
