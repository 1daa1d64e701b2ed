"""What is sent: a request made of what a step gives, and what becomes of it when it is redirected."""

from __future__ import annotations

import base64
import json as jsonlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import httpx2

from orchestrator.errors import TaskError
from orchestrator.tools.web.urls import is_secret, query_secrets, redacted, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
"""Methods that may be sent twice as they are (RFC 9110, 9.2.2)."""

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
_HARMLESS = frozenset({"accept", "accept-language", "content-type", "if-range", "range", "user-agent"})
"""Headers that follow a redirect to another origin. Any other one may be a credential by the service's own name."""
_CREDENTIALS = frozenset({"authorization", "cookie", "proxy-authorization"})


@dataclass(frozen=True, slots=True)
class Call:
    """A request: header names are in lower case, ``secrets`` are the texts that no message may show."""

    method: str
    url: httpx2.URL
    headers: Mapping[str, str]
    content: bytes | None = None
    secrets: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The URL as people may see it."""
        return shown(str(self.url))

    def masked(self, text: str) -> str:
        """Return a text without the request's secrets."""
        return redacted(text, self.secrets)

    def with_headers(self, **headers: str) -> Call:
        """Return this call with more headers; ``if_range`` stands for If-Range."""
        return replace(self, headers={**self.headers, **{name.replace("_", "-"): headers[name] for name in headers}})

    def redirected(self, status: int, location: str) -> Call:
        """Return the call that a redirect asks for; raise TaskError (kind ``redirect``) if it is not to be made.

        301, 302 and 303 turn a method with content into GET, as browsers do. Another origin gets neither credentials
        nor content; only the step from http to https on one host counts as the same.
        """
        try:
            url = address(str(self.url.join(location)))
        except (httpx2.InvalidURL, TaskError) as error:
            text = error.message if isinstance(error, TaskError) else "the address is no URL"
            raise TaskError(
                f"{self.method} {self.shown} is redirected to where no request goes: {text}",
                kind="redirect",
                retryable=False,
            ) from None
        url = url.copy_with(userinfo=b"", fragment=None)
        call = replace(self, url=url, secrets=(*self.secrets, *query_secrets(str(url))))
        if status in (301, 302, 303) and self.method not in ("GET", "HEAD"):
            headers = {name: value for name, value in self.headers.items() if name != "content-type"}
            call = replace(call, method="GET", content=None, headers=headers)
        if _same_origin(self.url, url):
            return call
        if call.content is not None:
            raise TaskError(
                f"{self.method} {self.shown} is redirected to another host, {call.shown}, and would take its content "
                "there; name that URL in the step if it is the right one",
                kind="redirect",
                retryable=False,
            )
        return replace(call, headers={name: value for name, value in self.headers.items() if name in _HARMLESS})


def address(url: str) -> httpx2.URL:
    """Return a URL that a request can go to; raise TaskError (kind ``parameters``) otherwise."""
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError):
        raise wrong(f"url: {shown(url)!r} is no URL") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise wrong(f"url: {shown(url)!r} does not begin with http:// or https:// and a host")
    return parsed


def make(
    method: str,
    url: str,
    params: Mapping[str, Any] | None,
    headers: Mapping[str, Any] | None,
    auth: Mapping[str, Any] | None,
) -> Call:
    """Return a call without content; raise TaskError (kind ``parameters``) for what cannot be sent."""
    target = address(url)
    user, password = target.username, target.password
    target = target.copy_with(userinfo=b"", fragment=None)
    if params:
        target = target.copy_merge_params({name: _values(name, value) for name, value in params.items()})
    sent = {"accept": "*/*", "user-agent": "durable-orchestrator", **_headers(headers or {})}
    secrets = [value for name, value in sent.items() if name in _CREDENTIALS or is_secret(name)]
    secrets += [part for value in secrets for part in value.split()[1:]]
    if auth is None and (user or password):
        auth = {"basic": {"user": user, "password": password}}
    if auth is not None:
        value, given = _authorization(auth)
        sent["authorization"] = value
        secrets += [*given, value.partition(" ")[2]]
    return Call(method, target, sent, None, (*secrets, *query_secrets(str(target))))


