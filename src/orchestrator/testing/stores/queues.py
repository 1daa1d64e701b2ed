"""Queues: what waits is taken once, in order, within limits; what is left behind is taken over."""
# ruff: noqa: D102, PLR2004 - a test's name tells its effect, and expected numbers are the point

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import ExecutionId
from orchestrator.errors import ExecutionExists, ExecutionOwned, LeaseLost
from orchestrator.ports.store import Lease, Place, QueueSummary, Request, Store
from orchestrator.testing.stores.facts import (
    AT,
    NOTHING,
    add,
    admit,
    claimed,
    completed,
    created,
    facts,
    finished,
    started,
    value,
)
from orchestrator.testing.stores.fixtures import StoreFixtures
from orchestrator.testing.stores.journal import contest

X = ExecutionId("x")
DEFAULT = ["default"]


async def submit(store: Store, name: str = "x", queue: str = "default", priority: int = 0) -> None:
    """Submit an execution of one fact."""
    await store.submit(ExecutionId(name), [created()], [], Place(queue, priority))


async def names(store: Store, limit: int = 100, queues: list[str] | None = None, *, runs: bool = False) -> list[str]:
    """Take, and return what was got."""
    return [lease.execution_id for lease in await store.take("a server", queues or DEFAULT, limit, runs=runs)]


async def one(store: Store, *, runs: bool = False) -> Lease:
    """Take the only execution there is."""
    (lease,) = await store.take("a server", DEFAULT, 100, runs=runs)
    return lease


