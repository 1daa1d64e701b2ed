"""Connections to the server: requests and answers, never an answer that belongs to another request.

A connection is lent to one exchange. An exchange that does not come to its end (a cancelled await, a timeout, a broken
connection) ends the connection with it, for what arrives on it later would be taken for the next request's answer.
Connections belong to the event loop they were made on, and are closed when it ends.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import redis.asyncio.connection as asynchronous
import redis.connection as synchronous
from redis.exceptions import ResponseError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from orchestrator.state.redis.address import Address

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 15.0
"""A server that says nothing for so long is gone, whatever TCP believes."""
MOST_CONNECTIONS = 16

Command = tuple[Any, ...]
_KINDS = {"redis": "Connection", "rediss": "SSLConnection", "unix": "UnixDomainSocketConnection"}


def _settings(address: Address) -> dict[str, Any]:
    # Without a driver's name: telling it is a command more that a user of few rights would need.
    # A limit per read would be a task for each; one for the whole exchange costs less.
    own = {"driver_info": None, "protocol": 2, "socket_timeout": None, "socket_connect_timeout": CONNECT_SECONDS}
    return address.connection | own


class _Pool:
    """The connections of one event loop."""

    def __init__(self, make: Callable[[], Any], greet: Callable[[Any], Awaitable[None]]) -> None:
        self._make = make
        self._greet = greet
        self._idle: list[Any] = []
        self._free = asyncio.Semaphore(MOST_CONNECTIONS)
        self.watch: AsyncGenerator[None, None] | None = None

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        async with self._free:
            connection = self._idle.pop() if self._idle else self._make()
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    if not connection.is_connected:
                        await connection.connect()
                        await self._greet(connection)
                    answers = await exchange_on(connection, commands)
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
            self._idle.append(connection)
            return answers

    async def close(self) -> None:
        while self._idle:
            await self._idle.pop().disconnect()


def packed(commands: Sequence[Command]) -> bytes:
    """Return commands as they are sent; the driver's own way takes a tenth of a commit's time."""
    parts = []
    for command in commands:
        parts.append(b"*%d\r\n" % len(command))
        for part in command:
            data = part if type(part) is bytes else str(part).encode()
            parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)


async def exchange_on(connection: Any, commands: Sequence[Command]) -> list[Any]:
    """Send commands together and return their answers; an error that the server answers with is one of them."""
    await connection.send_packed_command([packed(commands)], check_health=False)
    answers = []
    for _ in commands:
        try:
            answers.append(await connection.read_response(disable_decoding=True))
        except ResponseError as error:
            answers.append(error)
    return answers


class Wire:
    """Exchanges on the running loop; ``greet`` is called with each new connection and may refuse it."""

    def __init__(self, address: Address, greet: Callable[[Any], Awaitable[None]]) -> None:
        self._kind = getattr(asynchronous, _KINDS[address.scheme])
        self._settings = _settings(address)
        self._greet = greet
        self._pools: dict[asyncio.AbstractEventLoop, _Pool] = {}

    async def exchange(self, *commands: Command) -> list[Any]:
        """Send commands in one piece and return their answers, errors of the server among them.

        Raises the driver's errors for anything after which it is unknown what the server did.
        """
        pool = self._pools.get(asyncio.get_running_loop())
        if pool is None:
            pool = await self._begin()
        return await pool.exchange(commands)

    async def _begin(self) -> _Pool:
        """Make the running loop's pool; an asynchronous generator is told when its loop ends, whoever runs that."""
        loop = asyncio.get_running_loop()
        pool = self._pools[loop] = _Pool(lambda: self._kind(**self._settings), self._greet)

        async def watch() -> AsyncGenerator[None, None]:
            try:
                yield
            finally:
                self._pools.pop(loop, None)
                await pool.close()

        pool.watch = watch()
        await anext(pool.watch)
        return pool

    async def close(self) -> None:
        """Close what the running loop has; what other loops have is closed when they end."""
        pool = self._pools.get(asyncio.get_running_loop())
        if pool is not None and pool.watch is not None:
            await pool.watch.aclose()


class ThreadWire:
    """One connection for callers without a loop (the lease keeper's thread, the opening); any thread."""

    def __init__(self, address: Address) -> None:
        self._kind = getattr(synchronous, _KINDS[address.scheme])
        self._settings = _settings(address) | {"socket_timeout": CONNECT_SECONDS}
        self._mutex = threading.Lock()
        self._connection: Any = None

    def exchange(self, *commands: Command) -> list[Any]:
        """As ``Wire.exchange``."""
        with self._mutex:
            if self._connection is None:
                self._connection = self._kind(**self._settings)
            connection = self._connection
            try:
                connection.connect()
                connection.send_packed_command([packed(commands)], check_health=False)
                answers = []
                for _ in commands:
                    try:
                        answers.append(connection.read_response(disable_decoding=True))
                    except ResponseError as error:
                        answers.append(error)
            except BaseException:
                connection.disconnect()
                raise
            return answers

    def close(self) -> None:
        """Close the connection; the next exchange makes another."""
        with self._mutex:
            if self._connection is not None:
                self._connection.disconnect()
