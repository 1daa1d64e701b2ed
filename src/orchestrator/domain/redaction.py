"""Values of secrets, found in whatever is about to be kept or shown, and replaced by ``***``.

A value is looked for as it is and in the forms it takes on its way through tools: quoted for JSON, Python, HTML and
URLs, in hexadecimal, and in base64 at any offset (as ``user:password`` is in a header). A value of several lines is
looked for line by line as well, as a log has it. What is computed of a secret otherwise (a digest, a part of it,
compressed or encrypted data) is not recognised.
"""

from __future__ import annotations

import base64
import html
import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from orchestrator.domain.events import ErrorInfo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MASK = "***"
LEAST = 4
"""A shorter value is refused: it would be found everywhere."""
SHORT = 8
"""A shorter value is warned of: it may be found where it does not stand for the secret."""


class Redactor:
    """Knows the values that must not be seen; any thread may use it, and it never forgets one."""

    __slots__ = ("__weakref__", "_pattern", "_raw_pattern", "_values")

    def __init__(self) -> None:
        self._values: frozenset[str] = frozenset()
        self._pattern = re.compile("(?!)")
        self._raw_pattern = re.compile(b"(?!)")

    @property
    def active(self) -> bool:
        """Whether there is anything to look for."""
        return bool(self._values)

    def learn(self, values: Iterable[str]) -> None:
        """Look for these values, too."""
        new = frozenset(values) - self._values
        if not new:
            return
        known = self._values | new
        found = {form for value in known for form in forms(value)}
        longest_first = sorted(found, key=lambda form: (-len(form), form))
        raw = [form.encode("utf-8", "surrogatepass") for form in longest_first]
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))
        self._raw_pattern = re.compile(b"|".join(map(re.escape, raw)))
        self._values = known

    def found_in(self, data: bytes) -> bool:
        """Tell whether bytes hold a value in any of its forms."""
        return self._raw_pattern.search(data) is not None

    def text(self, text: str) -> str:
        """Return a text without values of secrets."""
        return self._pattern.sub(MASK, text)

    def value(self, value: Any) -> Any:
        """Return a value without values of secrets, through mappings, their keys, lists, tuples, sets and paths.

        Of another type it is returned as it is: who keeps it looks at its bytes as well.
        """
        kind = type(value)
        if kind is str:
            return self.text(value)
        if kind is dict:
            return {self.value(key): self.value(item) for key, item in value.items()}
        if kind in (list, tuple, set, frozenset):
            return kind([self.value(item) for item in value])
        if kind in (bytes, bytearray):
            return kind(self._raw_pattern.sub(MASK.encode(), bytes(value))) if self.found_in(value) else value
        if hasattr(kind, "__fspath__"):  # a path
            return kind(self.text(str(value)))
        return value

    def error(self, error: ErrorInfo) -> ErrorInfo:
        """Return an error without values of secrets."""
        return error._replace(
            kind=self.text(error.kind), message=self.text(error.message), trace=self.text(error.trace)
        )


def forms(value: str) -> set[str]:
    """Return a value of a secret in all the forms in which it is looked for."""
    parts = {value, *(line.strip() for line in value.splitlines() if len(line.strip()) >= SHORT)}
    return {form for part in parts for form in _written(part) if len(form) >= LEAST}


def _written(value: str) -> Iterator[str]:
    yield value
    for escaped in (json.dumps(value), json.dumps(value, ensure_ascii=False), repr(value), ascii(value)):
        yield escaped[1:-1]
    yield json.dumps(json.dumps(value))[3:-3]  # JSON inside JSON
    yield json.dumps(value)[1:-1].replace("/", "\\/")
    yield html.escape(value)
    yield html.escape(value, quote=False)
    raw = value.encode("utf-8", "surrogatepass")
    yield repr(raw)[2:-1]
    for quoted in (quote(raw), quote(raw, safe=""), quote_plus(raw), quote_plus(raw, safe="/")):
        yield quoted
        yield re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quoted)
    yield raw.hex()
    yield raw.hex().upper()
    for encoded in _base64(raw):
        yield encoded
        yield encoded.replace("+", "-").replace("/", "_")


def _base64(raw: bytes) -> Iterator[str]:
    """Yield what a value always gives in base64 where 0, 1 or 2 bytes stand before it in its group of three."""
    yield base64.b64encode(raw).decode().rstrip("=")
    for before, touched in ((0, 0), (1, 2), (2, 3)):
        whole = (before + len(raw)) * 8 // 6
        yield base64.b64encode(bytes(before) + raw).decode()[touched:whole]
