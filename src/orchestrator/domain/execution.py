"""The fold: what an execution is, computed from its facts and from nothing else.

``ExecutionState.apply`` takes the journal's events one by one. Each costs O(the task's edges), so that a state of
10^5 tasks is kept up to date at the price of the change. Replaying the same events yields the same state on any day.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator.domain.events import (
    CancelRequested,
    CheckpointMade,
    ErrorInfo,
    Event,
    ExecutionCreated,
    ExecutionFinished,
    ExecutionStarted,
    TaskClaimed,
    TaskCompleted,
    TaskFailed,
    TaskInterrupted,
    TaskProgressed,
    TaskSkipped,
    TasksReset,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.domain.values import ValueRef


class TaskStatus(StrEnum):
    """Where a task is.

    Two are never recorded, only shown: ``blocked`` is a pending task behind a failed one, ``interrupted`` one that was
    running when the process died, until a resume decides about it.
    """

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"
    PARKED = "parked"
    IN_DOUBT = "in_doubt"
    BLOCKED = "blocked"
    INTERRUPTED = "interrupted"


class ExecutionStatus(StrEnum):
    """Where an execution is.

    Two are never recorded: ``interrupted`` is how a running one without an owner is shown, ``paused`` how one is that
    somebody keeps from going on.
    """

    CREATED = "created"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    PAUSED = "paused"


DONE = frozenset({TaskStatus.COMPLETED, TaskStatus.SKIPPED})
STUCK = frozenset({TaskStatus.FAILED, TaskStatus.PARKED, TaskStatus.IN_DOUBT})


class TaskState:
    """What the journal says about one task.

    ``attempt`` is the number of the last attempt begun (0: none). ``failures`` and ``crashes`` count over the whole
    execution, ``tries`` over the present owner's run. ``unmet`` is how many of its needs are not done. ``seq`` is
    the fact that last changed its status.
    """

    __slots__ = (
        "attempt",
        "crashes",
        "ended_at",
        "error",
        "failures",
        "progress",
        "retry_at",
        "saved",
        "seq",
        "started_at",
        "status",
        "tries",
        "tries_epoch",
        "unmet",
        "value",
    )

    def __init__(self, unmet: int) -> None:
        self.status = TaskStatus.PENDING
        self.unmet = unmet
        self.attempt = 0
        self.failures = 0
        self.crashes = 0
        self.tries = 0
        self.tries_epoch = 0
        self.seq = 0
        self.value: ValueRef | None = None
        self.error: ErrorInfo | None = None
        self.saved: ValueRef | None = None
        self.progress: tuple[float | None, float | None, str] | None = None
        self.retry_at: float | None = None
        self.started_at: float | None = None
        self.ended_at: float | None = None


class ExecutionState:
    """The state of one execution: the fold of its events over its pipeline.

    ``pipeline`` None is an execution that only a caller's checkpoints know: it has no tasks.
    ``ready`` holds the tasks that may begin, in the order they became so; ``running`` those claimed and not ended.
    """

    __slots__ = (
        "cancel_requested",
        "context",
        "counts",
        "created_at",
        "dependents",
        "epoch",
        "error",
        "finished_at",
        "inputs",
        "outputs",
        "owner",
        "pipeline",
        "pipeline_id",
        "ready",
        "resumed",
        "retry_heap",
        "running",
        "seq",
        "status",
        "strategy",
        "tasks",
        "total",
        "updated_at",
    )

    def __init__(self, pipeline: Pipeline | None) -> None:
        self.pipeline = pipeline
        self.pipeline_id = pipeline.id if pipeline else ""
        self.seq = 0
        self.epoch = 0
        self.owner = ""
        self.status = ExecutionStatus.CREATED
        self.resumed = False
        self.cancel_requested: str | None = None
        self.created_at = 0.0
        self.updated_at = 0.0
        self.finished_at: float | None = None
        self.inputs: ValueRef | None = None
        self.outputs: ValueRef | None = None
        self.context: ValueRef | None = None
        self.error: ErrorInfo | None = None
        self.strategy: dict[str, Any] = {}
        self.total = 0
        tasks = pipeline.tasks if pipeline else {}
        self.tasks: dict[TaskId, TaskState] = {name: TaskState(len(task.needs)) for name, task in tasks.items()}
        self.dependents: dict[TaskId, list[TaskId]] = {}
        for name, task in tasks.items():
            for need in task.needs:
                self.dependents.setdefault(need, []).append(name)
        # Taken from the front again and again: a plain dict would walk over its own holes to find its first key.
        self.ready: OrderedDict[TaskId, None] = OrderedDict(
            (name, None) for name, task in tasks.items() if not task.needs
        )
        self.running: dict[TaskId, None] = {}
        self.retry_heap: list[tuple[float, TaskId]] = []
        self.counts: dict[TaskStatus, int] = dict.fromkeys(TaskStatus, 0)
        self.counts[TaskStatus.PENDING] = len(self.tasks)

    # -- reading -------------------------------------------------------------------------------------------------

    @property
    def done_count(self) -> int:
        """How many tasks are completed or skipped."""
        return self.counts[TaskStatus.COMPLETED] + self.counts[TaskStatus.SKIPPED]

    @property
    def finished(self) -> bool:
        """Whether the present owner's run has ended (well or not)."""
        return self.finished_at is not None

    def next_retry_at(self) -> float | None:
        """Return when the earliest waiting retry is due, or None."""
        heap = self.retry_heap
        while heap and not self._waits(heap[0]):
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def next_retry(self) -> TaskId | None:
        """Return the task whose retry is due first, or None."""
        return self.retry_heap[0][1] if self.next_retry_at() is not None else None

    def _waits(self, entry: tuple[float, TaskId]) -> bool:
        task = self.tasks[entry[1]]
        return task.status is TaskStatus.RETRYING and task.retry_at == entry[0]

    def blocked(self) -> set[TaskId]:
        """Return the pending tasks that cannot begin because something they need is stuck. O(tasks + edges)."""
        blocked: set[TaskId] = set()
        stack = [name for name, task in self.tasks.items() if task.status in STUCK]
        while stack:
            for name in self.dependents.get(stack.pop(), ()):
                if name not in blocked and self.tasks[name].status is TaskStatus.PENDING:
                    blocked.add(name)
                    stack.append(name)
        return blocked

    # -- folding -------------------------------------------------------------------------------------------------

    def apply(self, event: Event) -> None:
        """Fold one fact in: O(edges of the task it is about)."""
        self.seq += 1
        self.updated_at = event[0]
        self._APPLY[type(event)](self, event)

    def apply_all(self, events: Iterable[Event]) -> None:
        """Fold many facts in, in order."""
        for event in events:
            self.apply(event)

    def _set(self, task: TaskState, status: TaskStatus) -> None:
        counts = self.counts
        counts[task.status] -= 1
        counts[status] += 1
        task.status = status
        task.seq = self.seq

    def _satisfy(self, name: TaskId) -> None:
        tasks = self.tasks
        for dependent in self.dependents.get(name, ()):
            task = tasks[dependent]
            task.unmet -= 1
            if not task.unmet and task.status is TaskStatus.PENDING:
                self.ready[dependent] = None

    def _unsatisfy(self, name: TaskId) -> None:
        for dependent in self.dependents.get(name, ()):
            self.tasks[dependent].unmet += 1
            self.ready.pop(dependent, None)

    def _make_pending(self, name: TaskId, task: TaskState) -> None:
        self.running.pop(name, None)
        self._set(task, TaskStatus.PENDING)
        task.retry_at = None
        if not task.unmet:
            self.ready[name] = None

    def _created(self, event: ExecutionCreated) -> None:
        self.created_at = event.at
        self.inputs = event.inputs
        self.pipeline_id = event.pipeline_id
        self.total = event.total

    def _started(self, event: ExecutionStarted) -> None:
        self.status = ExecutionStatus.RUNNING
        self.epoch = event.epoch
        self.owner = event.owner
        self.resumed = event.resumed
        self.strategy = event.strategy
        self.cancel_requested = None
        self.finished_at = None
        self.error = None

    def _claimed(self, event: TaskClaimed) -> None:
        name = event.task
        task = self.tasks[name]
        self.ready.pop(name, None)
        self.running[name] = None
        self._set(task, TaskStatus.RUNNING)
        task.attempt = event.attempt
        if task.tries_epoch != self.epoch:
            task.tries_epoch = self.epoch
            task.tries = 0
        task.tries += 1
        task.retry_at = None
        task.started_at = event.at
        task.ended_at = None
        task.progress = None

    def _completed(self, event: TaskCompleted) -> None:
        name = event.task
        task = self.tasks[name]
        if task.status in DONE:
            raise ValueError(f"{name} is done twice")
        self.running.pop(name, None)
        self.ready.pop(name, None)
        self._set(task, TaskStatus.COMPLETED)
        task.attempt = event.attempt
        task.value = event.value
        task.ended_at = event.at
        task.error = None
        task.saved = None
        self._satisfy(name)

    def _failed(self, event: TaskFailed) -> None:
        name = event.task
        task = self.tasks[name]
        self.running.pop(name, None)
        self.ready.pop(name, None)
        task.attempt = event.attempt
        task.error = event.error
        task.ended_at = event.at
        if event.crashed:
            task.crashes += 1
        else:
            task.failures += 1
        if event.retry_at is not None:
            task.retry_at = event.retry_at
            self._set(task, TaskStatus.RETRYING)
            heapq.heappush(self.retry_heap, (event.retry_at, name))
        else:
            self._set(task, TaskStatus.PARKED if event.parked else TaskStatus.FAILED)

    def _interrupted(self, event: TaskInterrupted) -> None:
        task = self.tasks[event.task]
        task.ended_at = event.at
        if event.outcome == "rerun":
            self._make_pending(event.task, task)
            return
        self.running.pop(event.task, None)
        task.error = ErrorInfo("interrupted", event.reason)
        if event.outcome == "fail":
            task.failures += 1
            self._set(task, TaskStatus.FAILED)
        else:
            self._set(task, TaskStatus.IN_DOUBT)

    def _skipped(self, event: TaskSkipped) -> None:
        task = self.tasks[event.task]
        if task.status in DONE:
            raise ValueError(f"{event.task} is done twice")
        self.ready.pop(event.task, None)
        self.running.pop(event.task, None)
        self._set(task, TaskStatus.SKIPPED)
        task.value = None
        task.ended_at = event.at
        self._satisfy(event.task)

    def _reset(self, event: TasksReset) -> None:
        for name in event.tasks:
            task = self.tasks[name]
            if task.status in DONE:
                # What it had saved belongs to the run that is being undone.
                task.value = task.saved = task.progress = None
                self._unsatisfy(name)
            if event.forgive:
                task.failures = task.crashes = 0
            self._make_pending(name, task)

    def _progressed(self, event: TaskProgressed) -> None:
        task = self.tasks[event.task]
        task.progress = (event.done, event.total, event.message)
        if event.saved is not None:
            task.saved = event.saved

    def _checkpoint(self, event: CheckpointMade) -> None:
        if event.reason in ("manual", "periodic") and event.state is not None:
            self.context = event.state

    def _cancel(self, event: CancelRequested) -> None:
        self.cancel_requested = event.by

    def _finished(self, event: ExecutionFinished) -> None:
        self.status = ExecutionStatus(event.status)
        self.finished_at = event.at
        self.outputs = event.outputs
        self.error = event.error

    _APPLY: ClassVar[dict[type, Callable[[ExecutionState, Any], None]]] = {
        ExecutionCreated: _created,
        ExecutionStarted: _started,
        TaskClaimed: _claimed,
        TaskCompleted: _completed,
        TaskFailed: _failed,
        TaskInterrupted: _interrupted,
        TaskSkipped: _skipped,
        TasksReset: _reset,
        TaskProgressed: _progressed,
        CheckpointMade: _checkpoint,
        CancelRequested: _cancel,
        ExecutionFinished: _finished,
    }
