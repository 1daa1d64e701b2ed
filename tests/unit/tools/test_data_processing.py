from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from orchestrator.tools import ToolRegistry
from orchestrator.tools.tables import inputs, sqltext

pytest.importorskip("duckdb")

Call = Callable[..., Any]

CSV = "name,born,born_at\nAda,1815,1815-12-10\nAlan,1912,1912-06-23\nGrace,1906,1906-12-09\n"
ROWS = [
    {"name": "Ada", "born": 1815, "born_at": dt.date(1815, 12, 10)},
    {"name": "Alan", "born": 1912, "born_at": dt.date(1912, 6, 23)},
    {"name": "Grace", "born": 1906, "born_at": dt.date(1906, 12, 9)},
]


@pytest.fixture(autouse=True)
def people(project: Path) -> Path:
    (project / "people.csv").write_text(CSV)
    return project / "people.csv"


@pytest.fixture
def data(call: Call, make_context: Call) -> Call:
    """Call an action, each as a task of its own."""
    count = 0

    def calling(action: str | None, /, **parameters: Any) -> Any:
        nonlocal count
        count += 1
        return call("data-processing", action, using=make_context(task_id=f"task-{count}"), **parameters)

    return calling


@pytest.fixture
def rows(data: Call) -> Call:
    def reading(action: str | None, /, **parameters: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = data(action, as_rows=True, **parameters)["data"]
        return found

    return reading


@pytest.fixture
def wrong(refused: Call) -> Call:
    return lambda action, **parameters: refused("data-processing", action, **parameters)


# load, convert ----------------------------------------------------------------------------------------------------


def test_load_gives_a_reference(data: Call, project: Path) -> None:
    result = data("load", input="people.csv")
    path = project / ".orchestrator" / "data" / "exec" / "task-1.parquet"
    assert result == {
        "path": ".orchestrator/data/exec/task-1.parquet",
        "format": "parquet",
        "rows": 3,
        "columns": {"name": "VARCHAR", "born": "BIGINT", "born_at": "DATE"},
        "bytes": path.stat().st_size,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "preview": ROWS,
    }
    assert [each.name for each in path.parent.iterdir()] == ["task-1.parquet"]


def test_a_reference_is_an_input(data: Call, rows: Call) -> None:
    assert rows("load", input=data("load", input="people.csv")) == ROWS
    assert rows("load", input=data("load", input="people.csv", as_rows=True)) == ROWS


def test_the_same_input_gives_the_same_bytes(data: Call) -> None:
    for table in ("people.csv", [{"a": index, "b": index * 0.1} for index in range(1000)]):
        assert data("load", input=table)["sha256"] == data("load", input=table)["sha256"]
    big = data("sql", query="select i, random() r, i % 97 g from range(300000) t(i)")
    again = data("sql", query="select i, random() r, i % 97 g from range(300000) t(i)")
    assert big["sha256"] == again["sha256"]
    sums = [data("aggregate", input=big, by="g", measures={"s": "sum(r)"})["sha256"] for _ in range(2)]
    assert sums[0] == sums[1]
    for ending in ("csv.gz", "json", "tsv", "jsonl.zst"):
        written = [data("convert", input=big, output=f"{index}.{ending}", limit=1000) for index in range(2)]
        assert written[0]["sha256"] == written[1]["sha256"]


@pytest.mark.parametrize("ending", ["csv", "tsv", "csv.gz", "csv.zst", "json", "jsonl", "json.gz", "ndjson", "parquet"])
def test_every_format_there_and_back(data: Call, rows: Call, ending: str, project: Path) -> None:
    source: list[dict[str, Any]] = [
        {"i": 1, "f": 1.5, "s": 'a,"b"\n;\t\'', "d": dt.date(2020, 1, 2), "n": None, "e": "", "b": True},
        {"i": -2, "f": None, "s": "ä€", "d": None, "n": None, "e": "", "b": False},
    ]
    written = data("convert", input=source, output=f"out/table.{ending}")
    assert written["path"] == f"out/table.{ending}"
    assert (project / "out" / f"table.{ending}").stat().st_size == written["bytes"]
    assert written["preview"] == source
    assert rows("load", input=written) == source
    from_path = rows("load", input=f"out/table.{ending}")
    assert [row["s"] for row in from_path] == [row["s"] for row in source]


def test_compressed_inputs(rows: Call, project: Path) -> None:
    with gzip.open(project / "people.csv.gz", "wt") as packed:
        packed.write(CSV)
    with zipfile.ZipFile(project / "people.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/people.csv", CSV)
        archive.writestr("__MACOSX/people.csv", "junk")
    assert rows("load", input="people.csv.gz") == ROWS
    assert rows("load", input="people.csv.zip") == ROWS
    assert not list(project.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({}, "holds 0 files"),
        ({"a.csv": "a\n1\n", "b.csv": "a\n1\n"}, "holds 2 files"),
    ],
)
def test_archives_of_another_number_of_files(wrong: Call, project: Path, members: dict[str, str], text: str) -> None:
    with zipfile.ZipFile(project / "x.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert text in str(wrong("load", input="x.zip"))


def test_archives_that_lie(wrong: Call, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "x.zip").write_text("no archive")
    assert "cannot be unpacked" in str(wrong("load", input="x.zip"))
    with zipfile.ZipFile(project / "bomb.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.csv", "0" * 10_000_000)
    monkeypatch.setattr(inputs, "_LARGEST_UNZIPPED", 1_000_000)
    assert "unpacks to more" in str(wrong("load", input="bomb.csv.zip"))
    assert not list(project.rglob("*.tmp"))


def test_several_files_are_one_table(rows: Call, project: Path) -> None:
    (project / "many" / "deep").mkdir(parents=True)
    (project / "many" / "b.csv").write_text("x,y\n2,b\n")
    (project / "many" / "a.csv").write_text("x\n1\n")
    (project / "many" / "deep" / "c.csv").write_text("x\n3\n")
    (project / "many" / "d.json").write_text("[]")
    assert rows("load", input="many/*.csv") == [{"x": 1, "y": None}, {"x": 2, "y": "b"}]
    assert [row["x"] for row in rows("load", input="many/**/*.csv")] == [1, 2, 3]
    assert [row["x"] for row in rows("load", input=f"{project}/many/?.csv")] == [1, 2]


def test_reading_options(rows: Call, data: Call, project: Path) -> None:
    (project / "odd.txt").write_bytes("junk\nN;V;W;D\nä;1,5;-;31.12.2020\n".encode("latin-1"))
    (row,) = rows(
        "load",
        input="odd.txt",
        delimiter=";",
        header=True,
        skip=1,
        encoding="latin-1",
        nulls=["-"],
        types={"V": "VARCHAR"},
        date_format="%d.%m.%Y",
    )
    assert row == {"N": "ä", "V": "1,5", "W": None, "D": dt.date(2020, 12, 31)}
    (project / "plain").write_text("1,2\n3,4\n")
    assert rows("load", input="plain", format="csv", header=False, names=["a", "b"])[1] == {"a": 3, "b": 4}
    (project / "bad.csv").write_text("a\n1\nx\n3\n")
    assert data("load", input="bad.csv", types={"a": "INTEGER"}, ignore_errors=True)["rows"] == 2


@pytest.mark.parametrize(
    ("parameters", "kind", "text"),
    [
        ({"input": "none.csv"}, "not_found", "no file 'none.csv'"),
        ({"input": "none/*.csv"}, "not_found", "no folder 'none'"),
        ({"input": "*.parquet"}, "not_found", "no file that matches '*.parquet'"),
        ({"input": "../people.csv"}, "path", "leads outside"),
        ({"input": "/etc/passwd", "format": "csv"}, "path", "leads outside"),
        ({"input": "../*.csv"}, "path", "leads outside"),
        ({"input": "people.xls"}, "not_found", "people.xls"),
        ({"input": "people"}, "parameters", "does not tell its format"),
        ({"input": "people.csv", "format": "xml"}, "parameters", "format"),
        ({"input": "people.csv", "format": "parquet"}, "sql", "people.csv"),
        ({"input": "people.csv", "types": {"born": "NOSUCH"}}, "sql", "NOSUCH"),
        ({"input": "people.csv", "types": {"name": "INTEGER"}}, "sql", "people.csv"),
        ({"input": "people.json", "delimiter": ";"}, "parameters", "delimiter: for CSV files only"),
        ({"input": "empty.csv"}, "empty", "'empty.csv' is empty"),
        ({"input": "fifo.csv"}, "path", "is a FIFO"),
        ({"input": []}, "parameters", "a list of rows needs at least one"),
        ({"input": [{}]}, "parameters", "a list of rows needs at least one"),
        ({"input": [{"a": object()}]}, "sql", "object"),
        ({"input": {}}, "parameters", "only if it has `path` or `data`"),
        ({"input": {"path": 5}}, "parameters", "only if it has `path` or `data`"),
        ({"input": 5}, "parameters", "input"),
        ({}, "parameters", "'input' is missing"),
        ({"input": "people.csv", "limit": -1}, "parameters", "limit: -1 is less than 0"),
        ({"input": "people.csv", "threads": 0}, "parameters", "threads: 0 is less than 1"),
        ({"input": "people.csv", "memory": "much"}, "sql", "Memory"),
        ({"input": "people.csv", "output": "x.csv", "as_rows": True}, "parameters", "exclude each other"),
        ({"input": "people.csv", "output": "x.xml"}, "parameters", "names no format to write"),
        ({"input": "people.csv", "output": "x.csv.zip"}, "parameters", "names no format to write"),
        ({"input": "people.csv", "output": "../x.csv"}, "path", "leads outside"),
        ({"input": "people.csv", "output": ".orchestrator/store.parquet"}, "path", "belongs to the store"),
    ],
)
def test_loading_refuses(wrong: Call, project: Path, parameters: dict[str, Any], kind: str, text: str) -> None:
    (project / "people").write_text(CSV)
    (project / "people.json").write_text("[]")
    (project / "empty.csv").write_text("")
    os.mkfifo(project / "fifo.csv")
    error = wrong("load", **parameters)
    assert error.kind == kind
    assert text in str(error)
    assert "/proc/self" not in str(error)
    assert not error.retryable or kind == "not_found"
    assert not list(project.rglob("*.part"))


def test_a_table_that_is_no_longer_what_a_step_wrote(data: Call, wrong: Call, project: Path) -> None:
    reference = data("load", input="people.csv")
    path = project / reference["path"]
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert (error := wrong("load", input=reference)).kind == "changed"
    assert "is not the file that an earlier step wrote" in str(error)
    path.write_bytes(content[:-1] + b"x")
    assert wrong("load", input=reference).kind == "changed"
    path.unlink()
    assert wrong("load", input=reference).kind == "not_found"


# Queries ----------------------------------------------------------------------------------------------------------


def test_filter(rows: Call) -> None:
    assert [row["name"] for row in rows("filter", input="people.csv", where="born > 1900 -- not Ada")] == [
        "Alan",
        "Grace",
    ]
    assert rows("filter", input="people.csv", where="false") == []


def test_select(rows: Call) -> None:
    assert rows("select", input="people.csv", columns=["born"], limit=1) == [{"born": 1815}]
    chosen = rows("select", input="people.csv", columns=["name", {"age": "2000 - born", "up": "upper(name)"}], limit=1)
    assert chosen == [{"name": "Ada", "age": 185, "up": "ADA"}]
    assert rows("select", input="people.csv", columns={"n": "name"}, limit=1) == [{"n": "Ada"}]
    assert list(rows("select", input="people.csv", columns=["*", {"x": "1"}])[0]) == ["name", "born", "born_at", "x"]
    many = [{"a": number % 3} for number in range(10)]
    assert rows("select", input=many, columns=["a"], distinct=True) == [{"a": 0}, {"a": 1}, {"a": 2}]


def test_sort(rows: Call) -> None:
    assert [row["name"] for row in rows("sort", input="people.csv", by="born")] == ["Ada", "Grace", "Alan"]
    assert [row["name"] for row in rows("sort", input="people.csv", by=["born desc"])] == ["Alan", "Grace", "Ada"]
    source = [{"k": index % 2, "i": index, "n": None if index == 3 else index} for index in range(6)]
    assert [row["i"] for row in rows("sort", input=source, by="k")] == [0, 2, 4, 1, 3, 5]
    assert [row["i"] for row in rows("sort", input=source, by="n desc nulls first")] == [3, 5, 4, 2, 1, 0]
    odd = [{"a desc": 2, "x y": 1}, {"a desc": 1, "x y": 2}]
    assert [row["x y"] for row in rows("sort", input=odd, by="a desc asc")] == [2, 1]


LEFT = [{"k": 1, "v": "a"}, {"k": 2, "v": "b"}, {"k": None, "v": "c"}]
RIGHT = [{"k": 2, "v": "x", "w": 20}, {"k": 3, "v": "y", "w": 30}]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("inner", [(2, "b", "x", 20)]),
        ("left", [(1, "a", None, None), (2, "b", "x", 20), (None, "c", None, None)]),
        ("right", [(2, "b", "x", 20), (3, None, "y", 30)]),
        ("full", [(1, "a", None, None), (2, "b", "x", 20), (3, None, "y", 30), (None, "c", None, None)]),
    ],
)
def test_join(rows: Call, how: str, expected: list[tuple[Any, ...]]) -> None:
    found = rows("join", left=LEFT, right=RIGHT, on="k", how=how)
    assert list(found[0]) == ["k", "v", "v_right", "w"]
    assert sorted((tuple(row.values()) for row in found), key=str) == sorted(expected, key=str)


