from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import json
import logging
import os
import re
import socket
import ssl
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import TaskError
from orchestrator.tools import ToolRegistry

Call = Callable[..., Any]
SECRET = "c4n4ry-s3cret"


@dataclass
class Asked:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Answer = bytes | tuple[int, dict[str, str], bytes]


@dataclass
class Site:
    """A server of the test: ``answer`` says what to send, as a whole or as status, headers and content."""

    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked], Answer | Awaitable[Answer]] = lambda _: (200, {}, b"")

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            headers = {line.split(": ")[0].lower(): line.split(": ", 1)[1] for line in head[1:] if line}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            self.asked.append(Asked(method, target, headers, body))
            answer = self.answer(self.asked[-1])
            if not isinstance(answer, (bytes, tuple)):
                answer = await answer
            if isinstance(answer, tuple):
                status, given, content = answer
                lines = [f"HTTP/1.1 {status} Said"]
                lines += [f"{name}: {value}" for name, value in ({"Content-Length": str(len(content))} | given).items()]
                answer = ("\r\n".join(lines) + "\r\n\r\n").encode() + (b"" if method == "HEAD" else content)
            writer.write(answer)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setenv("ORCHESTRATOR_ALLOW_HOSTS", "127.0.0.0/8,localhost")
    made = Site()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    await server.wait_closed()


@pytest.fixture
def failing(call: Call) -> Call:
    async def failed(action: str, /, **parameters: Any) -> TaskError:
        with pytest.raises(TaskError) as caught:
            await call("http", action, **parameters)
        return caught.value

    return failed


def always(answer: Answer) -> Callable[[Asked], Answer]:
    return lambda _: answer


def jsonly(value: Any, headers: dict[str, str] | None = None) -> Answer:
    return 200, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode()


# what is sent, and what comes back --------------------------------------------------------------------------------


async def test_a_request_and_its_answer(call: Call, site: Site) -> None:
    site.answer = lambda _: jsonly({"a": [1]}, {"X-Left": "9", "Set-Cookie": SECRET})
    url = site.url("/things?page=2#top").replace("//", f"//ann:{SECRET}@")
    found = await call("http", None, url=url, params={"tag": ["a", "b c"], "api_key": SECRET, "on": True})
    assert found == {
        "status": 200,
        "headers": {"content-length": "10", "content-type": "application/json", "x-left": "9"},
        "url": site.url("/things?page=2&tag=a&tag=b+c&api_key=***&on=true"),
        "size": 10,
        "json": {"a": [1]},
    }
    (asked,) = site.asked
    assert asked.target.startswith("/things?page=2&tag=a&tag=b")
    assert f"api_key={SECRET}" in asked.target
    assert asked.headers["authorization"] == "Basic " + base64.b64encode(f"ann:{SECRET}".encode()).decode()
    assert asked.headers["accept-encoding"] == "gzip, deflate"
    assert "idempotency-key" not in asked.headers
    assert "cookie" not in asked.headers


@pytest.mark.parametrize(
    ("given", "kind", "body"),
    [
        ({"json": {"ä": 1}}, "application/json", '{"ä": 1}'.encode()),
        ({"json": False}, "application/json", b"false"),
        ({"body": "ä"}, "text/plain; charset=utf-8", "ä".encode()),
        ({"body": b"\x00"}, "application/octet-stream", b"\x00"),
        ({"body": "<a/>", "headers": {"Content-Type": "text/xml"}}, "text/xml", b"<a/>"),
        ({"form": {"a": "1 2", "b": ["x", "y"]}}, "application/x-www-form-urlencoded", b"a=1+2&b=x&b=y"),
        ({}, None, b""),
    ],
)
async def test_contents(call: Call, site: Site, given: dict[str, Any], kind: str | None, body: bytes) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        await call("http", "request", url=site.url(), method=method, **given)
        assert (site.asked[-1].method, site.asked[-1].body) == (method, body)
        assert site.asked[-1].headers.get("content-type") == kind
        assert ("idempotency-key" in site.asked[-1].headers) == (method in ("POST", "PATCH"))


