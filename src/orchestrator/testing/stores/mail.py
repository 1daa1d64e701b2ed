"""Mail: what is sent is there until it is taken, in order and once; what waits is taken up when it is due."""
# ruff: noqa: D102 - a test's name tells its effect

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import ExecutionId
from orchestrator.errors import LeaseLost, MailUnread, UnknownExecution, UsageError
from orchestrator.ports.store import HAS_MAIL, SIGNAL_LIMIT, Lease, Place, Request, Store
from orchestrator.testing.clock import ManualClock
from orchestrator.testing.stores.facts import add, admit, claimed, created, finished, signal, started, value, waits
from orchestrator.testing.stores.fixtures import StoreFixtures
from orchestrator.testing.stores.journal import contest
from orchestrator.testing.stores.queues import names, submit

X = ExecutionId("x")


async def ids(store: Store, limit: int | None = None) -> list[str]:
    """Return the ids of what is in the mailbox."""
    return [one.id for one in await store.signals(X, limit)]


async def wait_for(store: Store, due: float | None = None, *, place: Place | None = None) -> None:
    """Leave an execution that waits; with ``place`` it was submitted there."""
    if place is None:
        lease = await admit(store, "x", created(), started())
        await add(store, lease, 2, waits(due))
    else:
        await store.submit(X, [created()], [], place)
        (lease,) = await store.take("a server", [place.queue], 1)
        await add(store, lease, 1, started(), waits(due))


