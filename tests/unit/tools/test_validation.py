from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.tools import ToolRegistry

Call = Callable[..., Any]

SCHEMA = {"type": "array", "items": {"required": ["price"], "properties": {"price": {"minimum": 0}}}}


# schema -----------------------------------------------------------------------------------------------------------


def test_a_value_that_fits(call: Call) -> None:
    result = call("validation", None, value=[{"price": 3}], schema=SCHEMA)
    assert result == {"ok": True, "failed": 0, "mistakes": []}


def test_a_value_that_does_not_fit_fails_the_step_or_is_reported(call: Call, refused: Call) -> None:
    value = [{"price": 1}, {"price": -1}, {}, {}, {}]
    error = refused("validation", "schema", value=value, schema=SCHEMA)
    assert (error.kind, error.retryable) == ("validation", False)
    assert error.message == (
        "the value does not fit the schema: [1].price: expected 0 or more, got -1; [2]: the key 'price' is missing; "
        "[3]: the key 'price' is missing, and 1 more mistake"
    )
    result = call("validation", "schema", value=value, schema=SCHEMA, on_fail="report", examples=1)
    wrong = [{"path": "[1].price", "message": "expected 0 or more, got -1"}]
    assert result == {"ok": False, "failed": 4, "mistakes": wrong}


def test_a_wrong_schema_is_told_when_compiled_and_when_called(registry: ToolRegistry, refused: Call) -> None:
    def is_template(value: Any) -> bool:
        return isinstance(value, str) and "{{" in value

    bad = {"type": "array", "items": {"type": "text"}}
    (problem,) = registry.check("validation", "schema", {"value": "{{ x }}", "schema": bad}, is_template)
    assert problem.path == ("schema", "items", "type")
    assert problem.message == "no JSON Schema type 'text'"
    open_ = {"minimum": "{{ least }}", "type": "text"}
    assert not registry.check("validation", "schema", {"value": 1, "schema": open_}, is_template)
    assert refused("validation", "schema", value=1, schema=bad).kind == "parameters"
    endless = {"$ref": "#"}
    assert "refers to itself without end" in refused("validation", "schema", value=1, schema=endless).message


# rows -------------------------------------------------------------------------------------------------------------

ROWS = [
    {"id": 1, "day": dt.date(2026, 1, 1), "price": 5, "kind": "a"},
    {"id": 2, "day": dt.date(2026, 1, 2), "price": None, "kind": "b"},
    {"id": 2, "day": dt.date(2026, 1, 2), "price": -3, "kind": "c"},
    {"id": 3, "day": None, "price": 900, "kind": "it's"},
    {"id": None, "day": dt.date(2027, 1, 1), "price": 7, "kind": "a"},
    {"id": None, "day": dt.date(2026, 1, 2), "price": 7, "kind": None},
]


@pytest.fixture
def rows(call: Call) -> Call:
    pytest.importorskip("duckdb")
    return lambda **parameters: call("validation", "rows", **{"input": ROWS, "on_fail": "report", **parameters})


def test_every_kind_of_rule_counts_its_rows_and_shows_them(rows: Call) -> None:
    report = rows(
        rules={"positive": "price > 0", "a comment": "true -- )"},
        not_null=["id", "day"],
        unique=[["id"], ["ID", "day"]],
        between={"day": [dt.date(2026, 1, 1), dt.date(2026, 12, 31)], "price": [None, 100]},
        one_of={"kind": ["a", "b", "it's"]},
        min_rows=9,
        max_rows=9,
        examples=1,
    )
    assert {rule["rule"]: rule["failed"] for rule in report["rules"]} == {
        "positive": 2,  # NULL does not satisfy a condition
        "a comment": 0,
        "not_null: id": 2,
        "not_null: day": 1,
        "unique: id": 2,  # and NULLs are not equal
        "unique: ID, day": 2,
        "between: day": 1,
        "between: price": 1,
        "one_of: kind": 1,
        "min_rows: 9": 3,
        "max_rows: 9": 0,
    }
    assert (report["ok"], report["checked"], report["failed"]) == (False, 6, 5)
    assert report["rules"][0]["examples"] == [ROWS[1]]


