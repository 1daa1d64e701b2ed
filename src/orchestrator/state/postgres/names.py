"""Names in the database: text as it is, but for what PostgreSQL's text cannot hold."""

from __future__ import annotations

import re
from typing import overload

_ODD = re.compile("[\\\\\x00\ud800-\udfff]")
_WRITTEN = re.compile(r"\\([0-9a-f]+);")


@overload
def to_text(name: str) -> str: ...
@overload
def to_text(name: None) -> None: ...


def to_text(name: str | None) -> str | None:
    r"""Return the name as it is stored: NUL, lone surrogates and the backslash as ``\0;``, ``\dc80;``, ``\5c;``.

    >>> to_text("a" + chr(0))
    'a\\0;'
    """
    if name is None or not _ODD.search(name):
        return name
    return _ODD.sub(lambda found: f"\\{ord(found[0]):x};", name)


@overload
def from_text(text: str) -> str: ...
@overload
def from_text(text: None) -> None: ...


def from_text(text: str | None) -> str | None:
    """Return the name that ``to_text`` stored."""
    if text is None or "\\" not in text:
        return text
    return _WRITTEN.sub(lambda found: chr(int(found[1], 16)), text)