async def test_the_idempotency_key(call: Call, site: Site, make_context: Call) -> None:
    for attempt in (1, 2):
        context = make_context(task_id="zahle-ä", attempt=attempt)
        await call("http", "request", using=context, url=site.url(), method="POST")
        assert site.asked[-1].headers["idempotency-key"] == "exec/zahle-%C3%A4"
    await call("http", "request", url=site.url(), method="POST", idempotency_key=False)
    assert "idempotency-key" not in site.asked[-1].headers
    await call("http", "request", url=site.url(), method="POST", headers={"Idempotency-Key": "mine"})
    assert site.asked[-1].headers["idempotency-key"] == "mine"


@pytest.mark.parametrize(
    ("kind", "data", "response", "content"),
    [
        ("text/plain; charset=latin-1", b"\xe4", "auto", {"text": "ä"}),
        ("application/vnd.api+json", b"[]", "auto", {"json": []}),
        ("image/png", b"\x89", "auto", {"bytes": b"\x89"}),
        ("", b"x", "auto", {"bytes": b"x"}),
        ("", b"", "auto", {"text": ""}),
        ("application/json", b"", "auto", {"text": ""}),
        ("text/html", b"[1]", "json", {"json": [1]}),
        ("application/json", b"[1]", "text", {"text": "[1]"}),
        ("application/json", b"[1]", "bytes", {"bytes": b"[1]"}),
    ],
)
async def test_what_the_content_becomes(
    call: Call, site: Site, kind: str, data: bytes, response: str, content: dict[str, Any]
) -> None:
    site.answer = lambda _: (200, {"Content-Type": kind} if kind else {}, data)
    found = await call("http", "request", url=site.url(), response=response)
    assert {key: found[key] for key in found if key in ("json", "text", "bytes")} == content


async def test_head_and_compression(call: Call, site: Site) -> None:
    packed = gzip.compress(b"x" * 1000)
    site.answer = lambda _: (200, {"Content-Encoding": "gzip", "Content-Type": "text/plain"}, packed)
    assert (await call("http", "request", url=site.url()))["text"] == "x" * 1000
    found = await call("http", "request", url=site.url(), method="HEAD")
    assert (found["status"], found["size"], found["text"]) == (200, 0, "")


async def test_many_requests_share_the_loop(call: Call, site: Site) -> None:
    everybody = asyncio.Event()

    async def answer(_: Asked) -> Answer:
        if len(site.asked) == 20:
            everybody.set()
        await everybody.wait()
        return 200, {}, b""

    site.answer = answer
    found = await asyncio.gather(*(call("http", "request", url=site.url()) for _ in range(20)))
    assert {each["status"] for each in found} == {200}


# failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, "http_4xx", False), (401, "http_4xx", False), (404, "http_4xx", False), (408, "http_4xx", True),
        (425, "http_4xx", True), (429, "http_429", True), (500, "http_5xx", True), (503, "http_5xx", True),
        (304, "http_status", False),
    ],
)  # fmt: skip
async def test_statuses(call: Call, failing: Call, site: Site, status: int, kind: str, retryable: bool) -> None:
    site.answer = lambda _: (status, {"Content-Length": "0"} if status == 304 else {}, b"" if status == 304 else b"No.")
    error = await failing("request", url=site.url("/a?token=" + SECRET))
    assert (error.kind, error.retryable) == (kind, retryable)
    assert error.kinds == (f"http_{status}", f"http_{status // 100}xx")
    assert error.retry_after is None
    assert f"GET {site.url('/a')}?token=*** answered {status} {HTTPStatus(status).phrase}" in str(error)
    assert ("No." in str(error)) == (status != 304)
    for expect in (status, str(status), [200, f"{status // 100}xx"], f"{status // 100}XX"):
        assert (await call("http", "request", url=site.url(), expect=expect))["status"] == status
    assert (await failing("download", url=site.url(), path="x")).kind == kind


async def test_what_an_unexpected_success_is(failing: Call, site: Site) -> None:
    assert (await failing("request", url=site.url(), expect=201)).kind == "http_status"


