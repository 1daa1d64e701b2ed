"""Mail: what was sent to an execution and not taken yet, in two keys beside its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import UnknownExecution
from orchestrator.state.mail import open_signal, seal_signal
from orchestrator.state.redis.keys import as_bytes, encoded
from orchestrator.state.redis.leases import RedisLeases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.ids import ExecutionId
    from orchestrator.ports.store import Lease, Signal

PAGE = 50
"""So many signals are read with one script: each may have 64 KiB."""
MOST_DELIVERED = 1000


class RedisMail(RedisLeases):
    """See ports.store.Mail."""

    async def send(self, execution_id: ExecutionId, signal: Signal) -> None:
        """See ports.store.Mail."""
        record = seal_signal(execution_id, signal, self._sealing)
        answer = await self._server.run("send", encoded(execution_id), signal.id, record, commit=True, durable=True)
        if answer[0] == b"unknown":
            raise UnknownExecution(execution_id)

    async def signals(self, execution_id: ExecutionId, limit: int | None = None) -> list[Signal]:
        """See ports.store.Mail."""
        found: list[Signal] = []
        after = b"0"
        while limit is None or len(found) < limit:
            size = PAGE if limit is None else min(PAGE, limit - len(found))
            what, *page = await self._server.run("signals", encoded(execution_id), after, size)
            if what == b"unknown":
                raise UnknownExecution(execution_id)
            found += [open_signal(execution_id, id_.decode(), record, self._sealing) for _, id_, record in page[0]]
            if len(page[0]) < size:
                break
            after = page[0][-1][0]
        return found

    async def delivered(self, lease: Lease, ids: Sequence[str]) -> None:
        """See ports.store.Mail."""
        for start in range(0, max(len(ids), 1), MOST_DELIVERED):
            some = [as_bytes(name) for name in ids[start : start + MOST_DELIVERED]]
            answer = await self._server.run(
                "delivered",
                encoded(lease.execution_id),
                lease.epoch,
                lease.token,
                *some,
                patience=self._patience(lease),
            )
            self._judge(lease, answer)
