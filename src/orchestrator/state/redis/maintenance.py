"""What keeps the store in order."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import ExecutionId
from orchestrator.errors import ExecutionOwned, MailUnread, UnknownExecution
from orchestrator.state.outside import COLLECTING_SECONDS
from orchestrator.state.parcels import unkept
from orchestrator.state.redis.journal import RedisJournal
from orchestrator.state.redis.keys import as_text, decoded, encoded
from orchestrator.state.redis.leases import describe_owner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from orchestrator.domain.ids import Seq

REFS_AT_ONCE = 100
PAGE = 200


class RedisMaintenance(RedisJournal):
    """See ports.store.Maintenance."""

    async def hide_checkpoint(self, execution_id: ExecutionId, seq: Seq) -> None:
        """See ports.store.Maintenance."""
        answer = await self._server.run("hide", encoded(execution_id), int(seq), commit=True)
        if answer[0] == b"unknown":
            raise UnknownExecution(execution_id)

    async def remove(self, execution_ids: Sequence[ExecutionId], *, unread: bool = True) -> None:
        """See ports.store.Maintenance. What a removal that was interrupted left behind goes with the next one."""
        self._server.check_open()
        try:
            for execution_id in execution_ids:
                await self._remove(execution_id, unread=unread)
        finally:
            while (await self._server.run("empty", REFS_AT_ONCE))[1]:
                pass
        await self._collect_blobs()

    async def _remove(self, execution_id: ExecutionId, *, unread: bool) -> None:
        try:
            row, _now = await self._row(execution_id)
        except UnknownExecution:
            return
        answer = await self._server.run("remove", encoded(execution_id), row.number, int(unread), commit=True)
        if answer[0] == b"owned":
            raise ExecutionOwned(execution_id, describe_owner(as_text(answer[1]), answer[2] / 1000))
        if answer[0] == b"unread":
            raise MailUnread(execution_id)

    async def _collect_blobs(self) -> None:
        """Delete blobs that nothing refers to; one collector at a time."""
        me = self._chance.token()

        async def turn() -> bool:
            answer = await self._server.run("collect", me, round(COLLECTING_SECONDS * 1000))
            return bool(answer[0] != b"busy")

        async def wanted(digests: list[bytes]) -> list[bytes]:
            there = await self._server.ask(*(("EXISTS", self._value_key(digest)) for digest in digests))
            return [digest for digest, found in zip(digests, there, strict=True) if found]

        try:
            await self._outside.collect(wanted, turn)
        finally:
            if self._outside.exists:
                await self._server.run("collect", me, 0)

    async def check(self) -> list[str]:
        """See ports.store.Maintenance."""
        problems: list[str] = []
        references: dict[bytes, int] = {}
        async for name, wrong, _commits, _size in self._surveyed():
            if wrong:
                problems.append(f"{decoded(name)}: {as_text(wrong)}")
            async for digest in self._scanned("SSCAN", f"refs:{name.decode()}"):
                references[digest] = references.get(digest, 0) + 1
            problems += await unkept(self, ExecutionId(decoded(name)), partial(self._refs_of, name))
        blobs = {blob.digest.hex().encode() for blob in await self._outside.stored()}
        problems += [problem async for problem in self._misjudged(references, blobs)]
        _, _, inside, _, outside, *_ = await self._server.run("statistics")
        values = int(inside) + int(outside)
        if values > len(references) and not await self._is_rubbish():
            problems.append(f"{self.url}: {values - len(references)} values belong to no execution")
        return problems

    async def _refs_of(self, name: bytes) -> set[bytes]:
        return {bytes.fromhex(digest.decode()) async for digest in self._scanned("SSCAN", f"refs:{name.decode()}")}

    async def _misjudged(self, references: dict[bytes, int], blobs: set[bytes]) -> AsyncIterator[str]:
        digests = sorted(references)
        for start in range(0, len(digests), PAGE):
            page = digests[start : start + PAGE]
            keys = [self._value_key(bytes.fromhex(digest.decode())) for digest in page]
            counts = await self._server.ask(*(("HMGET", key, "refs", "chunks") for key in keys))
            lives = await self._server.ask(*(("TTL", key) for key in keys))
            for digest, (count, chunks), life in zip(page, counts, lives, strict=True):
                if count is None or chunks is None or (chunks == b"0" and digest not in blobs):
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

    async def probe(self) -> None:
        """See ports.store.Maintenance."""
        await self._server.run("probe", commit=True)

    async def statistics(self) -> dict[str, Any]:
        """See ports.store.Maintenance."""
        names = [status.value for status in ExecutionStatus]
        _, executions, values, value_bytes, outside, cached, counts = await self._server.run("statistics", *names)
        commits = size = 0
        async for _name, _wrong, number, length in self._surveyed():
            commits += number
            size += length
        return {
            "executions": executions,
            "by_status": {name: count for name, count in zip(names, counts, strict=True) if count},
            "commits": commits,
            "values": int(values),
            "blobs": int(outside),
            "cached": int(cached),
            "database_bytes": size + int(value_bytes),
            "blob_bytes": sum(blob.size for blob in await self._outside.stored()),
            "durability": self._server.promise.text,
        }

    async def close(self) -> None:
        """See ports.store.Maintenance. What this handle owns is free at once, as after a crash."""
        if self._server.closed:
            return
        await self._let_go()
        await self._server.close()
