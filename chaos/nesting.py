"""A pipeline whose steps run pipelines, two deep, for trials in which the process of all three is killed."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.effects import append
from orchestrator import Orchestrator, TaskContext
from orchestrator.compiler.compile import compile_file
from orchestrator.settings import load_settings
from orchestrator.tools.registry import ToolRegistry

if TYPE_CHECKING:
    from collections.abc import Callable

    from chaos.child import Order


RUN = "run"
FILES = {
    "top.yaml": """
inputs: {start: {type: integer}}
steps:
  - {id: a, tool: add, parameters: {values: ["{{ inputs.start }}"]}}
  - {id: mid, tool: pipeline, parameters: {pipeline: lib/mid.yaml, inputs: {value: "{{ a.result }}"}}}
  - {id: z, tool: add, parameters: {values: ["{{ mid.result.sum }}"]}}
outputs: {sum: "{{ z.result }}"}
""",
    "lib/mid.yaml": """
inputs: {value: {type: integer}}
steps:
  - {id: b, tool: add, parameters: {values: ["{{ inputs.value }}"]}}
  - {id: low, tool: pipeline, parameters: {pipeline: lib/low.yaml, inputs: {value: "{{ b.result }}"}}}
  - {id: c, tool: add, parameters: {values: ["{{ inputs.value }}"]}}
  - {id: d, tool: add, parameters: {values: ["{{ low.result.sum }}", "{{ c.result }}"]}}
outputs: {sum: "{{ d.result }}"}
""",
    "lib/low.yaml": """
inputs: {value: {type: integer}}
steps:
  - {id: e, tool: add, parameters: {values: ["{{ inputs.value }}"]}}
  - {id: f, tool: add, parameters: {values: ["{{ e.result }}", 5]}}
outputs: {sum: "{{ f.result }}"}
""",
}
"""The project: each step adds one to the sum of its values."""
EXECUTIONS = {RUN: ("a", "mid", "z"), f"{RUN}~mid": ("b", "low", "c", "d"), f"{RUN}~mid~low": ("e", "f")}
"""What there is once all is done, and the steps of each."""
OUTPUTS = {"sum": 15}
"""What comes of ``start: 1``."""


def write(folder: Path) -> None:
    """Write the project."""
    (folder / "lib").mkdir(exist_ok=True)
    for name, text in FILES.items():
        (folder / name).write_text(text, "utf-8")


def tools(log: Path, hold: str = "") -> ToolRegistry:
    """Return the tools of the project; each call is noted in a log, and the one of step ``hold`` never returns."""
    registry = ToolRegistry()
    registry.register("add", _adding(str(log), hold))
    return registry


def _adding(log: str, hold: str) -> Callable[..., Any]:
    async def run(context: TaskContext, values: list[int]) -> int:
        append(log, context.execution_id, context.task_id, context.attempt, sync=False)
        await asyncio.sleep(0)
        if context.task_id == hold:
            await asyncio.Event().wait()
        return sum(values) + 1

    return run


async def act(order: Order, answer: dict[str, Any]) -> int:
    """Run the project, or resume its execution, as the facts say."""
    folder = Path(order.folder)
    settings = replace(load_settings(), project=folder)
    async with Orchestrator(
        order.store, settings=settings, tools=tools(order.log, order.facts.get("hold", ""))
    ) as runner:
        if order.facts["verb"] == "run":
            pipeline = compile_file(folder / "top.yaml", runner.tools, library=runner.library)
            result = await runner.run_pipeline(pipeline, {"start": 1}, execution_id=RUN)
        else:
            result = await runner.resume_pipeline(RUN, steal=order.steal)
    answer["outputs"] = result.outputs
    return 0