def test_join_half(rows: Call) -> None:
    assert rows("join", left=LEFT, right=RIGHT, on=["k"], how="semi") == [{"k": 2, "v": "b"}]
    assert [row["v"] for row in rows("join", left=LEFT, right=RIGHT, on=["k"], how="anti")] == ["a", "c"]


def test_join_on_columns_of_other_names(rows: Call) -> None:
    right = [{"id": 2, "K": 5}]
    assert rows("join", left=LEFT, right=right, on={"k": "id"}) == [{"k": 2, "v": "b", "K_right": 5}]
    assert rows("join", left=LEFT, right=right, on={"K": "ID"}, how="full", suffix="2")[0].keys() == {"k", "v", "K2"}


def test_aggregate(rows: Call) -> None:
    source = [{"g": letter, "h": index % 2, "n": index} for index, letter in enumerate("bababa")]
    found = rows("aggregate", input=source, by="g", measures={"count": "count(*)", "mean n": "avg(n)"})
    assert found == [{"g": "a", "count": 3, "mean n": 3.0}, {"g": "b", "count": 3, "mean n": 2.0}]
    assert rows("aggregate", input=source, measures={"n": "sum(n)"}, where="g = 'a'") == [{"n": 9}]
    found = rows("aggregate", input=source, by=["g", "h"], measures={"n": "max(n)"}, having="max(n) > 4")
    assert found == [{"g": "a", "h": 1, "n": 5}]


