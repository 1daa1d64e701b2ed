"""What differs between two positions of executions: definition, inputs, results, statuses, outputs; and the times.

Results are compared as they are recorded, by their digests: no value is loaded for it. What stands in those that
differ is for whoever loads them (``core.comparing``).
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.domain.changes import differences
from orchestrator.domain.ids import checkpoint_id
from orchestrator.domain.revision import PipelineChanges, pipeline_changes
from orchestrator.domain.tasks import DONE, STUCK, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from orchestrator.domain.changes import Change
    from orchestrator.domain.events import ErrorInfo
    from orchestrator.domain.execution import ExecutionState, ExecutionStatus
    from orchestrator.domain.ids import ExecutionId, TaskId
    from orchestrator.domain.tasks import TaskState
    from orchestrator.domain.values import ValueRef

FAILING = STUCK | {TaskStatus.RETRYING}
INTERRUPTED = "interrupted"
"""The kind of error of an attempt that was cut off."""
NO_CHANGES = PipelineChanges((), (), {}, {}, [])
MAX_CHANGES = 100
"""Parts of the inputs, or of the outputs, that are told of."""


class TaskDifference(StrEnum):
    """What differs about a task: the first of these that does."""

    ONLY_A = "only in a"
    ONLY_B = "only in b"
    STATUS = "status"
    RESULT = "result"
    ERROR = "error"
    NONE = "none"


class TaskSide(NamedTuple):
    """A task in one of the two, as recorded.

    ``seconds`` is what its last attempt took, None if it has not ended by itself (or the result is from elsewhere).
    ``value`` refers to its result; ``error`` is what it has failed with, and is not over yet.
    """

    status: TaskStatus
    attempts: int
    seconds: float | None
    value: ValueRef | None
    error: ErrorInfo | None


class Contents(NamedTuple):
    """Where two values differ.

    ``changes`` holds the first parts that differ; empty if both are equal and only stored in another order of keys.
    None where they were not looked into: ``why`` says why not, where somebody wanted to.
    """

    changes: tuple[Change, ...] | None
    why: str = ""


NOT_LOADED = Contents(None)


class TaskDiff(NamedTuple):
    """A task of both, or of one of them. ``was`` is its id in a, where b has renamed it.

    ``contents`` tells where two results differ; None where they do not.
    """

    task: TaskId
    difference: TaskDifference
    a: TaskSide | None
    b: TaskSide | None
    was: TaskId | None = None
    contents: Contents | None = None

    @property
    def slower(self) -> float | None:
        """How many seconds more it took in b than in a (negative: fewer); None if it has not ended in both."""
        if self.a is None or self.b is None or self.a.seconds is None or self.b.seconds is None:
            return None
        return self.b.seconds - self.a.seconds


class Side(NamedTuple):
    """One of the two: a position of an execution (``EXECUTION@SEQ``), and how everything stood there.

    ``done`` of its ``total`` tasks are completed or skipped. ``seconds`` passed from its first fact to the one at
    this position, also while nobody was at work on it.
    """

    checkpoint_id: str
    pipeline_id: str
    status: ExecutionStatus
    error: ErrorInfo | None
    done: int
    total: int
    seconds: float
    outputs: ValueRef | None


class Position(NamedTuple):
    """What is compared: the state of an execution at a position, with its pipeline, and its inputs."""

    execution_id: ExecutionId
    state: ExecutionState
    inputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Diff:
    """What differs from ``a`` to ``b``.

    ``definition`` is empty (false) where both are of the same one. ``inputs`` holds the parts of the inputs that
    differ, ``tasks`` every task: those of b in its order, then those that only a has. ``outputs`` tells where the
    outputs differ; None where they do not.
    """

    a: Side
    b: Side
    definition: PipelineChanges
    inputs: tuple[Change, ...]
    tasks: tuple[TaskDiff, ...]
    outputs: Contents | None

    @property
    def equal(self) -> bool:
        """Whether nothing differs but times, attempts and ids."""
        return (
            not self.definition
            and not self.inputs
            and self.outputs is None
            and self.a.status is self.b.status
            and next(self._differing(), None) is None
        )

    def differing(self) -> list[TaskDiff]:
        """Return the tasks that differ."""
        return list(self._differing())

    def counts(self) -> dict[TaskDifference, int]:
        """Return how many tasks differ in what, and how many do not."""
        return dict(Counter(each.difference for each in self.tasks))

    def slowest(self, limit: int | None = 10) -> list[TaskDiff]:
        """Return the tasks whose time has changed, the largest change first, at most ``limit`` (None: all)."""
        changed = [(abs(each.slower), -number) for number, each in enumerate(self.tasks) if each.slower]
        found = sorted(changed, reverse=True) if limit is None else heapq.nlargest(limit, changed)
        return [self.tasks[-number] for _seconds, number in found]

    def _differing(self) -> Iterator[TaskDiff]:
        return (each for each in self.tasks if each.difference is not TaskDifference.NONE)


def diff_of(a: Position, b: Position) -> Diff:
    """Return what differs from ``a`` to ``b``: O(tasks), plus the size of their inputs; nothing is loaded."""
    one, other = a.state, b.state
    changes = NO_CHANGES
    if one.pipeline is not None and other.pipeline is not None and not _same_definition(one, other):
        changes = pipeline_changes(one.pipeline, other.pipeline)
    return Diff(
        _side(a),
        _side(b),
        changes,
        tuple(differences(a.inputs, b.inputs, limit=MAX_CHANGES)),
        tuple(_tasks(one, other, changes.renamed)),
        None if one.outputs == other.outputs else NOT_LOADED,
    )


def _same_definition(one: ExecutionState, other: ExecutionState) -> bool:
    """Tell by its digest whether the definition is the same; where it is not, the definitions may still be equal."""
    return one.definition is not None and one.definition == other.definition


def _side(position: Position) -> Side:
    state = position.state
    return Side(
        checkpoint_id(position.execution_id, state.seq),
        state.pipeline_id,
        state.status,
        state.error,
        state.done_count,
        len(state.tasks),
        state.updated_at - state.created_at,
        state.outputs,
    )


def _tasks(one: ExecutionState, other: ExecutionState, renamed: Mapping[TaskId, TaskId]) -> Iterable[TaskDiff]:
    """Pair the tasks; ``renamed`` maps those of b to what they were, which no other task is then compared with."""
    olds = dict(one.tasks)
    taken = set(renamed.values())
    for name, new in other.tasks.items():
        was = renamed.get(name)
        old = olds.pop(was or name, None) if was is not None or name not in taken else None
        b = _task(new)
        if old is None:
            yield TaskDiff(name, TaskDifference.ONLY_B, None, b)
            continue
        a = _task(old)
        difference = _difference(a, b)
        yield TaskDiff(name, difference, a, b, was, NOT_LOADED if difference is TaskDifference.RESULT else None)
    for name, old in olds.items():
        yield TaskDiff(name, TaskDifference.ONLY_A, _task(old), None)


def _task(state: TaskState) -> TaskSide:
    error = state.error if state.status in FAILING else None
    if state.status is TaskStatus.COMPLETED:
        ran = not (state.source or state.pinned)
    else:
        ran = error is not None and error.kind != INTERRUPTED  # when it broke off, nobody has seen
    seconds = None
    if ran and state.started_at is not None and state.ended_at is not None and state.ended_at >= state.started_at:
        seconds = state.ended_at - state.started_at
    return TaskSide(state.status, state.attempt, seconds, state.value, error)


def _difference(a: TaskSide, b: TaskSide) -> TaskDifference:
    if a.status is not b.status:
        return TaskDifference.STATUS
    if a.status in DONE and a.value != b.value:
        return TaskDifference.RESULT
    return TaskDifference.NONE if _failure(a) == _failure(b) else TaskDifference.ERROR


def _failure(task: TaskSide) -> tuple[str, str] | None:
    """Return what went wrong; where in the code it did, does not count."""
    return (task.error.kind, task.error.message) if task.error is not None else None
