from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.errors import StoreDamaged
from orchestrator.ports.store import Store
from orchestrator.state.memory import MemoryStore
from orchestrator.testing.clock import ManualClock, SeededChance
from orchestrator.testing.store_suite import LeaseExpirySuite, StoreSuite
from orchestrator.testing.stores.facts import admit, created, facts, value


class TestMemoryStore(StoreSuite, LeaseExpirySuite):
    @pytest.fixture
    def make_store(self, clock: ManualClock, chance: SeededChance) -> Callable[[], Store]:
        return MemoryStore(clock=clock, chance=chance).reopened


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(clock=ManualClock(), chance=SeededChance())


async def test_one_store_per_name() -> None:
    clock, chance = ManualClock(), SeededChance()
    one, again, another = (MemoryStore.shared(name, clock=clock, chance=chance) for name in ("one", "one", "another"))
    await admit(one)
    assert await facts(again) == [created()]
    assert await another.summaries() == []
    assert (one.url, another.url) == ("memory://one", "memory://another")


async def test_closing_one_handle_of_a_name_keeps_the_data() -> None:
    clock, chance = ManualClock(), SeededChance()
    first = MemoryStore.shared("kept", clock=clock, chance=chance)
    await admit(first)
    await first.close()
    assert await facts(MemoryStore.shared("kept", clock=clock, chance=chance)) == [created()]


async def test_a_damaged_value_is_reported(store: MemoryStore) -> None:
    kept = value(2000)
    await store.create("x", "o", [created()], [kept])  # type: ignore[arg-type]
    record = store._data.values[kept.ref.data]
    store._data.values[kept.ref.data] = record[:-1] + bytes([record[-1] ^ 1])
    with pytest.raises(StoreDamaged, match=kept.ref.data.hex()):
        await store.get(kept.ref)


async def test_a_damaged_commit_is_reported(store: MemoryStore) -> None:
    await admit(store)
    rows = store._data.executions["x"].commits
    rows[0] = rows[0]._replace(record=rows[0].record[:-1])
    with pytest.raises(StoreDamaged, match="x@1"):
        await facts(store)


async def test_a_lost_value_is_found_by_the_check(store: MemoryStore) -> None:
    await store.create("x", "o", [created()], [value(2000)])  # type: ignore[arg-type]
    store._data.values.clear()
    assert await store.check() == [f"value {value(2000).ref.data.hex()}: missing"]
