from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.everystore import STORES
from tests.fleet.yard import Yard, yard_of


@pytest.fixture
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty store that many processes share."""
    kind = getattr(request, "param", "sqlite")
    return f"sqlite:///{tmp_path}/store.db" if kind == "sqlite" else STORES[kind](request)


@pytest.fixture
def yard(tmp_path: Path, store_url: str) -> Iterator[Yard]:
    with yard_of(tmp_path, store_url) as made:
        yield made
