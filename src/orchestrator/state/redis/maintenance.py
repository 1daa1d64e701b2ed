"""What keeps the store in order."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from orchestrator.domain.execution import ExecutionStatus
from orchestrator.errors import ExecutionOwned, UnknownExecution
from orchestrator.state.redis.keys import as_text, decoded, encoded
from orchestrator.state.redis.leases import RedisLeases, describe_owner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from orchestrator.domain.ids import ExecutionId, Seq

REFS_AT_ONCE = 100
PAGE = 200
BLOB_GRACE_SECONDS = 3600.0
"""A younger blob without a reference may belong to a commit under way."""


class RedisMaintenance(RedisLeases):
    """See ports.store.Maintenance."""

    async def hide_checkpoint(self, execution_id: ExecutionId, seq: Seq) -> None:
        """See ports.store.Maintenance."""
        answer = await self._server.run("hide", encoded(execution_id), int(seq), commit=True)
        if answer[0] == b"unknown":
            raise UnknownExecution(execution_id)

    async def remove(self, execution_ids: Sequence[ExecutionId]) -> None:
        """See ports.store.Maintenance. What a removal that was interrupted left behind goes with the next one."""
        self._server.check_open()
        try:
            for execution_id in execution_ids:
                await self._remove(execution_id)
        finally:
            while (await self._server.run("empty", REFS_AT_ONCE))[1]:
                pass
        await self._collect_blobs()

    async def _remove(self, execution_id: ExecutionId) -> None:
        try:
            row, _now = await self._row(execution_id)
        except UnknownExecution:
            return
        answer = await self._server.run("remove", encoded(execution_id), row.number, commit=True)
        if answer[0] == b"owned":
            raise ExecutionOwned(execution_id, describe_owner(as_text(answer[1]), answer[2] / 1000))

    async def _collect_blobs(self) -> None:
        """Delete blobs that nothing refers to, unless a commit under way may be about to."""
        blobs = self._blobs
        if blobs is None:
            return
        old = time.time() - BLOB_GRACE_SECONDS  # noqa: TID251 - blobs are dated by the machine's clock
        await asyncio.to_thread(blobs.remove_stale, old + BLOB_GRACE_SECONDS)
        for blob in await asyncio.to_thread(lambda: list(blobs.iterate())):
            # Whoever commits a reference has put the blob before, and so made it young again.
            if blob.mtime < old and not await self._is_there(blob.digest):
                await asyncio.to_thread(blobs.delete, blob.digest, unless_after=old)

    async def check(self) -> list[str]:
        """See ports.store.Maintenance."""
        problems: list[str] = []
        references: dict[bytes, int] = {}
        async for name, wrong, _commits, _size in self._surveyed():
            if wrong:
                problems.append(f"{decoded(name)}: {as_text(wrong)}")
            async for digest in self._scanned("SSCAN", f"refs:{name.decode()}"):
                references[digest] = references.get(digest, 0) + 1
        problems += [problem async for problem in self._misjudged(references)]
        _, _, inside, _, outside, _ = await self._server.run("statistics")
        values = int(inside) + int(outside)
        if values > len(references) and not await self._is_rubbish():
            problems.append(f"{self.url}: {values - len(references)} values belong to no execution")
        return problems

    async def _misjudged(self, references: dict[bytes, int]) -> AsyncIterator[str]:
        digests = sorted(references)
        for start in range(0, len(digests), PAGE):
            page = digests[start : start + PAGE]
            keys = [self._value_key(bytes.fromhex(digest.decode())) for digest in page]
            counts = await self._server.ask(*(("HMGET", key, "refs", "chunks") for key in keys))
            lives = await self._server.ask(*(("TTL", key) for key in keys))
            for digest, (count, chunks), life in zip(page, counts, lives, strict=True):
                if count is None or chunks is None:
                    yield f"value {digest.decode()}: missing"
                elif int(count) < (needed := references[digest]):
                    yield f"value {digest.decode()}: {needed} executions need it, and it knows of {int(count)}"
                elif life >= 0:
                    yield f"value {digest.decode()}: it has a time to live, set by somebody else"

    async def _is_rubbish(self) -> bool:
        return bool((await self._server.ask(("EXISTS", self._server.key.removesuffix("store") + "rubbish")))[0])

    async def _surveyed(self) -> AsyncIterator[list[Any]]:
        """Yield of each execution: its name, what is wrong with it, its commits and their size."""
        start = 0
        while page := (await self._server.run("survey", start, PAGE))[1]:
            for one in page:
                yield one
            start += PAGE

    async def _scanned(self, command: str, name: str) -> AsyncIterator[bytes]:
        cursor, seen = b"0", set()
        while True:
            cursor, page = (
                await self._server.ask((command, self._server.key.removesuffix("store") + name, cursor, "COUNT", 1000))
            )[0]
            for one in page:
                if one not in seen:
                    seen.add(one)
                    yield one
            if cursor == b"0":
                return

    async def probe(self) -> None:
        """See ports.store.Maintenance."""
        await self._server.run("probe", commit=True)

    async def statistics(self) -> dict[str, Any]:
        """See ports.store.Maintenance."""
        names = [status.value for status in ExecutionStatus]
        _, executions, values, value_bytes, outside, counts = await self._server.run("statistics", *names)
        commits = size = 0
        async for _name, _wrong, number, length in self._surveyed():
            commits += number
            size += length
        blobs = self._blobs
        kept = [] if blobs is None else await asyncio.to_thread(lambda: list(blobs.iterate()))
        return {
            "executions": executions,
            "by_status": {name: count for name, count in zip(names, counts, strict=True) if count},
            "commits": commits,
            "values": int(values),
            "blobs": int(outside),
            "database_bytes": size + int(value_bytes),
            "blob_bytes": sum(blob.size for blob in kept),
            "durability": self._server.promise.text,
        }

    async def close(self) -> None:
        """See ports.store.Maintenance. What this handle owns is free at once, as after a crash."""
        if self._server.closed:
            return
        await self._let_go()
        await self._server.close()
