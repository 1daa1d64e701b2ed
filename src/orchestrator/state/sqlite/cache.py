"""Results by fingerprint, over all executions: a table beside the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.state.cache import open_entry, seal_entry
from orchestrator.state.sqlite.leases import SqliteLeases

if TYPE_CHECKING:
    from orchestrator.domain.ids import ExecutionId
    from orchestrator.ports.store import CacheEntry

_REMEMBER = """
    INSERT INTO cache (execution, fingerprint, at, record) SELECT id, ?2, ?3, ?4 FROM executions WHERE execution_id = ?1
    ON CONFLICT (execution, fingerprint) DO UPDATE SET at = excluded.at, record = excluded.record
    WHERE excluded.at >= cache.at
"""
_RECALL = "SELECT at, record FROM cache WHERE fingerprint = ? ORDER BY at DESC, execution DESC LIMIT 1"


class SqliteCache(SqliteLeases):
    """See ports.store.Cache."""

    async def remember(self, execution_id: ExecutionId, entry: CacheEntry) -> None:
        """See ports.store.Cache. Without fsync: the next commit of facts brings it to the disk as well."""
        record = seal_entry(entry, self._sealing)
        with self._transaction(durable=False) as db:
            db.execute(_REMEMBER, (execution_id, entry.fingerprint, float(entry.at), record))

    async def recall(self, fingerprint: bytes) -> CacheEntry | None:
        """See ports.store.Cache."""
        with self._guarded() as db:
            row: Any = db.execute(_RECALL, (fingerprint,)).fetchone()
        if row is None:
            return None
        at, record = row
        return open_entry(fingerprint, at, record, self._sealing)
