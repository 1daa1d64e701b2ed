"""Pipelines declared in YAML or Python whose runs survive anything.

>>> import orchestrator as orc
>>> pipeline = orc.Pipeline.from_yaml('''
... id: hello
... steps:
...   - id: greet
...     tool: shell
...     parameters: {command: [echo, hello]}
... ''')
>>> pipeline.id
'hello'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api import Pipeline, compile  # noqa: A004
    from orchestrator.core.ending import Result
    from orchestrator.core.pipeline_resume_manager import PipelineResumeManager, ResumeState
    from orchestrator.domain.diff import Diff
    from orchestrator.domain.execution import ExecutionStatus, TaskStatus
    from orchestrator.domain.pipeline import Input, RetryPolicy, Task
    from orchestrator.domain.schedule import Schedule
    from orchestrator.domain.strategy import ResumeStrategy
    from orchestrator.errors import (
        CheckpointUnreadable,
        DefinitionError,
        ExecutionCancelled,
        ExecutionError,
        ExecutionFailed,
        ExecutionOwned,
        ExecutionStopped,
        ExecutionWaiting,
        LeaseLost,
        NoCheckpoint,
        OrchestratorError,
        ResumeError,
        StoreError,
        TaskError,
        UsageError,
    )
    from orchestrator.functions.handles import expression, item, last
    from orchestrator.functions.pipeline import pipeline, subpipeline
    from orchestrator.functions.task import Step, task
    from orchestrator.models import init_models
    from orchestrator.orchestrator import Orchestrator
    from orchestrator.ports.context import TaskContext
    from orchestrator.state.manager import StateManager
    from orchestrator.state.registry import register
    from orchestrator.tools.decorator import tool

__version__ = "0.1.0"

_HOMES = {
    "CheckpointUnreadable": "errors",
    "DefinitionError": "errors",
    "Diff": "domain.diff",
    "ExecutionCancelled": "errors",
    "ExecutionError": "errors",
    "ExecutionFailed": "errors",
    "ExecutionOwned": "errors",
    "ExecutionStatus": "domain.execution",
    "ExecutionStopped": "errors",
    "ExecutionWaiting": "errors",
    "Input": "domain.pipeline",
    "LeaseLost": "errors",
    "NoCheckpoint": "errors",
    "Orchestrator": "orchestrator",
    "OrchestratorError": "errors",
    "Pipeline": "api",
    "PipelineResumeManager": "core.pipeline_resume_manager",
    "ResumeError": "errors",
    "ResumeState": "core.pipeline_resume_manager",
    "ResumeStrategy": "domain.strategy",
    "Result": "core.ending",
    "RetryPolicy": "domain.pipeline",
    "Schedule": "domain.schedule",
    "StateManager": "state.manager",
    "Step": "functions.task",
    "StoreError": "errors",
    "Task": "domain.pipeline",
    "TaskContext": "ports.context",
    "TaskError": "errors",
    "TaskStatus": "domain.execution",
    "UsageError": "errors",
    "compile": "api",
    "expression": "functions.handles",
    "init_models": "models",
    "item": "functions.handles",
    "last": "functions.handles",
    "pipeline": "functions.pipeline",
    "register": "state.registry",
    "subpipeline": "functions.pipeline",
    "task": "functions.task",
    "tool": "tools.decorator",
}

__all__ = [
    "CheckpointUnreadable",
    "DefinitionError",
    "Diff",
    "ExecutionCancelled",
    "ExecutionError",
    "ExecutionFailed",
    "ExecutionOwned",
    "ExecutionStatus",
    "ExecutionStopped",
    "ExecutionWaiting",
    "Input",
    "LeaseLost",
    "NoCheckpoint",
    "Orchestrator",
    "OrchestratorError",
    "Pipeline",
    "PipelineResumeManager",
    "Result",
    "ResumeError",
    "ResumeState",
    "ResumeStrategy",
    "RetryPolicy",
    "Schedule",
    "StateManager",
    "Step",
    "StoreError",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskStatus",
    "UsageError",
    "compile",
    "expression",
    "init_models",
    "item",
    "last",
    "pipeline",
    "register",
    "subpipeline",
    "task",
    "tool",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import orchestrator` itself stays light."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
    value = getattr(import_module(f"orchestrator.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
