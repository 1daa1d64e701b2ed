"""Values made of a random source: every type that the codec keeps, and much that it refuses."""

from __future__ import annotations

import dataclasses
import enum
import io
import math
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import PurePosixPath, PureWindowsPath
from random import Random
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from orchestrator import register


@dataclasses.dataclass(frozen=True)
class Row:
    """A dataclass that may be stored."""

    left: Any
    right: Any = None


class Pair(NamedTuple):
    """A named tuple that may be stored."""

    left: Any
    right: Any


class Colour(enum.Enum):
    """An enum that may be stored."""

    RED = 1
    GREEN = "g"


for _class in (Row, Pair, Colour):
    register(_class, name=f"chaos.{_class.__name__}")  # tests have classes of the same names


class Foreign(NamedTuple):
    """A named tuple that nobody has registered."""

    left: Any


class Text(str):
    """A text that would come back as a plain one."""

    __slots__ = ()


@dataclasses.dataclass
class Loose:
    """A dataclass that nobody has registered."""

    left: Any


_ALPHABET = "ab/.'%*\\\x00\n é\u0301\u202e\U0001f600\ud800\udfff\x7f_-"
_ZONES = ("Europe/Berlin", "America/New_York", "UTC")
_INTS = (0, -1, 127, 128, 2**31, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**70, -(2**700))
_FLOATS = (0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, 1.7976931348623157e308, 0.1)
_NAN = struct.unpack("<d", struct.pack("<Q", 0x7FF8_0000_0000_0123))[0]
_DECIMALS = ("0", "-0", "1.10", "NaN", "sNaN12", "-Infinity", "1E+999999", "0E-50")


def _text(chance: Random) -> str:
    return "".join(chance.choices(_ALPHABET, k=chance.choice((0, 1, 3, 9))))


def _zone(chance: Random) -> Any:
    offset = timedelta(seconds=chance.randrange(-86_399, 86_400))
    return chance.choice((None, UTC, ZoneInfo(chance.choice(_ZONES)), timezone(offset), timezone(offset, "é")))


def _moment(chance: Random) -> datetime:
    micros = chance.randrange(1_000_000)
    day = chance.randrange(1, 29)
    zone = _zone(chance)
    return datetime(
        chance.randrange(1, 10_000), chance.randrange(1, 13), day, 2, 30, 59, micros, zone, fold=chance.randrange(2)
    )


_LEAVES: tuple[Callable[[Random], Any], ...] = (
    lambda _: None,
    lambda chance: chance.random() < 0.5,
    lambda chance: chance.choice(_INTS) + chance.randrange(3),
    lambda chance: chance.choice((*_FLOATS, _NAN, chance.random())),
    _text,
    lambda chance: chance.randbytes(chance.randrange(9)),
    _moment,
    lambda chance: date.fromordinal(chance.randrange(1, 3_652_060)),
    lambda chance: time(chance.randrange(24), 0, 0, chance.randrange(1000), _zone(chance), fold=chance.randrange(2)),
    lambda chance: timedelta(chance.randrange(-999, 999), 0, chance.randrange(10**6)),
    lambda chance: Decimal(chance.choice(_DECIMALS[:3] + _DECIMALS[5:])),
    lambda chance: UUID(int=chance.getrandbits(128)),
    lambda chance: complex(chance.choice(_FLOATS), chance.choice(_FLOATS)),
    lambda chance: chance.choice((PurePosixPath, PureWindowsPath))(_text(chance).replace("\x00", "")),
    lambda chance: range(chance.randrange(9), chance.choice(_INTS), 1 + chance.randrange(3)),
    lambda _: Colour.RED,
    lambda chance: ZoneInfo(chance.choice(_ZONES)),
)
_REFUSED: tuple[Callable[[Random], Any], ...] = (
    lambda _: object(),
    lambda _: lambda: None,
    lambda _: (number for number in (1,)),
    lambda _: io.StringIO(),
    lambda _: Text("a"),
    lambda _: Loose(1),
    lambda _: Foreign(1),
    lambda _: memoryview(b"a"),
    lambda _: int,
    lambda _: ValueError("a"),
    lambda _: iter([1]),
    lambda _: NotImplemented,
    lambda _: _cycle(),
)
_UNHASHABLE: tuple[Callable[[Random], Any], ...] = (
    lambda chance: bytearray(chance.randbytes(3)),
    lambda chance: Decimal(chance.choice(_DECIMALS)),
)


def _cycle() -> list[Any]:
    made: list[Any] = []
    made.append({"again": made})
    return made


def value(chance: Random, depth: int = 4, *, hashable: bool = False, refused: float = 0.005) -> Any:  # noqa: C901 - one case a kind
    """Return a value; about ``refused`` of its parts are nothing that can be kept."""
    if not hashable and chance.random() < refused:
        return chance.choice(_REFUSED)(chance)
    if depth == 0 or chance.random() < 0.35:
        return chance.choice(_LEAVES if hashable else _LEAVES + _UNHASHABLE)(chance)

    def parts(*, hashed: bool = hashable) -> list[Any]:
        return [value(chance, depth - 1, hashable=hashed, refused=refused) for _ in range(chance.randrange(4))]

    match chance.randrange(4 if hashable else 9):
        case 0:
            return tuple(parts())
        case 1:
            return frozenset(parts(hashed=True))
        case 2:
            return Row(*[value(chance, depth - 1, hashable=hashable, refused=refused) for _ in range(2)])
        case 3:
            return Pair(*[value(chance, depth - 1, hashable=hashable, refused=refused) for _ in range(2)])
        case 4 | 5:
            return parts()
        case 6:
            return {_text(chance): part for part in parts()}
        case 7:
            keys = parts(hashed=True)
            return {key: value(chance, depth - 1, refused=refused) for key in keys}
        case _:
            return set(parts(hashed=True))


def same(one: Any, two: Any) -> bool:  # noqa: C901, PLR0912 - one case for each kind of value
    """Tell whether both are of one type and value throughout; NaN equals NaN bit by bit, 0.0 does not equal -0.0."""
    if type(one) is not type(two):
        return False
    match one:
        case float():
            return struct.pack("<d", one) == struct.pack("<d", two)
        case complex():
            return same(one.real, two.real) and same(one.imag, two.imag)
        case datetime() | time():
            plain = one.replace(tzinfo=None) == two.replace(tzinfo=None)
            return plain and one.fold == two.fold and same(one.tzinfo, two.tzinfo)
        case ZoneInfo():
            return bool(one.key == two.key)
        case Decimal() | timezone() | range() | PurePosixPath() | PureWindowsPath():
            return repr(one) == repr(two)
        case enum.Enum():
            return one is two
        case Row():
            return same(one.left, two.left) and same(one.right, two.right)
        case dict():
            return same([*one, *one.values()], [*two, *two.values()])
        case list() | tuple():
            return len(one) == len(two) and all(map(same, one, two))
        case set() | frozenset():
            rest = list(two)
            for item in one:
                at = next((at for at, other in enumerate(rest) if same(item, other)), None)
                if at is None:
                    return False
                del rest[at]
            return not rest
        case _:
            return bool(one == two)
