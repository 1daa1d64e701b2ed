"""Journals: admission, appending, reading back."""
# ruff: noqa: D102, PLR2004 - a test's name tells its effect, and expected numbers are the point

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from orchestrator.domain.events import (
    CancelRequested,
    CheckpointMade,
    ErrorInfo,
    Event,
    ExecutionCreated,
    ExecutionFinished,
    ExecutionLinked,
    ExecutionStarted,
    TaskClaimed,
    TaskCompleted,
    TaskFailed,
    TaskInterrupted,
    TaskProgressed,
    TaskSkipped,
    TasksReset,
)
from orchestrator.domain.ids import ExecutionId, Seq, TaskId
from orchestrator.errors import ExecutionExists, JournalConflict, StoreDamaged, UnknownExecution, UnstorableValue
from orchestrator.ports.store import Store
from orchestrator.testing.stores.facts import (
    AT,
    NOTHING,
    add,
    admit,
    checkpoint,
    claimed,
    commits,
    completed,
    created,
    facts,
    finished,
    started,
    value,
)
from orchestrator.testing.stores.fixtures import StoreFixtures

X = ExecutionId("x")
T = TaskId("t")
ALL_KINDS: list[Event] = [
    ExecutionCreated(AT, "pipeline", value(5000).ref, value(10).ref, 7, "manual"),
    ExecutionStarted(AT + 0.25, 1, "häuptling", False, {"max": 3, "nested": {"list": [1, 2.5, None, "ü"]}}),  # noqa: FBT003
    TaskClaimed(AT, T, 1, NOTHING),
    TaskClaimed(AT, T, 1, None),
    TaskCompleted(AT, T, 1, value(1024).ref),
    TaskCompleted(AT, T, 2, value(1025).ref),
    TaskFailed(AT, T, 1, ErrorInfo("Kind", "text \udc80 \x00", True, "trace"), AT + 1.5, False, True),  # noqa: FBT003
    TaskFailed(AT, T, 1, ErrorInfo("", ""), None, True, False),  # noqa: FBT003
    TaskInterrupted(AT, T, 1, "ask", "the process ended"),
    TaskSkipped(AT, T, "condition is false: a < b"),
    TasksReset(AT, [T, TaskId("u")], "asked", True),  # noqa: FBT003
    TasksReset(AT, [], "", False),  # noqa: FBT003
    TaskProgressed(AT, T, 1, 0.5, None, "half", None),
    TaskProgressed(AT, T, 1, None, 10, "", value(2000).ref),
    CheckpointMade(AT, "manual", T, {"a": 1}, value(3000).ref),
    CheckpointMade(AT, "periodic", None, {}, None),
    CancelRequested(AT, "somebody"),
    ExecutionLinked(AT, "x", T, 1),
    ExecutionFinished(AT, "failed", NOTHING, ErrorInfo("ValueError", "no")),
]


