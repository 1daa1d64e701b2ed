"""The file and its connections: what all parts of the store work on."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import apsw

from orchestrator.errors import StoreBroken, StoreDamaged, UnknownExecution
from orchestrator.state.blobs import BlobFiles
from orchestrator.state.records import PLAIN, Sealing
from orchestrator.state.sqlite.connection import connect, is_fatal, prepare_folder, set_durable, translate, translated
from orchestrator.state.sqlite.locks import LockFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from orchestrator.ports.blobs import Blobs
    from orchestrator.ports.clock import Chance, Clock

Parameters = ParamSpec("Parameters")
T = TypeVar("T")

SHIFT = 32
SEQ_MASK = (1 << SHIFT) - 1
LEASE_SECONDS = 30.0
IDENTITY_SECONDS = 0.1


@dataclass(slots=True)
class Held:
    """What this process knows of an execution it owns."""

    row: int
    token: str
    lock: int | None


class Database:
    """One connection for this process's work, one for the lease keeper's thread; what this process owns."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        chance: Chance,
        durable: bool = True,
        lease_seconds: float = LEASE_SECONDS,
        sealing: Sealing = PLAIN,
        blobs: Blobs | None = None,
    ) -> None:
        self.path = path.absolute()
        self.url = f"sqlite:///{self.path}"
        self.lease_seconds = lease_seconds
        self._clock = clock
        self._chance = chance
        self._durable = durable
        self._sealing = sealing
        self._blobs = blobs if blobs is not None else BlobFiles(self.path.with_name(self.path.name + "-blobs"))
        self._far = blobs is not None  # files are quicker than the way to another thread and back
        self._claimed = False
        self._locks = LockFiles(self.path.with_name(self.path.name + "-locks"))
        self._held: dict[str, Held] = {}
        self._mutex = threading.RLock()
        self._broken: str | None = None
        prepare_folder(self.path)
        self._db = connect(self.path, durable=durable)
        stat = self.path.stat()
        self._identity = (stat.st_dev, stat.st_ino)
        self._identity_checked = 0.0
        self._keeper_db: apsw.Connection | None = None
        self._keeper_mutex = threading.Lock()

    def _check_usable(self) -> None:
        if self._broken is not None:
            raise StoreBroken(self._broken)

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
            except UnicodeDecodeError as error:
                raise StoreDamaged(str(self.path), f"a text in it is no UTF-8: {error.object[:40]!r}") from error

    def _after_error(self, error: apsw.Error) -> None:
        if is_fatal(error):
            self._broken = f"the store {self.path} failed before ({error}); start again with `orchestrator resume`"
            with contextlib.suppress(apsw.Error):
                self._db.close()
        elif self._db.in_transaction:
            self._db.execute("ROLLBACK")

    @contextlib.contextmanager
    def _transaction(self, *, durable: bool | None = None) -> Iterator[apsw.Connection]:
        """Run a write transaction; ``durable`` says whether this one commit survives a power cut (None: as all do)."""
        with self._guarded() as db:
            differs = durable is not None and durable is not self._durable
            if differs:
                set_durable(db, durable=not self._durable)
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
                if differs and self._broken is None:
                    set_durable(db, durable=self._durable)

    def _check_identity(self, *, at_once: bool = False) -> None:
        """Notice that the file was deleted or replaced under us: our commits would go nowhere.

        Looked at no more often than every tenth of a second, for a look costs a fifth of a commit without fsync.
        """
        now = self._clock.monotonic()
        if not at_once and now - self._identity_checked < IDENTITY_SECONDS:
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

    def _keeper(self) -> apsw.Connection:
        if self._broken is not None:
            raise StoreBroken(self._broken)
        if self._keeper_db is None:
            self._keeper_db = connect(self.path, durable=self._durable)
        return self._keeper_db

    async def _with_blobs(
        self, function: Callable[Parameters, T], *args: Parameters.args, **named: Parameters.kwargs
    ) -> T:
        """Call something that works on the blobs: in a thread where they are far away, so that the loop goes on."""
        if not self._far:
            return function(*args, **named)
        if not self._claimed:
            with self._guarded() as db:
                store_id = str(db.execute("SELECT value FROM meta WHERE key = 'uuid'").get)
            await asyncio.to_thread(self._blobs.claim, store_id)
            self._claimed = True
        return await asyncio.to_thread(function, *args, **named)

    def _let_go(self, execution_id: str) -> None:
        """Forget what we held of an execution that is no longer ours, and give its lock file back."""
        held = self._held.pop(execution_id, None)
        if held is not None and held.lock is not None:
            self._locks.release(execution_id, held.lock)

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
