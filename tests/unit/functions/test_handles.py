from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import orchestrator as orc
from orchestrator.compiler.templates import Templates
from orchestrator.functions.handles import Handle, result_of

rows: Any = result_of("fetch", None)


@pytest.mark.parametrize(
    ("handle", "template"),
    [
        (rows, "{{ fetch.result }}"),
        (rows["count"], "{{ fetch.result.count }}"),
        (rows.count.size, "{{ fetch.result.count.size }}"),
        (rows[0][-1]["a"], "{{ fetch.result[0][-1].a }}"),
        (rows["odd key"]["it's"], "{{ fetch.result['odd key'][\"it's\"] }}"),
        (rows["_private"]["in"]["}}"]["größe"], "{{ fetch.result['_private']['in']['}}']['größe'] }}"),
        (rows[Handle("inputs.key")], "{{ fetch.result[inputs.key] }}"),
        (result_of("fetch-it", None)["a"], "{{ steps['fetch-it'].result.a }}"),
        (orc.expression("{} + 1", rows["n"]), "{{ fetch.result.n + 1 }}"),
        (orc.expression("{{'a': {a} | length > {b}}}", a=rows, b=3), "{{ {'a': fetch.result | length > 3} }}"),
        (orc.expression("{} * 2", orc.expression("{} + 1", rows)), "{{ (fetch.result + 1) * 2 }}"),
        (orc.expression("{} in {} and {}", "a", [1, None, "b"], True), "{{ 'a' in [1, none, 'b'] and true }}"),
    ],
)
def test_parts_and_expressions_are_templates(handle: Any, template: str) -> None:
    assert str(handle) == f"{handle}" == template


def test_what_a_handle_writes_the_language_reads() -> None:
    value = {"odd key": {"it's": 1}, "_private": {"in": {"}}": {"größe": 2}}}, "items": [[0, 5]], 'q"': 3, "n": "e"}
    scope = {"fetch": {"result": value}, "inputs": {"key": "n"}}
    for handle, expected in (
        (rows["odd key"]["it's"], 1),
        (rows["_private"]["in"]["}}"]["größe"], 2),
        (rows["items"][0][-1], 5),
        (rows['q"'], 3),
        (rows[Handle("inputs.key")], "e"),
        (orc.expression("{} * {} + 1", orc.expression("{} + 1", rows["items"][0][1]), 2), 13),
    ):
        assert Templates().render(str(handle), scope) == expected


@pytest.mark.parametrize(
    ("use", "instead"),
    [
        (lambda: 1 if rows else 2, "step.when("),
        (lambda: not rows, "step.when("),
        (lambda: rows == 3, "step.when("),
        (lambda: rows["n"] > 3, "step.when("),
        (lambda: 3 in rows, 'orc.expression("{} in {}"'),
        (lambda: len(rows), "| length"),
        (lambda: list(rows), "a task that goes through it"),
        (lambda: [x for x in rows["items"]], "a task that goes through it"),  # noqa: C416
        (lambda: {**rows}, "call it in a task"),
        (lambda: rows + 1, '"{} + 1"'),
        (lambda: 2 * rows, '"{} + 1"'),
        (lambda: -rows, '"{} + 1"'),
        (lambda: math.floor(rows), '"{} + 1"'),
        (lambda: int(rows), '"{} + 1"'),
        (lambda: range(rows), '"{} + 1"'),
        (lambda: sum([1, rows]), '"{} + 1"'),
        (lambda: hash(rows), "put it into a list"),
        (lambda: {rows: 1}, "put it into a list"),
        (rows.keys, "call it in a task"),
        (rows.__enter__, "open and close"),
        (lambda: rows[1:2], "take it in a task"),
        (lambda: rows[1.5], "a key is text"),
        (lambda: f"{rows:>10}", "format it in a task"),
        (lambda: Path(rows), "make it in a task"),
        (lambda: setattr(rows, "a", 1), "let a task return another one"),
        (lambda: rows.__setitem__("a", 1), "let a task return another one"),
    ],
)
def test_a_handle_used_as_a_value_says_what_to_write_instead(use: Callable[[], Any], instead: str) -> None:
    with pytest.raises(orc.UsageError) as caught:
        use()
    message = str(caught.value)
    assert instead in message
    assert message.startswith(f"{__file__}:")
    assert "{{ fetch.result" in message


def test_private_names_are_no_parts_so_that_nothing_is_taken_for_what_it_is_not() -> None:
    with pytest.raises(AttributeError, match=r"written \['_id'\]"):
        _ = rows._id
    assert not hasattr(rows, "__array__")
    assert str(copy.copy(rows)) == str(rows)


@pytest.mark.parametrize(
    ("text", "values"), [("{} + {}", [rows]), ("{name}", []), ("{", []), ("{}", [object()]), ("{0} {}", [rows])]
)
def test_an_expression_that_cannot_be_written_is_refused(text: str, values: list[Any]) -> None:
    with pytest.raises(orc.UsageError, match="expression"):
        orc.expression(text, *values)
