"""Values that lie outside of a store with a server: how its coroutines reach them, and how rubbish among them goes."""

from __future__ import annotations

import asyncio
import time
from itertools import islice
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from orchestrator.errors import StoreDamaged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from orchestrator.ports.blobs import BlobInfo, Blobs

Parameters = ParamSpec("Parameters")
T = TypeVar("T")

BLOB_THRESHOLD = 64 * 1024
"""Sealed values above this many bytes lie outside, where there is such a place."""
BLOB_GRACE_SECONDS = 3600.0
"""A younger blob without a row may belong to a commit under way."""
COLLECTING_SECONDS = 60.0
"""How long a collector that died keeps others from collecting; one at work says so again with every page."""
PAGE = 200


class Outside:
    """The blobs of one store, each call in a thread of its own; the place is claimed before its first use.

    ``blobs`` None: there is no such place, and nothing is to be put there. ``store_id`` tells whose it is.
    """

    def __init__(self, blobs: Blobs | None, store_id: Callable[[], Awaitable[str]]) -> None:
        self._blobs = blobs
        self._store_id = store_id
        self._claimed = False

    @property
    def exists(self) -> bool:
        """Whether there is such a place."""
        return self._blobs is not None

    def takes(self, record: bytes) -> bool:
        """Tell whether a value's record belongs there."""
        return self._blobs is not None and len(record) > BLOB_THRESHOLD

    async def put(self, digest: bytes, record: bytes) -> None:
        """See ports.blobs.Blobs."""
        blobs = self._there(digest)
        await self._call(blobs.put, digest, record)

    async def get(self, digest: bytes) -> bytes:
        """See ports.blobs.Blobs; StoreDamaged also where no such place is configured."""
        blobs = self._there(digest)
        return await self._call(blobs.get, digest)

    async def stored(self) -> list[BlobInfo]:
        """Return what lies there."""
        blobs = self._blobs
        return [] if blobs is None else await self._call(lambda: list(blobs.iterate()))

    async def collect(
        self, wanted: Callable[[list[bytes]], Awaitable[Iterable[bytes]]], turn: Callable[[], Awaitable[bool]]
    ) -> None:
        """Delete what nothing refers to, unless a commit under way may be about to. Interruptible.

        ``wanted`` tells which of some digests something refers to. ``turn`` tells whether this is the store's one
        collector, and makes it so for the next ``COLLECTING_SECONDS`` if there is no other.
        """
        blobs = self._blobs
        if blobs is None or not await turn():
            return
        old = time.time() - BLOB_GRACE_SECONDS  # noqa: TID251 - blobs are dated by a machine's clock
        await self._call(blobs.remove_stale, old + BLOB_GRACE_SECONDS)
        found = blobs.iterate()
        while (page := await self._call(lambda: list(islice(found, PAGE)))) and await turn():
            doomed = [blob.digest for blob in page if blob.mtime < old]
            for digest in set(doomed).difference(await wanted(doomed)):
                # Whoever commits a reference has put the blob before, and so made it young again.
                await self._call(blobs.delete, digest, unless_after=old)

    def _there(self, digest: bytes) -> Blobs:
        if self._blobs is None:
            raise StoreDamaged(
                f"value {digest.hex()}", "it lies in an object storage, and none is configured (setting blobs)"
            )
        return self._blobs

    async def _call(self, function: Callable[Parameters, T], *args: Parameters.args, **named: Parameters.kwargs) -> T:
        if not self._claimed and self._blobs is not None:
            await asyncio.to_thread(self._blobs.claim, await self._store_id())
            self._claimed = True
        return await asyncio.to_thread(function, *args, **named)
