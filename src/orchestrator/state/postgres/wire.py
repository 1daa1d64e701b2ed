"""The usual commit, sent with as little around it as the protocol allows: every chain of steps waits for it.

The driver's cursors cost more than half of what a quick server takes for the commit itself. Here a prepared statement
goes out and its answer comes in, on the same connection, by the driver's own binding of libpq.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakSet

import psycopg
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

    from orchestrator.state.postgres.links import Connection

_TEXT, _BINARY = 0, 1


class Prepared:
    """One statement, prepared once on each connection that it is used on."""

    def __init__(self, name: str, query: bytes, formats: str) -> None:
        """``formats``: a letter for each parameter, ``t`` for text or ``b`` for binary."""
        self._name = name.encode()
        self._query = query
        self._formats = [_BINARY if letter == "b" else _TEXT for letter in formats]
        self._known: WeakSet[Connection] = WeakSet()

    async def run(self, db: Connection, values: list[bytes]) -> int:
        """Carry it out and return how many rows came back; raises what the driver raises.

        It is not given up in the middle: a cancelled caller is heard when the answer is there.
        """
        pgconn = db.pgconn
        if db not in self._known:
            pgconn.send_prepare(self._name, self._query)
            _check(await _answer(pgconn))
            self._known.add(db)
        pgconn.send_query_prepared(self._name, values, self._formats, result_format=_BINARY)
        return _check(await _answer(pgconn)).ntuples


async def _answer(pgconn: PGconn) -> PGresult | None:
    """Return the answer to what was just sent."""
    loop = asyncio.get_running_loop()
    socket = pgconn.socket
    cancelled = False
    waiter: asyncio.Future[None] = loop.create_future()

    def ready() -> None:
        if not waiter.done():
            waiter.set_result(None)

    loop.add_reader(socket, ready)
    try:
        unsent = pgconn.flush()
        if unsent:
            loop.add_writer(socket, ready)
        while unsent or pgconn.is_busy():
            try:
                await waiter
            except asyncio.CancelledError:
                cancelled = True
            waiter = loop.create_future()
            pgconn.consume_input()
            if unsent and not (unsent := pgconn.flush()):
                loop.remove_writer(socket)
    finally:
        loop.remove_reader(socket)
        loop.remove_writer(socket)
        if cancelled and (me := asyncio.current_task()) is not None:
            me.uncancel()
            me.cancel()  # felt at the caller's next await
    result = pgconn.get_result()
    while pgconn.get_result() is not None:
        pass
    return result


def _check(result: PGresult | None) -> PGresult:
    if result is None:
        raise psycopg.OperationalError("the connection was closed")
    if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        raise error_from_result(result)
    return result