@pytest.mark.parametrize("action", ["request", "download"])
async def test_no_secret_stands_in_errors_or_logs(
    failing: Call, site: Site, action: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    site.answer = lambda asked: (500, {}, f"{asked.target} {asked.headers}".encode())
    more = {"path": "x"} if action == "download" else {}
    given: list[dict[str, Any]] = [
        {"auth": {"bearer": SECRET}},
        {"auth": {"basic": {"user": "ann", "password": SECRET}}},
        {"headers": {"Authorization": f"Token {SECRET}"}},
        {"headers": {"X-Api-Key": SECRET}},
        {"params": {"access_token": SECRET}},
    ]
    for each in given:
        error = await failing(action, url=site.url(), **more, **each)
        encoded = base64.b64encode(f"ann:{SECRET}".encode()).decode()
        assert SECRET in str(site.asked[-1]) or encoded in str(site.asked[-1])
        assert error.kind == "http_5xx"
        assert SECRET not in str(error)
        assert encoded not in str(error)
        assert error.__cause__ is None
    assert SECRET not in caplog.text


async def test_broken_connections(failing: Call, site: Site) -> None:
    broken: list[tuple[bytes, str]] = [
        (b"", "connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "connection"),
        (b"nonsense\r\n\r\n", "connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", "connection"),
    ]
    for data, kind in broken:
        site.answer = always(data)
        error = await failing("request", url=site.url())
        assert (error.kind, error.retryable) == (kind, True)
    free = socket.socket()
    free.bind(("127.0.0.1", 0))  # taken, and not listening
    with free:
        error = await failing("request", url=f"http://127.0.0.1:{free.getsockname()[1]}/")
    assert (error.kind, error.retryable) == ("connection", True)
    error = await failing("request", url="http://no-such-host.invalid/")
    assert (error.kind, error.retryable) == ("connection", True)
    assert "'no-such-host.invalid' has no address" in str(error)


def certificate(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS with a certificate that nobody has signed."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begin).not_valid_after(begin + timedelta(days=36500))
    made = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(private + made.sign(key, hashes.SHA256()).public_bytes(pem))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.pem")
    return context


async def test_a_certificate_that_is_not_trusted(
    call: Call, failing: Call, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.tools.web import connecting

    server = await asyncio.start_server(site.serve, "127.0.0.1", 0, ssl=certificate(tmp_path))
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}/"
    error = await failing("request", url=url, auth={"bearer": SECRET})
    assert (error.kind, error.retryable) == ("tls", False)
    assert not site.asked
    monkeypatch.setattr(connecting, "_trust", lambda: ssl.create_default_context(cafile=tmp_path / "server.pem"))
    assert (await call("http", "request", url=url))["status"] == 200
    assert (await failing("request", url=url.replace("localhost", "127.0.0.1"))).kind == "tls"  # another name
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("action", ["request", "download"])
async def test_a_server_that_takes_its_time(failing: Call, site: Site, action: str) -> None:
    async def never(_: Asked) -> Answer:
        await asyncio.sleep(5)
        return b""

    site.answer = never
    more = {"path": "x"} if action == "download" else {}
    error = await failing(action, url=site.url(), timeout=0.05, **more)
    assert (error.kind, error.retryable) == ("timeout", True)
    assert "no whole answer after 0.05 s" in str(error)


async def test_limits_of_size(call: Call, failing: Call, site: Site) -> None:
    site.answer = lambda _: (200, {}, b"x" * 100)
    assert (await call("http", "request", url=site.url(), max_bytes=100))["size"] == 100
    assert (await failing("request", url=site.url(), max_bytes=99)).kind == "too_large"
    assert (await failing("download", url=site.url(), path="x", max_bytes=99)).kind == "too_large"
    bomb = gzip.compress(bytes(10_000_000))
    site.answer = lambda _: (200, {"Content-Encoding": "gzip"}, bomb)
    error = await failing("request", url=site.url(), max_bytes=1_000_000)
    assert (error.kind, error.retryable) == ("too_large", False)
    site.answer = lambda _: b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 100  # it tells no length
    assert (await failing("download", url=site.url(), path="x", max_bytes=99)).kind == "too_large"


async def test_what_is_no_json(failing: Call, site: Site) -> None:
    site.answer = lambda _: (200, {"Content-Type": "application/json"}, b"{")
    error = await failing("request", url=site.url())
    assert (error.kind, error.retryable) == ("json", False)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"url": "ftp://example.org/"}, "does not begin with http"),
        ({"url": "file:///etc/passwd"}, "does not begin with http"),
        ({"url": "http:///x"}, "does not begin with http"),
        ({"url": "/x"}, "does not begin with http"),
        ({"url": "http://example.org:port/"}, "is no URL"),
        ({"url": "http://0177.0.0.1/"}, "is no URL"),
        ({"url": "http://a\r\nb/"}, "is no URL"),
        ({"headers": {"X-A": "1\r\nX-B: 2"}}, "holds a line end"),
        ({"headers": {"X-A": "a\0"}}, "holds a line end or a NUL"),
        ({"headers": {"X A": "1"}}, "cannot name a header"),
        ({"headers": {"X-A": "\u20ac"}}, "beyond Latin-1"),
        ({"headers": {"Host": "other"}}, "Host is set by the tool itself"),
        ({"headers": {"transfer-encoding": "chunked"}}, "set by the tool itself"),
        ({"json": 1, "body": "x", "method": "POST"}, "json and body exclude each other"),
        ({"json": 1}, "a GET request has no content"),
        ({"json": float("nan"), "method": "POST"}, "not JSON"),
        ({"params": {"a": {}}}, "a: a parameter is a text"),
        ({"form": {"a": None}, "method": "POST"}, "a: a parameter is a text"),
        ({"auth": {}}, "auth: expected {bearer: TOKEN} or"),
        ({"auth": {"bearer": ""}}, "auth: bearer"),
        ({"auth": {"bearer": "a\r\nb"}}, "the token holds a space"),
        ({"auth": {"basic": {"user": "a"}}}, "auth: basic: {user, password}"),
        ({"auth": {"basic": {"user": "a:b", "password": "c"}}}, "the user holds a colon"),
        ({"auth": {"digest": {}}}, "auth: expected"),
        ({"expect": "ok"}, "'ok' is no status"),
        ({"method": "BREW"}, "method"),
        ({"max_bytes": "many"}, "max_bytes"),
    ],
)
async def test_requests_that_cannot_be(failing: Call, site: Site, given: dict[str, Any], text: str) -> None:
    error = await failing("request", **{"url": site.url(), **given})
    assert (error.kind, error.retryable) == ("parameters", False)
    assert text in str(error)
    assert not site.asked


