"""Bugs to plant in the stores that are servers: in their SQL, in their scripts, and in how answers are taken.

Each is planted in the processes that run and resume, never in the one that judges, and never on the server for good.
"""

# ruff: noqa: SLF001 - to plant a bug is to reach inside

from __future__ import annotations

import asyncio
import time
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

SKEW_SECONDS = 600.0
"""How far the clocks of two hosts are apart."""


def _in_sql(name: str, *changes: tuple[str, str]) -> None:
    """Change one statement of the store in PostgreSQL."""
    from orchestrator.state.postgres import queries

    blocks = dict(queries._blocks())
    for old, new in changes:
        blocks[name] = _changed(blocks[name], old, new)
    vars(queries)["_blocks"] = lambda: blocks


def _in_script(name: str, *changes: tuple[str, str]) -> None:
    """Change one script of the store in Redis, or what is common to all (``common``)."""
    from orchestrator.state.redis import program, server

    known = vars(server)["program"]

    def wrong(asked: str) -> program.Program:
        found: program.Program = known(asked)
        if asked != name and (name != "common" or asked == "open"):
            return found
        text = found.text
        for old, new in changes:
            text = _changed(text, old, new)
        return program.Program(text, sha1(text.encode(), usedforsecurity=False).hexdigest())

    wrong(name if name != "common" else "append")
    vars(server)["program"] = wrong


def _changed(text: str, old: str, new: str) -> str:
    if old not in text:
        raise RuntimeError(f"this bug cannot be planted any more: {old!r} is not there")
    return text.replace(old, new)


def _answers_too_early(store: Any) -> None:
    """Let appends say that they are done when they have only begun."""
    append = store.append
    behind: set[Any] = set()

    async def wrong(self: Any, lease: Any, events: Any, values: Any, *, expected_seq: int, **rest: Any) -> int:
        async def later(before: list[Any]) -> None:
            if before:
                await asyncio.wait(before)
            await asyncio.sleep(0.003)
            await append(self, lease, events, values, expected_seq=expected_seq, **rest)

        behind.add(asyncio.ensure_future(later(list(behind))))
        if type(events[-1]).__name__ == "ExecutionFinished":
            await asyncio.wait(behind)
        return expected_seq + len(events)

    store.append = wrong


def _own_clock(to_text: Callable[[float], str]) -> str:
    """Return what this process takes for the time: the first of a trial is on a host whose clock is right."""
    return to_text(time.time() + (SKEW_SECONDS if Path("told.log").exists() else 0.0))


# -- PostgreSQL ----------------------------------------------------------------------------------------------------

_SQL_FENCE = "AND epoch = $2 AND token = $3 AND seq = $4"


def postgres_drops_the_fence() -> None:
    """Let an owner of yesterday write to PostgreSQL: neither epoch nor token is looked at."""
    from orchestrator.state.postgres.leases import PostgresLeases

    for name in ("append", "append_more"):
        _in_sql(name, (_SQL_FENCE, "AND $2::bigint > 0 AND $3::text <> '' AND $4::bigint >= 0"))
        _in_sql(
            name, ("FROM me\nRETURNING", "FROM me ON CONFLICT (execution, last) DO UPDATE SET record = $8\nRETURNING")
        )
    leases: Any = PostgresLeases
    leases.renew = leases.requests = lambda *_: None
    leases.tend = lambda _self, kept, _due: dict.fromkeys([lease.token for lease in kept])


def postgres_splits_the_commit() -> None:
    """Write the head of a journal and its facts in two transactions to PostgreSQL."""
    from orchestrator.state.postgres.database import Database
    from orchestrator.state.postgres.journal import PostgresJournal

    execute = Database._execute

    async def wrong(self: Database, db: Any, name: str, parameters: Any) -> Any:
        if name != "append":
            return await execute(self, db, name, parameters)
        whole = self._queries["append"].decode()
        first, _, last = whole.partition("INSERT INTO")
        found = await db.execute(f"{first} SELECT id FROM me WHERE $6::float8 > 0 AND $8::bytea <> ''", parameters)
        rows = await found.fetchall()
        if rows:
            insert = f"INSERT INTO{last}".replace("SELECT id,", f"SELECT {rows[0][0]},").partition(" FROM me")[0]
            unused = " WHERE $1::text || $3::text <> '' AND $2::bigint + $4::bigint >= 0 RETURNING execution"
            await db.execute(insert + unused, parameters)
        return rows

    async def never(*_: Any) -> bool:
        return False

    database: Any = Database
    database._execute = wrong
    journal: Any = PostgresJournal
    journal._append_quickly = never


def postgres_forgets_its_commit() -> None:
    """Do not recognise in PostgreSQL the own commit whose answer was lost."""
    _in_sql("commit", ("j.record", "NULL::bytea"))


