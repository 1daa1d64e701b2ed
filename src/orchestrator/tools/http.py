"""Requests over HTTP, and downloads that go on where they stopped.

Requests go to public addresses only, unless the setting `allow_hosts` names others: a host is looked up once, and what
is connected to is the address that was looked at, for each redirect anew. Credentials do not follow a redirect to
another host, and stand in no result, message or log of the tool.
"""

from __future__ import annotations

import asyncio
import json as jsonlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from orchestrator.errors import TaskError
from orchestrator.ports.context import TaskContext
from orchestrator.ports.tools import Problem
from orchestrator.tools.decorator import tool
from orchestrator.tools.paths import Sandbox
from orchestrator.tools.web import driver

if TYPE_CHECKING:
    from orchestrator.tools.web.calls import Call

T = TypeVar("T")

Url = Annotated[str, "where to, beginning with http:// or https://"]
Params = Annotated[dict[str, Any] | None, "what goes into the query of the URL; a list is given several times"]
Headers = Annotated[dict[str, str | int] | None, "headers by name"]
Auth = Annotated[dict[str, Any] | None, "`{bearer: TOKEN}`, or `{basic: {user: NAME, password: PASSWORD}}`"]
Redirects = Annotated[int, "how many redirects are followed; with 0 a redirect is an answer like any other"]
MaxWait = Annotated[float, "seconds to wait, all together, where the server asks to by `Retry-After`"]
Expect = int | str | list[int | str]

_HIDDEN = frozenset({"set-cookie", "authorization", "proxy-authorization", "authentication-info"})
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_STATUS = re.compile(r"[1-5](xx|\d\d)", re.IGNORECASE)


def _check(parameters: Mapping[str, Any], is_template: Callable[[Any], bool]) -> list[Problem]:
    def fixed(name: str) -> Any:
        value = parameters.get(name)
        return None if is_template(value) else value

    found = []
    url, expect, digest = fixed("url"), fixed("expect"), fixed("sha256")
    if isinstance(url, str) and not url.lower().startswith(("http://", "https://")):
        found.append(Problem("expected an address that begins with http:// or https://", ("url",)))
    contents = [name for name in ("json", "body", "form") if parameters.get(name) is not None]
    if len(contents) > 1:
        found.append(Problem(f"{' and '.join(contents)} exclude each other: a request has one content", (contents[1],)))
    if expect is not None and (message := _mismatch(expect)):
        found.append(Problem(message, ("expect",)))
    if isinstance(digest, str) and not _SHA256.fullmatch(digest):
        found.append(Problem("expected a SHA-256: 64 hexadecimal digits", ("sha256",)))
    found += [
        Problem(f"{value} is less than 0", (name,))
        for name in ("redirects", "max_bytes", "timeout", "max_wait")
        if isinstance(value := fixed(name), (int, float)) and value < 0
    ]
    return found


def _mismatch(expect: Expect) -> str | None:
    wanted: Sequence[int | str] = [expect] if isinstance(expect, (int, str)) else expect
    bad = [each for each in wanted if not _STATUS.fullmatch(str(each))]
    return f"{bad[0]!r} is no status: a number like 404, or a class like 2xx" if bad else None