def with_content(call: Call, json: Any, body: str | bytes | None, form: Mapping[str, Any] | None) -> Call:
    """Return the call with its content; at most one of the three may be given."""
    given = [name for name, value in (("json", json), ("body", body), ("form", form)) if value is not None]
    if not given:
        return replace(call, content=b"") if call.method in ("POST", "PUT", "PATCH") else call
    if len(given) > 1:
        raise wrong(f"{' and '.join(given)} exclude each other: a request has one content")
    if call.method in ("GET", "HEAD"):
        raise wrong(f"{given[0]}: a {call.method} request has no content; `params` go into its URL")
    secrets = call.secrets
    if json is not None:
        try:
            content, kind = jsonlib.dumps(json, ensure_ascii=False, allow_nan=False).encode(), "application/json"
        except (TypeError, ValueError, RecursionError) as error:
            raise wrong(f"json: not JSON: {error}") from None
    elif form is not None:
        pairs = {name: _values(name, value) for name, value in form.items()}
        content, kind = urlencode(pairs, doseq=True).encode(), "application/x-www-form-urlencoded"
        secrets = (*secrets, *(str(value) for name, value in form.items() if is_secret(name)))
    elif isinstance(body, str):
        content, kind = body.encode(), "text/plain; charset=utf-8"
    else:
        content, kind = body or b"", "application/octet-stream"
    return replace(call, content=content, headers={"content-type": kind, **call.headers}, secrets=secrets)


def header_text(text: str) -> str:
    """Return any text as one that a header can hold: what is not visible ASCII is percent-encoded."""
    return quote(text, safe="/!#$&'()*+,:;=?@[]~")


def wrong(message: str) -> TaskError:
    """Return the error for parameters that no request can be made of."""
    return TaskError(message, kind="parameters", retryable=False)


def auth_mismatch(auth: Mapping[str, Any]) -> str | None:
    """Return what is wrong with how a step says who it is; None if nothing is."""
    kinds = list(auth)
    if kinds == ["bearer"]:
        return None if isinstance(auth["bearer"], str) and auth["bearer"] else "bearer: a token is a text"
    if kinds == ["basic"]:
        basic = auth["basic"]
        right = isinstance(basic, dict) and set(basic) == {"user", "password"}
        return None if right and all(isinstance(part, str) for part in basic.values()) else "basic: {user, password}"
    return "expected {bearer: TOKEN} or {basic: {user: NAME, password: PASSWORD}}"


def _authorization(auth: Mapping[str, Any]) -> tuple[str, list[str]]:
    message = auth_mismatch(auth)
    if message is not None:
        raise wrong(f"auth: {message}")
    if "bearer" in auth:
        token = auth["bearer"]
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise wrong("auth: bearer: the token holds a space, a line end, or what is not ASCII")
        return f"Bearer {token}", [token]
    user, password = auth["basic"]["user"], auth["basic"]["password"]
    if ":" in user or any(ord(sign) < 0x20 for sign in user + password):  # noqa: PLR2004 - control characters
        raise wrong("auth: basic: the user holds a colon, or one of the two a control character")
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode(), [password]


def _headers(given: Mapping[str, Any]) -> dict[str, str]:
    sent = {}
    for name, value in given.items():
        if not _NAME.fullmatch(name):
            raise wrong(f"headers: {name!r} cannot name a header")
        if name.lower() in _OWN:
            raise wrong(f"headers: {name} is set by the tool itself")
        text = _text(value).strip(" \t")
        if any(sign in text for sign in "\r\n\0"):
            raise wrong(f"headers: the value of {name} holds a line end or a NUL character")
        try:
            text.encode("latin-1")
        except UnicodeEncodeError:
            raise wrong(f"headers: the value of {name} holds characters beyond Latin-1") from None
        sent[name.lower()] = text
    return sent


def _values(name: str, value: Any) -> str | list[str]:
    if isinstance(value, list):
        return [_single(name, each) for each in value]
    return _single(name, value)


def _single(name: str, value: Any) -> str:
    if not isinstance(value, (str, int, float, bool)):
        raise wrong(f"{name}: a parameter is a text, a number, true or false, or a list of these")
    return _text(value)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _same_origin(one: httpx2.URL, other: httpx2.URL) -> bool:
    def origin(url: httpx2.URL) -> tuple[str, str, int]:
        return url.scheme, url.host, url.port or {"http": 80, "https": 443}[url.scheme]

    upgraded = origin(one) == ("http", other.host, 80) and origin(other) == ("https", one.host, 443)
    return origin(one) == origin(other) or upgraded