def test_sql(rows: Call, data: Call) -> None:
    table = data("load", input="people.csv")
    query = "with old as (select * from p where born < 1900) select o.name, q.w from old o, q where q.k = 2;"
    assert rows("sql", query=query, inputs={"p": table, "q": RIGHT}) == [{"name": "Ada", "w": 20}]
    assert rows("sql", query='from "odd ""name"', inputs={'odd "name': RIGHT}) == RIGHT
    assert rows("sql", query="values (1)") == [{"col0": 1}]
    assert rows("sql", query="select 1 as a -- the end") == [{"a": 1}]


def test_process_does_all_at_once(rows: Call, data: Call, caplog: pytest.LogCaptureFixture) -> None:
    assert rows(None, input="people.csv", where="born > 1900", columns=["name"], by="name desc") == [
        {"name": "Grace"},
        {"name": "Alan"},
    ]
    assert data("process", input="people.csv")["rows"] == 3
    assert data(None) == {"path": None, "rows": 0, "columns": {}}  # as the specification's example is written
    assert "no input was given" in caplog.text


@pytest.mark.parametrize(
    ("action", "parameters"),
    [
        ("filter", {"where": "1 = 1) UNION ALL (SELECT 1, 2, 3"}),
        ("filter", {"where": "true) --"}),
        ("filter", {"where": "true; DROP TABLE x"}),
        ("filter", {"where": "/*"}),
        ("filter", {"where": ""}),
        ("filter", {"where": "no_such_column = 1"}),
        ("filter", {"where": "name + 1 = 'x' + 2"}),
        ("select", {"columns": ['name", 1 AS "x']}),
        ("select", {"columns": {"x": "1) AS y, (2"}}),
        ("select", {"columns": []}),
        ("select", {"columns": ["a\0b"]}),
        ("select", {"columns": [""]}),
        ("sort", {"by": []}),
        ("sort", {"by": "name; drop table x"}),
        ("sort", {"by": ""}),
        ("aggregate", {"measures": {}}),
        ("aggregate", {"measures": {"x": "nosuch(1)"}}),
        ("aggregate", {"measures": {"x": "count(*)"}, "by": "no_such_column"}),
    ],
)
def test_expressions_stay_in_their_place(wrong: Call, action: str, parameters: dict[str, Any]) -> None:
    error = wrong(action, input="people.csv", **parameters)
    assert error.kind in ("sql", "parameters")
    assert not error.retryable


