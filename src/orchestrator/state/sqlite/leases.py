"""Ownership: the lock file that dies with its process, and the lease and epoch in the table."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import apsw

from orchestrator.domain.ids import Epoch, ExecutionId
from orchestrator.errors import (
    ExecutionOwned,
    LeaseLost,
    StoreDamaged,
    StoreUnavailable,
    UnknownExecution,
)
from orchestrator.ports.store import HAS_MAIL, Holder, Lease, Request
from orchestrator.state.sqlite.connection import translated
from orchestrator.state.sqlite.database import Database, Held

if TYPE_CHECKING:
    from collections.abc import Sequence

ACQUIRE_PATIENCE = 5
"""Somebody who merely looks whether a lock is held holds it for a moment; we try again so many times, 10 ms apart."""

# After its end (token NULL) a lease is still nobody else's: a keeper that comes late must not cry loss.
_RENEW = """
    UPDATE executions SET lease_until = ?1
    WHERE execution_id = ?2 AND epoch = ?3 AND (token IS NULL OR token = ?4)
"""
_REQUESTS = """
    SELECT cancel_by, paused_by, EXISTS (SELECT 1 FROM signals WHERE execution = executions.id) FROM executions
    WHERE execution_id = ?1 AND epoch = ?2 AND (token IS NULL OR token = ?3)
"""


class SqliteLeases(Database):
    """See ports.store.Leases."""

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
                    raise ExecutionOwned(execution_id, describe_owner(holder, until - now))
                deadline = now + self.lease_seconds
                db.execute(
                    "UPDATE executions SET epoch = epoch + 1, owner = ?, token = ?, locked = ?, lease_until = ?,"
                    " cancel_by = NULL, paused_by = NULL WHERE id = ?",
                    (owner, token, int(lock is not None), deadline, row),
                )
        except BaseException:
            if lock is not None and mine is None:
                self._locks.release(execution_id, lock)
            raise
        self._held[execution_id] = Held(row, token, lock)
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

    def requests(self, lease: Lease) -> Request | None:
        """See ports.store.Leases."""
        with self._keeper_mutex, translated(self.path):
            row: Any = (
                self._keeper()
                .execute(
                    _REQUESTS,
                    (lease.execution_id, lease.epoch, lease.token),
                )
                .fetchone()
            )
        if row is None:
            raise LeaseLost(lease.execution_id, lease.epoch)
        return _request(*row)

    def tend(self, leases: Sequence[Lease], due: Sequence[Lease]) -> dict[str, Request | StoreDamaged | None]:
        """See ports.store.BulkLeases. One transaction: a thousand leases must not be a thousand commits."""
        deadline = self._clock.monotonic() + self.lease_seconds
        renewed: list[Lease] = []
        found: dict[str, Request | StoreDamaged | None] = {}
        with self._keeper_mutex, translated(self.path):
            db = self._keeper()
            db.execute("BEGIN IMMEDIATE" if due else "BEGIN")
            try:
                for lease in due:
                    db.execute(_RENEW, (deadline, lease.execution_id, lease.epoch, lease.token))
                    if db.changes():
                        renewed.append(lease)
                for lease in leases:
                    row: Any = db.execute(_REQUESTS, (lease.execution_id, lease.epoch, lease.token)).fetchone()
                    if row is not None:
                        found[lease.token] = _request(*row)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        for lease in renewed:
            lease.deadline = deadline
        return found

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

    async def request_pause(self, execution_id: ExecutionId, by: str) -> None:
        """See ports.store.Leases."""
        with self._transaction() as db:
            row = self._row(db, execution_id)
            db.execute("UPDATE executions SET paused_by = ? WHERE id = ?", (by, row))


def _request(cancel_by: str | None, paused_by: str | None, mail: int) -> Request | None:
    if cancel_by is not None:
        return Request("cancel", cancel_by)
    if paused_by is not None:
        return Request("pause", paused_by)
    return HAS_MAIL if mail else None


def describe_owner(owner: str | None, left: float) -> str:
    """Say who owns an execution, and what one can do; ``left`` is what its lease has left, in seconds."""
    if left > 0:
        return f"{owner or 'another process'}; wait for it, or cancel it"
    return (
        f"{owner or 'another process'}, which has not renewed its lease for {-left:.0f} s "
        "(it may be stopped); take over with --steal"
    )
