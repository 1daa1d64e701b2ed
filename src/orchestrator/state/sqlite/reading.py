"""The read side: values by their digest, and executions as lists show them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import ExecutionId, Seq
from orchestrator.errors import (
    StoreDamaged,
    UnknownExecution,
)
from orchestrator.ports.store import ExecutionSummary, Place
from orchestrator.state.records import unseal_value
from orchestrator.state.sqlite.database import SEQ_MASK, SHIFT
from orchestrator.state.sqlite.leases import SqliteLeases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.values import ValueRef


# The length of a record is in its row's header: none of these is read.
_JOURNAL_SIZE = "SELECT coalesce(sum(length(record)), 0) FROM journal WHERE position BETWEEN ? AND ?"
_VALUE_SIZES = """
    SELECT refs.digest, length(vals.record) FROM refs LEFT JOIN vals ON vals.digest = refs.digest
    WHERE refs.execution = ?
"""


class SqliteReading(SqliteLeases):
    """See ports.store.Values and ports.store.Executions."""

    async def get(self, ref: ValueRef) -> bytes:
        """See ports.store.Values."""
        if ref.inline:
            return ref.data
        with self._guarded() as db:
            row = db.execute("SELECT record FROM vals WHERE digest = ?", (ref.data,)).fetchone()
        record = row[0] if row else await self._with_blobs(self._blobs.get, ref.data)
        return unseal_value(ref, record, name=f"value {ref.data.hex()}", sealing=self._sealing)

    _SUMMARY = """
        SELECT execution_id, pipeline_id, status, total, created_at, epoch, owner, token, locked, lease_until,
               queue, priority, waiting, paused_by, due, journal.position, journal.at, journal.completed
        FROM executions JOIN journal ON journal.position = (
            SELECT max(position) FROM journal
            WHERE position BETWEEN executions.id << 32 AND executions.id << 32 | 4294967295)
    """

    async def summary(self, execution_id: ExecutionId) -> ExecutionSummary:
        """See ports.store.Executions."""
        with self._guarded() as db:
            row = db.execute(self._SUMMARY + " WHERE execution_id = ?", (execution_id,)).fetchone()
            if row is None:
                self._row(db, execution_id)
                raise StoreDamaged(execution_id, "its journal is empty")
        return self._summarize(row)

    async def summaries(
        self, *, pipeline_id: str | None = None, status: ExecutionStatus | None = None, limit: int | None = None
    ) -> list[ExecutionSummary]:
        """See ports.store.Executions."""
        sql = (
            self._SUMMARY
            + " WHERE (?1 IS NULL OR pipeline_id = ?1) AND (?2 IS NULL OR status = ?2)"
            + " ORDER BY executions.created_at DESC, executions.id DESC LIMIT ?3"
        )
        with self._guarded() as db:
            rows = db.execute(sql, (pipeline_id, status, -1 if limit is None else limit)).fetchall()
        return [self._summarize(row) for row in rows]

    def _summarize(self, row: tuple[Any, ...]) -> ExecutionSummary:
        (execution_id, pipeline_id, status, total, created_at, epoch, owner, token, locked, until,
         queue, priority, waiting, paused_by, due, position, at, completed) = row  # fmt: skip
        numbers = (total, epoch, locked, priority, completed)
        if not all(isinstance(number, int) for number in numbers) or not isinstance(pipeline_id, str):
            raise StoreDamaged(
                str(execution_id), "its row in the list of executions holds something else than it should"
            )
        try:
            known = ExecutionStatus(status)
        except ValueError:
            raise StoreDamaged(execution_id, f"its status is {status!r}") from None
        return ExecutionSummary(
            execution_id=ExecutionId(execution_id),
            pipeline_id=pipeline_id,
            status=known,
            completed=completed,
            total=total,
            seq=Seq(position & SEQ_MASK),
            created_at=created_at,
            updated_at=at,
            holder=self._holder(execution_id, epoch, owner, token, locked, until),
            place=None if queue is None else Place(queue, priority),
            waiting=bool(waiting),
            paused_by=paused_by,
            due=due if known is ExecutionStatus.WAITING else None,
            lease_left=None if token is None else until - self._clock.monotonic(),
        )

    async def sizes(self, execution_ids: Sequence[ExecutionId]) -> dict[ExecutionId, int]:
        """See ports.store.Sizes."""
        blobs = {blob.digest: blob.size for blob in await self._with_blobs(lambda: list(self._blobs.iterate()))}
        found: dict[ExecutionId, int] = {}
        for name in execution_ids:
            with self._guarded() as db, suppress(UnknownExecution):
                row = self._row(db, name)
                size = db.execute(_JOURNAL_SIZE, (row << SHIFT, row << SHIFT | SEQ_MASK)).get
                for digest, length in db.execute(_VALUE_SIZES, (row,)):
                    size += blobs.get(digest, 0) if length is None else length
                found[name] = size
        return found

    async def hidden(self, execution_id: ExecutionId) -> set[int]:
        """See ports.store.Executions."""
        with self._guarded() as db:
            row = self._row(db, execution_id)
            return {seq for (seq,) in db.execute("SELECT seq FROM hidden WHERE execution = ?", (row,))}
