"""The SQLite store: journal, leases and values in one file, big values in content-addressed files beside it.

A commit is one statement where it can be: the epoch, the expected seq and the fact go through the same INSERT, so
the store itself says no. ``append`` runs on the caller's thread: a commit is one fsync, and handing it to another
thread would cost a chain of steps more than it gives; leases are renewed from their own thread and connection.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import apsw

from orchestrator.crashpoints import point
from orchestrator.domain.events import ExecutionCreated, ExecutionFinished, ExecutionStarted
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import Epoch, ExecutionId, Seq
from orchestrator.errors import (
    ExecutionExists,
    ExecutionOwned,
    JournalConflict,
    LeaseLost,
    StoreDamaged,
    StoreUnavailable,
    UnknownExecution,
)
from orchestrator.ports.store import Commit, ExecutionSummary, Holder, Lease
from orchestrator.state.blobs import BlobFiles
from orchestrator.state.eventcodec import decode_events, encode_events
from orchestrator.state.records import Kind, context_of, seal, seal_value, unseal, unseal_value
from orchestrator.state.sqlite.connection import connect, is_fatal, prepare_folder, set_durable, translate, translated
from orchestrator.state.sqlite.locks import LockFiles

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from orchestrator.domain.events import Event
    from orchestrator.domain.values import EncodedValue, ValueRef
    from orchestrator.ports.clock import Chance, Clock

SHIFT = 32
SEQ_MASK = (1 << SHIFT) - 1
BLOB_THRESHOLD = 64 * 1024
"""Sealed values above this many bytes become files."""
LEASE_SECONDS = 30.0
IDENTITY_SECONDS = 0.1
ACQUIRE_PATIENCE = 5
"""Somebody who merely looks whether a lock is held holds it for a moment; we try again so many times, 10 ms apart."""

_APPEND = """
    INSERT INTO journal (position, at, completed, record)
    SELECT ?1, ?2, ?3, ?4
    WHERE (SELECT token FROM executions WHERE id = ?5 AND epoch = ?6) = ?8
      AND (SELECT position FROM journal WHERE position BETWEEN ?7 AND ?1 | 4294967295
           ORDER BY position DESC LIMIT 1) = ?7
"""
# After its end (token NULL) a lease is still nobody else's: a keeper that comes late must not cry loss.
_RENEW = """
    UPDATE executions SET lease_until = ?1
    WHERE execution_id = ?2 AND epoch = ?3 AND (token IS NULL OR token = ?4)
