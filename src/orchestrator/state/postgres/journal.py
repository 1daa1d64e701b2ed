"""The journal: a commit is one statement and one round trip.

The fence, the expected seq, the facts and their values go through the same statement, so that the server itself says
no. A commit whose answer was lost is sent again as it is: where it was carried out the journal has moved on, and holds
at that place what we sent.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NoReturn

import psycopg

from orchestrator.crashpoints import point
from orchestrator.domain.events import ExecutionCreated
from orchestrator.domain.ids import Epoch, ExecutionId, Seq
from orchestrator.errors import ExecutionExists, JournalConflict, StoreDamaged, UnknownExecution, ValueGone
from orchestrator.ports.store import NEW, Admission, Commit, Lease, Place
from orchestrator.state.commits import (
    Carried,
    carried,
    due_after,
    ends,
    gives_back,
    open_commit,
    seal_events,
    status_after,
    total_after,
)
from orchestrator.state.postgres.database import Owned, Patience
from orchestrator.state.postgres.failures import Verdict, judge, translate
from orchestrator.state.postgres.history import PostgresHistory
from orchestrator.state.postgres.names import to_text
from orchestrator.state.postgres.wire import Prepared
from orchestrator.state.records import seal_value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from orchestrator.domain.events import Event
    from orchestrator.domain.values import Stored
    from orchestrator.state.postgres.links import Connection
    from orchestrator.state.postgres.target import Target

_log = logging.getLogger("orchestrator.store.postgres")

READ_PAGE = 1000
FIRST_PAGE_BACK = 16
"""Whoever reads from the end may want the last fact only."""
_END = 2**62


class PostgresJournal(PostgresHistory):
    """See ports.store.Journal."""

    def __init__(self, target: Target, **options: Any) -> None:
        super().__init__(target, **options)
        self._append_statement = Prepared("orchestrator_append", self._queries["append"], "tttttttb")

    async def create(
        self,
        execution_id: ExecutionId,
        owner: str,
        events: Sequence[Event],
        values: Sequence[Stored],
        *,
        admission: Admission = NEW,
    ) -> Lease:
        """See ports.store.Journal."""
        token = self._chance.token()
        deadline = self._clock.monotonic() + self.lease_seconds
        ownership = (admission.epoch, to_text(owner), token, float(self.lease_seconds), None, 0)
        born = await self._admit(execution_id, events, values, admission, ownership)
        self._owned[token] = Owned(execution_id, born, len(events))
        return Lease(execution_id, Epoch(admission.epoch), token, deadline, copying=admission.head > 0)

    async def submit(
        self, execution_id: ExecutionId, events: Sequence[Event], values: Sequence[Stored], place: Place
    ) -> None:
        """See ports.store.Queues."""
        await self._admit(execution_id, events, values, NEW, (0, None, None, 0.0, to_text(place.queue), place.priority))

    async def _admit(
        self,
        execution_id: ExecutionId,
        events: Sequence[Event],
        values: Sequence[Stored],
        admission: Admission,
        ownership: tuple[Any, ...],
    ) -> str:
        """Write an execution's row and its first facts; return what it is born as.

        Raises ExecutionExists, ValueGone.
        """
        created = events[0]
        if not isinstance(created, ExecutionCreated):
            raise TypeError("the first fact of an execution is its ExecutionCreated")
        name = to_text(execution_id)
        born = self._chance.token()
        seq = len(events)
        record = seal_events(execution_id, 1, events, self._sealing)
        self._check_open()
        point("before_admission")
        brought = carried(values)
        kept = await self._keep_values(brought)
        row = (
            name, born, to_text(created.pipeline_id), status_after(events), total_after(events), seq, admission.head,
            admission.completed, created.at, events[-1].at, *ownership, record, *kept, due_after(events),
        )  # fmt: skip

        async def work(db: Connection, again: bool) -> None:  # noqa: FBT001
            del again
            async with self._durably(db):
                if await self._execute(db, "create", row):
                    return
            found = await self._execute(db, "born", (name,))
            if not found:
                await self._refuse_gone(db, brought)
            if found != [(born,)]:
                raise ExecutionExists(execution_id)

        await self._run(work)
        point("after_admission")
        return born

    async def append(
        self,
        lease: Lease,
        events: Sequence[Event],
        values: Sequence[Stored],
        *,
        expected_seq: Seq,
        completed: int,
        durable: bool = False,
    ) -> Seq:
        """See ports.store.Journal."""
        last = expected_seq + len(events)
        record = seal_events(lease.execution_id, expected_seq + 1, events, self._sealing)
        status = status_after(events)
        row: tuple[Any, ...] = (
            to_text(lease.execution_id), lease.epoch, lease.token, expected_seq, last, events[-1].at, completed, record,
        )  # fmt: skip
        finished = gives_back(events) and not lease.copying
        name, sent_before = "append", False
        self._check_open()
        total, brought = total_after(events), carried(values)
        if values or status is not None or total is not None:
            name = "append_more"
            row += (status, finished, ends(status), total, *await self._keep_values(brought), due_after(events))
        elif self._target.durable or not durable:
            written = await self._append_quickly(row)
            if written:
                self._acknowledge(lease, last)
                return Seq(last)
            sent_before = written is None

        async def work(db: Connection, again: bool) -> None:  # noqa: FBT001
            again = again or sent_before
            if durable and not self._target.durable:
                async with self._durably(db):
                    written = await self._execute(db, name, row)
            else:
                written = await self._execute(db, name, row)
            if not written:
                await self._refused(db, lease, expected_seq, (last, record) if again else None, brought)

        await self._run(work, patience=Patience(self.lease_seconds, lease))
        if finished:
            self._owned.pop(lease.token, None)
        else:
            self._acknowledge(lease, last)
        return Seq(last)

    def _acknowledge(self, lease: Lease, last: int) -> None:
        owned = self._owned.get(lease.token)
        if owned is not None:
            owned.seq = last

    async def _append_quickly(self, row: tuple[Any, ...]) -> bool | None:
        """Try the usual commit once; False if it was refused or no connection is idle, None if nobody knows.

        Whatever it is, the long way finds out.
        """
        db = None if self._target.pooled else await self._links.take_idle()
        if db is None:
            return False
        name, epoch, token, expected, last, at, completed, record = row
        values = [
            name.encode(), b"%d" % epoch, token.encode(), b"%d" % expected, b"%d" % last, repr(at).encode(),
            b"%d" % completed, record,
        ]  # fmt: skip
        watch = self._links.watch(db)
        try:
            return await self._append_statement.run(db, values) > 0
        except psycopg.Error as error:
            verdict = judge(error)
            if verdict is Verdict.FAIL:
                raise translate(error, self.url) from error
            if verdict is Verdict.REPEAT:
                return False
            _log.debug("%s: the usual commit: %s", self.url, error)
            db.pgconn.finish()
            return None
        except BaseException:
            db.pgconn.finish()
            raise
        finally:
            watch.cancel()
            self._links.give_back(db)

    async def _refused(
        self, db: Connection, lease: Lease, expected: int, sent: tuple[int, bytes] | None, brought: Carried
    ) -> None:
        """Say why an append wrote nothing; return if an earlier try of it did (``sent``: its last seq and record)."""
        if sent is not None:
            last, record = sent
            found = await self._execute(db, "commit", (to_text(lease.execution_id), last))
            if found == [(record,)]:
                return
        stands = await self._stands(db, lease)
        if stands == expected:
            await self._refuse_gone(db, brought)
        raise JournalConflict(lease.execution_id, expected, stands)

    async def _refuse_gone(self, db: Connection, brought: Carried) -> None:
        """Raise ValueGone if that is why nothing was written."""
        if brought.referred:
            gone = await self._execute(db, "gone_values", (brought.referred,))
            # One that has come back since was gone all the same.
            raise ValueGone((gone[0][0] if gone else brought.referred[0]).hex())

    async def _keep_values(self, values: Carried) -> tuple[list[bytes], list[bytes | None], list[bytes]]:
        """Put the big values where blobs lie, durable before any row speaks of them.

        Returns the digests and the records of those to keep, and the digests of those that are there already.

        In order of the digests: so two commits that share values wait for each other, and never in a circle.
        """
        records: dict[bytes, bytes | None] = {}
        for digest, value in values.stored.items():
            record = seal_value(value, self._sealing)
            if self._outside.takes(record):
                await self._outside.put(digest, record)
                records[digest] = None
            else:
                records[digest] = record
        digests = sorted(records)
        return digests, [records[digest] for digest in digests], sorted(values.referred)

    async def read(self, execution_id: ExecutionId, *, newest_first: bool = False) -> AsyncIterator[Commit]:
        """See ports.store.Journal. Page by page, each of them one snapshot."""
        name, statement = to_text(execution_id), "read_back" if newest_first else "read"
        at = _END if newest_first else 0
        row: int | None = None
        expected: int | None = None if newest_first else 1
        size = FIRST_PAGE_BACK if newest_first else READ_PAGE
        while True:
            page = await self._ask(statement, name, at, size)
            if not page or (row is not None and page[0][0] != row):
                raise UnknownExecution(execution_id)  # removed meanwhile, if it was there
            row, head = page[0][:2]
            rows = [one[2:] for one in page if one[2] is not None]
            if expected is None:
                expected = head if rows and rows[0][0] == head else _missing(execution_id, head, end=True)
            for last, completed, record in rows:
                commit = open_commit(execution_id, last, completed, record, self._sealing)
                if expected != (last if newest_first else commit.first):
                    _missing(execution_id, expected)
                expected = commit.first - 1 if newest_first else last + 1
                at = last
                yield commit
            if len(rows) < size:
                break
            size = READ_PAGE
        if newest_first and expected:
            _missing(execution_id, expected)
        if not newest_first and expected <= head:
            _missing(execution_id, head, end=True)


def _missing(execution_id: str, seq: int, *, end: bool = False) -> NoReturn:
    reason = "the journal's end is missing" if end else "the journal has a gap: this fact is missing"
    raise StoreDamaged(f"{execution_id}@{seq}", reason)
