"""Ownership: one at a time, fenced by the epoch, given back, taken over."""
# ruff: noqa: D102, PLR2004 - a test's name tells its effect, and expected numbers are the point

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from orchestrator.domain.events import Event
from orchestrator.domain.ids import ExecutionId, Seq
from orchestrator.domain.values import EncodedValue
from orchestrator.errors import ExecutionOwned, JournalConflict, LeaseLost, UnknownExecution
from orchestrator.ports.store import BulkLeases, Lease, Request, Store
from orchestrator.testing.clock import ManualClock
from orchestrator.testing.stores.facts import add, admit, claimed, completed, created, facts, finished, started, value
from orchestrator.testing.stores.fixtures import StoreFixtures
from orchestrator.testing.stores.journal import contest

X = ExecutionId("x")


class LeaseTests(StoreFixtures):
    """Acquiring, releasing, stealing, renewing."""

    async def test_the_creator_owns_the_execution(self, store: Store, other: Store) -> None:
        await store.create(X, "the creator", [created()], [])
        for handle in (store, other):
            holder = await handle.holder(X)
            assert holder == ("the creator", 1, True)

    async def test_what_is_owned_is_refused_and_the_error_names_the_owner(self, store: Store, other: Store) -> None:
        lease = await store.create(X, "pid 17 on host", [created()], [])
        for handle in (store, other):
            with pytest.raises(ExecutionOwned, match="pid 17 on host") as caught:
                await handle.acquire(X, "me")
            assert caught.value.execution_id == "x"
        assert await store.holder(X) == ("pid 17 on host", 1, True)
        assert await add(store, lease, 1) == 2

    async def test_what_was_released_is_free_at_once(self, store: Store, other: Store) -> None:
        await store.release(await admit(store))
        assert await other.holder(X) is None
        lease = await other.acquire(X, "heir")
        assert lease.epoch == 2
        assert await store.holder(X) == ("heir", 2, True)
        assert await add(other, lease, 1) == 2

    async def test_what_a_closed_handle_owned_is_free_at_once(self, store: Store, other: Store) -> None:
        await admit(store)
        await store.close()
        holder = await other.holder(X)
        assert holder is None or not holder.alive
        assert (await other.acquire(X, "heir")).epoch == 2

    async def test_a_steal_succeeds_while_the_owner_lives(self, store: Store, other: Store) -> None:
        await admit(store)
        lease = await other.acquire(X, "thief", steal=True)
        assert lease.epoch == 2
        assert await store.holder(X) == ("thief", 2, True)
        assert await add(other, lease, 1) == 2

    async def test_a_steal_from_nobody_is_an_acquisition(self, store: Store) -> None:
        await store.release(await admit(store))
        assert (await store.acquire(X, "me", steal=True)).epoch == 2

    async def test_what_was_stolen_is_owned(self, store: Store, opened: Callable[[], Store]) -> None:
        await admit(store)
        await opened().acquire(X, "thief", steal=True)
        with pytest.raises(ExecutionOwned):
            await opened().acquire(X, "third")

    async def test_what_was_stolen_can_be_stolen_back(self, store: Store, other: Store) -> None:
        await admit(store)
        lost = await other.acquire(X, "thief", steal=True)
        lease = await store.acquire(X, "victim", steal=True)
        assert await add(store, lease, 1) == 2
        with pytest.raises(LeaseLost):
            await add(other, lost, 2)

    async def test_one_handle_may_steal_from_itself(self, store: Store, other: Store) -> None:
        lost = await admit(store)
        lease = await store.acquire(X, "again", steal=True)
        with pytest.raises(LeaseLost):
            await add(store, lost, 1)
        assert await add(store, lease, 1) == 2
        await store.release(lease)
        assert (await other.acquire(X, "heir")).epoch == 3

    async def test_the_epoch_grows_by_one_with_each_owner(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        for epoch in range(2, 12):
            await store.release(lease)
            lease = await store.acquire(X, "next", steal=epoch % 2 == 0)
            assert lease.epoch == epoch
        for epoch in range(12, 16):
            lease = await (store, other)[epoch % 2].acquire(X, "thief", steal=True)
            assert lease.epoch == epoch

    async def test_a_refused_acquisition_leaves_the_epoch(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        for _ in range(3):
            with pytest.raises(ExecutionOwned):
                await other.acquire(X, "me")
        assert await store.holder(X) == ("somebody", 1, True)
        await store.release(lease)
        assert (await other.acquire(X, "me")).epoch == 2

    async def test_an_acquisition_changes_no_fact(self, store: Store, other: Store) -> None:
        await store.release(await admit(store, "x", created(), started()))
        before = await store.summary(X)
        await other.release(await other.acquire(X, "heir"))
        assert await store.summary(X) == before
        assert await facts(store) == [created(), started()]

    async def test_a_second_release_does_nothing(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await store.release(lease)
        await store.release(lease)
        assert await other.holder(X) is None

    async def test_the_release_of_a_lost_lease_does_nothing(self, store: Store, other: Store) -> None:
        lost = await admit(store)
        lease = await other.acquire(X, "thief", steal=True)
        await store.release(lost)
        assert await store.holder(X) == ("thief", 2, True)
        assert await add(other, lease, 1) == 2

    async def test_the_late_release_of_an_old_lease_leaves_the_new_one(self, store: Store, other: Store) -> None:
        old = await admit(store)
        await store.release(old)
        lease = await store.acquire(X, "again")
        await store.release(old)
        with pytest.raises(ExecutionOwned):
            await other.acquire(X, "me")
        assert await add(store, lease, 1) == 2
        await store.release(lease)
        assert await other.holder(X) is None

    async def test_executions_are_owned_each_for_itself(self, store: Store, other: Store) -> None:
        one, two = await admit(store, "one"), await admit(other, "two")
        await store.release(one)
        with pytest.raises(ExecutionOwned):
            await store.acquire(ExecutionId("two"), "me")
        assert (await other.acquire(ExecutionId("one"), "me")).epoch == 2
        assert await add(other, two, 1) == 2

    async def test_of_many_who_acquire_one_succeeds(self, store: Store, opened: Callable[[], Store]) -> None:
        await store.release(await admit(store))
        results = await contest(opened, lambda handle: handle.acquire(X, "me"))
        assert sum(isinstance(result, Lease) for result in results) == 1
        assert sum(isinstance(result, ExecutionOwned) for result in results) == len(results) - 1

    async def test_many_thieves_get_an_epoch_each(self, store: Store, opened: Callable[[], Store]) -> None:
        await admit(store)
        results = await contest(opened, lambda handle: handle.acquire(X, "thief", steal=True))
        assert sorted(result.epoch for result in results if isinstance(result, Lease)) == [2, 3, 4, 5]


class GivingBackTests(StoreFixtures):
    """The owner's last commit gives the execution back."""

    @pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "stopped"])
    async def test_after_the_finishing_commit_the_execution_is_free(
        self, store: Store, other: Store, status: str
    ) -> None:
        lease = await admit(store, "x", created(), started())
        await add(store, lease, 2, completed(), finished(status))
        assert await other.holder(X) is None
        heir = await other.acquire(X, "heir")
        assert heir.epoch == 2
        assert await add(other, heir, 4, started(2, resumed=True)) == 5

    async def test_after_the_finishing_commit_the_lease_writes_no_more(self, store: Store) -> None:
        lease = await admit(store)
        await add(store, lease, 1, finished())
        with pytest.raises(LeaseLost):
            await add(store, lease, 2)
        assert len(await facts(store)) == 2

    async def test_the_release_after_the_finishing_commit_does_nothing(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await add(store, lease, 1, finished())
        heir = await other.acquire(X, "heir")
        await store.release(lease)
        assert await store.holder(X) == ("heir", 2, True)
        assert await add(other, heir, 2) == 3

    async def test_the_same_handle_takes_a_finished_execution_up_again(self, store: Store) -> None:
        lease = await admit(store)
        await add(store, lease, 1, finished("failed"))
        again = await store.acquire(X, "again")
        await store.release(lease)
        assert await add(store, again, 2, started(2, resumed=True), finished()) == 4

    async def test_a_refused_finishing_commit_gives_nothing_back(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        with pytest.raises(JournalConflict):
            await add(store, lease, 7, finished())
        with pytest.raises(ExecutionOwned):
            await other.acquire(X, "me")
        assert await add(store, lease, 1) == 2


async def _released(store: Store, other: Store, lease: Lease) -> None:
    del other
    await store.release(lease)


async def _released_and_taken(store: Store, other: Store, lease: Lease) -> None:
    await store.release(lease)
    await other.acquire(X, "heir")


async def _taken_again(store: Store, other: Store, lease: Lease) -> None:
    del other
    await store.release(lease)
    await store.acquire(X, "again")


async def _stolen(store: Store, other: Store, lease: Lease) -> None:
    del store, lease
    await other.acquire(X, "thief", steal=True)


async def _stolen_and_released(store: Store, other: Store, lease: Lease) -> None:
    del store, lease
    await other.release(await other.acquire(X, "thief", steal=True))


async def _finished(store: Store, other: Store, lease: Lease) -> None:
    del other
    await add(store, lease, 1, finished())


async def _removed(store: Store, other: Store, lease: Lease) -> None:
    await store.release(lease)
    await other.remove([X])


async def _created_anew(store: Store, other: Store, lease: Lease) -> None:
    await store.release(lease)
    await other.remove([X])
    await admit(store)


_LOSSES = [
    _released,
    _released_and_taken,
    _taken_again,
    _stolen,
    _stolen_and_released,
    _finished,
    _removed,
    _created_anew,
]
_WRITES: dict[str, tuple[list[Event], list[EncodedValue], bool]] = {
    "claim": ([claimed()], [], False),
    "claim, durable": ([claimed()], [], True),
    "with a value": ([completed("a", value(2000).ref)], [value(2000)], False),
    "with a large value": ([completed("a", value(200_000).ref)], [value(200_000)], False),
    "start": ([started()], [], False),
    "finish": ([finished()], [], False),
    "finish, durable": ([finished()], [], True),
}


class FenceTests(StoreFixtures):
    """I5: nothing by an owner whose ownership ended changes what is recorded."""

    @pytest.mark.parametrize("write", _WRITES)
    @pytest.mark.parametrize("lose", _LOSSES, ids=lambda lose: lose.__name__[1:])
    async def test_a_lost_lease_writes_nothing(
        self,
        store: Store,
        other: Store,
        lose: Callable[[Store, Store, Lease], Awaitable[None]],
        write: str,
    ) -> None:
        events, values, durable = _WRITES[write]
        lease = await admit(store)
        await lose(store, other, lease)
        before = await _image(other)
        for expected in (1, before[0] if isinstance(before[0], int) else 1):
            with pytest.raises(LeaseLost) as caught:
                await store.append(lease, events, values, expected_seq=Seq(expected), completed=9, durable=durable)
            assert (caught.value.execution_id, caught.value.epoch) == ("x", 1)
        assert await _image(other) == before

    async def test_the_loser_may_have_the_right_seq_or_not(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        heir = await other.acquire(X, "thief", steal=True)
        await add(other, heir, 1)
        for expected in (0, 1, 2, 3):
            with pytest.raises(LeaseLost):
                await add(store, lease, expected)

    async def test_a_lease_lost_is_no_exception_that_a_task_could_swallow(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await other.acquire(X, "thief", steal=True)
        with pytest.raises(LeaseLost) as caught:
            await add(store, lease, 1)
        assert not isinstance(caught.value, Exception)

    async def test_a_forged_epoch_writes_nothing(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await other.acquire(X, "thief", steal=True)
        forged = Lease(lease.execution_id, lease.epoch, "0000000000000000", lease.deadline)
        for epoch in (0, 1, 2, 3):
            forged.epoch = type(lease.epoch)(epoch)
            with pytest.raises(LeaseLost):
                await add(store, forged, 1)
        assert len(await facts(store)) == 1


async def _image(store: Store) -> tuple[object, ...]:
    """Return everything that a refused write must leave as it is."""
    try:
        summary = await store.summary(X)
    except UnknownExecution:
        return ("unknown",)
    statistics = await store.statistics()
    return (summary.seq, summary, await facts(store), statistics["values"], statistics["commits"])


class RenewTests(StoreFixtures):
    """What the lease keeper does, from its own thread."""

    async def test_a_new_lease_ends_after_lease_seconds(self, store: Store, clock: ManualClock) -> None:
        lease = await admit(store)
        assert lease.deadline == clock.monotonic() + self.lease_seconds

    async def test_renewing_moves_the_deadline(self, store: Store, clock: ManualClock) -> None:
        lease = await admit(store)
        clock.advance(10)
        store.renew(lease)
        assert lease.deadline == clock.monotonic() + self.lease_seconds
        assert await add(store, lease, 1) == 2

    async def test_a_lost_lease_is_not_renewed(self, store: Store, other: Store, clock: ManualClock) -> None:
        lease = await admit(store)
        deadline = lease.deadline
        await other.acquire(X, "thief", steal=True)
        clock.advance(1)
        with pytest.raises(LeaseLost) as caught:
            store.renew(lease)
        assert (caught.value.execution_id, caught.value.epoch) == ("x", 1)
        assert lease.deadline == deadline

    async def test_the_heir_renews(self, store: Store, other: Store, clock: ManualClock) -> None:
        await admit(store)
        lease = await other.acquire(X, "thief", steal=True)
        clock.advance(20)
        other.renew(lease)
        clock.advance(20)
        assert await store.holder(X) == ("thief", 2, True)

    async def test_a_removed_execution_is_not_renewed(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await store.release(lease)
        await other.remove([X])
        with pytest.raises(LeaseLost):
            store.renew(lease)
        with pytest.raises(LeaseLost):
            store.requests(lease)

    async def test_a_lease_of_an_earlier_execution_of_that_id_is_not_renewed(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await store.release(lease)
        await other.remove([X])
        await admit(store)
        with pytest.raises(LeaseLost):
            store.renew(lease)
        with pytest.raises(LeaseLost):
            store.requests(lease)

    async def test_a_late_renewal_after_the_end_is_no_alarm(self, store: Store) -> None:
        finishing, releasing = await admit(store, "x"), await admit(store, "y")
        await add(store, finishing, 1, finished())
        await store.release(releasing)
        for lease in (finishing, releasing):
            store.renew(lease)
            assert store.requests(lease) is None
            assert await store.holder(lease.execution_id) is None

    async def test_renewing_from_another_thread_while_the_loop_writes(self, store: Store, clock: ManualClock) -> None:
        lease = await admit(store)
        errors: list[BaseException] = []
        done = threading.Event()

        def keep() -> None:
            try:
                while not done.is_set():
                    store.renew(lease)
                    store.requests(lease)
            except BaseException as error:  # noqa: BLE001 - LeaseLost is one
                errors.append(error)

        thread = threading.Thread(target=keep)
        thread.start()
        try:
            for seq in range(1, 60):
                clock.advance(1)
                await add(store, lease, seq, claimed(), values=[value(1100, seed=seq)])
                await asyncio.sleep(0)
        finally:
            done.set()
            thread.join()
        assert errors == []
        assert len(await facts(store)) == 60


class RequestTests(StoreFixtures):
    """Asking an owner to cancel."""

    async def test_nobody_has_asked(self, store: Store) -> None:
        assert store.requests(await admit(store)) is None

    async def test_the_owner_learns_who_asked(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await other.request_cancel(X, "alice on host")
        assert store.requests(lease) == Request("cancel", "alice on host")
        assert store.requests(lease) == Request("cancel", "alice on host")

    async def test_a_request_writes_no_fact_and_takes_nothing_away(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        before = await store.summary(X)
        await other.request_cancel(X, "alice")
        assert await store.summary(X) == before
        assert await add(store, lease, 1) == 2

    async def test_the_next_owner_starts_without_requests(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await other.request_cancel(X, "alice")
        await store.release(lease)
        assert other.requests(await other.acquire(X, "heir")) is None

    async def test_a_thief_starts_without_requests(self, store: Store, other: Store) -> None:
        await admit(store)
        await store.request_cancel(X, "alice")
        assert other.requests(await other.acquire(X, "thief", steal=True)) is None

    async def test_a_lost_lease_gets_no_requests(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        heir = await other.acquire(X, "thief", steal=True)
        await other.request_cancel(X, "alice")
        with pytest.raises(LeaseLost):
            store.requests(lease)
        assert other.requests(heir) == Request("cancel", "alice")

    async def test_requests_go_to_one_execution(self, store: Store) -> None:
        one, two = await admit(store, "one"), await admit(store, "two")
        await store.request_cancel(ExecutionId("one"), "alice")
        assert store.requests(one) == Request("cancel", "alice")
        assert store.requests(two) is None


class BulkTests(StoreFixtures):
    """Looking after many leases at once, in stores that can."""

    @pytest.fixture
    def bulk(self, store: Store) -> BulkLeases:
        if not isinstance(store, BulkLeases):
            pytest.skip("this store looks after its leases one by one")
        return store

    async def test_requests_of_all_and_what_is_due_renewed(
        self, store: Store, other: Store, bulk: BulkLeases, pass_time: Callable[[float], None]
    ) -> None:
        one, two, three = [await admit(store, name) for name in ("one", "two", "three")]
        await other.request_cancel(ExecutionId("two"), "alice")
        await other.request_pause(ExecutionId("three"), "bob")
        deadlines = [lease.deadline for lease in (one, two, three)]
        pass_time(self.lease_seconds / 4)
        assert bulk.tend([one, two, three], [two]) == {
            one.token: None,
            two.token: Request("cancel", "alice"),
            three.token: Request("pause", "bob"),
        }
        assert (one.deadline, three.deadline) == (deadlines[0], deadlines[2])
        assert two.deadline > deadlines[1]
        left = [(await other.summary(lease.execution_id)).lease_left for lease in (one, two)]
        assert left[0] is not None
        assert left[1] is not None
        assert left[0] < left[1]

    async def test_the_lost_are_missing_and_the_given_back_are_not(
        self, store: Store, other: Store, bulk: BulkLeases
    ) -> None:
        kept, lost, done = [await admit(store, name) for name in ("kept", "lost", "done")]
        await other.acquire(lost.execution_id, "thief", steal=True)
        await add(store, done, 1, finished())
        before = lost.deadline
        assert bulk.tend([kept, lost, done], [kept, lost]) == {kept.token: None, done.token: None}
        assert lost.deadline == before
        assert bulk.tend([], []) == {}

    async def test_a_removed_one_is_lost(self, store: Store, bulk: BulkLeases) -> None:
        lease = await admit(store)
        await store.release(lease)
        await store.remove([X])
        assert bulk.tend([lease], [lease]) == {}


class LeaseExpiryTests(StoreFixtures):
    """For stores in which an owner that fell silent is told by its lease's deadline alone."""

    async def test_until_the_deadline_the_execution_is_owned(
        self, store: Store, other: Store, pass_time: Callable[[float], None]
    ) -> None:
        await admit(store)
        pass_time(self.lease_seconds - 0.001)
        assert await other.holder(X) == ("somebody", 1, True)
        with pytest.raises(ExecutionOwned):
            await other.acquire(X, "heir")

    async def test_from_the_deadline_on_it_is_free(
        self, store: Store, other: Store, pass_time: Callable[[float], None]
    ) -> None:
        await admit(store)
        pass_time(self.lease_seconds)
        assert await other.holder(X) == ("somebody", 1, False)
        assert (await other.acquire(X, "heir")).epoch == 2

    async def test_renewing_keeps_it(self, store: Store, other: Store, pass_time: Callable[[float], None]) -> None:
        lease = await admit(store)
        for _ in range(5):
            pass_time(self.lease_seconds * 0.9)
            store.renew(lease)
        with pytest.raises(ExecutionOwned):
            await other.acquire(X, "heir")

    async def test_an_owner_past_its_deadline_goes_on_if_nobody_came(
        self, store: Store, pass_time: Callable[[float], None]
    ) -> None:
        lease = await admit(store)
        pass_time(self.lease_seconds * 10)
        assert await add(store, lease, 1) == 2
        store.renew(lease)
        assert await store.holder(X) == ("somebody", 1, True)

    async def test_an_owner_past_its_deadline_is_fenced_off_once_somebody_came(
        self, store: Store, other: Store, pass_time: Callable[[float], None]
    ) -> None:
        lease = await admit(store)
        pass_time(self.lease_seconds)
        await other.acquire(X, "heir")
        with pytest.raises(LeaseLost):
            await add(store, lease, 1)
        with pytest.raises(LeaseLost):
            store.renew(lease)

    async def test_the_wall_clock_decides_nothing(
        self, store: Store, other: Store, clock: ManualClock, pass_time: Callable[[float], None]
    ) -> None:
        await admit(store)
        clock.jump(86_400 * 365)
        with pytest.raises(ExecutionOwned):
            await other.acquire(X, "heir")
        clock.jump(-86_400 * 365 * 40)
        pass_time(self.lease_seconds)
        await other.acquire(X, "heir")

    async def test_past_its_deadline_it_may_be_removed(
        self, store: Store, other: Store, pass_time: Callable[[float], None]
    ) -> None:
        await admit(store)
        pass_time(self.lease_seconds)
        await other.remove([X])
        with pytest.raises(UnknownExecution):
            await store.summary(X)
