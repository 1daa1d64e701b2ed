from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Required, TypedDict, Unpack
from uuid import UUID

import pytest
from pydantic import BaseModel, Field

from orchestrator.errors import TaskError
from orchestrator.tools.signature import Signature
from orchestrator.tools.typetext import type_text


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: int = 0


class Shape(BaseModel):
    name: str


class Opaque:
    pass


def is_template(value: Any) -> bool:
    return isinstance(value, str) and "{{" in value


def taking(annotation: Any) -> Signature:
    def function(value): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202

    function.__annotations__ = {"value": annotation}
    return Signature(function, "test")


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, 5, 5),
        (float, 5, 5),
        (float, 2.5, 2.5),
        (bool, True, True),
        (str, "5", "5"),
        (str, "", ""),
        (bytes, b"x", b"x"),
        (Path, "a/b", Path("a/b")),
        (dt.date, "2024-01-31", dt.date(2024, 1, 31)),
        (dt.datetime, "2024-01-31T12:00:00Z", dt.datetime(2024, 1, 31, 12, tzinfo=dt.UTC)),
        (dt.datetime, dt.datetime(2024, 1, 31, tzinfo=dt.UTC), dt.datetime(2024, 1, 31, tzinfo=dt.UTC)),
        (Decimal, "1.50", Decimal("1.50")),
        (UUID, "12345678123456781234567812345678", UUID(int=0x12345678123456781234567812345678)),
        (Colour, "red", Colour.RED),
        (Literal["a", 1], 1, 1),
        (int | None, None, None),
        (int | str, "5", "5"),
        (list[int], [1, 2], [1, 2]),
        (tuple[int, ...], [1, 2], (1, 2)),
        (set[str], ["a", "a"], {"a"}),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (dict[str, list[int | None]], {"a": [1, None]}, {"a": [1, None]}),
        (Point, {"x": 1}, Point(1)),
        (Shape, {"name": "a"}, Shape(name="a")),
        (Any, object, object),
        (Annotated[int, Field(ge=1)], 3, 3),
        (Callable, len, len),
        (Opaque | None, None, None),
    ],
)
def test_values_that_fit(annotation: Any, value: Any, expected: Any) -> None:
    found = taking(annotation).validate({"value": value})
    assert found == {"value": expected}
    assert type(found["value"]) is type(expected) or annotation is float
    assert taking(annotation).check({"value": value}, is_template) == []


@pytest.mark.parametrize(
    ("annotation", "value", "message"),
    [
        (int, "5", "should be a valid integer, not '5'"),
        (int, 5.0, "should be a valid integer, not 5.0"),
        (int, True, "should be a valid integer, not True"),
        (float, "1.5", "should be a valid number, not '1.5'"),
        (float, True, "should be a valid number, not True"),
        (bool, "yes", "should be a valid boolean, not 'yes'"),
        (bool, 1, "should be a valid boolean, not 1"),
        (str, 5, "should be a valid string, not 5"),
        (str, None, "should be a valid string, not None"),
        (str, b"x", "should be a valid string, not b'x'"),
        (list[int], 5, "should be a valid list, not 5"),
        (list[str], "abc", "should be a valid list, not 'abc'"),
        (dict[str, int], [1], "should be a valid dictionary, not [1]"),
        (Literal["a", "b"], "c", "should be 'a' or 'b', not 'c'"),
        (int | None, "x", "should be a valid integer, not 'x'"),
        (int | bool, "x", "should be a valid integer or a valid boolean, not 'x'"),
        (Colour, "blue", "should be 'red', not 'blue'"),
        (dt.date, "tomorrow", "should be a valid date or datetime, input is too short, not 'tomorrow'"),
        (Annotated[int, Field(ge=1)], 0, "should be greater than or equal to 1, not 0"),
        (Opaque, 5, "should be an instance of Opaque, not 5"),
        (str, 10**90, f"should be a valid string, not {'1' + '0' * 59}..."),
    ],
)
def test_literals_that_do_not_fit(annotation: Any, value: Any, message: str) -> None:
    (problem,) = taking(annotation).check({"value": value}, is_template)
    assert problem.path == ("value",)
    assert problem.message == message


