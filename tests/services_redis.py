"""A Redis for tests: one server per test process, a prefix of its own per test.

``ORCHESTRATOR_TEST_REDIS_URL`` names a server that is there already; else a private one is started on first use, with
its log in memory where there is one. Where none can be had, the tests that need one are skipped, with the reason.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from chaos.servers import ServerUnavailable
from chaos.servers.redis import RedisServer

URL_VARIABLE = "ORCHESTRATOR_TEST_REDIS_URL"


class RedisPlace(NamedTuple):
    """Where a test may keep a store: the server, for clients of its own, and the URL of a store that is empty."""

    server_url: str
    url: str
    prefix: str


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Return the URL of a server whose every commit is on its disk before it is answered."""
    chosen = os.environ.get(URL_VARIABLE)
    if chosen:
        yield chosen
        return
    try:
        server = RedisServer(appendonly="yes", appendfsync="always")
        server.start()
    except ServerUnavailable as error:
        pytest.skip(str(error))
    yield server.url
    server.close()


@pytest.fixture
def redis_place(redis_url: str) -> RedisPlace:
    """Return a place for a store on that server, whose keys nobody else uses."""
    prefix = f"test-{secrets.token_hex(8)}"
    joint = "&" if "?" in redis_url else "?"
    return RedisPlace(redis_url, f"{redis_url}{joint}prefix={prefix}", prefix)
