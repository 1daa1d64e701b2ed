"""Inputs: how they are declared, given and read from a command line."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.compiler import bind_inputs, compile_text, parse_input
from orchestrator.compiler.build import build
from orchestrator.domain.ids import TaskId
from orchestrator.domain.pipeline import Input, Pipeline, Task
from orchestrator.errors import DefinitionError, UsageError

STEPS = "\nsteps: [{id: a, tool: noop}]"


def declare(text: str) -> Pipeline:
    return compile_text(f"inputs: {text}{STEPS}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", Input("x", "integer", required=False, default=3)),
        ("no", Input("x", "string", required=False, default="no")),
        ("2.5", Input("x", "number", required=False, default=2.5)),
        ("true", Input("x", "boolean", required=False, default=True)),
        ("[1]", Input("x", "list", required=False, default=[1])),
        ("", Input("x", "any", required=True)),
        ("{}", Input("x", "any", required=True)),
        ("{type: integer}", Input("x", "integer", required=True)),
        ("{type: integer, required: false}", Input("x", "integer", required=False)),
        ("{default: {a: 1}}", Input("x", "object", required=False, default={"a": 1})),
        ("{default: null, type: string}", Input("x", "string", required=False)),
        (
            "{type: number, default: 1, description: n}",
            Input("x", "number", required=False, default=1, description="n"),
        ),
        ("{schema: {type: array}}", Input("x", "list", required=True, schema={"type": "array"})),
        ("{schema: {type: number}, default: 1}", Input("x", "number", default=1, schema={"type": "number"})),
        ("{schema: {enum: [1]}, default: 1}", Input("x", "integer", default=1, schema={"enum": [1]})),
        ("{schema: {type: [string, 'null']}}", Input("x", required=True, schema={"type": ["string", "null"]})),
        ("{type: any, schema: {type: 'null'}}", Input("x", required=True, schema={"type": "null"})),
        (
            "{type: integer, required: false, schema: {minimum: 1}}",
            Input("x", "integer", required=False, schema={"minimum": 1}),
        ),
    ],
)
def test_declarations(text: str, expected: Input) -> None:
    assert declare(f"{{x: {text}}}").inputs == {"x": expected}
    assert compile_text(f"parameters: {{x: {text}}}{STEPS}").inputs == {"x": expected}


def test_given_values_and_defaults_in_order_of_declaration() -> None:
    pipeline = declare("{a: 1, b: {type: list}, c: {default: [1]}, d: {type: number, required: false}}")
    bound = bind_inputs(pipeline, {"b": (1, 2), "a": 5})
    assert bound == {"a": 5, "b": [1, 2], "c": [1], "d": None}
    assert list(bound) == ["a", "b", "c", "d"]
    bound["c"].append(2)
    assert pipeline.inputs["c"].default == [1]


def test_everything_wrong_is_told_at_once() -> None:
    pipeline = declare("{limit: 1, path: {type: string, description: where it lies}, rate: 0.5}")
    with pytest.raises(DefinitionError) as caught:
        bind_inputs(pipeline, {"limt": 1, "limit": True, "rate": "x"})
    assert str(caught.value).splitlines() == [
        "<inputs>  limt: the pipeline pipeline has no such input (did you mean 'limit'?)",
        "<inputs>  limit: expected a whole number, got true",
        "<inputs>  path: this input must be given: where it lies",
        "<inputs>  rate: expected a number, got the text 'x'",
    ]
    with pytest.raises(DefinitionError, match="there are limit, path, rate"):
        bind_inputs(pipeline, {"zzzzzzz": 1, "path": ""})
    with pytest.raises(DefinitionError, match="it declares none"):
        bind_inputs(declare("{}"), {"a": 1})


def test_what_breaks_a_schema_is_told_at_its_place() -> None:
    rows = "{schema: {type: array, items: {required: [price], properties: {price: {type: number}}}}}"
    pipeline = declare(f"{{rows: {rows}, limit: {{schema: {{minimum: 1}}, default: 5}}}}")
    given = {"rows": ({"price": 1}, {}, {"price": "x"}), "limit": 0}
    with pytest.raises(DefinitionError) as caught:
        bind_inputs(pipeline, given)
    assert str(caught.value).splitlines() == [
        "<inputs>  rows[1]: the key 'price' is missing",
        "<inputs>  rows[2].price: expected a number, got the text 'x'",
        "<inputs>  limit: expected 1 or more, got 0",
    ]
    assert bind_inputs(pipeline, {"rows": []}) == {"rows": [], "limit": 5}
    with pytest.raises(DefinitionError, match=r"limit: expected a whole number, got the text 'x'$"):
        bind_inputs(pipeline, {"rows": [], "limit": "x"})


def test_an_input_that_is_left_out_breaks_no_schema() -> None:
    assert bind_inputs(declare("{x: {type: integer, required: false, schema: {minimum: 1}}}"), {}) == {"x": None}


def test_the_schema_of_an_input_made_in_python_is_copied_and_checked() -> None:
    schema, tasks = {"minimum": 1}, [Task(TaskId("a"), "noop")]
    pipeline = build(id="p", tasks=tasks, inputs=[Input("x", "integer", default=3, schema=schema)])
    schema["minimum"] = 9
    assert pipeline.inputs["x"].schema == {"minimum": 1}
    with pytest.raises(
        DefinitionError, match=r"inputs\.x\.schema: expected a JSON Schema as a mapping, got the number"
    ):
        build(id="p", tasks=tasks, inputs=[Input("x", schema=3)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("type_name", "text", "expected"),
    [
        ("string", "12", "12"),
        ("string", "", ""),
        ("integer", "12", 12),
        ("number", "1.5", 1.5),
        ("number", "3", 3),
        ("boolean", "true", True),
        ("boolean", "No", False),
        ("boolean", "1", True),
        ("list", '[1, "a"]', [1, "a"]),
        ("object", '{"a": null}', {"a": None}),
        ("any", "12", 12),
        ("any", "null", None),
        ("any", "a b", "a b"),
        ("any", "{", "{"),
        ("any", "NaN", "NaN"),
        ("any", "[" * 100_000, "[" * 100_000),
    ],
)
def test_reading_from_a_command_line(type_name: str, text: str, expected: Any) -> None:
    found = parse_input(Input("x", type_name), text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("type_name", "text", "message"),
    [
        ("integer", "1.5", "input x: expected a whole number, got '1.5'"),
        ("integer", "true", "input x: expected a whole number, got 'true'"),
        ("integer", "", "input x: expected a whole number, got ''"),
        ("number", "NaN", "input x: expected a number, got 'NaN'"),
        ("boolean", "maybe", "input x: expected true or false, got 'maybe'"),
        ("list", "{}", "input x: expected a list as JSON, got '{}'"),
        ("object", "a", "input x: expected a mapping as JSON, got 'a'"),
        ("object", "null", "input x: expected a mapping as JSON, got 'null'"),
    ],
)
def test_what_cannot_be_read_is_refused(type_name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_input(Input("x", type_name), text)
    assert str(caught.value) == message