def postgres_forgets_its_admission() -> None:
    """Do not recognise in PostgreSQL the own admission whose answer was lost."""
    _in_sql("born", ("SELECT born", "SELECT 'another''s'"))


def postgres_answers_too_early() -> None:
    """Acknowledge a commit before PostgreSQL has."""
    from orchestrator.state.postgres import PostgresStore

    _answers_too_early(PostgresStore)


def postgres_trusts_its_own_clock() -> None:
    """Judge leases in PostgreSQL by the clock of the process's host."""
    now = _own_clock(lambda seconds: f"to_timestamp({seconds})")
    for name in ("create", "acquire", "owner", "renew", "tend"):
        _in_sql(name, ("clock_timestamp()", now))


def postgres_takes_what_is_owned() -> None:
    """Take an execution over in PostgreSQL whether its lease has run out or not."""
    _in_sql("acquire", ("lease_until <= clock_timestamp()", "$5 IS NOT NULL"))


def postgres_grants_the_same_epoch() -> None:
    """Do not raise the epoch in PostgreSQL when an execution changes hands."""
    _in_sql("acquire", ("SET epoch = epoch + 1", "SET epoch = epoch"))


def postgres_never_renews() -> None:
    """Let leases in PostgreSQL run out though their owners renew them."""
    for name, number in (("renew", 4), ("tend", 5)):
        _in_sql(
            name,
            (
                f"clock_timestamp() + make_interval(secs => ${number})",
                f"clock_timestamp() - make_interval(secs => ${number})",
            ),
        )


def postgres_loses_the_refs() -> None:
    """Keep values in PostgreSQL, and forget who needs them."""
    _in_sql("append_more", ("$13::bytea[] || $15::bytea[]", "NULL::bytea[]"))


# -- Redis ---------------------------------------------------------------------------------------------------------


def redis_drops_the_fence() -> None:
    """Let an owner of yesterday write to Redis: neither epoch nor token is looked at."""
    from orchestrator.state.redis.leases import RedisLeases

    _in_script("append", ("if e[1] ~= ARGV[4] or e[2] ~= ARGV[5] or e[3] ~= ARGV[6] or", "if"))
    leases: Any = RedisLeases
    leases.renew = leases.requests = lambda *_: None
    leases.tend = lambda _self, kept, _due: dict.fromkeys([lease.token for lease in kept])


def redis_minds_no_seq() -> None:
    """Send a commit to Redis once more after a lost answer, without a look at what is there."""
    _in_script("append", ("or e[3] ~= ARGV[6] ", ""), ("if repeated and", "if false and"))


def redis_forgets_its_commit() -> None:
    """Do not recognise in Redis the own commit whose answer was lost."""
    _in_script("append", ("if repeated and", "if false and"))


def redis_forgets_its_admission() -> None:
    """Do not recognise in Redis the own admission whose answer was lost."""
    _in_script("create", ("if born and repeated", "if false and repeated"))


def redis_answers_too_early() -> None:
    """Acknowledge a commit before Redis has."""
    from orchestrator.state.redis import RedisStore

    _answers_too_early(RedisStore)


def redis_trusts_its_own_clock() -> None:
    """Judge leases in Redis by the clock of the process's host."""
    now = _own_clock(lambda seconds: f"{1000 * seconds:.0f}")
    _in_script("common", ("return time[1] * 1000 + math.floor(time[2] / 1000)", f"return {now}"))


def redis_takes_what_is_owned() -> None:
    """Take an execution over in Redis whether its lease has run out or not."""
    _in_script("acquire", ("if alive(e, at) and", "if false and"))


def redis_grants_the_same_epoch() -> None:
    """Do not raise the epoch in Redis when an execution changes hands."""
    _in_script("common", ("tostring(e.epoch + 1)", "tostring(e.epoch)"))


def redis_never_renews() -> None:
    """Let leases in Redis run out though their owners renew them."""
    _in_script("tend", ("string.format('%.0f', at + ARGV[3])", "e.lease_until"))


def redis_loses_the_refs() -> None:
    """Keep values in Redis, and forget who needs them."""
    _in_script("append", ("keep(n, 16)", "keep(n .. '.', 16)"))


PLANTED_ON_SERVERS: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (
        postgres_drops_the_fence,
        postgres_splits_the_commit,
        postgres_forgets_its_commit,
        postgres_forgets_its_admission,
        postgres_answers_too_early,
        postgres_trusts_its_own_clock,
        postgres_takes_what_is_owned,
        postgres_grants_the_same_epoch,
        postgres_never_renews,
        postgres_loses_the_refs,
        redis_drops_the_fence,
        redis_minds_no_seq,
        redis_forgets_its_commit,
        redis_forgets_its_admission,
        redis_answers_too_early,
        redis_trusts_its_own_clock,
        redis_takes_what_is_owned,
        redis_grants_the_same_epoch,
        redis_never_renews,
        redis_loses_the_refs,
    )
}
