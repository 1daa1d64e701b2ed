"""A project in a folder: a pipeline file, a module of functions, files, a store, and a list of what really ran."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator import Orchestrator, TaskContext
from orchestrator.domain.plan import Decision, Plan, Verb
from orchestrator.errors import ExecutionError
from orchestrator.tools import python
from orchestrator.tools.decorator import Action, Definition
from orchestrator.tools.registry import ToolRegistry

if TYPE_CHECKING:
    from orchestrator.domain.events import Event

NAME = "work"
"""The module of the project."""
RUN = "run"
"""The execution."""
_NOTE = """
from pathlib import Path as _Path

def note(context):
    with open({path!r}, "a", encoding="utf-8") as file:
        file.write(context.task_id + "\\n")

"""


@dataclass
class Ground:
    """Each call is as one of a process of its own: the functions are imported anew.

    A function that calls ``note(context)`` first thing counts in ``ran``.
    """

    url: str
    status: str = ""
    error: str = ""
    version: str = "1"
    outputs: dict[str, Any] = field(default_factory=dict)
    _seen: int = 0

    def __post_init__(self) -> None:
        sys.dont_write_bytecode = True  # a stale one would be run if two edits came within a second
        self.folder = Path.cwd()
        self._effects = self.folder / "ran.txt"
        self._effects.touch()

    # -- edits -----------------------------------------------------------------------------------------------------

    def pipeline(self, text: str) -> None:
        """Write the pipeline file."""
        (self.folder / "pipeline.yaml").write_text(text, encoding="utf-8")

    def code(self, text: str) -> None:
        """Write the module."""
        text = _NOTE.format(path=str(self._effects)) + text
        (self.folder / f"{NAME}.py").write_text(text, encoding="utf-8")

    # -- doing -----------------------------------------------------------------------------------------------------

    def open(self) -> Orchestrator:
        """Return an orchestrator as a fresh process would have it."""
        sys.modules.pop(NAME, None)
        python._found.clear()
        importlib.invalidate_caches()
        tools = ToolRegistry()
        versioned = Definition("versioned", "this test")
        versioned.add(Action("run", self._versioned, self.version))
        tools.register("versioned", versioned)
        return Orchestrator(self.url, tools=tools)

    def _versioned(self, context: TaskContext, x: int = 0) -> int:
        with self._effects.open("a", encoding="utf-8") as file:
            file.write(f"{context.task_id}\n")
        return x + int(self.version)

    async def run(self, **inputs: Any) -> list[str]:
        """Run the pipeline file; return what ran."""
        return await self._do("run", RUN, inputs)

    async def run_again(self, name: str) -> list[str]:
        """Run the pipeline file as another execution, from nothing."""
        return await self._do("run", name, {})

    async def resume(self, name: str = RUN, **options: Any) -> list[str]:
        """Resume; return what ran."""
        return await self._do("resume", name, options)

    async def _do(self, verb: str, name: str, options: dict[str, Any]) -> list[str]:
        from orchestrator.compiler import compile_file

        async with self.open() as made:
            try:
                if verb == "run":
                    definition = compile_file(self.folder / "pipeline.yaml", tools=made.tools)
                    result = await made.run_pipeline(definition, options, execution_id=name)
                else:
                    result = await made.resume_pipeline(name, **options)
                self.status, self.error, self.outputs = "completed", "", dict(result.outputs or {})
            except ExecutionError as error:
                self.status, self.error = type(error).__name__, str(error)
        return self.ran()

    def ran(self) -> list[str]:
        """Return which functions ran since this was asked last, in order."""
        lines = self._effects.read_text(encoding="utf-8").split()
        new, self._seen = lines[self._seen :], len(lines)
        return new

    async def plan(self, name: str = RUN, **options: Any) -> Plan:
        """Return the plan; nothing may run for it."""
        async with self.open() as made:
            found = await made.plan(name, **options)
        assert self.ran() == []
        return found

    async def fork(self, source: str = RUN, name: str = "fork", **options: Any) -> str:
        """Fork; nothing may run for it."""
        async with self.open() as made:
            await made.fork(source, execution_id=name, **options)
        assert self.ran() == []
        return name

    # -- looking ---------------------------------------------------------------------------------------------------

    async def results(self, name: str = RUN) -> dict[str, Any]:
        """Return the status and the value of each step."""
        async with self.open() as made:
            state = await made.get_state(name)
            return {
                str(task): (known.status.value, await made.get_value(known.value))
                for task, known in state.tasks.items()
            }

    async def facts(self, name: str = RUN) -> list[Event]:
        """Return the journal."""
        async with self.open() as made:
            return [event async for _, event in made.facts(name)]


def told(decision: Decision) -> str:
    """Return a decision as tests write it: the verb, with ``?`` if it is conditional."""
    return decision.verb.value + "?" * decision.conditional


def must_run(plan: Plan) -> set[str]:
    """Return the tasks that certainly run."""
    return {str(each.task) for each in plan.decisions if each.verb in (Verb.RUN, Verb.RERUN) and not each.conditional}


def may_run(plan: Plan) -> set[str]:
    """Return the tasks that run if what they are given has changed."""
    return {str(each.task) for each in plan.decisions if each.conditional}
