"""Listing a folder by pattern."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Any

from orchestrator.errors import TaskError
from orchestrator.tools.fileerrors import os_refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.tools.paths import Place

_TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def entries(place: Place, pattern: str, *, recursive: bool, hidden: bool, limit: int) -> list[dict[str, Any]]:
    """Return what is in the folder ``place.folder`` and matches, sorted by path.

    A pattern without `/` is matched against the name, one with it against the path below the folder.
    """
    expression = re.compile(glob_expression(pattern))
    whole = "/" in pattern
    prefix = "" if place.path == "." else f"{place.path}/"
    found: list[dict[str, Any]] = []
    for below, name, about in _walk(place, recursive=recursive, hidden=hidden or pattern.startswith(".")):
        if expression.fullmatch(below if whole else name):
            kind = _TYPES.get(stat.S_IFMT(about.st_mode), "other")
            size = about.st_size if kind == "file" else 0
            found.append({"path": prefix + below, "name": name, "type": kind, "size": size})
            if len(found) > limit:
                raise TaskError(
                    f"{place.path!r} has more than {limit:,} entries that match {pattern!r}; "
                    "narrow the pattern, or raise `limit`",
                    kind="too_large",
                    retryable=False,
                )
    return sorted(found, key=lambda entry: str(entry["path"]))


def _walk(place: Place, *, recursive: bool, hidden: bool) -> Iterator[tuple[str, str, os.stat_result]]:
    """Yield path below the folder, name and stat of everything in it; symlinks are not followed."""
    waiting = [""]
    while waiting:
        above = waiting.pop()
        descriptor = _descend(place.folder, above)
        if descriptor is None:
            continue
        try:
            for name in os.listdir(descriptor):  # noqa: PTH208 - an open folder has no path
                about = None if name.startswith(".") and not hidden else _stat(name, descriptor)
                if about is None:
                    continue
                yield above + name, name, about
                if recursive and stat.S_ISDIR(about.st_mode):
                    waiting.append(f"{above}{name}/")
        finally:
            os.close(descriptor)


def _descend(folder: int, below: str) -> int | None:
    """Open a folder component by component; None if it is gone, or no longer a folder."""
    descriptor = os.dup(folder)
    for name in below.split("/")[:-1]:
        try:
            inner = os.open(name, _FOLDER, dir_fd=descriptor)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise os_refused(below, error) from error
        finally:
            os.close(descriptor)
        descriptor = inner
    return descriptor


def _stat(name: str, folder: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None  # gone since


def glob_expression(pattern: str) -> str:
    """Return a pattern as a regular expression: `*` and `?` stay within a name, `**/` is any number of folders."""
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        if pattern.startswith("**/", position):
            parts.append("(?:.*/)?")
            position += 3
        elif pattern.startswith("**", position):
            parts.append(".*")
            position += 2
        elif pattern[position] == "[" and (end := pattern.find("]", position + 2)) > 0:
            inner = pattern[position + 1 : end].replace("\\", "\\\\")
            parts.append(f"[{'^' + inner[1:] if inner[0] == '!' else inner}]")
            position = end + 1
        else:
            parts.append({"*": "[^/]*", "?": "[^/]"}.get(pattern[position], re.escape(pattern[position])))
            position += 1
    return "(?s:" + "".join(parts) + ")"
