"""`orchestrator submit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common, run_async
from orchestrator.cli.run import input_options, read_inputs

if TYPE_CHECKING:
    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.orchestrator import Orchestrator


@click.command(
    "submit",
    cls=Command,
    examples=(
        "orchestrator submit pipeline.yaml -i limit=100",
        "orchestrator submit pipeline.yaml --queue nightly --priority 10",
        "orchestrator submit pipeline.yaml --wait --json",
    ),
)
@click.argument("file", metavar="FILE|MODULE:NAME", type=click.Path())
@input_options
@click.option("--queue", default="default", show_default=True, metavar="QUEUE", help="The queue to wait in.")
@click.option(
    "--priority", type=int, default=0, show_default=True, metavar="N", help="Higher goes first, then the older."
)
@click.option("--wait", is_flag=True, help="Wait for the end, and print the outputs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
@pass_common
def submit_command(
    common: Common, file: str, given: tuple[str, ...], input_file: str | None, execution_id: str | None, **options: Any
) -> None:
    """Give a pipeline to the servers of the store.

    It is checked here and now. The execution's id is printed once it is durable; a server (`orchestrator serve`) takes
    it from its queue, whether one runs by now or later.
    """
    from orchestrator.compiler.places import compile_at

    orchestrator = common.orchestrator()
    pipeline = compile_at(Path(file), tools=orchestrator.tools, library=orchestrator.library)
    inputs = read_inputs(pipeline, given, input_file)
    run_async(_submit(orchestrator, pipeline, inputs, execution_id, source=Path(file), **options))


async def _submit(  # noqa: PLR0913 - they are the options of a command, given by name
    orchestrator: Orchestrator,
    pipeline: Pipeline,
    inputs: dict[str, Any],
    execution_id: str | None,
    *,
    source: Path,
    queue: str,
    priority: int,
    wait: bool,
    as_json: bool,
) -> None:
    async with orchestrator:
        name = await orchestrator.submit(
            pipeline, inputs, queue=queue, priority=priority, execution_id=execution_id, source=source
        )
        if as_json:
            output.emit({"event": "submitted", "execution_id": name, "queue": queue, "priority": priority})
        else:
            output.say(name)
        if wait:
            from orchestrator.cli.driving import conclude, failure_object
            from orchestrator.errors import ExecutionError

            try:
                result = await orchestrator.wait(name)
            except ExecutionError as error:
                if as_json:
                    output.emit(failure_object(name, error, orchestrator.resume_command(name)))
                raise
            conclude(result, as_json=as_json)
