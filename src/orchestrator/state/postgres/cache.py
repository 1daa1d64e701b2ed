"""Results by fingerprint, over all executions: a table beside the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.state.cache import open_entry, seal_entry
from orchestrator.state.postgres.database import Database
from orchestrator.state.postgres.names import to_text

if TYPE_CHECKING:
    from orchestrator.domain.ids import ExecutionId
    from orchestrator.ports.store import CacheEntry


class PostgresCache(Database):
    """See ports.store.Cache."""

    async def remember(self, execution_id: ExecutionId, entry: CacheEntry) -> None:
        """See ports.store.Cache."""
        record = seal_entry(entry, self._sealing)
        await self._ask("remember", to_text(execution_id), entry.fingerprint, float(entry.at), record)

    async def recall(self, fingerprint: bytes) -> CacheEntry | None:
        """See ports.store.Cache."""
        found = await self._ask("recall", fingerprint)
        if not found:
            return None
        at, record = found[0]
        return open_entry(fingerprint, at, record, self._sealing)
