from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orchestrator.compiler.templates import is_template
from orchestrator.errors import TaskError
from orchestrator.tools import ToolRegistry
from orchestrator.tools.database.statement import Statement

Call = Callable[..., Any]
TABLE = "CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(40), price DECIMAL(10, 2))"
NEVER: dict[str, dict[str, Any]] = {"query": {}, "execute": {"exactly_once": False}}
FILES = ("sqlite:///data/x.db", "duckdb:///data/x.duckdb")


@pytest.fixture
def server(postgres_server_url: str, postgres_schemas: Callable[[], str]) -> str:
    """Return the URL of a database of PostgreSQL in which unqualified names mean an empty schema."""
    schema = postgres_schemas()
    with psycopg.connect(postgres_server_url, autocommit=True) as db:
        db.execute(f"CREATE SCHEMA {schema}".encode())
    return f"{postgres_server_url}?options=-csearch_path%3D{schema}"


@pytest.fixture(params=["sqlite", "duckdb", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the URL of an empty database of each kind."""
    if request.param == "postgresql":
        yield request.getfixturevalue("server")
    else:
        yield next(each for each in FILES if each.startswith(request.param))


@pytest.fixture(params=["sqlite", "postgresql"])
def quick(request: pytest.FixtureRequest) -> Any:
    """Return the URL of an empty database, of a kind that opens in no time."""
    return FILES[0] if request.param == "sqlite" else request.getfixturevalue("server")


def filled(call: Call, url: str) -> None:
    rows = [(1, "it's", "1.50"), (2, "$1 {{ no }} %s", "2.25"), (3, None, None)]
    values = [cell for row in rows for cell in row]
    insert = "INSERT INTO item VALUES ($1, $2, $3), ($4, $5, $6), ($7, $8, $9)"
    done = call("sql", "execute", url=url, sql=[TABLE, insert], values=values, exactly_once=False)
    assert done == {"changed": 3, "data": []}


# reading ----------------------------------------------------------------------------------------------------------


def test_rows_with_bound_values(call: Call, url: str) -> None:
    filled(call, url)
    found = call("sql", None, url=url, sql="SELECT id, name FROM item WHERE name = $name OR id = $id ORDER BY id",
                 values={"name": "it's", "id": 2})  # fmt: skip
    data = [{"id": 1, "name": "it's"}, {"id": 2, "name": "$1 {{ no }} %s"}]
    assert found == {"rows": 2, "columns": {"id": "BIGINT", "name": "VARCHAR"}, "data": data}
    found = call("sql", "query", url=url, sql="SELECT id FROM item WHERE id IN ($2, $1) AND id <> $2", values=[1, 3])
    assert found["data"] == [{"id": 1}]
    # What looks like a value, and is none:
    text = "SELECT '$no' AS a /* $no */, \"name\" -- $no\nFROM item WHERE id = $1"
    assert call("sql", "query", url=url, sql=text, values=[1])["data"] == [{"a": "$no", "name": "it's"}]
    nothing = call("sql", "query", url=url, sql="SELECT name FROM item WHERE id = 99;")
    assert (nothing["rows"], nothing["data"]) == (0, [])


def test_rows_as_a_file_for_the_next_step(call: Call, quick: str) -> None:
    filled(call, quick)
    ending = "csv" if quick in FILES else "parquet"
    query = {"url": quick, "sql": "SELECT * FROM item ORDER BY id", "output": f"out/items.{ending}"}
    first = call("sql", "query", **query)
    assert (first["rows"], first["format"], first["preview"][0]["name"]) == (3, ending, "it's")
    assert call("sql", "query", **query) == first, "the same rows are the same bytes"
    summed = call("data-processing", "aggregate", input=first, measures={"sum": "sum(price)"}, as_rows=True)
    assert float(summed["data"][0]["sum"]) == 3.75


def test_an_empty_result_as_a_file(call: Call, quick: str) -> None:
    filled(call, quick)
    found = call("sql", "query", url=quick, sql="SELECT id, name FROM item WHERE id > 9", output="none.parquet")
    assert (found["rows"], list(found["columns"])) == (0, ["id", "name"])


def test_types_of_a_server(call: Call, server: str, project: Path) -> None:
    sql = (
        "SELECT true AS yes, 9223372036854775807 AS big, 1.50 AS price, 'NaN'::float8 AS odd, now()::date AS day, "
        "timestamptz '2026-11-27 03:00+01' AS at, '\\x00ff'::bytea AS raw, ARRAY['a', 'b'] AS tags, "
        "'{\"k\": [1]}'::jsonb AS more, inet '10.0.0.1' AS host"
    )
    kept = call("sql", "query", url=server, sql=sql)
    row = kept["data"][0]
    assert row | {"odd": 0, "day": 0} == {
        "yes": True, "big": 2**63 - 1, "price": Decimal("1.50"), "odd": 0, "day": 0,
        "at": dt.datetime(2026, 11, 27, 2, tzinfo=dt.UTC), "raw": b"\0\xff", "tags": ["a", "b"], "more": {"k": [1]},
        "host": "10.0.0.1",
    }  # fmt: skip
    written = call("sql", "query", url=server, sql=sql, output="x.parquet")
    assert written["columns"] == kept["columns"]
    again = call("data-processing", "load", input=written, as_rows=True)["data"][0]
    assert {key: again[key] for key in ("yes", "big", "price", "at", "raw", "host", "day")} == {
        key: row[key] for key in ("yes", "big", "price", "at", "raw", "host", "day")
    }
    assert not list(project.glob("**/*.tmp")), "nothing is left"


def test_a_query_changes_nothing(call: Call, refused: Call, url: str) -> None:
    filled(call, url)
    for sql in ("DELETE FROM item", "DROP TABLE item", "WITH x AS (SELECT 1) DELETE FROM item"):
        error = refused("sql", "query", url=url, sql=sql)
        assert (error.kind, error.retryable) == ("sql", False)
        assert "`query` only reads" in error.message
        assert "use `execute`" in error.message
    assert call("sql", "query", url=url, sql="SELECT count(*) AS n FROM item")["data"] == [{"n": 3}]


# changing ---------------------------------------------------------------------------------------------------------


def test_several_statements_are_one_transaction(call: Call, refused: Call, url: str) -> None:
    done = call("sql", "execute", url=url, sql=[TABLE, "INSERT INTO item (id) VALUES ($id), ($id + 1)"],
                values={"id": 1})  # fmt: skip
    assert done == {"changed": 2, "data": []}
    update = "UPDATE item SET price = 1.5 WHERE id > 1 RETURNING id, price"
    error = refused("sql", "execute", url=url, sql=[update, "INSERT INTO item (id) VALUES (1)"], exactly_once=False)
    assert (error.kind, error.retryable) == ("sql", False)
    count = "SELECT count(*) AS n FROM item WHERE price IS NOT NULL"
    assert call("sql", "query", url=url, sql=count)["data"] == [{"n": 0}]
    done = call("sql", "execute", url=url, sql=update, exactly_once=False)
    assert (done["changed"], done["data"][0]["id"], float(done["data"][0]["price"])) == (1, 2, 1.5)


def test_an_effect_is_noted_and_not_repeated(
    call: Call, url: str, make_context: Call, caplog: pytest.LogCaptureFixture
) -> None:
    call("sql", "execute", url=url, sql=TABLE, using=make_context(task_id="make"))
    insert = {"url": url, "sql": "INSERT INTO item (id) SELECT count(*) FROM item RETURNING id"}
    first = call("sql", "execute", using=make_context(attempt=1), **insert)
    assert first == {"changed": 1, "data": [{"id": 0}]}
    # The process died before that was recorded: the next attempt finds it, as often as it takes.
    caplog.set_level("INFO", "test.task")
    assert call("sql", "execute", using=make_context(attempt=2), **insert) == first
    assert call("sql", "execute", using=make_context(attempt=3), **insert) == first
    assert "attempt 1 had the effect already" in caplog.text
    # Attempt 3 was recorded. Who asks for the step anew wants the effect anew, and that once, too.
    for attempt in (4, 5):
        again = call("sql", "execute", using=make_context(attempt=attempt, completed_attempt=3), **insert)
        assert again["data"] == [{"id": 1}]
    # An attempt of a process that lost the execution long ago comes too late to have it.
    assert call("sql", "execute", using=make_context(attempt=2), **insert)["data"] == [{"id": 1}]
    assert call("sql", "execute", using=make_context(task_id="other"), **insert)["data"] == [{"id": 2}]
    # An execution of the same id, after the first one was removed, is another one.
    assert call("sql", "execute", using=make_context(created_at=2e9), **insert)["data"] == [{"id": 3}]


def test_a_failed_effect_leaves_no_note(call: Call, refused: Call, quick: str, make_context: Call) -> None:
    refused("sql", "execute", url=quick, sql=[TABLE, "INSERT INTO item (id) VALUES (1), (1)"])
    done = call("sql", "execute", url=quick, sql=[TABLE, "INSERT INTO item (id) VALUES (1)"],
                using=make_context(attempt=2))  # fmt: skip
    assert done["changed"] == 1


def test_another_effect_in_place_of_one_that_was_not_recorded_is_refused(
    call: Call, refused: Call, quick: str, make_context: Call
) -> None:
    call("sql", "execute", url=quick, sql=[TABLE, "INSERT INTO item (id) VALUES ($1)"], values=[1])
    for sql, values in (("INSERT INTO item (id) VALUES ($1)", [1]), ("INSERT INTO item (id) VALUES ($1 + 1)", [1])):
        error = refused("sql", "execute", url=quick, sql=sql, values=values, using=make_context(attempt=2))
        assert (error.kind, error.retryable) == ("effect", False)
        assert "remove the row of orchestrator_effects with the key 'exec/task@1764212345.500000'" in error.message


def test_two_attempts_at_once_have_one_effect(call: Call, server: str, make_context: Call) -> None:
    call("sql", "execute", url=server, sql=TABLE, using=make_context(task_id="make"))
    slow = ["INSERT INTO item (id) SELECT count(*) FROM item", "SELECT pg_sleep(0.3)", "SELECT max(id) FROM item"]
    results: list[Any] = []

    def attempt(number: int) -> None:
        results.append(call("sql", "execute", url=server, sql=slow, using=make_context(attempt=number)))

    threads = [threading.Thread(target=attempt, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [{"changed": 1, "data": [{"max": 0}]}] * 2


def test_rows_of_a_table_file_are_loaded(call: Call, quick: str, project: Path) -> None:
    (project / "in.csv").write_text("id,name,unused\n1,a,x\n2,b,y\n")
    call("sql", "execute", url=quick, sql=TABLE, exactly_once=False)
    loaded = call("data-processing", "load", input="in.csv")
    insert = "INSERT INTO item (id, name) VALUES ($id, $name || $suffix) RETURNING name"
    done = call("sql", "execute", url=quick, sql=insert, rows=loaded, values={"suffix": "!"}, exactly_once=False)
    assert done == {"changed": 2, "data": [{"name": "a!"}, {"name": "b!"}]}


# limits -----------------------------------------------------------------------------------------------------------


def test_limits_of_rows_and_time(call: Call, refused: Call, url: str, project: Path) -> None:
    filled(call, url)
    rows = "SELECT id FROM item"
    error = refused("sql", "query", url=url, sql=rows, max_rows=2)
    assert (error.kind, error.retryable) == ("too_large", False)
    assert "name an `output`" in error.message
    assert refused("sql", "query", url=url, sql=rows, max_rows=2, output="x.csv").kind == "too_large"
    assert not (project / "x.csv").exists()
    returned = "UPDATE item SET price = 0 RETURNING id"
    assert refused("sql", "execute", url=url, sql=returned, max_rows=2, exactly_once=False).kind == "too_large"
    free = "SELECT count(*) AS n FROM item WHERE price = 0"
    assert call("sql", "query", url=url, sql=free)["data"] == [{"n": 0}], "rolled back"
    endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT 1 FROM c) SELECT count(*) AS n FROM c"
    error = refused("sql", "query", url=url, sql=endless, timeout=0.1)
    assert (error.kind, error.retryable) == ("timeout", True)
    assert "not done after 0.1 s, its `timeout`" in error.message


def test_a_cancelled_step_is_interrupted(call: Call, make_context: Call) -> None:
    endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT 1 FROM c) SELECT count(*) AS n FROM c"
    call("sql", "execute", url=FILES[0], sql=TABLE)
    with pytest.raises(TaskError) as caught:
        call("sql", "query", url=FILES[0], sql=endless, using=make_context(cancelled=True))
    assert caught.value.kind == "cancelled"


# walls ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "sql"),
    [
        (FILES[0], "ATTACH '/tmp/other.db' AS other"),
        (FILES[0], "VACUUM INTO '/tmp/other.db'"),
        (FILES[0], "PRAGMA journal_mode = delete"),
        (FILES[0], "SELECT load_extension('x')"),
        (FILES[1], "ATTACH '/tmp/other.db' AS other"),
        (FILES[1], "COPY (SELECT 1) TO '/tmp/other.csv'"),
        (FILES[1], "SELECT * FROM read_csv('/etc/passwd')"),
        (FILES[1], "SET enable_external_access = true"),
        (FILES[1], "INSTALL httpfs"),
    ],
)
def test_no_other_file_is_opened(refused: Call, url: str, sql: str) -> None:
    error = refused("sql", "execute", url=url, sql=sql)
    assert (error.kind, error.retryable) == ("sql", False)
    assert not Path("/tmp/other.db").exists()


@pytest.mark.parametrize("scheme", ["sqlite", "duckdb"])
def test_paths_stay_in_the_project(refused: Call, project: Path, scheme: str) -> None:
    outside = project.parent / "outside.db"
    for path in ("../outside.db", str(outside), ".orchestrator/store.db"):
        assert refused("sql", "execute", url=f"{scheme}:///{path}", sql=TABLE).kind == "path"
    assert not outside.exists()
    assert refused("sql", "query", url=f"{scheme}:///none.db", sql="SELECT 1").kind == "not_found"
    (project / "text.db").write_text("no database" * 100)
    for action in ("query", "execute"):
        error = refused("sql", action, url=f"{scheme}:///text.db", sql="SELECT 1 AS a")
        assert error.kind in ("sql", "io")
        assert f"{scheme}:///text.db" in error.message


def test_no_password_stands_in_an_error(refused: Call, server: str) -> None:
    place = server.partition("@")[2].partition("?")[0].partition("/")[0]
    urls = [
        "postgresql://ann:s3cr3t-pw@127.0.0.1:1/x",
        "postgresql://ann:s3cr3t-pw@127.0.0.1:1/x?connect_timeout=s3cr3t-pw",
        "postgresql://ann:s3cr3t-pw@127.0.0.1:1/x?nonsense=1",
        "postgresql://ann:s3cr3t-pw%zz@127.0.0.1/x",
        "postgresql://ann:s3cr3t-pw@[half/x",
        f"postgresql://ann:s3cr3t-pw@{place}/nowhere?sslpassword=s3cr3t-pw",
        "mysql://ann:s3cr3t-pw@127.0.0.1/x",
    ]
    for url in urls:
        error = refused("sql", "query", url=url, sql="SELECT 1 AS a")
        assert error.kind in ("connection", "parameters", "sql"), url
        assert "s3cr3t" not in f"{error} {error.__cause__}", url
    assert refused("sql", "query", url=urls[0], sql="SELECT 1 AS a").retryable


def test_a_table_that_cannot_be_made_is_told(refused: Call, server: str) -> None:
    error = refused("sql", "execute", url=f"{server}_that_is_not_there", sql=TABLE)
    assert "make it yourself: CREATE TABLE IF NOT EXISTS orchestrator_effects" in error.message
    assert "or say `exactly_once: false`" in error.message


def test_databases_that_others_hold_are_tried_again(refused: Call, server: str, call: Call) -> None:
    call("sql", "execute", url=server, sql=TABLE, exactly_once=False)
    with psycopg.connect(server) as other:
        other.execute("LOCK TABLE item")
        locked = ["SET LOCAL lock_timeout = 50", "INSERT INTO item (id) VALUES (1)"]
        error = refused("sql", "execute", url=server, sql=locked, exactly_once=False)
    assert (error.kind, error.retryable) == ("busy", True)


# wrong calls ------------------------------------------------------------------------------------------------------


WRONG: list[tuple[str, Any, str]] = [
    ("SELECT $a", None, "no value is given for '$a'"),
    ("SELECT $day", {"dya": 1}, "no value is given for '$day' (did you mean 'dya'?)"),
    ("SELECT $a", {"a": 1, "b": 2}, "'$b' is used nowhere"),
    ("SELECT $2", [1], "no value is given for '$2'"),
    ("  -- nothing\n", None, "the statement is empty"),
    ("COMMIT", None, "COMMIT is not for a step to say"),
    ("/* x */ begin", None, "BEGIN is not for a step to say"),
    ("SELECT 1 AS a; SELECT 2 AS a", None, "the text holds several statements; give them as a list"),
    ("SELECT 1 AS a, 2 AS a", None, "two columns are named 'a'"),
    ("SELECT no_such FROM nowhere", None, "nowhere"),
]


def test_wrong_statements(call: Call, refused: Call, url: str) -> None:
    call("sql", "execute", url=url, sql=TABLE)
    for sql, values, text in WRONG:
        for action in ("query", "execute"):
            error = refused("sql", action, url=url, sql=sql, values=values, **NEVER[action])
            assert not error.retryable
            assert text in error.message


def test_what_is_wrong_is_told_when_compiled(registry: ToolRegistry) -> None:
    def check(**parameters: Any) -> list[tuple[Any, ...]]:
        return [
            (problem.message, problem.path, problem.hint)
            for problem in registry.check("sql", "execute", parameters, is_template)
        ]

    good = {"url": "sqlite:///x.db", "sql": "DELETE FROM t WHERE id = $id"}
    assert check(**good, values={"id": "{{ inputs.id }}"}) == []
    assert check(**good, values="{{ inputs.values }}") == []
    assert check(**good, rows="{{ load.result }}") == []
    assert check(url="{{ inputs.url }}", sql=["SELECT 1"]) == []
    ((message, path, hint),) = check(url="sqlite:///x.db", sql=["SELECT 1", "DELETE FROM t WHERE id = {{ inputs.id }}"])
    assert message == "a statement holds no templates: what is pasted into it could be anything"
    assert path == ("sql", 1)
    assert hint == 'write $name where a value belongs, and give it: `values: {name: "{{ ... }}"}`'
    assert check(**good, values={"x": 1}) == [("no value is given for '$id'", ("values",), None)]
    assert check(**good) == [("no value is given for '$id'", ("sql",), None)]
    assert check(url="sqlite:///x.db", sql="ROLLBACK")[0][1] == ("sql",)
    assert [each[1] for each in check(**good, values={"id": 1}, timeout=-1, max_rows=-1)] == [
        ("timeout",),
        ("max_rows",),
    ]
    for url, hint in (
        ("sqlite://x.db", "like sqlite:///path/to/file.db; a fourth one makes it absolute"),
        ("sqlit:///x.db", "did you mean 'sqlite'?"),
        ("x.db", "sqlite:///path/to/file.db, duckdb:///path/to/file.duckdb or postgresql://user@host:port/database"),
        (
            "duckdb:///",
            "sqlite:///path/to/file.db, duckdb:///path/to/file.duckdb or postgresql://user@host:port/database",
        ),
        ("sqlite:///x.db?mode=ro", "in a path, write %3F for ? and %23 for #"),
    ):
        ((_, path, found),) = check(url=url, sql="SELECT 1")
        assert (path, found) == (("url",), hint), url


@pytest.mark.parametrize(
    ("text", "names", "numbered"),
    [
        ("$a $b $a $1", ("a", "b", "1"), "?1 ?2 ?1 ?3"),
        ("'it''s $a' \"$b\" $c", ("c",), "'it''s $a' \"$b\" ?1"),
        ("E'\\' $a' $b", ("b",), "E'\\' $a' ?1"),
        ("$$ $a $$ $t$ $b $$ $t$ $c", ("c",), "$$ $a $$ $t$ $b $$ $t$ ?1"),
        ("/* $a */ $b -- $c", ("b",), "/* $a */ ?1 -- $c"),
        ("a$b c$1 $d::text", ("d",), "a$b c$1 ?1::text"),
    ],
)
def test_where_values_stand(text: str, names: tuple[str, ...], numbered: str) -> None:
    statement = Statement.of(text)
    assert (statement.names, statement.numbered("?")) == (names, numbered)