def test_rows_that_satisfy_every_rule(rows: Call) -> None:
    report = rows(rules={"known": "kind <> 'x' OR kind IS NULL"}, min_rows=1, max_rows=6, on_fail="fail")
    assert (report["ok"], report["checked"], report["failed"]) == (True, 6, 0)


def test_failing_rows_go_to_a_file_before_the_step_fails(rows: Call, refused: Call, project: Path) -> None:
    rules = {"positive": "price > 0", "early": "day < '2026-06-01'"}
    error = refused("validation", "rows", input=ROWS, rules=rules, output="out/bad.csv")
    told = "4 of 6 rows break a rule: 'positive' by 2, 'early' by 2; they are in 'out/bad.csv'"
    assert (error.kind, error.message) == ("validation", told)
    written = (project / "out/bad.csv").read_text()
    found = list(csv.DictReader(written.splitlines()))
    assert [(row["price"], row["failed_rules"]) for row in found] == [
        ("", "positive"), ("-3", "positive"), ("900", "early"), ("7", "early"),
    ]  # fmt: skip
    report = rows(rules=rules, output="out/bad.csv")
    assert report["output"]["rows"] == 4
    assert (project / "out/bad.csv").read_text() == written


def test_reads_and_writes_are_told(call: Call, context: Any, project: Path) -> None:
    pytest.importorskip("duckdb")
    (project / "in.csv").write_text("a\n1\n2\n")
    report = call("validation", "rows", input="in.csv", rules={"some": "a > 0"}, output="bad.parquet")
    assert (report["ok"], report["output"]["rows"]) == (True, 0)
    assert (context.read, context.written) == (["in.csv"], ["bad.parquet"])


@pytest.mark.parametrize(
    ("given", "kind", "told"),
    [
        ({}, "parameters", "there is no rule"),
        ({"not_null": "prize"}, "parameters", "there are id, day, price, kind (did you mean 'price'?)"),
        ({"rules": {"odd": "price >"}}, "parameters", "no SQL expression"),
        ({"rules": {"odd": "1); DROP TABLE input; --"}}, "parameters", "no SQL expression"),
        ({"rules": {"odd": "prize > 1"}}, "sql", "rule 'odd': "),
        ({"rules": {"odd": "count(*) > 1"}}, "sql", "rule 'odd': "),
        ({"rules": {"odd": "price IN (SELECT a FROM read_csv('/etc/passwd'))"}}, "path", "/etc/passwd"),
        ({"between": {"price": [1]}}, "parameters", "needs two bounds"),
        ({"between": {"price": [None, None]}}, "parameters", "needs two bounds"),
        ({"one_of": {"kind": []}}, "parameters", "names no value"),
        ({"unique": [[]]}, "parameters", "a key names no column"),
        ({"input": [{"failed_rules": 1}], "not_null": "failed_rules", "output": "x.csv"}, "parameters", "failed_rules"),
        ({"not_null": "id", "threads": 0}, "parameters", "threads: 0"),
        ({"not_null": "id", "output": "../x.csv"}, "path", "outside"),
        ({"not_null": "id", "output": "x.txt2"}, "parameters", "no format to write"),
        ({"input": "gone.csv", "not_null": "id"}, "not_found", "gone.csv"),
    ],
)  # fmt: skip
def test_bad_input(refused: Call, given: dict[str, Any], kind: str, told: str, project: Path) -> None:
    pytest.importorskip("duckdb")
    error = refused("validation", "rows", **{"input": ROWS, **given})
    assert error.kind == kind, error.message
    assert told in error.message
    assert not list(project.glob("x*"))
