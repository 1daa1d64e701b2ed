"""Executions in a file, to be moved and kept: every part sealed, every end told.

::

    magic 8 | format 1 | file id 16 | frame...        frame: tag 1 | length 8 | record

    per execution:  MANIFEST SIGNAL... (VALUE... COMMIT)... END
                    ABANDONED in place of END where it could not be read on
    at the end:     CLOSE

Each record is sealed by the store's own means (a checksum, or encryption), bound to the file's id, to its number in the
file and to its tag: nothing can be cut, swapped, repeated or added unseen. END counts what came since MANIFEST, with a
digest over all of it; CLOSE counts the executions. A file is written from front to end, and both written and read one
frame at a time.
"""

from __future__ import annotations

import errno
import secrets
from dataclasses import astuple
from enum import IntEnum
from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING, Any, BinaryIO

import ormsgpack

from orchestrator.domain.ids import ExecutionId, Seq, is_execution_id
from orchestrator.domain.values import EncodedValue, ValueRef
from orchestrator.errors import StoreDamaged, StoreFull, StoreIncompatible, StoreUnavailable
from orchestrator.ports.store import Commit
from orchestrator.state.eventcodec import decode_events, encode_events
from orchestrator.state.mail import pack_signal
from orchestrator.state.parcels import Manifest, Parcel
from orchestrator.state.records import DIGEST_SIZE, MAX_RAW_LENGTH, Kind, Sealing, context_of, digest_of

if TYPE_CHECKING:
    from collections.abc import Sequence

MAGIC = b"\x89orcmove"
FORMAT = 2
READABLE = (1, 2)
"""In files of format 1 are no signals."""
MAX_RECORD = MAX_RAW_LENGTH + 4096
HEAD = Struct("<8sB16s")
FRAME = Struct("<BQ")
_COMPLETED = Struct("<Q")
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Tag(IntEnum):
    """What a frame holds; stored, so a number is never given a second meaning."""

    MANIFEST = 1
    VALUE = 2
    COMMIT = 3
    END = 4
    ABANDONED = 5
    CLOSE = 6
    SIGNAL = 7


class ArchiveWriter:
    """Writes executions into ``file``, which need not be able to seek; without ``close`` the file counts as truncated.

    Raises StoreFull and StoreUnavailable where it cannot be written.
    """

    def __init__(self, file: BinaryIO, sealing: Sealing) -> None:
        self._file = file
        self._sealing = sealing
        self._id = secrets.token_bytes(16)
        self._number = 0
        self._executions = 0
        self.size = 0
        self._write(HEAD.pack(MAGIC, FORMAT, self._id))

    async def add(self, parcel: Parcel) -> None:
        """Write an execution; where it cannot be read to its end the file says so, and goes on with the next one."""
        self._frame(Tag.MANIFEST, pack_manifest(parcel.manifest))
        tally = Tally()
        try:
            async for signal in parcel.mail():
                self._counted(tally, Tag.SIGNAL, pack_signal(signal))
            async for item in parcel.items():
                self._counted(tally, *pack_item(item))
        except (StoreDamaged, StoreIncompatible):
            self._frame(Tag.ABANDONED, b"")
            raise
        self._frame(Tag.END, tally.packed())
        self._executions += 1

    def _counted(self, tally: Tally, tag: Tag, payload: bytes) -> None:
        self._frame(tag, payload)
        tally.add(tag, payload)

    def close(self) -> None:
        """Write the end."""
        self._frame(Tag.CLOSE, ormsgpack.packb(self._executions))
        try:
            self._file.flush()
        except OSError as error:
            raise _unwritable(error) from error

    def _frame(self, tag: Tag, payload: bytes) -> None:
        context = frame_context(self._id, self._number, tag)
        record = self._sealing.seal(payload, kind=Kind.ARCHIVE, context=context)
        self._write(FRAME.pack(tag, len(record)))
        self._write(record)
        self._number += 1

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise _unwritable(error) from error
        self.size += len(data)


def _unwritable(error: OSError) -> StoreUnavailable:
    kind = StoreFull if error.errno in _FULL else StoreUnavailable
    return kind(f"the file cannot be written: {error.strerror or error}")


def frame_context(file_id: bytes, number: int, tag: int) -> bytes:
    """Return what a frame's record is bound to."""
    return context_of("archive", file_id, number, int(tag))


class Tally:
    """What END says: how many commits, values and bytes came, and a digest over them."""

    def __init__(self) -> None:
        self._commits = self._values = self._bytes = 0
        self._digest = blake2b(digest_size=32)

    def add(self, tag: Tag, payload: bytes) -> None:
        """Count a frame."""
        self._commits += tag is Tag.COMMIT
        self._values += tag is Tag.VALUE
        self._bytes += len(payload)
        self._digest.update(b"%d %d " % (tag, len(payload)))
        self._digest.update(payload)

    def packed(self) -> bytes:
        """Return the payload of END."""
        return ormsgpack.packb((self._commits, self._values, self._bytes, self._digest.digest()))


# -- payloads ----------------------------------------------------------------------------------------------------


def pack_manifest(manifest: Manifest) -> bytes:
    """Return the payload of MANIFEST."""
    return ormsgpack.packb(astuple(manifest))


def unpack_manifest(payload: bytes, place: str) -> Manifest:
    """Return what ``pack_manifest`` was given; raises StoreDamaged for anything else."""
    try:
        fields: Any = ormsgpack.unpackb(payload)
        execution_id, pipeline_id, seq, epoch, hidden, running, digest = fields
    except (ValueError, TypeError) as error:
        raise StoreDamaged(place, "no manifest of an execution") from error
    numbers: Sequence[Any] = (seq, epoch, *hidden) if isinstance(hidden, list) else (None,)
    kinds = [type(field) for field in (execution_id, pipeline_id, running, digest, *numbers)]
    if kinds != [str, str, bool, bytes, *[int] * len(numbers)] or not is_execution_id(execution_id):
        raise StoreDamaged(place, "no manifest of an execution")
    return Manifest(ExecutionId(execution_id), pipeline_id, seq, epoch, tuple(hidden), running, digest)


def pack_item(item: EncodedValue | Commit) -> tuple[Tag, bytes]:
    """Return the tag and the payload of a value or a commit."""
    if isinstance(item, Commit):
        return Tag.COMMIT, _COMPLETED.pack(item.completed) + encode_events(item.first, item.events)
    return Tag.VALUE, item.ref.data + item.payload


def unpack_item(tag: Tag, payload: bytes, place: str) -> EncodedValue | Commit:
    """Return what ``pack_item`` was given; raises StoreDamaged for anything else, StoreIncompatible for newer facts."""
    if tag is Tag.VALUE:
        digest, content = payload[:DIGEST_SIZE], payload[DIGEST_SIZE:]
        if digest_of(content) != digest:
            raise StoreDamaged(place, "the value does not have the digest it is named by")
        return EncodedValue(ValueRef(digest, len(content), inline=False), content)
    if tag is not Tag.COMMIT or len(payload) < _COMPLETED.size:
        raise StoreDamaged(place, f"a frame {tag.name} stands where a commit belongs")
    (completed,) = _COMPLETED.unpack_from(payload)
    first, events = decode_events(payload[_COMPLETED.size :], name=place)
    return Commit(Seq(first), events, completed)
