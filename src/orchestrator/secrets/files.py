"""Secrets in files: one file of ``NAME=value`` lines, or a folder with a file for each, as containers mount them.

A file that others may read is refused, unless its mount is read-only: there the modes are whoever mounts it chooses.
One that others may write is refused always. No message ever shows a line.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 1 << 20
"""A larger file is refused."""
_LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z0-9_][A-Za-z0-9_.-]*)\s*=[ \t]*(.*?)\s*", re.DOTALL)
_QUOTED = re.compile(r"\"((?:[^\"\\]|\\.)*)\"\s*(?:#.*)?|'([^']*)'\s*(?:#.*)?", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


class SecretFiles:
    """The secrets at ``path``, a file or a folder; read anew when they have changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: tuple[tuple[int, ...], dict[str, str]] | None = None

    def names(self) -> list[str]:
        """Return the names there are; raises UsageError as ``get`` does."""
        if self.path.is_dir():
            return sorted(each.name for each in self.path.iterdir() if each.is_file() and each.name[0] != ".")
        return sorted(self._entries())

    def where(self, name: str) -> str:
        """Return where a secret would stand, for people."""
        return str(self.path / name) if self.path.is_dir() else f"the line {name}=... of {self.path}"

    def get(self, name: str) -> str | None:
        """Return a secret, None if it is not there; raises UsageError for a file that cannot or must not be read."""
        if not self.path.is_dir():
            return self._entries().get(name)
        read = _read(self.path / name)
        if read is None:
            return None
        text = read[0]
        return text.removesuffix("\n").removesuffix("\r")

    def _entries(self) -> dict[str, str]:
        read = _read(self.path, self._known[0] if self._known is not None else None)
        if read is None:
            raise UsageError(f"secrets_file: there is no {self.path}")
        text, state = read
        if self._known is None or self._known[0] != state:
            self._known = state, parsed(text, str(self.path))
        return self._known[1]


def _read(path: Path, known: tuple[int, ...] | None = None) -> tuple[str, tuple[int, ...]] | None:
    """Return the text of a file and what tells it from a later one; no text if it is the one that is known."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"secrets: {path} cannot be read: {error.strerror}") from error
    try:
        about = os.fstat(descriptor)
        _check(path, about, read_only=bool(os.fstatvfs(descriptor).f_flag & os.ST_RDONLY))
        state = about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns
        if state == known:
            return "", state
        with os.fdopen(os.dup(descriptor), "rb") as file:
            return file.read(MAX_BYTES).decode(), state
    except UnicodeDecodeError:
        raise UsageError(f"secrets: {path} is no text in UTF-8") from None
    finally:
        os.close(descriptor)


def _check(path: Path, about: os.stat_result, *, read_only: bool) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise UsageError(f"secrets: {path} is no file")
    if about.st_size > MAX_BYTES:
        raise UsageError(f"secrets: {path} is larger than {MAX_BYTES:,} bytes")
    if about.st_uid not in (os.geteuid(), 0):
        raise UsageError(f"secrets: {path} belongs to another user")
    others = about.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    if others and not read_only:
        raise UsageError(
            f"secrets: {path} may be used by others (mode {stat.S_IMODE(about.st_mode):04o}): chmod 600 {path}"
        )


def parsed(text: str, name: str) -> dict[str, str]:
    r"""Return the entries of ``NAME=value`` lines; raises UsageError with the number of a line that is none.

    ``#`` begins a comment line, ``export`` may stand before a name. A value stands as it is, in single quotes (taken
    literally, over several lines if need be) or in double quotes (``\n``, ``\"`` and ``\\`` mean what they usually do).

    >>> parsed('A=1\n# no\nexport B="x\\ny"\n', "file")
    {'A': '1', 'B': 'x\ny'}
    """
    found: dict[str, str] = {}
    lines = text.splitlines(keepends=True)
    number = 0
    while number < len(lines):
        first, line = number + 1, lines[number]
        number += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise UsageError(f"secrets: {name}, line {first}: expected NAME=value")
        key, value = match[1], match[2]
        if value[:1] in ("'", '"'):
            while (quoted := _QUOTED.fullmatch(value)) is None:
                if number == len(lines):
                    raise UsageError(
                        f"secrets: {name}, line {first}: the value of {key} does not end where its quotes do"
                    )
                value = line.partition("=")[2].lstrip(" \t").rstrip() if number == first else value
                line += lines[number]
                number += 1
                value = line.partition("=")[2].strip()
            escaped, literal = quoted[1], quoted[2]
            value = literal if escaped is None else re.sub(r"\\(.)", _unescaped, escaped, flags=re.DOTALL)
        if key in found:
            raise UsageError(f"secrets: {name}, line {first}: {key} is there twice")
        found[key] = value
    return found


def _unescaped(match: re.Match[str]) -> str:
    return _ESCAPES.get(match[1], match[1])
