"""Connections to addresses that were looked at: the address that is checked is the one that is connected to."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterable
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import httpcore2
import httpx2

from orchestrator.errors import TaskError
from orchestrator.tools.web.addresses import allowed_hosts, reachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from orchestrator.tools.web.calls import Call

CONNECT_SECONDS = 30.0
IDLE_SECONDS = 60.0
"""How long a server may send nothing."""


class Guarded(httpcore2.AsyncNetworkBackend):
    """Looks a host up once, and connects to those of its addresses that requests may go to, by number."""

    def __init__(self) -> None:
        self._inner = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address that answers; raise TaskError (kind ``address``) if none is allowed."""
        failed: Exception = httpcore2.ConnectError(f"{host} has no address")
        for found in reachable(host, await _look_up(host, port), port, allowed_hosts()):
            try:
                return await self._inner.connect_tcp(found, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failed = error
        raise failed

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


async def _look_up(host: str, port: int) -> list[str]:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise TaskError(f"{host!r}: no answer from the name server", kind="timeout") from None
    except (socket.gaierror, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no host name"
        raise TaskError(f"{host!r} has no address: {reason}", kind="connection") from None
    return [str(address[0]) for *_, address in found]


class _Body(httpx2.AsyncByteStream):
    """The content of an answer, as it comes."""

    def __init__(self, stream: AsyncIterable[bytes]) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._stream:
            yield data


@cache
def _trust() -> ssl.SSLContext:
    return httpx2.create_ssl_context()


@asynccontextmanager
async def sent(call: Call) -> AsyncIterator[httpx2.Response]:
    """Send a request and give its answer, whose content is not read yet; raise TaskError for what goes wrong.

    Proxies, cookies and passwords of the environment are not used, and no redirect is followed.
    """
    trust = await asyncio.to_thread(_trust) if call.url.scheme == "https" else None
    times = {"connect": CONNECT_SECONDS, "read": IDLE_SECONDS, "write": IDLE_SECONDS, "pool": None}
    prepared = httpx2.Request(
        call.method, call.url, headers=dict(call.headers), content=call.content, extensions={"timeout": times}
    )
    async with (
        _told(call),
        httpcore2.AsyncConnectionPool(ssl_context=trust, max_connections=1, network_backend=Guarded()) as pool,
    ):
        answer = await pool.handle_async_request(
            httpcore2.Request(
                prepared.method,
                httpcore2.URL(
                    scheme=prepared.url.raw_scheme,
                    host=prepared.url.raw_host,
                    port=prepared.url.port,
                    target=prepared.url.raw_path,
                ),
                headers=prepared.headers.raw,
                content=call.content,
                extensions=prepared.extensions,
            )
        )
        try:
            assert isinstance(answer.stream, AsyncIterable)  # noqa: S101 - what an asynchronous pool gives
            yield httpx2.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream), request=prepared)
        finally:
            await answer.aclose()


@asynccontextmanager
async def _told(call: Call) -> AsyncIterator[None]:
    """Put what the library raises into words; nothing it says itself is passed on where it may hold a secret."""
    what = f"{call.method} {call.shown}"
    try:
        yield
    except (httpx2.TimeoutException, httpcore2.TimeoutException):
        raise TaskError(f"{what}: the server does not answer, or stopped sending", kind="timeout") from None
    except (httpx2.LocalProtocolError, httpcore2.LocalProtocolError) as error:
        raise TaskError(
            f"{what} cannot be sent: {call.masked(str(error))}", kind="parameters", retryable=False
        ) from None
    except (httpx2.DecodingError, httpcore2.ProtocolError) as error:
        raise TaskError(f"{what}: the answer is broken: {call.masked(str(error))}", kind="connection") from None
    except httpcore2.NetworkError as error:
        certificate = _certificate(error)
        if certificate is not None:
            raise TaskError(
                f"{what}: its certificate is not trusted: {certificate}", kind="tls", retryable=False
            ) from None
        reason = call.masked(str(error)) or "the connection broke"
        raise TaskError(f"{what}: no connection: {reason}", kind="connection") from None


def _certificate(error: BaseException) -> str | None:
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ssl.SSLCertVerificationError):
            return inner.verify_message
        inner = inner.__cause__ or inner.__context__
    return None
