"""Where the stores of trials live: one kind of ground for each kind of store.

A trial has a folder for its logs. Its store is in that folder, or in a place of its own on a server that all trials of
a campaign share. A copy of the store is taken at each kill without a line of the product's code, for the judge to open.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from chaos.checks import STORE

if TYPE_CHECKING:
    import psycopg

    from chaos.servers.postgres import PostgresServer
    from chaos.servers.redis import RedisServer

AWAY_SECONDS = 60.0
"""For how long a server that was killed may be gone."""
LEASE_SECONDS = 2.0
"""Long enough for an owner on a busy machine, which renews it every half second; every kill waits for it to run out."""


class Ground(Protocol):
    """What a trial asks of the place where its store is.

    ``lease`` is how long a process of a trial that is to be killed owns an execution without being heard of, in
    seconds; 0 where that does not matter, because what a killed owner had is free at once. Others have the usual
    lease: on a machine this busy a process may stand still for a second or two.
    """

    kind: str
    lease: float

    @property
    def versions(self) -> dict[str, str]:
        """Return the versions of the server and its driver, if there is one."""

    def url(self, folder: Path, durability: str = "full") -> str:
        """Return the URL of the store of the trial in ``folder``; it need not exist yet."""

    def copy(self, folder: Path, number: int) -> str:
        """Copy the store while none of the trial's processes is at work on it; return the copy's URL."""

    def clear(self, folder: Path) -> None:
        """Remove the store and its copies."""

    def close(self) -> None:
        """Remove everything, and end the server if there is one."""


class ServerGround(Ground, Protocol):
    """Ground on a server of the campaign's own, which it may kill and start again."""

    server: PostgresServer | RedisServer

    def through(self, port: int) -> Self:
        """Return this ground as the processes of trials see it that reach the server by another port."""


class Files:
    """Stores in SQLite, each in the folder of its trial: whoever removes that removes them."""

    kind = "sqlite"
    lease = 0.0

    @property
    def versions(self) -> dict[str, str]:
        """See Ground."""
        return {}

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
    """Stores in a PostgreSQL of the campaign's own, each in a schema of its own."""

    kind = "postgres"
    lease = LEASE_SECONDS

    def __init__(self) -> None:
        from chaos.servers.postgres import PostgresServer

        self.server = PostgresServer(settings={"max_connections": "300", "autovacuum": "off"})
        self.server.start()
        self.port = 0

    @property
    def versions(self) -> dict[str, str]:
        """See Ground."""
        import psycopg

        with psycopg.connect(self.server.url) as db:
            number = str(db.info.parameter_status("server_version"))
        return {"PostgreSQL": number, "psycopg": version("psycopg")}

    def url(self, folder: Path, durability: str = "full") -> str:
        """See Ground."""
        del durability  # of the server
        return self._url_of(_place(folder), self.port)

    def copy(self, folder: Path, number: int) -> str:
        """See Ground."""
        source, target = _place(folder), f"{_place(folder)}_s{number}"

        def take(db: psycopg.Connection[Any]) -> None:
            db.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            _drop(db, target)
            db.execute(f"CREATE SCHEMA {target}".encode())
            tables = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [source]).fetchall()
            for (table,) in tables:
                # With its keys: a store that was killed between two migrations is migrated on when the copy is opened.
                made = f'CREATE TABLE {target}."{table}" (LIKE {source}."{table}" INCLUDING ALL)'
                db.execute(made.encode())
                filled = f'INSERT INTO {target}."{table}" OVERRIDING SYSTEM VALUE TABLE {source}."{table}"'
                db.execute(filled.encode())

        self._insist(take)
        return self._url_of(target)

    def clear(self, folder: Path) -> None:
        """See Ground."""
        names: list[str] = []

        def find(db: psycopg.Connection[Any]) -> None:
            command = "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s)"
            names.extend(name for (name,) in db.execute(command, [_place(folder)]).fetchall())

        self._insist(find)
        if names:
            self._insist(partial(_drop, schemas=", ".join(set(names))))

    def close(self) -> None:
        """See Ground."""
        self.server.close()

    def through(self, port: int) -> Self:
        """See ServerGround."""
        made = copy(self)
        made.port = port
        return made

    def _url_of(self, schema: str, port: int = 0) -> str:
        return f"{self.server.url_of('postgres', port=port or None)}?schema={schema}"

    def _insist(self, act: Callable[[psycopg.Connection[Any]], None]) -> None:
        """Carry out a transaction, which may be repeated, on a server that may be gone for a while."""
        import psycopg

        def transaction() -> None:
            with psycopg.connect(self.server.url) as db:
                act(db)

        _insist(transaction, psycopg.OperationalError)


