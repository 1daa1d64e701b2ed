"""The read side and the housekeeping: summaries, hidden checkpoints, removal, checks."""
# ruff: noqa: D102, PLR2004 - a test's name tells its effect, and expected numbers are the point

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import ExecutionId, Seq
from orchestrator.errors import ExecutionOwned, LeaseLost, UnknownExecution
from orchestrator.ports.store import Store
from orchestrator.testing.stores.facts import (
    AT,
    add,
    admit,
    checkpoint,
    claimed,
    completed,
    created,
    facts,
    finished,
    redefined,
    started,
    value,
)
from orchestrator.testing.stores.fixtures import StoreFixtures

X = ExecutionId("x")


class SummaryTests(StoreFixtures):
    """One execution as lists show it."""

    async def test_of_a_new_execution(self, store: Store, other: Store) -> None:
        await store.create(X, "me", [created("flights", at=AT + 5, total=7)], [])
        summary = await other.summary(X)
        assert summary.execution_id == "x"
        assert summary.pipeline_id == "flights"
        assert summary.status is ExecutionStatus.CREATED
        assert (summary.completed, summary.total, summary.seq) == (0, 7, 1)
        assert (summary.created_at, summary.updated_at) == (AT + 5, AT + 5)
        assert summary.holder == ("me", 1, True)

    async def test_it_follows_the_appends(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        for seq in (1, 2, 3):
            await store.append(lease, [completed(at=AT + seq)], [], expected_seq=Seq(seq), completed=seq)
            summary = await other.summary(X)
            assert (summary.completed, summary.seq, summary.updated_at) == (seq, seq + 1, AT + seq)
            assert summary.created_at == AT

    async def test_its_number_of_steps_is_that_of_its_last_definition(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        for seq, total, more in ((1, 5, ()), (2, 8, (redefined(8),)), (4, 5, (redefined(7), redefined(5), finished()))):
            await store.append(lease, [redefined(5), *more], [], expected_seq=Seq(seq), completed=1)
            summary = await other.summary(X)
            assert (summary.total, summary.completed, summary.seq) == (total, 1, seq + 1 + len(more))
        assert (await store.summary(X)).status is ExecutionStatus.COMPLETED
        await admit(store, "y", created(total=3), redefined(4))
        assert (await other.summary(ExecutionId("y"))).total == 4

    async def test_a_refused_definition_does_not_count(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await other.acquire(X, "thief", steal=True)
        with pytest.raises(LeaseLost):
            await add(store, lease, 1, redefined(9))
        assert (await other.summary(X)).total == 3

    @pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "stopped"])
    async def test_its_status_follows_the_facts(self, store: Store, status: str) -> None:
        lease = await admit(store)
        assert (await store.summary(X)).status is ExecutionStatus.CREATED
        await add(store, lease, 1, claimed())
        assert (await store.summary(X)).status is ExecutionStatus.CREATED
        await add(store, lease, 2, started())
        assert (await store.summary(X)).status is ExecutionStatus.RUNNING
        await add(store, lease, 3, finished(status))
        assert (await store.summary(X)).status is ExecutionStatus(status)
        lease = await store.acquire(X, "again")
        assert (await store.summary(X)).status is ExecutionStatus(status)
        await add(store, lease, 4, started(2, resumed=True))
        assert (await store.summary(X)).status is ExecutionStatus.RUNNING

    async def test_the_last_fact_of_a_commit_decides_the_status(self, store: Store) -> None:
        await add(store, await admit(store), 1, started(), finished("failed"))
        assert (await store.summary(X)).status is ExecutionStatus.FAILED

    async def test_started_at_creation_is_running(self, store: Store) -> None:
        await admit(store, "x", created(), started())
        assert (await store.summary(X)).status is ExecutionStatus.RUNNING

    async def test_a_released_execution_has_no_holder(self, store: Store) -> None:
        await store.release(await admit(store))
        assert (await store.summary(X)).holder is None


class ListTests(StoreFixtures):
    """Many executions."""

    async def test_an_empty_store_lists_nothing(self, store: Store) -> None:
        assert await store.summaries() == []
        assert await store.summaries(pipeline_id="p", status=ExecutionStatus.FAILED, limit=3) == []

    async def test_newest_first_whatever_the_order_of_admission(self, store: Store, other: Store) -> None:
        for name, at in (("b", 2), ("d", 4), ("a", 1), ("c", 3)):
            await admit(store, name, created(at=AT + at))
        assert [one.execution_id for one in await other.summaries()] == ["d", "c", "b", "a"]

    async def test_at_equal_times_the_later_admission_comes_first(self, store: Store) -> None:
        for name in ("m", "a", "z"):
            await admit(store, name)
        assert [one.execution_id for one in await store.summaries()] == ["z", "a", "m"]

    async def test_an_append_does_not_change_the_order(self, store: Store) -> None:
        old = await admit(store, "old", created(at=AT))
        await admit(store, "new", created(at=AT + 1))
        await add(store, old, 1, claimed(at=AT + 9))
        assert [one.execution_id for one in await store.summaries()] == ["new", "old"]

    @pytest.mark.parametrize("limit", [0, 1, 3, 5, 6, None])
    async def test_no_more_than_the_limit(self, store: Store, limit: int | None) -> None:
        for number in range(5):
            await admit(store, f"x{number}", created(at=AT + number))
        names = [one.execution_id for one in await store.summaries(limit=limit)]
        assert names == ["x4", "x3", "x2", "x1", "x0"][:limit]

    async def test_filters_alone_and_together(self, store: Store) -> None:
        for number in range(6):
            lease = await admit(store, f"x{number}", created("even" if number % 2 == 0 else "odd", at=AT + number))
            await add(store, lease, 1, *([finished("failed")] if number < 3 else [started()]))

        async def names(
            pipeline_id: str | None = None, status: ExecutionStatus | None = None, limit: int | None = None
        ) -> list[str]:
            found = await store.summaries(pipeline_id=pipeline_id, status=status, limit=limit)
            return [one.execution_id for one in found]

        assert await names("even") == ["x4", "x2", "x0"]
        assert await names(status=ExecutionStatus.FAILED) == ["x2", "x1", "x0"]
        assert await names("even", ExecutionStatus.FAILED) == ["x2", "x0"]
        assert await names("even", ExecutionStatus.FAILED, 1) == ["x2"]
        assert await names("odd", ExecutionStatus.RUNNING) == ["x5", "x3"]
        assert await names("EVEN") == []
        assert await names("") == []
        assert await names(status=ExecutionStatus.CANCELLED) == []
        assert await names(status=ExecutionStatus.INTERRUPTED) == []

    async def test_an_entry_is_the_summary(self, store: Store) -> None:
        for name in ("x", "y"):
            await add(store, await admit(store, name), 1, started())
        for entry in await store.summaries():
            assert entry == await store.summary(entry.execution_id)

    async def test_every_one_of_many(self, store: Store) -> None:
        for number in range(50):
            await store.release(await admit(store, f"x{number}", created(at=AT + number)))
        assert [one.execution_id for one in await store.summaries()] == [f"x{n}" for n in range(49, -1, -1)]


class HiddenTests(StoreFixtures):
    """Checkpoints taken out of the lists."""

    async def test_nothing_is_hidden_at_first(self, store: Store) -> None:
        await admit(store)
        assert await store.hidden(X) == set()

    async def test_hiding_is_remembered_and_idempotent(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await add(store, lease, 1, checkpoint(), checkpoint())
        for seq in (2, 3, 2):
            await other.hide_checkpoint(X, Seq(seq))
        assert await store.hidden(X) == {2, 3}

    async def test_hiding_needs_no_ownership_and_changes_no_fact(self, store: Store, other: Store) -> None:
        lease = await admit(store, "x", created(), checkpoint())
        before = await store.summary(X)
        await other.hide_checkpoint(X, Seq(2))
        assert await store.summary(X) == before
        assert await facts(store) == [created(), checkpoint()]
        assert await add(store, lease, 2) == 3

    async def test_executions_hide_each_their_own(self, store: Store) -> None:
        await admit(store, "x")
        await admit(store, "y")
        await store.hide_checkpoint(X, Seq(1))
        assert await store.hidden(ExecutionId("y")) == set()


class RemovalTests(StoreFixtures):
    """Removing executions."""

    async def test_a_removed_execution_is_unknown_everywhere(self, store: Store, other: Store) -> None:
        await store.release(await admit(store))
        await other.remove([X])
        for handle in (store, other):
            with pytest.raises(UnknownExecution):
                await handle.summary(X)
            with pytest.raises(UnknownExecution):
                await facts(handle)
            assert await handle.summaries() == []

    async def test_removing_the_unknown_is_no_error(self, store: Store) -> None:
        await store.remove([X])
        await store.release(await admit(store))
        await store.remove([X, X])
        await store.remove([X])
        await store.remove([])

    async def test_what_is_owned_is_not_removed(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        with pytest.raises(ExecutionOwned) as caught:
            await other.remove([X])
        assert caught.value.execution_id == "x"
        assert await add(store, lease, 1) == 2

    async def test_what_its_own_handle_owns_is_not_removed_either(self, store: Store) -> None:
        lease = await admit(store)
        with pytest.raises(ExecutionOwned):
            await store.remove([X])
        assert await add(store, lease, 1) == 2

    async def test_a_stolen_one_is_not_removed(self, store: Store, other: Store, opened: Callable[[], Store]) -> None:
        await admit(store)
        lease = await other.acquire(X, "thief", steal=True)
        await store.close()
        with pytest.raises(ExecutionOwned):
            await opened().remove([X])
        assert await add(other, lease, 1) == 2

    async def test_those_before_an_owned_one_are_removed_the_rest_stays(self, store: Store, other: Store) -> None:
        for name in ("a", "b", "c"):
            lease = await admit(store, name)
            if name != "b":
                await store.release(lease)
        with pytest.raises(ExecutionOwned):
            await other.remove([ExecutionId("a"), ExecutionId("b"), ExecutionId("c")])
        assert {one.execution_id for one in await store.summaries()} == {"b", "c"}

    async def test_others_stay_whole(self, store: Store) -> None:
        kept = await admit(store, "keep", created("p"), started())
        await store.hide_checkpoint(ExecutionId("keep"), Seq(2))
        for number in range(5):
            await store.release(await admit(store, f"x{number}"))
        await store.remove([ExecutionId(f"x{number}") for number in range(5)])
        assert await facts(store, "keep") == [created("p"), started()]
        assert await store.hidden(ExecutionId("keep")) == {2}
        assert await add(store, kept, 2) == 3

    async def test_a_removed_id_starts_anew(self, store: Store, other: Store) -> None:
        lease = await admit(store, "x", created(), checkpoint())
        await store.hide_checkpoint(X, Seq(2))
        await store.request_cancel(X, "alice")
        await store.release(lease)
        await store.remove([X])
        lease = await admit(other, "x", created("second"))
        assert lease.epoch == 1
        assert other.requests(lease) is None
        assert await other.hidden(X) == set()
        assert await facts(store) == [created("second")]
        assert await add(other, lease, 1) == 2

    async def test_a_finished_execution_is_removed_by_another_handle_at_once(self, store: Store, other: Store) -> None:
        await add(store, await admit(store), 1, finished())
        await other.remove([X])
        assert await store.summaries() == []


class CareTests(StoreFixtures):
    """Checking, counting."""

    async def test_a_healthy_store_has_nothing_to_say(self, store: Store, other: Store) -> None:
        assert await store.check() == []
        lease = await admit(store)
        await add(store, lease, 1, completed("a", value(2000).ref), values=[value(2000), value(200_000)])
        await other.release(await admit(other, "y"))
        assert await other.check() == []
        await other.remove([ExecutionId("y")])
        await other.acquire(X, "thief", steal=True)
        assert await store.check() == []

    async def test_a_healthy_store_can_be_written(self, store: Store) -> None:
        await store.probe()
        lease = await admit(store)
        await store.probe()
        assert await add(store, lease, 1) == 2

    async def test_statistics_count(self, store: Store, other: Store) -> None:
        empty = await store.statistics()
        assert (empty["executions"], empty["by_status"], empty["commits"]) == (0, {}, 0)
        one = await admit(store, "one")
        await add(store, one, 1, started(), values=[value(2000), value(200_000)])
        await add(store, one, 2, finished())
        await admit(store, "two")
        found = await other.statistics()
        assert found["executions"] == 2
        assert found["by_status"] == {"completed": 1, "created": 1}
        assert found["commits"] == 4
        assert found["values"] + found["blobs"] == 2
        assert found["database_bytes"] + found["blob_bytes"] > 200_000
