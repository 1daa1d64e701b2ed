"""Connections: a few of them for one event loop, lent one statement or transaction at a time.

A connection is given back only when what was done on it ended well; whatever else happened to it, it is closed. So
no answer can ever reach another caller than the one who asked. Nothing is left in a session between two loans.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg import AsyncConnection, AsyncRawCursor
from psycopg.pq import TransactionStatus

from orchestrator.errors import LeaseLost, StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from orchestrator.state.postgres.target import Target

T = TypeVar("T")
Connection = AsyncConnection[tuple[Any, ...]]

PREPARE_AFTER = 2
"""How often a statement is sent before the server is asked to keep it prepared."""


class Links:
    """At most ``limit`` connections, made when needed, each looked at by ``greet`` before its first use.

    ``silence_seconds``: a server that says nothing for so long while we wait for it is given up, and its connection
    with it.
    """

    def __init__(
        self, target: Target, limit: int, greet: Callable[[Connection], Awaitable[None]], *, silence_seconds: float
    ) -> None:
        self._target = target
        self._limit = limit
        self._greet = greet
        self._silence_seconds = silence_seconds
        self._idle: list[Connection] = []
        self._slots = asyncio.Semaphore(limit)
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextlib.asynccontextmanager
    async def lend(self) -> AsyncIterator[Connection]:
        """Lend a connection; waits while all are lent."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._begin(loop)
        slots = self._slots
        async with slots:
            db = self._idle.pop() if self._idle else await self._connect()
            watch = self.watch(db)
            try:
                yield db
            except BaseException as error:
                # A refusal of ours leaves the connection as it was; anything else makes it suspect.
                refused = isinstance(error, (StoreError, LeaseLost))
                if not refused or db.info.transaction_status != TransactionStatus.IDLE:
                    await _close(db)
                raise
            finally:
                watch.cancel()
                if not db.closed and loop is self._loop:
                    self._idle.append(db)
                else:
                    db.pgconn.finish()

    async def take_idle(self) -> Connection | None:
        """Take a connection that is open on this loop, once one is free, or None; it goes back by ``give_back``."""
        slots = self._slots
        if asyncio.get_running_loop() is not self._loop or not (self._idle or slots.locked()):
            return None
        if slots.locked():
            await unbroken(slots.acquire())
        else:
            await slots.acquire()
        if self._idle and slots is self._slots:
            return self._idle.pop()
        slots.release()
        return None

    def give_back(self, db: Connection) -> None:
        """Take a connection back that ``take_idle`` gave, whatever became of it."""
        if asyncio.get_running_loop() is not self._loop:  # closed meanwhile, or moved to another loop
            db.pgconn.finish()
            return
        self._slots.release()
        if not db.closed:
            self._idle.append(db)

    def watch(self, db: Connection) -> asyncio.TimerHandle:
        """Give a connection up when its server stays silent for too long; cancel what is returned when it spoke."""
        return asyncio.get_running_loop().call_later(self._silence_seconds, _hang_up, db)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start afresh on another loop: what the last one had open is of no use there."""
        self.drop_idle()
        self._loop = loop
        self._slots = asyncio.Semaphore(self._limit)

    async def _connect(self) -> Connection:
        options = self._target.connection()
        db: Connection = await AsyncConnection.connect(
            **options,
            autocommit=True,
            prepare_threshold=None if self._target.pooled else PREPARE_AFTER,
            cursor_factory=AsyncRawCursor,
        )
        watch = self.watch(db)
        try:
            await self._greet(db)
        except BaseException:
            await _close(db)
            raise
        finally:
            watch.cancel()
        return db

    def drop_idle(self) -> None:
        """Close the connections that are not lent, at once: one of them broke, so the others are suspect."""
        while self._idle:
            db = self._idle.pop()
            db.pgconn.finish()

    def forget(self) -> None:
        """Close what is idle, and what is lent when it comes back."""
        self.drop_idle()
        self._loop = None


def _hang_up(db: Connection) -> None:
    """End the connection under whoever waits for it: the wait ends with an error, at once."""
    if db.closed:
        return
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(db.pgconn.socket)) as end:
        end.shutdown(socket.SHUT_RDWR)


async def _close(db: Connection) -> None:
    with contextlib.suppress(Exception):
        await db.close()


async def unbroken(act: Coroutine[Any, Any, T]) -> T:
    """Await ``act`` to its end whatever happens to the caller; a cancellation reaches it right after.

    A statement that is given up in the middle has an unknown outcome, and leaves a connection nobody can use.
    """
    task = asyncio.ensure_future(act)
    me = asyncio.current_task()
    before = me.cancelling() if me is not None else 0
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            continue  # ours or the task's own: which of them, and whether both at once, the counter tells
        except BaseException:  # noqa: BLE001 - it is raised below, out of the task itself
            break
    if me is not None and me.cancelling() > before:
        me.uncancel()
        me.cancel()  # felt at the caller's next await
    return task.result()
