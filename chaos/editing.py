"""What a child process does in a trial of edits: run, resume, fork or plan a draft's execution, until it is killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.drafts import FUNCTIONS, result_of
from chaos.effects import append
from orchestrator import Orchestrator, Pipeline, TaskContext
from orchestrator.errors import ExecutionError
from orchestrator.tools.decorator import Action, Definition
from orchestrator.tools.registry import ToolRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from chaos.child import Listener, Order


def tools(log: str, versions: dict[str, int]) -> ToolRegistry:
    """Return the functions in these versions; each notes what it was given, and what it came to."""
    made = ToolRegistry(sources=[])
    for name in FUNCTIONS:
        definition = Definition(name, "a trial")
        definition.add(Action("run", _function(name, versions[name], log), str(versions[name])))
        made.register(name, definition)
    return made


def _function(name: str, version: int, log: str) -> Callable[..., Any]:
    async def run(context: TaskContext, salt: int, values: list[Any], fails: bool, extra: int | None = None) -> int:  # noqa: FBT001
        given = [name, version, salt, fails, values, extra]
        append(log, "begin", context.execution_id, context.task_id, json.dumps(given), sync=False)
        if fails:
            raise ValueError("it fails")
        value = result_of(version, salt, values, extra)
        append(log, "end", context.execution_id, context.task_id, json.dumps([given, value]), sync=False)
        return value

    return run


async def act(order: Order, answer: dict[str, Any], listeners: Sequence[Listener]) -> int:
    """Do what ``order.facts`` say: ``verb``, ``execution``, ``document``, ``versions``, and ``asked`` of a plan."""
    facts = order.facts
    registry = tools(str(Path(order.log)), facts["versions"])
    asked = dict(facts.get("asked", {}))
    if facts.get("document") is not None:
        asked["pipeline"] = Pipeline.from_dict(facts["document"], tools=registry)
    async with Orchestrator(order.store, tools=registry, max_concurrency=2, listeners=listeners) as made:
        try:
            match facts["verb"]:
                case "run":
                    await made.run_pipeline(asked["pipeline"], execution_id=facts["execution"])
                case "fork":
                    await made.fork(facts["source"], execution_id=facts["execution"], **asked)
                case _:
                    await made.resume_pipeline(facts["execution"], **asked)
        except ExecutionError as error:
            answer["ended"] = type(error).__name__
            return error.exit_code
    return 0
