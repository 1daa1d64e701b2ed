"""Downloads that go on where they stopped, as long as the server says that it is still the same file."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import TaskError
from orchestrator.tools.atomic import digest, part_name, rename, write_all
from orchestrator.tools.fileerrors import os_refused
from orchestrator.tools.looking import tell_written
from orchestrator.tools.web.answers import answered, refused, too_large

if TYPE_CHECKING:
    import httpx2

    from orchestrator.ports.context import TaskContext
    from orchestrator.tools.paths import Place
    from orchestrator.tools.web.calls import Call

SAVE_EVERY = 16 << 20
"""Bytes between two saves; each is preceded by a sync, for what is saved must be on the disk."""

_CHUNK = 1 << 20
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a download has to be: at most ``max_bytes``, and of this SHA-256 if one is given."""

    redirects: int
    max_bytes: int
    sha256: str | None


async def download(call: Call, place: Place, wanted: Wanted, context: TaskContext) -> dict[str, Any]:
    """Get a file and put it into its place as a whole; raise TaskError if it cannot be had.

    It grows in an unfinished file beside the place, which belongs to this task. Saved is how much of it is synced,
    and how the server tells versions of the file apart; without such a mark a later attempt begins anew.
    """
    found = place.stat()
    if found is not None:
        place.require_file(found)
    name = part_name(place, context)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, 0o666, dir_fd=place.folder)
        try:
            growing = _Growing(descriptor, name, call, wanted, context)
            await growing.begin()
            result = await growing.fetch()
            if found is not None:
                os.fchmod(descriptor, found.st_mode & 0o777)
            await asyncio.to_thread(os.fsync, descriptor)
            about = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        rename(name, place)
    except OSError as error:
        raise os_refused(place.path, error) from error
    tell_written(context, place, about, result["sha256"])
    return {"path": place.path, **result}


class _Growing:
    """The unfinished file of one download."""

    def __init__(self, descriptor: int, name: str, call: Call, wanted: Wanted, context: TaskContext) -> None:
        self._file = descriptor
        self._call = call
        self._wanted = wanted
        self._context = context
        self._identity = {"part": name, "url": digest(str(call.url))}
        self._mark = ""
        self._done = self._synced = 0
        self._hash = hashlib.sha256()

    async def begin(self) -> None:
        """Keep what an earlier attempt has saved."""
        saved = self._context.saved
        if not isinstance(saved, dict) or {key: saved.get(key) for key in self._identity} != self._identity:
            saved = {}
        done, mark = saved.get("done"), saved.get("mark")
        kept = done if isinstance(done, int) and mark and 0 < done <= os.fstat(self._file).st_size else 0
        os.ftruncate(self._file, kept)
        if kept:
            await asyncio.to_thread(self._read_kept, kept)
            self._mark = str(mark)
            self._context.logger.info("going on after %d bytes downloaded by an earlier attempt", kept)

    def _read_kept(self, kept: int) -> None:
        while self._done < kept and (data := os.pread(self._file, min(_CHUNK, kept - self._done), self._done)):
            self._hash.update(data)
            self._done += len(data)
        self._synced = self._done

    async def fetch(self) -> dict[str, Any]:
        """Get what is missing, and tell what the whole is."""
        call = self._call.with_headers(accept_encoding="identity")
        if self._done:
            call = call.with_headers(range=f"bytes={self._done}-", if_range=self._mark)
        async with answered(call, self._wanted.redirects) as (last, answer):
            if answer.status_code == 416 and self._done:  # noqa: PLR2004 - the range is no longer in the file
                self._restart()
            else:
                return await self._take(last, answer)
        return await self.fetch()

    async def _take(self, call: Call, answer: httpx2.Response) -> dict[str, Any]:
        total = self._place_of(answer) if answer.status_code in (200, 206) else None
        if total is None:
            raise await refused(call, answer)
        plain = answer.headers.get("content-encoding", "identity").lower() == "identity"
        self._mark = _mark(answer) if plain else ""
        if total > self._wanted.max_bytes:
            raise too_large(call, self._wanted.max_bytes)
        try:
            async for data in answer.aiter_bytes():
                await self._write(call, data, total)
        except BaseException:
            if self._mark and self._done > self._synced:
                os.fdatasync(self._file)
                self._note()
            raise
        sha256 = self._hash.hexdigest()
        if self._wanted.sha256 is not None and sha256 != self._wanted.sha256.lower():
            size = self._done
            self._restart()
            self._context.save(None)
            raise TaskError(
                f"{call.method} {call.shown}: expected the SHA-256 {self._wanted.sha256}, got {sha256} of "
                f"{size:,} bytes; nothing is kept",
                kind="digest",
            )
        kind = answer.headers.get("content-type", "")
        return {"size": self._done, "sha256": sha256, "type": kind, "url": call.shown}

    def _place_of(self, answer: httpx2.Response) -> int | None:
        """Return the whole size that an answer tells of (0: unknown), and begin anew unless it goes on; None: unfit."""
        if answer.status_code == 200:  # noqa: PLR2004
            self._restart()
            length = answer.headers.get("content-length", "")
            return int(length) if length.isdecimal() and "content-encoding" not in answer.headers else 0
        found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
        if found is None or not self._done or int(found[1]) != self._done or _mark(answer) not in ("", self._mark):
            return None
        return 0 if found[2] == "*" else int(found[2])

    async def _write(self, call: Call, data: bytes, total: int) -> None:
        if self._done + len(data) > self._wanted.max_bytes:
            raise too_large(call, self._wanted.max_bytes)
        os.lseek(self._file, self._done, os.SEEK_SET)
        write_all(self._file, data)
        self._hash.update(data)
        self._done += len(data)
        self._context.progress(self._done, total or None, "downloaded")
        if self._mark and self._done - self._synced >= SAVE_EVERY:
            await asyncio.to_thread(os.fdatasync, self._file)
            self._note()

    def _note(self) -> None:
        """Have a later attempt go on from what is synced; of use only where the server marks versions."""
        self._synced = self._done
        self._context.save({**self._identity, "mark": self._mark, "done": self._done})

    def _restart(self) -> None:
        os.ftruncate(self._file, 0)
        self._done = self._synced = 0
        self._hash = hashlib.sha256()


def _mark(answer: httpx2.Response) -> str:
    """Return what tells this version of the file from others (RFC 9110, 13.1.5): a strong ETag, else its date."""
    tag: str = answer.headers.get("etag", "")
    if tag:
        return "" if tag.startswith("W/") else tag
    return str(answer.headers.get("last-modified", ""))
