"""Values: what is kept by digest comes back byte by byte, or is reported."""
# ruff: noqa: D102, PLR2004 - a test's name tells its effect

from __future__ import annotations

import asyncio

import pytest

from orchestrator.domain.ids import ExecutionId
from orchestrator.domain.values import INLINE_LIMIT, Stored, ValueRef
from orchestrator.errors import ExecutionExists, JournalConflict, LeaseLost, StoreDamaged, ValueGone
from orchestrator.ports.store import Place, Store
from orchestrator.state.records import digest_of
from orchestrator.testing.stores.facts import add, admit, claimed, completed, created, facts, finished, value
from orchestrator.testing.stores.fixtures import StoreFixtures

X = ExecutionId("x")
KIB64 = 64 * 1024
SIZES = [
    *(0, 1, 2),
    *(INLINE_LIMIT - 1, INLINE_LIMIT, INLINE_LIMIT + 1),
    *(4095, 4096, 4097),
    *(KIB64 - 1, KIB64, KIB64 + 1),
    1 << 20,
]


class ValueTests(StoreFixtures):
    """Writing values with facts and getting them."""

    @pytest.mark.parametrize("size", SIZES)
    async def test_a_value_of_any_size_comes_back(self, store: Store, other: Store, size: int) -> None:
        kept = value(size)
        lease = await admit(store)
        await add(store, lease, 1, completed("a", kept.ref), values=[kept])
        assert await store.get(kept.ref) == kept.payload
        assert await other.get(kept.ref) == kept.payload
        assert (await facts(other))[1] == completed("a", kept.ref)

    @pytest.mark.parametrize("size", [2000, 100_000, 1 << 20])
    async def test_a_value_that_compresses_well_comes_back(self, store: Store, other: Store, size: int) -> None:
        payload = b"abc" * (size // 3)
        kept = value(size)._replace(payload=payload)
        kept = kept._replace(ref=ValueRef(digest_of(payload), len(payload), inline=False))
        await add(store, await admit(store), 1, completed("a", kept.ref), values=[kept])
        assert await other.get(kept.ref) == payload

    async def test_an_inline_value_is_got_without_having_been_stored(self, store: Store) -> None:
        assert await store.get(value(100).ref) == value(100).payload

    @pytest.mark.parametrize("size", [2000, 200_000])
    async def test_a_value_that_was_never_stored_is_missing(self, store: Store, size: int) -> None:
        with pytest.raises(StoreDamaged) as caught:
            await store.get(value(size).ref)
        assert value(size).ref.data.hex() in caught.value.record

    @pytest.mark.parametrize("size", [2000, 200_000])
    async def test_a_reference_that_declares_another_size_is_refused(self, store: Store, size: int) -> None:
        kept = value(size)
        await add(store, await admit(store), 1, values=[kept])
        with pytest.raises(StoreDamaged):
            await store.get(kept.ref._replace(size=size + 1))

    @pytest.mark.parametrize("size", [2000, 200_000])
    async def test_the_same_value_is_kept_once(self, store: Store, other: Store, size: int) -> None:
        kept = value(size)
        one, two = await admit(store, "one"), await admit(other, "two")
        await add(store, one, 1, values=[kept, kept])
        await add(store, one, 2, values=[kept])
        await add(other, two, 1, values=[kept])
        statistics = await store.statistics()
        assert statistics["values"] + statistics["blobs"] == 1
        assert await other.get(kept.ref) == kept.payload

    async def test_inline_values_take_no_place_of_their_own(self, store: Store) -> None:
        await add(store, await admit(store), 1, completed("a", value(100).ref), values=[value(100)])
        statistics = await store.statistics()
        assert statistics["values"] + statistics["blobs"] == 0

    async def test_many_values_in_one_commit(self, store: Store, other: Store) -> None:
        kept = [value(1500 + number * 997, seed=number) for number in range(100)]
        await add(
            store, await admit(store), 1, *(completed(f"t{i}", one.ref) for i, one in enumerate(kept)), values=kept
        )
        for one in kept:
            assert await other.get(one.ref) == one.payload

    async def test_facts_and_values_of_a_refused_commit_are_both_absent(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await other.acquire(X, "thief", steal=True)
        with pytest.raises(LeaseLost):
            await add(store, lease, 1, completed("a", value(2000).ref), values=[value(2000)])
        assert len(await facts(other)) == 1
        with pytest.raises(StoreDamaged):
            await other.get(value(2000).ref)

    async def test_a_value_is_there_as_soon_as_the_fact_that_refers_to_it(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        for seq in range(1, 10):
            kept = value(2000 * seq * seq, seed=seq)
            await add(store, lease, seq, completed("a", kept.ref), values=[kept])
            event = (await facts(other))[-1]
            assert event == completed("a", kept.ref)
            assert await other.get(kept.ref) == kept.payload

    async def test_values_that_differ_in_one_bit_are_two(self, store: Store) -> None:
        one = value(3000)
        flipped = bytes([one.payload[0] ^ 1]) + one.payload[1:]
        two = one._replace(ref=one.ref._replace(data=digest_of(flipped)), payload=flipped)
        await add(store, await admit(store), 1, values=[one, two])
        assert await store.get(one.ref) == one.payload
        assert await store.get(two.ref) == flipped


class SharedValueTests(StoreFixtures):
    """What removal leaves of values."""

    @pytest.mark.parametrize("size", [2000, 200_000])
    async def test_a_value_that_another_execution_needs_stays(self, store: Store, size: int) -> None:
        kept = value(size)
        for name in ("one", "two"):
            lease = await store.create(ExecutionId(name), "o", [created()], [kept])
            await store.release(lease)
        await store.remove([ExecutionId("one")])
        assert await store.get(kept.ref) == kept.payload
        assert await store.check() == []

    async def test_a_value_that_nobody_needs_goes(self, store: Store) -> None:
        lease = await store.create(X, "o", [created()], [value(2000), value(3000)])
        await store.release(lease)
        other = await store.create(ExecutionId("y"), "o", [created()], [value(3000)])
        await add(store, other, 1, claimed())
        await store.remove([X])
        with pytest.raises(StoreDamaged):
            await store.get(value(2000).ref)
        assert await store.get(value(3000).ref) == value(3000).payload

    async def test_a_value_can_be_stored_again_after_its_removal(self, store: Store) -> None:
        for _ in range(2):
            lease = await store.create(X, "o", [created()], [value(2000), value(200_000)])
            assert await store.get(value(2000).ref) == value(2000).payload
            assert await store.get(value(200_000).ref) == value(200_000).payload
            await store.release(lease)
            await store.remove([X])


class ReferredValueTests(StoreFixtures):
    """Facts that refer to values which the store has already."""

    @pytest.mark.parametrize("size", [2000, 200_000])
    async def test_what_is_referred_to_stays(self, store: Store, other: Store, size: int) -> None:
        kept = value(size)
        lease = await store.create(X, "o", [created()], [kept])
        await add(store, lease, 1, finished())
        made = await other.create(ExecutionId("made"), "o", [created()], [kept.ref])
        added = await admit(other, "added")
        await add(other, added, 1, completed("a", kept.ref), values=[kept.ref, kept.ref])
        await store.remove([X])
        for name, last in (("made", made), ("added", added)):
            assert await other.get(kept.ref) == kept.payload
            assert await store.check() == []
            await other.release(last)
            await other.remove([ExecutionId(name)])
        with pytest.raises(ValueGone):
            await store.create(X, "o", [created()], [kept.ref])

    @pytest.mark.parametrize("size", [2000, 200_000])
    async def test_what_is_gone_is_refused_and_nothing_is_written(self, store: Store, other: Store, size: int) -> None:
        kept, fresh = value(size), value(3000)
        await store.release(await store.create(X, "o", [created()], [kept]))
        lease = await admit(other, "y")
        await store.remove([X])
        y = ExecutionId("y")
        refer: list[Stored] = [fresh, kept.ref]
        with pytest.raises(ValueGone) as caught:
            await add(other, lease, 1, completed("a", kept.ref), finished(), values=refer)
        assert caught.value.digest == kept.ref.data.hex()
        with pytest.raises(ValueGone):
            await other.create(X, "o", [created()], refer)
        with pytest.raises(ValueGone):
            await other.submit(X, [created()], refer, Place())
        assert await facts(store, "y") == [created()]
        assert [one.execution_id for one in await store.summaries()] == ["y"]
        with pytest.raises(StoreDamaged):
            await store.get(fresh.ref)
        assert await add(other, lease, 1, completed("a", kept.ref), values=[fresh, kept]) == 2
        assert await store.get(kept.ref) == kept.payload
        assert (await store.summary(y)).holder is not None
        assert await store.check() == []

    async def test_a_fact_whose_value_is_not_kept_for_it_is_found(self, store: Store) -> None:
        """Somebody forgot to say that he refers to it: the removal of the other execution would take it away."""
        kept = value(2000)
        await store.create(X, "o", [created()], [kept])
        await add(store, await admit(store, "y"), 1, completed("a", kept.ref))
        assert await store.check() == [f"y: its value {kept.ref.data.hex()} is not kept for it"]

    async def test_one_that_comes_along_need_not_be_there(self, store: Store) -> None:
        kept = value(2000)
        await add(store, await admit(store), 1, completed("a", kept.ref), values=[kept.ref, kept])
        assert await store.get(kept.ref) == kept.payload

    async def test_bare_references_to_what_is_inline_are_passed_over(self, store: Store) -> None:
        lease = await store.create(X, "o", [created()], [value(10).ref])
        assert await add(store, lease, 1, values=[value(20).ref]) == 2
        statistics = await store.statistics()
        assert statistics["values"] + statistics["blobs"] == 0

    async def test_a_lost_lease_and_a_conflict_are_told_before_a_value_that_is_gone(
        self, store: Store, other: Store
    ) -> None:
        lease = await admit(store)
        with pytest.raises(JournalConflict):
            await add(store, lease, 5, values=[value(2000).ref])
        with pytest.raises(ExecutionExists):
            await other.create(X, "o", [created()], [value(2000).ref])
        await other.acquire(X, "thief", steal=True)
        with pytest.raises(LeaseLost):
            await add(store, lease, 1, values=[value(2000).ref])

    async def test_a_value_that_is_removed_meanwhile_stays_or_is_gone(self, store: Store, other: Store) -> None:
        """I9: whoever was told that his reference is recorded can get what it refers to."""
        lease, seq = await admit(other, "y"), 1
        for number in range(12):
            kept = [value(2000, seed=number), value(200_000, seed=number)]
            name = ExecutionId(f"x{number}")
            await store.release(await store.create(name, "o", [created()], kept))
            events = [completed(f"{number}/{one.ref.size}", one.ref) for one in kept]
            writing = add(other, lease, seq, *events, values=[one.ref for one in kept])
            outcome, _ = await asyncio.gather(writing, store.remove([name]), return_exceptions=True)
            if isinstance(outcome, ValueGone):
                continue
            assert outcome == seq + 2
            seq += 2
            for one in kept:
                assert await store.get(one.ref) == one.payload
        assert await store.check() == []
