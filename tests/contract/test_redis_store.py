from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis

from orchestrator.ports.store import Store
from orchestrator.testing.clock import ManualClock, SeededChance
from orchestrator.testing.store_suite import LeaseExpirySuite, StoreSuite
from tests.contract.redis_tools import age_leases, open_redis
from tests.services_redis import RedisPlace


class TestRedisStore(StoreSuite, LeaseExpirySuite):
    @pytest.fixture
    def make_store(self, redis_place: RedisPlace, clock: ManualClock, chance: SeededChance) -> Callable[[], Store]:
        return lambda: open_redis(redis_place.url, clock, chance)

    @pytest.fixture
    def pass_time(self, redis_place: RedisPlace, clock: ManualClock) -> Iterator[Callable[[float], None]]:
        client = redis.Redis.from_url(redis_place.server_url)

        def pass_seconds(seconds: float) -> None:
            age_leases(client, redis_place.prefix, seconds)
            clock.advance(seconds)

        yield pass_seconds
        client.close()
