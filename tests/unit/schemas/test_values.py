"""Results held against schemas: what is told, and what it may cost."""

from __future__ import annotations

import datetime as dt
import math
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.schemas import values as resultschema
from orchestrator.schemas.values import ResultSchemas

ROWS: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "https://example.org/rows",
    "type": "object",
    "properties": {"rows": {"type": "array", "items": {"$ref": "#/$defs/row"}}, "next": {"$ref": "#"}},
    "$defs": {
        "row": {
            "type": "object",
            "required": ["price"],
            "properties": {"price": {"type": "number", "minimum": 0}},
            "additionalProperties": False,
        }
    },
}
NO_KEY = "the schema has no such key"
NO_FORM = "this fits none of 2 forms; the first"
TWICE = "the same item stands before it, and none may occur twice"
OR_NULL = {"anyOf": [{"type": "array", "items": {"type": "number"}}, {"type": "null"}]}


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        ({}, b"anything", None),
        (ROWS, {"rows": [{"price": 1}, {"price": 2.5}]}, None),
        (ROWS, {"rows": ({"price": 1},)}, None),
        (ROWS, {"rows": [{"price": 1}, {"price": "x"}]}, "rows[1].price: expected a number, got the text 'x'"),
        (ROWS, {"rows": [{"price": -1}]}, "rows[0].price: expected 0 or more, got -1"),
        (ROWS, {"rows": [{}]}, "rows[0]: the key 'price' is missing"),
        (ROWS, {"rows": [{"price": 1, "prise": 2}]}, f"rows[0].prise: {NO_KEY} (did you mean 'price'?)"),
        (ROWS, {"next": {"next": {"rows": 3}}}, "next.next.rows: expected a list, got the number 3"),
        (ROWS, [], "expected a mapping, got a list"),
        (ROWS, {1: 2}, "expected a mapping, got a mapping with a key that is no text"),
        ({"properties": {"a b": {"type": "null"}}}, {"a b": 0}, "['a b']: expected null, got the number 0"),
        ({"type": "string"}, dt.date(2024, 5, 1), "expected text, got a Python date"),
        ({"type": "array"}, b"x", "expected a list, got a Python bytes"),
        ({"type": "number"}, math.nan, "expected a number, got the number nan"),
        ({"type": "number"}, True, "expected a number, got true"),
        ({"type": "integer"}, 2.0, None),
        ({"type": ["string", "null"]}, 1, "expected text or null, got the number 1"),
        ({"enum": ["a", 1]}, True, "expected one of 'a', 1, got true"),
        ({"enum": [[1, 2]]}, (1, 2), None),
        ({"const": 1}, True, "expected 1, got true"),
        ({"pattern": "^a"}, "b", "expected text that matches '^a', got 'b'"),
        ({"minItems": 2}, [1], "expected at least 2 items, got 1"),
        ({"maxLength": 1}, "é✓", "expected at most 1 character, got 2"),
        ({"multipleOf": 0.01}, 0.07, None),
        ({"multipleOf": 0.1}, 10**400, None),
        ({"multipleOf": 2}, 3, "expected a multiple of 2, got 3"),
        ({"uniqueItems": True}, [1, True, {"a": 1}, {"a": 2}], None),
        ({"uniqueItems": True}, [{"a": [1]}, {"a": (1.0,)}], f"[1]: {TWICE}"),
        ({"contains": {"type": "null"}}, [1], "expected an item that fits {type: 'null'}"),
        ({"not": {"type": "null"}}, None, "this fits {type: 'null'}, and must not"),
        ({"properties": {"a": False}}, {"a": 1}, "a: the schema allows nothing here"),
        ({"propertyNames": {"maxLength": 1}}, {"a": 1, "ab": 1}, "ab: expected at most 1 character, got 2"),
        ({"prefixItems": [{}], "items": False}, [1, 2], "there are more items than the schema has"),
        ({"unevaluatedProperties": False}, {"a": 1}, "there are keys that the schema does not have"),
        ({"additionalProperties": {"type": "null"}}, {"a": 1}, "a: expected null, got the number 1"),
        ({"additionalProperties": False, "patternProperties": {"^x": {}}}, {"xa": 1, "a": 1}, f"a: {NO_KEY}"),
        (OR_NULL, [1, "a"], "[1]: expected a number, got the text 'a'"),
        (OR_NULL, "a", "expected a list or null, got the text 'a'"),
        ({"oneOf": [{"type": "number"}, {"minimum": 3}]}, 5, "this fits more than one form of oneOf"),
        ({"oneOf": [{"minimum": 9}, {"type": "null"}]}, 5, f"{NO_FORM}: expected 9 or more, got 5"),
        ({"if": {"type": "string"}, "else": {"minimum": 3}}, 1, "expected 3 or more, got 1"),
        ({"format": "email"}, "nobody", None),
    ],
)  # fmt: skip
def test_the_first_mistake_is_told_with_its_path(schema: Mapping[str, Any], value: Any, message: str | None) -> None:
    schemas = ResultSchemas()
    assert schemas.check(schema, value) == message
    assert schemas.check(schema, value) == message


def test_a_huge_value_is_never_printed() -> None:
    big = "x" * 1_000_000
    for schema, value in (
        ({"type": "null"}, big),
        ({"const": 1}, {big: [big]}),
        ({"required": [big]}, {}),
        ({"properties": {big: {"enum": [big]}}}, {big: big + "y"}),
        ({"additionalProperties": False, "properties": {big: {}}}, {big + "y": 1}),
        ({"items": {"type": "number"}}, [{"n": n} for n in range(100_000)]),
    ):
        message = ResultSchemas().check(schema, value)
        assert message is not None
        assert len(message) <= 200


def test_a_schema_of_endless_choices_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resultschema, "MAX_CHECKS", 5000)
    choices: dict[str, Any] = {
        f"c{n}": {"anyOf": [{"$ref": f"#/$defs/c{n + 1}"}, {"$ref": f"#/$defs/c{n + 1}"}]} for n in range(60)
    }
    schema = {"$ref": "#/$defs/c0", "$defs": choices | {"c60": {"type": "string"}}}
    gone = "it takes more than 5,000 checks to hold this against the schema"
    assert ResultSchemas().check(schema, 3) == gone
    assert ResultSchemas().check(schema, "x") is None
    assert ResultSchemas().check({"unevaluatedItems": False}, [1] * 5000) == gone


def test_a_value_that_is_too_deep_is_told() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    for schema in ({"items": {"$ref": "#"}}, {"uniqueItems": True}):
        assert "nested too deeply" in str(ResultSchemas().check(schema, [deep, deep]))


def test_many_schemas_and_equal_ones_are_told_apart_by_identity() -> None:
    schemas = ResultSchemas()
    kept = [{"const": n} for n in range(300)]
    assert [schemas.check(schema, n) for n, schema in enumerate(kept)] == [None] * 300
    assert schemas.check(kept[0], 1) == "expected 0, got 1"


def test_the_library_is_loaded_with_the_first_schema() -> None:
    lines = (
        "import sys, orchestrator",
        "from orchestrator.compiler import compile_text",
        "import orchestrator.schemas.values, orchestrator.schemas.checking",
        "compile_text('id: p\\nsteps: [{id: a, tool: t, cache: true}]')",
        "print('jsonschema' in sys.modules)",
        "compile_text('id: p\\nsteps: [{id: a, tool: t, output_schema: {}}]')",
        "print('jsonschema' in sys.modules)",
    )
    found = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "True"]