class Redis:
    """Stores in a Redis of the campaign's own that syncs its log at each write, each under a prefix of its own."""

    kind = "redis"
    lease = LEASE_SECONDS

    def __init__(self) -> None:
        import redis

        from chaos.servers.redis import RedisServer

        self.server = RedisServer(appendonly="yes", appendfsync="always")
        self.server.start()
        self.port = 0
        self._client = redis.Redis(port=self.server.port)
        self._errors = (redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError)
        self._copy = self._client.register_script(_COPY)
        self._clear = self._client.register_script(_CLEAR)

    @property
    def versions(self) -> dict[str, str]:
        """See Ground."""
        info: Any = self._client.info("server")
        name = "Valkey" if "valkey_version" in info else "Redis"
        return {name: info.get("valkey_version") or info["redis_version"], "redis-py": version("redis")}

    def url(self, folder: Path, durability: str = "full") -> str:
        """See Ground."""
        del durability  # of the server
        return self._url_of(_place(folder), self.port)

    def copy(self, folder: Path, number: int) -> str:
        """See Ground."""
        target = f"{_place(folder)}s{number}"
        _insist(partial(self._copy, args=[_place(folder), target]), *self._errors)
        return self._url_of(target)

    def clear(self, folder: Path) -> None:
        """See Ground."""
        _insist(partial(self._clear, args=[_place(folder)]), *self._errors)

    def close(self) -> None:
        """See Ground."""
        self._client.close()
        self.server.close()

    def through(self, port: int) -> Self:
        """See ServerGround."""
        made = copy(self)
        made.port = port
        return made

    def _url_of(self, prefix: str, port: int = 0) -> str:
        return f"redis://127.0.0.1:{port or self.server.port}/0?prefix={prefix}"


_COPY = """
-- Wherever in a key the place is named; that of a copy goes on with an s.
for _, key in ipairs(redis.call('KEYS', '*' .. ARGV[1] .. '*')) do
    local from, to = string.find(key, ARGV[1], 1, true)
    if string.sub(key, to + 1, to + 1) ~= 's' then
        redis.call('COPY', key, string.sub(key, 1, from - 1) .. ARGV[2] .. string.sub(key, to + 1), 'REPLACE')
    end
end
"""
_CLEAR = """
for _, key in ipairs(redis.call('KEYS', '*' .. ARGV[1] .. '*')) do
    redis.call('UNLINK', key)
end
"""

GROUNDS: dict[str, Callable[[], Ground]] = {"sqlite": Files, "postgres": Postgres, "redis": Redis}


def _drop(db: psycopg.Connection[Any], schemas: str) -> None:
    db.execute("SET LOCAL client_min_messages = error")
    db.execute(f"DROP SCHEMA IF EXISTS {schemas} CASCADE".encode())


def _insist(act: Callable[[], object], *errors: type[Exception]) -> None:
    end = time.monotonic() + AWAY_SECONDS
    while True:
        try:
            act()
        except errors:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


def _place(folder: Path) -> str:
    """Return what the place of a trial is called on a server: a name as short as every server takes it."""
    return "t" + hashlib.sha256(str(folder).encode()).hexdigest()[:16]
