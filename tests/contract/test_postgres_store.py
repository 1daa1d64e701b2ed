from __future__ import annotations

import math
from collections.abc import Callable

import psycopg
import pytest

from orchestrator.ports.store import Store
from orchestrator.state.postgres import PostgresStore, parse_target
from orchestrator.testing.clock import ManualClock, SeededChance
from orchestrator.testing.store_suite import LeaseExpirySuite, StoreSuite


class TestPostgresStore(StoreSuite, LeaseExpirySuite):
    @pytest.fixture
    def make_store(self, postgres_emptied_url: str, clock: ManualClock, chance: SeededChance) -> Callable[[], Store]:
        target = parse_target(postgres_emptied_url, durable=True)
        return lambda: PostgresStore(target, clock=clock, chance=chance)

    @pytest.fixture
    def pass_time(self, postgres_emptied_url: str, clock: ManualClock) -> Callable[[float], None]:
        """By whole seconds, for the server's own clock goes on meanwhile."""
        target = parse_target(postgres_emptied_url, durable=True)

        def pass_(seconds: float) -> None:
            clock.advance(seconds)
            with psycopg.connect(target.conninfo, autocommit=True) as db:
                db.execute(
                    f"UPDATE {target.schema}.executions SET lease_until = lease_until - make_interval(secs => %s)",
                    (float(math.floor(seconds)),),
                )

        return pass_
