"""Queues: executions that wait in the table, and who takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import Epoch, ExecutionId
from orchestrator.errors import StoreUnavailable
from orchestrator.ports.store import Lease, Place, QueueSummary
from orchestrator.state.sqlite.database import Held
from orchestrator.state.sqlite.leases import SqliteLeases

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

_FREE = """
    SELECT id, execution_id, epoch, priority FROM executions
    WHERE queue = ? AND waiting = 1 AND token IS NULL AND paused_by IS NULL AND status <> 'waiting'
    ORDER BY priority DESC, id LIMIT ?
"""
_DUE = """
    SELECT id, execution_id, epoch, priority FROM executions
    WHERE queue = ? AND waiting = 1 AND token IS NULL AND paused_by IS NULL AND status = 'waiting' AND due <= ?
    ORDER BY priority DESC, id LIMIT ?
"""
_OWNED = """
    SELECT id, execution_id, epoch, priority, token, locked, lease_until,
        paused_by IS NULL AND (status <> 'waiting' OR ifnull(due <= ?, 0)) FROM executions
    WHERE queue = ? AND waiting = 1 AND token IS NOT NULL
"""
_LEFT = """
    SELECT id, execution_id, epoch, 0 FROM executions
    WHERE status = 'running' AND waiting = 0 AND token IS NULL AND paused_by IS NULL
    ORDER BY id LIMIT ?
"""
_LEFT_DUE = """
    SELECT id, execution_id, epoch, 0 FROM executions
    WHERE status = 'waiting' AND waiting = 0 AND token IS NULL AND paused_by IS NULL AND due <= ?
    ORDER BY id LIMIT ?
"""
_ORPHANED = """
    SELECT id, execution_id, epoch, 0, token, locked, lease_until,
        paused_by IS NULL AND (status <> 'waiting' OR ifnull(due <= ?, 0)) FROM executions
    WHERE status IN ('running', 'waiting') AND waiting = 0 AND token IS NOT NULL
"""
_SUMMARIES = """
    SELECT name, "limit", queues.paused_by, free
    FROM (SELECT name FROM queues UNION SELECT queue FROM executions WHERE waiting = 1)
    LEFT JOIN queues USING (name)
    LEFT JOIN (SELECT queue AS name, count(*) AS free FROM executions
               WHERE waiting = 1 AND token IS NULL GROUP BY queue) USING (name)
    ORDER BY name
