"""Servers for tests: started by the first test that asks, one for each test process, in memory where there is some.

``ORCHESTRATOR_TEST_POSTGRES_URL`` names a server to use instead (its user must be allowed to create schemas).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import psycopg
import pytest

from chaos.servers import ServerUnavailable
from chaos.servers.postgres import PostgresServer
from orchestrator.state.postgres import parse_target

POSTGRES_VARIABLE = "ORCHESTRATOR_TEST_POSTGRES_URL"

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server_url() -> Iterator[str]:
    """Return the URL of a running PostgreSQL; skips where there is none and none can be started."""
    chosen = os.environ.get(POSTGRES_VARIABLE)
    if chosen:
        yield chosen
        return
    server = PostgresServer()
    try:
        server.start()
    except ServerUnavailable as error:
        server.close()
        pytest.skip(str(error))
    yield server.url
    server.close()


@pytest.fixture
def postgres_schemas(postgres_server_url: str) -> Iterator[Callable[[], str]]:
    """Return a function that names a schema that is not there yet; what stands in them is dropped after the test."""
    names: list[str] = []

    def another() -> str:
        names.append(f"test_{os.getpid()}_{next(_numbers)}")
        return names[-1]

    yield another
    with psycopg.connect(postgres_server_url, autocommit=True) as db:
        for name in names:
            db.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE".encode())


@pytest.fixture
def postgres_url(postgres_server_url: str, postgres_schemas: Callable[[], str]) -> str:
    """Return the URL of an empty store in PostgreSQL, in a schema of its own."""
    return _with_schema(postgres_server_url, postgres_schemas())


@pytest.fixture(scope="session")
def postgres_kept(postgres_server_url: str) -> Iterator[tuple[str, psycopg.Connection]]:
    """Return the URL of a schema that many tests use one after the other, and an administrator's connection to it."""
    name = f"test_{os.getpid()}_kept"
    with psycopg.connect(postgres_server_url, autocommit=True) as db:
        yield _with_schema(postgres_server_url, name), db
        db.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE".encode())


@pytest.fixture
def postgres_emptied_url(postgres_kept: tuple[str, psycopg.Connection]) -> str:
    """Return the URL of an empty store whose tables may be there already: making them is half of a short test."""
    url, db = postgres_kept
    schema = parse_target(url, durable=True).schema
    if db.execute("SELECT to_regclass(%s)", (f"{schema}.meta",)).fetchone() != (None,):
        tables = ("refs", "vals", "journal", "hidden", "queues", "removed", "executions")
        db.execute("; ".join(f"DELETE FROM {schema}.{table}" for table in tables).encode())
    return url


def _with_schema(url: str, name: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}schema={name}"