@pytest.mark.parametrize(
    "query",
    [
        "select * from 'people.csv'",
        "select * from read_csv('people.csv')",
        "select * from read_text('/etc/hostname')",
        "select * from glob('/*')",
        "select * from read_parquet('/proc/self/fd/0')",
        "select * from read_csv('http://127.0.0.1:1/x.csv')",
        "select * from 's3://bucket/x.parquet'",
        "copy (select 1) to 'x.csv'",
        "attach 'x.db'",
        "install httpfs",
        "load httpfs",
        "set threads = 8",
        "pragma database_list",
        "create table t (a int)",
        "select 1; select 2",
        "-- nothing",
        "",
        "select",
        "export database 'x'",
        "call pragma_version()",
        "select * from duckdb_secrets()",
        "select * from locals_of_python",
    ],
)
def test_queries_reach_nothing_else(wrong: Call, project: Path, monkeypatch: pytest.MonkeyPatch, query: str) -> None:
    monkeypatch.chdir(project)
    locals_of_python = [1]
    error = wrong("sql", query=query)
    assert error.kind in ("sql", "path")
    assert not error.retryable
    assert sorted(each.name for each in project.iterdir()) == [".orchestrator", "people.csv"]
    assert locals_of_python


def test_a_query_reads_only_its_inputs(rows: Call, wrong: Call, project: Path) -> None:
    (project / "other.csv").write_text("secret\n1\n")
    assert rows("sql", query="from p", inputs={"p": "people.csv"}) == ROWS
    error = wrong("sql", query=f"from read_csv('{project}/other.csv')", inputs={"p": "people.csv"})
    assert (error.kind, "name the file in `inputs`" in str(error)) == ("path", True)