@pytest.mark.parametrize(
    ("given", "places"),
    [
        ({"url": "ftp://x/"}, [("url",)]),
        ({"url": "{{ a }}", "expect": ["2xx", 999]}, [("expect",)]),
        ({"url": "http://x/", "json": "{{ a }}", "form": {}}, [("form",)]),
        ({"url": "HTTPS://x/", "timeout": -1, "redirects": -1}, [("redirects",), ("timeout",)]),
        ({"url": "http://x/", "sha256": "abc", "path": "x"}, [("sha256",)]),
    ],
)
def test_mistakes_that_are_seen_before_a_run(given: dict[str, Any], places: list[tuple[str, ...]]) -> None:
    action = "download" if "path" in given else "request"
    found = ToolRegistry().check("http", action, given, lambda value: isinstance(value, str) and "{{" in value)
    assert [problem.path for problem in found] == places


async def test_without_the_library(failing: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.tools.web import driver

    monkeypatch.setattr(driver, "find_spec", lambda _: None)
    for action in ("request", "download"):
        error = await failing(action, url="http://x/", **({"path": "x"} if action == "download" else {}))
        assert error.kind == "missing_extra"
        assert "pip install 'durable-orchestrator[http]'" in str(error)


# waiting as asked -------------------------------------------------------------------------------------------------


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    from orchestrator.tools.web import answers

    waits: list[float] = []

    class Quick:
        @staticmethod
        async def sleep(seconds: float) -> None:
            waits.append(seconds)

    monkeypatch.setattr(answers, "asyncio", Quick)
    return waits


@pytest.mark.parametrize("status", [408, 429, 503])
async def test_the_attempt_waits_as_the_server_asks(call: Call, site: Site, slept: list[float], status: int) -> None:
    dated = {"Date": "Fri, 27 Nov 2026 00:00:00 GMT", "Retry-After": "Fri, 27 Nov 2026 00:00:20 GMT"}
    answers = [(status, {"Retry-After": "30"}, b""), (status, dated, b""), (200, {}, b"at last")]
    site.answer = lambda _: answers[len(site.asked) - 1]
    assert (await call("http", "request", url=site.url()))["bytes"] == b"at last"
    assert slept == [30, 20]
    site.asked.clear()
    assert (await call("http", "download", url=site.url(), path="x"))["size"] == 7


async def test_waiting_has_a_limit(failing: Call, site: Site, slept: list[float]) -> None:
    site.answer = lambda _: (429, {"Retry-After": "40"}, b"")
    error = await failing("request", url=site.url())
    assert (error.kind, error.retryable, slept) == ("http_429", True, [40])
    assert "it asks to wait 40 s; `max_wait` leaves 20" in str(error)
    assert (error.kinds, error.retry_after) == (("http_429", "http_4xx"), 40)
    slept.clear()
    assert (await failing("request", url=site.url(), max_wait=0)).kind == "http_429"
    assert slept == []
    site.asked.clear()
    site.answer = lambda _: (503, {"Retry-After": "0"}, b"")  # for ever
    assert (await failing("request", url=site.url())).kind == "http_5xx"
    assert len(site.asked) == 11
    slept.clear()
    for said in ("soon", "-1", "Fri, 27 Nov 2026 00:00:20 GMT", ""):
        site.answer = always((503, {"Retry-After": said}, b""))
        assert (await failing("request", url=site.url())).retry_after is None
    site.answer = lambda _: (404, {"Retry-After": "1"}, b"")
    assert (await failing("request", url=site.url())).retry_after is None
    assert slept == []


# redirects --------------------------------------------------------------------------------------------------------


def redirecting(site: Site, status: int, to: str) -> None:
    site.answer = lambda asked: (status, {"Location": to}, b"") if asked.target.startswith("/old") else jsonly("here")


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [(301, "GET", "GET"), (302, "POST", "GET"), (303, "PUT", "GET"), (307, "POST", "POST"), (308, "GET", "GET")],
)
async def test_redirects_on_one_host(call: Call, site: Site, status: int, method: str, then: str) -> None:
    redirecting(site, status, "/new?key=" + SECRET)
    more = {"json": [1]} if method != "GET" else {}
    found = await call("http", "request", url=site.url("/old"), method=method, auth={"bearer": SECRET}, **more)
    assert found["json"] == "here"
    assert found["url"] == site.url("/new?key=***")
    assert site.asked[1].method == then
    assert site.asked[1].body == (b"[1]" if then == "POST" else b"")
    assert ("content-type" in site.asked[1].headers) == (then == "POST")
    assert site.asked[1].headers["authorization"] == f"Bearer {SECRET}"


