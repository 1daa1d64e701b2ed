"""Mail: a table of what was sent to executions and not taken yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.errors import LeaseLost
from orchestrator.state.mail import open_signal, seal_signal
from orchestrator.state.sqlite.leases import SqliteLeases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.ids import ExecutionId
    from orchestrator.ports.store import Lease, Signal

_OWNED = "SELECT id FROM executions WHERE execution_id = ? AND epoch = ? AND (token IS NULL OR token = ?)"


class SqliteMail(SqliteLeases):
    """See ports.store.Mail."""

    async def send(self, execution_id: ExecutionId, signal: Signal) -> None:
        """See ports.store.Mail."""
        record = seal_signal(execution_id, signal, self._sealing)
        self._check_identity()
        with self._transaction(durable=True) as db:
            row = self._ownership(db, execution_id)[0]
            db.execute(
                "INSERT OR IGNORE INTO signals (execution, id, record) VALUES (?, ?, ?)", (row, signal.id, record)
            )
            db.execute("UPDATE executions SET due = 0 WHERE id = ? AND status = 'waiting'", (row,))

    async def signals(self, execution_id: ExecutionId, limit: int | None = None) -> list[Signal]:
        """See ports.store.Mail."""
        with self._guarded() as db:
            row = self._ownership(db, execution_id)[0]
            found: list[Any] = db.execute(
                "SELECT id, record FROM signals WHERE execution = ? ORDER BY number LIMIT ?",
                (row, -1 if limit is None else limit),
            ).fetchall()
        return [open_signal(execution_id, name, record, self._sealing) for name, record in found]

    async def delivered(self, lease: Lease, ids: Sequence[str]) -> None:
        """See ports.store.Mail. Without fsync: what a power cut takes back is offered once more."""
        with self._transaction(durable=False) as db:
            row = db.execute(_OWNED, (lease.execution_id, lease.epoch, lease.token)).fetchone()
            if row is None:
                raise LeaseLost(lease.execution_id, lease.epoch)
            for name in ids:
                db.execute("DELETE FROM signals WHERE execution = ? AND id = ?", (row[0], name))
