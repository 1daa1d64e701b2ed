"""Where the stores of trials live: one kind of ground for each kind of store.

A trial has a folder for its logs. Its store is in that folder, or in a place of its own on a server that all trials of
a campaign share. A copy of the store is taken at each kill without a line of the product's code, for the judge to open.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from chaos.checks import STORE

if TYPE_CHECKING:
    import psycopg

LEASE_SECONDS = 2.0
"""Long enough for an owner on a busy machine, which renews it every half second; every kill waits for it to run out."""


class Ground(Protocol):
    """What a trial asks of the place where its store is.

    ``lease`` is how long the processes of a trial own an execution without being heard of, in seconds; 0 where that
    does not matter, because what a killed owner had is free at once.
    """

    kind: str
    lease: float

    def url(self, folder: Path, durability: str = "full") -> str:
        """Return the URL of the store of the trial in ``folder``; it need not exist yet."""

    def copy(self, folder: Path, number: int) -> str:
        """Copy the store while none of the trial's processes is at work on it; return the copy's URL."""

    def clear(self, folder: Path) -> None:
        """Remove the store and its copies."""

    def close(self) -> None:
        """Remove everything, and end the server if there is one."""


class Files:
    """Stores in SQLite, each in the folder of its trial: whoever removes that removes them."""

    kind = "sqlite"
    lease = 0.0

    def url(self, folder: Path, durability: str = "full") -> str:
        """See Ground."""
        return f"sqlite:///{folder}/{STORE}?durability={durability}"

    def copy(self, folder: Path, number: int) -> str:
        """See Ground."""
        target = folder / f"snapshot-{number}"
        target.mkdir()
        for suffix in ("", "-wal", "-blobs"):
            source = folder / f"{STORE}{suffix}"
            if source.is_dir():
                with suppress(FileNotFoundError):
                    shutil.copytree(source, target / source.name)
            elif source.exists():
                shutil.copy(source, target / source.name)
        return self.url(target, "process")

    def clear(self, folder: Path) -> None:
        """See Ground."""

    def close(self) -> None:
        """See Ground."""


FILES = Files()


class Postgres:
    """Stores in a PostgreSQL of the campaign's own, each in a schema of its own.

    ``port`` is another port under which its processes reach the server (0: its own).
    """

    kind = "postgres"
    lease = LEASE_SECONDS

    def __init__(self) -> None:
        from chaos.servers.postgres import PostgresServer

        self.server = PostgresServer(settings={"max_connections": "300"})
        self.server.start()
        self.port = 0

    def url(self, folder: Path, durability: str = "full") -> str:
        """See Ground."""
        del durability  # of the server
        return self._url_of(_place(folder), self.port)

    def copy(self, folder: Path, number: int) -> str:
        """See Ground."""
        source, target = _place(folder), f"{_place(folder)}_s{number}"
        with self._connect() as db:
            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            db.execute(f"CREATE SCHEMA {target}".encode())
            tables = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [source]).fetchall()
            for (table,) in tables:
                copied = f'{target}."{table}"'
                db.execute(f'CREATE TABLE {copied} (LIKE {source}."{table}" INCLUDING ALL)'.encode())
                db.execute(f'INSERT INTO {copied} OVERRIDING SYSTEM VALUE SELECT * FROM {source}."{table}"'.encode())
        return self._url_of(target)

    def clear(self, folder: Path) -> None:
        """See Ground."""
        place = _place(folder)
        with self._connect() as db:
            names = db.execute("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)", [place]).fetchall()
        for (name,) in names:  # one by one: each drop takes locks for every table
            with self._connect() as db:
                db.execute("SET LOCAL client_min_messages = error")
                db.execute(f"DROP SCHEMA {name} CASCADE".encode())

    def close(self) -> None:
        """See Ground."""
        self.server.close()

    def _url_of(self, schema: str, port: int = 0) -> str:
        return f"{self.server.url_of('postgres', port=port or None)}?schema={schema}"

    def _connect(self) -> psycopg.Connection[Any]:
        import psycopg

        return psycopg.connect(self.server.url)


class Redis:
    """Stores in a Redis of the campaign's own that syncs its log at each write, each under a prefix of its own.

    ``port`` is another port under which its processes reach the server (0: its own).
    """

    kind = "redis"
    lease = LEASE_SECONDS

    def __init__(self) -> None:
        import redis

        from chaos.servers.redis import RedisServer

        self.server = RedisServer(appendonly="yes", appendfsync="always")
        self.server.start()
        self.port = 0
        self._client = redis.Redis(port=self.server.port)
        self._copy = self._client.register_script(_COPY)
        self._clear = self._client.register_script(_CLEAR)

    def url(self, folder: Path, durability: str = "full") -> str:
        """See Ground."""
        del durability  # of the server
        return self._url_of(_place(folder), self.port)

    def copy(self, folder: Path, number: int) -> str:
        """See Ground."""
        target = f"{_place(folder)}s{number}"
        self._copy(args=[f"{_place(folder)}:", f"{target}:"])
        return self._url_of(target)

    def clear(self, folder: Path) -> None:
        """See Ground."""
        self._clear(args=[_place(folder)])

    def close(self) -> None:
        """See Ground."""
        self._client.close()
        self.server.close()

    def _url_of(self, prefix: str, port: int = 0) -> str:
        return f"redis://127.0.0.1:{port or self.server.port}/0?prefix={prefix}"


_COPY = """
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
    redis.call('COPY', key, ARGV[2] .. string.sub(key, #ARGV[1] + 1))
end
"""
_CLEAR = """
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. '*')) do
    redis.call('UNLINK', key)
end
"""

GROUNDS: dict[str, Callable[[], Ground]] = {"sqlite": Files, "postgres": Postgres, "redis": Redis}


def _place(folder: Path) -> str:
    """Return what the place of a trial is called on a server: a name as short as every server takes it."""
    return "t" + hashlib.sha256(str(folder).encode()).hexdigest()[:16]
