"""Executions that no server gets anywhere with: how they are told, and laid aside with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.core.live import record_interruptions
from orchestrator.domain.events import (
    CancelRequested,
    CheckpointMade,
    ErrorInfo,
    ExecutionFinished,
    ExecutionStarted,
    ExecutionWaiting,
    TaskCompleted,
    TaskFailed,
    TaskProgressed,
    TaskSkipped,
)
from orchestrator.domain.execution import ExecutionStatus

if TYPE_CHECKING:
    from orchestrator.core.adapters import Adapters
    from orchestrator.core.live import LiveExecutions
    from orchestrator.domain.events import Event
    from orchestrator.ports.store import Lease, Store

MOST_DEATHS = 5
"""So many owners in a row may die over an execution without a step done."""
MOST_SILENT_DEATHS = 50
"""And so many without recording anything: they died as they read it, or a store came and went."""


async def why_poison(store: Store, lease: Lease) -> str | None:
    """Return why this execution is to be laid aside; None while there is hope. Reads no more than its last facts.

    What counts are the owners since a step was done, failed or saved something, or since one ended as it should.
    """
    if lease.epoch <= MOST_DEATHS:
        return None
    deaths, last, by_hand = await _count(store, lease)
    if deaths >= MOST_DEATHS:
        return f"{deaths} owners in a row died over it, without a step done"
    silent = lease.epoch - 1 - last - by_hand
    if silent >= MOST_SILENT_DEATHS:
        return f"{silent} owners in a row died as they read it"
    return None


async def _count(store: Store, lease: Lease) -> tuple[int, int, int]:
    """Return how many owners began since anything got on, the last one's epoch, and how many only recorded by hand."""
    deaths = last = by_hand = 0
    stuck = True
    async for commit in store.read(lease.execution_id, newest_first=True):
        for event in reversed(commit.events):
            stuck = stuck and not _gets_on(event)
            if isinstance(event, ExecutionStarted):
                last = last or event.epoch
                deaths += stuck
            elif not last and _is_by_hand(event):
                by_hand += 1  # its author was an owner as well, and is none who died
        if last and not stuck:
            break
    return deaths, last, by_hand


def _gets_on(event: Event) -> bool:
    done = isinstance(event, (TaskCompleted, TaskSkipped, TaskFailed, ExecutionFinished, ExecutionWaiting))
    return done or (isinstance(event, TaskProgressed) and event.saved is not None)


def _is_by_hand(event: Event) -> bool:
    return isinstance(event, CancelRequested) or (isinstance(event, CheckpointMade) and event.reason == "manual")


async def park(adapters: Adapters, live: LiveExecutions, lease: Lease, by: str, reason: str) -> None:
    """Pause an execution under its lease and give it back, with the reason in its journal."""
    store = adapters.store
    try:
        await store.request_pause(lease.execution_id, f"{by}: {reason}")
        recorder = await live.recorder_for(lease)
        now = adapters.clock.now()
        record_interruptions(recorder, now)
        recorder.record(ExecutionFinished(now, ExecutionStatus.STOPPED.value, None, ErrorInfo("poison", reason)))
        await recorder.flush()
    finally:
        await store.release(lease)
