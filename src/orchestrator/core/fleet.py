"""What is done with executions that servers run: submitting, pausing, waiting for the end, serving."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.plan import NO_SOURCE, Source
from orchestrator.errors import ResumeError, StoreBroken, StoreUnavailable
from orchestrator.ports.store import Place, Request

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from orchestrator.core.adapters import Adapters
    from orchestrator.core.live import LiveExecutions
    from orchestrator.core.serving import Server
    from orchestrator.domain.execution import ExecutionState
    from orchestrator.domain.ids import ExecutionId
    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.ports.store import ExecutionSummary

UNENDED = (
    ExecutionStatus.RUNNING,
    ExecutionStatus.CREATED,
    ExecutionStatus.STOPPED,
    ExecutionStatus.WAITING,
    ExecutionStatus.FAILED,
    ExecutionStatus.CANCELLED,
)
"""The statuses under which one may be recorded that waits for a server or is at work: all but completed."""

_log = logging.getLogger("orchestrator.server")

SHORTEST_WAIT_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 2.0


class Fleet:
    """The servers of a store, seen from this process, which may run some of them."""

    def __init__(self, adapters: Adapters, live: LiveExecutions) -> None:
        self._adapters = adapters
        self._live = live
        self._servers: list[Server] = []

    async def submit(
        self, pipeline: Pipeline, inputs: Mapping[str, Any], execution_id: str, place: Place, source: Source = NO_SOURCE
    ) -> None:
        """Create an execution that waits for a server. Raises ExecutionExists."""
        await self._live.submit(pipeline, inputs, execution_id, place, source)
        self._wake()

    async def enqueue(self, execution_id: ExecutionId, queue: str | None, priority: int | None) -> Place:
        """Let an execution wait for a server; None keeps what place it had. Returns its place.

        Raises ResumeError if it is completed.
        """
        store = self._adapters.store
        summary = await store.summary(execution_id)
        if summary.status is ExecutionStatus.COMPLETED:
            raise ResumeError(f"execution {execution_id!r} is completed: there is nothing to go on with")
        before = summary.place or Place()
        place = Place(before.queue if queue is None else queue, before.priority if priority is None else priority)
        await store.enqueue(execution_id, place)
        self._wake()
        return place

    async def pause(self, execution_id: ExecutionId, by: str, wait_seconds: float) -> bool:
        """Keep an execution from going on; True once nobody is at work on it, False if its owner has not answered.

        Raises ResumeError if it has ended.
        """
        adapters = self._adapters
        summary = await adapters.store.summary(execution_id)
        if summary.over:
            raise ResumeError(f"execution {execution_id!r} is {summary.status.value}: there is nothing to pause")
        await adapters.store.request_pause(execution_id, by)
        engine = self._live.engine(execution_id)
        if engine is not None:
            engine.asked(Request("pause", by))
        deadline = adapters.clock.monotonic() + wait_seconds
        while True:
            summary = await adapters.store.summary(execution_id)
            if summary.holder is None or not summary.holder.alive:
                return True
            if adapters.clock.monotonic() >= deadline:
                return False
            await asyncio.sleep(0.1)

    async def wait(self, execution_id: ExecutionId) -> ExecutionState:
        """Return the state of an execution once it has ended as completed, failed or cancelled, however long.

        It looks again and again, ever less often, and bears with a store that is away for a while. Raises
        UnknownExecution.
        """
        seconds = SHORTEST_WAIT_SECONDS
        summary = await self._adapters.store.summary(execution_id)
        while not summary.over:
            await asyncio.sleep(seconds)
            seconds = min(LONGEST_WAIT_SECONDS, seconds * 1.5)
            try:
                summary = await self._adapters.store.summary(execution_id)
            except StoreBroken:
                raise
            except StoreUnavailable as error:
                _log.warning("waiting for execution %s: %s", execution_id, error)
        return await self._live.load(execution_id)

    async def under_way(self) -> list[ExecutionSummary]:
        """Return the executions that have not ended, oldest first."""
        found: list[ExecutionSummary] = []
        for status in UNENDED:
            found += await self._adapters.store.summaries(status=status)
        return sorted((one for one in found if not one.over), key=lambda one: (one.created_at, one.execution_id))

    async def serve(self, server: Server) -> None:
        """Let a server run, and be woken by what is submitted here."""
        self._servers.append(server)
        try:
            await server.run()
        finally:
            self._servers.remove(server)

    def stop(self, number: int) -> None:
        """Stop the servers of this process gracefully, as on this signal."""
        for server in self._servers:
            server.stop(number)

    def _wake(self) -> None:
        for server in self._servers:
            server.wake()
