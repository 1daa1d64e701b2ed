"""Results by fingerprint, over all executions: a sorted set and a hash per fingerprint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.state.cache import open_entry, seal_entry
from orchestrator.state.redis.holding import Holding
from orchestrator.state.redis.keys import encoded

if TYPE_CHECKING:
    from orchestrator.domain.ids import ExecutionId
    from orchestrator.ports.store import CacheEntry


class RedisCache(Holding):
    """See ports.store.Cache."""

    async def remember(self, execution_id: ExecutionId, entry: CacheEntry) -> None:
        """See ports.store.Cache. Nobody waits for its being on the disk."""
        record = seal_entry(entry, self._sealing)
        at = repr(float(entry.at))
        await self._server.run("remember", encoded(execution_id), entry.fingerprint.hex(), at, record)

    async def recall(self, fingerprint: bytes) -> CacheEntry | None:
        """See ports.store.Cache."""
        what, *found = await self._server.run("recall", fingerprint.hex())
        return None if what == b"none" else open_entry(fingerprint, float(found[0]), found[1], self._sealing)