def test_types_that_come_back(rows: Call) -> None:
    query = """select 1::hugeint h, 1.50::decimal(5,2) d, 'x'::blob b, time '10:00' t, null n, [1, null] l, {'a': 1} s,
        timestamptz '2020-01-01 12:00:00+02' tz, timestamp '2020-01-01 12:00:00' ts,
        uuid '12345678-1234-5678-1234-567812345678' u,
        interval 1 day i, 'x'::enum('x') e, map {'k': 1} m,
        [timestamptz '2020-01-01 00:00:00+00'] lt, 'nan'::double nan"""
    (row,) = rows("sql", query=query)
    assert (row["h"], row["d"], row["b"], row["t"], row["n"]) == (1, Decimal("1.50"), b"x", dt.time(10), None)
    assert (row["l"], row["s"], row["m"]) == ([1, None], {"a": 1}, {"k": 1})
    assert row["tz"] == dt.datetime(2020, 1, 1, 10, tzinfo=dt.UTC)
    assert row["ts"] == dt.datetime(2020, 1, 1, 12)  # noqa: DTZ001 - a timestamp without a zone
    assert (row["i"], row["e"], row["lt"]) == ("1 day", "x", "['2020-01-01 00:00:00+00']")
    assert row["nan"] != row["nan"]
    assert str(row["u"]) == "12345678-1234-5678-1234-567812345678"


def test_rows_in_the_pipeline_itself(rows: Call) -> None:
    source: list[dict[str, Any]] = [
        {"a": 1, "t": dt.datetime(2020, 1, 1, tzinfo=dt.UTC), "d": Decimal("1.5"), "n": None},
        {"b": "x", "l": [1], "m": {"k": 1}},
    ]
    first, second = rows("load", input=source)
    assert first == {"a": 1, "t": source[0]["t"], "d": Decimal("1.5"), "n": None, "b": None, "l": None, "m": None}
    assert (second["b"], second["l"], second["m"]) == ("x", [1], {"k": 1})


