"""Checkpoints: named positions in the journal. Nothing is copied to make one; to list them is to read the journal."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.core.recovery import load_pipeline
from orchestrator.domain.events import (
    CheckpointMade,
    Event,
    ExecutionCreated,
    TaskCompleted,
    TaskFailed,
    TaskGathered,
    TaskReused,
    TaskSkipped,
    TasksReset,
)
from orchestrator.domain.expansion import written_as
from orchestrator.domain.ids import ExecutionId, Seq, checkpoint_id
from orchestrator.domain.pipeline import CheckpointWhen

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.domain.values import ValueRef
    from orchestrator.ports.codec import Codec
    from orchestrator.ports.store import ExecutionSummary, Store


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A position one can go back to.

    ``reason``: ``start``, ``task`` (a step completed), ``error``, ``periodic``, ``before``, ``stop``, ``manual``,
    ``saved``. ``completed_count`` is how many tasks were done there. ``state`` refers to what the caller saved with it.
    """

    execution_id: ExecutionId
    pipeline_id: str
    seq: Seq
    at: float
    reason: str
    task: str | None
    completed_count: int
    total_count: int
    metadata: dict[str, Any] = field(default_factory=dict)
    state: ValueRef | None = None

    @property
    def checkpoint_id(self) -> str:
        """``EXECUTION@SEQ``."""
        return checkpoint_id(self.execution_id, self.seq)

    @property
    def timestamp(self) -> datetime:
        """When it was made, UTC."""
        return datetime.fromtimestamp(self.at, UTC)

    def to_dict(self) -> dict[str, Any]:
        """Return it as the public API's lists show it."""
        return {
            "checkpoint_id": self.checkpoint_id,
            "execution_id": self.execution_id,
            "pipeline_id": self.pipeline_id,
            "timestamp": self.timestamp,
            "reason": self.reason,
            "task": self.task,
            "completed_count": self.completed_count,
            "total_count": self.total_count,
            "metadata": {
                "reason": self.reason,
                "task": self.task,
                "completed_count": self.completed_count,
                "total_count": self.total_count,
                **self.metadata,
            },
        }


async def newest_checkpoints(store: Store, codec: Codec, summary: ExecutionSummary) -> AsyncIterator[Checkpoint]:
    """Yield the checkpoints of an execution, newest first; none where checkpointing is disabled."""
    execution_id = summary.execution_id
    pipeline = await _pipeline_of(store, codec, execution_id)
    if pipeline is not None and not pipeline.resume_enabled:
        return
    hidden = await store.hidden(execution_id)
    async for commit in store.read(execution_id, newest_first=True):
        completed = commit.completed
        last = commit.first + len(commit.events) - 1
        for offset, event in enumerate(reversed(commit.events)):
            seq = Seq(last - offset)
            found = _as_checkpoint(event, pipeline)
            if found is not None and seq not in hidden:
                reason, task, metadata, state = found
                yield Checkpoint(
                    execution_id,
                    summary.pipeline_id,
                    seq,
                    event.at,
                    reason,
                    task,
                    completed,
                    summary.total,
                    metadata,
                    state,
                )
            if isinstance(event, (TaskCompleted, TaskSkipped, TaskGathered, TaskReused)):
                completed -= 1
            elif isinstance(event, TasksReset):
                break


async def _pipeline_of(store: Store, codec: Codec, execution_id: ExecutionId) -> Pipeline | None:
    async for commit in store.read(execution_id):
        first = commit.events[0]
        return await load_pipeline(store, codec, first.definition) if isinstance(first, ExecutionCreated) else None
    return None


_Found = tuple[str, str | None, dict[str, Any], "ValueRef | None"]


def _as_checkpoint(event: Event, pipeline: Pipeline | None) -> _Found | None:
    """Say what kind of checkpoint a fact is: (reason, task, metadata, state); None if it is none."""
    if isinstance(event, TaskCompleted):
        task = written_as(pipeline.tasks, event.task) if pipeline else None
        if task is not None and task.checkpoint in (CheckpointWhen.NONE, CheckpointWhen.BEFORE) and not task.critical:
            return None
        return "task", event.task, {"attempt": event.attempt}, None
    if isinstance(event, TaskFailed):
        return "error", event.task, {"attempt": event.attempt, "error": event.error.message}, None
    if isinstance(event, CheckpointMade) and event.reason != "part":
        return event.reason, event.task, event.metadata, event.state
    if isinstance(event, ExecutionCreated):
        return "start", None, {}, None
    return None
