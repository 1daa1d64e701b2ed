"""Large values: how they come along with a commit, and how they are got."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.errors import StoreDamaged, ValueGone
from orchestrator.state.commits import carried
from orchestrator.state.records import seal_value, unseal_value
from orchestrator.state.redis.holding import Holding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from orchestrator.domain.values import Stored, ValueRef

CHUNK_SIZE = 1 << 20
"""No single command carries more of a value than this: while the server copies it, everybody else waits."""
ALONG_SIZE = 256 * 1024
"""Records up to this many bytes come along in the commit itself, as long as all of them make less than a chunk."""
STAGE_SECONDS = 3600
STAGING_TRIES = 3


class RedisValues(Holding):
    """See ports.store.Values."""

    async def get(self, ref: ValueRef) -> bytes:
        """See ports.store.Values."""
        if ref.inline:
            return ref.data
        name = f"value {ref.data.hex()}"
        key = self._value_key(ref.data)
        count, *chunks = (await self._server.ask(("HMGET", key, "chunks", "0")))[0]
        if count is None:
            raise StoreDamaged(name, "missing")
        if int(count) == 0:
            record = await self._outside.get(ref.data)
        else:
            for number in range(1, int(count)):
                chunks += await self._server.ask(("HGET", key, str(number)))
            if None in chunks:
                raise StoreDamaged(name, "a part of it is missing")
            record = b"".join(chunks)
        return unseal_value(ref, record, name=name, sealing=self._sealing)

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

    def _value_key(self, digest: bytes) -> str:
        return self._server.key.removesuffix("store") + f"value:{digest.hex()}"

    async def _with_values(
        self, values: Sequence[Stored], commit: Callable[[list[Any]], Awaitable[list[Any]]]
    ) -> list[Any]:
        """Run a commit with its values; what is too large for it is put down on the server before.

        Raises ValueGone if it refers to one that is not there.
        """
        if not values:
            return await commit([])
        brought = carried(values)
        records = {digest: seal_value(value, self._sealing) for digest, value in brought.stored.items()}
        stages: dict[bytes, str] = {}
        along: dict[bytes, tuple[str, bytes]] = dict.fromkeys(brought.referred, ("t", b""))
        size = 0
        for digest, record in records.items():
            if self._outside.takes(record):
                await self._outside.put(digest, record)
                along[digest] = ("o", b"")
            elif len(record) <= ALONG_SIZE and size + len(record) <= CHUNK_SIZE:
                along[digest] = ("r", record)
                size += len(record)
            else:
                stages[digest] = "" if await self._is_there(digest) else await self._stage(record)
        for _ in range(STAGING_TRIES):
            staged = {digest: ("s", stage) for digest, stage in stages.items()}
            arguments = [part for digest, how in (along | staged).items() for part in (digest.hex(), *how)]
            answer = await commit(arguments)
            if answer[0] != b"unstaged":
                break
            missing = bytes.fromhex(answer[1].decode())  # removed since we looked, or put down too long ago
            stages[missing] = await self._stage(records[missing])
        else:
            raise StoreDamaged(self.url, "large values vanish from the server before they are committed")
        if answer[0] != b"ok":
            await self._unstage(stages)
        if answer[0] == b"valueless":
            raise ValueGone(answer[1].decode())
        return answer

    async def _is_there(self, digest: bytes) -> bool:
        return bool((await self._server.ask(("EXISTS", self._value_key(digest))))[0])

    async def _stage(self, record: bytes) -> str:
        """Put a record down in pieces, under a name of its own; it is rubbish after an hour."""
        stage = self._chance.token()
        chunks = [record[start : start + CHUNK_SIZE] for start in range(0, len(record), CHUNK_SIZE)]
        await self._server.run("stage", stage, STAGE_SECONDS, "chunks", len(chunks), "size", len(record))
        for number, chunk in enumerate(chunks):
            await self._server.run("stage", stage, STAGE_SECONDS, number, chunk)
        return stage

    async def _unstage(self, stages: dict[bytes, str]) -> None:
        for stage in stages.values():
            if stage:
                await self._server.run("unstage", stage)
