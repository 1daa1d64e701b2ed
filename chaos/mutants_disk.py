"""Bugs in how the store treats its disk, to plant in a process that is watched: each must be caught."""

# ruff: noqa: SLF001 - to plant a bug is to reach inside

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import apsw

from orchestrator.errors import StoreError
from orchestrator.state import blobs, records
from orchestrator.state.sqlite import SqliteStore, connection, database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def commits_without_a_sync() -> None:
    """Let commits return before they are on the disk."""

    def wrong(db: apsw.Connection, *, durable: bool) -> None:
        del durable
        db.pragma("synchronous", "OFF")

    _plant(connection, "set_durable", wrong)
    _plant(database, "set_durable", wrong)


def syncs_at_checkpoints_only() -> None:
    """Use the setting that survives a crash of the process, where a power cut is to be survived."""

    def wrong(db: apsw.Connection, *, durable: bool) -> None:
        del durable
        db.pragma("synchronous", "NORMAL")

    _plant(connection, "set_durable", wrong)
    _plant(database, "set_durable", wrong)


def writes_blobs_without_a_sync() -> None:
    """Rename a blob to its name before its content is on the disk."""
    write = blobs.BlobFiles._write

    def wrong(self: blobs.BlobFiles, path: Path, record: bytes) -> None:
        real = os.fsync
        vars(os)["fsync"] = lambda _descriptor: None
        try:
            write(self, path, record)
        finally:
            vars(os)["fsync"] = real

    _plant(blobs.BlobFiles, "_write", wrong)


def forgets_the_names_of_blobs() -> None:
    """Sync no folder that blobs lie in."""
    _plant(blobs, "_sync_folder", lambda _folder: None)


def writes_blobs_in_place() -> None:
    """Write a blob under its final name, and sync it only with the folder."""

    def wrong(_self: Any, path: Path, record: bytes) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(descriptor, record)
        os.close(descriptor)

    _plant(blobs.BlobFiles, "_write", wrong)


def ignores_a_failed_blob() -> None:
    """Go on when a blob could not be written."""
    put = blobs.BlobFiles.put

    def wrong(self: blobs.BlobFiles, digest: bytes, record: bytes) -> None:
        with suppress(StoreError):
            put(self, digest, record)

    _plant(blobs.BlobFiles, "put", wrong)


def ignores_a_failed_commit() -> None:
    """Go on when the database could not be written."""
    append = SqliteStore.append

    async def wrong(self: SqliteStore, lease: Any, events: Any, values: Any, *, expected_seq: Any, **rest: Any) -> Any:
        try:
            return await append(self, lease, events, values, expected_seq=expected_seq, **rest)
        except StoreError:
            return expected_seq + len(events)

    _plant(SqliteStore, "append", wrong)


def lets_drivers_errors_through() -> None:
    """Let the errors of the file system reach the user as they are."""

    @contextmanager
    def wrong(_doing: str) -> Iterator[None]:
        yield

    _plant(blobs, "_translated", wrong)


def verifies_no_checksum() -> None:
    """Believe every record, whatever its checksum says."""
    _plant(records, "_checksum", lambda *_: _Whatever(records._SUM_SIZE))


class _Whatever(bytes):
    """A checksum that equals every other."""

    __hash__ = bytes.__hash__

    def __ne__(self, other: object) -> bool:
        del other
        return False


def _plant(owner: Any, name: str, value: Any) -> None:
    if not hasattr(owner, name):
        raise AttributeError(f"{owner!r} has no {name}: the bug cannot be planted any more")
    setattr(owner, name, value)


PLANTED: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (
        commits_without_a_sync,
        syncs_at_checkpoints_only,
        writes_blobs_without_a_sync,
        forgets_the_names_of_blobs,
        writes_blobs_in_place,
        ignores_a_failed_blob,
        ignores_a_failed_commit,
        lets_drivers_errors_through,
        verifies_no_checksum,
    )
}
BY_POWER_CUT = tuple(PLANTED)[:5]
BY_FAULTS = ("ignores_a_failed_blob", "ignores_a_failed_commit", "lets_drivers_errors_through")
BY_BIT_FLIPS = ("verifies_no_checksum",)
