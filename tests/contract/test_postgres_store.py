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
    def pass_time(self, postgres_kept: tuple[str, psycopg.Connection], clock: ManualClock) -> Callable[[float], None]:
        """By whole seconds, for the server's own clock goes on meanwhile."""
        url, db = postgres_kept
        schema = parse_target(url, durable=True).schema

        def pass_(seconds: float) -> None:
            clock.advance(seconds)
            shift = "SET lease_until = lease_until - make_interval(secs => %s)"
            db.execute(f"UPDATE {schema}.executions {shift}".encode(), (float(math.floor(seconds)),))

        return pass_