async def test_credentials_do_not_follow_to_another_host(call: Call, failing: Call, site: Site) -> None:
    redirecting(site, 302, site.url("/new", host="localhost"))
    headers = {"X-Api-Key": SECRET, "Cookie": SECRET, "Accept": "application/json"}
    for auth in ({"bearer": SECRET}, {"basic": {"user": "a", "password": SECRET}}):
        site.asked.clear()
        await call("http", "request", url=site.url("/old"), headers=headers, auth=auth)
        assert site.asked[1].headers["host"] == f"localhost:{site.port}"
        assert site.asked[1].headers["accept"] == "application/json"
        assert SECRET not in str(site.asked[1])
        assert "authorization" not in site.asked[1].headers
    redirecting(site, 307, site.url("/new", host="localhost"))
    error = await failing("request", url=site.url("/old"), method="POST", form={"password": SECRET})
    assert (error.kind, error.retryable) == ("redirect", False)
    assert "would take its content there" in str(error)


async def test_redirects_that_are_not_followed(call: Call, failing: Call, site: Site) -> None:
    redirecting(site, 302, "/old")
    error = await failing("request", url=site.url("/old"), redirects=3)
    assert (error.kind, len(site.asked)) == ("redirect", 4)
    assert "redirected more than 3 times" in str(error)
    found = await call("http", "request", url=site.url("/old"), redirects=0, expect=302)
    assert found["headers"]["location"] == "/old"
    for to in ("file:///etc/passwd", "ftp://127.0.0.1/", "http://h:port/"):
        redirecting(site, 302, to)
        assert (await failing("request", url=site.url("/old"))).kind == "redirect"
    redirecting(site, 302, "http://[::1]:1/")  # not allowed, unlike 127.0.0.1
    assert (await failing("request", url=site.url("/old"))).kind == "address"


# addresses --------------------------------------------------------------------------------------------------------

CLOSED = [
    "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1",
    "255.255.255.255", "168.63.129.16", "2130706433", "0x7f000001", "127.1", "[::1]", "[::]",
    "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[fec0::1]",
    "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[::127.0.0.1]", "localhost",
]  # fmt: skip


