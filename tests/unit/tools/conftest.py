from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import TaskError
from orchestrator.tools import ToolRegistry


@dataclass
class FakeContext:
    """A TaskContext that keeps what it is told."""

    project: Path
    task_id: str = "task"
    execution_id: str = "exec"
    attempt: int = 1
    completed_attempt: int = 0
    created_at: float = 1764212345.5
    inputs: dict[str, Any] = field(default_factory=dict)
    logger: logging.Logger = field(default_factory=lambda: logging.getLogger("test.task"))
    saved: Any = None
    cancelled: bool = False
    reports: list[tuple[Any, ...]] = field(default_factory=list)
    saves: list[Any] = field(default_factory=list)
    on_progress: Callable[[], None] | None = None
    read: list[str] = field(default_factory=list)
    written: list[str] = field(default_factory=list)

    def reads(self, path: str | Path) -> None:
        self.read.append(os.path.relpath(path, self.project) if Path(path).is_absolute() else str(path))

    def writes(self, path: str | Path) -> None:
        self.written.append(os.path.relpath(path, self.project) if Path(path).is_absolute() else str(path))

    @property
    def idempotency_key(self) -> str:
        return f"{self.execution_id}/{self.task_id}"

    def progress(self, done: float | None = None, total: float | None = None, message: str = "") -> None:
        self.reports.append((done, total, message))
        if self.on_progress is not None:
            self.on_progress()

    def save(self, state: Any) -> None:
        self.saves.append(state)
        self.saved = state


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def make_context(project: Path) -> Callable[..., FakeContext]:
    return lambda **about: FakeContext(project, **about)


@pytest.fixture
def context(project: Path) -> FakeContext:
    return FakeContext(project)


@pytest.fixture
def registry() -> ToolRegistry:
    return ToolRegistry()


@pytest.fixture
def call(registry: ToolRegistry, context: FakeContext) -> Callable[..., Any]:
    """Call an action of a plain function as an executor would: resolve, validate, call."""

    def calling(tool: str, action: str | None, /, *, using: FakeContext = context, **parameters: Any) -> Any:
        found = registry.resolve(tool, action)
        arguments = parameters if found.validate is None else found.validate(parameters)
        if found.context_parameter is not None:
            arguments[found.context_parameter] = using
        return found.function(**arguments)

    return calling


@pytest.fixture
def refused(call: Callable[..., Any]) -> Callable[..., TaskError]:
    """Call an action that has to fail, and return its error."""

    def refusing(tool: str, action: str | None, /, **parameters: Any) -> TaskError:
        with pytest.raises(TaskError) as caught:
            call(tool, action, **parameters)
        return caught.value

    return refusing
