"""Appending once: an addition that a task makes however often it is tried."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.tools.atomic import digest, file_name, replacing, write_all
from orchestrator.tools.fileerrors import missing, os_refused, refused
from orchestrator.tools.paths import STORE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.ports.context import TaskContext
    from orchestrator.tools.paths import Place, Sandbox


def append_once(sandbox: Sandbox, place: Place, data: bytes, context: TaskContext) -> int:
    """Append ``data`` and return the offset at which it stands.

    The note (offset, length, SHA-256) is durable before the file grows, and the file is locked from the look at its
    size to the last byte written, so what stands at the noted offset was written by this task or is not its
    addition at all.
    """
    note_path = (
        f"{STORE}/data/{file_name(context.execution_id)}/appends/{digest(context.task_id + chr(0) + place.path)}"
    )
    with sandbox.place(f"{note_path}.json", create=True) as note, _opened(place) as descriptor:
        known = _read(note)
        size = os.fstat(descriptor).st_size
        offset = size
        if known is not None:
            start, length = known["offset"], known["length"]
            held = os.pread(descriptor, length, start)
            if len(held) == length and hashlib.sha256(held).hexdigest() == known["sha256"]:
                return int(start)
            if start + len(held) == size and held == data[: len(held)] and length == len(data):
                offset = start  # torn: nobody has appended after it
        with replacing(note, context) as (file, _):
            about = {"offset": offset, "length": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            write_all(file, json.dumps(about).encode())
        try:
            os.ftruncate(descriptor, offset)
            os.lseek(descriptor, offset, os.SEEK_SET)
            write_all(descriptor, data)
            os.fsync(descriptor)
            os.fsync(place.folder)
        except OSError as error:
            raise os_refused(place.path, error) from error
        return offset


@contextmanager
def _opened(place: Place) -> Iterator[int]:
    descriptor = place.open(os.O_RDWR | os.O_CREAT)
    try:
        if os.fstat(descriptor).st_nlink > 1:
            raise refused(f"{place.path!r} has several names (hard links): appending would change them all")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        found = place.stat()
        if found is None or not os.path.samestat(found, os.fstat(descriptor)):
            raise missing(place.path)  # replaced while we waited for the lock; a retry appends to the new one
        yield descriptor
    finally:
        os.close(descriptor)


def _read(note: Place) -> dict[str, Any] | None:
    if note.stat() is None:
        return None
    with os.fdopen(note.open(os.O_RDONLY), "rb") as file:
        try:
            known = json.load(file)
        except ValueError:
            return None
    plain = isinstance(known, dict) and all(isinstance(known.get(key), int) for key in ("offset", "length"))
    return known if plain else None