@pytest.mark.parametrize("host", CLOSED)
async def test_addresses_that_are_not_public(failing: Call, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ORCHESTRATOR_ALLOW_HOSTS", raising=False)
    error = await failing("request", url=f"http://{host}:9/")
    assert (error.kind, error.retryable) == ("address", False)
    assert "ORCHESTRATOR_ALLOW_HOSTS" in str(error)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "64:ff9b::5db8:d822", "::ffff:93.184.216.34"])
def test_addresses_that_are_public(address: str) -> None:
    from ipaddress import ip_address

    from orchestrator.tools.web.addresses import why_not

    assert why_not(ip_address(address)) is None


@pytest.mark.parametrize(
    ("allowed", "fits"),
    [
        ("*", True), ("localhost", True), ("LocalHost.", True), ("other, localhost", True), ("127.0.0.0/8", True),
        ("127.0.0.1", True), ("localhost:PORT", True), ("127.0.0.1:PORT", True), ("*:PORT", True),
        ("localhost:1", False), ("127.0.0.1:1", False), ("host", False), ("local*", False), ("10.0.0.0/8", False),
        ("", False), (" , ", False), ("[::1]:PORT", False),
    ],
)  # fmt: skip
async def test_what_is_allowed(
    call: Call, failing: Call, site: Site, monkeypatch: pytest.MonkeyPatch, allowed: str, fits: bool
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ALLOW_HOSTS", allowed.replace("PORT", str(site.port)))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", site.port))])
    if fits:
        assert (await call("http", "request", url=site.url(host="localhost")))["status"] == 200
    else:
        assert (await failing("request", url=site.url(host="localhost"))).kind == "address"