class PlaceTests(StoreFixtures):
    """Coming into a queue, and leaving it."""

    async def test_what_is_submitted_is_there_and_nobodys(self, store: Store, other: Store) -> None:
        await store.submit(X, [created(at=AT + 5)], [value(2000)], Place("q", 3))
        summary = await other.summary(X)
        assert (summary.status, summary.holder, summary.place) == (ExecutionStatus.CREATED, None, Place("q", 3))
        assert (summary.seq, summary.completed, summary.paused_by, summary.lease_left) == (1, 0, None, None)
        assert (summary.waiting, summary.over) == (True, False)
        assert await facts(other) == [created(at=AT + 5)]
        assert await other.get(value(2000).ref) == value(2000).payload
        assert await other.check() == []

    async def test_its_first_owner_has_epoch_1(self, store: Store, other: Store) -> None:
        await submit(store)
        lease = await one(other)
        assert (lease.execution_id, lease.epoch, lease.copying) == (X, 1, False)
        assert await store.holder(X) == ("a server", 1, True)
        assert await add(other, lease, 1, started()) == 2

    async def test_it_may_as_well_be_acquired(self, store: Store, other: Store) -> None:
        await submit(store)
        assert (await other.acquire(X, "somebody")).epoch == 1
        assert await names(store) == []

    async def test_a_taken_id_is_refused(self, store: Store, other: Store) -> None:
        await submit(store)
        await admit(store, "y")
        for name in ("x", "y"):
            with pytest.raises(ExecutionExists) as caught:
                await submit(other, name)
            assert caught.value.execution_id == name
        with pytest.raises(ExecutionExists):
            await admit(other, "x")
        assert await facts(store) == [created()]
        assert await names(store) == ["x"]

    async def test_the_first_fact_is_its_creation(self, store: Store) -> None:
        with pytest.raises(TypeError):
            await store.submit(X, [started()], [], Place())
        assert await store.summaries() == []

    async def test_of_many_who_submit_one_id_one_succeeds(self, opened: Callable[[], Store]) -> None:
        results = await contest(opened, submit)
        assert results.count(None) == 1
        assert sum(isinstance(result, ExecutionExists) for result in results) == len(results) - 1

    async def test_what_nobody_gave_a_place_waits_nowhere(self, store: Store, other: Store) -> None:
        await store.release(await admit(store))
        assert (await store.summary(X)).place is None
        assert await names(other) == []

    async def test_what_was_released_waits_once_it_is_enqueued(self, store: Store, other: Store) -> None:
        await store.release(await admit(store))
        await other.enqueue(X, Place("q", 2))
        await other.enqueue(X, Place("default", 1))
        assert (await store.summary(X)).place == Place("default", 1)
        assert await names(store, queues=["q"]) == []
        assert (await one(store)).epoch == 2

    async def test_what_is_owned_waits_when_it_is_given_back(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await other.enqueue(X, Place())
        assert await names(other) == []
        assert await add(store, lease, 1) == 2
        await store.release(lease)
        assert await names(other) == ["x"]

    async def test_what_was_stopped_waits_on(self, store: Store, other: Store) -> None:
        await submit(store)
        lease = await one(store)
        await add(store, lease, 1, started(), finished("stopped"))
        assert (await other.summary(X)).status is ExecutionStatus.STOPPED
        heir = await one(other)
        assert heir.epoch == 2
        assert await add(other, heir, 3, started(2, resumed=True)) == 4

    @pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
    async def test_what_has_ended_waits_no_more(self, store: Store, other: Store, status: str) -> None:
        await submit(store)
        await add(store, await one(store), 1, started(), finished(status))
        assert await names(other, runs=True) == []
        summary = await other.summary(X)
        assert (summary.place, summary.waiting, summary.over) == (Place(), False, True)
        assert await other.queues() == []

    @pytest.mark.parametrize("status", ["failed", "cancelled", "stopped"])
    async def test_what_has_ended_waits_again_once_it_is_enqueued(
        self, store: Store, other: Store, status: str
    ) -> None:
        lease = await admit(store, "x", created(), started())
        await add(store, lease, 2, finished(status))
        await other.enqueue(X, Place())
        assert (await store.summary(X)).waiting
        assert not (await store.summary(X)).over
        assert (await one(other)).epoch == 2

    async def test_what_is_completed_is_not_enqueued(self, store: Store, other: Store) -> None:
        lease = await admit(store, "x", created(), started())
        await add(store, lease, 2, completed(), finished())
        before = await other.summary(X)
        await other.enqueue(X, Place())
        assert await names(other, runs=True) == []
        assert await other.summary(X) == before

    async def test_what_was_ended_and_taken_by_hand_waits_no_more(self, store: Store, other: Store) -> None:
        await submit(store)
        await add(store, await one(store), 1, started(), finished("failed"))
        await other.release(await other.acquire(X, "by hand"))
        assert await names(other, runs=True) == []

    async def test_what_was_removed_is_taken_no_more(self, store: Store, other: Store) -> None:
        await submit(store)
        await submit(store, "y")
        await other.remove([X])
        assert await names(other) == ["y"]

    async def test_a_place_changes_no_fact(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await other.enqueue(X, Place("q", 1))
        assert await facts(other) == [created()]
        store.renew(lease)
        assert store.requests(lease) is None


class TakeTests(StoreFixtures):
    """Who gets what, in which order."""

    async def test_where_nothing_waits_nothing_is_got(self, store: Store) -> None:
        assert await names(store) == []
        assert await names(store, runs=True) == []
        assert await store.take("a server", [], 5) == []

    async def test_older_first(self, store: Store, other: Store) -> None:
        for name in ("c", "a", "b"):
            await submit(store, name)
        assert await names(other) == ["c", "a", "b"]

    async def test_higher_priority_first(self, store: Store, other: Store) -> None:
        for name, priority in (("a", -1), ("b", 5), ("c", 0), ("d", 5), ("e", 100), ("f", 20)):
            await submit(store, name, priority=priority)
        assert await names(other, 2) == ["e", "f"]
        assert await names(other) == ["b", "d", "c", "a"]

    async def test_not_more_than_asked_for(self, store: Store, other: Store) -> None:
        for number in range(7):
            await submit(store, f"x{number}")
        assert await names(store, 0) == []
        assert await names(other, 3) == ["x0", "x1", "x2"]
        assert await names(store, 3) == ["x3", "x4", "x5"]
        assert await names(other, 3) == ["x6"]

    async def test_only_of_the_queues_asked_for(self, store: Store) -> None:
        await submit(store, "a", "one")
        await submit(store, "b", "two")
        await submit(store, "c", "three")
        assert await names(store, queues=["two"]) == ["b"]
        assert await names(store, queues=["nobody's"]) == []
        assert await names(store, queues=["one", "three", "one"]) == ["a", "c"]

    async def test_priorities_go_across_queues(self, store: Store) -> None:
        for name, queue, priority in (("a", "one", 0), ("b", "two", 1), ("c", "one", 2), ("d", "two", 3)):
            await submit(store, name, queue, priority)
        assert await names(store, 3, ["one", "two"]) == ["d", "c", "b"]

    @pytest.mark.parametrize("queue", ["%", "_", "*", "' OR 1=1--", "DEFAULT", "default ", "", "q\x00", "🦀"])
    async def test_a_queues_name_is_data(self, store: Store, queue: str) -> None:
        await submit(store, "bystander")
        assert await names(store, queues=[queue]) == []
        await submit(store, "x", queue)
        assert await names(store, queues=[queue]) == ["x"]
        assert await names(store) == ["bystander"]

    async def test_what_is_taken_is_owned(self, store: Store, other: Store) -> None:
        await submit(store)
        lease = await one(store)
        with pytest.raises(ExecutionOwned, match="a server"):
            await other.acquire(X, "me")
        assert await names(other) == []
        assert await names(store) == []
        store.renew(lease)
        assert store.requests(lease) is None
        assert await add(store, lease, 1) == 2
        await store.release(lease)
        assert await names(other) == ["x"]

    async def test_of_many_who_take_one_gets_it(self, store: Store, opened: Callable[[], Store]) -> None:
        await submit(store)
        results = await contest(opened, names)
        assert sorted(results, key=str) == [["x"], [], [], []] or sorted(results, key=str) == [[], [], [], ["x"]]

    async def test_many_who_take_share_what_there_is(self, store: Store, opened: Callable[[], Store]) -> None:
        for number in range(20):
            await submit(store, f"x{number:02}")

        async def serve(handle: Store) -> list[str]:
            got: list[str] = []
            while more := await names(handle, 3):
                got += more
            return got

        results = await contest(opened, serve)
        got = [name for result in results if isinstance(result, list) for name in result]
        assert sorted(got) == [f"x{number:02}" for number in range(20)]

    async def test_a_pages_worth_and_more(self, store: Store) -> None:
        for number in range(130):
            await submit(store, f"x{number:03}", priority=number % 3)
        got: list[str] = []
        while more := await names(store, 50):
            got += more
        assert got == [f"x{n:03}" for rest in (2, 1, 0) for n in range(130) if n % 3 == rest]


class TakeOverTests(StoreFixtures):
    """What an owner left behind."""

    async def test_until_the_deadline_an_owner_keeps_it(
        self, store: Store, other: Store, pass_time: Callable[[float], None]
    ) -> None:
        await submit(store)
        lease = await one(store)
        pass_time(self.lease_seconds * 0.9)
        assert await names(other, runs=True) == []
        store.renew(lease)
        pass_time(self.lease_seconds * 0.9)
        assert await names(other, runs=True) == []
        assert await add(store, lease, 1) == 2

    async def test_a_silent_owner_loses_it(
        self, store: Store, other: Store, pass_time: Callable[[float], None]
    ) -> None:
        await submit(store)
        lost = await one(store)
        await add(store, lost, 1, started())
        pass_time(self.lease_seconds * 1.1)
        heir = await one(other)
        assert heir.epoch == 2
        for act in (store.renew, store.requests):
            with pytest.raises(LeaseLost):
                act(lost)
        with pytest.raises(LeaseLost):
            await add(store, lost, 2)
        await store.release(lost)
        assert await other.holder(X) == ("a server", 2, True)
        assert await add(other, heir, 2, started(2, resumed=True), finished()) == 4

    async def test_a_silent_owner_may_take_it_again(self, store: Store, pass_time: Callable[[float], None]) -> None:
        await submit(store)
        lost = await one(store)
        pass_time(self.lease_seconds * 1.1)
        again = await one(store)
        assert again.epoch == 2
        with pytest.raises(LeaseLost):
            await add(store, lost, 1)
        await store.release(lost)
        assert await add(store, again, 1) == 2

    async def test_one_that_was_taken_over_can_be_taken_over_again(
        self, store: Store, other: Store, opened: Callable[[], Store], pass_time: Callable[[float], None]
    ) -> None:
        await submit(store)
        await one(store)
        for epoch in range(2, 5):
            pass_time(self.lease_seconds * 1.1)
            heir = await one((store, other)[epoch % 2])
            assert heir.epoch == epoch
        with pytest.raises(ExecutionOwned):
            await opened().acquire(X, "me")

    async def test_of_many_who_take_over_one_succeeds(
        self, store: Store, opened: Callable[[], Store], pass_time: Callable[[float], None]
    ) -> None:
        await submit(store)
        await one(store)
        pass_time(self.lease_seconds * 1.1)
        results = await contest(opened, names)
        assert [result for result in results if result] == [["x"]]
        holder = await store.holder(X)
        assert holder is not None
        assert holder.epoch == 2

    async def test_what_a_closed_handle_owned_waits_at_once(self, store: Store, other: Store) -> None:
        await submit(store)
        await one(store)
        await store.close()
        assert (await one(other)).epoch == 2

    async def test_runs_of_no_queue_are_taken_where_asked_for(
        self, store: Store, other: Store, pass_time: Callable[[float], None]
    ) -> None:
        await admit(store, "x", created(), started())
        await admit(store, "not begun")
        pass_time(self.lease_seconds * 1.1)
        assert await names(other) == []
        lease = await one(other, runs=True)
        assert (lease.execution_id, lease.epoch) == (X, 2)
        assert await names(other, runs=True) == []
        with pytest.raises(LeaseLost):
            await add(store, Lease(X, lease.epoch, "0" * 16, lease.deadline), 2)

    async def test_runs_that_were_given_up_are_taken_where_asked_for(self, store: Store, other: Store) -> None:
        await store.release(await admit(store, "x", created(), started()))
        assert await names(other) == []
        assert await names(other, runs=True) == ["x"]

    async def test_runs_without_a_queue_come_last(self, store: Store, other: Store) -> None:
        await store.release(await admit(store, "run", created(), started()))
        await submit(store, "x", priority=-5)
        assert await names(other, 1, runs=True) == ["x"]
        assert await names(other, 1, runs=True) == ["run"]

    @pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "stopped"])
    async def test_runs_that_ended_are_left_alone(self, store: Store, other: Store, status: str) -> None:
        lease = await admit(store, "x", created(), started())
        await add(store, lease, 2, finished(status))
        assert await names(other, runs=True) == []

    async def test_a_cancel_nobody_answered_is_the_heirs_to_answer(
        self, store: Store, other: Store, pass_time: Callable[[float], None]
    ) -> None:
        await submit(store)
        await one(store)
        await other.request_cancel(X, "alice")
        pass_time(self.lease_seconds * 1.1)
        heir = await one(other)
        assert other.requests(heir) == Request("cancel", "alice")

    async def test_what_is_enqueued_again_is_cancelled_no_more(self, store: Store, other: Store) -> None:
        await submit(store)
        lease = await one(store)
        await other.request_cancel(X, "alice")
        await add(store, lease, 1, started(), finished("cancelled"))
        await other.enqueue(X, Place())
        assert other.requests(await one(other)) is None


