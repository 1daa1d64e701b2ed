"""Making archives: the same files give the same bytes, whoever packs them and when."""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import tarfile
import zipfile
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, Any, NamedTuple, Self

from orchestrator.errors import TaskError
from orchestrator.tools.archives.formats import zstd
from orchestrator.tools.fileerrors import cancelled, refused
from orchestrator.tools.listing import entries
from orchestrator.tools.looking import MOST_MATCHES, is_pattern, matches, tell_read
from orchestrator.tools.paths import STORE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from types import TracebackType

    from orchestrator.ports.context import TaskContext
    from orchestrator.tools.archives.formats import Format
    from orchestrator.tools.paths import Place, Sandbox

_CHUNK = 1 << 20
_LEVEL = 6
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that zip knows; every file in an archive has it."""


class Source(NamedTuple):
    """A file to pack: its name in the archive, and its path."""

    name: str
    path: str


def sources(sandbox: Sandbox, paths: Sequence[str], base: Path, output: Place, *, hidden: bool) -> list[Source]:
    """Return what is to be packed, sorted by name in the archive; files named twice are packed once.

    ``base`` is the folder that the names begin in, ``output`` the archive itself, which is left out. Raise TaskError
    for a path that there is nothing at, or that is not below ``base``.
    """
    found: dict[str, str] = {}
    unfinished = f".{output.name}."
    for path in paths:
        for each in _files(sandbox, path, hidden=hidden):
            with sandbox.place(each, follow=False) as place:
                full = place.full
            if full == output.full or (full.parent == output.full.parent and full.name.startswith(unfinished)):
                continue
            if not full.is_relative_to(base):
                raise refused(f"{each!r} is not below the folder {str(base)!r} that the names begin in; choose `base`")
            found[full.relative_to(base).as_posix()] = each
    if len(found) > MOST_MATCHES:
        raise TaskError(
            f"there are more than {MOST_MATCHES:,} files to pack; make several archives",
            kind="too_large",
            retryable=False,
        )
    for name in found:
        if not name.isprintable() or "\\" in name:
            raise refused(f"the file name {name!r} is not one that every system can unpack")
    return [Source(name, found[name]) for name in sorted(found)]


def _files(sandbox: Sandbox, path: str, *, hidden: bool) -> list[str]:
    if is_pattern(path):
        found = matches(sandbox.project, path)
        if not found:
            raise TaskError(f"no file matches {path!r}", kind="not_found")
    else:
        with sandbox.place(path) as place:
            about = os.fstat(place.folder) if place.name == "." else place.stat()
            if about is None or not stat.S_ISDIR(about.st_mode):
                return [path]  # whatever it is: opening it will tell
        with sandbox.folder(path) as folder:
            inside = entries(folder, "*", recursive=True, hidden=hidden, limit=MOST_MATCHES)
        found = [entry["path"] for entry in inside if entry["type"] in {"file", "link"}]
    named = path.split("/", maxsplit=1)[0] == STORE
    return [each for each in found if named or each.split("/")[0] != STORE]


class Packed(NamedTuple):
    """How many files went into an archive, and of how many bytes."""

    files: int
    size: int


def pack(descriptor: int, kind: Format, chosen: Iterable[Source], sandbox: Sandbox, context: TaskContext) -> Packed:
    """Write an archive into an empty file."""
    chosen = list(chosen)
    size = 0
    with ExitStack() as opened:
        raw = opened.enter_context(os.fdopen(os.dup(descriptor), "r+b"))
        writer: _Zip | _Tar = _Zip(raw) if kind == "zip" else _Tar(raw, kind)
        opened.enter_context(writer)
        for number, source in enumerate(chosen):
            with sandbox.place(source.path) as place:
                size += _add(writer, source.name, place, context)
            context.progress(number + 1, len(chosen), "packed")
    return Packed(len(chosen), size)


def _add(writer: _Zip | _Tar, name: str, place: Place, context: TaskContext) -> int:
    descriptor = place.open(os.O_RDONLY)
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        reading = _Reading(file, about.st_size, context)
        writer.add(name, about, reading)
        after = os.fstat(descriptor)
        if reading.left or (after.st_size, after.st_mtime_ns) != (about.st_size, about.st_mtime_ns):
            raise TaskError(f"{place.path!r} changed while it was packed", kind="changed")
        tell_read(context, place, about, reading.hash.hexdigest())
    return about.st_size


class _Reading:
    """A file on its way into an archive: exactly the bytes that it had when it was opened."""

    def __init__(self, file: IO[bytes], size: int, context: TaskContext) -> None:
        self._file = file
        self._context = context
        self.left = size
        self.hash = hashlib.sha256()

    def read(self, most: int = _CHUNK) -> bytes:
        """Return the next bytes; an empty result where the file ends, or ends too early."""
        if self._context.cancelled:
            raise cancelled("packing")
        data = self._file.read(min(most, self.left))
        self.left -= len(data)
        self.hash.update(data)
        return data


class _Zip:
    def __init__(self, raw: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def add(self, name: str, about: os.stat_result, reading: _Reading) -> None:
        info = zipfile.ZipInfo(name, _EPOCH)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.create_system = 3  # Unix, so that the mode counts
        info.external_attr = (0o100000 | _mode(about)) << 16
        info.file_size = about.st_size
        with self._zip.open(info, "w") as member:
            while data := reading.read():
                member.write(data)


class _Tar:
    def __init__(self, raw: IO[bytes], kind: Format) -> None:
        self._opened = ExitStack()
        out: Any = raw
        if kind == "tar.gz":
            out = gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0)
        elif kind == "tar.zst":
            out = zstd().ZstdFile(raw, "wb")
        if out is not raw:
            self._opened.enter_context(out)
        self._tar = self._opened.enter_context(tarfile.TarFile(fileobj=out, mode="w", format=tarfile.PAX_FORMAT))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.__exit__(kind, error, trace)

    def add(self, name: str, about: os.stat_result, reading: _Reading) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = about.st_size, _mode(about), 0
        try:
            self._tar.addfile(info, reading)
        except OSError:
            if not reading.left:
                raise  # the file was whole: the disk it is packed onto is the trouble


def _mode(about: os.stat_result) -> int:
    return 0o755 if about.st_mode & 0o100 else 0o644
