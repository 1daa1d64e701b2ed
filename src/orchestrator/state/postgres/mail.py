"""Mail: a table of what was sent to executions and not taken yet, and a mark in the execution's row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import LeaseLost, UnknownExecution
from orchestrator.state.mail import open_signal, seal_signal
from orchestrator.state.postgres.history import PostgresHistory
from orchestrator.state.postgres.names import to_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.ids import ExecutionId
    from orchestrator.ports.store import Lease, Signal
    from orchestrator.state.postgres.database import Rows
    from orchestrator.state.postgres.links import Connection

PAGE = 100
"""So many signals are read with one statement: each may have 64 KiB."""


class PostgresMail(PostgresHistory):
    """See ports.store.Mail."""

    async def send(self, execution_id: ExecutionId, signal: Signal) -> None:
        """See ports.store.Mail."""
        row = (to_text(execution_id), signal.id, seal_signal(execution_id, signal, self._sealing))

        async def work(db: Connection, again: bool) -> Rows:  # noqa: FBT001
            del again
            async with self._durably(db):
                return await self._execute(db, "send", row)

        if not await self._run(work):
            raise UnknownExecution(execution_id)

    async def signals(self, execution_id: ExecutionId, limit: int | None = None) -> list[Signal]:
        """See ports.store.Mail."""
        name, after = to_text(execution_id), 0
        found: list[Signal] = []
        while limit is None or len(found) < limit:
            size = PAGE if limit is None else min(PAGE, limit - len(found))
            rows = await self._ask("signals", name, after, size)
            if not rows:
                raise UnknownExecution(execution_id)
            page = [row for row in rows if row[0] is not None]
            found += [open_signal(execution_id, id_, record, self._sealing) for _number, id_, record in page]
            if len(page) < size:
                break
            after = page[-1][0]
        return found

    async def delivered(self, lease: Lease, ids: Sequence[str]) -> None:
        """See ports.store.Mail."""
        owned = (to_text(lease.execution_id), lease.epoch, lease.token)
        names = [to_text(name) for name in ids]

        async def work(db: Connection, again: bool) -> bool:  # noqa: FBT001
            del again
            async with db.transaction():
                await self._settle(db)
                found = await self._execute(db, "owned", owned)
                for (row,) in found:
                    await self._execute(db, "delivered", (row, names))
                    await self._execute(db, "mail_left", (row,))
            if not found:
                await self._stands(db, lease)
            return bool(found)

        if not await self._run(work):
            raise LeaseLost(lease.execution_id, lease.epoch)
