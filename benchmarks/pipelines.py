"""The pipelines that are measured, and the tools their steps use."""

from __future__ import annotations

import os

from orchestrator import Pipeline, Task
from orchestrator.domain.control import ForEach
from orchestrator.domain.ids import TaskId
from orchestrator.tools.registry import ToolRegistry

PAYLOAD_BYTES = 100_000


async def noop() -> None:
    """Do nothing."""


async def payload() -> bytes:
    """Return 100 KB that no compressor makes smaller."""
    return os.urandom(PAYLOAD_BYTES)


def registry() -> ToolRegistry:
    """Return a registry with the measured tools."""
    tools = ToolRegistry()
    tools.register("noop", noop)
    tools.register("payload", payload)
    return tools


def chain(length: int, tools: ToolRegistry) -> Pipeline:
    """Return ``length`` no-op steps, each after the one before."""
    names = [TaskId(f"step_{number}") for number in range(length)]
    tasks = [
        Task(name, "noop", dependencies=(names[number - 1],) if number else ()) for number, name in enumerate(names)
    ]
    return Pipeline(id="chain", tasks=tasks, tools=tools)


def fan(width: int, tools: ToolRegistry) -> Pipeline:
    """Return one no-op step, ``width`` after it, and one after them all."""
    first, last = TaskId("first"), TaskId("last")
    middle = [TaskId(f"step_{number}") for number in range(width)]
    tasks = [Task(first, "noop"), *(Task(name, "noop", dependencies=(first,)) for name in middle)]
    tasks.append(Task(last, "noop", dependencies=tuple(middle)))
    return Pipeline(id="fan", tasks=tasks, tools=tools)


def items(width: int, tools: ToolRegistry) -> Pipeline:
    """Return the same work as ``fan``, its middle as the items of one ``for_each``."""
    first, each = TaskId("first"), TaskId("each")
    body = (Task(TaskId(""), "noop"),)
    tasks = [
        Task(first, "noop"),
        Task(each, "for_each", dependencies=(first,), control=ForEach(width), body=body),
        Task(TaskId("last"), "noop", dependencies=(each,)),
    ]
    return Pipeline(id="items", tasks=tasks, tools=tools)


def payloads(count: int, tools: ToolRegistry) -> Pipeline:
    """Return ``count`` independent steps of 100 KB each."""
    return Pipeline(
        id="payloads", tasks=[Task(TaskId(f"step_{number}"), "payload") for number in range(count)], tools=tools
    )