"""
_REQUESTS = "SELECT cancel_by FROM executions WHERE execution_id = ?1 AND epoch = ?2 AND (token IS NULL OR token = ?3)"

READ_PAGE = 1000
_READ = "SELECT position, completed, record FROM journal WHERE position BETWEEN ? AND ? ORDER BY position LIMIT ?"
_READ_BACK = _READ.replace("ORDER BY position", "ORDER BY position DESC")


@dataclass(slots=True)
class _Held:
    """What this process knows of an execution it owns."""

    row: int
    token: str
    lock: int | None


class SqliteStore:
    """A store in the file ``path``; ``durable`` False survives the process's death but not a power cut.

    ``lease_seconds`` is how long an owner that went silent keeps an execution whose lock file it does not hold.
    Use one store object per process and path; its methods may be called from any one thread at a time.
    """

    def __init__(
        self, path: Path, *, clock: Clock, chance: Chance, durable: bool = True, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self.path = path.absolute()
        self.url = f"sqlite:///{self.path}"
        self.lease_seconds = lease_seconds
        self._clock = clock
        self._chance = chance
        self._durable = durable
        self._blobs = BlobFiles(self.path.with_name(self.path.name + "-blobs"))
        self._locks = LockFiles(self.path.with_name(self.path.name + "-locks"))
        self._held: dict[str, _Held] = {}
        self._mutex = threading.RLock()
        self._broken: str | None = None
        prepare_folder(self.path)
        self._db = connect(self.path, durable=durable)
        stat = self.path.stat()
        self._identity = (stat.st_dev, stat.st_ino)
        self._identity_checked = 0.0
        self._keeper_db: apsw.Connection | None = None
        self._keeper_mutex = threading.Lock()

    # -- the connection ------------------------------------------------------------------------------------------

    def _check_usable(self) -> None:
        if self._broken is not None:
            raise StoreUnavailable(self._broken)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[apsw.Connection]:
        """Lend the connection; an I/O error ends its life, for what it did is then unknown."""
        with self._mutex:
            self._check_usable()
            try:
                yield self._db
            except apsw.Error as error:
                self._after_error(error)
                raise translate(error, self.path) from error

    def _after_error(self, error: apsw.Error) -> None:
        if is_fatal(error):
            self._broken = f"the store {self.path} failed before ({error}); start again with `orchestrator resume`"
            with contextlib.suppress(apsw.Error):
                self._db.close()
        elif self._db.in_transaction:
            self._db.execute("ROLLBACK")

    @contextlib.contextmanager
    def _transaction(self, *, durable: bool = False) -> Iterator[apsw.Connection]:
        """Run a write transaction; ``durable`` raises this one commit to what a power cut survives."""
        with self._guarded() as db:
            raised = durable and not self._durable
            if raised:
                set_durable(db, durable=True)
            try:
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                    db.execute("COMMIT")
                except BaseException:
                    with contextlib.suppress(apsw.Error):
                        if db.in_transaction:
                            db.execute("ROLLBACK")
                    raise
            finally:
                if raised and self._broken is None:
                    set_durable(db, durable=False)

    def _check_identity(self) -> None:
        """Notice that the file was deleted or replaced under us: our commits would go nowhere.

        Looked at no more often than every tenth of a second, for a look costs a fifth of a commit without fsync.
        """
        now = self._clock.monotonic()
        if now - self._identity_checked < IDENTITY_SECONDS:
            return
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            raise StoreDamaged(str(self.path), "the file was removed while it was in use") from None
        if (stat.st_dev, stat.st_ino) != self._identity:
            raise StoreDamaged(str(self.path), "the file was replaced while it was in use")
        self._identity_checked = now

    def _row(self, db: apsw.Connection, execution_id: str) -> int:
        held = self._held.get(execution_id)
        if held is not None:
            return held.row
        row = db.execute("SELECT id FROM executions WHERE execution_id = ?", (execution_id,)).fetchone()
        if row is None:
            raise UnknownExecution(execution_id)
        return int(row[0])

    # -- journal -------------------------------------------------------------------------------------------------

    async def create(
        self, execution_id: ExecutionId, owner: str, events: Sequence[Event], values: Sequence[EncodedValue]
    ) -> Lease:
        """See ports.store.Journal."""
        created = events[0]
        if not isinstance(created, ExecutionCreated):
            raise TypeError("the first fact of an execution is its ExecutionCreated")
        lock = self._acquire_lock(execution_id)
        if lock is None:
            raise ExecutionExists(execution_id)
        token = self._chance.token()
        deadline = self._clock.monotonic() + self.lease_seconds
        try:
            point("before_admission")
            blobs = self._write_blobs(values)
            with self._transaction(durable=True) as db:
                if db.execute("SELECT 1 FROM executions WHERE execution_id = ?", (execution_id,)).fetchone():
                    raise ExecutionExists(execution_id)
                db.execute(
                    "INSERT INTO executions (execution_id, pipeline_id, status, total, created_at, epoch, owner, token,"
                    " locked, lease_until) VALUES (?, ?, ?, ?, ?, 1, ?, ?, 1, ?)",
                    (execution_id, created.pipeline_id, _status_after(events), created.total, created.at, owner, token,
                     deadline),
                )  # fmt: skip
                row = db.last_insert_rowid()
                self._write_values(db, row, values, blobs)
                record = _seal_events(execution_id, 1, events)
                db.execute(
                    "INSERT INTO journal VALUES (?, ?, 0, ?)", (row << SHIFT | len(events), events[-1].at, record)
                )
        except BaseException:
            self._locks.release(execution_id, lock)
            raise
        point("after_admission")
        self._held[execution_id] = _Held(row, token, lock)
        return Lease(execution_id, Epoch(1), token, deadline)

    async def append(
        self,
        lease: Lease,
        events: Sequence[Event],
        values: Sequence[EncodedValue],
        *,
        expected_seq: Seq,
        completed: int,
        durable: bool = False,
    ) -> Seq:
        """See ports.store.Journal."""
        execution_id = lease.execution_id
        held = self._hold(lease)
        last = expected_seq + len(events)
        if last > SEQ_MASK:
            raise StoreUnavailable(f"execution {execution_id!r} has more facts than a journal can hold")
        self._check_identity()
        record = _seal_events(execution_id, expected_seq + 1, events)
        base = held.row << SHIFT
        binding = (
            base | last, events[-1].at, completed, record, held.row, lease.epoch, base | expected_seq, lease.token
        )  # fmt: skip
        status = _status_after(events)
        if not values and status is None and (self._durable or not durable):
            # The usual commit is one statement. Spelled out, for every chain of steps waits for it.
            with self._mutex:
                if self._broken is not None:
                    raise StoreUnavailable(self._broken)
                db = self._db
                try:
                    db.execute(_APPEND, binding)
                    if not db.changes():
                        self._refuse(db, lease, held, expected_seq)
                except apsw.Error as error:
                    self._after_error(error)
                    raise translate(error, self.path) from error
            return Seq(last)
        blobs = self._write_blobs(values)
        with self._transaction(durable=durable) as db:
            db.execute(_APPEND, binding)
            if not db.changes():
                self._refuse(db, lease, held, expected_seq)
            self._write_values(db, held.row, values, blobs)
            if status is not None:
                db.execute("UPDATE executions SET status = ? WHERE id = ?", (status, held.row))
            finished = any(isinstance(event, ExecutionFinished) for event in events)
            if finished:
                # The last commit of an owner gives the execution back as well: one fsync less, and no gap between.
                db.execute("UPDATE executions SET owner = NULL, token = NULL WHERE id = ?", (held.row,))
        if finished:
            self._let_go(execution_id)
        return Seq(last)

    def _hold(self, lease: Lease) -> _Held:
        held = self._held.get(lease.execution_id)
        if held is None or held.token != lease.token:
            self._check_usable()
            raise LeaseLost(lease.execution_id, lease.epoch)
        return held

    def _let_go(self, execution_id: str) -> None:
        """Forget what we held of an execution that is no longer ours, and give its lock file back."""
        held = self._held.pop(execution_id, None)
        if held is not None and held.lock is not None:
            self._locks.release(execution_id, held.lock)

    def _refuse(self, db: apsw.Connection, lease: Lease, held: _Held, expected: int) -> None:
        """Say why an append wrote nothing."""
        row = db.execute("SELECT epoch, token FROM executions WHERE id = ?", (held.row,)).fetchone()
        if row is None or row != (lease.epoch, lease.token):
            raise LeaseLost(lease.execution_id, lease.epoch)
        raise JournalConflict(lease.execution_id, expected, self._last_seq(db, held.row))

    def _last_seq(self, db: apsw.Connection, row: int) -> int:
        last = db.execute(
            "SELECT max(position) FROM journal WHERE position BETWEEN ? AND ?", (row << SHIFT, row << SHIFT | SEQ_MASK)
        ).fetchone()
        return int(last[0] or 0) & SEQ_MASK if last else 0

    def _write_blobs(self, values: Sequence[EncodedValue]) -> dict[bytes, bytes]:
        """Write the big values to their files, durable before any row speaks of them; return the sealed small ones."""
        small: dict[bytes, bytes] = {}
        for value in values:
            if value.ref.inline:
                continue
            record = seal_value(value)
            if len(record) > BLOB_THRESHOLD:
                self._blobs.put(value.ref.data, record)
            else:
                small[value.ref.data] = record
        return small

    def _write_values(
        self, db: apsw.Connection, row: int, values: Sequence[EncodedValue], small: dict[bytes, bytes]
    ) -> None:
        for digest, record in small.items():
            db.execute("INSERT OR IGNORE INTO vals VALUES (?, ?)", (digest, record))
        for digest in {value.ref.data for value in values if not value.ref.inline}:
            db.execute("INSERT OR IGNORE INTO refs VALUES (?, ?)", (row, digest))

    async def read(self, execution_id: ExecutionId, *, newest_first: bool = False) -> AsyncIterator[Commit]:
        """See ports.store.Journal. Page by page: a reader must not hold the log open while its caller thinks."""
        with self._guarded() as db:
            row = self._row(db, execution_id)
        low, high = row << SHIFT, row << SHIFT | SEQ_MASK
        sql = _READ_BACK if newest_first else _READ
        expected: int | None = None if newest_first else 1
        while True:
            with self._guarded() as db:
                rows: list[Any] = db.execute(sql, (low, high, READ_PAGE)).fetchall()
                if not db.execute(
                    "SELECT 1 FROM executions WHERE id = ? AND execution_id = ?", (row, execution_id)
                ).get:
                    raise UnknownExecution(execution_id)  # removed meanwhile; its rows may be another's by now
            for position, completed, record in rows:
                last = position & SEQ_MASK
                commit = self._open_commit(execution_id, last, completed, record)
                found = last if newest_first else commit.first
                if expected is not None and found != expected:
                    raise StoreDamaged(f"{execution_id}@{expected}", "the journal has a gap: this fact is missing")
                expected = commit.first - 1 if newest_first else last + 1
                yield commit
            if len(rows) < READ_PAGE:
                break
            if newest_first:
                high = rows[-1][0] - 1
            else:
                low = rows[-1][0] + 1
        if expected is None or expected == 1 or (newest_first and expected):  # the first two: no commit at all
            raise StoreDamaged(f"{execution_id}@{expected or 1}", "the journal has a gap: this fact is missing")

    def _open_commit(self, execution_id: str, last: int, completed: int, record: bytes) -> Commit:
        """Verify one row of the journal."""
        name = f"{execution_id}@{last}"
        payload = unseal(record, kind=Kind.EVENTS, context=context_of(execution_id, last), name=name)
        first, events = decode_events(payload, name=name)
        if first + len(events) - 1 != last:
            raise StoreDamaged(name, f"it holds facts {first} to {first + len(events) - 1}")
        return Commit(Seq(first), events, completed)

    # -- leases --------------------------------------------------------------------------------------------------

    def _acquire_lock(self, execution_id: str) -> int | None:
        for patience in range(ACQUIRE_PATIENCE):
            try:
                lock = self._locks.acquire(execution_id)
            except OSError as error:
                raise StoreUnavailable(f"cannot lock execution {execution_id!r}: {error}") from error
            if lock is not None:
                return lock
            if patience < ACQUIRE_PATIENCE - 1:
                time.sleep(0.01)
        return None

    async def acquire(self, execution_id: ExecutionId, owner: str, *, steal: bool = False) -> Lease:
        """See ports.store.Leases. The lock file tells at once whether the owner's process lives."""
        with self._guarded() as db:
            self._row(db, execution_id)
        held = self._held.get(execution_id)
        mine = held.lock if held is not None else None  # of a lease of ours that was lost, or that we steal
        lock = mine if mine is not None else self._acquire_lock(execution_id)
        try:
            token = self._chance.token()
            with self._transaction() as db:
                row, epoch, holder, held_token, locked, until = self._ownership(db, execution_id)
                now = self._clock.monotonic()
                ours = held is not None and held.token == held_token
                alive = held_token is not None and (ours or (lock is None if locked else until > now))
                if (alive or lock is None) and not steal:
                    raise ExecutionOwned(execution_id, _describe_owner(holder, until - now))
                deadline = now + self.lease_seconds
                db.execute(
                    "UPDATE executions SET epoch = epoch + 1, owner = ?, token = ?, locked = ?, lease_until = ?,"
                    " cancel_by = NULL WHERE id = ?",
                    (owner, token, int(lock is not None), deadline, row),
                )
        except BaseException:
            if lock is not None and mine is None:
                self._locks.release(execution_id, lock)
            raise
        self._held[execution_id] = _Held(row, token, lock)
        return Lease(execution_id, Epoch(epoch + 1), token, deadline)

    def _ownership(self, db: apsw.Connection, execution_id: str) -> tuple[int, int, str | None, str | None, int, float]:
        row: Any = db.execute(
            "SELECT id, epoch, owner, token, locked, lease_until FROM executions WHERE execution_id = ?",
            (execution_id,),
        ).fetchone()
        if row is None:
            raise UnknownExecution(execution_id)
        return tuple(row)

    async def release(self, lease: Lease) -> None:
        """See ports.store.Leases."""
        held = self._held.get(lease.execution_id)
        if held is None or held.token != lease.token:
            return
        try:
            with self._transaction() as db:
                db.execute(
                    "UPDATE executions SET owner = NULL, token = NULL WHERE id = ? AND token = ?",
                    (held.row, lease.token),
                )
        finally:
            self._let_go(lease.execution_id)

    def _keeper(self) -> apsw.Connection:
        if self._broken is not None:
            raise StoreUnavailable(self._broken)
        if self._keeper_db is None:
            self._keeper_db = connect(self.path, durable=self._durable)
        return self._keeper_db

    def renew(self, lease: Lease) -> None:
        """See ports.store.Leases."""
        deadline = self._clock.monotonic() + self.lease_seconds
        with self._keeper_mutex, translated(self.path):
            db = self._keeper()
            db.execute(
                _RENEW,
                (deadline, lease.execution_id, lease.epoch, lease.token),
            )
            if not db.changes():
                raise LeaseLost(lease.execution_id, lease.epoch)
        lease.deadline = deadline

    def requests(self, lease: Lease) -> str | None:
        """See ports.store.Leases."""
        with self._keeper_mutex, translated(self.path):
            row = (
                self._keeper()
                .execute(
                    _REQUESTS,
                    (lease.execution_id, lease.epoch, lease.token),
                )
                .fetchone()
            )
        if row is None:
            raise LeaseLost(lease.execution_id, lease.epoch)
        return row[0]  # type: ignore[no-any-return]

    async def holder(self, execution_id: ExecutionId) -> Holder | None:
        """See ports.store.Leases."""
        with self._guarded() as db:
            _row, epoch, owner, token, locked, until = self._ownership(db, execution_id)
        return self._holder(execution_id, epoch, owner, token, locked, until)

    def _holder(
        self, execution_id: str, epoch: int, owner: str | None, token: str | None, locked: int, until: float
    ) -> Holder | None:
        if token is None:
            return None
        alive = self._locks.is_held(execution_id) if locked else until > self._clock.monotonic()
        return Holder(owner or "", Epoch(epoch), alive)

    async def request_cancel(self, execution_id: ExecutionId, by: str) -> None:
        """See ports.store.Leases."""
        with self._transaction() as db:
            row = self._row(db, execution_id)
            db.execute("UPDATE executions SET cancel_by = ? WHERE id = ?", (by, row))

    # -- values --------------------------------------------------------------------------------------------------

    async def get(self, ref: ValueRef) -> bytes:
        """See ports.store.Values."""
        if ref.inline:
            return ref.data
        with self._guarded() as db:
            row = db.execute("SELECT record FROM vals WHERE digest = ?", (ref.data,)).fetchone()
        return unseal_value(ref, row[0] if row else self._blobs.get(ref.data), name=f"value {ref.data.hex()}")

    # -- read side -----------------------------------------------------------------------------------------------

    _SUMMARY = """
        SELECT execution_id, pipeline_id, status, total, created_at, epoch, owner, token, locked, lease_until,
               journal.position, journal.at, journal.completed
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
         position, at, completed) = row  # fmt: skip
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
        )

    async def hidden(self, execution_id: ExecutionId) -> set[int]:
        """See ports.store.Executions."""
        with self._guarded() as db:
            row = self._row(db, execution_id)
            return {seq for (seq,) in db.execute("SELECT seq FROM hidden WHERE execution = ?", (row,))}

    # -- maintenance ---------------------------------------------------------------------------------------------

    async def hide_checkpoint(self, execution_id: ExecutionId, seq: Seq) -> None:
        """See ports.store.Maintenance."""
        with self._transaction() as db:
            row = self._row(db, execution_id)
            db.execute("INSERT OR IGNORE INTO hidden VALUES (?, ?)", (row, seq))

    async def remove(self, execution_ids: Sequence[ExecutionId]) -> None:
        """See ports.store.Maintenance. Rows first, then files: a file without a row is only waste."""
        for execution_id in execution_ids:
            lock = self._acquire_lock(execution_id)
            if lock is None:
                raise ExecutionOwned(execution_id, "a process at work")
            try:
                self._remove_rows(execution_id)
            finally:
                self._locks.release(execution_id, lock)
        self._collect_blobs()

    def _remove_rows(self, execution_id: str) -> None:
        with self._transaction() as db:
            try:
                row, _epoch, owner, token, locked, until = self._ownership(db, execution_id)
            except UnknownExecution:
                return
            left = until - self._clock.monotonic()
            if token is not None and not locked and left > 0:  # a thief's, who has no lock file
                raise ExecutionOwned(execution_id, _describe_owner(owner, left))
            low, high = row << SHIFT, row << SHIFT | SEQ_MASK
            db.execute("DELETE FROM journal WHERE position BETWEEN ? AND ?", (low, high))
            db.execute("DELETE FROM refs WHERE execution = ?", (row,))
            db.execute("DELETE FROM hidden WHERE execution = ?", (row,))
            db.execute("DELETE FROM executions WHERE id = ?", (row,))
            db.execute("DELETE FROM vals WHERE digest NOT IN (SELECT digest FROM refs)")

    def _collect_blobs(self, grace_seconds: float = 3600.0) -> None:
        """Delete files that no row refers to; young ones may belong to a commit under way."""
        now = time.time()  # noqa: TID251 - files' times are the system's, too
        self._blobs.remove_stale(now)
        old = now - grace_seconds
        for blob in list(self._blobs.iterate()):
            if blob.mtime < old:
                # Under the write lock nobody can commit a reference between the look and the deletion.
                with self._transaction() as db:
                    if not db.execute("SELECT 1 FROM refs WHERE digest = ?", (blob.digest,)).fetchone():
                        self._blobs.delete(blob.digest)

    async def check(self) -> list[str]:
        """See ports.store.Maintenance."""
        problems: list[str] = []
        with self._guarded() as db:
            problems += [f"{self.path}: {text}" for (text,) in db.execute("PRAGMA integrity_check") if text != "ok"]
            known = {digest for (digest,) in db.execute("SELECT digest FROM vals")}
            wanted = {digest for (digest,) in db.execute("SELECT DISTINCT digest FROM refs")}
            orphans = db.execute(
                "SELECT count(*) FROM journal WHERE position >> 32 NOT IN (SELECT id FROM executions)"
            ).get
        files = {blob.digest for blob in self._blobs.iterate()}
        problems += [f"value {digest.hex()}: missing" for digest in sorted(wanted - known - files)]
        if orphans:
            problems.append(f"{self.path}: {orphans} commits belong to no execution")
        return problems

    async def probe(self) -> None:
        """See ports.store.Maintenance."""
        self._check_identity()
        with self._transaction() as db:
            db.execute("UPDATE meta SET value = value WHERE key = 'uuid'")

    async def statistics(self) -> dict[str, Any]:
        """See ports.store.Maintenance."""
        with self._guarded() as db:
            rows: list[Any] = db.execute("SELECT status, count(*) FROM executions GROUP BY status").fetchall()
            statuses: dict[str, int] = dict(rows)
            commits = db.execute("SELECT count(*) FROM journal").get
            values = db.execute("SELECT count(*) FROM vals").get
        blobs = list(self._blobs.iterate())
        return {
            "executions": sum(statuses.values()),
            "by_status": statuses,
            "commits": commits,
            "values": values,
            "blobs": len(blobs),
            "database_bytes": sum(
                file.stat().st_size
                for suffix in ("", "-wal")
                if (file := self.path.with_name(self.path.name + suffix)).exists()
            ),
            "blob_bytes": sum(blob.size for blob in blobs),
        }

    async def close(self) -> None:
        """See ports.store.Maintenance."""
        for execution_id in list(self._held):
            self._let_go(execution_id)
        with self._keeper_mutex:
            if self._keeper_db is not None:
                self._keeper_db.close()
                self._keeper_db = None
        with self._mutex:
            if self._broken is None:
                self._broken = f"the store {self.path} was closed"
                with translated(self.path):
                    self._db.close()


def _describe_owner(owner: str | None, left: float) -> str:
    if left > 0:
        return f"{owner or 'another process'}; wait for it, or cancel it"
    return (
        f"{owner or 'another process'}, which has not renewed its lease for {-left:.0f} s "
        "(it may be stopped); take over with --steal"
    )


def _status_after(events: Sequence[Event]) -> str | None:
    status: str | None = None
    for event in events:
        kind = type(event)
        if kind is ExecutionFinished:
            status = event.status  # type: ignore[union-attr]
        elif kind is ExecutionStarted:
            status = ExecutionStatus.RUNNING.value
        elif kind is ExecutionCreated:
            status = ExecutionStatus.CREATED.value
    return status


def _seal_events(execution_id: str, first: int, events: Sequence[Event]) -> bytes:
    context = context_of(execution_id, first + len(events) - 1)
    return seal(encode_events(Seq(first), events), kind=Kind.EVENTS, context=context)
