"""Where a store keeps values that are too large for its rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol


class BlobInfo(NamedTuple):
    """A stored blob: the digest it is named by, its size in bytes, its last writing (seconds since 1970)."""

    digest: bytes
    size: int
    mtime: float


class Blobs(Protocol):
    """Sealed records by the digest of what is in them. Any thread; safe for many processes.

    A blob appears whole and durable, or not at all, and before any row refers to it. One that no row refers to is
    rubbish of a crash; the store decides when to delete it. Every method raises StoreFull when there is no space left
    and StoreUnavailable for any other failure.
    """

    def claim(self, store_id: str) -> None:
        """Take the place for the store of this id, before its first use; idempotent, UsageError if it is another's."""

    def put(self, digest: bytes, record: bytes) -> None:
        """Store ``record`` under ``digest``, durably when this returns; young again if it is there already."""

    def get(self, digest: bytes) -> bytes:
        """Return the record under ``digest``, not verified; raises StoreDamaged if it is missing."""

    def delete(self, digest: bytes, *, unless_after: float | None = None) -> None:
        """Remove the blob under ``digest``, unless it was put (again) after that time; no error if there is none."""

    def iterate(self) -> Iterator[BlobInfo]:
        """Yield what is stored, in order of the digests; what vanishes meanwhile is left out."""

    def remove_stale(self, now: float) -> int:
        """Remove what writers that died before ``now`` (seconds since 1970) left half-written; return how many."""