@pytest.mark.parametrize(
    ("annotation", "value", "path"),
    [
        (list[int], [1, "x", 3], ("value", 1)),
        (dict[str, list[int]], {"a": [1], "b": [2, "x"]}, ("value", "b", 1)),
        (Point, {"x": "1"}, None),  # a class of its own decides itself
        (Point, {"y": 1}, ("value",)),
        (list[int] | None, [None], ("value", 0)),
        (list[str | int] | str, ["a", {}], ("value", 1)),
    ],
)
def test_the_place_inside_a_value_is_told(annotation: Any, value: Any, path: tuple[Any, ...] | None) -> None:
    problems = taking(annotation).check({"value": value}, is_template)
    assert [problem.path for problem in problems] == ([path] if path else [])


@pytest.mark.parametrize(
    ("annotation", "value", "paths"),
    [
        (int, "{{ x }}", []),
        (list[int], "{{ x }}", []),
        (list[int], ["{{ x }}", 1], []),
        (list[int], ["{{ x }}", "y"], [("value", 1)]),
        (dict[str, int], {"a": "{{ x }}", "b": "y"}, [("value", "b")]),
        (int | list[int], ["{{ x }}"], []),
        (list[Point], [{"x": "{{ x }}"}], []),
        (Colour, "{{ x }}", []),
        (dict[str, int], ["{{ x }}"], []),  # cannot be right, and is told when it runs
    ],
)
def test_templates_inside_a_value_are_left_alone(annotation: Any, value: Any, paths: list[Any]) -> None:
    assert [problem.path for problem in taking(annotation).check({"value": value}, is_template)] == paths


def test_missing_and_unknown_parameters() -> None:
    def function(path: str, size: int, mode: str = "r") -> None: ...

    signature = Signature(function, "test")
    problems = signature.check({"pth": "x", "size": "{{ n }}"}, is_template)
    assert [(problem.message, problem.path, problem.hint) for problem in problems] == [
        ("parameter 'path' is missing", (), "it is str"),
        ("no parameter named 'pth'; there are mode, path, size", ("pth",), "did you mean 'path'?"),
    ]
    with pytest.raises(TaskError) as caught:
        signature.validate({"pth": "x", "size": "9"})
    assert (caught.value.kind, caught.value.retryable) == ("parameters", False)
    assert str(caught.value) == (
        "test: parameter 'path' is missing (it is str); pth: no parameter named 'pth'; there are mode, path, size "
        "(did you mean 'path'?); size: should be a valid integer, not str"
    )


def test_values_are_not_shown_by_a_run() -> None:
    with pytest.raises(TaskError) as caught:
        taking(list[int]).validate({"value": [1, "sk-secret"]})
    assert str(caught.value) == "test: value[1]: should be a valid integer, not str"


def test_defaults_are_left_to_the_function() -> None:
    def function(value: int = "not a number") -> None: ...  # type: ignore[assignment]

    assert Signature(function, "test").validate({}) == {}


def test_parameters_with_any_name() -> None:
    def function(schema: int, json: int, copy: int, model_config: int, _private: int, self: int) -> None: ...

    names = ("schema", "json", "copy", "model_config", "_private", "self")
    given = dict.fromkeys(names, 1)
    assert Signature(function, "test").validate(given) == given
    assert len(Signature(function, "test").check(dict.fromkeys(names, "x"), is_template)) == 6


def test_annotations_that_cannot_be_evaluated_are_not_checked() -> None:
    def function(value: NotImported, size: int) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    signature = Signature(function, "test")
    assert signature.validate({"value": object, "size": 1}) == {"value": object, "size": 1}
    assert signature.check({"value": 1, "size": "x"}, is_template)[0].path == ("size",)


class Options(TypedDict, total=False):
    must: Required[int]
    may: Annotated[str, "perhaps"]


def test_unpacked_options_are_parameters() -> None:
    def function(first: int, **options: Unpack[Options]) -> None: ...

    signature = Signature(function, "test")
    assert [(each.name, each.required, each.description) for each in signature.parameters.values()] == [
        ("first", True, ""),
        ("must", True, ""),
        ("may", False, "perhaps"),
    ]
    assert [problem.path for problem in signature.check({"first": 1, "must": "x", "other": 1}, is_template)] == [
        ("other",),
        ("must",),
    ]


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (Any, "any"),
        (str, "str"),
        (int | None, "int | None"),
        (Annotated[list[str] | None, "x"], "list[str] | None"),
        (Literal["a", 1], "'a' | 1"),
        (dict[str, Annotated[int, "x"]], "dict[str, int]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (Colour, "Colour"),
        (None, "None"),
    ],
)
def test_types_as_text(annotation: Any, text: str) -> None:
    assert type_text(annotation) == text
