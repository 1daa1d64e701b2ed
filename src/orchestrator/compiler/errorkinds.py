"""Kinds of error that `retry.on` names: which are known, and what a mistyped one may have meant."""

from __future__ import annotations

import re
from difflib import get_close_matches

KNOWN = ("busy", "changed", "connection", "digest", "exit", "io", "memory", "not_found", "timeout")
"""Kinds of the shipped tools' errors that a later attempt may not meet; those of `http` besides are in ``_HTTP``."""

_HTTP = re.compile(r"http_([1-5]\d\d|[45]xx|status)")
_MEANT_HTTP = re.compile(r"(?:https?)?(?:status|error|code)?([45](?:xx|\d\d))s?")
_ANY_HTTP = re.compile(r"https?_?\d\w*")
_CLASS = re.compile(r"[A-Z]+[a-z]\w*")
_NEAR = 0.88


def mistyped(kind: str) -> str | None:
    """Return what a kind of error was probably meant to be, as a hint; None for a known one, or one of the user's own.

    Tools may name kinds as they like, so that only what is nearly a known one is told. A name that begins like a class
    is one.

    >>> mistyped("http5xx"), mistyped("time_out"), mistyped("my_kind"), mistyped("http_503")
    ("did you mean 'http_5xx'?", "did you mean 'timeout'?", None, None)
    """
    if kind in KNOWN or _HTTP.fullmatch(kind) or _CLASS.fullmatch(kind):
        return None
    plain = re.sub(r"[^a-z0-9]", "", kind.lower())
    if match := _MEANT_HTTP.fullmatch(plain):
        return f"did you mean {f'http_{match[1]}'!r}?"
    if _ANY_HTTP.fullmatch(kind.lower()):
        return "a status is named like http_503, a class of them http_4xx or http_5xx"
    flat = {known.replace("_", ""): known for known in KNOWN}
    near = [plain] if plain in flat else get_close_matches(plain, flat, n=1, cutoff=_NEAR)
    return f"did you mean {flat[near[0]]!r}?" if near else None
