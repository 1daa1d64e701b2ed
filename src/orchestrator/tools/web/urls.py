"""URLs as people may see them: without credentials."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

_SECRET = re.compile(r"token|key|secret|pass|pwd|auth|sig|credential|session|jwt", re.IGNORECASE)
_HIDDEN = "***"
_SHORTEST = 4
"""Shorter texts are not looked for in messages: they stand in every second word."""


def shown(url: str) -> str:
    """Return a URL without user, password and fragment, and with the values of telling query names masked.

    >>> shown("https://ann:pw@example.org/a?page=2&api_key=k1#top")
    'https://example.org/a?page=2&api_key=***'
    """
    try:
        parts = urlsplit(url)
        place = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "the URL"
    query = "&".join(_masked(pair) for pair in parts.query.split("&")) if parts.query else ""
    return urlunsplit((parts.scheme, place, parts.path, query, ""))


def query_secrets(url: str) -> list[str]:
    """Return the values that ``shown`` masks in the query, as they are meant."""
    try:
        pairs = [pair.partition("=") for pair in urlsplit(url).query.split("&")]
    except ValueError:
        return []
    return [unquote_plus(value) for name, _, value in pairs if is_secret(unquote_plus(name))]


def is_secret(name: str) -> bool:
    """Tell whether something of this name (a query's parameter, a header) is likely to be a secret."""
    return _SECRET.search(name) is not None


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return a text with what is known to be secret masked."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, _HIDDEN)
    return text


def _masked(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}={_HIDDEN}" if equals and is_secret(unquote_plus(name)) else pair
