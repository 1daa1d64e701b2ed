"""Reading a file of executions: what in it is whole, and where it is not."""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import ormsgpack

from orchestrator.errors import StoreDamaged, StoreError, StoreIncompatible
from orchestrator.ports.store import Commit
from orchestrator.state.archive import (
    FORMAT,
    FRAME,
    HEAD,
    MAGIC,
    MAX_RECORD,
    READABLE,
    Tag,
    Tally,
    frame_context,
    unpack_item,
    unpack_manifest,
)
from orchestrator.state.mail import unpack_signal
from orchestrator.state.parcels import Manifest, digest_commit, large_values
from orchestrator.state.records import Kind, Sealing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from orchestrator.domain.values import EncodedValue
    from orchestrator.ports.store import Signal

_TAGS = frozenset(Tag)


class Frame(NamedTuple):
    """A verified frame: where it is, for messages, and where the next one begins."""

    tag: Tag
    payload: bytes
    place: str
    end: int


class Refused(NamedTuple):
    """What in a file is not what was written, and the execution it belongs to ("" where that cannot be told)."""

    execution_id: str
    error: StoreError


class Contents(NamedTuple):
    """What a file holds: executions that are whole, and what had to be refused."""

    parcels: list[FiledParcel]
    refused: list[Refused]


class ArchiveReader:
    """Reads executions from ``file``, which must be able to seek; ``name`` is how errors call it.

    Raises StoreDamaged for a file that is none of ours, StoreIncompatible for one of another format.
    """

    def __init__(self, file: BinaryIO, sealing: Sealing, name: str) -> None:
        self._file = file
        self._sealing = sealing
        self.name = name
        self._size = file.seek(0, os.SEEK_END)
        file.seek(0)
        head = file.read(HEAD.size)
        if head[: len(MAGIC)] != MAGIC[: len(head)] or not head:
            raise StoreDamaged(name, "this is no file that `orchestrator export` wrote")
        if len(head) < HEAD.size:
            raise StoreDamaged(name, f"truncated: it ends at byte {len(head)}")
        _magic, format_, self._id = HEAD.unpack(head)
        if format_ not in READABLE:
            raise StoreIncompatible(
                f"{name} has format {format_}, and this version reads up to format {FORMAT}: "
                "a newer version wrote it (upgrade), or that byte is damaged"
            )

    def contents(self) -> Contents:
        """Read and verify the whole file; an execution is whole, or refused with the place that is wrong.

        Raises StoreIncompatible where not even the first frame can be read: keys are missing, or not wanted.
        """
        return _Scan(self).run()

    def frames(self, at: int = HEAD.size, number: int = 0) -> Iterator[Frame | StoreError]:
        """Yield the frames from a place on, and an error for each that is not what was written.

        Ends after an error that leaves open where the next one begins.
        """
        while at < self._size:
            place = f"{self.name}, byte {at}"
            self._file.seek(at)
            prefix = self._file.read(FRAME.size)
            tag, length = FRAME.unpack(prefix) if len(prefix) == FRAME.size else (0, 0)
            end = at + FRAME.size + length
            if len(prefix) < FRAME.size or (tag in _TAGS and length <= MAX_RECORD and end > self._size):
                yield StoreDamaged(place, f"truncated: the file ends at byte {self._size}")
                return
            if tag not in _TAGS or length > MAX_RECORD:
                yield StoreDamaged(place, "no part begins here; what follows cannot be read")
                return
            try:
                payload = self._sealing.unseal(
                    self._file.read(length),
                    kind=Kind.ARCHIVE,
                    context=frame_context(self._id, number, tag),
                    name=place,
                )
            except (StoreDamaged, StoreIncompatible) as error:
                yield error
            else:
                yield Frame(Tag(tag), payload, place, end)
            at = end
            number += 1


class FiledParcel:
    """An execution in a file, seen whole once; see parcels.Parcel."""

    def __init__(self, reader: ArchiveReader, manifest: Manifest, at: int, number: int) -> None:
        self._reader = reader
        self._at = at
        self._number = number
        self.manifest = manifest

    async def mail(self) -> AsyncGenerator[Signal]:
        """See parcels.Parcel."""
        for frame in self._reader.frames(self._at, self._number):
            if not isinstance(frame, Frame):
                raise frame
            if frame.tag is not Tag.SIGNAL:
                return
            yield unpack_signal(frame.payload, frame.place)

    async def items(self) -> AsyncGenerator[EncodedValue | Commit]:
        """See parcels.Parcel."""
        for frame in self._reader.frames(self._at, self._number):
            if not isinstance(frame, Frame):
                raise frame
            if frame.tag is Tag.END:
                return
            if frame.tag is Tag.SIGNAL:
                continue
            yield unpack_item(frame.tag, frame.payload, frame.place)


