"""Commits of many executions that one process owns: one transaction, and each its own answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.ids import Epoch, ExecutionId, Seq
from orchestrator.errors import JournalConflict, LeaseLost, StoreUnavailable, ValueGone
from orchestrator.ports.store import Lease
from orchestrator.state.sqlite import SqliteStore
from orchestrator.testing.clock import ManualClock, SeededChance
from orchestrator.testing.stores.facts import add, admit, claimed, completed, created, facts, finished, value

MANY = 40


@pytest.fixture
def store(quick_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(quick_path / "store.db", clock=ManualClock(), chance=SeededChance())
    yield made
    asyncio.run(made.close())


async def leases(store: SqliteStore) -> list[Lease]:
    return [await admit(store, f"x{number}") for number in range(MANY)]


@contextlib.contextmanager
def counted(store: SqliteStore) -> Iterator[list[int]]:
    """Count the transactions that are committed within."""
    commits: list[int] = []

    def hook() -> bool:
        commits.append(1)
        return False

    store._db.set_commit_hook(hook)
    yield commits
    store._db.set_commit_hook(None)


async def test_what_comes_together_is_one_transaction(store: SqliteStore) -> None:
    owned = await leases(store)
    with counted(store) as commits:
        kept = [value(2000, seed=number) for number in range(MANY)]
        seqs = await asyncio.gather(
            *(
                add(store, lease, 1, completed("a", one.ref), values=[one])
                for lease, one in zip(owned, kept, strict=True)
            )
        )
    assert seqs == [2] * MANY
    assert len(commits) == 1
    for number, one in enumerate(kept):
        assert await facts(store, f"x{number}") == [created(), completed("a", one.ref)]
        assert await store.get(one.ref) == one.payload
    assert await store.check() == []


async def test_one_that_is_refused_leaves_the_others(store: SqliteStore, quick_path: Path) -> None:
    owned = await leases(store)
    other = SqliteStore(quick_path / "store.db", clock=ManualClock(), chance=SeededChance(1))
    await other.acquire(ExecutionId("x3"), "a thief", steal=True)
    found = await asyncio.gather(
        *(add(store, lease, 7 if number == 5 else 1) for number, lease in enumerate(owned)), return_exceptions=True
    )
    assert isinstance(found[3], LeaseLost)
    assert isinstance(found[5], JournalConflict)
    assert [one for number, one in enumerate(found) if number not in (3, 5)] == [2] * (MANY - 2)
    assert await facts(store, "x3") == await facts(store, "x5") == [created()]
    assert await add(store, owned[5], 1) == 2
    await other.close()


async def test_a_value_that_is_gone_refuses_only_its_own_facts(store: SqliteStore) -> None:
    owned = await leases(store)
    kept, gone = value(2000), value(3000)
    await store.append(owned[0], [completed("a", kept.ref)], [kept], expected_seq=Seq(1), completed=0)
    found = await asyncio.gather(
        *(
            add(store, lease, 1, completed("a", ref), *([finished()] if ref is gone.ref else []), values=[ref])
            for lease, ref in ((lease, gone.ref if number % 3 else kept.ref) for number, lease in enumerate(owned[1:]))
        ),
        return_exceptions=True,
    )
    for number, outcome in enumerate(found):
        assert isinstance(outcome, ValueGone) if number % 3 else outcome == 2
        lease = owned[number + 1]
        assert len(await facts(store, lease.execution_id)) == (1 if number % 3 else 2)
        assert await add(store, lease, 1 if number % 3 else 2) == (2 if number % 3 else 3)
    assert await store.check() == []


async def test_those_that_end_are_given_back(store: SqliteStore) -> None:
    owned = await leases(store)
    await asyncio.gather(
        *(add(store, lease, 1, *([finished()] if number % 2 else [])) for number, lease in enumerate(owned))
    )
    holders = [await store.holder(lease.execution_id) for lease in owned]
    assert [holder is None for holder in holders] == [bool(number % 2) for number in range(MANY)]
    with pytest.raises(LeaseLost):
        await add(store, owned[1], 2)
    assert await add(store, owned[0], 2) == 3


async def test_a_failure_is_everybodys(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    owned = await leases(store)

    def gone(**_: Any) -> Any:
        raise StoreUnavailable("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(store, "_transaction", gone)
        found = await asyncio.gather(*(add(store, lease, 1) for lease in owned), return_exceptions=True)
    assert {str(one) for one in found} == {"the disk is gone"}
    assert await asyncio.gather(*(add(store, lease, 1) for lease in owned)) == [2] * MANY


async def test_a_waiter_that_was_cancelled_disturbs_nobody(store: SqliteStore) -> None:
    owned = await leases(store)
    tasks = [asyncio.ensure_future(add(store, lease, 1)) for lease in owned]
    await asyncio.sleep(0)
    tasks[4].cancel()
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(found[4], asyncio.CancelledError)
    assert [one for number, one in enumerate(found) if number != 4] == [2] * (MANY - 1)
    assert len(await facts(store, "x4")) == 2  # it was on its way: what is true is read from the journal


async def test_one_alone_is_written_at_once(store: SqliteStore) -> None:
    lease = await admit(store)
    act = store.append(lease, [claimed()], [], expected_seq=Seq(1), completed=0)
    with pytest.raises(StopIteration) as done:
        act.send(None)
    assert done.value.value == 2
    with pytest.raises(LeaseLost):
        await store.append(
            Lease(ExecutionId("nobody"), Epoch(1), "0" * 16, 1e9), [claimed()], [], expected_seq=Seq(1), completed=0
        )
