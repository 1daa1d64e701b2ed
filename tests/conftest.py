"""What holds for every test: a folder of its own, no settings from outside, reproducible Hypothesis."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.services import (
    postgres_emptied_url,
    postgres_kept,
    postgres_schemas,
    postgres_server_url,
    postgres_url,
)
from tests.services_redis import redis_place, redis_url

__all__ = [
    "isolated",
    "postgres_emptied_url",
    "postgres_kept",
    "postgres_schemas",
    "postgres_server_url",
    "postgres_url",
    "redis_place",
    "redis_url",
]

_EXAMPLES = DirectoryBasedExampleDatabase(Path(__file__).parent.parent / ".hypothesis" / "examples")

settings.register_profile(
    "ci", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "long", deadline=None, max_examples=5_000, database=_EXAMPLES, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


# A run in the background (`nohup make test &`) inherits ignored signals, and would hand them on to every process under
# test: what is tested is how programs behave that were started in the usual way.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    signal.signal(_number, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run each test in its own empty folder, without our variables, and take back what it adds to the import path."""
    for name in list(os.environ):
        if name.startswith("ORCHESTRATOR_") and not name.startswith("ORCHESTRATOR_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    environment = dict(os.environ)
    yield tmp_path
    sys.path[:] = path
    for name in set(os.environ) - set(environment):
        if name.startswith("ORCHESTRATOR_"):  # a registry puts its permissions there for its workers
            del os.environ[name]