"""


class _Waiting(NamedTuple):
    """An execution that may be taken."""

    row: int
    execution_id: ExecutionId
    epoch: int
    priority: int


class SqliteQueues(SqliteLeases):
    """See ports.store.Queues; ``submit`` is beside ``create``."""

    async def enqueue(self, execution_id: ExecutionId, place: Place) -> None:
        """See ports.store.Queues."""
        with self._transaction() as db:
            row = self._row(db, execution_id)
            db.execute(
                "UPDATE executions SET queue = ?, priority = ?, waiting = 1, paused_by = NULL, cancel_by = NULL"
                " WHERE id = ? AND status <> ?",
                (place.queue, place.priority, row, ExecutionStatus.COMPLETED.value),
            )

    async def take(self, owner: str, queues: Sequence[str], limit: int, *, runs: bool = False) -> list[Lease]:
        """See ports.store.Queues. One whose process died is known by its lock file, and is taken at once."""
        with self._guarded() as db:
            if not self._takable(db, queues, limit, runs=runs):
                return []  # the usual case, and no reason to keep writers waiting
        taken: dict[str, Held] = {}
        leases: list[Lease] = []
        deadline = self._clock.monotonic() + self.lease_seconds
        try:
            with self._transaction() as db:
                for one in self._takable(db, queues, limit, runs=runs):
                    token = self._chance.token()
                    taken[one.execution_id] = held = Held(one.row, token, self._lock_for_taking(one.execution_id))
                    # A pause keeps it from being taken; a cancel that nobody has answered is still to be answered.
                    db.execute(
                        "UPDATE executions SET epoch = epoch + 1, owner = ?, token = ?, locked = ?, lease_until = ?"
                        " WHERE id = ?",
                        (owner, token, int(held.lock is not None), deadline, one.row),
                    )
                    leases.append(Lease(one.execution_id, Epoch(one.epoch + 1), token, deadline))
        except BaseException:
            for execution_id, held in taken.items():
                mine = self._held.get(execution_id)
                if held.lock is not None and (mine is None or mine.lock != held.lock):
                    self._locks.release(execution_id, held.lock)
            raise
        self._held |= taken
        return leases

    def _lock_for_taking(self, execution_id: str) -> int | None:
        """Return the lock file of an execution; None while another has it: then the lease alone tells of us."""
        held = self._held.get(execution_id)
        if held is not None and held.lock is not None:  # of a lease of ours that ran out
            return held.lock
        try:
            return self._locks.acquire(execution_id)
        except OSError as error:
            raise StoreUnavailable(f"cannot lock execution {execution_id!r}: {error}") from error

    def _takable(self, db: apsw.Connection, queues: Sequence[str], limit: int, *, runs: bool) -> list[_Waiting]:
        """Return what may be taken now, in order, not more than ``limit`` and no queue beyond its own."""
        found: list[_Waiting] = []
        for queue in dict.fromkeys(queues):
            found += self._takable_of(db, queue, limit)
        found.sort(key=lambda one: (-one.priority, one.row))
        if runs and len(found) < limit:
            now = self._clock.now()
            orphans = [one for one, alive, ready in self._owned(db, _ORPHANED, (now,)) if not alive and ready]
            left: list[Any] = db.execute(_LEFT, (limit,)).fetchall()
            left += db.execute(_LEFT_DUE, (now, limit)).fetchall()
            found += sorted(orphans + [_Waiting(*row) for row in left])
        return found[:limit]

    def _takable_of(self, db: apsw.Connection, queue: str, limit: int) -> list[_Waiting]:
        setting: Any = db.execute('SELECT "limit", paused_by FROM queues WHERE name = ?', (queue,)).fetchone()
        at_most, paused_by = setting or (None, None)
        if paused_by is not None:
            return []
        orphans = []
        room = limit if at_most is None else at_most
        now = self._clock.now()
        for one, alive, ready in self._owned(db, _OWNED, (now, queue)):
            if alive and at_most is not None:
                room -= 1
            elif not alive and ready:
                orphans.append(one)
        room = min(room, limit)
        if room <= 0:
            return []
        free: list[Any] = db.execute(_FREE, (queue, room)).fetchall()
        free += db.execute(_DUE, (queue, now, room)).fetchall()
        found = orphans + [_Waiting(*row) for row in free]
        return sorted(found, key=lambda one: (-one.priority, one.row))[:room]

    def _owned(self, db: apsw.Connection, sql: str, binding: tuple[Any, ...]) -> list[tuple[_Waiting, bool, bool]]:
        """Return what somebody owns, whether that owner is alive and in time, and whether it might be taken if not."""
        now = self._clock.monotonic()
        rows: list[Any] = db.execute(sql, binding).fetchall()
        return [
            (_Waiting(*what), until > now and self._is_there(what[1], token, locked), bool(ready))
            for *what, token, locked, until, ready in rows
        ]

    def _is_there(self, execution_id: str, token: str, locked: int) -> bool:
        held = self._held.get(execution_id)
        return not locked or (held is not None and held.token == token) or self._locks.is_held(execution_id)

    async def set_queue(self, name: str, *, limit: int | None, paused_by: str | None) -> None:
        """See ports.store.Queues."""
        with self._transaction() as db:
            if limit is None and paused_by is None:
                db.execute("DELETE FROM queues WHERE name = ?", (name,))
            else:
                db.execute("INSERT OR REPLACE INTO queues VALUES (?, ?, ?)", (name, limit, paused_by))

    async def queues(self) -> list[QueueSummary]:
        """See ports.store.Queues."""
        with self._guarded() as db:
            rows: list[Any] = db.execute(_SUMMARIES).fetchall()
            found = []
            for name, limit, paused_by, free in rows:
                owned = [alive for _one, alive, _ready in self._owned(db, _OWNED, (0.0, name))]
                found.append(QueueSummary(name, limit, paused_by, (free or 0) + owned.count(False), owned.count(True)))
        return found
