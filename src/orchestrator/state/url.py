"""From a URL to a store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from orchestrator.errors import UsageError
from orchestrator.state.masking import mask
from orchestrator.state.records import PLAIN, Sealing

if TYPE_CHECKING:
    from orchestrator.ports.blobs import Blobs
    from orchestrator.ports.clock import Chance, Clock
    from orchestrator.ports.store import Store

FORMS = (
    "sqlite:///path/to/store.db (a fourth slash makes the path absolute), "
    "postgresql://user:password@host:port/database, redis://host:6379/0?prefix=name or memory://"
)
REDIS_SCHEMES = frozenset({"redis", "rediss", "unix"})


LEASE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """What holds for a store whatever its kind.

    ``project`` is the folder that a relative path is meant from. ``durable``: an acknowledged commit survives a power
    cut, where the URL does not say otherwise. ``lease_seconds`` is how long an owner that went silent keeps an
    execution. ``blobs`` keeps the large values; None is the store's own way.
    """

    project: Path
    clock: Clock
    chance: Chance
    durable: bool = True
    lease_seconds: float = LEASE_SECONDS
    sealing: Sealing = PLAIN
    blobs: Blobs | None = None


def open_store(url: str, options: StoreOptions) -> Store:
    """Open the store that ``url`` names.

    Forms: ``sqlite:///PATH[?durability=full|process]``, ``memory://``,
    ``postgresql://USER:PASSWORD@HOST:PORT/DATABASE[?schema=NAME&durability=full|process]``, and
    ``redis://[USER:PASSWORD@]HOST[:PORT][/DB][?prefix=NAME&...]`` (``rediss://``, ``unix://``; see
    state.redis.address). Raises UsageError for any other, StoreError when it cannot be opened. A password in the URL is
    never repeated in a message.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        if parts.netloc or len(parts.path) < 2:  # noqa: PLR2004 - a slash and a name
            raise UsageError(f"not a store: {mask(url)!r}; expected {FORMS}")
        chosen = parse_qs(parts.query, keep_blank_values=True)
        durability = chosen.pop("durability", ["full" if options.durable else "process"])[-1]
        if chosen or durability not in ("full", "process"):
            raise UsageError(f"not a store: {mask(url)!r}; the only option is durability=full|process")
        path = Path(unquote(parts.path[1:]))
        from orchestrator.state.sqlite import SqliteStore

        return SqliteStore(
            options.project / path,
            clock=options.clock,
            chance=options.chance,
            durable=durability == "full",
            lease_seconds=options.lease_seconds,
            sealing=options.sealing,
            blobs=options.blobs,
        )
    if parts.scheme in REDIS_SCHEMES:
        return _open_redis(url, options)
    if parts.scheme == "memory":
        from orchestrator.state.memory import MemoryStore

        name = parts.netloc + parts.path
        return MemoryStore.shared(name, clock=options.clock, chance=options.chance, lease_seconds=options.lease_seconds)
    if parts.scheme in ("postgresql", "postgres"):
        return _open_postgres(url, options)
    raise UsageError(f"not a store: {mask(url)!r}; expected {FORMS}")


def _open_redis(url: str, options: StoreOptions) -> Store:
    try:
        from orchestrator.state.redis import RedisStore
        from orchestrator.state.redis.address import parse
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "redis":
            raise
        raise UsageError(
            f"the store {mask(url)} needs the Redis driver: pip install 'durable-orchestrator[redis]'"
        ) from error
    return RedisStore(
        parse(url, mask(url), durable=options.durable),
        clock=options.clock,
        chance=options.chance,
        lease_seconds=options.lease_seconds,
        sealing=options.sealing,
        blobs=options.blobs,
    )


def _open_postgres(url: str, options: StoreOptions) -> Store:
    try:
        from orchestrator.state.postgres import PostgresStore, parse_target
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "psycopg":
            raise
        raise UsageError(
            f"the store {mask(url)!r} needs a driver that is not installed ({error}): "
            "pip install 'durable-orchestrator[postgres]'"
        ) from None
    return PostgresStore(
        parse_target(url, durable=options.durable),
        clock=options.clock,
        chance=options.chance,
        lease_seconds=options.lease_seconds,
        sealing=options.sealing,
        blobs=options.blobs,
    )


def store_file(url: str, *, project: Path) -> Path | None:
    """Return the file of a store that is one, whether it exists yet or not; None for any other store."""
    parts = urlsplit(url)
    if parts.scheme != "sqlite" or parts.netloc or not parts.path[1:]:
        return None
    return project / unquote(parts.path[1:])
