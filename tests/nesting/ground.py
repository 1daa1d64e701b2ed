"""A project in a folder whose steps run pipelines, with a tool that the test holds the strings of."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator import Orchestrator, TaskContext
from orchestrator.api import Pipeline
from orchestrator.compiler.compile import compile_file
from orchestrator.domain.events import Event
from orchestrator.settings import load_settings
from orchestrator.tools.registry import ToolRegistry
from tests.unit.core.bench import wait_until

CHILD = """
inputs: {value: {type: integer, default: 1}}
steps:
  - {id: one, tool: act, parameters: {value: "{{ inputs.value }}"}}
  - {id: two, tool: act, parameters: {value: "{{ one.result }}"}}
outputs: {value: "{{ two.result }}"}
"""
PARENT = """
inputs: {value: {type: integer, default: 1}}
steps:
  - {id: sub, tool: pipeline, parameters: {pipeline: lib/child.yaml, inputs: {value: "{{ inputs.value }}"}}}
  - {id: after, tool: act, parameters: {value: "{{ sub.result.value }}"}}
outputs: {value: "{{ after.result }}"}
"""


class Ground:
    """The tool `act` returns one more than it is given; steps named in ``fails`` fail, those in ``holds`` wait."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ran: list[str] = []
        self.fails: set[str] = set()
        self.holds: set[str] = set()
        self.at_once = 0
        self.most = 0
        self.tools = ToolRegistry()
        self.tools.register("act", self._act())
        self.open: list[Orchestrator] = []
        self.write("lib/child.yaml", CHILD)
        self.write("parent.yaml", PARENT)

    def _act(self) -> Any:
        async def act(context: TaskContext, value: int) -> int:
            name = f"{context.execution_id}/{context.task_id}"
            self.ran.append(name)
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            try:
                await asyncio.sleep(0.001)
                await wait_until(lambda: context.task_id not in self.holds, description="the step is let go")
                if context.task_id in self.fails:
                    raise ValueError("it fails")
            finally:
                self.at_once -= 1
            return value + 1

        return act

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")

    def orchestrator(self, **options: Any) -> Orchestrator:
        settings = replace(load_settings(), project=self.folder)
        store = f"sqlite:///{self.folder}/store.db?durability=process"
        made = Orchestrator(store, settings=settings, tools=self.tools, **options)
        self.open.append(made)
        return made

    def pipeline(self, runner: Orchestrator, name: str = "parent.yaml") -> Pipeline:
        return Pipeline.of(compile_file(self.folder / name, runner.tools, library=runner.library), self.folder / name)

    async def close(self) -> None:
        self.holds.clear()
        for each in self.open:
            await each.close()


async def names(runner: Orchestrator) -> dict[str, str]:
    """Return the status of every execution there is."""
    return {one.execution_id: one.status.value for one in await runner.list_executions()}


async def facts(runner: Orchestrator, execution: str, kind: type[Event]) -> list[Any]:
    """Return the facts of one kind."""
    return [event async for _seq, event in runner.facts(execution) if isinstance(event, kind)]
