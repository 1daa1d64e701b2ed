"""The definition: a frozen graph of tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.domain.control import Control
from orchestrator.domain.limits import UNLIMITED, Limit
from orchestrator.domain.stage import Stage
from orchestrator.domain.strategy import ResumeStrategy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.schedule import Schedule

_EMPTY: Mapping[str, Any] = MappingProxyType({})


PIPELINE = "pipeline"
"""The tool of a step that runs another pipeline, as an execution of its own."""


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


class OnChange(StrEnum):
    """What a plan does with a finished step whose fingerprint is not what it was."""

    RERUN = "rerun"
    KEEP = "keep"
    FAIL = "fail"


class CacheScope(StrEnum):
    """Whose results a step may take for its own: those of its pipeline's executions, or of all in the store."""

    PIPELINE = "pipeline"
    STORE = "store"


class Isolation(StrEnum):
    """Where attempts of a step run: in this process (loop or thread), or in a process that can be killed."""

    NONE = "none"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, how soon and for which errors one run tries a step again.

    ``max_attempts`` counts the first try. The n-th retry waits a random time between 0 and
    ``min(max_delay_seconds, delay_seconds * backoff ** (n - 1))`` (full jitter), or exactly that long with
    ``jitter=False``; where the tool asks for more patience (``Retry-After``), as long as that. ``on`` names kinds of
    error; empty means every retryable one.

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
class CachePolicy:
    """Whether a result with the same fingerprint may be taken from another execution of the store.

    ``ttl_seconds`` is how old it may be (None: any age). ``key`` is a template for what else the result depends on,
    like a date; it becomes part of the fingerprint.

    >>> CachePolicy(ttl_seconds=3600).scope.value
    'pipeline'
    """

    ttl_seconds: float | None = None
    key: str | None = None
    scope: CacheScope = CacheScope.PIPELINE


@dataclass(frozen=True, slots=True)
class DeclaredFiles:
    """The files that a step reads and writes besides those its tool tells of; paths may hold templates.

    What is read belongs to the fingerprint; what is written must be there when the step has ended well.

    >>> DeclaredFiles(reads=("model.bin",)).writes
    ()
    """

    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


NO_FILES = DeclaredFiles()


@dataclass(frozen=True, slots=True)
class Task:
    """One node of the graph: which tool does what, with which parameters, after which tasks.

    ``parameters`` and ``condition`` may hold ``{{ ... }}`` templates. ``dependencies`` are those written down;
    ``needs`` adds every task whose result a template reads (filled in by compile; order of first mention).
    ``reads`` is None when nothing is templated, else the tasks whose results the templates read.
    ``action`` None means the tool's default action. ``timeout`` is in seconds for one attempt; ``idle_timeout`` is how
    long an attempt may go without telling progress or saving. ``limits`` are the pipeline's limits that it keeps.

    What a plan asks: ``on_change`` None leaves it to the resume; ``migrate`` (``module:function``) makes a new result
    or saved state out of the old one where the step has changed; ``renamed_from`` is the id it had before.
    ``output_schema`` (JSON Schema) is what the result must be like; a new one does not make the step run again while
    the recorded result satisfies it.

    ``control`` makes it a container: its tool is one of ``control.WORDS``, and ``body`` holds its steps, whose ids are
    names within it; that of a step without steps of its own is empty. Tasks that an execution made of a body say where
    they belong by ``within`` (the container), ``key`` and ``index`` of the item or the round, and by ``local``: what
    their templates call the tasks that they read, where that is not the id. ``uses`` are the names of the containers
    around it that its templates mention: ``item``, ``last``, ....

    ``undo`` are the tasks that take back what it did, one after the other, with ids that nobody uses. ``stage`` is the
    part of the run that it belongs to, ``undoes`` the task that one of the stage ``undo`` takes back.

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
    files: DeclaredFiles = NO_FILES
    output_schema: Mapping[str, Any] | None = None
    on_change: OnChange | None = None
    migrate: str | None = None
    renamed_from: TaskId | None = None
    cache: CachePolicy | None = None
    idle_timeout: float | None = None
    limits: tuple[str, ...] = UNLIMITED
    control: Control | None = None
    body: tuple[Task, ...] = ()
    undo: tuple[Task, ...] = ()
    stage: Stage = Stage.MAIN
    undoes: TaskId | None = None
    uses: tuple[str, ...] = ()
    within: TaskId | None = None
    key: str = ""
    index: int = 0
    local: Mapping[str, TaskId] = field(default_factory=lambda: _EMPTY)
    needs: tuple[TaskId, ...] = ()
    reads: tuple[TaskId, ...] | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """A declared input: its type, whether it must be given, its default, and what else its values must be like.

    ``type`` is one of ``string, integer, number, boolean, list, object, any``; ``schema`` a JSON Schema (2020-12) that
    values are held against besides.

    >>> Input("limit", "integer", default=10).required
    False
    """

    name: str
    type: str = "any"
    required: bool = False
    default: Any = None
    description: str | None = None
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Pipeline:
    """A compiled pipeline: frozen, checked, its tasks in the order they were written.

    ``tasks`` maps task id to Task. ``outputs`` maps names to templates over inputs and results;
    ``output_reads`` are the tasks whose results they read (filled in by compile). ``timeout`` is in seconds, for one
    run. ``on_failure`` and ``finally_`` are the tasks of these stages (see domain.stage), as ``tasks``.
    ``max_concurrency`` is how many attempts of one execution run at once, where that is fewer than the process allows;
    ``limits`` are those that tasks keep by name. ``schedule`` is when servers run it.
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
    max_concurrency: int | None = None
    limits: Mapping[str, Limit] = field(default_factory=dict)
    schedule: Schedule | None = None
    timeout: float | None = None
    on_failure: Mapping[TaskId, Task] = field(default_factory=dict)
    finally_: Mapping[TaskId, Task] = field(default_factory=dict)

    @cached_property
    def undoes_anything(self) -> bool:
        """Whether a step says how it is undone."""
        waiting = list(self.tasks.values())
        for task in waiting:
            if task.undo:
                return True
            waiting += task.body
        return False

    @property
    def has_endings(self) -> bool:
        """Whether anything comes after the main part."""
        return bool(self.on_failure or self.finally_) or self.undoes_anything


class Compiled(Protocol):
    """A handle on a pipeline, as ``compile`` returns it."""

    @property
    def definition(self) -> Pipeline:
        """The pipeline itself."""


def definition_of(pipeline: Pipeline | Compiled) -> Pipeline:
    """Return the pipeline itself, given it or a handle on it: whoever has one of them may pass what they have."""
    return pipeline if isinstance(pipeline, Pipeline) else pipeline.definition
