"""Executions that go from one store to another: the same facts and values there, resumed to the same end."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from orchestrator import ExecutionStopped
from orchestrator.cli import main
from orchestrator.core.system import SystemChance, SystemClock
from orchestrator.domain.events import DefinitionChanged, Event, ResultSet, TaskClaimed, TaskReused
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import ExecutionId, Seq, TaskId
from orchestrator.domain.values import Stored
from orchestrator.errors import (
    ExecutionOwned,
    LeaseLost,
    StoreDamaged,
    StoreFull,
    StoreUnavailable,
    UnknownExecution,
    UsageError,
)
from orchestrator.ports.store import CacheEntry, Place, Store
from orchestrator.settings import Settings
from orchestrator.state.moving import Mover, Outcome
from orchestrator.state.opening import options_of
from orchestrator.state.parcels import StoredParcel, survey
from orchestrator.state.sqlite import SqliteStore
from orchestrator.state.url import open_store
from orchestrator.testing.stores.facts import (
    AT,
    add,
    admit,
    claimed,
    commits,
    completed,
    created,
    finished,
    signal,
    started,
    value,
    waits,
)
from tests.everystore import STORES
from tests.unit.core.bench import Bench, step

X = ExecutionId("x")
NEAR = ("sqlite", "memory")
PAIRS = [*itertools.product(NEAR, NEAR), ("sqlite", "postgres"), ("postgres", "redis"), ("redis", "sqlite")]
"""The kinds of store that executions move between; ``url_of`` makes a fresh one of each."""
_numbers = itertools.count(1)


def url_of(kind: str, request: pytest.FixtureRequest) -> str:
    number = next(_numbers)
    if kind in NEAR:
        return {"sqlite": f"sqlite:///store-{number}.db", "memory": f"memory://moving-{number}"}[kind]
    return STORES[kind](request)


class Pair(NamedTuple):
    source: Store
    target: Store
    mover: Mover
    holder: Mover

    async def copy(self, name: ExecutionId = X) -> Outcome:
        return await self.mover.put(StoredParcel(self.source, await survey(self.source, name)))

    async def move(self, name: ExecutionId = X) -> Outcome:
        return await self.mover.move(self.source, self.holder, name)


@pytest.fixture
def urls(request: pytest.FixtureRequest) -> tuple[str, str]:
    kinds = getattr(request, "param", ("sqlite", "sqlite"))
    return url_of(kinds[0], request), url_of(kinds[1], request)


def opened(url: str) -> Store:
    return open_store(url, options_of(Settings(Path.cwd(), lease=5.0), SystemClock(), SystemChance()))


@pytest.fixture
async def pair(urls: tuple[str, str]) -> AsyncIterator[Pair]:
    source, target = map(opened, urls)
    clock = SystemClock()
    made = Pair(source, target, Mover(target, clock, "the copier", 5.0), Mover(source, clock, "the copier", 5.0))
    yield made
    made.mover.close()
    made.holder.close()
    await source.close()
    await target.close()


between_all = pytest.mark.parametrize("urls", PAIRS, indirect=True, ids="-".join)


async def whole(store: Store, name: ExecutionId = X) -> tuple[Any, ...]:
    """Return all that an execution is, but who owns it."""
    summary = await store.summary(name)
    found = await commits(store, name)
    values = [value async for value in StoredParcel(store, await survey(store, name)).items()]
    fields = (summary.pipeline_id, summary.status, summary.completed, summary.total, summary.seq)
    beside = (await store.hidden(name), await store.signals(name), summary.due)
    return *fields, summary.created_at, summary.updated_at, found, values, *beside


async def fill(store: Store, *, end: str | None = "completed", epochs: int = 1) -> None:
    """Write an execution with values of all sizes, some of them twice, and a deleted checkpoint."""
    small, middle, large = value(700, 1), value(5_000, 2), value(300_000, 3)
    lease = await store.create(X, "me", [created(), started()], [middle])
    await store.append(lease, [claimed()], [], expected_seq=Seq(2), completed=0)
    await store.append(lease, [completed(ref=large.ref)], [large], expected_seq=Seq(3), completed=1)
    for epoch in range(2, epochs + 1):
        await store.release(lease)
        lease = await store.acquire(X, "another")
        seq = (await store.summary(X)).seq
        await store.append(lease, [started(epoch, resumed=True)], [], expected_seq=seq, completed=1)
    seq = (await store.summary(X)).seq
    both = [completed("b", middle.ref), completed("c", small.ref)]
    seq = await store.append(lease, both, [middle, small], expected_seq=seq, completed=3)
    if end is not None:
        await store.append(lease, [finished(end)], [], expected_seq=seq, completed=3)
    await store.release(lease)
    await store.hide_checkpoint(X, Seq(4))
    await store.send(X, signal("first"))
    await store.send(X, signal("second", value(20_000)))


# -- the same there ------------------------------------------------------------------------------------------------


@between_all
async def test_what_is_copied_is_the_same_and_stays_where_it_was(pair: Pair) -> None:
    await fill(pair.source, epochs=3)
    before = await whole(pair.source)
    assert await pair.copy() is Outcome.COPIED
    assert await whole(pair.target) == await whole(pair.source) == before
    assert await pair.target.holder(X) is None
    assert await pair.target.check() == []
    assert (await pair.target.acquire(X, "the next one")).epoch == 4


@between_all
async def test_what_resumes_and_forks_record_goes_along(pair: Pair) -> None:
    """Values by reference, edited definitions, and parameters of which only the digest was recorded."""
    edited, inputs, given, reused, parameters = (value(size, 4) for size in (2_000, 3_000, 4_000, 200_000, 5_000))
    origin = await pair.source.create(ExecutionId("origin"), "me", [created()], [reused])
    lease = await pair.source.create(X, "me", [created(total=3), started()], [])
    events: list[Event] = [
        DefinitionChanged(AT, edited.ref, inputs.ref, 7, {"b": "a"}, "edited.yaml", "me"),
        TaskReused(AT, TaskId("a"), reused.ref, parameters.ref, "origin@1"),
        TaskReused(AT, TaskId("b"), value(10).ref, bytes(range(32)), "origin@1"),
        ResultSet(AT, TaskId("c"), given.ref, "me", "so be it"),
        TaskClaimed(AT, TaskId("d"), 1, bytes(32)),
        finished("stopped"),
    ]
    brought: list[Stored] = [edited, inputs, given, parameters, reused.ref, value(10).ref]
    await pair.source.append(lease, events, brought, expected_seq=Seq(2), completed=3)
    await pair.source.remember(X, CacheEntry(bytes(32), AT, "x@4", reused.ref))
    await pair.source.release(origin)
    await pair.source.remove([ExecutionId("origin")])
    before = await whole(pair.source)
    assert await pair.copy() is Outcome.COPIED
    assert await whole(pair.target) == before
    assert (await pair.target.summary(X)).total == 7
    for one in (edited, inputs, given, reused, parameters):
        assert await pair.target.get(one.ref) == one.payload
    assert await pair.target.recall(bytes(32)) is None  # what was computed elsewhere is no entry here
    assert await pair.move() is Outcome.THERE
    assert await pair.target.check() == []


@between_all
async def test_a_pipeline_stopped_here_is_resumed_there(pair: Pair, urls: tuple[str, str]) -> None:
    here, there = Bench(urls[0]), Bench(urls[1])
    big = "x" * 100_000
    steps = [
        step("a", value=big),
        step("b", "hold", after="a", value="b"),
        step("c", after="b", value="{{ b.result }}c"),
    ]
    pipeline = here.pipeline(*steps, outputs={"all": "{{ a.result }}{{ c.result }}"})
    orchestrator = here.open()
    running = asyncio.create_task(orchestrator.run_pipeline(pipeline, execution_id="x"))
    await here.started("b")
    await orchestrator.close()
    with pytest.raises(ExecutionStopped):
        await running
    assert await pair.move() is Outcome.COPIED
    there.gate("b").set()
    result = await there.open().resume_pipeline("x")
    assert result.outputs == {"all": big + "bc"}
    assert (here.calls, there.calls) == (["a", "b"], ["b", "c"])  # b was interrupted
    assert await there.open().state_manager.verify() == []
    with pytest.raises(UnknownExecution):
        await pair.source.summary(X)
    await there.close()


@between_all
async def test_copying_again_changes_nothing(pair: Pair) -> None:
    await fill(pair.source)
    await pair.copy()
    before = await whole(pair.target)
    assert await pair.copy() is Outcome.THERE
    assert await whole(pair.target) == before
    lease = await pair.target.acquire(X, "somebody")  # who goes on with it there keeps what was done
    seq = await add(pair.target, lease, before[4], started(2, resumed=True))
    assert await pair.copy() is Outcome.THERE
    assert (await pair.target.summary(X)).seq == seq


@between_all
async def test_another_one_of_the_same_name_is_left_alone(pair: Pair) -> None:
    await fill(pair.source)
    lease = await admit(pair.target, "x", created(), started(), claimed("other"))
    await pair.target.release(lease)
    with pytest.raises(UsageError, match=r"another execution 'x' in .*: it differs from fact 3 on"):
        await pair.copy()
    assert (await pair.target.summary(X)).seq == 3
    with pytest.raises(UsageError, match="differs from fact 3"):
        await pair.move()
    assert await pair.source.holder(X) is None
    assert (await pair.source.summary(X)).status is ExecutionStatus.COMPLETED


@between_all
async def test_of_a_running_one_goes_what_is_committed_and_later_the_rest(pair: Pair) -> None:
    lease = await pair.source.create(X, "me", [created(), started()], [])
    await add(pair.source, lease, 2)
    manifest = await survey(pair.source, X)
    await add(pair.source, lease, 3, completed())  # after the look: does not go along
    assert await pair.mover.put(StoredParcel(pair.source, manifest)) is Outcome.COPIED
    copy = await pair.target.summary(X)
    assert (copy.seq, copy.status) == (3, ExecutionStatus.RUNNING)
    assert await pair.target.take("a server", ["default"], 5, runs=True) == []  # it runs elsewhere
    assert copy.paused_by == "its copying"
    await add(pair.source, lease, 4, finished())
    assert await pair.copy() is Outcome.COPIED
    assert await whole(pair.target) == await whole(pair.source)
    assert (await pair.target.summary(X)).paused_by is None


async def test_the_shorter_copy_stays_while_somebody_works_on_it(pair: Pair) -> None:
    lease = await pair.source.create(X, "me", [created(), started()], [])
    await pair.copy()
    await add(pair.source, lease, 2)
    await pair.target.acquire(X, "somebody")
    with pytest.raises(ExecutionOwned, match="somebody"):
        await pair.copy()
    assert (await pair.target.summary(X)).seq == 2


# -- moving --------------------------------------------------------------------------------------------------------


@between_all
async def test_what_is_being_worked_on_is_not_moved(pair: Pair) -> None:
    lease = await pair.source.create(X, "me", [created(), started()], [])
    with pytest.raises(ExecutionOwned, match="me"):
        await pair.move()
    with pytest.raises(UnknownExecution):
        await pair.target.summary(X)
    await add(pair.source, lease, 2)  # its owner noticed nothing


@between_all
async def test_nobody_goes_on_with_what_is_being_moved(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(pair.source, end="stopped")
    tried = []

    async def put(self: Mover, parcel: StoredParcel, **named: Any) -> Outcome:
        with pytest.raises(ExecutionOwned, match="the copier"):
            await pair.source.acquire(X, "somebody")
        tried.append(parcel.manifest.seq)
        return await original(self, parcel, **named)

    original: Callable[..., Awaitable[Outcome]] = Mover.put
    monkeypatch.setattr(Mover, "put", put)
    await pair.move()
    assert tried == [7]
    assert (await pair.target.summary(X)).paused_by is None


@between_all
async def test_what_is_sent_while_it_moves_comes_along(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = await pair.source.create(X, "me", [created(), started()], [])
    await add(pair.source, lease, 2, waits(4e9))
    await pair.source.send(X, signal("before"))
    removals = 0

    async def put(self: Mover, parcel: StoredParcel, **named: Any) -> Outcome:
        outcome = await original(self, parcel, **named)
        await pair.source.send(X, signal("after-it-was-copied"))
        return outcome

    async def remove(ids: list[ExecutionId], *, unread: bool = True) -> None:
        nonlocal removals
        removals += 1
        if removals == 1:
            await pair.source.send(X, signal("after-its-mail"))
        await removal(ids, unread=unread)

    original: Callable[..., Awaitable[Outcome]] = Mover.put
    removal = pair.source.remove
    monkeypatch.setattr(Mover, "put", put)
    monkeypatch.setattr(pair.source, "remove", remove)
    await pair.move()
    assert [one.id for one in await pair.target.signals(X)] == ["before", "after-it-was-copied", "after-its-mail"]
    with pytest.raises(UnknownExecution):
        await pair.source.summary(X)
    moved = await pair.target.summary(X)
    assert (moved.status, moved.due, moved.paused_by) == (ExecutionStatus.WAITING, 0, None)


async def test_the_copy_of_what_waits_is_not_woken(pair: Pair) -> None:
    lease = await pair.source.create(X, "me", [created(), started()], [])
    await add(pair.source, lease, 2, waits(1.0))
    await pair.copy()
    assert await whole(pair.target) == await whole(pair.source)
    assert await pair.target.take("a server", ["default"], 5, runs=True) == []  # it goes on elsewhere
    await pair.target.send(X, signal("for-the-copy"))
    await add(pair.source, await pair.source.acquire(X, "me"), 3, started(2, resumed=True))
    await pair.copy()
    assert [one.id for one in await pair.target.signals(X)] == ["for-the-copy"]


@between_all
async def test_where_it_waits_goes_along(pair: Pair) -> None:
    await pair.source.submit(X, [created()], [], Place("night", 7))
    await pair.source.request_pause(X, "the operator")
    await pair.move()
    moved = await pair.target.summary(X)
    assert (moved.place, moved.waiting, moved.paused_by) == (Place("night", 7), True, "the operator")
    assert await pair.target.take("a server", ["night"], 5) == []
    await pair.target.enqueue(X, Place("night", 7))
    (lease,) = await pair.target.take("a server", ["night"], 5)
    assert lease.epoch == 2


@between_all
async def test_an_orphan_that_was_moved_is_adopted_there(pair: Pair) -> None:
    lease = await pair.source.create(X, "me", [created(), started()], [])
    await pair.source.release(lease)
    await pair.move()
    moved = await pair.target.summary(X)
    assert (moved.status, moved.paused_by, moved.waiting) == (ExecutionStatus.RUNNING, None, False)


async def test_what_was_copied_before_can_be_moved(pair: Pair) -> None:
    await pair.source.submit(X, [created()], [], Place("night", 7))
    await pair.copy()
    assert not (await pair.target.summary(X)).waiting
    assert await pair.move() is Outcome.THERE
    moved = await pair.target.summary(X)
    assert (moved.place, moved.waiting, moved.paused_by) == (Place("night", 7), True, None)


async def test_one_that_cannot_be_moved_stays_as_it_was(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(pair.source, end="stopped")
    await pair.source.request_pause(X, "the operator")
    monkeypatch.setattr(pair.target, "append", failing(StoreFull("no space left")))
    with pytest.raises(StoreFull):
        await pair.move()
    left = await pair.source.summary(X)
    assert (left.holder, left.paused_by, left.status) == (None, "the operator", ExecutionStatus.STOPPED)


# -- what goes wrong -----------------------------------------------------------------------------------------------


def failing(error: BaseException) -> Callable[..., Awaitable[Any]]:
    async def fail(*_args: Any, **_named: Any) -> Any:
        raise error

    return fail


@between_all
@pytest.mark.parametrize("verb", ["append", "hide_checkpoint", "get"])
async def test_what_fails_in_between_leaves_nothing(pair: Pair, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(pair.source)
    with monkeypatch.context() as patch:
        patch.setattr(pair.target, verb, failing(StoreUnavailable("the network is gone")))
        with pytest.raises(StoreUnavailable, match="the network is gone"):
            await pair.copy()
    with pytest.raises(UnknownExecution):
        await pair.target.summary(X)
    assert await pair.copy() is Outcome.COPIED


@between_all
async def test_what_reads_back_otherwise_is_not_kept(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(pair.source)
    append = pair.target.append

    async def losing(*args: Any, completed: int, **named: Any) -> Seq:
        return await append(*args, completed=completed + 1, **named)

    monkeypatch.setattr(pair.target, "append", losing)
    with pytest.raises(StoreDamaged, match="it is not what was written"):
        await pair.copy()
    with pytest.raises(UnknownExecution):
        await pair.target.summary(X)


async def test_damage_in_the_source_is_not_copied(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(pair.source)
    monkeypatch.setattr(pair.source, "get", failing(StoreDamaged("value 12", "missing")))
    with pytest.raises(StoreDamaged, match="value 12"):
        await pair.copy()
    with pytest.raises(UnknownExecution):
        await pair.target.summary(X)


async def test_damage_in_what_is_there_is_told_and_not_replaced(pair: Pair) -> None:
    await fill(pair.source)
    await pair.copy()
    assert isinstance(pair.target, SqliteStore)
    with pair.target._transaction() as db:
        position = db.execute("SELECT position FROM journal ORDER BY position LIMIT 1 OFFSET 2").get
        db.execute("UPDATE journal SET record = zeroblob(80) WHERE position = ?", (position,))
    with pytest.raises(StoreDamaged, match="x@4"):
        await pair.copy()
    assert (await pair.target.summary(X)).seq == 7


async def test_who_loses_the_copy_to_somebody_removes_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(pair.source)
    original = pair.target.append

    async def stolen(*args: Any, **named: Any) -> Seq:
        monkeypatch.undo()
        await pair.target.acquire(X, "a thief", steal=True)
        return await original(*args, **named)

    monkeypatch.setattr(pair.target, "append", stolen)
    with pytest.raises(LeaseLost):
        await pair.copy()
    holder = await pair.target.holder(X)
    assert holder is not None
    assert holder.owner == "a thief"


# -- killed in the middle ------------------------------------------------------------------------------------------

CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from orchestrator.cli import main
from orchestrator.state.sqlite import SqliteStore

wanted, verb = int(sys.argv[1]), sys.argv[2]
original = getattr(SqliteStore, verb)
calls = 0

async def counted(self, *args, **named):
    global calls
    calls += 1
    if calls == wanted:
        os.kill(os.getpid(), signal.SIGKILL)
    return await original(self, *args, **named)

setattr(SqliteStore, verb, counted)
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.parametrize(
    ("number", "verb", "move"),
    [
        (1, "hide_checkpoint", False),
        (3, "append", False),
        (1, "release", False),
        (2, "release", True),
        (1, "remove", True),
    ],
)
async def test_a_copy_killed_in_the_middle_is_made_good_by_the_next_one(number: int, verb: str, move: bool) -> None:
    source = opened("sqlite:///one.db")
    await fill(source)
    before = await whole(source)
    await source.close()
    arguments = ["copy", "--from", "sqlite:///one.db", "--to", "sqlite:///two.db", *(["--move"] if move else [])]
    killed = subprocess.run([sys.executable, "-c", CHILD, str(number), verb, *arguments], check=False)
    assert killed.returncode == -9
    target = opened("sqlite:///two.db")
    source = opened("sqlite:///one.db")
    assert (await source.summary(X)).seq == before[4]
    if number == 3:
        with pytest.raises(StoreDamaged, match="the journal's end is missing"):
            await commits(target)
    await source.close()
    assert await asyncio.to_thread(main, arguments) == 0
    assert await whole(target) == before
    holder = await target.holder(X)
    assert holder is None or not holder.alive
    assert await target.check() == []
    source = opened("sqlite:///one.db")
    if move:
        with pytest.raises(UnknownExecution):
            await source.summary(X)
    await source.close()
    await target.close()
