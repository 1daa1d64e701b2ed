"""Big values as files, each named by the digest of its content.

A file appears under its name whole and durable, or not at all: it is written and synced under a temporary name in the
folder where it belongs, then renamed, then the folder is synced. Only after that may a row refer to it. A file that
no row refers to is rubbish of a crash; the store decides when to delete it.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from orchestrator import crashpoints
from orchestrator.errors import StoreDamaged, StoreFull, StoreUnavailable
from orchestrator.ports.blobs import BlobInfo

STALE_SECONDS = 3600
"""A temporary file that has not been written to for this long has lost its writer."""

_TEMPORARY = ".tmp-"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CHUNK = 1 << 20


class BlobFiles:
    """See ports.blobs.Blobs: the files below ``root``, in one folder per first byte of the digest.

    Files are 0600 and folders 0700 whatever the umask. Every method raises StoreFull when there is no space left and
    StoreUnavailable for any other failure of the file system.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._durable: set[Path] = set()  # folders whose names this object has synced

    def claim(self, store_id: str) -> None:
        """Do nothing: the folder is named after the store's file."""

    def put(self, digest: bytes, record: bytes) -> None:
        """Store ``record`` under ``digest``, durably when this returns; does nothing twice.

        What is there already stays if it is the same; anything else under that name is damage, and replaced.
        """
        path = self._path(digest)
        with _translated(f"writing blob {digest.hex()}"):
            self._make_folder(path.parent)
            if _holds(path, record):
                os.utime(path)  # young again: whoever collects garbage must not take it before our row is committed
                _sync_file(path)
            else:
                self._write(path, record)
            _sync_folder(path.parent)
        crashpoints.point("after_blob")

    def get(self, digest: bytes) -> bytes:
        """Return the record under ``digest``, for ``records.unseal_value`` to verify; StoreDamaged if it is missing."""
        with _translated(f"reading blob {digest.hex()}"):
            try:
                return self._path(digest).read_bytes()
            except FileNotFoundError:
                raise StoreDamaged(f"blob {digest.hex()}", "missing: its file is gone") from None

    def delete(self, digest: bytes, *, unless_after: float | None = None) -> None:
        """Remove the file under ``digest``, unless it was put (again) after that time; no error if there is none."""
        path = self._path(digest)
        with _translated(f"deleting blob {digest.hex()}"), suppress(FileNotFoundError):
            if unless_after is None or path.stat().st_mtime <= unless_after:
                path.unlink()

    def iterate(self) -> Iterator[BlobInfo]:
        """Yield what is stored, in order of the digests; a file that vanishes meanwhile is left out."""
        for path in self._files():
            name = path.parent.name + path.name
            with _translated(f"listing blob {name}"), suppress(FileNotFoundError):
                state = path.stat()
                yield BlobInfo(bytes.fromhex(name), state.st_size, state.st_mtime)

    def remove_stale(self, now: float) -> int:
        """Remove temporary files that nobody has written to for an hour before ``now``; return how many.

        ``now`` counts seconds since 1970, as files' times do.
        """
        removed = 0
        for path in self._files(temporary=True):
            with _translated(f"removing {path.name}"), suppress(FileNotFoundError):
                if path.stat().st_mtime < now - STALE_SECONDS:
                    path.unlink()
                    removed += 1
        return removed

    def _path(self, digest: bytes) -> Path:
        name = digest.hex()
        return self.root / name[:2] / name[2:]

    def _files(self, *, temporary: bool = False) -> Iterator[Path]:
        with _translated("listing blobs"):
            try:
                folders = sorted(self.root.iterdir())
            except FileNotFoundError:
                return
            for folder in folders:
                if len(folder.name) == 2 and _is_hex(folder.name):  # noqa: PLR2004
                    for path in sorted(folder.iterdir()):
                        if path.name.startswith(_TEMPORARY) if temporary else _is_hex(path.name):
                            yield path

    def _make_folder(self, folder: Path) -> None:
        """Create ``folder`` and what it lies in, and make each name durable, from the top down.

        Also the name of a folder that is there already: its maker may have died before syncing it.
        """
        if folder in self._durable:
            return
        chain = [self.root, folder]
        while not chain[0].parent.is_dir():
            chain.insert(0, chain[0].parent)
        for part in chain:
            if part not in self._durable:
                with suppress(FileExistsError):
                    part.mkdir(mode=0o700)
                    part.chmod(0o700)  # a umask may have taken away even the owner's rights
                _sync_folder(part.parent)
                self._durable.add(part)

    def _write(self, path: Path, record: bytes) -> None:
        temporary = path.with_name(f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOEXEC | _BINARY | _NOFOLLOW
        descriptor = os.open(temporary, flags, 0o600)
        try:
            try:
                if hasattr(os, "fchmod"):
                    os.fchmod(descriptor, 0o600)  # whatever the umask took away
                rest = memoryview(record)
                while rest:
                    rest = rest[os.write(descriptor, rest[:_CHUNK]) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            crashpoints.point("before_blob")
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise


def _holds(path: Path, record: bytes) -> bool:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != len(record):
                return False
            return all(file.read(_CHUNK) == record[at : at + _CHUNK] for at in range(0, len(record), _CHUNK))
    except FileNotFoundError:
        return False


def _sync_file(path: Path) -> None:
    # Another writer may have renamed it a moment ago and not yet told anybody; its content was synced before that.
    descriptor = os.open(path, os.O_RDONLY | _CLOEXEC | _BINARY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows has no such call: the file system's journal orders names
    descriptor = os.open(folder, os.O_RDONLY | _CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_hex(name: str) -> bool:
    return len(name) % 2 == 0 and not set(name) - set("0123456789abcdef")


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        kind = StoreFull if error.errno in _FULL else StoreUnavailable
        raise kind(f"{doing}: {error.strerror or error}") from error
