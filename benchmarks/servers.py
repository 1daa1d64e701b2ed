"""The measurements on the stores that are servers, each beside what its own driver costs with nothing around it."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import floor
from benchmarks.cases import ROUNDS, Row, adoption_cost, child, folder, serve_cost, spread, timed_run
from benchmarks.pipelines import chain, registry

if TYPE_CHECKING:
    from pathlib import Path

CHAIN = 1000
WIDTH = 10_000


@dataclass(frozen=True, slots=True)
class Served:
    """A server on the disk of the checkout: ``url`` names a store that is not there yet, ``commits`` its floor."""

    name: str
    url: Callable[[str], str]
    commits: Callable[[int], float]
    floor: str


@contextmanager
def postgres(place: Path) -> Iterator[Served]:
    """Lend a PostgreSQL."""
    from chaos.servers.postgres import PostgresServer

    place.chmod(0o711)  # root runs it as nobody
    with PostgresServer(place / "server", settings={"max_connections": "200"}) as server:
        yield Served(
            "PostgreSQL",
            lambda schema: f"{server.url}?schema={schema}",
            lambda count: asyncio.run(floor.postgres_commits(server.url, count)),
            "one prepared INSERT, one commit",
        )


@contextmanager
def redis(place: Path) -> Iterator[Served]:
    """Lend a Redis that syncs its log at each write."""
    from chaos.servers.redis import RedisServer

    with RedisServer(place / "server", appendonly="yes", appendfsync="always") as server:
        yield Served(
            "Redis",
            lambda prefix: f"{server.url}?prefix={prefix}",
            lambda count: asyncio.run(floor.redis_commits(server.url, count)),
            "one script that appends to a list, `appendfsync always`",
        )


SERVERS = {"postgres": postgres, "redis": redis}


def on_server(kind: str) -> list[Row]:
    """Measure on one kind of server."""
    with folder() as place, SERVERS[kind](place) as served:
        of = f"{served.name}: "

        def url(_place: Path, name: str) -> str:
            return served.url(name)

        return [
            chain_cost(served),
            fan_cost(served),
            *serve_cost(url, of, lambda _place, count: served.commits(count)),
            *adoption_cost(url, of),
        ]


def chain_cost(served: Served) -> Row:
    """Measure a chain beside the raw floor, in turns within the same minute."""
    pipeline = chain(CHAIN, registry())
    ratios, ours, raws = [], [], []
    for number in range(ROUNDS):
        raw = served.commits(CHAIN)
        mine = asyncio.run(timed_run(pipeline, served.url(f"chain{number}"))) / CHAIN
        raws.append((raw + served.commits(CHAIN)) / 2)
        ours.append(mine)
        ratios.append(mine / raws[-1])
    ratio = statistics.median(ratios)
    return Row(
        f"{served.name}: chain of {CHAIN:,} no-op steps, durable",
        f"{ratio:.2f} x the floor ({statistics.median(ours) * 1e6:,.0f} us a step; rounds {spread(ratios)})",
        "<= 1.3 x",
        ratio <= 1.3,
        f"{served.floor}: {statistics.median(raws) * 1e6:,.0f} us",
    )


def fan_cost(served: Served) -> Row:
    """Measure a fan-out in a process of its own."""
    results = [child("fan", str(WIDTH), served.url(f"fan{number}")) for number in range(3)]
    rate = statistics.median(result["steps"] / result["seconds"] for result in results)
    return Row(
        f"{served.name}: fan-out 1 → {WIDTH:,} → 1, durable", f"{rate:,.0f} steps/s", ">= 5,000 steps/s", rate >= 5_000
    )