@tool("http", action="request", default=True, check=_check)
async def request(  # noqa: PLR0913 - they are the options of a request, given by name
    url: Url,
    *,
    context: TaskContext,
    method: Annotated[
        Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"], "what is asked of the server"
    ] = "GET",
    params: Params = None,
    headers: Headers = None,
    auth: Auth = None,
    json: Annotated[Any, "content to send as JSON"] = None,
    body: Annotated[str | bytes | None, "content to send as it is"] = None,
    form: Annotated[dict[str, Any] | None, "content to send as a form"] = None,
    expect: Annotated[Expect, "statuses that are no failure: numbers, and classes like `2xx`"] = "2xx",
    response: Annotated[
        Literal["auto", "json", "text", "bytes"], "what the content becomes; `auto` goes by its type"
    ] = "auto",
    idempotency_key: Annotated[bool, "send `Idempotency-Key`, the same for every attempt, with POST and PATCH"] = True,
    redirects: Redirects = 5,
    max_bytes: Annotated[int, "refuse a larger answer: it becomes part of the journal"] = 50_000_000,
    timeout: Annotated[float, "seconds for a request with its redirects and its whole answer"] = 60.0,
    max_wait: MaxWait = 60.0,
) -> dict[str, Any]:
    """Send a request: `{status, headers, url, size}`, and its content as `json`, `text` or `bytes`.

    A status that is not expected fails the attempt: `http_429`, `http_4xx`, `http_5xx`, or `http_status` for others;
    the step's `retry.on` can name these, each status by itself (`http_503`), `connection` and `timeout`. Worth a retry
    are 408, 425, 429, 5xx, broken connections and timeouts. Where the server says how long to wait, the attempt waits
    and asks again; where that is longer than `max_wait`, the step's next retry comes when the server asks for it.

    Header names are in lower case; `set-cookie` and the like are left out. `url` is where the answer came from,
    with what looks like a secret masked. `size` counts the bytes of the content, decompressed.
    """
    driver.require()
    from orchestrator.tools.web import answers, calls

    if message := _mismatch(expect):
        raise calls.wrong(f"expect: {message}")
    call = calls.with_content(calls.make(method, url, params, headers, auth), json, body, form)
    call = call.with_headers(accept_encoding="gzip, deflate")
    if idempotency_key and method not in calls.IDEMPOTENT and "idempotency-key" not in call.headers:
        call = call.with_headers(idempotency_key=calls.header_text(context.idempotency_key))

    async def once() -> dict[str, Any]:
        async with answers.answered(call, redirects) as (last, answer):
            if not answers.expected(answer.status_code, expect):
                raise await answers.refused(last, answer)
            data = await answers.content(last, answer, max_bytes)
            shown = {name: value for name, value in answer.headers.items() if name not in _HIDDEN}
            content = _content(last, data, response, answer.headers.get("content-type", ""), answer.encoding or "utf-8")
            return {"status": answer.status_code, "headers": shown, "url": last.shown, "size": len(data), **content}

    return await answers.patient(lambda: _within(timeout, call, once), max_wait, context)


@tool("http", action="download", check=_check)
async def download(  # noqa: PLR0913 - they are the options of a request, given by name
    url: Url,
    path: Annotated[str, "the file to make, inside the project folder"],
    *,
    context: TaskContext,
    params: Params = None,
    headers: Headers = None,
    auth: Auth = None,
    sha256: Annotated[str | None, "the SHA-256 that the file has to have"] = None,
    redirects: Redirects = 5,
    max_bytes: Annotated[int, "refuse a larger file"] = 10_000_000_000,
    timeout: Annotated[float, "seconds for one try; what is there by then is kept for the next"] = 3600.0,
    max_wait: MaxWait = 60.0,
) -> dict[str, Any]:
    """Download a file: `{path, size, sha256, type, url}`.

    The file appears whole or not at all. Progress is saved: a later attempt asks for the rest only (`Range`), and
    begins anew if the server says that the file is another one by now (`If-Range`). Statuses fail as with `request`.
    """
    driver.require()
    from orchestrator.tools.web import answers, calls, downloading

    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise calls.wrong("sha256: expected 64 hexadecimal digits")
    call = calls.make("GET", url, params, headers, auth)
    wanted = downloading.Wanted(redirects, max_bytes, sha256)
    with Sandbox(context.project).place(path, follow=False, create=True, change=True) as place:

        async def once() -> dict[str, Any]:
            return await downloading.download(call, place, wanted, context)

        return await answers.patient(lambda: _within(timeout, call, once), max_wait, context)


async def _within(seconds: float, call: Call, work: Callable[[], Awaitable[T]]) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await work()
    except TimeoutError:
        raise TaskError(
            f"{call.method} {call.shown}: no whole answer after {seconds:g} s, its timeout", kind="timeout"
        ) from None


def _content(call: Call, data: bytes, response: str, kind: str, encoding: str) -> dict[str, Any]:
    """Return the content under the name of what it is."""
    media = kind.partition(";")[0].strip().lower()
    if response == "auto":
        textual = media.startswith("text/") or media.endswith(("+xml", "/xml", "/javascript", "x-www-form-urlencoded"))
        response = "json" if media.endswith(("/json", "+json")) and data else "text" if textual or not data else "bytes"
    if response == "bytes":
        return {"bytes": data}
    if response == "text":
        return {"text": data.decode(encoding, "replace")}
    try:
        return {"json": jsonlib.loads(data)}
    except (ValueError, RecursionError) as error:
        raise TaskError(
            f"{call.method} {call.shown}: the answer ({media or 'of no type'}) is not JSON: {error}; "
            "take it as `response: text`",
            kind="json",
            retryable=False,
        ) from None
