"""Redis stores on connections and servers that do not behave."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import redis

from chaos.servers import ServerUnavailable
from chaos.servers.proxy import Proxy
from chaos.servers.redis import RedisServer
from orchestrator.domain.ids import ExecutionId, Seq
from orchestrator.errors import (
    ExecutionOwned,
    LeaseLost,
    OrchestratorError,
    StoreDamaged,
    StoreIncompatible,
    StoreUnavailable,
    UsageError,
)
from orchestrator.ports.store import CacheEntry, Lease, Place
from orchestrator.state.blobs import BlobFiles
from orchestrator.state.redis import RedisStore, server, values
from orchestrator.testing.clock import ManualClock, SeededChance
from orchestrator.testing.stores.facts import (
    AT,
    add,
    admit,
    claimed,
    commits,
    completed,
    created,
    facts,
    finished,
    value,
)
from tests.contract.redis_tools import age_leases, has_waitaof, open_redis, wait_until
from tests.services_redis import RedisPlace

X = ExecutionId("x")
ENTRY = CacheEntry(bytes(32), AT, "x@1", value(10).ref)
Open = Callable[..., RedisStore]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def client(redis_place: RedisPlace) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_place.server_url) as one:
        yield one


@pytest.fixture
async def opened(redis_place: RedisPlace, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Open]:
    monkeypatch.setattr(server, "FIRST_PAUSE_SECONDS", 0.002)
    chance = SeededChance()
    handles: list[RedisStore] = []

    def one(url: str = redis_place.url, **options: Any) -> RedisStore:
        handles.append(open_redis(url, clock, chance, **options))
        return handles[-1]

    yield one
    for handle in handles:
        await handle.close()


@pytest.fixture
def proxy(redis_place: RedisPlace) -> Iterator[Proxy]:
    port = redis.Redis.from_url(redis_place.server_url).connection_pool.connection_kwargs["port"]
    with Proxy(port) as one:
        yield one


@pytest.fixture
def through(opened: Open, proxy: Proxy, redis_place: RedisPlace) -> Callable[[], RedisStore]:
    return lambda: opened(f"redis://127.0.0.1:{proxy.port}/0?prefix={redis_place.prefix}")


@pytest.fixture
def private() -> Iterator[RedisServer]:
    """Return a server of this test's own, to be killed and emptied."""
    one = RedisServer(appendonly="yes", appendfsync="always", repl_diskless_sync_delay="0")
    try:
        one.start()
    except ServerUnavailable as error:
        pytest.skip(str(error))
    yield one
    one.close()


def key(place: RedisPlace, name: str) -> str:
    return f"{{{place.prefix}}}:{name}"


# -- answers that are lost --------------------------------------------------------------------------------------------

KEPT = [value(2000), value(400_000)]


async def _life(store: RedisStore) -> list[Any]:
    """Do a bit of everything that changes a store, and return what came of it."""
    lease = await store.create(X, "me", [created()], KEPT)
    seq = await add(store, lease, 1, completed("a", KEPT[0].ref), values=[value(3000)])
    seq = await add(store, lease, seq, claimed("b"), values=[value(500_000, seed=1)])
    seq = await add(store, lease, seq, finished("stopped"))
    lease = await store.acquire(X, "again")
    await store.release(lease)
    await store.enqueue(X, Place("q", 3))
    (lease,) = await store.take("server", ["q"], 2)
    await store.request_cancel(X, "somebody")
    await store.hide_checkpoint(X, Seq(1))
    await store.submit(ExecutionId("y"), [created("other")], [KEPT[0].ref], Place("r"))
    await store.remember(X, ENTRY)
    assert await store.recall(ENTRY.fingerprint) == ENTRY
    seq = await add(store, lease, seq, finished())
    await store.remove([ExecutionId("y")])
    summary = await store.summary(X)
    found = await store.statistics()
    counts = (found["values"], found["cached"])
    return [seq, lease.epoch, summary, await store.hidden(X), await facts(store), counts, await store.queues()]


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("direction", ["to server", "to client"])
async def test_a_connection_cut_at_any_message_changes_nothing(
    through: Callable[[], RedisStore], proxy: Proxy, direction: Any, step: int
) -> None:
    """Each piece in its turn is lost with its connection, till none is left: what comes of it all is the same."""
    store = through()
    wanted = await _life(store)
    await store.remove([X])
    piece, missed = 1, False
    while not missed:
        proxy.cut_at(piece, direction)
        before = proxy.cuts
        assert await _life(store) == wanted, piece
        missed = proxy.cuts == before
        proxy.cut_at(0)
        assert await store.check() == []
        await store.remove([X])
        piece += step
    assert piece > 20


