"""What keeps the store in order."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ExecutionOwned, MailUnread
from orchestrator.state.memory.journal import MemoryJournal
from orchestrator.state.parcels import unkept

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.ids import ExecutionId, Seq
    from orchestrator.state.memory.data import Kept


class MemoryMaintenance(MemoryJournal):
    """See ports.store.Maintenance."""

    async def hide_checkpoint(self, execution_id: ExecutionId, seq: Seq) -> None:
        """See ports.store.Maintenance."""
        with self._data.mutex:
            self._find(execution_id).hidden.add(int(seq))

    async def remove(self, execution_ids: Sequence[ExecutionId], *, unread: bool = True) -> None:
        """See ports.store.Maintenance."""
        for execution_id in execution_ids:
            with self._data.mutex:
                self._check_open()
                execution = self._data.executions.get(execution_id)
                if execution is None:
                    continue
                holder = self._holder(execution)
                if holder is not None and holder.alive:
                    raise ExecutionOwned(execution_id, holder.owner)
                if execution.mail and not unread:
                    raise MailUnread(execution_id)
                del self._data.executions[execution_id]
                for fingerprint in execution.fingerprints:
                    del self._data.cache[fingerprint][execution.number]
                    if not self._data.cache[fingerprint]:
                        del self._data.cache[fingerprint]
                for digest in execution.refs.difference(*(other.refs for other in self._data.executions.values())):
                    del self._data.values[digest]

    async def check(self) -> list[str]:
        """See ports.store.Maintenance."""
        with self._data.mutex:
            self._check_open()
            executions = list(self._data.executions.values())
            wanted = {digest for execution in executions for digest in execution.refs}
            missing = wanted - self._data.values.keys()
            orphans = self._data.values.keys() - wanted
        problems = [f"value {digest.hex()}: missing" for digest in sorted(missing)]
        problems += [f"value {digest.hex()}: belongs to no execution" for digest in sorted(orphans)]
        for execution in executions:
            problems += await unkept(self, execution.execution_id, partial(_refs_of, execution))
        return problems

    async def probe(self) -> None:
        """See ports.store.Maintenance."""
        self._check_open()

    async def statistics(self) -> dict[str, Any]:
        """See ports.store.Maintenance."""
        by_status: dict[str, int] = {}
        with self._data.mutex:
            self._check_open()
            records = [row.record for execution in self._data.executions.values() for row in execution.commits]
            for execution in self._data.executions.values():
                by_status[execution.status] = by_status.get(execution.status, 0) + 1
            return {
                "executions": len(self._data.executions),
                "by_status": by_status,
                "commits": len(records),
                "values": len(self._data.values),
                "cached": sum(map(len, self._data.cache.values())),
                "blobs": 0,
                "database_bytes": sum(map(len, records)) + sum(map(len, self._data.values.values())),
                "blob_bytes": 0,
            }

    async def close(self) -> None:
        """See ports.store.Maintenance. What this handle owns is free at once, as after its process's death."""
        with self._data.mutex:
            self._closed = True
            for execution in self._data.executions.values():
                if execution.token in self._tokens:
                    execution.lease_until = float("-inf")
            self._tokens.clear()


async def _refs_of(execution: Kept) -> set[bytes]:
    return execution.refs
