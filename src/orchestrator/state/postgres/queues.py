"""Queues: executions that wait in the table, and who takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.ids import Epoch, ExecutionId
from orchestrator.ports.store import Lease, Place, QueueSummary
from orchestrator.state.postgres.database import Owned
from orchestrator.state.postgres.leases import PostgresLeases
from orchestrator.state.postgres.names import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.state.postgres.database import Rows
    from orchestrator.state.postgres.links import Connection


class PostgresQueues(PostgresLeases):
    """See ports.store.Queues; ``submit`` is beside ``create``."""

    async def enqueue(self, execution_id: ExecutionId, place: Place) -> None:
        """See ports.store.Queues."""
        await self._ask_known("enqueue", execution_id, to_text(place.queue), place.priority)

    async def take(self, owner: str, queues: Sequence[str], limit: int, *, runs: bool = False) -> list[Lease]:
        """See ports.store.Queues. Whoever takes at the same moment passes over what we are taking."""
        names = [to_text(name) for name in queues]
        now = self._clock.now()
        if limit < 1 or not (await self._ask("takable", names, runs, now))[0][0]:
            return []
        tokens = [self._chance.token() for _ in range(limit)]
        deadline = self._clock.monotonic() + self.lease_seconds

        async def work(db: Connection, again: bool) -> Rows:  # noqa: FBT001
            if again:
                taken = await self._execute(db, "taken", (tokens,))
                if taken:  # the answer to an earlier try was lost
                    return sorted(taken, key=lambda row: tokens.index(row[2]))
            async with db.transaction():
                await self._settle(db)
                await self._execute(db, "lock_queues", (names,))
                row = (names, to_text(owner), limit, tokens, runs, float(self.lease_seconds), now)
                return sorted(await self._execute(db, "take", row), key=lambda row: int(row[5]))

        leases = []
        for name, epoch, token, seq, born, _place in await self._run(work):
            execution_id = ExecutionId(from_text(name))
            self._owned[token] = Owned(execution_id, born, seq)
            leases.append(Lease(execution_id, Epoch(epoch), token, deadline))
        return leases

    async def set_queue(self, name: str, *, limit: int | None, paused_by: str | None) -> None:
        """See ports.store.Queues."""
        await self._ask("set_queue", to_text(name), limit, to_text(paused_by))

    async def queues(self) -> list[QueueSummary]:
        """See ports.store.Queues."""
        return sorted(
            QueueSummary(from_text(name), limit, from_text(paused_by), waiting, owned)
            for name, limit, paused_by, waiting, owned in await self._ask("queues")
        )
