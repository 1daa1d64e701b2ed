"""What breaks between us and PostgreSQL, and what must come of it."""

from __future__ import annotations

import asyncio
import builtins
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from chaos.servers.postgres import PostgresServer
from chaos.servers.proxy import Proxy
from orchestrator.core.system import SystemChance, SystemClock
from orchestrator.domain.ids import ExecutionId, Seq
from orchestrator.errors import (
    LeaseLost,
    StoreDamaged,
    StoreFull,
    StoreIncompatible,
    StoreUnavailable,
    UnknownExecution,
    UsageError,
)
from orchestrator.ports.store import CacheEntry, Place
from orchestrator.state.blobs import BlobFiles
from orchestrator.state.postgres import PostgresStore, parse_target
from orchestrator.state.url import StoreOptions, open_store
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
    signal,
    started,
    value,
    waits,
)
from tests.unit.core.bench import Bench, step, wait_until

X = ExecutionId("x")
ENTRY = CacheEntry(bytes(32), AT, "x@1", value(10).ref)


def store_of(url: str, **options: Any) -> PostgresStore:
    return PostgresStore(parse_target(url, durable=True), clock=SystemClock(), chance=SystemChance(), **options)


def by_way_of(url: str, proxy: Proxy) -> str:
    """Return a store's URL that leads through a proxy."""
    bare, _, options = url.partition("?")
    info = conninfo_to_dict(bare)
    return f"postgresql://{info['user']}@127.0.0.1:{proxy.port}/{info['dbname']}?{options}"


@pytest.fixture
def proxy(postgres_server_url: str) -> Any:
    info = conninfo_to_dict(postgres_server_url)
    with Proxy(int(info.get("port") or 5432), str(info.get("host") or "127.0.0.1")) as one:
        yield one


@pytest.fixture
def db(postgres_url: str) -> Any:
    """Return a connection of an administrator, whose statements mean the store's schema."""
    target = parse_target(postgres_url, durable=True)
    with psycopg.connect(target.conninfo, autocommit=True) as one:
        one.execute(f"SET search_path TO {target.schema}")
        yield one


@pytest.fixture
async def store(postgres_url: str) -> Any:
    one = store_of(postgres_url)
    yield one
    await one.close()


