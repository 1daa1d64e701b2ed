"""Looking into archives that nobody trusts: every size is counted, and what unpacks to too much is not unpacked."""

from __future__ import annotations

import gzip
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

from orchestrator.errors import TaskError
from orchestrator.tools.archives.formats import by_content, damaged, zstd
from orchestrator.tools.fileerrors import cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from orchestrator.ports.context import TaskContext
    from orchestrator.tools.archives.formats import Format

CHUNK = 1 << 20
FREE_BYTES = 16 << 20
"""So much may come out of an archive of any size; beyond, the ratio counts."""

_HEADERS = 4096
"""Bytes besides its content that a file of a tar archive may take, on the average."""
_LONGEST_HEADER = 1 << 20
_BLOCK = 512
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

Kind = Literal["file", "folder", "link", "other"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What may come out of an archive: so many members, so many bytes, so many times the bytes it has itself."""

    members: int
    size: int
    ratio: int


class Member(NamedTuple):
    """A member as the archive tells of it. ``open`` gives its content, as long as no later member was asked for."""

    name: str
    kind: Kind
    size: int
    executable: bool
    open: Callable[[], Any]


@contextmanager
def opened(
    file: IO[bytes], path: str, limits: Limits, context: TaskContext
) -> Iterator[tuple[Format, Iterator[Member]]]:
    """Give an archive's format and its members in order; raise TaskError for damage and for more than the limits.

    Kinds: ``archive`` for what cannot be read, ``too_large`` for what exceeds a limit.
    """
    file.seek(0)
    found = by_content(file.read(_BLOCK), path)
    file.seek(0)
    count = _Count(path, os.fstat(file.fileno()).st_size, limits, context)
    with ExitStack() as stack:
        try:
            yield found, _zip(file, count, stack) if found == "zip" else _tar(file, found, count, stack)
        except (
            tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile, zstd().ZstdError,
            NotImplementedError, OverflowError, ValueError, struct.error,
        ) as error:  # fmt: skip
            raise damaged(path, f"it is damaged: {error}") from None


class _Count:
    """What has come out of an archive so far."""

    def __init__(self, path: str, packed: int, limits: Limits, context: TaskContext) -> None:
        self.path = path
        self._packed = max(packed, 1)
        self._limits = limits
        self._context = context
        self._members = 0
        self._declared = 0
        self.most = limits.size + limits.members * _HEADERS + (1 << 20)

    def member(self, size: int) -> None:
        """Count one more member that says it has so many bytes."""
        if self._context.cancelled:
            raise cancelled("reading the archive")
        self._members += 1
        self._declared += size
        if self._members > self._limits.members:
            raise self._too_large(f"it has more than {self._limits.members:,} members", "max_files")
        if size < 0 or self._declared > self._limits.size:
            raise self._too_large(f"more than {self._limits.size:,} bytes come out of it", "max_bytes")
        self.ratio(self._declared)

    def ratio(self, size: int) -> None:
        """Refuse if so many bytes are too many for the size of the archive itself."""
        if size > FREE_BYTES and size > self._packed * self._limits.ratio:
            raise self._too_large(
                f"more than {self._limits.ratio} times its own {self._packed:,} bytes come out of it", "max_ratio"
            )

    def _too_large(self, what: str, limit: str) -> TaskError:
        return TaskError(
            f"{self.path!r} is not opened: {what}; if it is to be trusted, raise `{limit}`",
            kind="too_large",
            retryable=False,
        )

    def read(self, size: int) -> None:
        """Refuse if so many bytes were decompressed in all, headers and what is skipped among them."""
        if size > self.most:
            raise self._too_large(f"more than {self._limits.size:,} bytes come out of it", "max_bytes")
        self.ratio(size)


def _zip(file: IO[bytes], count: _Count, stack: ExitStack) -> Iterator[Member]:
    archive = stack.enter_context(zipfile.ZipFile(file))
    for info in archive.infolist():
        count.member(info.file_size)
        mode = info.external_attr >> 16
        kind: Kind = "folder" if info.is_dir() else "file"
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            kind = "link" if stat.S_ISLNK(mode) else "other"
        if info.flag_bits & _ENCRYPTED:
            raise damaged(count.path, f"its member {info.orig_filename!r} is encrypted")
        if info.compress_type not in _METHODS:
            raise damaged(count.path, f"its member {info.orig_filename!r} is compressed in a way that is not supported")
        # The name as it stands there: the library cuts it at a NUL.
        yield Member(info.orig_filename, kind, info.file_size, bool(mode & 0o100), _opener(archive, info))


def _opener(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], Any]:
    return lambda: archive.open(info)


def _tar(file: IO[bytes], found: Format, count: _Count, stack: ExitStack) -> Iterator[Member]:
    plain: Any = file
    if found == "tar.gz":
        plain = stack.enter_context(gzip.GzipFile(fileobj=file, mode="rb"))
    elif found == "tar.zst":
        plain = stack.enter_context(zstd().ZstdFile(file, "rb"))
    reader = _Forward(plain, count)
    archive = stack.enter_context(tarfile.TarFile(fileobj=reader, mode="r"))  # type: ignore[arg-type] # it only reads
    while (info := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined] # it would keep every member there is
        count.member(info.size)
        kind: Kind = "link" if info.issym() or info.islnk() else "folder" if info.isdir() else "other"
        if info.isreg() and not info.issparse():
            kind = "file"
        yield Member(info.name, kind, info.size, bool(info.mode & 0o100), _extractor(archive, info))
    if reader.last.strip(b"\0") or len(reader.last) < _BLOCK:
        raise damaged(count.path, "it is damaged: it is cut off, or ends in something that is no member")
    while reader.read(CHUNK):  # to the checksum at the end of what it is compressed in
        pass


def _extractor(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], Any]:
    return lambda: archive.extractfile(info)


class _Forward:
    """A decompressed archive that is read once, from its beginning to its end, and counted on the way."""

    def __init__(self, plain: Any, count: _Count) -> None:
        self._plain = plain
        self._count = count
        self._position = 0
        self.last = b""

    def read(self, size: int) -> bytes:
        """Return so many bytes, fewer at the end; a header longer than a megabyte is none."""
        if not 0 <= size <= _LONGEST_HEADER:
            raise damaged(self._count.path, "it is damaged: one of its headers is longer than a megabyte")
        parts = bytearray()
        while len(parts) < size and (data := self._plain.read(size - len(parts))):
            parts += data
        self._position += len(parts)
        self._count.read(self._position)
        self.last = bytes(parts)
        return self.last

    def tell(self) -> int:
        """Return how many bytes were read."""
        return self._position

    def seek(self, position: int) -> int:
        """Skip to a place further on."""
        if position < self._position:
            raise damaged(self._count.path, "it is damaged: one of its members lies before the one it follows")
        while self._position < position and self.read(min(CHUNK, position - self._position)):
            pass
        return self._position