def test_rows_are_returned_up_to_a_number(data: Call, wrong: Call) -> None:
    query = "select i from range(1001) t(i)"
    error = wrong("sql", query=query, as_rows=True)
    assert (error.kind, error.retryable) == ("too_large", False)
    assert data("sql", query=query, as_rows=True, limit=1001)["rows"] == 1001
    assert data("sql", query=f"{query} order by i desc", as_rows=True, limit=2)["data"] == [{"i": 1000}, {"i": 999}]


def test_the_preview_is_small(data: Call) -> None:
    query = "select repeat('x', 100000) t, repeat('y', 100000)::blob b, range(1000) l from range(50)"
    result = data("sql", query=query)
    assert len(result["preview"]) == 5
    assert len(repr(result["preview"])) < 5000
    assert data("sql", query=query, preview=0)["preview"] == []
    assert len(data("sql", query="from range(50)", preview=20)["preview"]) == 20


def test_an_empty_table(data: Call, rows: Call) -> None:
    empty = data("filter", input="people.csv", where="false")
    assert (empty["rows"], empty["preview"]) == (0, [])
    assert data("aggregate", input=empty, by="name", measures={"n": "count(*)"})["rows"] == 0
    assert rows("aggregate", input=empty, measures={"n": "count(*)"}) == [{"n": 0}]


# Safety, cancellation, memory -------------------------------------------------------------------------------------


def test_the_output_may_be_an_input(data: Call, project: Path, people: Path) -> None:
    people.chmod(0o640)
    data("filter", input="people.csv", where="born > 1900", output="people.csv")
    assert people.read_text() == CSV.replace("Ada,1815,1815-12-10\n", "")
    assert people.stat().st_mode & 0o777 == 0o640
    assert not list(project.rglob("*.part"))


def test_a_query_that_fails_leaves_the_old_file(wrong: Call, project: Path) -> None:
    (project / "out.csv").write_text("old")
    query = "select case when i = 99999 then error('too far') else i end from range(100000) t(i)"
    assert "too far" in str(wrong("sql", query=query, output="out.csv"))
    assert (project / "out.csv").read_text() == "old"
    assert not list(project.rglob("*.part"))


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_a_query_that_fails_or_is_cancelled_always_comes_back(
    refused: Call, context: Any, project: Path, ending: str
) -> None:
    """DuckDB 2.0 with its asynchronous writes hangs here within some 20 tries."""
    query = "select case when i = 9999 then error('too far') else i end x from range(100000) t(i)"
    for _ in range(15):
        assert refused("data-processing", "sql", query=query, output=f"out.{ending}").kind == "sql"
    query = "select i, md5(i::varchar) x from range(3000000) t(i)"
    for number in range(5):
        context.cancelled = False
        timer = threading.Timer(0.03 * number, lambda: setattr(context, "cancelled", True))
        timer.start()
        assert refused("data-processing", "sql", query=query, output=f"out.{ending}").kind == "cancelled"
        timer.join()
    assert [each.name for each in project.iterdir() if each.name.startswith(("out", ".out"))] == []


def test_task_ids_never_become_paths(call: Call, make_context: Call, project: Path) -> None:
    seen = set()
    ids = ["..", "../../x", "/etc/x", "a/b", "x" * 300, "Task", "task", "TASK", "each[ä]", "", ".hidden", "a b", "a_b"]
    for task_id in ids:
        context = make_context(task_id=task_id, execution_id="../" + task_id)
        path = call("data-processing", "load", using=context, input="people.csv")["path"]
        assert (project / path).resolve().is_relative_to(project / ".orchestrator" / "data")
        assert len(Path(path).parts) == 4
        seen.add(path.lower())
    assert len(seen) == len(ids)


SLOW = "select count(*) n from range(1000000000) a(i), range(100) b(j) where (i * j) % 7 = 3"


