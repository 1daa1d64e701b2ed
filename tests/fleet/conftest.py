from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fleet.yard import Yard, yard_of

STORES: dict[str, Callable[[Path], str]] = {
    "sqlite": lambda folder: f"sqlite:///{folder}/store.db",
}
"""Stores that many processes share: name -> what makes the URL of an empty one."""


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return STORES[request.param](tmp_path)


@pytest.fixture
def yard(tmp_path: Path, store_url: str) -> Iterator[Yard]:
    with yard_of(tmp_path, store_url) as made:
        yield made
