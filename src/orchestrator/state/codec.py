"""Values to bytes and back: MessagePack, with an extension for each further type of one closed list.

What comes back has the same type and the same value as what went in; what cannot be kept so is refused with its path.
Kept are: None, bool, int of any size, float, str, bytes, bytearray, list, tuple, dict (any storable keys, in order),
set, frozenset, datetime, date, time, timedelta, timezone, ZoneInfo, Decimal, UUID, complex, range, pure and concrete
paths; numpy arrays and scalars, pandas and polars frames and series, and Arrow tables; and the classes that the user
has registered. A subclass of any of these is another type: refused unless registered.

Loading never imports, calls or constructs anything else, whatever the bytes are.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from functools import partial
from itertools import chain, compress
from operator import is_
from sys import getrefcount
from typing import Any, NoReturn

import ormsgpack
from ormsgpack import Ext, Fragment, packb, unpackb

from orchestrator.errors import UnstorableValue
from orchestrator.state import exttypes as ext
from orchestrator.state import frames, registry
from orchestrator.state.extent import exceeds
from orchestrator.state.exttypes import Unstorable
from orchestrator.state.registry import register

__all__ = ["MAX_DEPTH", "SIZE_LIMIT", "CodecError", "UnknownType", "copy", "decode", "encode", "register"]

SIZE_LIMIT = 256 << 20
"""By default no value may take more encoded bytes than this."""
MAX_DEPTH = 200
"""Containers may be nested this deep; a value in no container has depth 0."""

_OPTIONS = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)


class CodecError(ValueError):
    """The bytes are no value that ``encode`` made."""


class UnknownType(CodecError):
    """The bytes hold a type that this process does not know: not registered, or of a newer version."""


def encode(value: Any, *, name: str = "result", limit: int = SIZE_LIMIT) -> bytes:  # noqa: C901  # spelled out for speed
    """Return the bytes that hold ``value``; equal values (of equal types, in equal order) give equal bytes.

    ``name`` starts the path in errors (``result.rows[3].when``). Raises UnstorableValue for what cannot be kept
    faithfully, and for a value that takes more than ``limit`` bytes.
    """
    if value is None:
        return b"\xc0"
    kind = type(value)
    try:
        if kind is dict:
            flat = _FLAT.issuperset(map(type, value.values()))
        elif kind is list:
            flat = _FLAT.issuperset(map(type, value))
        else:
            flat = kind in _FLAT
            if (kind is str or kind is bytes) and len(value) > limit:
                _refuse_size(value, name, len(value), limit)
        if not flat or kind is dict or kind is list:
            size = exceeds(value, limit, _taken_apart, MAX_DEPTH)
            if size:
                _refuse_size(value, name, size, limit, least="at least ")
        data = packb(value, default=_extend, option=_OPTIONS) if flat else _encode_nested(value)
    except UnstorableValue:
        raise
    except Exception:  # noqa: BLE001  # whatever it was, the careful way finds its place or encodes the value
        data = None
    if data is None:
        data = _encode_carefully(value, name)
    if len(data) > limit:
        _refuse_size(value, name, len(data), limit)
    return data


def decode(data: bytes) -> Any:
    """Return the value that ``encode`` made these bytes of.

    Raises UnknownType for a registered name or an extension that this process does not know, CodecError for any
    other bytes. Memory stays within a small multiple of ``len(data)``.
    """
    if data == b"\xc0":
        return None
    reading = _Reading()
    try:
        value, end = unpackb(b"\x92%b%b" % (data, _TRAILER), ext_hook=reading.hook)
        if end is not _END:
            raise CodecError("bytes follow the end of the value")
        if reading.marks:
            value = reading.restore(value, 0)
            if reading.marks:
                raise CodecError("a mark of a container where none belongs")
    except BaseException as error:  # noqa: BLE001  # the decoder hides what its hook raised: an interrupt, too
        cause = reading.failure or error
        if isinstance(cause, UnknownType) or not isinstance(cause, Exception):
            raise cause from None
        raise CodecError(f"not an encoded value: {cause}") from cause
    return value


def copy(value: Any, *, name: str = "result") -> Any:
    """Return what a later process would load: ``decode(encode(value))``."""
    return decode(encode(value, name=name))


def _taken_apart(value: Any) -> Any:
    entry = registry.BY_TYPE.get(type(value))
    try:
        return None if entry is None else entry.take(value)
    except Exception:  # noqa: BLE001  # the encoder meets it again, and says where
        return None


def _refuse_size(value: Any, name: str, size: int, limit: int, *, least: str = "") -> NoReturn:
    raise UnstorableValue(name, _type_name(value), f"takes {least}{size} bytes, more than the limit of {limit}")


# --- the fast way: one call of the encoder, and a check that nothing in it was quietly changed ------------------------

# A container that MessagePack lacks is an array led by a mark: an extension without content, e.g. [TUPLE, 1, 2].
_TUPLE = Ext(ext.TUPLE, b"")
_MAPPING = Ext(ext.MAPPING, b"")
_SET = Ext(ext.SET, b"")
_FROZENSET = Ext(ext.FROZENSET, b"")
_REGISTERED = Ext(ext.REGISTERED, b"")

_CONTAINERS = frozenset({dict, list, tuple, set, frozenset})
_FLAT = frozenset({type(None), bool, bytes, float, *ext.WRITERS}) - {bytearray}
_QUIET = frozenset({bytearray, memoryview, Ext, Fragment})
"""What the encoder takes without asking and the decoder does not give back."""

_BIN_8, _BIN_16, _BIN_32 = 0xC4, 0xC5, 0xC6

_DEPTH_OF_ENCODER = 255
_WRAP = _DEPTH_OF_ENCODER - MAX_DEPTH


class _Wrapped(threading.local):
    """Lists around a slot, one in another, so that the encoder reaches its own depth limit where ours is."""

    def __init__(self) -> None:
        slot: list[Any] = [None]
        outer = slot
        for _ in range(_WRAP - 1):
            outer = [outer]
        self.lists = slot, outer


_wrapped = _Wrapped()
_EXT_IDLE = getrefcount(Ext)
_FRAGMENT_IDLE = getrefcount(Fragment)


class _Careful(Exception):
    """The fast way does not do for this value."""


def _extend(value: Any) -> Any:
    """Give the encoder something it knows for what it does not; called by it."""
    kind = type(value)
    if kind is tuple:
        return [_TUPLE, *value]
    writer = ext.WRITERS.get(kind)
    if writer is not None:
        tag, to_bytes = writer
        return Ext(tag, to_bytes(value))
    if (kind is set or kind is frozenset) and _FLAT.issuperset(map(type, value)):
        parts = [packb(item, default=_extend, option=_OPTIONS) for item in value]
        return _sorted_array(_SET if kind is set else _FROZENSET, parts)
    entry = registry.BY_TYPE.get(kind)
    if entry is not None:
        return [_REGISTERED, entry.name, entry.take(value)]
    foreign = frames.take(value)
    if foreign is not None:
        return Ext(*foreign)
    raise _Careful


def _sorted_array(mark: Ext, parts: list[bytes]) -> list[Any]:
    parts.sort()
    return [mark, *map(Fragment, parts)]


def _encode_nested(value: Any) -> bytes | None:
    slot, outer = _wrapped.lists
    slot[0] = value
    try:
        data = packb(outer, default=_extend, option=_OPTIONS)[_WRAP:]
    finally:
        slot[0] = None
    if (
        _BIN_8 in data  # every bytes-like value starts with one of these; so may a part of a number or text
        or _BIN_16 in data
        or _BIN_32 in data
        or getrefcount(Ext) != _EXT_IDLE  # each instance holds its class
        or getrefcount(Fragment) != _FRAGMENT_IDLE
    ) and _has_quiet(value):
        return None
    return data


def _has_quiet(value: Any) -> bool:
    """Tell whether a value that the encoder took holds anything that it changes without asking."""
    level = [value]
    while True:
        kinds: list[type] = list(map(type, level))
        distinct = set(kinds)
        if not _QUIET.isdisjoint(distinct):
            return True
        parts: list[Iterable[Any]] = []
        for kind in distinct:
            if kind in _CONTAINERS:
                chosen = compress(level, map(partial(is_, kind), kinds))
                parts.append(chain.from_iterable(map(dict.values, chosen) if kind is dict else chosen))
            elif kind in registry.BY_TYPE:
                parts.append(map(registry.BY_TYPE[kind].take, compress(level, map(partial(is_, kind), kinds))))
        if not parts:
            return False
        level = list(chain.from_iterable(parts))


# --- the careful way: every part is looked at, and a refusal knows its place ------------------------------------------


class _Refused(Exception):
    def __init__(self, type_name: str, reason: str) -> None:
        self.type_name = type_name
        self.reason = reason
        self.steps: list[str] = []  # innermost first


def _encode_carefully(value: Any, name: str) -> bytes:
    try:
        return packb(_Lowering().lower(value), option=_OPTIONS)
    except _Refused as refused:
        path = name + "".join(reversed(refused.steps))
        raise UnstorableValue(path, refused.type_name, refused.reason) from None
    except RecursionError:
        raise UnstorableValue(name, _type_name(value), "is nested too deep for the stack that is left") from None
    except RuntimeError as error:
        raise UnstorableValue(name, _type_name(value), f"was changed while it was being stored ({error})") from error


def _type_name(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _step(container: Any, index: int, *, plain: bool) -> str:
    """Spell the way from a container to its part number ``index``; a dict that is not ``plain`` has keys as parts."""
    if isinstance(container, set | frozenset):
        return "{element}"
    if type(container) is not dict:
        return f"[{index}]"
    key = list(container)[index if plain else index // 2]
    if not plain and index % 2 == 0:
        return f"[key of type {_type_name(key)}]"
    if type(key) is str and key.isidentifier():
        return f".{key}"
    if type(key) not in _FLAT:
        return f"[a key of type {_type_name(key)}]"
    text = repr(key)
    return f"[{text if len(text) <= _LONG_KEY else text[:_LONG_KEY] + '...'}]"


_LONG_KEY = 80


class _Lowering:
    """Rewrites a value into what the encoder keeps as it is: plain types, and extensions for the rest."""

    def __init__(self) -> None:
        self.open: set[int] = set()  # the containers around the value at hand

    def lower(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return value if _is_utf8(value) else Ext(ext.TEXT, ext.text_to_bytes(value))
        if kind is int:
            if _INT_MIN <= value <= _INT_MAX:
                return value
        elif kind in _PLAIN:
            return value
        writer = ext.WRITERS.get(kind)
        try:
            if writer is not None:
                tag, to_bytes = writer
                return Ext(tag, to_bytes(value))
            if kind in _CONTAINERS:
                return self._container(value, kind)
            entry = registry.BY_TYPE.get(kind)
            if entry is not None:
                return self._registered(value, entry)
            foreign = frames.take(value)
        except Unstorable as refusal:
            raise _Refused(_type_name(value), str(refusal)) from None
        if foreign is not None:
            return Ext(*foreign)
        raise _Refused(_type_name(value), _why_not(value))

    def _container(self, value: Any, kind: type) -> Any:
        self._enter(value)
        plain = kind is dict and all(type(key) is str and _is_utf8(key) for key in value)
        parts = value
        if kind is dict:
            parts = value.values() if plain else chain.from_iterable(value.items())
        done: list[Any] = []
        try:
            for part in parts:
                done.append(self.lower(part))  # noqa: PERF401  # its length at a refusal tells the place
        except _Refused as refused:
            refused.steps.append(_step(value, len(done), plain=plain))
            raise
        self.open.remove(id(value))
        if kind is list:
            return done
        if plain:
            return dict(zip(value, done, strict=True))
        if kind is tuple or kind is dict:
            return [_TUPLE if kind is tuple else _MAPPING, *done]
        return _sorted_array(_SET if kind is set else _FROZENSET, [packb(part, option=_OPTIONS) for part in done])

    def _registered(self, value: Any, entry: registry.Registered) -> list[Any]:
        self._enter(value)
        done = [_REGISTERED, self.lower(entry.name), self.lower(entry.take(value))]
        self.open.remove(id(value))
        return done

    def _enter(self, value: Any) -> None:
        if id(value) in self.open:
            raise _Refused(_type_name(value), "contains itself")
        if len(self.open) >= MAX_DEPTH:
            raise _Refused(_type_name(value), f"is nested deeper than {MAX_DEPTH} levels")
        self.open.add(id(value))


_PLAIN = frozenset({type(None), bool, bytes, float})
_INT_MIN = -(1 << 63)
_INT_MAX = (1 << 64) - 1


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _why_not(value: Any) -> str:
    kind = type(value)
    if isinstance(value, type):
        return "is a class, and code is not stored"
    for base in kind.__mro__[1:]:
        if base in _FLAT or base in _CONTAINERS or base is bytearray:
            return (
                f"is a subclass of {base.__name__} and would come back as a plain one: convert it, "
                f"or decide how to keep it with orchestrator.register({kind.__name__}, ...)"
            )
    if callable(value) and (hasattr(value, "__code__") or hasattr(value, "__self__")):
        return "is a function, and code is not stored"
    if hasattr(value, "fileno") and hasattr(value, "close"):
        return "is an open file: return its content or its path"
    if hasattr(value, "__next__") or hasattr(value, "__anext__"):
        return "can be read only once: return list(...) of it"
    if kind is memoryview:
        return "refers to foreign memory: return bytes(...) of it"
    return f"cannot be kept: return plain data, or decide with orchestrator.register({kind.__name__}, ...)"


# --- decoding ---------------------------------------------------------------------------------------------------------


class _Mark:
    """Stands at the head of a decoded array that is to become another container."""

    __slots__ = ("tag",)

    def __init__(self, tag: int) -> None:
        self.tag = tag


_MARKS = {tag: _Mark(tag) for tag in (ext.TUPLE, ext.MAPPING, ext.SET, ext.FROZENSET, ext.REGISTERED)}
_END = object()
_SECRET = os.urandom(16)
_TRAILER = b"\xd8\x7f" + _SECRET  # decoded right behind the value, or else something else stands there
assert _TRAILER[1] == ext.END  # noqa: S101


class _Reading:
    """One call of ``decode``."""

    __slots__ = ("failure", "marks")

    def __init__(self) -> None:
        self.marks = 0
        self.failure: BaseException | None = None

    def hook(self, tag: int, data: bytes) -> Any:
        """Return what an extension stands for; called by the decoder."""
        try:
            reader = ext.READERS.get(tag)
            if reader is not None:
                return reader(data)
            mark = _MARKS.get(tag)
            if mark is not None and not data:
                self.marks += 1
                return mark
            if tag in frames.TAGS:
                return frames.make(tag, data)
            if tag == ext.END and data == _SECRET:
                return _END
            if tag in _MARKS or not 0 <= tag < ext.END:
                raise CodecError(f"extension {tag} with unexpected content")
            raise UnknownType(f"it holds a value of type {tag}, which only a newer version knows")
        except frames.MissingLibrary as error:
            self.failure = UnknownType(str(error))
            raise
        except BaseException as error:
            self.failure = error
            raise

    def restore(self, item: Any, depth: int) -> Any:
        """Turn marked arrays into what they stand for; everything else is changed in place."""
        if depth >= MAX_DEPTH:
            raise CodecError(f"nested deeper than {MAX_DEPTH} levels")
        if type(item) is dict:
            for key, part in item.items():
                if type(part) is list or type(part) is dict:
                    item[key] = self.restore(part, depth + 1)
            return item
        for index, part in enumerate(item):
            if type(part) is list or type(part) is dict:
                item[index] = self.restore(part, depth + 1)
        if item and type(item[0]) is _Mark:
            self.marks -= 1
            return _build(item[0].tag, item[1:])
        return item


def _build(tag: int, parts: list[Any]) -> Any:
    if tag == ext.TUPLE:
        return tuple(parts)
    if tag == ext.MAPPING:
        made: Any = dict(zip(parts[::2], parts[1::2], strict=True))
        if len(made) * 2 != len(parts):
            raise CodecError("the same key twice")
        return made
    if tag == ext.REGISTERED:
        name, state = parts
        return _make_registered(name, state)
    made = set(parts) if tag == ext.SET else frozenset(parts)
    if len(made) != len(parts):
        raise CodecError("the same element twice")
    return made


def _make_registered(name: Any, state: Any) -> Any:
    if type(name) is not str:
        raise CodecError("a registered class without a name")
    entry = registry.BY_NAME.get(name)
    if entry is None:
        raise UnknownType(
            f"it holds an object of a class registered as {name[:200]!r}, and this process has registered none so: "
            f"call orchestrator.register(TheClass, {name[:200]!r}) before loading"
        )
    try:
        return entry.make(state)
    except Exception as error:
        raise UnknownType(f"the class registered as {name!r} does not take what was stored: {error!r}") from error
