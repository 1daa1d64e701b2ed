"""The journal: a commit is one statement where it can be.

The epoch, the expected seq and the facts go through the same INSERT, so that the store itself says no. ``append``
runs on the caller's thread: a commit is one fsync, and handing it to another thread would cost a chain of steps more
than it gives; leases are renewed from their own thread and connection. Where a process owns many executions, their
commits of one turn of the loop are one transaction.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import apsw

from orchestrator.crashpoints import point
from orchestrator.domain.events import ExecutionCreated
from orchestrator.domain.ids import Epoch, ExecutionId, Seq
from orchestrator.errors import (
    ExecutionExists,
    JournalConflict,
    LeaseLost,
    OrchestratorError,
    StoreBroken,
    StoreDamaged,
    StoreUnavailable,
    UnknownExecution,
    ValueGone,
)
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
from orchestrator.state.records import seal_value
from orchestrator.state.sqlite.connection import translate
from orchestrator.state.sqlite.database import SEQ_MASK, SHIFT, Held
from orchestrator.state.sqlite.leases import SqliteLeases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from orchestrator.domain.events import Event
    from orchestrator.domain.values import Stored

BLOB_THRESHOLD = 64 * 1024
"""Sealed values above this many bytes become files."""

# Where epoch, token or seq are not what the writer believes, the record is NULL, which the column refuses: cheaper
# than an INSERT ... SELECT ... WHERE, and nothing is written in either case.
_APPEND = """
    INSERT INTO journal (position, at, completed, record) VALUES (?1, ?2, ?3,
        CASE WHEN (SELECT token FROM executions WHERE id = ?5 AND epoch = ?6) = ?8
              AND (SELECT position FROM journal WHERE position BETWEEN ?7 AND ?1 | 4294967295
                   ORDER BY position DESC LIMIT 1) = ?7
        THEN ?4 END)
"""

_LISTED = """
    UPDATE executions SET status = coalesce(?1, status), total = coalesce(?5, total), head = max(head, ?2),
        waiting = CASE WHEN ?4 THEN 0 ELSE waiting END,
        due = CASE WHEN ?1 IS NULL THEN due WHEN EXISTS (SELECT 1 FROM signals WHERE execution = ?3) THEN 0 ELSE ?6 END
    WHERE id = ?3
