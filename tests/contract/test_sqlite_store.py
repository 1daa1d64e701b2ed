from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.ports.store import Store
from orchestrator.state.encryption import Encryption
from orchestrator.state.sqlite import SqliteStore
from orchestrator.testing.clock import ManualClock, SeededChance
from orchestrator.testing.store_suite import StoreSuite
from orchestrator.testing.stores.cache import CacheTests
from orchestrator.testing.stores.journal import AppendTests, ReadTests
from orchestrator.testing.stores.values import ReferredValueTests, SharedValueTests


class TestSqliteStore(StoreSuite):
    @pytest.fixture
    def make_store(self, quick_path: Path, clock: ManualClock, chance: SeededChance) -> Callable[[], Store]:
        return lambda: SqliteStore(quick_path / "store.db", clock=clock, chance=chance)


class TestEncryptedSqliteStore(AppendTests, ReadTests, SharedValueTests, ReferredValueTests, CacheTests):
    @pytest.fixture
    def make_store(self, quick_path: Path, clock: ManualClock, chance: SeededChance) -> Callable[[], Store]:
        sealing = Encryption({"new": bytes(32), "old": bytes(range(32))})
        return lambda: SqliteStore(quick_path / "store.db", clock=clock, chance=chance, sealing=sealing)
