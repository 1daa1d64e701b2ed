from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest

from orchestrator import Orchestrator
from tests.unit.core.bench import Bench

_numbers = itertools.count(1)


@pytest.fixture(params=["sqlite", "memory"])
def url(request: pytest.FixtureRequest) -> str:
    return "sqlite:///store.db" if request.param == "sqlite" else f"memory://test-{next(_numbers)}"


@pytest.fixture
async def bench(url: str) -> AsyncIterator[Bench]:
    made = Bench(url)
    yield made
    await made.close()


@pytest.fixture
def orchestrator(bench: Bench) -> Orchestrator:
    return bench.open()