class AdmissionTests(StoreFixtures):
    """Creating an execution."""

    async def test_what_is_created_is_there_for_another_handle(self, store: Store, other: Store) -> None:
        await admit(store, "x", created(total=5), started())
        assert await facts(other) == [created(total=5), started()]

    async def test_the_lease_of_a_creation_has_epoch_1_and_a_deadline_ahead(self, store: Store) -> None:
        lease = await admit(store)
        assert (lease.execution_id, lease.epoch) == ("x", 1)
        assert lease.token

    async def test_leases_have_different_tokens(self, store: Store) -> None:
        assert (await admit(store, "x")).token != (await admit(store, "y")).token

    async def test_a_taken_id_is_refused_and_nothing_changes(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        for handle in (store, other):
            with pytest.raises(ExecutionExists) as caught:
                await admit(handle, "x", created("another", total=99), started())
            assert caught.value.execution_id == "x"
        assert await facts(store) == [created()]
        assert (await store.summary(X)).total == 3
        assert await add(store, lease, 1) == 2

    async def test_a_taken_id_is_refused_when_nobody_owns_it(self, store: Store, other: Store) -> None:
        await store.release(await admit(store))
        with pytest.raises(ExecutionExists):
            await admit(other)
        await store.acquire(X, "heir")

    async def test_a_refused_creation_keeps_no_values(self, store: Store) -> None:
        await admit(store)
        with pytest.raises(ExecutionExists):
            await store.create(X, "o", [created()], [value(2000)])
        with pytest.raises(StoreDamaged):
            await store.get(value(2000).ref)

    async def test_the_first_fact_must_be_the_creation(self, store: Store) -> None:
        with pytest.raises(TypeError):
            await store.create(X, "o", [started()], [])
        with pytest.raises(UnknownExecution):
            await store.summary(X)

    async def test_creation_stores_values(self, store: Store, other: Store) -> None:
        kept = [value(10), value(2000), value(100_000)]
        await store.create(X, "o", [created()], kept)
        for one in kept:
            assert await other.get(one.ref) == one.payload

    async def test_an_execution_that_cannot_be_encoded_is_not_created(self, store: Store) -> None:
        with pytest.raises(UnstorableValue):
            await admit(store, "x", created(), checkpoint({"bad": object()}))
        with pytest.raises(UnknownExecution):
            await store.summary(X)
        await admit(store)

    async def test_of_many_who_create_one_id_one_succeeds(self, opened: Callable[[], Store]) -> None:
        results = await contest(opened, admit)
        assert sum(not isinstance(result, BaseException) for result in results) == 1
        assert sum(isinstance(result, ExecutionExists) for result in results) == len(results) - 1


class AppendTests(StoreFixtures):
    """Appending to a journal."""

    async def test_seq_counts_facts_from_1(self, store: Store) -> None:
        lease = await admit(store)
        assert await add(store, lease, 1) == 2
        assert await add(store, lease, 2, claimed("b"), completed("b"), claimed("c")) == 5
        assert [(commit.first, len(commit.events)) for commit in await commits(store)] == [(1, 1), (2, 1), (3, 3)]

    async def test_facts_come_back_in_the_order_they_were_appended(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        wanted = [claimed(f"t{number}", at=AT - number) for number in range(50)]
        for seq, event in enumerate(wanted, 1):
            await add(store, lease, seq, event)
        assert (await facts(other))[1:] == wanted

    @pytest.mark.parametrize("event", ALL_KINDS[1:], ids=lambda event: type(event).__name__)
    async def test_every_kind_of_fact_comes_back_equal(self, store: Store, other: Store, event: Event) -> None:
        lease = await admit(store)
        await add(store, lease, 1, event)
        found = (await facts(other))[1]
        assert found == event
        assert type(found) is type(event)

    async def test_a_creation_fact_comes_back_equal(self, store: Store, other: Store) -> None:
        await admit(store, "x", ALL_KINDS[0])
        assert await facts(other) == ALL_KINDS[:1]

    async def test_completed_counts_belong_to_their_commit(self, store: Store) -> None:
        lease = await admit(store)
        for seq in (1, 2, 3):
            await store.append(lease, [claimed()], [], expected_seq=Seq(seq), completed=seq * 10)
        assert [commit.completed for commit in await commits(store)] == [0, 10, 20, 30]

    @pytest.mark.parametrize("expected", [0, 1, 2, 4, 5, 1000, 2**31])
    async def test_another_expected_seq_is_refused_and_writes_nothing(self, store: Store, expected: int) -> None:
        lease = await admit(store, "x", created(), started(), claimed())
        with pytest.raises(JournalConflict) as caught:
            await add(store, lease, expected, completed("b"), values=[value(2000)])
        assert (caught.value.expected, caught.value.actual) == (expected, 3)
        assert len(await facts(store)) == 3
        with pytest.raises(StoreDamaged):
            await store.get(value(2000).ref)

    async def test_a_conflict_changes_neither_status_nor_count_nor_owner(self, store: Store) -> None:
        lease = await admit(store)
        before = await store.summary(X)
        with pytest.raises(JournalConflict):
            await store.append(lease, [finished()], [], expected_seq=Seq(9), completed=3)
        assert await store.summary(X) == before

    async def test_the_writer_goes_on_after_a_conflict(self, store: Store) -> None:
        lease = await admit(store)
        with pytest.raises(JournalConflict):
            await add(store, lease, 5)
        assert await add(store, lease, 1) == 2

    async def test_the_same_append_twice_is_a_conflict(self, store: Store) -> None:
        lease = await admit(store)
        await add(store, lease, 1)
        with pytest.raises(JournalConflict):
            await add(store, lease, 1)
        assert len(await facts(store)) == 2

    async def test_what_cannot_be_encoded_writes_nothing(self, store: Store) -> None:
        lease = await admit(store)
        with pytest.raises(UnstorableValue):
            await add(store, lease, 1, claimed(), checkpoint({"bad": object()}), values=[value(2000)])
        assert len(await facts(store)) == 1
        assert await add(store, lease, 1) == 2

    async def test_ten_thousand_facts_in_one_commit(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        wanted = [claimed(f"task-{number}") for number in range(10_000)]
        assert await add(store, lease, 1, *wanted) == 10_001
        assert (await facts(other))[1:] == wanted
        assert await add(store, lease, 10_001) == 10_002

    async def test_a_fact_with_large_metadata(self, store: Store, other: Store) -> None:
        event = checkpoint({"text": "x" * 300_000, "numbers": list(range(10_000))})
        await add(store, await admit(store), 1, event)
        assert (await facts(other))[1] == event

    async def test_journals_do_not_mix(self, store: Store, other: Store) -> None:
        one, two = await admit(store, "one"), await admit(other, "two", created("second"))
        for seq in range(1, 20):
            await add(store, one, seq, claimed(f"one{seq}"))
            await add(other, two, seq, claimed(f"two{seq}"))
        assert await facts(store, "two") == [created("second"), *(claimed(f"two{seq}") for seq in range(1, 20))]
        assert await facts(other, "one") == [created(), *(claimed(f"one{seq}") for seq in range(1, 20))]

    async def test_a_durable_append_is_an_append(self, store: Store) -> None:
        lease = await admit(store)
        assert await store.append(lease, [claimed()], [], expected_seq=Seq(1), completed=1, durable=True) == 2
        assert await add(store, lease, 2) == 3

    async def test_what_was_appended_stays_as_it_was(self, store: Store) -> None:
        metadata = {"list": [1]}
        lease = await admit(store)
        await add(store, lease, 1, checkpoint(metadata))
        metadata["list"].append(2)
        found = (await facts(store))[1]
        assert found == checkpoint({"list": [1]})
        assert isinstance(found, CheckpointMade)
        found.metadata["list"].append(3)
        assert (await facts(store))[1] == checkpoint({"list": [1]})

    async def test_what_was_appended_outlives_the_handle(self, opened: Callable[[], Store]) -> None:
        first = opened()
        lease = await admit(first)
        await add(first, lease, 1, completed("a", value(2000).ref), values=[value(2000)])
        await first.close()
        second = opened()
        assert await facts(second) == [created(), completed("a", value(2000).ref)]
        assert await second.get(value(2000).ref) == value(2000).payload


class ReadTests(StoreFixtures):
    """Reading a journal."""

    async def test_newest_first_is_the_reverse(self, store: Store) -> None:
        lease = await admit(store)
        for seq in range(1, 30, 2):
            await add(store, lease, seq, claimed(str(seq)), completed(str(seq)))
        assert await commits(store, newest_first=True) == (await commits(store))[::-1]

    async def test_many_pages_in_both_directions(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        for seq in range(1, 2101):
            await add(store, lease, seq, claimed(str(seq)))
        found = await commits(other)
        assert [commit.first for commit in found] == list(range(1, 2102))
        assert [commit.events for commit in found[1:]] == [[claimed(str(seq))] for seq in range(1, 2101)]
        assert await commits(other, newest_first=True) == found[::-1]

    async def test_a_journal_of_one_commit(self, store: Store) -> None:
        await admit(store, "x", created(), started())
        assert await commits(store) == await commits(store, newest_first=True)
        assert (await commits(store))[0].first == 1

    async def test_a_reader_may_stop_early(self, store: Store) -> None:
        lease = await admit(store)
        await add(store, lease, 1)
        async for commit in store.read(X, newest_first=True):
            assert commit.first == 2
            break
        assert await add(store, lease, 2) == 3

    async def test_writing_goes_on_while_somebody_reads(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await add(store, lease, 1)
        seq, seen = 2, 0
        async for commit in other.read(X):
            assert commit.first == seen + 1
            seen = commit.first
            if seq < 10:
                seq = await add(store, lease, seq)
        assert seen >= 2
        assert len(await facts(other)) == seq

    async def test_two_readings_at_once(self, store: Store) -> None:
        lease = await admit(store)
        for seq in range(1, 10):
            await add(store, lease, seq)
        pairs = zip(await commits(store), [one async for one in store.read(X)], strict=True)
        assert all(one == two for one, two in pairs)
        forward, backward = store.read(X), store.read(X, newest_first=True)
        assert (await anext(forward)).first == 1
        assert (await anext(backward)).first == 10
        assert (await anext(forward)).first == 2

    async def test_reading_needs_no_ownership(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await store.release(lease)
        assert len(await facts(other)) == 1


async def contest(
    opened: Callable[[], Store], act: Callable[[Store], Coroutine[Any, Any, object]], size: int = 4
) -> list[object]:
    """Let ``size`` threads, each with a handle of its own, ``act`` at the same moment; return results or errors."""
    barrier = threading.Barrier(size)

    def run(store: Store) -> object:
        barrier.wait(10)
        return asyncio.run(act(store))

    handles = [opened() for _ in range(size)]
    return await asyncio.gather(*(asyncio.to_thread(_caught, run, handle) for handle in handles))


def _caught(run: Callable[[Store], object], store: Store) -> object:
    try:
        return run(store)
    except BaseException as error:  # noqa: BLE001 - LeaseLost is one
        return error
