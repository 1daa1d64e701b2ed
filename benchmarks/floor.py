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


async def postgres_commits(url: str, count: int, *, size: int = 150) -> float:
    """Return the seconds per commit of one row: one prepared INSERT each, on one connection of the same driver."""
    import psycopg

    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
        db.prepare_threshold = 0
        await db.execute("SET synchronous_commit = on")
        await db.execute("DROP TABLE IF EXISTS floor")
        await db.execute("CREATE TABLE floor (position bigint PRIMARY KEY, at float8, completed int, record bytea)")
        record = os.urandom(size)
        start = time.perf_counter()
        for position in range(count):
            await db.execute(
                "INSERT INTO floor VALUES (%s, %s, %s, %s)", (position, 1.0, position, record), binary=True
            )
        return (time.perf_counter() - start) / count


async def redis_commits(url: str, count: int, *, size: int = 150) -> float:
    """Return the seconds per write of one script that appends to a list, on one connection of the same driver."""
    import redis.asyncio

    async with redis.asyncio.Redis.from_url(url, single_connection_client=True) as client:
        script = client.register_script("return redis.call('RPUSH', KEYS[1], ARGV[1])")
        await client.delete("floor")
        record = os.urandom(size)
        await script(keys=["floor"], args=[record])
        start = time.perf_counter()
        for _ in range(count):
            await script(keys=["floor"], args=[record])
        return (time.perf_counter() - start) / count
