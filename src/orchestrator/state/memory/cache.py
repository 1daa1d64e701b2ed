"""Results by fingerprint, over all executions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.state.cache import open_entry, seal_entry
from orchestrator.state.memory.data import Cached
from orchestrator.state.memory.leases import MemoryLeases

if TYPE_CHECKING:
    from orchestrator.domain.ids import ExecutionId
    from orchestrator.ports.store import CacheEntry


class MemoryCache(MemoryLeases):
    """See ports.store.Cache."""

    async def remember(self, execution_id: ExecutionId, entry: CacheEntry) -> None:
        """See ports.store.Cache."""
        record = seal_entry(entry)
        with self._data.mutex:
            self._check_open()
            execution = self._data.executions.get(execution_id)
            if execution is None:
                return
            execution.fingerprints.add(entry.fingerprint)
            entries = self._data.cache.setdefault(entry.fingerprint, {})
            old = entries.get(execution.number)
            if old is None or old.at <= entry.at:
                entries[execution.number] = Cached(entry.at, record)

    async def recall(self, fingerprint: bytes) -> CacheEntry | None:
        """See ports.store.Cache."""
        with self._data.mutex:
            self._check_open()
            entries = self._data.cache.get(fingerprint)
            if not entries:
                return None
            at, _number, record = max((entry.at, number, entry.record) for number, entry in entries.items())
        return open_entry(fingerprint, at, record)
