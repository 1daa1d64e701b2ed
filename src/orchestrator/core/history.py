"""The history of a pipeline: the checkpoints of all its executions, newest first."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

from orchestrator.core.checkpoints import Checkpoint, newest_checkpoints

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.ports.codec import Codec
    from orchestrator.ports.store import Store


async def resume_history(store: Store, codec: Codec, pipeline_id: str, limit: int | None) -> list[dict[str, Any]]:
    """Merge the checkpoints of all executions of a pipeline, newest first, until there are ``limit`` (None: all)."""
    summaries = await store.summaries(pipeline_id=pipeline_id)
    waiting = sorted(summaries, key=lambda summary: summary.updated_at)
    found: list[dict[str, Any]] = []
    heap: list[_Candidate] = []
    while limit is None or len(found) < limit:
        # An execution's newest checkpoint is no newer than its last fact: its journal is opened only when it may
        # come next.
        while waiting and (not heap or waiting[-1].updated_at >= -heap[0][0]):
            iterator = newest_checkpoints(store, codec, waiting.pop())
            await _push(heap, iterator)
        if not heap:
            break
        *_key, checkpoint, iterator = heapq.heappop(heap)
        found.append(checkpoint.to_dict())
        await _push(heap, iterator)
    return found


_Candidate = tuple[float, int, str, Checkpoint, "AsyncIterator[Checkpoint]"]


async def _push(heap: list[_Candidate], iterator: AsyncIterator[Checkpoint]) -> None:
    async for checkpoint in iterator:
        key = (-checkpoint.at, -checkpoint.seq, checkpoint.execution_id)
        heapq.heappush(heap, (*key, checkpoint, iterator))
        return