@pytest.mark.parametrize("torn", [False, True])
async def test_an_append_whose_answer_is_lost_is_recognised(
    through: Callable[[], RedisStore], proxy: Proxy, torn: bool
) -> None:
    store = through()
    lease = await admit(store)
    seq = 1
    for number in range(5):
        if torn:
            proxy.cut_at(1, "to client", torn=True)
        else:
            proxy.swallow(lambda piece: b"EVALSHA" in piece)
        seq = await add(store, lease, seq, claimed(str(number)))
    assert proxy.cuts == 5
    assert await facts(store) == [created(), *(claimed(str(number)) for number in range(5))]


async def test_an_append_is_recognised_after_others_have_gone_on(
    through: Callable[[], RedisStore], opened: Open, proxy: Proxy, client: redis.Redis, redis_place: RedisPlace
) -> None:
    """The answer to an owner's last commit is lost; before it asks again the next one has appended."""
    store, other = through(), opened()
    lease = await admit(store)
    proxy.swallow(lambda piece: b"EVALSHA" in piece)
    proxy.delay_seconds = 0.05
    ending = asyncio.create_task(add(store, lease, 1, finished("stopped")))
    await wait_until(lambda: not client.hexists(key(redis_place, "execution:x"), "token"), "it is given back")
    heir = await other.acquire(X, "heir")
    for seq in range(2, 8):
        await add(other, heir, seq)
    assert await ending == 2
    assert len(await facts(other)) == 8


async def test_a_conflict_is_a_conflict_also_when_its_answer_was_lost(
    through: Callable[[], RedisStore], opened: Open, proxy: Proxy
) -> None:
    store = through()
    lease = await admit(store)
    await opened().acquire(X, "thief", steal=True)
    proxy.swallow(lambda piece: b"EVALSHA" in piece)
    with pytest.raises(LeaseLost):
        await add(store, lease, 1)
    assert proxy.cuts == 1


async def test_what_was_granted_and_never_heard_of_is_given_back_by_closing(
    through: Callable[[], RedisStore], opened: Open, proxy: Proxy, client: redis.Redis, redis_place: RedisPlace
) -> None:
    other = opened()
    await other.release(await admit(other))
    store = through()
    proxy.swallow(lambda piece: b"EVALSHA" in piece)
    asking = asyncio.create_task(store.acquire(X, "me"))
    await wait_until(lambda: bool(client.hexists(key(redis_place, "execution:x"), "token")), "it is granted")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    with pytest.raises(ExecutionOwned):
        await other.acquire(X, "heir")
    await store.close()
    assert (await other.acquire(X, "heir")).epoch == 3


async def test_a_server_that_is_away_for_a_moment_is_waited_for(
    through: Callable[[], RedisStore], proxy: Proxy
) -> None:
    store = through()
    lease = await admit(store)
    proxy.refusing = True
    proxy.cut()
    asking = asyncio.create_task(add(store, lease, 1))
    await asyncio.sleep(0.05)
    assert not asking.done()
    proxy.refusing = False
    assert await asking == 2


async def test_an_owner_waits_no_longer_than_its_lease(
    through: Callable[[], RedisStore], proxy: Proxy, clock: ManualClock
) -> None:
    store = through()
    lease = await admit(store)
    proxy.refusing = True
    proxy.cut()
    clock.advance(29.8)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match="what was acknowledged is kept"):
        await add(store, lease, 1)
    assert time.monotonic() - begun < 5
    proxy.refusing = False