class _Scan:
    """One walk over a file."""

    def __init__(self, reader: ArchiveReader) -> None:
        self._reader = reader
        self._found = Contents([], [])
        self._number = 0
        self._begin(None, 0)

    def _begin(self, manifest: Manifest | None, at: int) -> None:
        """Start on an execution; None: on what belongs to none that is known."""
        self._manifest = manifest
        self._start = at, self._number + 1
        self._seq = 0
        self._tally = Tally()
        self._digest = blake2b(digest_size=32)
        self._values: set[bytes] = set()
        self._bad = False

    def run(self) -> Contents:
        """Walk."""
        closed = False
        for frame in self._reader.frames():
            if not isinstance(frame, Frame):
                if not self._number and isinstance(frame, StoreIncompatible):
                    raise frame
                self._refuse(frame)
            elif closed:
                self._refuse(StoreDamaged(frame.place, "parts follow the end of the file"))
            else:
                try:
                    closed = self._step(frame)
                except (StoreDamaged, StoreIncompatible) as error:
                    self._refuse(error)
            self._number += 1
        if not closed:
            self._refuse(StoreDamaged(self._reader.name, "truncated: the file's end is missing"))
        return self._found

    def _refuse(self, error: StoreError) -> None:
        """Note what is wrong, once for each execution."""
        if not self._bad:
            self._bad = True
            name = self._manifest.execution_id if self._manifest is not None else ""
            self._found.refused.append(Refused(name, error))

    def _step(self, frame: Frame) -> bool:
        """Take a frame; True if it is the file's end."""
        manifest = self._manifest
        if frame.tag is Tag.MANIFEST or frame.tag is Tag.CLOSE:
            if manifest is not None:
                self._refuse(StoreDamaged(frame.place, f"the end of {manifest.execution_id} is missing"))
            self._begin(None, 0)
            if frame.tag is Tag.CLOSE:
                self._check_count(frame)
                return True
            self._begin(unpack_manifest(frame.payload, frame.place), frame.end)
        elif frame.tag is Tag.ABANDONED:
            self._refuse(StoreDamaged(frame.place, "it could not be read to its end when it was exported"))
            self._begin(None, 0)
        elif frame.tag is Tag.END:
            if manifest is not None and not self._bad:
                self._end(manifest, frame)
            self._begin(None, 0)
        elif manifest is not None and not self._bad:
            self._take(frame)
        return False

    def _take(self, frame: Frame) -> None:
        self._tally.add(frame.tag, frame.payload)
        if frame.tag is Tag.SIGNAL:
            if self._seq or self._values:
                raise StoreDamaged(frame.place, "a signal stands among the facts")
            unpack_signal(frame.payload, frame.place)
            return
        item = unpack_item(frame.tag, frame.payload, frame.place)
        if not isinstance(item, Commit):
            self._values.add(item.ref.data)
            return
        if item.first != self._seq + 1 or not item.events:
            raise StoreDamaged(frame.place, f"facts from {item.first} on stand where fact {self._seq + 1} belongs")
        for ref in large_values(item.events):
            if ref.data not in self._values:
                raise StoreDamaged(frame.place, f"value {ref.data.hex()} is missing before it")
        self._seq += len(item.events)
        self._digest.update(digest_commit(item))

    def _end(self, manifest: Manifest, frame: Frame) -> None:
        whole = frame.payload == self._tally.packed() and self._seq == manifest.seq
        if whole and self._digest.digest() == manifest.digest:
            self._found.parcels.append(FiledParcel(self._reader, manifest, *self._start))
        else:
            self._refuse(StoreDamaged(frame.place, f"{manifest.execution_id} is not what was announced"))

    def _check_count(self, frame: Frame) -> None:
        found = len(self._found.parcels)
        if not self._found.refused and ormsgpack.packb(found) != frame.payload:
            self._refuse(StoreDamaged(frame.place, f"there are {found} executions, and it says otherwise"))
