from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.everystore import STORES
from tests.fleet.yard import Yard, yard_of


@pytest.fixture(
    params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow), pytest.param("redis", marks=pytest.mark.slow)]
)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty store that many processes share."""
    return f"sqlite:///{tmp_path}/store.db" if request.param == "sqlite" else STORES[request.param](request)


@pytest.fixture
def yard(tmp_path: Path, store_url: str) -> Iterator[Yard]:
    with yard_of(tmp_path, store_url) as made:
        yield made
