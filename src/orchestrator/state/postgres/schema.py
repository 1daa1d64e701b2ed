"""What stands in the database, and whether it is ours, of our format, and as durable as was demanded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from orchestrator.errors import StoreDamaged, StoreIncompatible, StoreUnavailable
from orchestrator.state.postgres.queries import in_schema, migrations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.state.postgres.links import Connection
    from orchestrator.state.postgres.target import Target

OLDEST_SERVER = 14
_MARK = "durable-orchestrator"


@dataclass(frozen=True, slots=True)
class Server:
    """What a server is and promises; ``meta`` is None where the schema has no store yet."""

    version: int
    encoding: str
    fsync: bool
    full_page_writes: bool
    standby: bool
    standbys: str
    schema: bool
    tables: tuple[str, ...]
    meta: dict[str, str] | None


async def examine(db: Connection, queries: Mapping[str, bytes], target: Target) -> Server:
    """Look at the server and the schema; raises StoreUnavailable, StoreIncompatible where they will not do."""
    cursor = await db.execute(queries["examine"], (target.schema,))
    row: Any = await cursor.fetchone()
    version, encoding, fsync, full_pages, standby, _commit, standbys, schema, tables = row
    meta: dict[str, str] | None = None
    if tables and "meta" in tables:
        try:
            meta = dict(await (await db.execute(queries["meta"])).fetchall())
        except psycopg.errors.UndefinedColumn:
            meta = {}
    server = Server(
        version // 10000, encoding, fsync == "on", full_pages == "on", standby, standbys, schema,
        tuple(tables or ()), meta,
    )  # fmt: skip
    _judge(server, target)
    return server


def _judge(server: Server, target: Target) -> None:
    if server.version < OLDEST_SERVER:
        raise StoreIncompatible(
            f"the server of {target.url} is PostgreSQL {server.version}; {OLDEST_SERVER} is the oldest that will do"
        )
    if server.encoding != "UTF8":
        raise StoreIncompatible(
            f"the database of {target.url} has the encoding {server.encoding}; make one with ENCODING 'UTF8'"
        )
    off = [name for name, on in (("fsync", server.fsync), ("full_page_writes", server.full_page_writes)) if not on]
    if target.durable and off:
        raise StoreUnavailable(
            f"the server of {target.url} has {' and '.join(off)} = off: a power cut could take back or damage what it "
            f"acknowledged. Set {' and '.join(f'{name} = on' for name in off)} in its postgresql.conf, or accept that "
            "loss with durability=process in the URL"
        )
    if server.meta is None:
        if server.tables:
            raise StoreIncompatible(
                f"the schema {target.schema!r} of {target.url} holds other tables ({', '.join(server.tables[:3])}); "
                "name another by schema= in the URL"
            )
        return
    if server.meta.get("store") != _MARK or not server.meta.get("format", "").isdecimal():
        raise StoreIncompatible(
            f"the schema {target.schema!r} of {target.url} is another program's (its table meta is not ours); "
            "name another by schema= in the URL"
        )
    found = int(server.meta["format"])
    if found > len(migrations()):
        raise StoreIncompatible(
            f"the store {target.url} has format {found}, and this version reads up to {len(migrations())}: "
            "it was made or migrated by a newer version; upgrade this one"
        )


def is_current(server: Server) -> bool:
    """Tell whether the store is there and of our format."""
    return server.meta is not None and int(server.meta["format"]) == len(migrations())


def check_same(server: Server, uuid: str | None, target: Target) -> str:
    """Return the store's own id; raises StoreDamaged where it is not the one that it was."""
    found = (server.meta or {}).get("uuid", "")
    if uuid is not None and found != uuid:
        raise StoreDamaged(target.url, "another store stands in its place, or none: it was replaced while in use")
    return found


async def migrate(db: Connection, queries: Mapping[str, bytes], target: Target) -> None:
    """Bring the schema to our format, from nothing or from an older one, in one transaction for each step.

    Of several who try at once one does it, the others wait for it and find it done; whoever dies in the middle leaves
    nothing behind.
    """
    while True:
        async with db.transaction():
            for name, value in target.settings.items():
                await db.execute("SELECT set_config($1, $2, true)", (name, value))
            await db.execute(queries["migration_lock"], (target.schema,))
            server = await examine(db, queries, target)
            if is_current(server):
                return
            if not server.schema:
                await db.execute(queries["make_schema"])
            if server.meta is None:
                await db.execute(queries["make_meta"])
            step = int((server.meta or {}).get("format", "0"))
            statements = in_schema(migrations()[step], target.schema)
            await db.execute(statements)
            await db.execute(queries["set_format"], (str(step + 1),))


def promise(server: Server, target: Target) -> str:
    """Return what a commit survives, for `doctor` and the statistics."""
    if not target.durable:
        kept = "kill -9 of ours; a crash of the server may take back the last moments"
    elif not server.standbys:
        kept = "kill -9 of ours, and a crash or power cut of the server"
    else:
        kept = f"kill -9 of ours, a power cut of the server, and a failover to its standby ({server.standbys})"
    off = [name for name, on in (("fsync", server.fsync), ("full_page_writes", server.full_page_writes)) if not on]
    warning = f"; {' and '.join(off)} = off: a power cut may damage all of it" if off else ""
    return f"{kept}{warning} (PostgreSQL {server.version})"
