"""The floor: what the same store costs with nothing of ours around it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import apsw

if TYPE_CHECKING:
    from pathlib import Path


def commits(path: Path, count: int, *, durable: bool, size: int = 150) -> float:
    """Return the seconds per commit of one row of ``size`` bytes: WAL, FULL (or NORMAL), one INSERT each."""
    db = apsw.Connection(str(path))
    db.pragma("journal_mode", "WAL")
    db.pragma("synchronous", "FULL" if durable else "NORMAL")
    db.execute("CREATE TABLE journal (position INTEGER PRIMARY KEY, at REAL, completed INTEGER, record BLOB) STRICT")
    record = os.urandom(size)
    start = time.perf_counter()
    for position in range(count):
        db.execute("INSERT INTO journal VALUES (?, ?, ?, ?)", (position, 1.0, position, record))
    seconds = time.perf_counter() - start
    db.close()
    return seconds / count
