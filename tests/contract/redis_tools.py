"""What tests of the Redis store share: opening one, and moving the time that its leases go by."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, cast

import redis

from orchestrator.ports.clock import Chance, Clock
from orchestrator.state.masking import mask
from orchestrator.state.records import PLAIN, Sealing
from orchestrator.state.redis import RedisStore
from orchestrator.state.redis.address import parse


def open_redis(
    url: str, clock: Clock, chance: Chance, *, lease_seconds: float = 30.0, sealing: Sealing = PLAIN, blobs: Any = None
) -> RedisStore:
    address = parse(url, mask(url), durable=True)
    return RedisStore(address, clock=clock, chance=chance, lease_seconds=lease_seconds, sealing=sealing, blobs=blobs)


def has_waitaof(client: redis.Redis) -> bool:
    """Tell whether a server knows WAITAOF: Redis since 7.2, and every Valkey."""
    try:
        cast("Any", client).execute_command("WAITAOF", 0, 0, 1)
    except redis.ResponseError:
        return False
    return True


def age_leases(client: redis.Redis, prefix: str, seconds: float) -> None:
    """Let whole seconds pass for the leases of one store: they end so much earlier by the server's clock.

    What is less than a second passes by itself: on the server time does not stand still between two requests.
    """
    before = math.floor(seconds) * 1000
    for key in client.keys(f"{{{prefix}}}:execution:*"):
        client.hincrby(key, "lease_until", -before)
    for key in client.keys(f"{{{prefix}}}:held*"):
        for member in cast("list[bytes]", client.zrange(key, 0, -1)):
            client.zincrby(key, -before, member)


def set_leases(client: redis.Redis, prefix: str, left: dict[bytes, float]) -> None:
    """Let each lease that has not been given up have so many seconds left, by its token."""
    seconds, micros = client.time()
    for key in cast("list[bytes]", client.keys(f"{{{prefix}}}:execution:*")):
        token, until = cast("list[bytes]", client.hmget(key, "token", "lease_until"))
        if token in left and until != b"0":
            until_ms = round(left[token] * 1000) + seconds * 1000 + micros // 1000
            client.hset(key, "lease_until", until_ms)
            name = key.partition(b":execution:")[2]
            for held in cast("list[bytes]", client.keys(f"{{{prefix}}}:held*")):
                client.zadd(held, {name: until_ms}, xx=True)


async def wait_until(true: Callable[[], bool], description: str, seconds: float = 10.0) -> None:
    """Wait for a condition, with the loop going on meanwhile."""
    try:
        async with asyncio.timeout(seconds):
            while not true():  # noqa: ASYNC110 - nobody would set an event: what is waited for happens on the server
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"in {seconds} s not: {description}") from None
