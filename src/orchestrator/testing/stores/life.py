"""Odd names, unknown executions, closed stores."""
# ruff: noqa: D102, PLR2004 - a test's name tells its effect, and expected numbers are the point

from __future__ import annotations

import unicodedata
from collections.abc import Awaitable, Callable

import pytest

from orchestrator.domain.ids import Epoch, ExecutionId, Seq
from orchestrator.errors import ExecutionExists, LeaseLost, StoreUnavailable, UnknownExecution
from orchestrator.ports.store import CacheEntry, Lease, Place, QueueSummary, Request, Store
from orchestrator.testing.stores.facts import AT, add, admit, claimed, commits, created, facts, signal, value
from orchestrator.testing.stores.fixtures import StoreFixtures

X = ExecutionId("x")
_ENTRY = CacheEntry(bytes(32), AT, "x@1", value(100).ref)
ODD = [
    "' OR 1=1--",
    "'; DROP TABLE executions; --",
    "$.x') UNION SELECT * FROM meta --",
    '"',
    "\\",
    "%",
    "_",
    "*",
    "?",
    "[a-z]",
    "{x}",
    "]",
    "a\nb",
    "a\r\nb",
    "a\x00b",
    "\x00",
    "",
    " ",
    ".",
    "..",
    "../../etc/passwd",
    "/etc/passwd",
    "a:b",
    "-rf",
    "CON",
    "__proto__",
    "NULL",
    "0",
    "1e3",
    unicodedata.normalize("NFC", "né"),
    unicodedata.normalize("NFD", "né"),
    "\u202eright-to-left",
    "🦀",
    "漢字",
    "Case",
    "cASE",
    "a" * 128,
    "a" * 129,
    "b" * 5000,
]


class OddNameTests(StoreFixtures):
    """I15: names are data; whatever stands in them, they reach one execution and no other."""

    @pytest.mark.parametrize("name", ODD, ids=ascii)
    async def test_every_method_takes_a_name_as_it_is(self, store: Store, other: Store, name: str) -> None:
        odd = ExecutionId(name)
        bystander = await admit(store, "bystander", created("bystander"))
        lease = await store.create(odd, name, [created(name, at=AT + 1)], [value(2000)])
        with pytest.raises(ExecutionExists):
            await admit(other, name)
        await add(store, lease, 1, claimed(name))
        assert (await commits(other, name))[1].events == [claimed(name)]
        assert await other.holder(odd) == (name, 1, True)
        await other.request_cancel(odd, name)
        assert store.requests(lease) == Request("cancel", name)
        store.renew(lease)
        await other.hide_checkpoint(odd, Seq(2))
        assert await store.hidden(odd) == {2}
        summary = await other.summary(odd)
        assert (summary.execution_id, summary.pipeline_id) == (name, name)
        assert await other.summaries(pipeline_id=name) == [summary]
        await other.send(odd, signal())
        assert await store.signals(odd) == [signal()]
        await store.delivered(lease, [name, "s1"])
        assert await store.signals(odd) == []
        await store.release(lease)
        await other.release(await other.acquire(odd, name))
        await other.set_queue(name, limit=3, paused_by=None)
        await other.remember(odd, _ENTRY)
        assert await store.recall(_ENTRY.fingerprint) == _ENTRY
        await other.enqueue(odd, Place(name, -7))
        assert await store.queues() == [QueueSummary(name, 3, None, 1, 0)]
        assert (await store.summary(odd)).place == Place(name, -7)
        (taken,) = await store.take(name, [name], 9)
        assert (taken.execution_id, await other.holder(odd)) == (name, (name, 3, True))
        await other.request_pause(odd, name)
        assert (await store.summary(odd)).paused_by == name
        await store.release(taken)
        await store.set_queue(name, limit=None, paused_by=None)
        await other.remove([odd])
        assert await store.recall(_ENTRY.fingerprint) is None
        with pytest.raises(UnknownExecution):
            await store.summary(odd)
        assert await store.summaries(pipeline_id=name) == []
        assert await facts(store, "bystander") == [created("bystander")]
        assert store.requests(bystander) is None
        assert await add(store, bystander, 1) == 2

    async def test_all_odd_names_side_by_side(self, store: Store, other: Store) -> None:
        leases = {name: await admit(store, name, created(name)) for name in ODD}
        for number, name in enumerate(ODD):
            await add(store, leases[name], 1, claimed(f"task {number}"))
        assert {one.execution_id for one in await other.summaries()} == set(ODD)
        for number, name in enumerate(ODD):
            assert await facts(other, name) == [created(name), claimed(f"task {number}")]
            assert [one.execution_id for one in await other.summaries(pipeline_id=name)] == [name]
        assert await store.check() == []

    @pytest.mark.parametrize("name", ["%", "_", "*", "x%", "' OR 1=1--", "x' OR 'a'='a", "X", "x ", " x", "x\x00"])
    async def test_no_pattern_reaches_another_execution(self, store: Store, name: str) -> None:
        await store.release(await admit(store, "x", created("x")))
        with pytest.raises(UnknownExecution):
            await store.summary(ExecutionId(name))
        assert await store.summaries(pipeline_id=name) == []
        await store.remove([ExecutionId(name)])
        assert len(await store.summaries()) == 1


