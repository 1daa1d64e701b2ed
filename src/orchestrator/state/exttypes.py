"""The closed list of single values that MessagePack has no type for, and how each stands in an extension.

Tags are for ever: a new meaning gets a new tag. Containers (tuple, set, ...) and registered classes have their tags
here too; ``codec`` writes and reads them, because they hold other values.
"""

from __future__ import annotations

import os
import re
import zoneinfo
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import PosixPath, PurePath, PurePosixPath, PureWindowsPath, WindowsPath
from struct import Struct
from typing import Any
from uuid import UUID

import ormsgpack

BIG_INT = 1
TEXT = 2
BYTEARRAY = 3
DATETIME = 4
DATE = 5
TIME = 6
TIMEDELTA = 7
DECIMAL = 8
UUID_ = 9
COMPLEX = 10
PATH = 11
RANGE = 12
TZINFO = 13

TUPLE = 32
MAPPING = 33
SET = 34
FROZENSET = 35
REGISTERED = 36

ARRAY = 48
SCALAR = 49
PANDAS_FRAME = 50
PANDAS_SERIES = 51
POLARS_FRAME = 52
POLARS_SERIES = 53
ARROW_TABLE = 54

END = 127
"""Never stored: marks the end of the bytes while they are decoded."""

ZoneInfo = zoneinfo.ZoneInfo


class Unstorable(Exception):
    """Why the value at hand cannot be kept; ``codec`` adds its path and type."""


# --- to bytes ---------------------------------------------------------------------------------------------------------


def int_to_bytes(value: int) -> bytes:
    """Two's complement, little-endian, in as few bytes as hold it."""
    return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)


def text_to_bytes(value: str) -> bytes:
    """UTF-8 with lone surrogates let through, as in a file name that is no UTF-8."""
    return value.encode("utf-8", "surrogatepass")


def _zone(value: tzinfo | None) -> Any:
    if value is None:
        return None
    if type(value) is timezone:
        offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]  # the one way to learn of a given name
        return [offset.days, offset.seconds, offset.microseconds, *map(text_to_bytes, name)]
    if type(value) is ZoneInfo:
        if not _zone_exists(str(value.key)):
            raise Unstorable("has a time zone that no key names: build it as ZoneInfo('Area/City')")
        return value.key
    raise Unstorable(f"has a time zone of type {type(value).__qualname__}; use zoneinfo.ZoneInfo or datetime.timezone")


def _datetime_to_bytes(value: datetime) -> bytes:
    row = [value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond, value.fold]
    return ormsgpack.packb([*row, _zone(value.tzinfo)])


def _time_to_bytes(value: time) -> bytes:
    return ormsgpack.packb([value.hour, value.minute, value.second, value.microsecond, value.fold, _zone(value.tzinfo)])


_COMPLEX = Struct("<dd")
_PATHS: tuple[type[PurePath], ...] = (PurePosixPath, PosixPath, PureWindowsPath, WindowsPath)


def _path_to_bytes(value: PurePath) -> bytes:
    text = str(value)
    if type(value)(text) != value:  # a Windows path of odd slashes reads differently once it is put together again
        raise Unstorable(f"is a path that its own text {text!r} does not make again")
    return bytes((_PATHS.index(type(value)),)) + text_to_bytes(text)


def _range_to_bytes(value: range) -> bytes:
    return ormsgpack.packb([int_to_bytes(part) for part in (value.start, value.stop, value.step)])