async def test_a_name_that_means_another_address_each_time(
    failing: Call, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rebinding: looked at is public, and what is connected to is what was looked at."""
    import httpcore2

    connected: list[str] = []

    async def connect(_self: Any, host: str, *_: Any, **__: Any) -> Any:
        connected.append(host)
        raise httpcore2.ConnectError("not from a test")

    monkeypatch.setenv("ORCHESTRATOR_ALLOW_HOSTS", "")
    asked: Iterator[str] = iter(["93.184.216.34", "127.0.0.1"])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (next(asked), site.port))])
    monkeypatch.setattr(httpcore2.AnyIOBackend, "connect_tcp", connect)
    assert (await failing("request", url="http://evil.example/")).kind == "connection"
    assert connected == ["93.184.216.34"]
    assert (await failing("request", url="http://evil.example/")).kind == "address"
    both = [(2, 1, 6, "", (address, 80)) for address in ("10.0.0.1", "93.184.216.34", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    await failing("request", url="http://evil.example/")
    assert connected == ["93.184.216.34"] * 2


async def test_proxies_of_the_environment_are_not_used(call: Call, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    assert (await call("http", "request", url=site.url()))["status"] == 200


# downloads --------------------------------------------------------------------------------------------------------

DATA = os.urandom(300_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@dataclass
class FileSite:
    """Answers as a server of files does; ``cut`` breaks the connection after so many bytes of content."""

    data: bytes = DATA
    marks: dict[str, str] = field(default_factory=lambda: {"ETag": '"v1"'})
    cut: int | None = None
    ranges: bool = True

    def __call__(self, asked: Asked) -> Answer:
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", asked.headers.get("range", ""))
        if self.ranges and wanted and asked.headers.get("if-range") in self.marks.values():
            start = int(wanted[1])
            if start >= len(self.data):
                return 416, {"Content-Range": f"bytes */{len(self.data)}"}, b""
        content = self.data[start:]
        lines = [f"Content-Length: {len(content)}", "Content-Type: text/csv"]
        lines += [f"{name}: {value}" for name, value in self.marks.items()]
        if start:
            lines.append(f"Content-Range: bytes {start}-{len(self.data) - 1}/{len(self.data)}")
        head = f"HTTP/1.1 {206 if start else 200} OK\r\n" + "\r\n".join(lines) + "\r\n\r\n"
        return head.encode() + content[: self.cut]


def parts(project: Path) -> list[Path]:
    return list(project.rglob("*.part"))


async def test_a_download(call: Call, site: Site, project: Path, context: Any) -> None:
    site.answer = FileSite()
    found = await call("http", "download", url=site.url("/f?key=" + SECRET), path="in/f.csv", sha256=SHA256.upper())
    assert found == {
        "path": "in/f.csv",
        "size": len(DATA),
        "sha256": SHA256,
        "type": "text/csv",
        "url": site.url("/f?key=***"),
    }
    assert (project / "in" / "f.csv").read_bytes() == DATA
    assert site.asked[0].headers["accept-encoding"] == "identity"
    assert context.written == ["in/f.csv"]
    assert context.reports[-1] == (len(DATA), len(DATA), "downloaded")
    assert not parts(project)
    site.answer = FileSite(b"new")  # a later attempt replaces it
    assert (await call("http", "download", url=site.url("/f"), path="in/f.csv"))["size"] == 3
    assert (project / "in" / "f.csv").read_bytes() == b"new"


@pytest.mark.parametrize("marks", [{"ETag": '"v1"'}, {"Last-Modified": "Fri, 27 Nov 2026 00:00:00 GMT"}])
async def test_a_download_goes_on_where_it_stopped(
    call: Call, failing: Call, site: Site, project: Path, context: Any, marks: dict[str, str]
) -> None:
    site.answer = FileSite(marks=marks, cut=100_000)
    (project / "f").write_text("old")
    error = await failing("download", url=site.url(), path="f")
    assert (error.kind, error.retryable) == ("connection", True)
    assert context.saved["done"] == 100_000
    assert SECRET not in str(context.saved)
    assert (project / "f").read_text() == "old"
    with parts(project)[0].open("ab") as file:
        file.write(b"never synced")  # what was written after the last save counts for nothing
    site.answer = FileSite(marks=marks, cut=50_000)
    await failing("download", url=site.url(), path="f")
    site.answer = FileSite(marks=marks)
    found = await call("http", "download", url=site.url(), path="f", sha256=SHA256)
    assert [asked.headers.get("range") for asked in site.asked] == [None, "bytes=100000-", "bytes=150000-"]
    assert [asked.headers.get("if-range") for asked in site.asked] == [None, *marks.values(), *marks.values()]
    assert (found["size"], found["sha256"]) == (len(DATA), SHA256)
    assert (project / "f").read_bytes() == DATA
    assert not parts(project)


@pytest.mark.parametrize(
    ("then", "ranged"),
    [
        (FileSite(b"y" * 200_000, {"ETag": '"v2"'}), True),  # another version by now
        (FileSite(ranges=False), True),
        (FileSite(b"y" * 1000), True),  # shorter: the range is not satisfiable
        (FileSite(), False),  # the unfinished file is gone
    ],
)
async def test_a_download_that_has_to_begin_anew(
    call: Call, failing: Call, site: Site, project: Path, then: FileSite, ranged: bool
) -> None:
    site.answer = FileSite(cut=100_000)
    await failing("download", url=site.url(), path="f")
    if not ranged:
        parts(project)[0].unlink()
    site.answer = then
    await call("http", "download", url=site.url(), path="f")
    assert ("range" in site.asked[1].headers) == ranged
    assert (project / "f").read_bytes() == then.data


@pytest.mark.parametrize("marks", [{}, {"ETag": 'W/"v1"'}])
async def test_without_a_mark_of_its_version_nothing_is_kept(
    call: Call, failing: Call, site: Site, context: Any, marks: dict[str, str]
) -> None:
    site.answer = FileSite(marks=marks, cut=100_000)
    await failing("download", url=site.url(), path="f")
    assert context.saved is None
    site.answer = FileSite(marks=marks)
    assert (await call("http", "download", url=site.url(), path="f"))["sha256"] == SHA256
    assert "range" not in site.asked[1].headers


async def test_another_url_begins_anew(call: Call, failing: Call, site: Site) -> None:
    site.answer = FileSite(cut=100_000)
    await failing("download", url=site.url("/a"), path="f")
    site.answer = FileSite()
    await call("http", "download", url=site.url("/b"), path="f")
    assert "range" not in site.asked[1].headers


async def test_a_range_that_was_not_asked_for(failing: Call, site: Site, project: Path) -> None:
    site.answer = lambda _: (206, {"Content-Range": "bytes 5-9/10"}, b"56789")
    assert (await failing("download", url=site.url(), path="f")).kind == "http_status"
    assert not (project / "f").exists()


async def test_a_cancelled_download_keeps_what_it_has(call: Call, site: Site, context: Any) -> None:
    arrived = asyncio.Event()
    context.on_progress = lambda: arrived.set() if context.reports[-1][0] == 100_000 else None

    async def halting(asked: Asked) -> Answer:
        if len(site.asked) > 1:
            return FileSite()(asked)
        return b'HTTP/1.1 200 OK\r\nETag: "v1"\r\nContent-Length: 300000\r\n\r\n' + DATA[:100_000]

    site.answer = halting
    task = asyncio.ensure_future(call("http", "download", url=site.url(), path="f"))
    await asyncio.wait([task, asyncio.ensure_future(arrived.wait())], return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
    await asyncio.wait([task])
    assert context.saved["done"] == 100_000
    assert (await call("http", "download", url=site.url(), path="f"))["sha256"] == SHA256
    assert site.asked[1].headers["range"] == "bytes=100000-"


async def test_progress_is_saved_on_the_way(
    call: Call, site: Site, context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.tools.web import downloading

    monkeypatch.setattr(downloading, "SAVE_EVERY", 100_000)
    site.answer = FileSite()
    await call("http", "download", url=site.url(), path="f")
    assert 1 <= len(context.saves) <= 3
    assert context.saves[0]["done"] >= 100_000


async def test_a_file_of_another_content_is_refused(
    failing: Call, call: Call, site: Site, project: Path, context: Any
) -> None:
    site.answer = FileSite()
    error = await failing("download", url=site.url(), path="f", sha256="0" * 64)
    assert (error.kind, error.retryable, context.saved) == ("digest", True, None)
    assert not (project / "f").exists()
    assert (await failing("download", url=site.url(), path="f", sha256="abc")).kind == "parameters"
    assert (await call("http", "download", url=site.url(), path="f", sha256=SHA256))["size"] == len(DATA)
    assert "range" not in site.asked[-1].headers


async def test_a_compressed_file_is_unpacked(call: Call, site: Site, project: Path) -> None:
    packed = gzip.compress(DATA)
    site.answer = lambda _: (200, {"Content-Encoding": "gzip", "ETag": '"v1"'}, packed)
    assert (await call("http", "download", url=site.url(), path="f", sha256=SHA256))["size"] == len(DATA)
    assert (project / "f").read_bytes() == DATA


@pytest.mark.parametrize("path", ["../f", "/etc/f", ".orchestrator/f", ".", "folder", "link"])
async def test_places_that_nothing_is_downloaded_to(failing: Call, site: Site, project: Path, path: str) -> None:
    (project / "folder").mkdir()
    (project / "link").symlink_to("folder/x")
    assert (await failing("download", url=site.url(), path=path)).kind == "path"
    assert not site.asked
    assert not parts(project)


# in a pipeline ----------------------------------------------------------------------------------------------------


async def test_the_example_of_the_documentation(site: Site, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the engine: the first answer fails, the first download is cut off, and the retries make up for it."""
    page = (Path(__file__).parents[3] / "docs" / "tools.md").read_text("utf-8")
    text = (
        page.partition("# harvest.yaml\n")[2]
        .partition("```")[0]
        .replace("2s", "0.01s")
        .replace("retry: 5", "retry: {max_attempts: 5, delay: 0.01}")
    )
    monkeypatch.chdir(project)
    (project / "orchestrator.toml").write_text(f'store = "memory://"\nallow_hosts = ["127.0.0.1:{site.port}"]\n')
    (project / "harvest.yaml").write_text(text)
    monkeypatch.delenv("ORCHESTRATOR_ALLOW_HOSTS")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("data.bin", DATA)
    served = FileSite(packed.getvalue(), cut=100_000)

    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            return jsonly({"id": 7}) if len(site.asked) > 1 else (503, {}, b"")
        found = served(asked)
        served.cut = None
        return found

    site.answer = answer
    import orchestrator as orc

    result = await orc.compile("harvest.yaml").run(site=site.url("").rstrip("/"))
    assert result.outputs == {"files": ["in/export/data.bin"]}
    assert [asked.method for asked in site.asked] == ["POST", "POST", "GET", "GET"]
    assert len({asked.headers["idempotency-key"] for asked in site.asked[:2]}) == 1
    assert site.asked[3].headers["range"] == "bytes=100000-"
    assert (project / "in" / "export" / "data.bin").read_bytes() == DATA
