"""The append-only logs by which a trial is judged: what steps did, and what the engine told.

A line is one ``write`` to a file opened with O_APPEND, so lines of several processes never mix, and their order in
the file is the order in which they happened. Every line is synced before the step goes on. Columns, separated by
tabs: what (``begin``, ``end``), task, attempt, idempotency key, pid, time (ns on the boot clock), details (JSON).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple


class Effect(NamedTuple):
    """One line of the log of side effects.

    ``begin`` details: ``reads`` (step -> who made the value that was read), ``saved`` (what the attempt goes on
    from). ``end`` details: ``by`` (who made the value), ``digest`` (of its deterministic part).
    """

    what: str
    task: str
    attempt: int
    key: str
    pid: int
    at: int
    details: dict[str, Any]


class Told(NamedTuple):
    """One line of the log of acknowledged facts: written by a listener, so after the fact was made durable."""

    pid: int
    seq: int
    event: str
    task: str


def append(path: str, *columns: object, sync: bool = True) -> None:
    """Append one line, whole or not at all; durable on return unless ``sync`` is False."""
    line = "\t".join(str(column) for column in columns) + "\n"
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, line.encode())
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def record(path: str, what: str, task: str, attempt: int, key: str, details: dict[str, Any]) -> None:
    """Append an effect of this process."""
    append(path, what, task, attempt, key, os.getpid(), _now(), json.dumps(details))


def read_effects(path: Path, size: int | None = None) -> list[Effect]:
    """Return the effects logged in the first ``size`` bytes (None: all)."""
    found = []
    for what, task, attempt, key, pid, at, details in _rows(path, size):
        found.append(Effect(what, task, int(attempt), key, int(pid), int(at), json.loads(details)))
    return found


def read_told(path: Path, size: int | None = None) -> list[Told]:
    """Return the acknowledged facts in the first ``size`` bytes (None: all)."""
    return [Told(int(pid), int(seq), event, task) for pid, seq, event, task in _rows(path, size)]


def size_of(path: Path) -> int:
    """Return the length of a log in bytes; 0 if it does not exist."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def digest_of(data: Any) -> str:
    """Return a short digest of plain data."""
    if not isinstance(data, bytes):
        data = json.dumps(data, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def _rows(path: Path, size: int | None) -> list[list[str]]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return [line.split("\t") for line in data[:size].decode().splitlines()]


def _now() -> int:
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