WRITERS: dict[type, tuple[int, Callable[[Any], bytes]]] = {
    int: (BIG_INT, int_to_bytes),
    str: (TEXT, text_to_bytes),
    bytearray: (BYTEARRAY, bytes),
    datetime: (DATETIME, _datetime_to_bytes),
    date: (DATE, lambda value: ormsgpack.packb([value.year, value.month, value.day])),
    time: (TIME, _time_to_bytes),
    timedelta: (TIMEDELTA, lambda value: ormsgpack.packb([value.days, value.seconds, value.microseconds])),
    Decimal: (DECIMAL, lambda value: str(value).encode()),
    UUID: (UUID_, lambda value: value.bytes),
    complex: (COMPLEX, lambda value: _COMPLEX.pack(value.real, value.imag)),
    PurePosixPath: (PATH, _path_to_bytes),
    PosixPath: (PATH, _path_to_bytes),
    PureWindowsPath: (PATH, _path_to_bytes),
    WindowsPath: (PATH, _path_to_bytes),
    range: (RANGE, _range_to_bytes),
    timezone: (TZINFO, lambda value: ormsgpack.packb(_zone(value))),
    ZoneInfo: (TZINFO, lambda value: ormsgpack.packb(_zone(value))),
}
"""Exact type -> tag and encoding; ``int`` and ``str`` only for what MessagePack cannot hold."""


# --- from bytes -------------------------------------------------------------------------------------------------------

_KEY = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,3}", re.ASCII)


@lru_cache(1024)
def _zone_exists(key: str) -> bool:
    """Tell whether the time-zone data has ``key``, importing nothing that the key names."""
    if len(key) > 64 or _KEY.fullmatch(key) is None:  # noqa: PLR2004
        return False
    if any(os.path.isfile(os.path.join(folder, key)) for folder in zoneinfo.TZPATH):  # noqa: PTH113, PTH118
        return True
    return any(os.path.isfile(os.path.join(folder, "zoneinfo", key)) for folder in _packaged_zones())  # noqa: PTH113, PTH118


@cache
def _packaged_zones() -> tuple[str, ...]:
    package = find_spec("tzdata")
    return tuple(package.submodule_search_locations or ()) if package is not None else ()


def _zone_of(stored: Any) -> tzinfo | None:
    match stored:
        case None:
            return None
        case str():
            if not _zone_exists(stored):
                raise ValueError(f"no time zone {stored[:80]!r} on this machine (install the package tzdata)")
            return ZoneInfo(stored)
        case [int(days), int(seconds), int(micros)]:
            return timezone(timedelta(days, seconds, micros))
        case [int(days), int(seconds), int(micros), bytes(name)]:
            return timezone(timedelta(days, seconds, micros), name.decode("utf-8", "surrogatepass"))
        case _:
            raise ValueError("no time zone")


def _datetime_of(data: bytes) -> datetime:
    *parts, fold, zone = ormsgpack.unpackb(data)
    year, month, day, hour, minute, second, micros = parts
    return datetime(year, month, day, hour, minute, second, micros, _zone_of(zone), fold=fold)


def _time_of(data: bytes) -> time:
    hour, minute, second, micros, fold, zone = ormsgpack.unpackb(data)
    return time(hour, minute, second, micros, _zone_of(zone), fold=fold)


def _path_of(data: bytes) -> PurePath:
    return _PATHS[data[0]](data[1:].decode("utf-8", "surrogatepass"))


def _int_of(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _range_of(data: bytes) -> range:
    start, stop, step = map(_int_of, ormsgpack.unpackb(data))
    return range(start, stop, step)


def _tzinfo_of(data: bytes) -> tzinfo:
    found = _zone_of(ormsgpack.unpackb(data))
    if found is None:
        raise ValueError("no time zone")
    return found


READERS: dict[int, Callable[[bytes], Any]] = {
    BIG_INT: _int_of,
    TEXT: lambda data: data.decode("utf-8", "surrogatepass"),
    BYTEARRAY: bytearray,
    DATETIME: _datetime_of,
    DATE: lambda data: date(*ormsgpack.unpackb(data)),
    TIME: _time_of,
    TIMEDELTA: lambda data: timedelta(*ormsgpack.unpackb(data)),
    DECIMAL: lambda data: Decimal(data.decode("ascii")),
    UUID_: lambda data: UUID(bytes=data),
    COMPLEX: lambda data: complex(*_COMPLEX.unpack(data)),
    PATH: _path_of,
    RANGE: _range_of,
    TZINFO: _tzinfo_of,
}
"""Tag -> the value of the extension's bytes; any exception means that the bytes are none of ours."""
