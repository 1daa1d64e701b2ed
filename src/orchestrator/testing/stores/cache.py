"""The cache: results by fingerprint, each for as long as its execution is there."""
# ruff: noqa: D102 - a test's name tells its effect

from __future__ import annotations

from orchestrator.domain.files import FileSeen, Trace, missing
from orchestrator.domain.ids import ExecutionId
from orchestrator.domain.values import ValueRef
from orchestrator.ports.store import CacheEntry, Store
from orchestrator.testing.stores.facts import AT, add, admit, completed, facts, value
from orchestrator.testing.stores.fixtures import StoreFixtures

X, Y = ExecutionId("x"), ExecutionId("y")
FINGERPRINT = bytes(range(32))


def entry(at: float = AT, source: str = "x@2", ref: ValueRef | None = None, seed: int = 0) -> CacheEntry:
    """Return an entry of one and the same fingerprint; another ``seed``, another fingerprint."""
    return CacheEntry(FINGERPRINT[:-1] + bytes([seed]), at, source, ref or value(100).ref)


class CacheTests(StoreFixtures):
    """Remembering and recalling results."""

    async def test_what_was_remembered_is_recalled_by_every_handle(self, store: Store, other: Store) -> None:
        await admit(store)
        for seed, ref in enumerate((value(0).ref, value(1000).ref, value(200_000).ref)):
            trace = Trace((FileSeen("in.csv", seed, 2**60, "0" * 64),), (missing("out.csv"),), inputs=seed > 0)
            one = entry(AT + 0.1 + seed, f"x@{seed}", ref, seed)._replace(trace=trace)
            await store.remember(X, one)
            assert await store.recall(one.fingerprint) == await other.recall(one.fingerprint) == one

    async def test_what_nobody_remembered_is_none(self, store: Store) -> None:
        assert await store.recall(FINGERPRINT) is None
        await admit(store)
        await store.remember(X, entry(seed=1))
        assert await store.recall(entry(seed=2).fingerprint) is None

    async def test_the_newest_of_a_fingerprint_counts(self, store: Store, other: Store) -> None:
        for name in (X, Y):
            await admit(store, name)
        await store.remember(X, entry(AT + 10))
        for execution_id, at in ((Y, AT + 9), (X, AT + 8)):  # told later, and older
            await other.remember(execution_id, entry(at, f"{execution_id}@9"))
            assert await store.recall(entry().fingerprint) == entry(AT + 10)
        for execution_id, at in ((Y, AT + 11), (X, AT + 1_000_000_000), (X, AT + 1_000_000_000.5)):
            await other.remember(execution_id, entry(at, f"{execution_id}@9"))
            assert await store.recall(entry().fingerprint) == entry(at, f"{execution_id}@9")

    async def test_an_entry_goes_with_its_execution(self, store: Store, other: Store) -> None:
        for name in (X, Y):
            await store.release(await admit(store, name))
        await store.remember(X, entry(AT + 1))
        await store.remember(X, entry(seed=1))
        await store.remember(Y, entry(AT, "y@2"))
        assert (await store.statistics())["cached"] == 3  # noqa: PLR2004
        await other.remove([X])
        assert await store.recall(entry().fingerprint) == entry(AT, "y@2")  # the newest of what is left
        assert await store.recall(entry(seed=1).fingerprint) is None
        assert (await store.statistics())["cached"] == 1
        assert await store.check() == []

    async def test_one_of_the_same_name_inherits_nothing(self, store: Store) -> None:
        await store.release(await admit(store))
        await store.remember(X, entry())
        await store.remove([X])
        await admit(store)
        assert await store.recall(entry().fingerprint) is None
        await store.remember(X, entry(AT - 1))
        assert await store.recall(entry().fingerprint) == entry(AT - 1)

    async def test_the_unknown_remembers_nothing(self, store: Store) -> None:
        await store.remember(X, entry())
        assert await store.recall(entry().fingerprint) is None
        assert await store.check() == []

    async def test_remembering_needs_no_ownership_and_changes_no_fact(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        before = await store.summary(X)
        await other.remember(X, entry())
        assert await store.summary(X) == before
        assert len(await facts(store)) == 1
        assert await add(store, lease, 1) == 2  # noqa: PLR2004

    async def test_what_was_recalled_can_be_referred_to(self, store: Store, other: Store) -> None:
        kept = value(2000)
        await add(store, await admit(store), 1, completed("a", kept.ref), values=[kept])
        await store.remember(X, entry(AT, "x@2", kept.ref))
        found = await other.recall(entry().fingerprint)
        assert found is not None
        await add(other, await admit(other, "y"), 1, completed("a", found.value), values=[found.value])
        assert await other.get(found.value) == kept.payload
