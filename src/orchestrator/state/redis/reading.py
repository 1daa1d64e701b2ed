"""The read side: executions as lists show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import UnknownExecution
from orchestrator.state.redis.keys import encoded
from orchestrator.state.redis.leases import RedisLeases
from orchestrator.state.redis.rows import row_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.execution import ExecutionStatus
    from orchestrator.domain.ids import ExecutionId
    from orchestrator.ports.store import ExecutionSummary

LIST_PAGE = 200


class RedisReading(RedisLeases):
    """See ports.store.Executions."""

    async def summary(self, execution_id: ExecutionId) -> ExecutionSummary:
        """See ports.store.Executions."""
        row, now = await self._row(execution_id)
        return row.summary(now)

    async def summaries(
        self, *, pipeline_id: str | None = None, status: ExecutionStatus | None = None, limit: int | None = None
    ) -> list[ExecutionSummary]:
        """See ports.store.Executions. Page by page: a list of many does not keep everybody else waiting."""
        index, wanted = "executions", ""
        if pipeline_id is not None:
            index, wanted = f"pipeline:{encoded(pipeline_id)}", status.value if status is not None else ""
        elif status is not None:
            index, wanted = f"status:{status.value}", status.value
        found: dict[str, ExecutionSummary] = {}
        member, score = b"", b""
        while limit is None or len(found) < limit:
            size = LIST_PAGE if limit is None or wanted else min(LIST_PAGE, limit - len(found))
            answer = await self._server.run("summaries", index, wanted, member, score, size)
            _, now, looked_at, member, score, rows = answer
            for flat in rows:
                one = row_of(flat).summary(now)
                found.setdefault(one.execution_id, one)
            if looked_at < size:
                break
        return list(found.values())[:limit]

    async def sizes(self, execution_ids: Sequence[ExecutionId]) -> dict[ExecutionId, int]:
        """See ports.store.Sizes."""
        blobs = {blob.digest.hex().encode(): blob.size for blob in await self._outside.stored()}
        place = self._server.key.removesuffix("store")
        found: dict[ExecutionId, int] = {}
        for name in execution_ids:
            (journal,) = (await self._server.ask(("HMGET", f"{place}execution:{encoded(name)}", "bytes")))[0]
            if journal is None:
                continue
            digests = [digest async for digest in self._scanned("SSCAN", f"refs:{encoded(name)}")]
            found[name] = int(journal) + sum(blobs.get(digest, 0) for digest in digests)
            for start in range(0, len(digests), LIST_PAGE):
                page = digests[start : start + LIST_PAGE]
                sizes = await self._server.ask(*(("HMGET", f"{place}value:{each.decode()}", "size") for each in page))
                found[name] += sum(int(size or 0) for (size,) in sizes)
        return found

    async def hidden(self, execution_id: ExecutionId) -> set[int]:
        """See ports.store.Executions."""
        answer = await self._server.run("hidden", encoded(execution_id))
        if answer[0] == b"unknown":
            raise UnknownExecution(execution_id)
        return {int(seq) for seq in answer[1]}