def test_a_query_ends_soon_after_its_cancellation(refused: Call, context: Any) -> None:
    timer = threading.Timer(0.2, lambda: setattr(context, "cancelled", True))
    timer.start()
    started = time.monotonic()
    error = refused("data-processing", "sql", query=SLOW)
    assert error.kind == "cancelled"
    assert time.monotonic() - started < 2
    timer.join()
    assert threading.active_count() == 1 or all("watch" not in each.name for each in threading.enumerate())


def test_a_long_query_reports_progress(call: Call, context: Any) -> None:
    query = "select max(md5(i::varchar)) from range(15000000) t(i)"
    call("data-processing", "sql", query=query, as_rows=True)
    assert context.reports
    assert all(0 <= done <= total == 100.0 for done, total, _ in context.reports)


def test_what_does_not_fit_into_memory_is_spilled(data: Call, project: Path) -> None:
    query = "select md5(i::varchar) m from range(400000) t(i) order by m"
    assert data("sql", query=query, memory="40MB")["rows"] == 400_000
    assert not list(project.rglob("*.tmp"))


def test_too_little_memory_is_told(wrong: Call) -> None:
    error = wrong("sql", query="select list(md5(i::varchar)) from range(3000000) t(i)", memory="30MB", as_rows=True)
    assert error.kind == "memory"
    assert "`memory` sets how much" in str(error)


KILLED = """
import logging, os, signal, sys, threading, time
from pathlib import Path
from orchestrator.tools import default_registry
class Context:
    execution_id = "e"; task_id = "t"; idempotency_key = "e/t"; attempt = int(sys.argv[2]); saved = None
    cancelled = False; inputs = {}; logger = logging.getLogger(); project = Path(sys.argv[1])
    def progress(self, *report): pass
    def reads(self, path): pass
    def writes(self, path): pass
    def save(self, state): pass
call = default_registry().resolve("data-processing", "sql").function
if sys.argv[3] != "-":
    def kill():
        while not any(each.stat().st_size > 100_000 for each in Path(sys.argv[1]).glob(".out.csv.*.part")):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)
    threading.Thread(target=kill, daemon=True).start()
call("select i, md5(i::varchar) m from range(500000) t(i)", output="out.csv", context=Context())
"""


def test_a_table_survives_being_killed_while_it_is_written(project: Path) -> None:
    def run(attempt: int, way: str) -> int:
        return subprocess.run([sys.executable, "-c", KILLED, str(project), str(attempt), way], check=False).returncode

    assert run(1, "-") == 0
    undisturbed = (project / "out.csv").read_bytes()
    (project / "out.csv").write_text("old")
    assert run(2, "kill") == -signal.SIGKILL
    assert (project / "out.csv").read_text() == "old"
    assert len(list(project.glob(".out.csv.*.part"))) == 1
    assert run(3, "-") == 0
    assert (project / "out.csv").read_bytes() == undisturbed
    assert list(project.glob(".out.csv.*.part")) == []


def test_mistakes_seen_at_compile_time(registry: ToolRegistry) -> None:
    def is_template(value: Any) -> bool:
        return isinstance(value, str) and "{{" in value

    def found(action: str | None, **parameters: Any) -> list[tuple[Any, ...]]:
        return [problem.path for problem in registry.check("data-processing", action, parameters, is_template)]

    assert found(None) == []
    assert found("load") == [()]
    assert found("load", input="{{ x.result }}", limit="{{ n }}") == []
    assert found("load", input="x.csv", delimeter=";", limit="5") == [("delimeter",), ("limit",)]
    assert found("join", left="a", right="b", on="k", how="sideways") == [("how",)]
    assert found("convert", input="x.csv") == [()]
    assert found("convert", input="x.csv", output="y.csv", as_rows=True) == [("as_rows",)]
    assert found("select", input="x.csv", columns=["a", {"b": 1}]) == [("columns", 1, "b")]


@pytest.mark.parametrize(
    ("value", "sql"),
    [
        ("it's", "'it''s'"),
        (True, "true"),
        (1.5, "1.5"),
        (["a", 1], "['a', 1]"),
        ({"a": "b'"}, "{'a': 'b'''}"),
    ],
)
def test_values_as_sql(value: Any, sql: str) -> None:
    assert sqltext.literal(value) == sql


def test_names_as_sql() -> None:
    assert sqltext.name('a"b') == '"a""b"'
    assert json.loads(json.dumps(sqltext.names(["a", "b"]))) == '"a", "b"'
