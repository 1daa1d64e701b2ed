"""Copying a file in parts, so that a copy that was cut off goes on where it stopped."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.errors import TaskError
from orchestrator.tools.atomic import part_name, rename, sha256_of, write_all
from orchestrator.tools.fileerrors import cancelled, os_refused

if TYPE_CHECKING:
    from orchestrator.ports.context import TaskContext
    from orchestrator.tools.paths import Place

CHUNK = 1 << 20
SAVE_EVERY = 32 << 20
"""Bytes between two saves; each is preceded by a sync, for what is saved must be on the disk."""


class Copied(NamedTuple):
    """A copy that is there: its size and SHA-256, and what the source and the copy were then."""

    size: int
    sha256: str
    source: os.stat_result
    target: os.stat_result


def copy_file(origin: Place, place: Place, context: TaskContext, *, overwrite: bool) -> Copied:
    """Copy the file at ``origin`` to ``place``.

    The copy grows in an unfinished file beside the place, which belongs to this task. Saved is how much of it is
    synced, and what the source was then: a source that has changed since is copied from the start.
    """
    source = origin.open(os.O_RDONLY)
    try:
        if not overwrite and place.stat() is not None:
            return _compare(source, place)
        try:
            return _copy(source, place, context)
        except OSError as error:
            raise os_refused(place.path, error) from error
    finally:
        os.close(source)


def _copy(source: int, place: Place, context: TaskContext) -> Copied:
    found = place.stat()
    if found is not None:
        place.require_file(found)
    about = os.fstat(source)
    total = about.st_size
    name = part_name(place, context)
    state: dict[str, Any] = {"part": name, "size": total, "changed": about.st_mtime_ns, "inode": about.st_ino}
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    target = os.open(name, flags, about.st_mode & 0o777 | 0o200, dir_fd=place.folder)
    try:
        done, hasher = _begin(target, state, context)
        saved = done
        while data := os.pread(source, CHUNK, done):
            if context.cancelled:
                raise cancelled("the copy")
            os.lseek(target, done, os.SEEK_SET)
            write_all(target, data)
            hasher.update(data)
            done += len(data)
            context.progress(done, total, "copied")
            if done - saved >= SAVE_EVERY:
                os.fdatasync(target)
                context.save({**state, "copied": done})
                saved = done
        _unchanged(os.fstat(source), about)
        os.fchmod(target, about.st_mode & 0o777)
        os.fsync(target)
        made = os.fstat(target)
    finally:
        os.close(target)
    try:
        rename(name, place)
    except FileNotFoundError:  # another attempt of this task, its thread long given up, was a moment faster
        if place.stat() is None:
            raise
    return Copied(done, hasher.hexdigest(), about, made)


def _begin(target: int, state: dict[str, Any], context: TaskContext) -> tuple[int, Any]:
    """Return how much of the unfinished file can be kept, and the hash of it."""
    saved = context.saved
    hasher = hashlib.sha256()
    kept = 0
    if isinstance(saved, dict) and {key: saved.get(key) for key in state} == state:
        copied = saved.get("copied")
        if isinstance(copied, int) and copied <= os.fstat(target).st_size:
            kept = copied
    os.ftruncate(target, kept)
    done = 0
    while done < kept and (data := os.pread(target, min(CHUNK, kept - done), done)):
        hasher.update(data)
        done += len(data)
    if done:
        context.logger.info("going on after %d bytes copied by an earlier attempt", done)
    return done, hasher


def _compare(source: int, place: Place) -> Copied:
    target = place.open(os.O_RDONLY)
    try:
        about, there, sha256 = os.fstat(source), os.fstat(target), sha256_of(source)
        if there.st_size == about.st_size and sha256_of(target) == sha256:
            return Copied(about.st_size, sha256, about, there)
    finally:
        with suppress(OSError):
            os.close(target)
    raise TaskError(f"{place.path!r} exists already; `overwrite: true` replaces it", kind="exists", retryable=False)


def _unchanged(now: os.stat_result, before: os.stat_result) -> None:
    if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise TaskError("the source changed while it was copied", kind="changed")
