"""Facts and values for the store suite, and short forms of what its tests do all the time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from orchestrator.domain.events import (
    CheckpointMade,
    DefinitionChanged,
    ErrorInfo,
    Event,
    ExecutionCreated,
    ExecutionFinished,
    ExecutionStarted,
    ExecutionWaiting,
    TaskClaimed,
    TaskCompleted,
)
from orchestrator.domain.ids import ExecutionId, Seq, TaskId
from orchestrator.domain.values import INLINE_LIMIT, EncodedValue, Stored, ValueRef
from orchestrator.ports.store import Signal
from orchestrator.state.records import digest_of, encode_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.ports.store import Commit, Lease, Store

AT = 1_700_000_000.0
NOTHING = encode_value(None).ref


def value(size: int, seed: int = 0) -> EncodedValue:
    """Return a value of exactly ``size`` encoded bytes that do not compress; another ``seed``, another value."""
    payload = random.Random(f"{seed}/{size}").randbytes(size)
    if size <= INLINE_LIMIT:
        return EncodedValue(ValueRef(payload, size, inline=True), payload)
    return EncodedValue(ValueRef(digest_of(payload), size, inline=False), payload)


def created(pipeline_id: str = "pipeline", *, at: float = AT, total: int = 3) -> ExecutionCreated:
    """Return an execution's first fact."""
    return ExecutionCreated(at, pipeline_id, None, NOTHING, total, "run")


def started(epoch: int = 1, *, at: float = AT, resumed: bool = False) -> ExecutionStarted:
    """Return the fact that an owner took the execution up."""
    return ExecutionStarted(at, epoch, "the owner", resumed, {"max_retries": 3})


def claimed(task: str = "a", *, at: float = AT) -> TaskClaimed:
    """Return the claim of a first attempt."""
    return TaskClaimed(at, TaskId(task), 1, None)


def completed(task: str = "a", ref: ValueRef = NOTHING, *, at: float = AT) -> TaskCompleted:
    """Return the success of a first attempt."""
    return TaskCompleted(at, TaskId(task), 1, ref)


def checkpoint(metadata: dict[str, Any] | None = None, *, at: float = AT) -> CheckpointMade:
    """Return a checkpoint's fact."""
    return CheckpointMade(at, "manual", None, metadata or {}, None)


def redefined(total: int, *, at: float = AT) -> DefinitionChanged:
    """Return the fact that the execution goes on as one of another definition."""
    return DefinitionChanged(at, NOTHING, NOTHING, total, {"b": "a"}, "edited.yaml", "me")


def finished(status: str = "completed", *, at: float = AT) -> ExecutionFinished:
    """Return an owner's last fact."""
    error = ErrorInfo("ValueError", "it broke") if status == "failed" else None
    return ExecutionFinished(at, status, None, error)


def waits(due: float | None = None, *, at: float = AT) -> ExecutionWaiting:
    """Return the last fact of an owner who left nothing but waits."""
    return ExecutionWaiting(at, due)


def signal(name: str = "s1", payload: EncodedValue | None = None, *, at: float = AT) -> Signal:
    """Return a signal of this id."""
    return Signal(name, "approved", payload or encode_value({"yes": True}), "a colleague", at)


async def admit(store: Store, execution_id: str = "x", first: Event | None = None, *more: Event) -> Lease:
    """Create an execution of one fact (or of these)."""
    return await store.create(ExecutionId(execution_id), "somebody", [first or created(), *more], [])


async def add(store: Store, lease: Lease, after: int, *events: Event, values: Sequence[Stored] = ()) -> int:
    """Append facts (default: one claim) after seq ``after``."""
    return await store.append(lease, events or [claimed()], list(values), expected_seq=Seq(after), completed=0)


async def commits(store: Store, execution_id: str = "x", *, newest_first: bool = False) -> list[Commit]:
    """Read a whole journal."""
    return [commit async for commit in store.read(ExecutionId(execution_id), newest_first=newest_first)]


async def facts(store: Store, execution_id: str = "x") -> list[Event]:
    """Read a whole journal's facts, having held its commits against each other: no gap, no overlap."""
    found: list[Event] = []
    for commit in await commits(store, execution_id):
        assert commit.first == len(found) + 1
        assert commit.events
        found += commit.events
    return found
