"""What a store's author provides to the suite, and what its tests ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from orchestrator.ports.store import Store
from orchestrator.testing.clock import ManualClock, SeededChance


class StoreFixtures:
    """Override ``make_store``; set ``lease_seconds`` if your stores do not grant 30 s."""

    pytestmark = pytest.mark.asyncio
    lease_seconds = 30.0

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the clock to give to every handle."""
        return ManualClock()

    @pytest.fixture
    def chance(self) -> SeededChance:
        """Return the chance to give to every handle."""
        return SeededChance()

    @pytest.fixture
    def pass_time(self, clock: ManualClock) -> Callable[[float], None]:
        """Return what lets seconds pass; override it for stores whose leases go by their server's clock."""
        return clock.advance

    @pytest.fixture
    def make_store(self) -> Callable[[], Store]:
        """Return a function whose every call opens a new handle onto the same store, empty at first."""
        raise NotImplementedError(f"{type(self).__name__} has to override the fixture make_store")

    @pytest_asyncio.fixture
    async def opened(self, make_store: Callable[[], Store]) -> AsyncIterator[Callable[[], Store]]:
        """Return ``make_store``, with what it opens closed after the test."""
        handles: list[Store] = []

        def one() -> Store:
            handles.append(make_store())
            return handles[-1]

        yield one
        for handle in handles:
            await handle.close()

    @pytest_asyncio.fixture
    async def store(self, opened: Callable[[], Store]) -> Store:
        """Return a first handle."""
        return opened()

    @pytest_asyncio.fixture
    async def other(self, opened: Callable[[], Store], store: Store) -> Store:
        """Return a second handle, as another process would have."""
        del store  # only to be the second
        return opened()
