"""What a Redis server keeps when it dies is found out at connect; less than what is asked for is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
import redis

from chaos.servers import ServerUnavailable
from chaos.servers.proxy import Proxy
from chaos.servers.redis import RedisServer
from orchestrator.errors import StoreFull, StoreUnavailable
from orchestrator.state.redis import RedisStore
from orchestrator.testing.clock import ManualClock, SeededChance
from orchestrator.testing.stores.facts import add, admit, facts
from tests.contract.redis_tools import has_waitaof, open_redis

POWER = "process and power loss of the server"
POLICIES = [
    *("allkeys-lru", "allkeys-lfu", "allkeys-random"),
    *("volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl"),
]
FEW = "on nopass ~* &* +@all"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    one = RedisServer(appendonly="yes", appendfsync="always")
    try:
        one.start()
    except ServerUnavailable as error:
        pytest.skip(str(error))
    yield one
    one.close()


@pytest.fixture
def admin(server: RedisServer) -> Iterator[redis.Redis]:
    """Return a client to change the server's settings by; they are as they were after the test."""
    with redis.Redis.from_url(server.url) as client:
        names = ("appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy", "maxmemory")
        before: dict[str, str] = {}
        for name in names:  # one after another, as Redis 6 wants it
            before |= cast("Any", client).config_get(name)
        yield client
        client.flushall()
        client.acl_deluser("few")
        for name, value in before.items():
            client.config_set(name, value)


@pytest.fixture
async def opened(server: RedisServer) -> Any:
    handles: list[RedisStore] = []

    def one(options: str = "", user: str = "") -> RedisStore:
        url = server.url.replace("://", f"://{user}") + "?" + options
        handles.append(open_redis(url, ManualClock(), SeededChance(len(handles))))
        return handles[-1]

    yield one
    for handle in handles:
        await handle.close()


Open = Callable[..., RedisStore]


@pytest.fixture
def waitaof(admin: redis.Redis) -> None:
    if not has_waitaof(admin):
        pytest.skip("this server has no WAITAOF")


def few(admin: redis.Redis, *without: str) -> None:
    """Make the user ``few``, who may do everything but that."""
    if not has_waitaof(admin):
        without = tuple(word for word in without if word != "-waitaof")
    cast("Any", admin).execute_command("ACL", "SETUSER", "few", *FEW.split(), *without)


async def promise(store: RedisStore) -> str:
    return str((await store.statistics())["durability"])


async def test_a_log_synced_at_every_write_survives_power_loss(opened: Open, admin: redis.Redis) -> None:
    del admin
    for options in ("", "durability=process"):
        assert await promise(opened(options)) == f"{POWER} (appendfsync always)"


@pytest.mark.usefixtures("waitaof")
@pytest.mark.parametrize(
    ("setting", "value"), [("appendfsync", "everysec"), ("no-appendfsync-on-rewrite", "yes")], ids=str
)
async def test_a_weaker_log_is_waited_for_after_each_commit(
    opened: Open, admin: redis.Redis, setting: str, value: str
) -> None:
    admin.config_set(setting, value)
    store = opened()
    assert await promise(store) == f"{POWER} (WAITAOF after each commit)"
    before: Any = admin.info("commandstats")["cmdstat_waitaof"]
    lease = await admit(store)
    await add(store, lease, 1)
    after: Any = admin.info("commandstats")["cmdstat_waitaof"]
    assert after["calls"] - before["calls"] >= 2


