"""A TCP proxy that breaks connections on purpose, in a thread of its own; for any protocol.

::

    with Proxy(server.port) as proxy:
        connect("127.0.0.1", proxy.port)
        proxy.cut()                          # every connection, now
        proxy.cut_at(3)                      # the connection on which the third piece from now arrives, in its stead
        proxy.swallow(lambda piece: b"INSERT" in piece)   # what the server answers to that is lost, then it is cut
        proxy.refusing = True                # from now on new connections end at once

A *piece* is what one read returned: on the loopback, what the other side sent at once. Pieces are counted over all
connections, from 1. Settings may be changed from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Direction = Literal["to server", "to client"]

_PIECE = 1 << 20
_RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True, eq=False)
class _Link:
    """One connection: both ends; ``mute`` once the server's answers no longer pass."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    mute: bool = False
    number: int = 0

    def reset(self) -> None:
        for end in (self.client, self.server):
            with contextlib.suppress(OSError):
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.transport.abort()


@dataclass(slots=True)
class _Orders:
    """What is to be done with the pieces to come; ``cut_in`` counts those left until the cut."""

    cut_in: int = 0
    direction: Direction | None = None
    torn: bool = False
    chosen: Callable[[bytes], bool] | None = None
    pieces: int = 0
    cuts: int = 0
    swallowed: int = 0
    connections: int = 0
    links: set[_Link] = field(default_factory=set)


class Proxy:
    """Passes on to ``port`` of ``host`` what arrives at its own ``port`` of 127.0.0.1.

    ``delay_seconds`` holds each piece up. ``refusing`` ends new connections at once; ``stalled`` lets nothing pass,
    without ending anything, as a network does that swallows packets.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.target = (host, port)
        self.delay_seconds = 0.0
        self.refusing = False
        self.stalled = False
        self._orders = _Orders()
        self._mutex = threading.Lock()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="chaos-proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._listening = threading.Event()
        self.port = 0

    # -- orders ----------------------------------------------------------------------------------------------------

    @property
    def pieces(self) -> int:
        """How many pieces came by, in both directions."""
        return self._orders.pieces

    @property
    def cuts(self) -> int:
        """How many connections were cut by ``cut_at`` and ``swallow``."""
        return self._orders.cuts

    @property
    def connections(self) -> int:
        """How many connections were made through it."""
        return self._orders.connections

    def cut(self) -> None:
        """Cut every connection, both ways, now (reset, not an orderly end)."""
        self._do(self._cut())

    def cut_at(self, piece: int, direction: Direction | None = None, *, torn: bool = False) -> None:
        """Cut the connection on which the ``piece``-th piece from now (1: the next) in ``direction`` arrives.

        That piece does not pass, or only its first half if ``torn``. Once; connections made later work. 0 takes an
        order back.
        """
        with self._mutex:
            self._orders.cut_in, self._orders.direction, self._orders.torn = piece, direction, torn

    def swallow(self, chosen: Callable[[bytes], bool] | None) -> None:
        """Lose the answer to the next piece of a client for which ``chosen`` says True, then cut that connection.

        The piece itself passes: the server has done what it was asked for when the client's connection breaks. None
        takes an order back.
        """
        with self._mutex:
            self._orders.chosen = chosen

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        self._listening.wait(10)
        if not self.port:
            raise RuntimeError("the proxy does not listen")

    def close(self) -> None:
        """Cut everything and end."""
        if self._thread.is_alive():
            self._do(self._stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
        self._loop.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- within ----------------------------------------------------------------------------------------------------

    def _do(self, act: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(act, self._loop).result(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._server = self._loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", 0))
            self.port = self._server.sockets[0].getsockname()[1]
        finally:
            self._listening.set()
        self._loop.run_forever()

    async def _cut(self) -> None:
        for link in list(self._orders.links):
            link.reset()

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            answers, server = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        for end in (writer, server):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._orders.connections += 1
        link = _Link(writer, server, number=self._orders.connections)
        self._orders.links.add(link)
        try:
            await asyncio.gather(
                self._pass_on(link, reader, server, "to server"), self._pass_on(link, answers, writer, "to client")
            )
        finally:
            self._orders.links.discard(link)
            writer.transport.abort()
            server.transport.abort()

    async def _pass_on(
        self, link: _Link, source: asyncio.StreamReader, to: asyncio.StreamWriter, direction: Direction
    ) -> None:
        with contextlib.suppress(OSError):
            while piece := await source.read(_PIECE):
                while self.stalled:
                    await asyncio.sleep(0.01)
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                passed = self._judge(link, piece, direction)
                if passed:
                    to.write(passed)
                    await to.drain()
                if len(passed) < len(piece):
                    link.reset()
                    return
        if not to.transport.is_closing():
            with contextlib.suppress(OSError, RuntimeError):
                to.write_eof()

    def _judge(self, link: _Link, piece: bytes, direction: Direction) -> bytes:
        """Return what passes of a piece; less than all of it means the end of the connection."""
        with self._mutex:
            orders = self._orders
            orders.pieces += 1
            if direction == "to client" and link.mute:
                orders.swallowed += 1
                orders.cuts += 1
                return b""
            if direction == "to server" and orders.chosen is not None and orders.chosen(piece):
                orders.chosen = None
                link.mute = True
            if orders.cut_in and orders.direction in (None, direction):
                orders.cut_in -= 1
                if not orders.cut_in:
                    orders.cuts += 1
                    return piece[: len(piece) // 2] if orders.torn else b""
        return piece