class PauseTests(StoreFixtures):
    """Kept from being taken."""

    async def test_what_is_paused_is_not_taken(self, store: Store, other: Store) -> None:
        await submit(store)
        await submit(store, "y")
        await other.request_pause(X, "alice")
        assert await names(store, runs=True) == ["y"]
        summary = await store.summary(X)
        assert (summary.paused_by, summary.status) == ("alice", ExecutionStatus.CREATED)
        assert summary.shown().status is ExecutionStatus.PAUSED

    async def test_an_owner_is_asked_to_pause(self, store: Store, other: Store) -> None:
        await submit(store)
        lease = await one(store)
        await other.request_pause(X, "alice")
        assert store.requests(lease) == Request("pause", "alice")
        await add(store, lease, 1, started(), finished("stopped"))
        assert await names(other, runs=True) == []
        assert (await other.summary(X)).shown().status is ExecutionStatus.PAUSED

    async def test_a_cancel_comes_before_a_pause(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await other.request_pause(X, "alice")
        await other.request_cancel(X, "bob")
        assert store.requests(lease) == Request("cancel", "bob")

    async def test_enqueuing_takes_a_pause_back(self, store: Store, other: Store) -> None:
        await submit(store)
        await store.request_pause(X, "alice")
        await other.enqueue(X, Place())
        assert (await store.summary(X)).paused_by is None
        assert await names(store) == ["x"]

    async def test_acquiring_takes_a_pause_back(self, store: Store, other: Store) -> None:
        await submit(store)
        await store.request_pause(X, "alice")
        lease = await other.acquire(X, "by hand")
        assert other.requests(lease) is None
        await other.release(lease)
        assert await names(store) == ["x"]

    async def test_an_orphan_that_is_paused_stays(
        self, store: Store, other: Store, pass_time: Callable[[float], None]
    ) -> None:
        await submit(store)
        await one(store)
        await admit(store, "run", created(), started())
        await other.request_pause(X, "alice")
        await other.request_pause(ExecutionId("run"), "alice")
        pass_time(self.lease_seconds * 1.1)
        assert await names(other, runs=True) == []
        await other.enqueue(X, Place())
        assert await names(other, runs=True) == ["x"]

    async def test_what_has_ended_is_not_shown_as_paused(self, store: Store) -> None:
        lease = await admit(store, "x", created(), started())
        await store.request_pause(X, "alice")
        assert (await store.summary(X)).shown().status is ExecutionStatus.RUNNING
        await add(store, lease, 2, completed("a", NOTHING), finished())
        assert (await store.summary(X)).shown().status is ExecutionStatus.COMPLETED


class QueueSettingTests(StoreFixtures):
    """What holds for a queue over all servers."""

    async def test_there_are_none_at_first(self, store: Store) -> None:
        assert await store.queues() == []

    async def test_they_are_listed_by_name(self, store: Store, other: Store) -> None:
        await submit(store, "a", "two")
        await submit(store, "b", "two")
        await submit(store, "c", "one")
        await store.set_queue("three", limit=3, paused_by="alice")
        (lease,) = await store.take("a server", ["two"], 1)
        assert await other.queues() == [
            QueueSummary("one", None, None, 1, 0),
            QueueSummary("three", 3, "alice", 0, 0),
            QueueSummary("two", None, None, 1, 1),
        ]
        await add(store, lease, 1, started(), finished())
        assert (await other.queues())[2] == QueueSummary("two", None, None, 1, 0)

    async def test_an_orphan_counts_as_waiting(
        self, store: Store, other: Store, pass_time: Callable[[float], None]
    ) -> None:
        await submit(store)
        await one(store)
        assert await other.queues() == [QueueSummary("default", None, None, 0, 1)]
        pass_time(self.lease_seconds * 1.1)
        assert await other.queues() == [QueueSummary("default", None, None, 1, 0)]

    async def test_a_setting_replaces_the_one_before(self, store: Store, other: Store) -> None:
        await store.set_queue("q", limit=3, paused_by="alice")
        await other.set_queue("q", limit=4, paused_by=None)
        assert await store.queues() == [QueueSummary("q", 4, None, 0, 0)]
        await store.set_queue("q", limit=None, paused_by=None)
        assert await other.queues() == []

    async def test_a_limit_holds_over_all_servers(self, store: Store, other: Store) -> None:
        await store.set_queue("default", limit=3, paused_by=None)
        for number in range(6):
            await submit(store, f"x{number}")
        assert await names(store, 2) == ["x0", "x1"]
        (last,) = await other.take("another", DEFAULT, 5)
        assert await names(store) == []
        await add(other, last, 1, claimed(), finished())
        assert await names(store) == ["x3"]

    async def test_what_is_owned_by_hand_counts_as_well(self, store: Store, other: Store) -> None:
        await store.set_queue("default", limit=1, paused_by=None)
        await submit(store)
        await submit(store, "y")
        lease = await other.acquire(X, "by hand")
        assert await names(store) == []
        await other.release(lease)
        assert await names(store) == ["x"]

    async def test_an_orphan_counts_no_more(
        self, store: Store, other: Store, pass_time: Callable[[float], None]
    ) -> None:
        await store.set_queue("default", limit=2, paused_by=None)
        for number in range(3):
            await submit(store, f"x{number}")
        await names(store)
        pass_time(self.lease_seconds * 1.1)
        assert await names(other) == ["x0", "x1"]
        assert await names(other) == []

    async def test_a_limit_lowered_takes_nothing_away(self, store: Store, other: Store) -> None:
        for number in range(4):
            await submit(store, f"x{number}")
        leases = await store.take("a server", DEFAULT, 3)
        await other.set_queue("default", limit=1, paused_by=None)
        assert await names(other) == []
        for lease in leases:
            await add(store, lease, 1, started(), finished())
        assert await names(other) == ["x3"]

    async def test_a_limit_of_none_at_all(self, store: Store) -> None:
        await submit(store)
        await store.set_queue("default", limit=0, paused_by=None)
        assert await names(store) == []

    async def test_a_limit_is_one_queues(self, store: Store) -> None:
        await store.set_queue("one", limit=1, paused_by=None)
        for number in range(4):
            await submit(store, f"x{number}", ("one", "two")[number % 2])
        assert await names(store, queues=["one", "two"]) == ["x0", "x1", "x3"]

    async def test_of_many_who_take_none_gets_beyond_the_limit(self, store: Store, opened: Callable[[], Store]) -> None:
        await store.set_queue("default", limit=3, paused_by=None)
        for number in range(12):
            await submit(store, f"x{number}")
        results = await contest(opened, lambda handle: names(handle, 2))
        assert sum(len(result) for result in results if isinstance(result, list)) == 3

    async def test_nothing_of_a_paused_queue_is_taken(self, store: Store, other: Store) -> None:
        await submit(store)
        await submit(store, "y", "another")
        await other.set_queue("default", limit=None, paused_by="alice")
        assert await names(store, queues=["default", "another"]) == ["y"]
        await other.set_queue("default", limit=None, paused_by=None)
        assert await names(store) == ["x"]

    async def test_a_paused_queue_keeps_what_is_owned_going(
        self, store: Store, other: Store, pass_time: Callable[[float], None]
    ) -> None:
        await submit(store)
        lease = await one(store)
        await other.set_queue("default", limit=None, paused_by="alice")
        assert store.requests(lease) is None
        assert await add(store, lease, 1) == 2
        pass_time(self.lease_seconds * 1.1)
        assert await names(other, runs=True) == []