async def test_a_server_that_says_nothing_is_given_up(
    through: Callable[[], RedisStore], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a server that vanished behind a half-open connection; the next connection reaches it."""
    monkeypatch.setattr("orchestrator.state.redis.wire.ANSWER_SECONDS", 0.1)
    store = through()
    lease = await admit(store)
    proxy.stalled = True
    asking = asyncio.create_task(add(store, lease, 1))
    await asyncio.sleep(0.15)
    proxy.cut()
    proxy.stalled = False
    assert await asking == 2


async def test_the_keeper_survives_a_broken_connection(through: Callable[[], RedisStore], proxy: Proxy) -> None:
    store = through()
    lease = await admit(store)
    store.renew(lease)
    proxy.cut()
    store.renew(lease)
    proxy.cut()
    assert store.requests(lease) is None
    assert store.tend([lease], [lease]) == {lease.token: None}


async def test_a_server_that_forgot_the_scripts_is_told_them_again(opened: Open, client: redis.Redis) -> None:
    store = opened()
    lease = await admit(store)
    for seq in (1, 2, 3):
        client.script_flush()
        assert await add(store, lease, seq) == seq + 1
        client.script_flush()
        store.renew(lease)


async def test_a_busy_server_is_waited_for(private: RedisServer, opened: Open) -> None:
    store = opened(private.url)
    lease = await admit(store)
    with redis.Redis.from_url(private.url) as client:
        client.config_set("lua-time-limit", 1)
        stuck = asyncio.create_task(asyncio.to_thread(_spin, private.url))
        await asyncio.sleep(0.1)
        asking = asyncio.create_task(add(store, lease, 1))
        await asyncio.sleep(0.1)
        assert not asking.done()
        client.script_kill()
        assert await asking == 2
        await stuck


def _spin(url: str) -> None:
    with redis.Redis.from_url(url, socket_timeout=10) as client, pytest.raises(redis.ResponseError):
        client.eval("while true do end", 0)


async def test_a_server_that_is_loading_is_waited_for(private: RedisServer, opened: Open) -> None:
    store = opened(private.url)
    lease = await admit(store)
    with redis.Redis.from_url(private.url) as client, client.pipeline(transaction=False) as others:
        for number in range(6000):  # while it loads it answers after every 1024th
            others.set(f"other{number}", "x")
        others.execute()
    private.kill()
    private.settings["key-load-delay"] = "100"
    private._launch()
    with redis.Redis.from_url(private.url) as client:
        await wait_until(lambda: _is_loading(client), "it is loading")
        asking = asyncio.create_task(add(store, lease, 1))
        assert (await facts(await asyncio.to_thread(opened, private.url)))[0] == created()
        assert await asking == 2


def _is_loading(client: redis.Redis) -> bool:
    try:
        client.get("x")
    except redis.BusyLoadingError:
        return True
    except redis.ConnectionError:
        pass
    return False


async def test_a_server_that_cannot_write_its_files_is_told(private: RedisServer, opened: Open) -> None:
    store = opened(private.url)
    lease = await admit(store)
    (private.folder / "dump.rdb").mkdir()  # in the way of its snapshot
    with redis.Redis.from_url(private.url) as client:
        client.config_set("save", "3600 1")
        client.bgsave()
        await wait_until(lambda: _info(client, "persistence")["rdb_last_bgsave_status"] == "err", "it failed")
        with pytest.raises(StoreUnavailable, match=r"MISCONF.*cannot write its own files"):
            await add(store, lease, 1)
        client.config_set("save", "")
    assert await add(store, lease, 1) == 2


def _info(client: redis.Redis, section: str) -> dict[str, Any]:
    found: Any = client.info(section)
    return dict(found)


async def test_a_server_that_became_a_replica_is_told(private: RedisServer, opened: Open) -> None:
    store = opened(private.url)
    lease = await admit(store)
    with redis.Redis.from_url(private.url) as client:
        client.replicaof("127.0.0.1", "1")
        with pytest.raises(StoreUnavailable, match="primary"):
            await add(store, lease, 1)
        client.replicaof("NO", "ONE")
    assert await add(store, lease, 1) == 2


# -- other ways there -------------------------------------------------------------------------------------------------


async def test_a_cluster_is_reached_by_the_node_that_has_the_slot(opened: Open) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        bus = probe.getsockname()[1]
    node = RedisServer(appendonly="yes", appendfsync="always", cluster_enabled="yes", cluster_port=str(bus))
    try:
        node.start()
    except ServerUnavailable as error:
        pytest.skip(str(error))
    with node, redis.Redis.from_url(node.url) as client:
        with pytest.raises(StoreUnavailable, match="CLUSTERDOWN"):
            opened(node.url)
        cast("Any", client).execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        await wait_until(lambda: cast("Any", client).cluster("INFO")["cluster_state"] == "ok", "the cluster is up")
        store = opened(node.url)
        await _life(store)
        assert await store.check() == []
        assert len({client.cluster("KEYSLOT", name.decode()) for name in client.keys("*")}) == 1


async def test_a_socket_and_another_database(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with RedisServer(appendonly="yes", appendfsync="always", unixsocket=str(path)) as server_:
        for url in (f"unix://{path}?db=3", server_.url.replace("/0", "/3")):
            assert "prefix=orchestrator" in opened(url).url
        store = opened(f"unix://{path}?db=3")
        await admit(store)
        assert await facts(opened(server_.url.replace("/0", "/3"))) == [created()]
        assert await opened(server_.url).summaries() == []


async def test_the_mark_of_a_collector_that_died_ends_by_itself(opened: Open) -> None:
    store = opened()

    async def turn(token: str, milliseconds: int) -> bool:
        return bool((await store._server.run("collect", token, milliseconds))[0] == b"ok")

    assert await turn("dead", 200)
    assert not await turn("next", 60_000)
    assert await turn("dead", 200)  # one at work keeps it
    async with asyncio.timeout(10):
        while not await turn("next", 60_000):  # noqa: ASYNC110 - nobody would set an event
            await asyncio.sleep(0.01)
    assert not await turn("dead", 0)  # takes nothing from the next
    assert not await turn("third", 60_000)


async def test_values_outside_of_the_server(opened: Open, tmp_path: Path) -> None:
    blobs = BlobFiles(tmp_path / "blobs")
    store, without = opened(blobs=blobs), opened()
    lease = await admit(store)
    large, small = value(200_000), value(20_000)
    await add(store, lease, 1, values=[large, small])
    assert [blob.digest for blob in blobs.iterate()] == [large.ref.data]
    found = await store.statistics()
    assert (found["values"], found["blobs"]) == (1, 1)
    for one in (large, small):
        assert await store.get(one.ref) == one.payload
    with pytest.raises(StoreDamaged, match="object storage"):
        await without.get(large.ref)
    assert await store.check() == []
    await store.release(lease)
    await store.remove([X])
    assert len(list(blobs.iterate())) == 1  # too young to be rubbish for sure
    for file in (tmp_path / "blobs").rglob("*"):
        if file.is_file():
            os.utime(file, (1, 1))
    await store.remove([])
    assert list(blobs.iterate()) == []


# -- few rights -------------------------------------------------------------------------------------------------------


async def test_the_documented_rights_are_enough_and_no_more(private: RedisServer, opened: Open) -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    rule = page.split("ACL SETUSER orchestrator ")[1].split("```")[0].replace("\\\n", " ").split()
    with redis.Redis.from_url(private.url) as client:
        if not has_waitaof(client):
            rule.remove("+waitaof")
        client.execute_command("ACL", "SETUSER", "few", *(word.replace("PASSWORD", "secret") for word in rule))
        store = opened(private.url.replace("://", "://few:secret@") + "?prefix=orchestrator")
        await _life(store)
        assert await store.check() == []
        await store.probe()
        used = {
            name.removeprefix("cmdstat_").split("|")[0] for name in _info(client, "commandstats")
        } - {"acl", "auth", "hello", "client", "ping"}  # fmt: skip
        granted = {word[1:].split("|")[0] for word in rule if word.startswith("+")}
        assert used - granted == set()
        with pytest.raises(StoreUnavailable, match="lacks rights"):
            open_redis(private.url.replace("://", "://few:secret@") + "?prefix=other", ManualClock(), SeededChance())
        with pytest.raises(StoreUnavailable, match="password") as caught:
            open_redis(private.url.replace("://", "://few:wrong-word@"), ManualClock(), SeededChance())
        assert "wrong-word" not in str(caught.value)


# -- cancelled awaits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounds", [150, pytest.param(2000, marks=pytest.mark.slow)])
async def test_no_answer_reaches_another_request(opened: Open, rounds: int) -> None:
    """Awaits are cancelled at any moment; each that is not gets the answer to its own question."""
    store = opened()
    names = [ExecutionId(f"x{number}") for number in range(5)]
    leases = {name: await admit(store, name, created(f"pipeline of {name}")) for name in names}
    kept = {name: value(2000 + number) for number, name in enumerate(names)}
    for name, lease in leases.items():
        await add(store, lease, 1, values=[kept[name]])
    chance = random.Random(1)
    cancelled = 0

    async def ask(name: ExecutionId) -> None:
        assert (await store.summary(name)).pipeline_id == f"pipeline of {name}"
        assert await store.get(kept[name].ref) == kept[name].payload
        assert (await commits(store, name))[0].events == [created(f"pipeline of {name}")]

    for _ in range(rounds):
        asking = [asyncio.create_task(ask(chance.choice(names))) for _ in range(3)]
        await asyncio.sleep(chance.random() * 0.002)
        for task in asking[:2]:
            task.cancel()
        for outcome in await asyncio.gather(*asking, return_exceptions=True):
            assert outcome is None or isinstance(outcome, asyncio.CancelledError)
            cancelled += outcome is not None
    assert cancelled > rounds / 2


async def test_an_append_that_is_cancelled_is_there_or_not(opened: Open) -> None:
    store = opened()
    lease = await admit(store)
    chance = random.Random(2)
    for number in range(60):
        seq = (await store.summary(X)).seq
        task = asyncio.create_task(add(store, lease, seq, claimed(str(number))))
        await asyncio.sleep(chance.random() * 0.002)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for commit in await commits(store):
            assert len(commit.events) == 1
    assert await store.check() == []


# -- what is lost on the server ---------------------------------------------------------------------------------------


async def test_a_killed_server_has_everything_that_was_acknowledged(private: RedisServer, opened: Open) -> None:
    store = opened(private.url)
    lease = await admit(store)
    seq = 1
    for number in range(20):
        seq = await add(store, lease, seq, values=[value(2000, seed=number)])
        if number % 7 == 3:
            private.restart()
    assert len(await facts(store)) == 21
    assert await store.check() == []


async def test_a_log_that_lost_its_end_is_noticed_by_the_owner(private: RedisServer, opened: Open) -> None:
    store = opened(private.url)
    lease = await admit(store)
    for seq in range(1, 10):
        await add(store, lease, seq)
    private.kill()
    log = private.logs[-1]
    log.write_bytes(log.read_bytes()[:-600])  # a commit or two
    private.start()
    with pytest.raises(StoreDamaged, match=r"history was lost.*acknowledged fact 10") as caught:
        await add(store, lease, 10)
    assert caught.value.exit_code == 7


async def test_a_replica_that_lagged_and_took_over_is_noticed(private: RedisServer, opened: Open) -> None:
    store = opened(private.url)
    lease = await admit(store)
    await add(store, lease, 1)
    with RedisServer(appendonly="yes", appendfsync="always", replicaof=f"127.0.0.1 {private.port}") as replica:
        with redis.Redis.from_url(replica.url) as client:
            await wait_until(lambda: _is_synced(client), "the replica has it all")
            client.replicaof("NO", "ONE")
        await add(store, lease, 2)
        with Proxy(private.port) as way:
            owner = opened(f"redis://127.0.0.1:{way.port}/0")
            await store.release(lease)
            lease = await owner.acquire(X, "owner")
            await add(owner, lease, 3)
            way.target = ("127.0.0.1", replica.port)
            way.cut()
            with pytest.raises(StoreDamaged, match="history was lost"):
                await add(owner, lease, 4)


def _is_synced(client: redis.Redis) -> bool:
    info: Any = client.info("replication")
    return bool(info["master_link_status"] == "up") and client.exists("{orchestrator}:execution:x") == 1


@pytest.mark.parametrize("act", ["append", "renew", "requests", "tend"])
async def test_a_flushed_server_is_noticed(private: RedisServer, opened: Open, act: str) -> None:
    store = opened(private.url)
    lease = await admit(store)
    with redis.Redis.from_url(private.url) as client:
        client.flushall()
    with pytest.raises(StoreDamaged, match="FLUSHALL"):
        await _acts(store)[act](lease)


def _acts(store: RedisStore) -> dict[str, Callable[[Lease], Awaitable[object]]]:
    async def sync(act: Callable[..., object], *arguments: object) -> object:
        return act(*arguments)

    async def told(lease: Lease) -> None:
        answer = store.tend([lease], [])[lease.token]
        assert isinstance(answer, StoreDamaged)
        raise answer

    return {
        "append": lambda lease: add(store, lease, 1),
        "renew": lambda lease: sync(store.renew, lease),
        "requests": lambda lease: sync(store.requests, lease),
        "tend": told,
    }


@pytest.mark.parametrize("act", ["append", "renew", "requests", "tend"])
async def test_a_deleted_execution_is_noticed_by_its_owner(
    opened: Open, client: redis.Redis, redis_place: RedisPlace, act: str
) -> None:
    store = opened()
    lease = await admit(store)
    client.delete(key(redis_place, "execution:x"))
    with pytest.raises(StoreDamaged, match="nobody removed it"):
        await _acts(store)[act](lease)


async def test_what_somebody_removed_is_not_called_lost(
    opened: Open, clock: ManualClock, client: redis.Redis, redis_place: RedisPlace
) -> None:
    store = opened()
    lease = await admit(store)
    age_leases(client, redis_place.prefix, 31)
    clock.advance(31)
    await opened().remove([X])
    with pytest.raises(LeaseLost):
        store.renew(lease)
    with pytest.raises(LeaseLost):
        await add(store, lease, 1)


async def test_a_deleted_journal_is_noticed(opened: Open, client: redis.Redis, redis_place: RedisPlace) -> None:
    store = opened()
    lease = await admit(store)
    await add(store, lease, 1)
    client.rpop(key(redis_place, "journal:x"))
    with pytest.raises(StoreDamaged, match="1 commits are gone"):
        await add(store, lease, 2)
    with pytest.raises(StoreDamaged, match="the journal's end is missing"):
        await facts(store)
    assert await store.check() == ["x: its journal holds 1 commits of 2"]
    client.delete(key(redis_place, "journal:x"))
    for newest_first in (False, True):
        with pytest.raises(StoreDamaged, match="missing"):
            await commits(store, newest_first=newest_first)
    assert await store.check() == ["x: its journal is empty"]


async def test_a_changed_element_is_noticed(opened: Open, client: redis.Redis, redis_place: RedisPlace) -> None:
    store = opened()
    await add(store, await admit(store), 1)
    journal = key(redis_place, "journal:x")
    element: Any = client.lindex(journal, 1)
    for position in range(len(element)):
        if 8 <= position < 24:
            continue  # the time and the count of tasks done: for lists only, as in the other stores
        changed = element[:position] + bytes([element[position] ^ 1]) + element[position + 1 :]
        client.lset(journal, 1, changed)
        with pytest.raises((StoreDamaged, StoreIncompatible)):
            await facts(store)


async def test_lost_values_are_noticed(opened: Open, client: redis.Redis, redis_place: RedisPlace) -> None:
    store = opened()
    kept = [value(2000), value(3_000_000)]
    await add(store, await admit(store), 1, values=kept)
    names = [key(redis_place, f"value:{one.ref.data.hex()}") for one in kept]
    client.delete(names[0])
    client.hdel(names[1], "1")
    for one in kept:
        with pytest.raises(StoreDamaged, match="missing"):
            await store.get(one.ref)
    assert await store.check() == [f"value {kept[0].ref.data.hex()}: missing"]


async def test_a_time_to_live_that_others_set_is_found(
    opened: Open, client: redis.Redis, redis_place: RedisPlace
) -> None:
    store = opened()
    await add(store, await admit(store), 1, values=[value(2000)])
    client.expire(key(redis_place, "journal:x"), 1000)
    client.expire(key(redis_place, f"value:{value(2000).ref.data.hex()}"), 1000)
    found = await store.check()
    assert [problem.split(": ")[1][:25] for problem in found] == [
        "its journal has a time to",
        "it has a time to live, se",
    ]


# -- what is not ours -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["text", "hash", "list"])
async def test_a_foreign_key_is_refused_and_left(
    opened: Open, client: redis.Redis, redis_place: RedisPlace, how: str
) -> None:
    header = key(redis_place, "store")
    if how == "text":
        client.set(header, "theirs")
    elif how == "hash":
        client.hset(header, "magic", "theirs")
    else:
        client.rpush(header, "theirs")
    before = client.dump(header)
    with pytest.raises(StoreIncompatible, match="another prefix"):
        opened()
    assert client.dump(header) == before


async def test_a_newer_format_is_refused(opened: Open, client: redis.Redis, redis_place: RedisPlace) -> None:
    await opened().close()
    client.hset(key(redis_place, "store"), "format", "2")
    with pytest.raises(StoreIncompatible, match=r"format 2.*upgrade"):
        opened()


async def test_a_store_without_its_header_is_damaged(
    opened: Open, client: redis.Redis, redis_place: RedisPlace
) -> None:
    store = opened()
    await admit(store)
    client.delete(key(redis_place, "store"))
    with pytest.raises(StoreDamaged, match="header"):
        opened()


async def test_two_prefixes_are_two_stores(opened: Open, redis_place: RedisPlace) -> None:
    store, other = opened(), opened(redis_place.url + "-2")
    await admit(store)
    assert await other.summaries() == []
    await admit(other)
    assert await store.check() == await other.check() == []


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis:///0",
        "redis://host/zero",
        "redis://host:port/0",
        "redis://host/0?prefix=",
        "redis://host/0?prefix=a{b",
        "redis://host/0?durability=most",
        "redis://host/0?accept_data_loss=yes",
        "redis://host/0?timeout=3",
        "unix://host/path",
        "unix://",
    ],
)
def test_a_url_that_says_something_else_is_refused(url: str, clock: ManualClock) -> None:
    with pytest.raises(UsageError, match="expected redis://"):
        open_redis(url, clock, SeededChance())


# -- large values -----------------------------------------------------------------------------------------------------


async def test_no_command_carries_more_than_a_chunk(
    opened: Open, client: redis.Redis, redis_place: RedisPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values, "CHUNK_SIZE", 10_000)
    monkeypatch.setattr(values, "ALONG_SIZE", 5_000)
    store = opened()
    lease = await admit(store)
    kept = value(95_000)
    await add(store, lease, 1, values=[kept, value(6_000), value(2_000)])
    assert client.hget(key(redis_place, f"value:{kept.ref.data.hex()}"), "chunks") == b"10"
    for one in (kept, value(6_000), value(2_000)):
        assert await opened().get(one.ref) == one.payload
    with pytest.raises(OrchestratorError):
        await add(store, lease, 9, values=[value(50_000)])
    assert client.keys(key(redis_place, "stage:*")) == []
    assert all(client.ttl(name) == -1 for name in client.keys(key(redis_place, "*")))


async def test_what_vanished_before_the_commit_is_put_down_again(
    opened: Open, client: redis.Redis, redis_place: RedisPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    lease = await admit(store)
    stage, times = store._stage, []

    async def forgetful(record: bytes) -> str:
        name = await stage(record)
        times.append(name)
        if len(times) == 1:
            client.delete(key(redis_place, f"stage:{name}"))
        return name

    monkeypatch.setattr(store, "_stage", forgetful)
    await add(store, lease, 1, values=[value(400_000)])
    assert len(times) == 2
    assert await store.get(value(400_000).ref) == value(400_000).payload


async def test_a_removal_that_was_interrupted_is_ended_by_the_next(
    opened: Open, client: redis.Redis, redis_place: RedisPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened()
    for name in ("x", "y"):
        lease = await admit(store, name)
        await add(store, lease, 1, values=[value(2000 + number, seed=len(name)) for number in range(30)])
        for number in range(30):
            await store.remember(ExecutionId(name), ENTRY._replace(fingerprint=bytes([number]) * 32, source=name))
        await store.release(lease)
    monkeypatch.setattr("orchestrator.state.redis.maintenance.REFS_AT_ONCE", 4)
    run, count = store._server.run, 0

    async def stopping(name: str, *arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += name == "empty"
        if count == 3:
            raise asyncio.CancelledError
        return await run(name, *arguments, **options)

    monkeypatch.setattr(store._server, "run", stopping)
    with pytest.raises(asyncio.CancelledError):
        await store.remove([X])
    monkeypatch.undo()
    assert await store.check() == []
    for number in range(5):  # what is left of it is not met any more
        found = await store.recall(bytes([number]) * 32)
        assert found is not None
        assert found.source == "y"
    await store.remove([])
    assert await store.check() == []
    statistics = await store.statistics()
    assert (statistics["values"], statistics["cached"]) == (30, 30)
    await store.remove([ExecutionId("y")])
    statistics = await store.statistics()
    assert (statistics["values"], statistics["cached"]) == (0, 0)
    assert await store.recall(bytes(32)) is None
    left = cast("list[bytes]", client.keys(key(redis_place, "*")))
    assert sorted(left) == [key(redis_place, name).encode() for name in ("removed", "store")]