_Act = Callable[[Store, Lease], Awaitable[object]]


def _sync(act: Callable[[Store, Lease], object]) -> _Act:
    async def run(store: Store, lease: Lease) -> object:
        return act(store, lease)

    return run


def _nothing(name: str) -> Lease:
    return Lease(ExecutionId(name), Epoch(1), "0" * 16, 1e9)


_BY_ID: dict[str, _Act] = {
    "read": lambda store, lease: commits(store, lease.execution_id),
    "read newest first": lambda store, lease: commits(store, lease.execution_id, newest_first=True),
    "acquire": lambda store, lease: store.acquire(lease.execution_id, "me"),
    "steal": lambda store, lease: store.acquire(lease.execution_id, "me", steal=True),
    "holder": lambda store, lease: store.holder(lease.execution_id),
    "request_cancel": lambda store, lease: store.request_cancel(lease.execution_id, "me"),
    "request_pause": lambda store, lease: store.request_pause(lease.execution_id, "me"),
    "enqueue": lambda store, lease: store.enqueue(lease.execution_id, Place()),
    "summary": lambda store, lease: store.summary(lease.execution_id),
    "hidden": lambda store, lease: store.hidden(lease.execution_id),
    "hide_checkpoint": lambda store, lease: store.hide_checkpoint(lease.execution_id, Seq(1)),
    "send": lambda store, lease: store.send(lease.execution_id, signal()),
    "signals": lambda store, lease: store.signals(lease.execution_id),
}
_BY_LEASE: dict[str, _Act] = {
    "append": lambda store, lease: add(store, lease, 1),
    "append a value": lambda store, lease: add(store, lease, 1, values=[value(2000)]),
    "renew": _sync(lambda store, lease: store.renew(lease)),
    "delivered": lambda store, lease: store.delivered(lease, ["s1"]),
    "requests": _sync(lambda store, lease: store.requests(lease)),
}
_OTHERS: dict[str, _Act] = {
    "create": lambda store, _lease: admit(store, "new"),
    "submit": lambda store, _lease: store.submit(ExecutionId("new"), [created()], [], Place()),
    "take": lambda store, _lease: store.take("me", ["default"], 1, runs=True),
    "set_queue": lambda store, _lease: store.set_queue("default", limit=1, paused_by=None),
    "queues": lambda store, _lease: store.queues(),
    "get": lambda store, _lease: store.get(value(2000).ref),
    "remember": lambda store, lease: store.remember(lease.execution_id, _ENTRY),
    "recall": lambda store, _lease: store.recall(_ENTRY.fingerprint),
    "summaries": lambda store, _lease: store.summaries(),
    "remove": lambda store, lease: store.remove([lease.execution_id]),
    "check": lambda store, _lease: store.check(),
    "probe": lambda store, _lease: store.probe(),
    "statistics": lambda store, _lease: store.statistics(),
}
_ALL: dict[str, _Act] = _BY_ID | _BY_LEASE | _OTHERS


class UnknownTests(StoreFixtures):
    """An execution that is not there."""

    @pytest.mark.parametrize("method", _BY_ID)
    async def test_is_unknown_to_every_method(self, store: Store, method: str) -> None:
        await admit(store)
        with pytest.raises(UnknownExecution) as caught:
            await _BY_ID[method](store, _nothing("unknown"))
        assert caught.value.execution_id == "unknown"
        assert await store.check() == []

    @pytest.mark.parametrize("method", _BY_LEASE)
    async def test_has_no_lease(self, store: Store, method: str) -> None:
        await admit(store)
        with pytest.raises(LeaseLost):
            await _BY_LEASE[method](store, _nothing("unknown"))

    async def test_is_released_without_a_word(self, store: Store) -> None:
        await store.release(_nothing("unknown"))


class ClosingTests(StoreFixtures):
    """The end of a handle."""

    @pytest.mark.parametrize("method", _ALL)
    async def test_a_closed_store_refuses_every_method(self, store: Store, other: Store, method: str) -> None:
        lease = await store.create(X, "me", [created()], [value(2000)])
        await store.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await _ALL[method](store, lease)
        assert await facts(other) == [created()]
        assert len(await other.summaries()) == 1

    async def test_closing_is_idempotent(self, store: Store) -> None:
        await admit(store)
        await store.close()
        await store.close()

    async def test_a_handle_is_closed_that_did_nothing(self, make_store: Callable[[], Store]) -> None:
        await make_store().close()

    async def test_a_release_after_closing_is_no_error(self, store: Store, other: Store) -> None:
        lease = await admit(store)
        await store.close()
        await store.release(lease)
        await other.acquire(X, "heir")

    async def test_other_handles_go_on(self, store: Store, other: Store) -> None:
        lease = await admit(other)
        await store.close()
        assert await add(other, lease, 1) == 2
        other.renew(lease)

    async def test_the_url_names_the_store(self, store: Store, other: Store) -> None:
        assert "://" in store.url
        assert store.url == other.url
