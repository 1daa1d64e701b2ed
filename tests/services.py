"""Servers for tests: started by the first test that asks, one for each test process, in memory where there is some.

``ORCHESTRATOR_TEST_POSTGRES_URL`` names a server to use instead (its user must be allowed to create schemas).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import psycopg
import pytest

from chaos.servers.postgres import PostgresServer, ServerUnavailable

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
    separator = "&" if "?" in postgres_server_url else "?"
    return f"{postgres_server_url}{separator}schema={postgres_schemas()}"
