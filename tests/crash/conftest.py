from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chaos.client import Forks
from chaos.trials import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Forks() as forks:
        yield Lab(forks)
