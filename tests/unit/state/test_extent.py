"""A value whose parts occur many times over is refused for its size before anybody writes it out."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest

from orchestrator.errors import UnstorableValue
from orchestrator.state.codec import copy, encode
from tests.unit.state.values import Pair, Point


def doubled(wrap: Any, times: int = 40) -> Any:
    made: Any = [0]
    for _ in range(times):
        made = wrap(made)
    return made


def held(inner: Any) -> Any:
    return [inner] * 1000


BOMBS: dict[str, Any] = {
    "lists": lambda: doubled(lambda inner: [inner, inner]),
    "tuples": lambda: doubled(lambda inner: (inner, inner)),
    "dicts": lambda: doubled(lambda inner: {"a": inner, "b": inner}),
    "dataclasses": lambda: doubled(lambda inner: Point(inner, inner)),
    "named tuples": lambda: doubled(lambda inner: Pair(inner, inner)),
    "beside something that is refused": lambda: [doubled(lambda inner: [inner, inner]), object()],
    "wide": lambda: held(held(held(held([0])))),
    "texts": lambda: ["x" * 1_000_000] * 1000,
    "texts in rows": lambda: [{"text": "x" * 1_000_000}] * 1000,
    "bytes": lambda: {str(key): value for key, value in enumerate([bytes(1_000_000)] * 1000)},
    "a thin branch": lambda: doubled(lambda inner: [inner, [inner]], 60),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_at_once(name: str) -> None:
    bomb = BOMBS[name]()
    tracemalloc.start()
    began = time.monotonic()
    try:
        with pytest.raises(
            UnstorableValue, match=r"takes at least \d+ bytes, more than the limit of 268435456"
        ) as error:
            encode(bomb, name="result")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error.value.path == "result"
    assert time.monotonic() - began < 5
    assert peak < 50_000_000


def test_parts_that_occur_often_are_kept_while_they_fit() -> None:
    row = {"a": 1, "b": (2, "text")}
    value = [[row] * 100, [row] * 10_000]
    assert copy(value) == value


def test_what_contains_itself_is_refused_for_that() -> None:
    cycle: list[Any] = []
    cycle += [cycle, cycle]
    with pytest.raises(UnstorableValue, match="contains itself"):
        encode(cycle)


@pytest.mark.parametrize("size", [-1, 0, 1])
def test_the_limit_is_exact(size: int) -> None:
    text = ["x" * 100] * 10
    room = len(encode(text)) + size
    if size < 0:
        with pytest.raises(UnstorableValue, match="more than the limit"):
            encode(text, limit=room)
    else:
        encode(text, limit=room)
