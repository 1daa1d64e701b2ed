"""What comes back: redirects followed, statuses judged, the time a server asks for waited."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from orchestrator.errors import TaskError
from orchestrator.tools.web.connecting import sent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    import httpx2

    from orchestrator.ports.context import TaskContext
    from orchestrator.tools.web.calls import Call

T = TypeVar("T")

OTHER_KINDS = {429: "http_429"}
"""Statuses whose kind is not that of their class: waiting helps here."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_RETRYABLE = frozenset({408, 425, 429})
_MOST_WAITS = 10
_SAID_BYTES = 500


class Refused(TaskError):
    """A status that was not expected."""


@asynccontextmanager
async def answered(call: Call, redirects: int) -> AsyncIterator[tuple[Call, httpx2.Response]]:
    """Send a request, follow at most so many redirects, and give the last request with its answer."""
    for _ in range(redirects + 1):
        async with sent(call) as answer:
            location = answer.headers.get("location")
            if not redirects or answer.status_code not in _REDIRECTS or location is None:
                yield call, answer
                return
        call = call.redirected(answer.status_code, location)
    raise TaskError(
        f"{call.method} {call.shown}: redirected more than {redirects} times", kind="redirect", retryable=False
    )


async def content(call: Call, answer: httpx2.Response, limit: int) -> bytes:
    """Return the content, decompressed; raise TaskError (kind ``too_large``) as soon as it exceeds ``limit``."""
    data = bytearray()
    async for part in answer.aiter_bytes():
        data += part
        if len(data) > limit:
            raise too_large(call, limit)
    return bytes(data)


def too_large(call: Call, limit: int) -> TaskError:
    """Return the error for content of more bytes than the step allows."""
    return TaskError(
        f"{call.method} {call.shown}: the answer has more than the {limit:,} bytes that `max_bytes` allows",
        kind="too_large",
        retryable=False,
    )


def expected(status: int, expect: int | str | Sequence[int | str]) -> bool:
    """Tell whether a status is one of those expected: numbers, and classes like ``2xx``."""
    wanted = [expect] if isinstance(expect, (int, str)) else expect
    return any(str(status) == str(each) or f"{status // 100}xx" == str(each).lower() for each in wanted)


async def refused(call: Call, answer: httpx2.Response) -> Refused:
    """Return the error for a status that was not expected, with the beginning of what the server says."""
    status = answer.status_code
    said = b""
    if not answer.headers.get("content-type", "").startswith("application/octet-stream"):
        async for part in answer.aiter_bytes():
            said += part
            if len(said) > _SAID_BYTES:
                break
    text = call.masked(" ".join(said.decode("utf-8", "replace").split()))[:_SAID_BYTES]
    group = status // 100
    kind = OTHER_KINDS.get(status) or (f"http_{group}xx" if group in (4, 5) else "http_status")
    reason = f"{status} {answer.reason_phrase}".strip()
    message = f"{call.method} {call.shown} answered {reason}{': ' if text else ''}{text}"
    retryable = status in _RETRYABLE or group == 5  # noqa: PLR2004
    return Refused(
        message,
        kind=kind,
        kinds=(f"http_{status}", f"http_{group}xx"),
        retryable=retryable,
        retry_after=asked_to_wait(answer.headers) if retryable else None,
    )


def asked_to_wait(headers: httpx2.Headers) -> float | None:
    """Return the seconds that Retry-After asks for; None if there is none that can be read.

    A date is counted from the answer's own Date: the clocks of both machines need not agree.
    """
    text = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}", text, re.ASCII):
        return float(text)
    try:
        until, now = parsedate_to_datetime(text), parsedate_to_datetime(headers.get("date", ""))
        return max(0.0, (until - now).total_seconds())
    except (TypeError, ValueError):  # also where only one of the two has a time zone
        return None


async def patient(attempt: Callable[[], Awaitable[T]], max_wait: float, context: TaskContext) -> T:
    """Make a request, and again as often as the server asks to wait first; together at most ``max_wait`` seconds.

    Raise what the last request raised. The retries of the step come on top of it, and no sooner than the server asks.
    """
    left = max_wait
    for _ in range(_MOST_WAITS):
        try:
            return await attempt()
        except Refused as error:
            wait = error.retry_after
            if wait is None:
                raise
            if wait > left:
                raise TaskError(
                    f"{error.message} (it asks to wait {wait:g} s; `max_wait` leaves {left:g})",
                    kind=error.kind,
                    kinds=error.kinds,
                    retryable=error.retryable,
                    retry_after=wait,
                ) from None
            context.progress(message=f"waits {wait:g} s, as the server asks")
            left -= wait
            await asyncio.sleep(wait)
    return await attempt()
