"""A registry, a reporter and attempts for the executors' tests; importable by worker processes."""

from __future__ import annotations

import asyncio
import inspect
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.domain.ids import ExecutionId, TaskId, idempotency_key
from orchestrator.domain.pipeline import Isolation
from orchestrator.errors import TaskError
from orchestrator.ports.executor import Attempt, Outcome
from orchestrator.ports.tools import Identity, Problem, ToolCall

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class FakeTools:
    """Tools from a mapping of names to functions."""

    def __init__(self, functions: Mapping[str, Callable[..., Any]]) -> None:
        self._calls = {name: _call(name, function) for name, function in functions.items()}

    def resolve(self, tool: str, action: str | None) -> ToolCall:
        del action
        try:
            return self._calls[tool]
        except KeyError:
            raise TaskError(f"no tool {tool!r}", kind="tool", retryable=False) from None

    def identity(self, tool: str, action: str | None) -> Identity:
        return Identity(self.resolve(tool, action).version, {})

    def check(
        self, tool: str, action: str | None, parameters: Mapping[str, Any], is_template: Callable[[Any], bool]
    ) -> Sequence[Problem]:
        del tool, action, parameters, is_template
        return ()


def _call(name: str, function: Callable[..., Any]) -> ToolCall:
    names = list(inspect.signature(function).parameters)
    context = "context" if "context" in names else None

    def validate(parameters: Mapping[str, Any]) -> dict[str, Any]:
        if wrong := set(parameters) - set(names):
            raise TaskError(f"unknown parameters {sorted(wrong)}", kind="parameters", retryable=False)
        return dict(parameters)

    return ToolCall(
        tool=name,
        action="run",
        function=function,
        is_async=inspect.iscoroutinefunction(function),
        context_parameter=context,
        validate=validate if names else None,
    )


@dataclass
class Recorder:
    """A reporter that keeps everything, and lets a test wait for ends."""

    ends: list[tuple[str, int, Outcome]] = field(default_factory=list)
    progress: list[tuple[float | None, float | None, str]] = field(default_factory=list)
    states: list[Any] = field(default_factory=list)

    def finished(self, attempt: Attempt, outcome: Outcome) -> None:
        self.ends.append((attempt.task_id, attempt.attempt, outcome))

    def progressed(self, attempt: Attempt, done: float | None, total: float | None, message: str) -> None:
        del attempt
        self.progress.append((done, total, message))

    def saved(self, attempt: Attempt, state: Any) -> None:
        del attempt
        self.states.append(state)

    async def outcome(self, task: str = "t", seconds: float = 10) -> Outcome:
        """Wait for the end of a task and return how it ended."""
        await wait_until(lambda: any(name == task for name, _, _ in self.ends), f"the end of {task}", seconds)
        return next(outcome for name, _, outcome in self.ends if name == task)


async def wait_until(condition: Callable[[], object], description: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {description} within {seconds} s"
        await asyncio.sleep(0.002)


def attempt(
    tool: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    task: str = "t",
    number: int = 1,
    timeout: float | None = None,
    idle_timeout: float | None = None,
    saved: Any = None,
    isolation: Isolation = Isolation.NONE,
) -> Attempt:
    return Attempt(
        execution_id=ExecutionId("e1"),
        task_id=TaskId(task),
        attempt=number,
        tool=tool,
        action=None,
        parameters=parameters or {},
        idempotency_key=idempotency_key("e1", task),
        inputs={"who": "world"},
        project=Path.cwd(),
        saved=saved,
        timeout=timeout,
        idle_timeout=idle_timeout,
        isolation=isolation,
    )