@pytest.mark.usefixtures("waitaof")
async def test_a_log_that_is_never_synced_is_never_acknowledged(
    opened: Open, admin: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin.config_set("appendfsync", "no")
    monkeypatch.setattr("orchestrator.state.redis.server.WAIT_MS", 50)
    monkeypatch.setattr("orchestrator.state.redis.server.PATIENCE_SECONDS", 0.3)
    store = opened()
    with pytest.raises(StoreUnavailable, match="does not write its log"):
        await admit(store)


@pytest.mark.usefixtures("waitaof")
async def test_the_last_second_may_be_lost_where_that_was_asked_for(opened: Open, admin: redis.Redis) -> None:
    admin.config_set("appendfsync", "everysec")
    store = opened("durability=process")
    assert "may take the last second" in await promise(store)
    before: Any = admin.info("commandstats")["cmdstat_waitaof"]["calls"]
    lease = await admit(store)  # the admission is durable, whatever the durability
    await add(store, lease, 1)
    after: Any = admin.info("commandstats")["cmdstat_waitaof"]["calls"]
    assert after - before == 1


@pytest.mark.parametrize(
    ("setting", "value", "remedy"),
    [
        ("appendfsync", "everysec", "CONFIG SET appendfsync always"),
        ("appendfsync", "no", "CONFIG SET appendfsync always"),
        ("no-appendfsync-on-rewrite", "yes", "set no-appendfsync-on-rewrite no"),
    ],
)
async def test_a_weaker_log_that_cannot_be_waited_for_is_refused(
    opened: Open, admin: redis.Redis, setting: str, value: str, remedy: str
) -> None:
    """As on servers before Redis 7.2, which have no WAITAOF."""
    few(admin, "-waitaof")
    admin.config_set(setting, value)
    with pytest.raises(StoreUnavailable, match=remedy):
        opened(user="few:any@")
    store = opened("durability=process", "few:any@")
    assert (await promise(store)).startswith("process loss of the server; a power loss")
    await admit(store)


async def test_a_server_without_a_log_is_refused(opened: Open, admin: redis.Redis) -> None:
    admin.config_set("appendonly", "no")
    for options in ("", "durability=process"):
        with pytest.raises(StoreUnavailable, match="appendonly yes and appendfsync always"):
            opened(options)
    store = opened("accept_data_loss=true")
    assert (await promise(store)).startswith("nothing")
    await admit(store)


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_server_that_throws_away_is_refused(opened: Open, admin: redis.Redis, policy: str) -> None:
    admin.config_set("maxmemory-policy", policy)
    for options in ("", "durability=process"):
        with pytest.raises(StoreUnavailable, match=f"{policy}.*CONFIG SET maxmemory-policy noeviction"):
            opened(options)
    await admit(opened("accept_data_loss=true"))


@pytest.mark.usefixtures("waitaof")
async def test_where_settings_may_not_be_read_each_commit_is_waited_for(opened: Open, admin: redis.Redis) -> None:
    few(admin, "-config")
    assert await promise(opened(user="few:any@")) == f"{POWER} (WAITAOF after each commit)"


async def test_what_can_neither_be_read_nor_waited_for_is_refused(opened: Open, admin: redis.Redis) -> None:
    few(admin, "-config", "-waitaof")
    with pytest.raises(StoreUnavailable, match="allow CONFIG GET"):
        opened(user="few:any@")
    assert "may not be read" in await promise(opened("durability=process", "few:any@"))


async def test_a_server_that_came_back_weaker_is_refused(opened: Open, admin: redis.Redis) -> None:
    store = opened()
    lease = await admit(store)
    await add(store, lease, 1)
    admin.config_set("appendonly", "no")
    admin.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(StoreUnavailable, match="appendonly"):
        await add(store, lease, 2)


async def test_a_replica_is_refused(server: RedisServer, admin: redis.Redis) -> None:
    del admin
    replica = RedisServer(appendonly="yes", replicaof=f"127.0.0.1 {server.port}")
    with replica, pytest.raises(StoreUnavailable, match="primary"):
        open_redis(replica.url, ManualClock(), SeededChance())


async def test_a_full_server_is_told_and_goes_on_once_there_is_room(opened: Open, admin: redis.Redis) -> None:
    store = opened()
    lease = await admit(store)
    await add(store, lease, 1)
    admin.config_set("maxmemory", "1mb")
    before = await facts(store)
    with pytest.raises(StoreFull, match="maxmemory"):
        await add(store, lease, 2)
    assert await facts(store) == before
    store.renew(lease)  # what takes no room goes on
    await store.request_cancel(lease.execution_id, "somebody")
    admin.config_set("maxmemory", "0")
    assert await add(store, lease, 2) == 3


async def test_a_server_that_is_not_there_is_told_at_once(server: RedisServer) -> None:
    with Proxy(server.port) as proxy:
        proxy.refusing = True
        with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{proxy.port}.*check that it runs"):
            open_redis(f"redis://user:secret-word@127.0.0.1:{proxy.port}/0", ManualClock(), SeededChance())