class TestRefusals:
    @pytest.mark.parametrize(
        ("url", "word"),
        [
            ("postgresql://u:hunter2@h/d?durability=maybe", "durability"),
            ("postgresql://u:hunter2@h/d?pgbouncer=1", "pgbouncer"),
            ("postgresql://u:hunter2@h/d?schema=", "schema"),
            ("postgresql://u:hunter2@h/d?schema=pg_x", "schema"),
            ("postgresql://u:hunter2@h/d?nonsense=1", "nonsense"),
        ],
    )
    def test_a_wrong_url_is_a_mistake_of_the_caller(self, url: str, word: str) -> None:
        with pytest.raises(UsageError, match=word) as caught:
            parse_target(url, durable=True)
        assert "hunter2" not in str(caught.value)

    def test_a_missing_driver_is_told(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        for name in list(sys.modules):
            if name.startswith(("orchestrator.state.postgres", "psycopg")):
                monkeypatch.delitem(sys.modules, name)
        real = builtins.__import__

        def without(name: str, *rest: Any, **more: Any) -> Any:
            if name.partition(".")[0] == "psycopg":
                raise ImportError("No module named 'psycopg'", name="psycopg")
            return real(name, *rest, **more)

        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(UsageError, match=r"pip install 'durable-orchestrator\[postgres\]'"):
            open_store("postgresql://u:p@h/d", StoreOptions(tmp_path, SystemClock(), SystemChance()))

    async def test_a_server_that_is_not_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("orchestrator.state.postgres.database.FIRST_WAIT_SECONDS", 0.2)
        store = store_of("postgresql://u:hunter2@127.0.0.1:1/d")
        with pytest.raises(StoreUnavailable, match="Check that the server runs") as caught:
            await store.summaries()
        assert "hunter2" not in str(caught.value)
        assert caught.value.exit_code == 6
        await store.close()

    async def test_a_database_that_is_not_there(
        self, postgres_server_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("orchestrator.state.postgres.database.FIRST_WAIT_SECONDS", 0.2)
        info = conninfo_to_dict(postgres_server_url)
        store = store_of(f"postgresql://{info['user']}@{info['host']}:{info['port']}/nowhere")
        with pytest.raises(StoreUnavailable, match="nowhere"):
            await store.summaries()
        await store.close()

    async def test_another_programs_schema(self, db: Any, store: PostgresStore, postgres_url: str) -> None:
        schema = parse_target(postgres_url, durable=True).schema
        db.execute(f"CREATE SCHEMA {schema}")
        db.execute("CREATE TABLE theirs (x int)")
        with pytest.raises(StoreIncompatible, match="theirs"):
            await admit(store)
        db.execute("ALTER TABLE theirs RENAME TO meta")
        with pytest.raises(StoreIncompatible, match="another program's"):
            await admit(store)
        assert db.execute("SELECT count(*) FROM pg_class WHERE relname = 'journal' "
                          "AND relnamespace = %s::regnamespace", (schema,)).fetchone() == (0,)  # fmt: skip

    async def test_a_newer_format(self, db: Any, store: PostgresStore, postgres_url: str) -> None:
        await admit(store)
        db.execute("UPDATE meta SET value = '99' WHERE key = 'format'")
        newer = store_of(postgres_url)
        with pytest.raises(StoreIncompatible, match=r"format 99.*upgrade"):
            await newer.summaries()
        await newer.close()
        db.execute("UPDATE meta SET value = '1' WHERE key = 'format'")

    async def test_a_read_only_server(self, store: PostgresStore, postgres_url: str) -> None:
        await admit(store)
        reading = store_of(f"{postgres_url}&options=-c%20default_transaction_read_only%3Don")
        assert len(await reading.summaries()) == 1
        with pytest.raises(StoreUnavailable, match="read-only"):
            await reading.acquire(X, "me", steal=True)
        await reading.close()

    async def test_a_server_without_fsync_is_refused_unless_less_is_demanded(self) -> None:
        with PostgresServer(fsync=False) as server:
            strict, lax = store_of(server.url), store_of(f"{server.url}?durability=process")
            with pytest.raises(StoreUnavailable, match="fsync = on and full_page_writes = on"):
                await admit(strict)
            await admit(lax)
            assert "fsync and full_page_writes = off" in (await lax.statistics())["durability"]
            await strict.close()
            await lax.close()


class TestSchema:
    async def test_eight_at_once_make_one_store(self, postgres_url: str) -> None:
        def begin(number: int) -> str | None:
            async def act() -> str | None:
                store = store_of(postgres_url)
                await admit(store, f"x{number}")
                await store.close()
                return store._uuid

            return asyncio.run(act())

        found = await asyncio.gather(*(asyncio.to_thread(begin, number) for number in range(8)))
        assert len(set(found)) == 1
        store = store_of(postgres_url)
        assert len(await store.summaries()) == 8
        await store.close()

    async def test_what_it_promises_is_told(self, store: PostgresStore, postgres_url: str) -> None:
        assert "power cut of the server" in (await store.statistics())["durability"]
        lax = store_of(f"{postgres_url}&durability=process")
        assert "last moments" in (await lax.statistics())["durability"]
        await lax.close()

    async def test_a_migration_killed_at_any_statement_is_made_again(
        self, db: Any, postgres_url: str, postgres_schemas: Callable[[], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("orchestrator.state.postgres.database.FIRST_WAIT_SECONDS", 0.0)
        db.execute("SET search_path TO public")
        db.execute("CREATE SEQUENCE killed MINVALUE -100 START 1")
        db.execute("""
            CREATE FUNCTION kill_it() RETURNS event_trigger LANGUAGE plpgsql AS $$
            BEGIN
                IF nextval('public.killed') = 0 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
            END $$""")
        db.execute("CREATE EVENT TRIGGER killing ON ddl_command_end EXECUTE FUNCTION kill_it()")
        try:
            kills = 0
            for statement in range(1, 60):
                db.execute("SELECT setval('killed', %s, false)", (1 - statement,))
                url = f"{postgres_url.partition('?')[0]}?schema={postgres_schemas()}"
                store = store_of(url)
                try:
                    await store.probe()
                    killed = False
                except StoreUnavailable:
                    killed = True
                    kills += 1
                await store.close()
                db.execute("SELECT setval('killed', 1, false)")
                store = store_of(url)
                await admit(store)
                assert await store.check() == []
                await store.close()
                if not killed:
                    break
            assert kills > 10
        finally:
            db.execute("DROP EVENT TRIGGER killing")
            db.execute("DROP FUNCTION kill_it")
            db.execute("DROP SEQUENCE killed")

    async def test_a_store_of_the_first_format_is_migrated(self, db: Any, postgres_url: str) -> None:
        old = store_of(postgres_url)
        await add(old, await admit(old), 1, completed("a", value(2000).ref), finished(), values=[value(2000)])
        await old.submit(ExecutionId("y"), [created()], [], Place())
        await old.close()
        db.execute("DROP TABLE signals, cache")
        db.execute("ALTER TABLE executions DROP COLUMN due, DROP COLUMN mail")
        db.execute("UPDATE meta SET value = '1' WHERE key = 'format'")
        store = store_of(postgres_url)
        assert sorted(one.seq for one in await store.summaries()) == [1, 3]
        assert await store.get(value(2000).ref) == value(2000).payload
        await store.remember(X, ENTRY)
        assert await store.recall(ENTRY.fingerprint) == ENTRY
        (lease,) = await store.take("me", ["default"], 5)
        await add(store, lease, 1, started(), waits())
        await store.send(ExecutionId("y"), signal())
        assert [one.execution_id for one in await store.take("me", ["default"], 5)] == ["y"]
        assert await store.check() == []
        await store.close()

    async def test_a_role_with_exactly_the_documented_rights(
        self, db: Any, store: PostgresStore, postgres_url: str
    ) -> None:
        await store.probe()
        target = parse_target(postgres_url, durable=True)
        role = f"plain_{target.schema}"
        db.execute(f"CREATE ROLE {role} LOGIN")
        try:
            db.execute(f"GRANT USAGE ON SCHEMA {target.schema} TO {role}")
            db.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {target.schema} TO {role}")
            info = conninfo_to_dict(target.conninfo)
            plain = store_of(
                f"postgresql://{role}@{info['host']}:{info['port']}/{info['dbname']}?schema={target.schema}"
            )
            lease = await plain.create(X, "me", [created()], [value(2000)])
            plain.renew(lease)
            assert plain.tend([lease], [lease]) == {lease.token: None}
            await add(plain, lease, 1, completed("a", value(3000).ref), values=[value(3000)])
            await plain.submit(ExecutionId("y"), [created()], [], Place())
            await plain.set_queue("default", limit=3, paused_by=None)
            (taken,) = await plain.take("me", ["default"], 1)
            await plain.send(X, signal())
            await plain.delivered(lease, ["s1"])
            await plain.hide_checkpoint(X, Seq(1))
            await add(plain, taken, 1, completed("a", value(3000).ref), values=[value(3000).ref])
            await plain.remember(ExecutionId("y"), ENTRY)
            assert await plain.recall(ENTRY.fingerprint) == ENTRY
            await plain.release(taken)
            assert await plain.check() == []
            await plain.statistics()
            await plain.probe()
            await plain.remove([ExecutionId("y")])
            await plain.close()
            db.execute(f"REVOKE UPDATE ON {target.schema}.executions FROM {role}")
            lacking = store_of(
                f"postgresql://{role}@{info['host']}:{info['port']}/{info['dbname']}?schema={target.schema}"
            )
            with pytest.raises(StoreUnavailable, match="permission"):
                await lacking.acquire(X, "me", steal=True)
            await lacking.close()
        finally:
            db.execute(f"DROP OWNED BY {role}")
            db.execute(f"DROP ROLE {role}")


def terminate(db: Any) -> int:
    """End every other connection to the database, as an administrator's shutdown does; return how many there were."""
    row = db.execute(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE application_name = 'orchestrator' AND pid <> pg_backend_pid()"
    ).fetchone()
    return int(row[0])


async def until(condition: Callable[[], bool], description: str) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"never: {description}")


class TestBrokenConnections:
    async def test_a_backend_that_was_ended_between_two_calls_is_not_noticed(
        self, store: PostgresStore, db: Any
    ) -> None:
        lease = await admit(store)
        store.renew(lease)
        for seq in range(1, 4):
            assert terminate(db) >= 2
            assert await add(store, lease, seq) == seq + 1
            store.renew(lease)
        assert len(await facts(store)) == 4

    async def test_a_backend_that_is_ended_while_it_waits_for_a_lock(self, store: PostgresStore, db: Any) -> None:
        lease = await admit(store)
        with db.transaction():
            db.execute("SELECT FROM executions FOR UPDATE")
            append = asyncio.create_task(add(store, lease, 1))
            with psycopg.connect(db.info.dsn, autocommit=True) as other:
                await until(
                    lambda: other.execute(
                        "SELECT count(*) FROM pg_stat_activity "
                        "WHERE application_name = 'orchestrator' AND wait_event_type = 'Lock'"
                    ).fetchone() == (1,),
                    "the append waits for the row",
                )  # fmt: skip
                terminate(other)
        assert await append == 2
        assert len(await facts(store)) == 2

    async def test_a_cut_at_any_message_loses_nothing_and_repeats_nothing(
        self, proxy: Proxy, postgres_url: str, store: PostgresStore
    ) -> None:
        await store.probe()
        piece = 0
        struck = True
        while struck:
            piece += 1
            name = f"x{piece}"
            through = store_of(by_way_of(postgres_url, proxy))
            proxy.cut_at(piece, torn=bool(piece % 2))
            before = proxy.cuts
            await life(through, name)
            struck = proxy.cuts > before
            proxy.cut_at(0)
            await through.close()
            assert await facts(store, name) == LIFE
            assert await store.get(value(2000).ref) == value(2000).payload
            assert (await store.summary(ExecutionId(name))).holder is None
            assert (await store.summary(ExecutionId(name))).seq == len(LIFE)
            assert (await store.statistics())["cached"] == piece
        assert piece > 15
        assert await store.check() == []

    @pytest.mark.parametrize("statement", ["create", "append", "append_more", "acquire", "release"])
    async def test_an_answer_that_was_lost_is_asked_for_again(
        self, proxy: Proxy, postgres_url: str, store: PostgresStore, statement: str
    ) -> None:
        marks = {
            "create": b"executions (execution_id, born",
            "append": b"orchestrator_append",
            "append_more": b"coalesce($9, status)",
            "acquire": b"SET epoch = epoch + 1",
            "release": b"owner = NULL, token = NULL WHERE execution_id",
        }
        through = store_of(by_way_of(postgres_url, proxy))
        await through.probe()
        # A prepared statement goes out by its name: its text went before.
        proxy.swallow(lambda piece: marks[statement] in piece and (statement != "append" or piece.startswith(b"B")))
        await life(through, "x")
        assert proxy.cuts == 1
        assert await facts(store) == LIFE
        await through.close()

    async def test_a_submission_and_a_taking_whose_answers_were_lost(
        self, proxy: Proxy, postgres_url: str, store: PostgresStore
    ) -> None:
        through = store_of(by_way_of(postgres_url, proxy))
        await through.probe()
        proxy.swallow(lambda piece: b"executions (execution_id, born" in piece)
        await through.submit(X, [created()], [], Place())
        await through.submit(ExecutionId("y"), [created()], [], Place())
        proxy.swallow(lambda piece: b"COMMIT" in piece)
        leases = await through.take("me", ["default"], 2)
        assert [lease.execution_id for lease in leases] == ["x", "y"]
        assert proxy.cuts == 2
        assert [await add(through, lease, 1) for lease in leases] == [2, 2]
        assert await store.take("another", ["default"], 2) == []
        await through.close()

    async def test_a_commit_of_ours_is_known_even_when_another_has_taken_over_since(
        self, proxy: Proxy, postgres_url: str, store: PostgresStore
    ) -> None:
        through = store_of(by_way_of(postgres_url, proxy))
        lease = await admit(through)
        await add(through, lease, 1)
        proxy.refusing = True
        proxy.swallow(lambda _piece: True)
        append = asyncio.create_task(add(through, lease, 2))
        await until(lambda: proxy.cuts == 1, "the answer is lost")
        heir = await store.acquire(X, "heir", steal=True)
        await add(store, heir, 3, claimed("b"))
        proxy.refusing = False
        assert await append == 3
        with pytest.raises(LeaseLost):
            await add(through, lease, 3)
        await through.close()

    async def test_a_commit_that_never_arrived_is_refused_when_another_has_taken_over(
        self, proxy: Proxy, postgres_url: str, store: PostgresStore
    ) -> None:
        through = store_of(by_way_of(postgres_url, proxy))
        lease = await admit(through)
        await add(through, lease, 1)
        proxy.refusing = True
        proxy.cut_at(1)
        append = asyncio.create_task(add(through, lease, 2))
        await until(lambda: proxy.cuts == 1, "the statement is lost")
        heir = await store.acquire(X, "heir", steal=True)
        await add(store, heir, 2, claimed("b"))
        proxy.refusing = False
        with pytest.raises(LeaseLost):
            await append
        assert await facts(store) == [created(), claimed(), claimed("b")]
        await through.close()

    async def test_an_owner_waits_no_longer_than_its_lease(self, proxy: Proxy, postgres_url: str) -> None:
        through = store_of(by_way_of(postgres_url, proxy), lease_seconds=1.0)
        lease = await admit(through)
        proxy.refusing = True
        proxy.cut()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await add(through, lease, 1)
        with pytest.raises(StoreUnavailable):
            through.renew(lease)
        await through.close()

    async def test_a_server_that_falls_silent_is_given_up(
        self, proxy: Proxy, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("orchestrator.state.postgres.database.SILENCE_SECONDS", 0.3)
        through = store_of(by_way_of(postgres_url, proxy) + "&connect_timeout=2", lease_seconds=1.0)
        lease = await admit(through)
        through.renew(lease)
        proxy.stalled = True
        with pytest.raises(StoreUnavailable):
            through.renew(lease)
        with pytest.raises(StoreUnavailable):
            await add(through, lease, 1)
        proxy.stalled = False
        await through.close()

    async def test_a_cancelled_caller_is_heard_once_the_commit_is_known(self, store: PostgresStore, db: Any) -> None:
        lease = await admit(store)
        results: list[int] = []

        async def act() -> None:
            results.append(await add(store, lease, 1))
            await asyncio.sleep(10)

        with db.transaction():
            db.execute("SELECT FROM executions FOR UPDATE")
            append = asyncio.create_task(act())
            await asyncio.sleep(0.05)
            append.cancel()
            await asyncio.sleep(0.05)
            assert not append.done()
        with pytest.raises(asyncio.CancelledError):
            await append
        assert results == [2]
        assert await add(store, lease, 2) == 3

    async def test_too_few_connections_are_waited_for(self, db: Any, store: PostgresStore, postgres_url: str) -> None:
        await store.probe()
        target = parse_target(postgres_url, durable=True)
        role = f"few_{target.schema}"
        info = conninfo_to_dict(target.conninfo)
        db.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1")
        try:
            db.execute(f"GRANT USAGE ON SCHEMA {target.schema} TO {role}")
            db.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {target.schema} TO {role}")
            few = store_of(f"postgresql://{role}@{info['host']}:{info['port']}/{info['dbname']}?schema={target.schema}")
            leases = await asyncio.gather(*(admit(few, f"x{number}") for number in range(8)))
            assert len({lease.token for lease in leases}) == 8
            await few.close()
        finally:
            db.execute(f"DROP OWNED BY {role}")
            db.execute(f"DROP ROLE {role}")


LIFE = [created(), claimed("a"), completed("a", value(2000).ref), claimed("b"), finished()]


async def life(store: PostgresStore, name: str) -> None:
    """Live through an execution as an engine would, with a change of owner."""
    lease = await admit(store, name)
    await add(store, lease, 1, claimed("a"))
    await store.release(lease)
    heir = await store.acquire(ExecutionId(name), "heir")
    await add(store, heir, 2, completed("a", value(2000).ref), claimed("b"), values=[value(2000)])
    await store.remember(ExecutionId(name), ENTRY)
    await add(store, heir, 4, finished(), values=[value(2000).ref])
    await store.release(heir)


def failing(db: Any, state: str, times: int) -> None:
    """Let the next inserts into the journal fail with a SQLSTATE, so many times."""
    db.execute(f"""
        CREATE SEQUENCE failures;
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval(tg_table_schema || '.failures') <= {times} THEN
                RAISE EXCEPTION 'made to fail' USING ERRCODE = '{state}';
            END IF;
            RETURN new;
        END $$;
        CREATE TRIGGER failing BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION fail()
    """)


class TestErrorsOfTheServer:
    @pytest.mark.parametrize("state", ["40001", "40P01", "55P03"])
    async def test_what_may_succeed_is_tried_again(self, store: PostgresStore, db: Any, state: str) -> None:
        lease = await admit(store)
        failing(db, state, 3)
        assert await add(store, lease, 1) == 2
        assert await add(store, lease, 2, claimed("b"), values=[value(2000)]) == 3

    @pytest.mark.parametrize(
        ("state", "kind", "word"),
        [
            ("53100", StoreFull, "no space left"),
            ("57014", StoreUnavailable, "statement timeout"),
            ("XX001", StoreUnavailable, "pg_amcheck"),
            ("P0001", StoreUnavailable, "P0001"),
        ],
    )
    async def test_what_would_fail_again_is_told_at_once(
        self, store: PostgresStore, db: Any, state: str, kind: type[StoreUnavailable], word: str
    ) -> None:
        lease = await admit(store)
        failing(db, state, 1)
        with pytest.raises(kind, match=word):
            await add(store, lease, 1)
        assert len(await facts(store)) == 1
        assert await add(store, lease, 1) == 2

    async def test_serialization_failures_without_end_are_told(
        self, store: PostgresStore, db: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("orchestrator.state.postgres.database.REPEATS", 3)
        lease = await admit(store)
        failing(db, "40001", 1000)
        with pytest.raises(StoreUnavailable, match="too busy"):
            await add(store, lease, 1)

    async def test_behind_a_pooler_each_transaction_brings_its_own_settings(
        self, store: PostgresStore, db: Any, postgres_url: str
    ) -> None:
        await store.probe()
        db.execute("""
            CREATE TABLE seen (name text, value text);
            CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                EXECUTE format('INSERT INTO %I.seen SELECT name, setting FROM pg_settings WHERE name = ANY ($1)',
                               tg_table_schema) USING ARRAY['synchronous_commit', 'lock_timeout'];
                RETURN new;
            END $$;
            CREATE TRIGGER seeing BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION see()
        """)
        pooled = store_of(f"{postgres_url}&pgbouncer=true")
        lease = await admit(pooled)
        async with pooled._links.lend() as link:
            await link.execute("SET synchronous_commit = off")  # by whoever had the connection before
            await link.execute("SET lock_timeout = 0")
        await add(pooled, lease, 1)
        await add(pooled, lease, 2, claimed("b"), values=[value(2000)])
        assert set(db.execute("SELECT DISTINCT name, value FROM seen").fetchall()) == {
            ("synchronous_commit", "on"),
            ("lock_timeout", "5000"),
        }
        assert db.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
        await pooled.close()

    async def test_less_durability_is_raised_for_one_commit(
        self, store: PostgresStore, db: Any, postgres_url: str
    ) -> None:
        await store.probe()
        db.execute("""
            CREATE TABLE seen (number serial, value text);
            CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                EXECUTE format('INSERT INTO %I.seen (value) SELECT current_setting($1)', tg_table_schema)
                    USING 'synchronous_commit';
                RETURN new;
            END $$;
            CREATE TRIGGER seeing BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION see()
        """)
        lax = store_of(f"{postgres_url}&durability=process")
        lease = await admit(lax)
        await add(lax, lease, 1)
        await lax.append(lease, [claimed("b")], [], expected_seq=Seq(2), completed=0, durable=True)
        await add(lax, lease, 3)
        found = db.execute("SELECT value FROM seen ORDER BY number").fetchall()
        assert found == [("on",), ("off",), ("on",), ("off",)]
        await lax.close()


class TestLostHistory:
    async def test_fewer_facts_than_were_acknowledged(self, store: PostgresStore, db: Any) -> None:
        lease = await admit(store)
        await add(store, lease, 1)
        await add(store, lease, 2)
        db.execute("DELETE FROM journal WHERE last = 3")
        db.execute("UPDATE executions SET seq = 2")
        with pytest.raises(StoreDamaged, match="history was lost: 3 facts") as caught:
            await add(store, lease, 3)
        assert caught.value.exit_code == 7

    async def test_an_owner_that_the_server_has_forgotten(self, store: PostgresStore, db: Any) -> None:
        await store.release(await admit(store))
        lease = await store.acquire(X, "heir")
        db.execute("UPDATE executions SET epoch = 1, token = 'another'")
        for act in (store.renew, store.requests):
            with pytest.raises(StoreDamaged, match="history was lost"):
                act(lease)
        with pytest.raises(StoreDamaged, match="history was lost"):
            await add(store, lease, 1)

    async def test_an_execution_that_is_gone_under_its_owner(self, store: PostgresStore, db: Any) -> None:
        lease = await admit(store)
        db.execute("DELETE FROM executions")
        with pytest.raises(StoreDamaged, match="history was lost"):
            await add(store, lease, 1)

    async def test_an_owner_that_was_robbed_has_lost_its_lease_and_no_history(
        self, store: PostgresStore, postgres_url: str
    ) -> None:
        """Another one stole the execution and removed it; then one of the same name came."""
        lease = await admit(store)
        await add(store, lease, 1)
        thief = store_of(postgres_url)
        await thief.release(await thief.acquire(X, "a thief", steal=True))
        await thief.remove([X])
        for anew in (False, True):
            if anew:
                await thief.create(X, "another", [created()], [])
            with pytest.raises(LeaseLost):
                await add(store, lease, 2)
            for act in (store.renew, store.requests):
                with pytest.raises(LeaseLost):
                    act(lease)
            assert store.tend([lease], [lease]) == {}
        await thief.close()

    async def test_the_keeper_tells_lost_history_from_a_lost_lease(self, store: PostgresStore, db: Any) -> None:
        lost, kept = await admit(store), await store.create(ExecutionId("y"), "me", [created()], [])
        db.execute("DELETE FROM executions WHERE execution_id = 'x'")
        told = store.tend([lost, kept], [lost, kept])
        assert told[kept.token] is None
        assert isinstance(told[lost.token], StoreDamaged)

    async def test_a_run_that_has_nothing_to_write_ends_with_7(self, postgres_url: str, db: Any) -> None:
        bench = Bench(postgres_url)
        orchestrator = bench.open()
        running = asyncio.create_task(orchestrator.run_pipeline(bench.pipeline(step("a", "hold")), execution_id="x"))
        await bench.started("a")
        db.execute("DELETE FROM executions")
        with pytest.raises(StoreDamaged, match="history was lost") as caught:
            await running
        assert caught.value.exit_code == 7
        await bench.close()

    async def test_another_store_in_its_place(self, store: PostgresStore, db: Any) -> None:
        lease = await admit(store)
        db.execute("UPDATE meta SET value = 'another' WHERE key = 'uuid'")
        terminate(db)
        with pytest.raises(StoreDamaged, match="another store"):
            await add(store, lease, 1)


class TestDamage:
    @pytest.mark.parametrize("newest_first", [False, True])
    async def test_missing_and_changed_commits_are_named(
        self, store: PostgresStore, db: Any, newest_first: bool
    ) -> None:
        lease = await admit(store)
        for seq in range(1, 5):
            await add(store, lease, seq)
        record = db.execute("SELECT record FROM journal WHERE last = 4").fetchone()[0]
        db.execute("UPDATE journal SET record = set_byte(record, 40, get_byte(record, 40) # 1) WHERE last = 4")
        with pytest.raises(StoreDamaged, match="x@4"):
            await commits(store, newest_first=newest_first)
        db.execute("DELETE FROM journal WHERE last = 4")
        with pytest.raises(StoreDamaged, match="gap"):
            await commits(store, newest_first=newest_first)
        db.execute("INSERT INTO journal SELECT execution, 4, at, completed, %s FROM journal WHERE last = 1", (record,))
        db.execute("DELETE FROM journal WHERE last = 5")
        with pytest.raises(StoreDamaged, match=r"x@5.*end is missing"):
            await commits(store, newest_first=newest_first)
        assert len(await store.check()) == 1
        db.execute("DELETE FROM journal")
        with pytest.raises(StoreDamaged, match=r"x@5.*end is missing"):
            await commits(store, newest_first=newest_first)

    async def test_values_that_may_be_deleted_under_who_needs_them(self, store: PostgresStore, db: Any) -> None:
        big = value(2000)
        lease = await admit(store)
        await add(store, lease, 1, completed(ref=big.ref), values=[big])
        db.execute("DELETE FROM refs")
        assert await store.check() == [
            f"{store.url}: 1 values belong to no execution",
            f"x: its value {big.ref.data.hex()} is not kept for it",
        ]
        await store.create(ExecutionId("y"), "me", [created()], [big])  # now somebody keeps it
        assert await store.check() == [f"x: its value {big.ref.data.hex()} is not kept for it"]

    async def test_a_value_that_was_changed_or_lies_where_nobody_looks(self, store: PostgresStore, db: Any) -> None:
        await store.create(X, "me", [created()], [value(2000)])
        db.execute("UPDATE vals SET record = set_byte(record, 99, get_byte(record, 99) # 1)")
        with pytest.raises(StoreDamaged, match=value(2000).ref.data.hex()):
            await store.get(value(2000).ref)
        db.execute("UPDATE vals SET record = NULL")
        with pytest.raises(StoreDamaged, match="object storage"):
            await store.get(value(2000).ref)
        assert await store.check() == [f"value {value(2000).ref.data.hex()}: missing"]


class TestBlobs:
    async def test_big_values_lie_outside_and_go_with_the_last_that_needs_them(
        self, postgres_url: str, db: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        blobs = BlobFiles(tmp_path / "blobs")
        store = store_of(postgres_url, blobs=blobs)
        big, small = value(100_000), value(3000)
        lease = await store.create(X, "me", [created()], [big, small])
        await store.create(ExecutionId("y"), "me", [created()], [big])
        assert [blob.digest for blob in blobs.iterate()] == [big.ref.data]
        assert db.execute("SELECT count(*), count(record) FROM vals").fetchone() == (2, 1)
        assert [await store.get(one.ref) for one in (big, small)] == [big.payload, small.payload]
        statistics = await store.statistics()
        assert (statistics["values"], statistics["blobs"]) == (1, 1)
        assert statistics["blob_bytes"] > 100_000
        await store.release(lease)
        monkeypatch.setattr("orchestrator.state.outside.BLOB_GRACE_SECONDS", -60.0)
        await store.remove([X])
        assert await store.get(big.ref) == big.payload
        for blob in list(blobs.iterate()):
            blobs.delete(blob.digest)
        assert await store.check() == [f"value {big.ref.data.hex()}: missing"]
        with pytest.raises(StoreDamaged):
            await store.get(big.ref)
        await store.close()

    async def test_the_mark_of_a_collector_that_died_ends_by_itself(self, store: PostgresStore) -> None:
        assert await store._ask("turn", "dead", 0.2)
        assert not await store._ask("turn", "next", 60.0)
        assert await store._ask("turn", "dead", 0.2)  # one at work keeps it
        await wait_until(lambda: store._ask("turn", "next", 60.0), description="the mark ends")
        await store._ask("turn_over", "dead")  # takes nothing from the next
        assert not await store._ask("turn", "third", 60.0)


class TestRemoval:
    async def test_a_removal_that_was_interrupted_is_finished_by_the_next(
        self, store: PostgresStore, db: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("orchestrator.state.postgres.maintenance.CHUNK", 2)
        entries = [ENTRY._replace(fingerprint=bytes([number]) * 32) for number in range(5)]
        lease = await store.create(X, "me", [created()], [value(2000 + number) for number in range(5)])
        for seq in range(1, 6):
            await add(store, lease, seq)
            await store.remember(X, entries[seq - 1])
        await store.release(lease)
        await store.create(ExecutionId("y"), "me", [created()], [value(2000)])

        async def broken(*_: object) -> None:
            raise StoreUnavailable("made to fail")

        real = store._ask

        async def twice(name: str, *parameters: Any) -> Any:
            if name == "delete_refs":
                await broken()
            return await real(name, *parameters)

        monkeypatch.setattr(store, "_ask", twice)
        with pytest.raises(StoreUnavailable):
            await store.remove([X])
        monkeypatch.setattr(store, "_ask", real)
        with pytest.raises(UnknownExecution):
            await store.summary(X)
        assert [one.execution_id for one in await store.summaries()] == ["y"]
        assert [await store.recall(entry.fingerprint) for entry in entries] == [None] * 5
        assert await admit(store) is not None
        await store.remove([])
        assert (await store.statistics())["cached"] == 0
        assert db.execute("SELECT count(*) FROM vals").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM journal").fetchone() == (2,)
        assert await store.check() == []

    async def test_a_value_is_never_removed_under_a_commit_that_refers_to_it(
        self, store: PostgresStore, postgres_url: str
    ) -> None:
        """The same value comes and goes in two executions at once."""
        other = store_of(postgres_url)
        one = value(2000)

        async def come_and_go(handle: PostgresStore, name: str) -> None:
            for _ in range(25):
                lease = await handle.create(ExecutionId(name), "me", [created()], [one])
                assert await handle.get(one.ref) == one.payload
                await handle.release(lease)
                await handle.remove([ExecutionId(name)])

        await asyncio.gather(come_and_go(store, "x"), come_and_go(other, "y"))
        assert await store.check() == []
        assert (await store.statistics())["values"] == 0
        await other.close()
