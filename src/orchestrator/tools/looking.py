"""Looking at files: what is there, and is it what was there before. Nothing is changed, and only digests are kept."""

# Paths are looked at as they are written, links and all, and may be anywhere:
# ruff: noqa: PTH100, PTH118, PTH116

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from orchestrator.domain.files import FileSeen, missing
from orchestrator.errors import TaskError
from orchestrator.tools import left, listing
from orchestrator.tools.atomic import sha256_of
from orchestrator.tools.paths import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.ports.context import TaskContext

MOST_MATCHES = 10_000
"""Files that one pattern may match: each is read whole, and named in the journal."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class ProjectFiles:
    """Looks at files of this machine; fills the port ``Files``."""

    def look(self, project: Path, path: str, known: FileSeen | None = None) -> FileSeen:
        """Return what is at ``path`` now; see the port.

        Symlinks are followed. A folder, a FIFO or a device is never opened. A name that is no text in UTF-8 cannot be
        kept: such a file is missing. So is a pattern that matches too much.
        """
        try:
            full = _full(project, path)
        except ValueError:
            return missing(path.encode("utf-8", "backslashreplace").decode())
        if is_pattern(path) and not os.path.lexists(full):
            return _listing(project, path)
        shown = _shown(project, full)
        try:
            if not stat.S_ISREG(os.stat(full).st_mode):
                return missing(shown)
            descriptor = os.open(full, _FILE)
        except OSError:
            return missing(shown)
        try:
            return _seen(shown, descriptor, known)
        except OSError:
            return missing(shown)
        finally:
            os.close(descriptor)

    def hold(self, project: Path, paths: Sequence[str], execution_id: str) -> None:
        """Keep files that an execution left behind for another one too; see the port."""
        left.hold(project, paths, execution_id)


def _listing(project: Path, pattern: str) -> FileSeen:
    """Return what a pattern matches as if it were a file that lists it: so a new match is noticed."""
    try:
        names = matches(project, pattern)
    except TaskError:
        return missing(pattern)
    return FileSeen(pattern, len(names), 0, hashlib.sha256("\0".join(names).encode()).hexdigest())


@runtime_checkable
class TakesSeen(Protocol):
    """What a context can do besides: take what a shipped tool has looked at by itself."""

    def saw(self, file: FileSeen) -> None:
        """Take over a file that was read."""

    def wrote(self, file: FileSeen) -> None:
        """Take over a file as it was written."""


def tell_read(context: TaskContext, place: Place, about: os.stat_result, sha256: str) -> None:
    """Tell that a file was read, whose digest is known; ``about`` is what it was when it was opened."""
    if isinstance(context, TakesSeen):
        context.saw(FileSeen(place.path, about.st_size, about.st_mtime_ns, sha256))
    else:
        context.reads(place.full)


def tell_written(context: TaskContext, place: Place, about: os.stat_result, sha256: str) -> None:
    """Tell that a file was written, whose digest is known; ``about`` is what it was once all was written."""
    if isinstance(context, TakesSeen):
        context.wrote(FileSeen(place.path, about.st_size, about.st_mtime_ns, sha256))
    else:
        context.writes(place.full)


def is_pattern(path: str) -> bool:
    """Tell whether a path is a pattern: it holds ``*``, ``?`` or ``[``."""
    return any(sign in path for sign in "*?[")


def matches(project: Path, pattern: str) -> list[str]:
    """Return the paths of the files that match, sorted; a file whose name is the pattern itself is the only match.

    ``*`` and ``?`` stay within a name, ``**`` is any number of folders; hidden files are matched only by a name that
    begins with a dot. Links to files count, links to folders are not followed. Raise TaskError (kind
    ``too_large``) for more than ``MOST_MATCHES``.
    """
    try:
        if not is_pattern(pattern) or os.path.lexists(_full(project, pattern)):
            return [pattern]
        base, below = _split(pattern)
        descriptor = os.open(_full(project, base), _FOLDER)
    except (OSError, ValueError):
        return []
    try:
        place = Place(descriptor, ".", base.removesuffix("/") if base != "/" else "", Path(base))
        found = listing.entries(place, below, recursive="/" in below or "**" in below, hidden=False, limit=MOST_MATCHES)
    except re.error as error:
        raise TaskError(f"{pattern!r} is no pattern: {error}", kind="pattern", retryable=False) from None
    except TaskError as error:
        if error.kind != "too_large":
            raise
        raise TaskError(
            f"{pattern!r} matches more than {MOST_MATCHES:,} files; name fewer, or one file that stands for them all",
            kind="too_large",
            retryable=False,
        ) from None
    finally:
        os.close(descriptor)
    return [entry["path"] for entry in found if entry["type"] in {"file", "link"}]


def _split(pattern: str) -> tuple[str, str]:
    """Return the folder that a pattern begins in, and what is below it."""
    folder, _, below = pattern.rpartition("/")
    while is_pattern(folder):
        folder, _, last = folder.rpartition("/")
        below = f"{last}/{below}"
    return folder or ("/" if pattern.startswith("/") else "."), below


def _full(project: Path, path: str) -> str:
    if "\0" in path:
        raise ValueError("a path holds a NUL character")
    full = os.path.join(os.path.abspath(project), path)
    if ".." in full.split("/"):  # what a name before it is decides where it leads
        folder, name = os.path.split(full)
        full = os.path.realpath(full) if name in {"..", ""} else os.path.join(os.path.realpath(folder), name)
    full.encode()  # UnicodeEncodeError is a ValueError, too
    return os.path.normpath(full)


def _shown(project: Path, full: str) -> str:
    for root in (os.path.abspath(project), os.path.realpath(project)):
        if full.startswith(os.path.join(root, "")):
            return os.path.relpath(full, root)
    return full


def _seen(shown: str, descriptor: int, known: FileSeen | None) -> FileSeen:
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        return missing(shown)
    if known is not None and known.there and (known.size, known.modified) == (about.st_size, about.st_mtime_ns):
        return FileSeen(shown, about.st_size, about.st_mtime_ns, known.digest)
    return FileSeen(shown, about.st_size, about.st_mtime_ns, sha256_of(descriptor))
