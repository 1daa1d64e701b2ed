"""The read side: values by their digest, and executions as lists show them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import ExecutionId, Seq
from orchestrator.errors import StoreDamaged, UnknownExecution
from orchestrator.ports.store import ExecutionSummary, Place
from orchestrator.state.postgres.database import Database
from orchestrator.state.postgres.leases import make_holder
from orchestrator.state.postgres.names import from_text, to_text
from orchestrator.state.records import unseal_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.values import ValueRef

LIST_PAGE = 1000
_LAST = 2**62


class PostgresReading(Database):
    """See ports.store.Values and ports.store.Executions."""

    async def get(self, ref: ValueRef) -> bytes:
        """See ports.store.Values."""
        if ref.inline:
            return ref.data
        name = f"value {ref.data.hex()}"
        found = await self._ask("value", ref.data)
        if not found:
            raise StoreDamaged(name, "missing")
        record = found[0][0]
        if record is None:
            record = await self._outside.get(ref.data)
        return unseal_value(ref, record, name=name, sealing=self._sealing)

    async def summary(self, execution_id: ExecutionId) -> ExecutionSummary:
        """See ports.store.Executions."""
        found = await self._ask("summary", to_text(execution_id))
        if not found:
            raise UnknownExecution(execution_id)
        return _summarize(found[0])

    async def summaries(
        self, *, pipeline_id: str | None = None, status: ExecutionStatus | None = None, limit: int | None = None
    ) -> list[ExecutionSummary]:
        """See ports.store.Executions."""
        found: list[ExecutionSummary] = []
        name, more = ("summaries", ()) if pipeline_id is None else ("summaries_of", (to_text(pipeline_id),))
        below: tuple[float, int] = (math.inf, _LAST)
        while limit is None or len(found) < limit:
            size = LIST_PAGE if limit is None else min(LIST_PAGE, limit - len(found))
            page = await self._ask(name, size, None if status is None else status.value, *below, *more)
            found += [_summarize(row) for row in page]
            if len(page) < size:
                break
            below = (page[-1][6], page[-1][17])
        return found

    async def sizes(self, execution_ids: Sequence[ExecutionId]) -> dict[ExecutionId, int]:
        """See ports.store.Sizes."""
        found: dict[ExecutionId, int] = {}
        blobs = {blob.digest: blob.size for blob in await self._outside.stored()}
        for start in range(0, len(execution_ids), LIST_PAGE):
            names = [to_text(name) for name in execution_ids[start : start + LIST_PAGE]]
            found |= {ExecutionId(from_text(name)): size for name, size in await self._ask("sizes", names)}
            for name, digest in await self._ask("outside_of", names) if blobs else ():
                found[ExecutionId(from_text(name))] += blobs.get(digest, 0)
        return found

    async def hidden(self, execution_id: ExecutionId) -> set[int]:
        """See ports.store.Executions."""
        found = await self._ask("hidden", to_text(execution_id))
        if not found:
            raise UnknownExecution(execution_id)
        return {seq for (seq,) in found if seq is not None}


def _summarize(row: tuple[Any, ...]) -> ExecutionSummary:
    (name, pipeline_id, status, completed, total, seq, created_at, updated_at, epoch, owner, token, left,
     queue, priority, waiting, paused_by, due, _id) = row  # fmt: skip
    execution_id = ExecutionId(from_text(name))
    try:
        known = ExecutionStatus(status)
    except ValueError:
        raise StoreDamaged(execution_id, f"its status is {status!r}") from None
    return ExecutionSummary(
        execution_id=execution_id,
        pipeline_id=from_text(pipeline_id),
        status=known,
        completed=completed,
        total=total,
        seq=Seq(seq),
        created_at=created_at,
        updated_at=updated_at,
        holder=make_holder(epoch, owner, token, left),
        place=None if queue is None else Place(from_text(queue), priority),
        waiting=waiting,
        paused_by=from_text(paused_by),
        due=due if known is ExecutionStatus.WAITING else None,
        lease_left=None if token is None else left,
    )
