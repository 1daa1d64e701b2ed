"""How an owner that was refused learns why: another took over, or the server has forgotten what it acknowledged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import LeaseLost, StoreDamaged
from orchestrator.state.postgres.database import Database
from orchestrator.state.postgres.names import to_text

if TYPE_CHECKING:
    from orchestrator.ports.store import Lease
    from orchestrator.state.postgres.links import Connection

REMOVED_SECONDS = 86400.0
"""How long the server knows of a removed execution that it was removed; see the statement ``strike``."""


class PostgresHistory(Database):
    """Tells a loss of ownership from a loss of history."""

    async def _stands(self, db: Connection, lease: Lease) -> int:
        """Return the seq of the last fact of an execution that still is the lease's; raises LeaseLost, StoreDamaged."""
        owned = self._owned.get(lease.token)
        if owned is None:
            raise LeaseLost(lease.execution_id, lease.epoch)
        row = (to_text(lease.execution_id), owned.born)
        removed, epoch, token, seq, born = (await self._execute(db, "standing", row))[0]
        if removed or born not in (None, owned.born):  # it was removed, and maybe another one has its name now
            raise LeaseLost(lease.execution_id, lease.epoch)
        if born is None:
            if self._clock.monotonic() > lease.deadline + REMOVED_SECONDS:
                raise LeaseLost(lease.execution_id, lease.epoch)
            raise StoreDamaged(
                lease.execution_id, f"history was lost: nobody removed it, and of its {owned.seq} facts none is there"
            )
        if epoch < lease.epoch or (epoch == lease.epoch and seq < owned.seq):
            raise StoreDamaged(
                lease.execution_id,
                f"history was lost: {owned.seq} facts were acknowledged to epoch {lease.epoch}, and the server knows "
                f"of {seq} and of epoch {epoch}. It was restored from a backup, or a standby without the last commits "
                "took over; what was lost would run again on a resume",
            )
        if epoch != lease.epoch or token != lease.token:
            raise LeaseLost(lease.execution_id, lease.epoch)
        return int(seq)
