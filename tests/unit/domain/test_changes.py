"""What differs between two values, and any value on one line."""

from __future__ import annotations

import copy
import math
import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.changes import MISSING, Change, differences, same, shown

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
EAST = timezone(timedelta(hours=2))


class Opaque:
    """Has no text but its address."""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (1, 1, []),
        ({"a": 1, "b": [2]}, {"b": [2], "a": 1}, []),
        ({"a": 1}, MappingProxyType({"a": 1}), []),
        (math.nan, float("nan"), []),
        (b"x", b"x", []),
        ({1, 2}, {2, 1}, []),
        (None, MISSING, ["null → (none)"]),
        (1, True, ["1 → true"]),
        (1, 1.0, ["1 → 1.0"]),
        (0.0, -0.0, ["0.0 → -0.0"]),
        ("1", 1, ["'1' → 1"]),
        (b"xy", b"x", ["2 bytes → 1 byte"]),
        (b"xy", bytearray(b"xy"), ["2 bytes → 2 bytes"]),
        ([1], (1,), ["[1] → (1)"]),
        ({1}, {True}, ["[1] → [true]"]),
        (Decimal("1.0"), Decimal("1.0"), []),
        (NOON, NOON.astimezone(EAST), ["2024-05-01 12:00:00+00:00 → 2024-05-01 14:00:00+02:00"]),
        (date(2024, 5, 1), date(2024, 5, 2), ["2024-05-01 → 2024-05-02"]),
        ({"rows": [{"price": 1}]}, {"rows": [{"price": 2}]}, ["rows[0].price: 1 → 2"]),
        ({"a b": {"": 1}}, {"a b": {"": 2}}, ["['a b']['']: 1 → 2"]),
        ({"a": 1, "b": 2}, {"b": 2, "c": 3}, ["a: 1 → (none)", "c: (none) → 3"]),
        ({1: "x"}, {True: "x"}, ["[1]: 'x' → (none)", "[true]: (none) → 'x'"]),
        ({"a": {}}, {"a": []}, ["a: {} → []"]),
        ([1, 2, 3], [1, 3], ["(length): 3 → 2", "[1]: 2 → 3", "[2]: 3 → (none)"]),
        ({"a": []}, {"a": [None]}, ["a (length): 0 → 1", "a[0]: (none) → null"]),
    ],
)  # fmt: skip
def test_every_part_that_differs_is_named(old: Any, new: Any, expected: list[str]) -> None:
    assert [str(change) for change in differences(old, new)] == expected
    assert same(old, new) is not bool(expected)


def test_paths_begin_where_they_are_told_to() -> None:
    assert differences({"x": 1}, {"x": 2}, at="parameters") == [Change("parameters.x", 1, 2)]
    assert differences([1], [2], at="parameters") == [Change("parameters[0]", 1, 2)]


def test_no_more_is_looked_for_than_asked() -> None:
    found = differences(list(range(1_000_000)), [None] * 1_000_000, limit=3)
    assert [change.path for change in found] == ["[0]", "[1]", "[2]"]
    assert differences(1, 2, limit=0) == []


def test_values_that_hold_themselves_or_are_deep_come_to_an_end() -> None:
    def deep(leaf: int) -> list[Any]:
        made: list[Any] = [leaf]
        for _ in range(3000):
            made = [made]
        return made

    looped: list[Any] = [1]
    looped.append(looped)
    other: list[Any] = [2]
    other.append(other)
    assert [change.path for change in differences(looped, other)] == ["[0]"]
    (change,) = differences(deep(1), deep(2))
    assert (change.old, change.new) == (1, 2)
    shared: list[Any] = []
    for _ in range(60):
        shared = [shared, shared]
    assert same(shared, copy.deepcopy(shared))


def test_arrays_and_frames_are_compared_as_wholes() -> None:
    numpy = pytest.importorskip("numpy")
    assert same([numpy.arange(3)], [numpy.arange(3)])
    assert not same(numpy.arange(3), numpy.arange(3.0))
    assert shown(numpy.zeros((3, 4))) == "ndarray 3x4"
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1]})
    assert same({"f": frame}, {"f": frame.copy()})
    assert not same(frame, pandas.DataFrame({"a": [2]}))


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-1, 1) | st.text(max_size=2) | st.binary(max_size=1),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(plain, plain)
def test_same_means_written_alike(old: Any, new: Any) -> None:
    def ordered(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: ordered(value[key]) for key in sorted(value)}
        return [ordered(item) for item in value] if isinstance(value, list) else value

    assert same(old, copy.deepcopy(old))
    assert same(old, new) is (repr(ordered(old)) == repr(ordered(new)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "'plain'"),
        ("two\nlines \u202e", "'two\\nlines \\u202e'"),
        ("x" * 10**7, "'" + "x" * 18 + "…"),
        ([1, "a", None], "[1, 'a', null]"),
        (list(range(10**6)), "[0, 1, 2, 3, 4, 5, …"),
        ({"a": {"b": {"c": {"d": {"e": 1}}}}}, "{a: {b: {c: {d: {…}…"),
        ({"not an id": 1, 3: 2}, "{['not an id']: 1, …"),
        pytest.param(10**5000, "a number of 16610 b…", id="huge"),
        ({3, 1, 2}, "[1, 2, 3]"),
        (Opaque(), "a Opaque"),
        (MISSING, "(none)"),
    ],
)
def test_any_value_has_a_line(value: Any, text: str) -> None:
    assert shown(value, 20) == text


def test_there_is_one_missing() -> None:
    assert pickle.loads(pickle.dumps(MISSING)) is MISSING
    assert copy.deepcopy(MISSING) is MISSING
