"""What the tests of the engine share: a registry of small tools, pipelines of them, and a look at the journal."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

from orchestrator import Orchestrator, Result, TaskContext, TaskError
from orchestrator.core.engine import Engine
from orchestrator.domain.events import Event
from orchestrator.domain.ids import ExecutionId
from orchestrator.domain.pipeline import Pipeline
from orchestrator.tools.registry import ToolRegistry

PATIENCE = 20.0


async def wait_until(condition: Callable[[], Any], *, description: str) -> None:
    """Wait until ``condition``, plain or async, is true."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return
        assert time.monotonic() < deadline, f"never came: {description}"
        await asyncio.sleep(0.001)


@dataclass
class Bench:
    """Tools that do what a test tells them, a record of what they did, and orchestrators on one store.

    - ``echo(value)`` returns its value; ``echo_thread`` does so in a thread.
    - ``fail(times, kind, retryable)`` fails as often as told, then returns the number of the attempt.
    - ``hold(value)`` waits until the test opens the gate of its step; ``hold_thread`` blocks a thread meanwhile.
    """

    url: str
    calls: list[str] = field(default_factory=list)
    contexts: list[TaskContext] = field(default_factory=list)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    thread_gates: dict[str, threading.Event] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    orchestrators: list[Orchestrator] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tools = ToolRegistry(sources=[])
        for name in ("echo", "echo_thread", "fail", "hold", "hold_thread"):
            self.tools.register(name, getattr(self, f"_{name}"))

    # -- the tools -------------------------------------------------------------------------------------------------

    def note(self, context: TaskContext) -> None:
        self.calls.append(context.task_id)
        self.contexts.append(context)

    async def _echo(self, context: TaskContext, value: Any = None) -> Any:
        self.note(context)
        return value

    def _echo_thread(self, context: TaskContext, value: Any = None) -> Any:
        self.note(context)
        return value

    async def _fail(
        self, context: TaskContext, times: int = 1, kind: str = "Boom", retryable: bool = True, value: Any = None
    ) -> Any:
        del value
        self.note(context)
        self.failed[context.task_id] = self.failed.get(context.task_id, 0) + 1
        if self.failed[context.task_id] <= times:
            raise TaskError(f"{context.task_id} is out of luck", kind=kind, retryable=retryable)
        return context.attempt

    async def _hold(self, context: TaskContext, value: Any = None) -> Any:
        self.note(context)
        try:
            await self.gate(context.task_id).wait()
        finally:
            self.ended.append(context.task_id)
        return value

    def _hold_thread(self, context: TaskContext, value: Any = None) -> Any:
        self.note(context)
        gate = self.thread_gate(context.task_id)
        while not gate.wait(0.002):
            if context.cancelled:
                break
        self.ended.append(context.task_id)
        return value

    def gate(self, step: str) -> asyncio.Event:
        return self.gates.setdefault(step, asyncio.Event())

    def thread_gate(self, step: str) -> threading.Event:
        return self.thread_gates.setdefault(step, threading.Event())

    def register(self, function: Callable[..., Any]) -> None:
        """Add a tool of the test's own, under its function's name."""
        self.tools.register(function.__name__, function)

    # -- pipelines and orchestrators -------------------------------------------------------------------------------

    def pipeline(self, *steps: dict[str, Any], id: str = "p", **parts: Any) -> Pipeline:  # noqa: A002
        import orchestrator as orc

        return orc.Pipeline.from_dict({"id": id, "steps": list(steps), **parts}, tools=self.tools).definition

    def open(self, **options: Any) -> Orchestrator:
        opened = Orchestrator(self.url, tools=self.tools, **options)
        self.orchestrators.append(opened)
        return opened

    async def close(self) -> None:
        for gate in self.gates.values():
            gate.set()
        for thread_gate in self.thread_gates.values():
            thread_gate.set()
        for opened in self.orchestrators:
            await opened.close()

    async def started(self, *steps: str) -> None:
        await wait_until(lambda: set(steps) <= set(self.calls), description=f"{steps} begin")


def step(name: str, tool: str = "echo", *, after: str | list[str] = (), **rest: Any) -> dict[str, Any]:  # type: ignore[assignment]
    """Return a step; what is no key of the language is a parameter."""
    keys = {
        "condition", "timeout", "retry", "resume", "on_interrupted", "isolation", "action", "name", "description",
        "limits", "idle_timeout", "for_each",
    }  # fmt: skip
    parameters = {key: value for key, value in rest.items() if key not in keys}
    return {
        "id": name,
        "tool": tool,
        "dependencies": list(after) if not isinstance(after, str) else [after],
        "parameters": parameters,
        **{key: value for key, value in rest.items() if key in keys},
    }


async def journal(orchestrator: Orchestrator, execution_id: str) -> list[Event]:
    return [event for commit in await commits(orchestrator, execution_id) for event in commit]


async def commits(orchestrator: Orchestrator, execution_id: str) -> list[list[Event]]:
    store = orchestrator._adapters.store
    return [commit.events async for commit in store.read(ExecutionId(execution_id))]


async def statuses(orchestrator: Orchestrator, execution_id: str) -> dict[str, str]:
    state = await orchestrator.get_state(execution_id)
    return {name: task.status.value for name, task in state.tasks.items()}


@dataclass
class Running:
    """An execution under way: the task that awaits it, and its engine."""

    task: asyncio.Task[Result]
    engine: Engine

    async def result(self) -> Result:
        async with asyncio.timeout(PATIENCE):
            return await self.task


async def begin(begun: Callable[..., Awaitable[Result]], *arguments: Any, **options: Any) -> Running:
    """Begin ``run_pipeline`` or ``resume_pipeline`` and return once its engine is at work."""
    engines: list[Engine] = []
    call = cast("Any", begun(*arguments, admitted=engines.append, **options))
    task: asyncio.Task[Result] = asyncio.get_running_loop().create_task(call)
    await wait_until(lambda: engines or task.done(), description="the engine is at work")
    if not engines:
        await task
    return Running(task, engines[0])