"""
_HEAD = "SELECT head FROM executions WHERE id = ? AND execution_id = ?"
READ_PAGE = 1000
FIRST_PAGE_BACK = 16
"""Who reads back from the end mostly looks for what is near it."""
_READ = "SELECT position, completed, record FROM journal WHERE position BETWEEN ? AND ? ORDER BY position LIMIT ?"
_READ_BACK = _READ.replace("ORDER BY position", "ORDER BY position DESC")


@dataclass(slots=True)
class _Facts:
    """What an append was asked to write; ``small`` are the values that go into rows, sealed, by digest."""

    lease: Lease
    events: Sequence[Event]
    values: Carried | None
    expected_seq: Seq
    completed: int
    durable: bool
    small: dict[bytes, bytes]

    @property
    def last(self) -> Seq:
        return Seq(self.expected_seq + len(self.events))

    @property
    def status(self) -> str | None:
        return status_after(self.events)

    @property
    def total(self) -> int | None:
        return total_after(self.events)

    @property
    def is_plain(self) -> bool:
        return not self.values and self.status is None and self.total is None

    @property
    def gives_back(self) -> bool:
        return not self.lease.copying and gives_back(self.events)


class SqliteJournal(SqliteLeases):
    """See ports.store.Journal."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._batch: list[tuple[_Facts, asyncio.Future[Seq]]] = []

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
        lock = self._acquire_lock(execution_id)
        if lock is None:
            raise ExecutionExists(execution_id)
        token = self._chance.token()
        deadline = self._clock.monotonic() + self.lease_seconds
        try:
            ownership = (admission.epoch, owner, token, 1, deadline, None, 0, 0)
            row = await self._admit(execution_id, events, values, admission, ownership)
        except BaseException:
            self._locks.release(execution_id, lock)
            raise
        self._held[execution_id] = Held(row, token, lock)
        return Lease(execution_id, Epoch(admission.epoch), token, deadline, copying=admission.head > 0)

    async def submit(
        self, execution_id: ExecutionId, events: Sequence[Event], values: Sequence[Stored], place: Place
    ) -> None:
        """See ports.store.Queues."""
        await self._admit(execution_id, events, values, NEW, (0, None, None, 0, 0.0, place.queue, place.priority, 1))

    async def _admit(
        self,
        execution_id: ExecutionId,
        events: Sequence[Event],
        values: Sequence[Stored],
        admission: Admission,
        ownership: tuple[Any, ...],
    ) -> int:
        """Write an execution's row and its first facts; return the row's number."""
        created = events[0]
        if not isinstance(created, ExecutionCreated):
            raise TypeError("the first fact of an execution is its ExecutionCreated")
        point("before_admission")
        brought = carried(values)
        small = await self._write_blobs(brought)
        with self._transaction(durable=True) as db:
            if db.execute("SELECT 1 FROM executions WHERE execution_id = ?", (execution_id,)).fetchone():
                raise ExecutionExists(execution_id)
            if (gone := _first_gone(db, brought)) is not None:
                raise ValueGone(gone.hex())
            db.execute(
                "INSERT INTO executions (execution_id, pipeline_id, status, total, head, created_at, epoch, owner,"
                " token, locked, lease_until, queue, priority, waiting, due)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (execution_id, created.pipeline_id, status_after(events), total_after(events),
                 max(len(events), admission.head), created.at, *ownership,
                 due_after(events)),
            )  # fmt: skip
            row = db.last_insert_rowid()
            _write_values(db, row, brought, small)
            record = seal_events(execution_id, 1, events, self._sealing)
            db.execute(
                "INSERT INTO journal VALUES (?, ?, ?, ?)",
                (row << SHIFT | len(events), events[-1].at, admission.completed, record),
            )
        point("after_admission")
        return row

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
        held = self._hold(lease)
        self._check_identity()
        brought = carried(values) if values else None
        small = await self._write_blobs(brought) if brought else {}
        facts = _Facts(lease, events, brought, expected_seq, completed, durable, small)
        if len(self._held) > 1 and (loop := _running_loop()) is not None:
            return await self._append_together(loop, facts)
        return self._append_alone(facts, held)

    def _append_alone(self, facts: _Facts, held: Held) -> Seq:
        binding = self._bind(facts, held)
        if facts.is_plain and (self._durable or not facts.durable):
            # The usual commit is one statement. Spelled out, for every chain of steps waits for it.
            with self._mutex:
                if self._broken is not None:
                    raise StoreBroken(self._broken)
                db = self._db
                try:
                    db.execute(_APPEND, binding)
                except apsw.ConstraintError:
                    self._refuse(db, facts, held)
                except apsw.Error as error:
                    self._after_error(error)
                    raise translate(error, self.path) from error
            return facts.last
        with self._transaction(durable=facts.durable or None) as db:
            self._insert(db, facts, held, binding)
        if facts.gives_back:
            self._let_go(facts.lease.execution_id)
        return facts.last

    def _bind(self, facts: _Facts, held: Held) -> tuple[Any, ...]:
        """Return what the INSERT of these facts binds."""
        execution_id, last = facts.lease.execution_id, facts.last
        if last > SEQ_MASK:
            raise StoreUnavailable(f"execution {execution_id!r} has more facts than a journal can hold")
        record = seal_events(execution_id, facts.expected_seq + 1, facts.events, self._sealing)
        base = held.row << SHIFT
        return (
            base | last, facts.events[-1].at, facts.completed, record, held.row, facts.lease.epoch,
            base | facts.expected_seq, facts.lease.token,
        )  # fmt: skip

    def _insert(self, db: apsw.Connection, facts: _Facts, held: Held, binding: tuple[Any, ...]) -> None:
        """Write facts with all that belongs to them, inside a transaction; nothing of it where they are refused."""
        if facts.values and (gone := _first_gone(db, facts.values)) is not None:
            self._refuse(db, facts, held, gone)
        try:
            db.execute(_APPEND, binding)
        except apsw.ConstraintError:
            self._refuse(db, facts, held)
        if facts.values:
            _write_values(db, held.row, facts.values, facts.small)
        if facts.status is not None or facts.total is not None:
            listed = (facts.status, facts.last, held.row, ends(facts.status), facts.total, due_after(facts.events))
            db.execute(_LISTED, listed)
        if facts.gives_back:
            # The last commit of an owner gives the execution back as well: one fsync less, and no gap between.
            db.execute("UPDATE executions SET owner = NULL, token = NULL WHERE id = ?", (held.row,))

    # Where this process owns many executions, their commits of one turn of the loop are one transaction: one fsync.

    async def _append_together(self, loop: asyncio.AbstractEventLoop, facts: _Facts) -> Seq:
        done: asyncio.Future[Seq] = loop.create_future()
        if not self._batch:
            loop.call_soon(self._commit_batch)
        self._batch.append((facts, done))
        return await done

    def _commit_batch(self) -> None:
        """Write what came together; each learns what became of its own facts."""
        batch, self._batch = self._batch, []
        try:
            refused = self._write_batch([facts for facts, _done in batch])
        except BaseException as error:  # noqa: BLE001 - whoever waits for his commit must learn of everything
            refused = dict.fromkeys(range(len(batch)), error)
        for number, (facts, done) in enumerate(batch):
            if done.done():
                continue  # its waiter was cancelled
            if number in refused:
                done.set_exception(refused[number])
            else:
                done.set_result(facts.last)

    def _write_batch(self, batch: Sequence[_Facts]) -> dict[int, BaseException]:
        """Write them in one transaction, and return why those were refused that were."""
        refused: dict[int, BaseException] = {}
        ready = []
        for number, facts in enumerate(batch):
            try:
                held = self._hold(facts.lease)
                ready.append((number, facts, held, self._bind(facts, held)))
            except (OrchestratorError, LeaseLost) as error:
                refused[number] = error
        with self._transaction(durable=any(facts.durable for facts in batch) or None) as db:
            for number, facts, held, binding in ready:
                try:
                    self._insert(db, facts, held, binding)
                except (JournalConflict, LeaseLost, ValueGone) as error:
                    refused[number] = error  # and nothing of it was written
        for number, facts, *_ in ready:
            if facts.gives_back and number not in refused:
                self._let_go(facts.lease.execution_id)
        return refused

    def _hold(self, lease: Lease) -> Held:
        held = self._held.get(lease.execution_id)
        if held is None or held.token != lease.token:
            self._check_usable()
            raise LeaseLost(lease.execution_id, lease.epoch)
        return held

    def _refuse(self, db: apsw.Connection, facts: _Facts, held: Held, gone: bytes | None = None) -> NoReturn:
        """Say why an append wrote nothing; ``gone`` is the value it wanted to refer to, if it got that far."""
        lease = facts.lease
        row = db.execute("SELECT epoch, token FROM executions WHERE id = ?", (held.row,)).fetchone()
        if row is None or row != (lease.epoch, lease.token):
            raise LeaseLost(lease.execution_id, lease.epoch)
        last = self._last_seq(db, held.row)
        if gone is not None and last == facts.expected_seq:
            raise ValueGone(gone.hex())
        raise JournalConflict(lease.execution_id, facts.expected_seq, last)

    def _last_seq(self, db: apsw.Connection, row: int) -> int:
        last = db.execute(
            "SELECT max(position) FROM journal WHERE position BETWEEN ? AND ?", (row << SHIFT, row << SHIFT | SEQ_MASK)
        ).fetchone()
        return int(last[0] or 0) & SEQ_MASK if last else 0

    async def _write_blobs(self, values: Carried) -> dict[bytes, bytes]:
        """Write the big values to their places, durable before any row speaks of them; return the sealed small ones."""
        small: dict[bytes, bytes] = {}
        large: dict[bytes, bytes] = {}
        for digest, value in values.stored.items():
            record = seal_value(value, self._sealing)
            if len(record) > BLOB_THRESHOLD:
                large[digest] = record
            else:
                small[digest] = record
        if self._far:
            await asyncio.gather(*(self._with_blobs(self._blobs.put, *each) for each in large.items()))
        else:
            for each in large.items():
                self._blobs.put(*each)
        return small

    async def read(self, execution_id: ExecutionId, *, newest_first: bool = False) -> AsyncIterator[Commit]:
        """See ports.store.Journal. Page by page: a reader must not hold the log open while its caller thinks."""
        with self._guarded() as db:
            row = self._row(db, execution_id)
        low, high = row << SHIFT, row << SHIFT | SEQ_MASK
        sql = _READ_BACK if newest_first else _READ
        expected: int | None = None if newest_first else 1
        page = FIRST_PAGE_BACK if newest_first else READ_PAGE
        while True:
            with self._guarded() as db:
                head: Any = db.execute(_HEAD, (row, execution_id)).get
                if head is None:
                    raise UnknownExecution(execution_id)  # removed meanwhile; its rows may be another's by now
                rows: list[Any] = db.execute(sql, (low, high, page)).fetchall()
            if newest_first and expected is None and rows and rows[0][0] & SEQ_MASK < head:
                raise StoreDamaged(f"{execution_id}@{head}", "the journal's end is missing")
            for position, completed, record in rows:
                last = position & SEQ_MASK
                commit = open_commit(execution_id, last, completed, record, self._sealing)
                found = last if newest_first else commit.first
                if expected is not None and found != expected:
                    raise StoreDamaged(f"{execution_id}@{expected}", "the journal has a gap: this fact is missing")
                expected = commit.first - 1 if newest_first else last + 1
                yield commit
            if len(rows) < page:
                break
            page = READ_PAGE
            if newest_first:
                high = rows[-1][0] - 1
            else:
                low = rows[-1][0] + 1
        if expected is None or expected == 1 or (newest_first and expected):  # the first two: no commit at all
            raise StoreDamaged(f"{execution_id}@{expected or 1}", "the journal has a gap: this fact is missing")
        if not newest_first and expected <= head:
            raise StoreDamaged(f"{execution_id}@{head}", "the journal's end is missing")


def _first_gone(db: apsw.Connection, values: Carried) -> bytes | None:
    """Return a value that is to be referred to and is not there; None if all are.

    What some execution refers to is kept, in a row or a file. A file that nobody refers to is rubbish, and may be gone
    before our row is committed.
    """
    for digest in values.referred:
        if db.execute("SELECT 1 FROM refs WHERE digest = ?", (digest,)).fetchone() is None:
            return digest
    return None


def _write_values(db: apsw.Connection, row: int, values: Carried, small: dict[bytes, bytes]) -> None:
    for digest, record in small.items():
        db.execute("INSERT OR IGNORE INTO vals VALUES (?, ?)", (digest, record))
    for digest in (*values.stored, *values.referred):
        db.execute("INSERT OR IGNORE INTO refs VALUES (?, ?)", (row, digest))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
