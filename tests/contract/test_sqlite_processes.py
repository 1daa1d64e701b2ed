"""SQLite stores and the processes around them: killed, stopped, many at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.core.system import SystemChance, SystemClock
from orchestrator.domain.ids import ExecutionId
from orchestrator.errors import ExecutionOwned
from orchestrator.state.sqlite import SqliteStore
from orchestrator.testing.stores.facts import add, facts

X = ExecutionId("x")
SCRIPT = Path(__file__).with_name("children.py")


class Child:
    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def hears(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def told(self, word: str = "on") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.wait(10)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def owner(path: Path) -> Iterator[Child]:
    child = Child(str(path), "own", "x")
    assert child.hears() == "owned"
    yield child
    child.end()


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, clock=SystemClock(), chance=SystemChance())
    yield store
    await store.close()


@pytest.mark.chaos
async def test_what_a_killed_process_owned_is_free_at_once(owner: Child, store: SqliteStore) -> None:
    owner.told()
    assert owner.hears() == "appended 2"
    with pytest.raises(ExecutionOwned):
        await store.acquire(X, "heir")
    owner.process.kill()
    owner.process.wait()
    holder = await store.holder(X)
    assert holder is not None
    assert not holder.alive
    lease = await store.acquire(X, "heir")
    assert lease.epoch == 2
    assert await add(store, lease, 2) == 3
    assert await store.check() == []


@pytest.mark.chaos
async def test_a_stopped_process_keeps_what_it_owns_until_it_is_stolen(owner: Child, store: SqliteStore) -> None:
    os.kill(owner.process.pid, signal.SIGSTOP)
    with pytest.raises(ExecutionOwned):
        await store.acquire(X, "heir")
    lease = await store.acquire(X, "thief", steal=True)
    assert await add(store, lease, 1) == 2
    owner.told()
    os.kill(owner.process.pid, signal.SIGCONT)
    assert owner.hears() == "LeaseLost"
    assert owner.process.wait(10) == 5
    assert len(await facts(store)) == 2
    assert await add(store, lease, 2) == 3


@pytest.mark.chaos
async def test_a_thief_keeps_what_it_stole_when_the_victim_dies(owner: Child, path: Path, store: SqliteStore) -> None:
    os.kill(owner.process.pid, signal.SIGSTOP)
    lease = await store.acquire(X, "thief", steal=True)
    owner.end()
    other = SqliteStore(path, clock=SystemClock(), chance=SystemChance())
    with pytest.raises(ExecutionOwned):
        await other.acquire(X, "third")
    with pytest.raises(ExecutionOwned):
        await other.remove([X])
    await other.close()
    assert await add(store, lease, 1) == 2


@pytest.mark.chaos
async def test_eight_processes_make_the_store_at_the_same_moment(path: Path) -> None:
    children = [Child(str(path), "open") for _ in range(8)]
    try:
        for child in children:
            assert child.hears() == "ready"
        for child in children:
            child.told()
        assert [child.hears() for child in children] == ["created"] * 8
    finally:
        for child in children:
            child.end()
    store = SqliteStore(path, clock=SystemClock(), chance=SystemChance())
    assert len(await store.summaries()) == 8
    assert await store.check() == []
    await store.close()
