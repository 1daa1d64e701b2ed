"""The definition: a frozen graph of tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.domain.strategy import ResumeStrategy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.domain.ids import TaskId

_EMPTY: Mapping[str, Any] = MappingProxyType({})


class CheckpointWhen(StrEnum):
    """When a step makes a checkpoint of its own (`steps[].resume.checkpoint`)."""

    BEFORE = "before"
    AFTER = "after"
    BOTH = "both"
    NONE = "none"


class OnInterrupted(StrEnum):
    """What a resume does with a step that was running when the process died."""

    RERUN = "rerun"
    FAIL = "fail"
    ASK = "ask"


class Isolation(StrEnum):
    """Where attempts of a step run: in this process (loop or thread), or in a process that can be killed."""

    NONE = "none"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, how soon and for which errors one run tries a step again.

    ``max_attempts`` counts the first try. The n-th retry waits a random time between 0 and
    ``min(max_delay_seconds, delay_seconds * backoff ** (n - 1))`` (full jitter), or exactly that long with
    ``jitter=False``. ``on`` names kinds of error; empty means every retryable one.

    >>> RetryPolicy(max_attempts=5, delay_seconds=2, on=("timeout",)).backoff
    2.0
    """

    max_attempts: int = 1
    delay_seconds: float = 1.0
    backoff: float = 2.0
    max_delay_seconds: float = 60.0
    jitter: bool = True
    on: tuple[str, ...] = ()


ONCE = RetryPolicy()


@dataclass(frozen=True, slots=True)
class Task:
    """One node of the graph: which tool does what, with which parameters, after which tasks.

    ``parameters`` and ``condition`` may hold ``{{ ... }}`` templates. ``dependencies`` are those written down;
    ``needs`` adds every task whose result a template reads (filled in by compile; order of first mention).
    ``reads`` is None when nothing is templated, else the tasks whose results the templates read.
    ``action`` None means the tool's default action. ``timeout`` is in seconds for one attempt.

    >>> Task("greet", "shell", parameters={"command": ["echo", "hello"]}, timeout=30).critical
    False
    """

    id: TaskId
    tool: str
    action: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    dependencies: tuple[TaskId, ...] = ()
    name: str | None = None
    description: str | None = None
    condition: str | None = None
    timeout: float | None = None
    retry: RetryPolicy = ONCE
    critical: bool = False
    checkpoint: CheckpointWhen = CheckpointWhen.AFTER
    on_interrupted: OnInterrupted = OnInterrupted.RERUN
    isolation: Isolation = Isolation.NONE
    needs: tuple[TaskId, ...] = ()
    reads: tuple[TaskId, ...] | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """A declared input: its type, whether it must be given, and its default.

    ``type`` is one of ``string, integer, number, boolean, list, object, any``.

    >>> Input("limit", "integer", default=10).required
    False
    """

    name: str
    type: str = "any"
    required: bool = False
    default: Any = None
    description: str | None = None


@dataclass(frozen=True)
class Pipeline:
    """A compiled pipeline: frozen, checked, its tasks in the order they were written.

    ``tasks`` maps task id to Task. ``outputs`` maps names to templates over inputs and results;
    ``output_reads`` are the tasks whose results they read (filled in by compile).
    """

    id: str
    tasks: Mapping[TaskId, Task]
    name: str | None = None
    version: str | None = None
    description: str | None = None
    inputs: Mapping[str, Input] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    output_reads: tuple[TaskId, ...] = ()
    resume: ResumeStrategy = ResumeStrategy()
    resume_enabled: bool = True


class Compiled(Protocol):
    """A handle on a pipeline, as ``compile`` returns it."""

    @property
    def definition(self) -> Pipeline:
        """The pipeline itself."""


def definition_of(pipeline: Pipeline | Compiled) -> Pipeline:
    """Return the pipeline itself, given it or a handle on it: whoever has one of them may pass what they have."""
    return pipeline if isinstance(pipeline, Pipeline) else pipeline.definition
