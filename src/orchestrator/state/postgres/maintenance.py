"""What keeps the store in order."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.domain.ids import ExecutionId, Seq
from orchestrator.errors import ExecutionOwned, MailUnread
from orchestrator.state.outside import COLLECTING_SECONDS
from orchestrator.state.parcels import unkept
from orchestrator.state.postgres.journal import PostgresJournal
from orchestrator.state.postgres.leases import PostgresLeases
from orchestrator.state.postgres.names import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Sequence


CHUNK = 2000
"""How many rows one statement deletes: none may take long, and whoever stops between two has done no harm."""


class PostgresMaintenance(PostgresJournal, PostgresLeases):
    """See ports.store.Maintenance."""

    async def hide_checkpoint(self, execution_id: ExecutionId, seq: Seq) -> None:
        """See ports.store.Maintenance."""
        await self._ask_known("hide", execution_id, seq)

    async def remove(self, execution_ids: Sequence[ExecutionId], *, unread: bool = True) -> None:
        """See ports.store.Maintenance.

        An execution is gone at once, by one statement; its rows follow in pieces. What an interrupted removal left is
        removed by the next one.
        """
        try:
            for execution_id in execution_ids:
                if not await self._ask("strike", to_text(execution_id), unread):
                    holder = await self._ask("owner", to_text(execution_id))
                    if holder and holder[0][2] is not None and holder[0][3] > 0:
                        raise ExecutionOwned(execution_id, from_text(holder[0][1]) or "another process")
                    if holder and not unread:
                        raise MailUnread(execution_id)
        finally:
            await self._sweep()

    async def _sweep(self) -> None:
        """Delete what belongs to no execution any more."""
        while struck := await self._ask("struck"):
            for (row,) in struck:
                for name in ("delete_journal", "delete_refs", "delete_cache", "delete_signals"):
                    while len(await self._ask(name, row, CHUNK)) == CHUNK:
                        pass
            while len(await self._ask("delete_values", CHUNK)) == CHUNK:
                pass
            for (row,) in struck:  # last of all: as long as it is there, values without references are no damage
                await self._ask("delete_execution", row)
        await self._collect_blobs()

    async def _collect_blobs(self) -> None:
        """Delete blobs that no row refers to; one collector at a time."""
        me = self._chance.token()

        async def turn() -> bool:
            return bool(await self._ask("turn", me, COLLECTING_SECONDS))

        async def wanted(digests: list[bytes]) -> list[bytes]:
            return [digest for (digest,) in await self._ask("known_values", digests)]

        try:
            await self._outside.collect(wanted, turn)
        finally:
            if self._outside.exists:
                await self._ask("turn_over", me)

    async def check(self) -> list[str]:
        """See ports.store.Maintenance. The server itself keeps the rest: types, and that each reference has a value."""
        problems = [
            f"{from_text(name)}: its journal ends at {last or 0}, and it is said to have {seq} facts"
            for name, seq, last in await self._ask("short_journals")
        ]
        counts = (await self._ask("orphans"))[0]
        kinds = ("commits", "references to values", "values")
        for count, kind in zip(counts, kinds, strict=True):
            if count:
                problems.append(f"{self.url}: {count} {kind} belong to no execution")
        return problems + await self._missing_references() + await self._missing_blobs()

    async def _missing_references(self) -> list[str]:
        """Return which values may be deleted under executions whose facts need them."""
        problems = []
        after = 0
        while page := await self._ask("names", after, CHUNK):
            for after, name in page:
                problems += await unkept(self, ExecutionId(from_text(name)), partial(self._refs_of, after))
        return problems

    async def _refs_of(self, row: int) -> set[bytes]:
        return {digest for (digest,) in await self._ask("refs_of", row)}

    async def _missing_blobs(self) -> list[str]:
        """Return what is wrong with the values that lie outside of the database."""
        stored = {blob.digest for blob in await self._outside.stored()}
        problems = []
        after = b""
        while page := await self._ask("outside_values", after, CHUNK):
            problems += [f"value {digest.hex()}: missing" for (digest,) in page if digest not in stored]
            after = page[-1][0]
        return problems

    async def probe(self) -> None:
        """See ports.store.Maintenance."""
        await self._ask("probe")

    async def statistics(self) -> dict[str, Any]:
        """See ports.store.Maintenance; ``durability`` is what the server promises."""
        statuses, commits, values, outside, cached, size = (await self._ask("statistics", self._target.schema))[0]
        by_status: dict[str, int] = json.loads(statuses)
        return {
            "executions": sum(by_status.values()),
            "by_status": by_status,
            "commits": commits,
            "values": values,
            "blobs": outside,
            "cached": cached,
            "database_bytes": size,
            "blob_bytes": sum(blob.size for blob in await self._outside.stored()),
            "durability": self.durability,
        }
