"""Run another pipeline as an execution of its own, whose outputs are the step's result.

The orchestrator itself runs these steps; this module says what they are given::

    - id: clean
      tool: pipeline
      parameters: {pipeline: lib/clean.yaml, inputs: {table: "{{ load.result }}"}}
"""

from __future__ import annotations

from typing import Annotated, Any

from orchestrator.errors import TaskError
from orchestrator.tools.decorator import tool


@tool("pipeline")
def run(
    pipeline: Annotated[str, "a pipeline file in the project, or `package.module:name` of one built in Python"],
    inputs: Annotated[dict[str, Any] | None, "the inputs it is given"] = None,
) -> dict[str, Any]:
    """Run a pipeline as an execution of its own: its outputs.

    The execution is named after this one and the step (`EXECUTION~STEP`), goes on where it was when the step is tried
    again or this execution is resumed, and is cancelled with it.
    """
    raise TaskError(
        f"{pipeline!r} with {len(inputs or {})} inputs: only an Orchestrator runs steps of the tool `pipeline`",
        kind="tool",
        retryable=False,
    )
