"""Files that appear whole or not at all: written beside their place, synced, then renamed into it."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from orchestrator.tools.fileerrors import cancelled, os_refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.ports.context import TaskContext
    from orchestrator.tools.paths import Place

_LONGEST = 200
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


def digest(text: str, length: int = 12) -> str:
    """Return a short digest of a text, for names of files."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()[:length]


def file_name(identity: str) -> str:
    """Return an id as a file name: itself where it is a plain one in lower case, else cleaned and with a digest."""
    plain = _UNSAFE.sub("_", identity).lstrip(".")[:_LONGEST]
    return plain if plain and plain == identity == identity.lower() else f"{plain or 'task'}-{digest(identity)}"


def part_name(place: Place, context: TaskContext, number: int | None = None) -> str:
    """Return the name of the unfinished file for a place: one for each task, and for each ``number``."""
    stem = place.name if len(os.fsencode(place.name)) < _LONGEST else digest(place.name)
    suffix = "" if number is None else f"-{number}"
    return f".{stem}.{digest(context.idempotency_key)}{suffix}.part"


@contextmanager
def replacing(place: Place, context: TaskContext) -> Iterator[tuple[int, str]]:
    """Give an empty file to write, as descriptor and name in the place's folder; at the end it takes the place.

    The file is synced before the rename and its folder after it. If the block raises, the place is as it was. An
    unfinished file of an earlier attempt is removed; that attempt, should its thread still run, can no longer
    rename it. An existing file's permissions are kept.
    """
    before = place.stat()
    if before is not None:
        place.require_file(before)
    for earlier in range(max(1, context.attempt - 20), context.attempt):
        with suppress(OSError):
            os.unlink(part_name(place, context, earlier), dir_fd=place.folder)
    name = part_name(place, context, context.attempt)
    try:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=place.folder)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o666, dir_fd=place.folder)
    except OSError as error:
        raise os_refused(place.path, error) from error
    try:
        try:
            if before is not None:
                os.fchmod(descriptor, before.st_mode & 0o777)
            yield descriptor, name
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        rename(name, place)
    except OSError as error:
        _discard(name, place)
        raise os_refused(place.path, error) from error
    except BaseException:
        _discard(name, place)
        raise


def rename(name: str, place: Place) -> None:
    """Rename a synced file of the place's folder to the place itself, and sync the folder."""
    os.rename(name, place.name, src_dir_fd=place.folder, dst_dir_fd=place.folder)
    os.fsync(place.folder)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write every byte, however little the system takes at once."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sha256_of(descriptor: int, context: TaskContext | None = None, chunk: int = 1 << 20) -> str:
    """Return the SHA-256 of a file from its start, as hexadecimal text."""
    hasher, offset = hashlib.sha256(), 0
    while data := os.pread(descriptor, chunk, offset):
        hasher.update(data)
        offset += len(data)
        if context is not None and context.cancelled:
            raise cancelled("the digest")
    return hasher.hexdigest()


def _discard(name: str, place: Place) -> None:
    with suppress(OSError):
        os.unlink(name, dir_fd=place.folder)
