"""Queues: lanes of executions that wait, in order, and who takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import UnknownExecution
from orchestrator.ports.store import Lease, Place, QueueSummary
from orchestrator.state.redis.keys import as_bytes, as_text, decoded, encoded
from orchestrator.state.redis.leases import RedisLeases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.ids import ExecutionId

MOST_TAKEN = 1000


class RedisQueues(RedisLeases):
    """See ports.store.Queues; ``submit`` is beside ``create``."""

    async def enqueue(self, execution_id: ExecutionId, place: Place) -> None:
        """See ports.store.Queues."""
        answer = await self._server.run(
            "enqueue", encoded(execution_id), encoded(place.queue), place.priority, commit=True
        )
        if answer[0] == b"unknown":
            raise UnknownExecution(execution_id)

    async def take(self, owner: str, queues: Sequence[str], limit: int, *, runs: bool = False) -> list[Lease]:
        """See ports.store.Queues."""
        names = [encoded(name) for name in dict.fromkeys(queues)]
        tokens = [self._chance.token() for _ in range(min(limit, MOST_TAKEN))]
        deadline = self._clock.monotonic() + self.lease_seconds
        answer = await self._server.run(
            "take",
            as_bytes(owner),
            self._lease_ms,
            int(runs),
            repr(self._clock.now()),
            len(names),
            *names,
            *tokens,
            commit=True,
        )
        return [self._granted(grant, deadline) for grant in answer[1]]

    async def set_queue(self, name: str, *, limit: int | None, paused_by: str | None) -> None:
        """See ports.store.Queues."""
        settings: list[str | bytes | int] = []
        if limit is not None:
            settings += ["limit", limit]
        if paused_by is not None:
            settings += ["paused_by", as_bytes(paused_by)]
        await self._server.run("set_queue", encoded(name), *settings, commit=True)

    async def queues(self) -> list[QueueSummary]:
        """See ports.store.Queues."""
        found = []
        for name, limit, paused_by, total, owned in (await self._server.run("queues"))[1]:
            by = None if paused_by is None else as_text(paused_by)
            found.append(QueueSummary(decoded(name), None if limit is None else int(limit), by, total - owned, owned))
        return sorted(found)
