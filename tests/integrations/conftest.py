"""Savers on each kind of store."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.integrations.langgraph import OrchestratorSaver
from tests.everystore import NEAR, SHARED, STORES

MEMORY = Path("/dev/shm")


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """Return a folder in memory where there is one."""
    if not MEMORY.is_dir():
        yield tmp_path
        return
    folder = Path(tempfile.mkdtemp(dir=MEMORY, prefix="orchestrator-test-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=list(STORES))
def store_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty store."""
    return STORES[request.param](request)


@pytest.fixture(params=NEAR)
def near_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty store without a server: for what is the same on all, and would take long there."""
    return STORES[request.param](request)


@pytest.fixture(params=SHARED)
def shared_url(request: pytest.FixtureRequest) -> str:
    """Return the URL of an empty store that several processes can use."""
    return STORES[request.param](request)


@pytest.fixture
def sqlite_url(request: pytest.FixtureRequest) -> str:
    return STORES["sqlite"](request)


@pytest.fixture
async def saver(near_url: str) -> AsyncIterator[OrchestratorSaver]:
    async with OrchestratorSaver(near_url) as opened:
        yield opened
