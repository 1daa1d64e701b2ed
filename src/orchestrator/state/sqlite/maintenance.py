"""What keeps the store in order."""

from __future__ import annotations

import time
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from orchestrator.domain.ids import ExecutionId, Seq
from orchestrator.errors import (
    ExecutionOwned,
    MailUnread,
    UnknownExecution,
)
from orchestrator.state.outside import BLOB_GRACE_SECONDS
from orchestrator.state.parcels import unkept
from orchestrator.state.sqlite.database import SEQ_MASK, SHIFT
from orchestrator.state.sqlite.journal import SqliteJournal
from orchestrator.state.sqlite.leases import describe_owner

if TYPE_CHECKING:
    from collections.abc import Sequence


COLLECTING = "collecting blobs"
"""What the lock of the one collector is taken for: no execution has a name like this."""
PAGE = 1000


_DELETE_OWN_VALUES = """
    DELETE FROM vals WHERE digest IN (SELECT digest FROM refs WHERE execution = ?1)
    AND NOT EXISTS (SELECT 1 FROM refs WHERE refs.digest = vals.digest AND refs.execution != ?1)
"""


class SqliteMaintenance(SqliteJournal):
    """See ports.store.Maintenance."""

    async def hide_checkpoint(self, execution_id: ExecutionId, seq: Seq) -> None:
        """See ports.store.Maintenance."""
        with self._transaction() as db:
            row = self._row(db, execution_id)
            db.execute("INSERT OR IGNORE INTO hidden VALUES (?, ?)", (row, seq))

    async def remove(self, execution_ids: Sequence[ExecutionId], *, unread: bool = True) -> None:
        """See ports.store.Maintenance. Rows first, then files: a file without a row is only waste."""
        for execution_id in execution_ids:
            lock = self._acquire_lock(execution_id)
            if lock is None:
                raise ExecutionOwned(execution_id, "a process at work")
            try:
                self._remove_rows(execution_id, unread=unread)
            finally:
                self._locks.release(execution_id, lock)
        await self._collect_blobs()

    def _remove_rows(self, execution_id: str, *, unread: bool) -> None:
        with self._transaction() as db:
            try:
                row, _epoch, owner, token, locked, until = self._ownership(db, execution_id)
            except UnknownExecution:
                return
            left = until - self._clock.monotonic()
            if token is not None and not locked and left > 0:  # a thief's, who has no lock file
                raise ExecutionOwned(execution_id, describe_owner(owner, left))
            if not unread and db.execute("SELECT 1 FROM signals WHERE execution = ? LIMIT 1", (row,)).fetchone():
                raise MailUnread(execution_id)
            low, high = row << SHIFT, row << SHIFT | SEQ_MASK
            db.execute("DELETE FROM journal WHERE position BETWEEN ? AND ?", (low, high))
            db.execute(_DELETE_OWN_VALUES, (row,))
            db.execute("DELETE FROM refs WHERE execution = ?", (row,))
            db.execute("DELETE FROM hidden WHERE execution = ?", (row,))
            db.execute("DELETE FROM executions WHERE id = ?", (row,))

    async def _collect_blobs(self) -> None:
        """Delete blobs that no row refers to, unless a commit under way may be about to. One collector at a time."""
        lock = self._acquire_lock(COLLECTING)
        if lock is None:
            return
        try:
            old = time.time() - BLOB_GRACE_SECONDS  # noqa: TID251 - files are dated by the machine's clock
            await self._with_blobs(self._blobs.remove_stale, old + BLOB_GRACE_SECONDS)
            blobs = self._blobs.iterate()
            while page := await self._with_blobs(lambda: list(islice(blobs, PAGE))):
                doomed = [blob.digest for blob in page if blob.mtime < old and not self._is_wanted(blob.digest)]
                for digest in doomed:
                    await self._delete_blob(digest, old)
        finally:
            self._locks.release(COLLECTING, lock)

    def _is_wanted(self, digest: bytes) -> bool:
        with self._guarded() as db:
            return db.execute("SELECT 1 FROM refs WHERE digest = ?", (digest,)).fetchone() is not None

    async def _delete_blob(self, digest: bytes, old: float) -> None:
        if self._far:  # nobody waits for a network under the write lock; see ``blobs_s3`` for what stands in its place
            await self._with_blobs(self._blobs.delete, digest, unless_after=old)
            return
        # Under the write lock nobody can commit a reference between the look and the deletion; whoever put the file
        # once more before that has made it young again.
        with self._transaction() as db:
            if not db.execute("SELECT 1 FROM refs WHERE digest = ?", (digest,)).fetchone():
                self._blobs.delete(digest, unless_after=old)

    async def check(self) -> list[str]:
        """See ports.store.Maintenance."""
        problems: list[str] = []
        with self._guarded() as db:
            problems += [f"{self.path}: {text}" for (text,) in db.execute("PRAGMA integrity_check") if text != "ok"]
            known = {digest for (digest,) in db.execute("SELECT digest FROM vals")}
            wanted = {digest for (digest,) in db.execute("SELECT DISTINCT digest FROM refs")}
            # SQLite holds to a column's type when it writes, and reads back whatever is there.
            odd = {digest for digest in known | wanted if not isinstance(digest, bytes)}
            empty = db.execute(
                "SELECT execution_id FROM executions WHERE id NOT IN (SELECT position >> 32 FROM journal)"
            ).fetchall()
            orphans = db.execute(
                "SELECT count(*) FROM journal WHERE position >> 32 NOT IN (SELECT id FROM executions)"
            ).get
        files = {blob.digest for blob in await self._with_blobs(lambda: list(self._blobs.iterate()))}
        problems += [f"{self.path}: {digest!r} stands where the digest of a value belongs" for digest in odd]
        problems += [f"{name}: its journal is empty" for (name,) in empty]
        problems += [f"value {digest.hex()}: missing" for digest in sorted(wanted - known - files - odd)]
        if orphans:
            problems.append(f"{self.path}: {orphans} commits belong to no execution")
        return problems + await self._unkept()

    async def _unkept(self) -> list[str]:
        """Return which values may be deleted under executions whose facts need them."""
        with self._guarded() as db:
            executions: list[Any] = db.execute("SELECT id, execution_id FROM executions").fetchall()
        problems = []
        for row, name in executions:
            problems += await unkept(self, name, partial(self._refs_of, row))
        return problems

    async def _refs_of(self, row: int) -> set[bytes]:
        with self._guarded() as db:
            return {digest for (digest,) in db.execute("SELECT digest FROM refs WHERE execution = ?", (row,))}

    async def probe(self) -> None:
        """See ports.store.Maintenance."""
        self._check_identity(at_once=True)
        with self._transaction() as db:
            db.execute("UPDATE meta SET value = value WHERE key = 'uuid'")

    async def statistics(self) -> dict[str, Any]:
        """See ports.store.Maintenance."""
        with self._guarded() as db:
            rows: list[Any] = db.execute("SELECT status, count(*) FROM executions GROUP BY status").fetchall()
            statuses: dict[str, int] = dict(rows)
            commits = db.execute("SELECT count(*) FROM journal").get
            values = db.execute("SELECT count(*) FROM vals").get
            cached = db.execute("SELECT count(*) FROM cache").get
        blobs = await self._with_blobs(lambda: list(self._blobs.iterate()))
        return {
            "executions": sum(statuses.values()),
            "by_status": statuses,
            "commits": commits,
            "values": values,
            "cached": cached,
            "blobs": len(blobs),
            "database_bytes": sum(
                file.stat().st_size
                for suffix in ("", "-wal")
                if (file := self.path.with_name(self.path.name + suffix)).exists()
            ),
            "blob_bytes": sum(blob.size for blob in blobs),
        }
