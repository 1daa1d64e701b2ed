"""What keeps the store in order."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

from orchestrator.domain.ids import ExecutionId, Seq
from orchestrator.errors import ExecutionOwned
from orchestrator.state.postgres.leases import PostgresLeases
from orchestrator.state.postgres.names import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.ports.blobs import BlobInfo, Blobs

CHUNK = 2000
"""How many rows one statement deletes: none may take long, and whoever stops between two has done no harm."""
BLOB_GRACE_SECONDS = 3600.0
"""A younger blob without a row may belong to a commit under way."""


class PostgresMaintenance(PostgresLeases):
    """See ports.store.Maintenance."""

    async def hide_checkpoint(self, execution_id: ExecutionId, seq: Seq) -> None:
        """See ports.store.Maintenance."""
        await self._ask_known("hide", execution_id, seq)

    async def remove(self, execution_ids: Sequence[ExecutionId]) -> None:
        """See ports.store.Maintenance.

        An execution is gone at once, by one statement; its rows follow in pieces. What an interrupted removal left is
        removed by the next one.
        """
        try:
            for execution_id in execution_ids:
                if not await self._ask("strike", to_text(execution_id)):
                    holder = await self._ask("owner", to_text(execution_id))
                    if holder and holder[0][2] is not None and holder[0][3] > 0:
                        raise ExecutionOwned(execution_id, from_text(holder[0][1]) or "another process")
        finally:
            await self._sweep()

    async def _sweep(self) -> None:
        """Delete what belongs to no execution any more."""
        while struck := await self._ask("struck"):
            for (row,) in struck:
                for name in ("delete_journal", "delete_refs"):
                    while len(await self._ask(name, row, CHUNK)) == CHUNK:
                        pass
                await self._ask("delete_execution", row)
        while len(await self._ask("delete_values", CHUNK)) == CHUNK:
            pass
        if self._blobs is not None:
            await self._collect_blobs(self._blobs)

    async def _collect_blobs(self, blobs: Blobs) -> None:
        """Delete blobs that no row refers to, unless a commit under way may be about to."""
        old = time.time() - BLOB_GRACE_SECONDS  # noqa: TID251 - blobs are dated by a machine's clock
        await asyncio.to_thread(blobs.remove_stale, old + BLOB_GRACE_SECONDS)
        stored = await asyncio.to_thread(lambda: [blob.digest for blob in blobs.iterate() if blob.mtime < old])
        for start in range(0, len(stored), CHUNK):
            page = stored[start : start + CHUNK]
            known = {digest for (digest,) in await self._ask("known_values", page)}
            for digest in page:
                if digest not in known:
                    await asyncio.to_thread(blobs.delete, digest, unless_after=old)

    async def check(self) -> list[str]:
        """See ports.store.Maintenance. The server itself keeps the rest: types, and that each reference has a value."""
        problems = [
            f"{from_text(name)}: its journal ends at {last or 0}, and it is said to have {seq} facts"
            for name, seq, last in await self._ask("short_journals")
        ]
        orphans = (await self._ask("orphans"))[0][0]
        if orphans:
            problems.append(f"{self.url}: {orphans} commits belong to no execution")
        return problems + await self._missing_blobs()

    async def _missing_blobs(self) -> list[str]:
        """Return what is wrong with the values that lie outside of the database."""
        stored = {blob.digest for blob in await self._list_blobs()}
        problems = []
        after = b""
        while page := await self._ask("outside_values", after, CHUNK):
            problems += [f"value {digest.hex()}: missing" for (digest,) in page if digest not in stored]
            after = page[-1][0]
        return problems

    async def _list_blobs(self) -> list[BlobInfo]:
        blobs = self._blobs
        return [] if blobs is None else await asyncio.to_thread(lambda: list(blobs.iterate()))

    async def probe(self) -> None:
        """See ports.store.Maintenance."""
        await self._ask("probe")

    async def statistics(self) -> dict[str, Any]:
        """See ports.store.Maintenance; ``durability`` is what the server promises."""
        statuses, commits, values, outside, size = (await self._ask("statistics", self._target.schema))[0]
        by_status: dict[str, int] = json.loads(statuses)
        return {
            "executions": sum(by_status.values()),
            "by_status": by_status,
            "commits": commits,
            "values": values,
            "blobs": outside,
            "database_bytes": size,
            "blob_bytes": sum(blob.size for blob in await self._list_blobs()),
            "durability": self.durability,
        }
