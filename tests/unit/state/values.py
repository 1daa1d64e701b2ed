"""Values to store, an equality that sees types, and classes that may be stored."""

import dataclasses
import enum
import os
import struct
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePath, PurePosixPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pydantic
from hypothesis import settings
from hypothesis import strategies as st

from orchestrator.state.codec import register

EXAMPLES = int(os.environ.get("ORCHESTRATOR_EXAMPLES", "1500"))
thorough = settings(max_examples=EXAMPLES, deadline=None)


@register
@dataclasses.dataclass(frozen=True)
class Point:
    x: Any
    y: Any = 0


@register
class Colour(enum.Enum):
    RED = 1
    GREEN = "g"


@register
class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@register
class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@register
class Pair(NamedTuple):
    left: Any
    right: Any = None


@register
class Model(pydantic.BaseModel):
    name: str
    items: list[Any] = []
    _hidden: int = 7


def _parts(value: Any) -> Any:  # noqa: C901  # one case per kind of value
    """Return what makes a value of its type this value: a list to compare part by part, or anything with ``==``."""
    match value:
        case float():
            return struct.pack("<d", value)
        case complex():
            return [value.real, value.imag]
        case datetime() | time():
            return [repr(value.replace(tzinfo=None)), value.fold, value.tzinfo]
        case ZoneInfo():
            return value.key
        case Decimal() | timezone() | range() | PurePath():
            return repr(value)
        case enum.Enum():
            return id(value)
        case pydantic.BaseModel():
            return [value.__dict__, value.__pydantic_fields_set__, value.__pydantic_private__]
        case dict():
            return [*value, *value.values()]
        case list() | tuple():
            return list(value)
        case Point():
            return [value.x, value.y]
        case _:
            return value


def same(one: Any, two: Any) -> bool:
    """Tell whether both are of one type and value throughout; NaN equals NaN, 0.0 does not equal -0.0."""
    if type(one) is not type(two):
        return False
    if isinstance(one, set | frozenset):
        rest = list(two)
        for item in one:
            at = next((at for at, other in enumerate(rest) if same(item, other)), None)
            if at is None:
                return False
            del rest[at]
        return not rest
    mine, its = _parts(one), _parts(two)
    if type(mine) is list:
        return len(mine) == len(its) and all(map(same, mine, its))
    return bool(mine == its)


texts = st.text(st.characters(exclude_categories=()), max_size=12)
zones = st.none() | st.timezones() | st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)))
named_zones = st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)), texts)
hashable_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**80), 2**80),
    st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 0xC4, 0xC4C5C6]),
    st.floats(),
    texts,
    st.binary(max_size=12),
    st.datetimes(timezones=zones | named_zones),
    st.dates(),
    st.times(timezones=zones),
    st.timedeltas(),
    st.decimals(allow_nan=False) | st.sampled_from([Decimal("NaN"), Decimal("-0E+5"), Decimal("-Infinity")]),
    st.uuids(),
    st.complex_numbers(),
    st.builds(PurePosixPath, texts),
    st.builds(range, st.integers(), st.integers(), st.integers(1)),
    st.sampled_from([*Colour, *Level, *Rights, Rights.READ | Rights.WRITE, Rights(0), UTC, date.max]),
)
hashables = st.recursive(
    hashable_leaves,
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(inner, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=4,
)
values = st.recursive(
    hashable_leaves | st.binary(max_size=5).map(bytearray) | st.just(Decimal("sNaN12")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(texts, inner, max_size=4),
        st.dictionaries(hashables, inner, max_size=3),
        st.sets(hashables, max_size=3),
        st.frozensets(hashables, max_size=3),
        st.builds(Point, inner, inner),
        st.builds(Pair, inner, inner),
        st.builds(Model, name=st.just("n"), items=st.lists(inner, max_size=2)),
    ),
    max_leaves=12,
)