class MailTests(StoreFixtures):
    """The mailbox."""

    async def test_what_was_sent_is_there_as_it_was_and_in_order(self, store: Store, other: Store) -> None:
        sent = [
            signal("b", at=3.25),
            signal("a", value(SIGNAL_LIMIT)),
            signal("c", value(1))._replace(name="what \u20ac\x00 ever", by=""),
        ]
        await admit(store)
        assert await store.signals(X) == []
        for one in sent:
            await other.send(X, one)
        assert await store.signals(X) == sent
        assert await other.signals(X, 2) == sent[:2]
        assert await other.check() == []

    async def test_one_id_is_one_signal(self, store: Store, other: Store) -> None:
        await admit(store)
        await admit(store, "y")
        await store.send(X, signal("a", value(10)))
        await other.send(X, signal("a", value(20)))
        await other.send(ExecutionId("y"), signal("a", value(30)))
        assert await store.signals(X) == [signal("a", value(10))]
        assert await store.signals(ExecutionId("y")) == [signal("a", value(30))]

    async def test_of_many_who_send_none_is_lost(self, store: Store, opened: Callable[[], Store]) -> None:
        await admit(store)
        count = 0

        async def send(handle: Store) -> None:
            nonlocal count
            count += 1
            await asyncio.gather(handle.send(X, signal(f"own{count}")), handle.send(X, signal("same")))

        results = await contest(opened, send)
        assert set(results) == {None}
        assert sorted(await ids(store)) == sorted(["same", *(f"own{number + 1}" for number in range(len(results)))])

    async def test_what_is_too_large_or_has_no_proper_id_is_refused(self, store: Store) -> None:
        await admit(store)
        with pytest.raises(UsageError, match="65,537 bytes, and a signal carries at most 65,536"):
            await store.send(X, signal("s1", value(SIGNAL_LIMIT + 1)))
        for name in ("", "a b", "x" * 129):
            with pytest.raises(UsageError, match="not an id of a signal"):
                await store.send(X, signal(name))
        assert await store.signals(X) == []

    async def test_the_owner_hears_of_it_until_it_is_taken(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await other.send(X, signal("a"))
        await other.send(X, signal("b"))
        assert store.requests(lease) == HAS_MAIL
        await store.delivered(lease, ["a", "never"])
        assert (store.requests(lease), await ids(store)) == (HAS_MAIL, ["b"])
        await store.delivered(lease, ["a", "b"])
        assert (store.requests(lease), await ids(store)) == (None, [])
        await store.delivered(lease, [])

    async def test_a_pause_and_a_cancel_come_first(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await other.send(X, signal())
        await other.request_pause(X, "me")
        assert store.requests(lease) == Request("pause", "me")
        await other.request_cancel(X, "you")
        assert store.requests(lease) == Request("cancel", "you")

    async def test_what_was_delivered_may_come_again(self, store: Store) -> None:
        lease = await admit(store)
        await store.send(X, signal())
        await store.delivered(lease, ["s1"])
        await store.send(X, signal())
        assert await ids(store) == ["s1"]

    async def test_it_waits_for_the_next_owner(self, store: Store, other: Store) -> None:
        await store.release(await admit(store))
        await store.send(X, signal())
        lease = await other.acquire(X, "heir")
        assert other.requests(lease) == HAS_MAIL
        assert await ids(other) == ["s1"]

    async def test_a_lost_lease_takes_nothing(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await store.send(X, signal())
        await other.acquire(X, "thief", steal=True)
        with pytest.raises(LeaseLost):
            await store.delivered(lease, ["s1"])
        assert await ids(other) == ["s1"]

    async def test_after_its_last_commit_an_owner_still_takes(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await store.send(X, signal())
        await add(store, lease, 1, claimed(), finished("failed"))
        await store.delivered(lease, ["s1"])
        assert await ids(other) == []

    async def test_it_goes_with_its_execution(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await store.send(X, signal())
        await store.release(lease)
        with pytest.raises(MailUnread):
            await other.remove([X], unread=False)
        assert await ids(store) == ["s1"]
        await other.remove([X])
        with pytest.raises(UnknownExecution):
            await store.signals(X)
        await admit(store)
        assert await store.signals(X) == []
        assert await store.check() == []

    async def test_what_has_no_mail_is_removed(self, store: Store) -> None:
        lease = await admit(store)
        await store.send(X, signal())
        await store.delivered(lease, ["s1"])
        await store.release(lease)
        await store.remove([X], unread=False)
        assert await store.summaries() == []


class DueTests(StoreFixtures):
    """Executions that wait for a signal or for a time."""

    async def test_it_is_free_and_not_over(self, store: Store, other: Store, clock: ManualClock) -> None:
        await wait_for(store, clock.now() + 60)
        summary = await other.summary(X)
        assert (summary.status, summary.holder, summary.due) == (ExecutionStatus.WAITING, None, clock.now() + 60)
        assert not summary.over
        assert await other.summaries(status=ExecutionStatus.WAITING) == [summary]

    @pytest.mark.parametrize("place", [None, Place()], ids=["runs", "queue"])
    async def test_it_is_taken_at_its_time(
        self, store: Store, other: Store, clock: ManualClock, place: Place | None
    ) -> None:
        await wait_for(store, clock.now() + 60, place=place)
        clock.advance(59)
        assert await names(other, runs=True) == []
        clock.advance(1)
        assert await names(other, runs=place is None) == ["x"]

    @pytest.mark.parametrize("place", [None, Place()], ids=["runs", "queue"])
    async def test_it_is_taken_when_a_signal_comes(self, store: Store, other: Store, place: Place | None) -> None:
        await wait_for(store, place=place)
        assert (await other.summary(X)).due is None
        assert await names(other, runs=True) == []
        await store.send(X, signal())
        assert (await other.summary(X)).due == 0
        assert await names(other, runs=place is None) == ["x"]

    async def test_a_signal_that_came_before_the_last_commit_counts(
        self, store: Store, other: Store, clock: ManualClock
    ) -> None:
        await submit(store)
        (lease,) = await store.take("a server", ["default"], 1)
        await other.send(X, signal())
        await add(store, lease, 1, started(), waits(clock.now() + 60))
        assert await names(other) == ["x"]

    async def test_a_signal_that_comes_together_with_the_last_commit_counts(self, store: Store, other: Store) -> None:
        handles = [await admit(store, f"x{number}", created(), started()) for number in range(8)]
        sent = [other.send(lease.execution_id, signal()) for lease in handles]
        ended = [add(store, lease, 2, waits()) for lease in handles]
        await asyncio.gather(*(act for pair in zip(sent, ended, strict=True) for act in pair))
        assert {one.due for one in await store.summaries()} == {0}
        assert len(await names(other, runs=True)) == len(handles)

    async def test_whoever_takes_it_up_ends_the_wait(self, store: Store, other: Store, clock: ManualClock) -> None:
        await wait_for(store, clock.now() + 60, place=Place())
        lease = await other.acquire(X, "me")
        await add(other, lease, 3, started(2, resumed=True))
        assert ((await store.summary(X)).status, (await store.summary(X)).due) == (ExecutionStatus.RUNNING, None)
        await other.release(lease)
        assert await names(store) == ["x"]

    async def test_one_that_was_taken_up_and_left_waits_on(
        self, store: Store, other: Store, clock: ManualClock, pass_time: Callable[[float], None]
    ) -> None:
        await wait_for(store, clock.now() + 10 * self.lease_seconds, place=Place())
        lease: Lease = await other.acquire(X, "me")
        pass_time(self.lease_seconds + 1)
        assert await names(store, runs=True) == []
        await store.send(X, signal())
        assert await names(store) == ["x"]
        assert lease.epoch == (await store.acquire(X, "me", steal=True)).epoch - 2

    async def test_a_pause_stands(self, store: Store, other: Store) -> None:
        await wait_for(store, place=Place())
        await store.request_pause(X, "me")
        await store.send(X, signal())
        assert await names(other, runs=True) == []
        await store.enqueue(X, Place())
        assert await names(other) == ["x"]

    async def test_one_that_is_enqueued_waits_on_there(self, store: Store, other: Store) -> None:
        await wait_for(store)
        await store.enqueue(X, Place("q"))
        assert await names(other, queues=["q"]) == []
        await store.send(X, signal())
        assert await names(other, queues=["q"]) == ["x"]

    @pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
    async def test_what_has_ended_is_not_woken(self, store: Store, other: Store, status: str) -> None:
        await submit(store)
        (lease,) = await store.take("a server", ["default"], 1)
        await add(store, lease, 1, started(), finished(status))
        await other.send(X, signal())
        assert await names(other, runs=True) == []

    async def test_what_is_due_keeps_its_order_and_the_limit(
        self, store: Store, other: Store, clock: ManualClock
    ) -> None:
        await wait_for(store, clock.now(), place=Place("default", 5))
        await submit(store, "new", priority=5)
        await submit(store, "urgent", priority=9)
        assert await names(other, 2) == ["urgent", "x"]
