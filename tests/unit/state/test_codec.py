import contextlib
import dataclasses
import enum
import functools
import io
import threading
from collections import Counter, OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from datetime import datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple
from uuid import uuid4
from zoneinfo import ZoneInfo

import ormsgpack
import pydantic
import pytest
from hypothesis import given

from orchestrator.errors import UnstorableValue
from orchestrator.state import codec, exttypes, registry
from orchestrator.state.codec import CodecError, UnknownType, copy, decode, encode, register
from tests.unit.state.values import Colour, Level, Model, Pair, Point, Rights, same, thorough, values


@given(values)
@thorough
def test_what_comes_back_is_what_went_in(value: Any) -> None:
    stored = encode(value)
    back = decode(stored)
    assert same(value, back)
    assert encode(back) == stored
    assert codec._encode_carefully(value, "result") == stored  # the fast way and the careful way agree


@pytest.mark.parametrize(
    "value",
    [
        {1: "a", "1": "b"},
        {True: 1, 2: 3, None: 4, (1, 2): 5, 1.5: 6},
        {Colour.RED: 1, Level.LOW: 2, datetime(2024, 1, 1): 3},  # noqa: DTZ001
        {"a": bytearray(b"x")},
        [bytearray(300), bytearray(70_000)],
        ({"deep": [(1, bytearray(b"y"))]},),
        Point(bytearray(b"inside"), [1]),
        "caf\udce9.txt",
        {"\ud800": {"\udfff": "\ud800"}},
        2**70,
        -(2**4000),
        float("nan"),
        -0.0,
        [float("inf"), float("-inf")],
        datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
        datetime(2024, 10, 27, 2, 30, tzinfo=timezone(timedelta(hours=2), "CEST")),
        timezone(timedelta(0), "Z"),
        Decimal("1E+999999"),
        Path("/tmp/x"),
        PureWindowsPath("C:/x"),
        range(5, 5),
        range(2**70),
        {frozenset({1, frozenset({2})}), (1, (2, 3))},
        Rights.READ | Rights.WRITE,
        Pair(Pair(1), [2]),
        Model(name="x", items=[(1,), {2}]),
        [],
        {},
        (),
        set(),
        frozenset(),
        "",
        b"",
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_round_trip(value: Any) -> None:
    assert same(copy(value), value)


def test_equal_sets_give_equal_bytes_whatever_their_history() -> None:
    one = {f"item{i}" for i in range(100)}
    two = set(dict.fromkeys(reversed([f"item{i}" for i in range(100)])))
    assert encode(one) == encode(two)
    assert encode({frozenset({i}) for i in range(50)}) == encode({frozenset({i}) for i in reversed(range(50))})


class _Str(str):
    __slots__ = ()


class _Unknown:
    pass


@dataclasses.dataclass
class _Plain:
    x: int


class _Row(NamedTuple):
    x: int


_Loose = namedtuple("_Loose", "x")  # noqa: PYI024


class _Shade(enum.Enum):
    DARK = 1


class _Kind(enum.StrEnum):
    A = "a"


class _Zone(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, _: datetime | None) -> str:
        return "mine"

    def dst(self, _: datetime | None) -> None:
        return None


def _generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("value", "type_name"),
    [
        (_Str("x"), "_Str"),
        (OrderedDict(a=1), "OrderedDict"),
        (defaultdict(int), "defaultdict"),
        (Counter("a"), "Counter"),
        (_Kind.A, "_Kind"),
        (_Shade.DARK, "_Shade"),
        (_Row(1), "_Row"),
        (_Loose(1), "_Loose"),
        (_Plain(1), "_Plain"),
        (_Unknown(), "_Unknown"),
        (memoryview(b"x"), "memoryview"),
        (ormsgpack.Ext(1, b"x"), "ormsgpack.Ext"),
        (ormsgpack.Fragment(b"\x01"), "ormsgpack.Fragment"),
        (_generator(), "generator"),
        (lambda: 1, "function"),
        (len, "builtin_function_or_method"),
        (int, "type"),
        (io.BytesIO(), "_io.BytesIO"),
        (object(), "object"),
        (..., "ellipsis"),
        (MappingProxyType({}), "mappingproxy"),
        (SimpleNamespace(), "types.SimpleNamespace"),
        ({}.keys(), "dict_keys"),
        (threading.Lock(), "lock"),
        (datetime(2024, 1, 1, tzinfo=_Zone()), "datetime.datetime"),
        (ValueError("x"), "ValueError"),
        (functools.partial(int), "functools.partial"),
    ],
    ids=lambda value: str(type(value).__name__),
)
@pytest.mark.parametrize(
    ("wrap", "path"),
    [
        (lambda v: v, "result"),
        (lambda v: {"rows": [0, 1, 2, {"when": v}]}, "result.rows[3].when"),
        (lambda v: (1, {"a b": v}), "result[1]['a b']"),
        (lambda v: {(1, 2): [v]}, "result[a key of type tuple][0]"),
        (lambda v: {7: v}, "result[7]"),
        (lambda v: Point(1, Pair([v])), "result.y.left[0]"),
        (lambda v: Model(name="x", items=[v]), "result.items[0]"),
    ],
    ids=["alone", "in rows", "in a tuple", "under a tuple", "under a number", "in classes", "in a model"],
)
def test_what_cannot_be_kept_is_refused_with_path_and_type(
    value: Any, type_name: str, wrap: Callable[[Any], Any], path: str
) -> None:
    with pytest.raises(UnstorableValue) as caught:
        encode(wrap(value))
    assert caught.value.path == path
    assert caught.value.type_name.endswith(type_name)
    assert caught.value.type_name in str(caught.value)


def test_keys_and_elements_are_looked_at_too() -> None:
    with pytest.raises(UnstorableValue, match=r"result\.a\[key of type .*_Str\]: .*_Str is a subclass of str"):
        encode({"a": {_Str("k"): 1}})
    with pytest.raises(UnstorableValue, match=r"result\{element\}\[1\]: .*_Shade"):
        encode({(1, _Shade.DARK)})
    with pytest.raises(UnstorableValue, match=r"\[key of type tuple\]\[0\]: .*_Str"):
        encode({(_Str("k"), 1): 1})


def test_an_open_file_says_what_to_return_instead(tmp_path: Path) -> None:
    with (
        (tmp_path / "x").open("w") as file,
        pytest.raises(UnstorableValue, match="is an open file: return its content"),
    ):
        encode({"file": file})


def test_an_instance_of_the_encoders_own_types_never_slips_through() -> None:
    held = [ormsgpack.Ext(1, b"\x01"), ormsgpack.Fragment(b"\x01")]
    for item in held:
        with pytest.raises(UnstorableValue):
            encode({"a": [item]})
        with pytest.raises(UnstorableValue):
            encode(Point([item]))


def test_cycles_are_refused() -> None:
    loop: list[Any] = []
    loop.append({"again": loop})
    with pytest.raises(UnstorableValue, match=r"^result\[0\]\.again: list contains itself"):
        encode(loop)
    mapping: dict[str, Any] = {}
    mapping["me"] = (mapping,)
    with pytest.raises(UnstorableValue, match=r"^result\.me\[0\]: dict contains itself"):
        encode(mapping)
    point = Point([], 1)
    point.x.append(point)
    with pytest.raises(UnstorableValue, match=r"^result\.x\[0\]: .*Point contains itself"):
        encode(point)


def test_sharing_is_no_cycle() -> None:
    shared = [1]
    assert copy([shared, shared, (shared,)]) == [[1], [1], ([1],)]


def _nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


_WRAPS: dict[str, Callable[[Any], Any]] = {
    "list": lambda v: [v],
    "dict": lambda v: {"k": v},
    "tuple": lambda v: (v,),
    "frozenset": lambda v: frozenset({v}),
    "keys": lambda v: {1: v},
}


@pytest.mark.parametrize("wrap", _WRAPS.values(), ids=_WRAPS.keys())
def test_depth_is_limited_exactly(wrap: Callable[[Any], Any]) -> None:
    assert decode(encode(_nested(200, wrap))) == _nested(200, wrap)
    for depth in (201, 300, 900):
        with pytest.raises(UnstorableValue, match="nested deeper than 200 levels"):
            encode(_nested(depth, wrap))


def test_depth_is_limited_exactly_in_mixtures() -> None:
    for inner, outer in [("list", "tuple"), ("tuple", "dict"), ("frozenset", "list"), ("keys", "tuple")]:
        value = _nested(100, _WRAPS[inner])
        for _ in range(100):
            value = _WRAPS[outer](value)
        assert copy(value) == value
        with pytest.raises(UnstorableValue, match="deeper than 200"):
            encode(_WRAPS[outer](value))


def test_classes_count_two_levels() -> None:
    value = _nested(100, Point)
    assert copy(value) == value
    with pytest.raises(UnstorableValue, match="deeper than 200"):
        encode([value])


def test_ten_thousand_levels_and_a_million_keys() -> None:
    with pytest.raises(UnstorableValue, match="deeper than 200"):
        encode(_nested(10_000, lambda v: [v]))
    big = {str(i): i for i in range(10**6)}
    assert decode(encode(big)) == big


def test_size_limit_to_the_byte() -> None:
    for value in (b"x" * 1000, "x" * 1000, [b"x" * 500, "y" * 500], {1: "z" * 900}):
        size = len(encode(value))
        assert decode(encode(value, limit=size)) == value
        with pytest.raises(UnstorableValue, match=rf"takes 1?\d+ bytes, more than the limit of {size - 1}"):
            encode(value, limit=size - 1)


def test_the_name_starts_the_path() -> None:
    with pytest.raises(UnstorableValue, match=r"^inputs\.x: object cannot be kept"):
        encode({"x": object()}, name="inputs")


def test_a_refusal_fails_the_attempt_for_good() -> None:
    with pytest.raises(UnstorableValue) as caught:
        encode(object())
    assert not caught.value.retryable


def test_threads_do_not_disturb_each_other() -> None:
    failures: list[Any] = []

    def work(number: int) -> None:
        value = {"n": [number, (number, [uuid4(), Decimal(number)])]}
        failures.extend(1 for _ in range(300) if not same(copy(value), value))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_nothing_keeps_the_value_alive() -> None:
    class Token(list[int]):
        pass

    for value in ([Token()], {"a": [1, Token()]}):
        with contextlib.suppress(UnstorableValue):
            encode(value)
        assert codec._wrapped.lists[0] == [None]


# --- registered classes -----------------------------------------------------------------------------------------------


@pytest.fixture
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "BY_NAME", dict(registry.BY_NAME))
    monkeypatch.setattr(registry, "BY_TYPE", dict(registry.BY_TYPE))


@pytest.mark.usefixtures("forget")
def test_an_unregistered_name_is_an_error_that_says_what_to_do() -> None:
    @register
    @dataclasses.dataclass
    class Invoice:
        total: Decimal

    stored = encode([Invoice(Decimal("1.50"))])
    assert decode(stored) == [Invoice(Decimal("1.50"))]
    name = Invoice.__qualname__
    del registry.BY_NAME[name]
    with pytest.raises(UnknownType, match=rf"registered as '{name}'.*register\(TheClass, '{name}'\)"):
        decode(stored)


@pytest.mark.usefixtures("forget")
def test_registering_any_class_with_both_functions() -> None:
    register(OrderedDict, to_plain=lambda d: list(d.items()), from_plain=OrderedDict)
    value = OrderedDict(b=1, a=(2,))
    back = copy([value])
    assert back == [value]
    assert type(back[0]) is OrderedDict
    register(_Str, "text", to_plain=str.__str__, from_plain=_Str)
    assert same(copy({"a": _Str("x")}), {"a": _Str("x")})


@pytest.mark.usefixtures("forget")
def test_registering_refuses_what_it_does_not_understand() -> None:
    with pytest.raises(TypeError, match="to_plain"):
        register(_Unknown)
    with pytest.raises(TypeError, match="takes a class"):
        register(_Unknown())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="both"):
        register(_Unknown, to_plain=vars)
    with pytest.raises(ValueError, match="is taken by"):
        register(_Plain, "Point")
    with pytest.raises(TypeError, match="is no plain dataclass"):
        register(dataclasses.make_dataclass("Both", ["x"], bases=(dict,)))
    assert register(Point) is Point


def test_a_subclass_of_a_registered_class_is_another_class() -> None:
    class Special(Point):
        pass

    with pytest.raises(UnstorableValue, match="Special"):
        encode(Special(1))


@pytest.mark.usefixtures("forget")
def test_fields_may_come_with_a_default_and_may_not_vanish() -> None:
    @dataclasses.dataclass
    class Old:
        a: int
        gone: int = 0

    @dataclasses.dataclass
    class New:
        a: int
        added: list[int] = dataclasses.field(default_factory=lambda: [7])
        needed: int = dataclasses.field(kw_only=True)

    register(Old, "thing")
    stored = encode(Old(1, 2))
    del registry.BY_NAME["thing"]
    register(New, "thing")
    with pytest.raises(UnknownType, match="no field 'gone' any more"):
        decode(stored)
    older = stored.replace(b"\xa4gone", b"\xa6needed")
    assert decode(older) == New(1, [7], needed=2)
    with pytest.raises(UnknownType, match="lacks the field 'needed', which has no default"):
        decode(stored.replace(b"\xa4gone", b"\xa5added"))


@pytest.mark.usefixtures("forget")
def test_loading_calls_no_constructor() -> None:
    calls: list[str] = []

    @register
    @dataclasses.dataclass
    class Loud:
        x: int
        doubled: int = dataclasses.field(init=False)

        def __post_init__(self) -> None:
            calls.append("post_init")
            self.doubled = self.x * 2

    @register
    class Checked(pydantic.BaseModel):
        x: int

        @pydantic.field_validator("x")
        @classmethod
        def _check(cls, value: int) -> int:
            calls.append("validator")
            return value + 1

    loud, checked = Loud(1), Checked(x=1)
    loud.doubled = 5
    stored = encode([loud, checked])
    calls.clear()
    back = decode(stored)
    assert (back[0].doubled, back[1].x) == (5, 2)
    assert calls == []


@pytest.mark.usefixtures("forget")
def test_what_a_class_would_lose_is_refused() -> None:
    @register
    @dataclasses.dataclass
    class Open:
        x: int

        @functools.cached_property
        def twice(self) -> int:
            return self.x * 2

    value = Open(1)
    assert value.twice == 2
    assert copy(value) == value  # what is computed is computed again
    value.extra = 1  # type: ignore[attr-defined]
    with pytest.raises(UnstorableValue, match="attribute 'extra' that is no field"):
        encode([value])
    bare = object.__new__(Open)
    with pytest.raises(UnstorableValue, match="no value in its field 'x'"):
        encode(bare)


@pytest.mark.usefixtures("forget")
def test_pydantic_keeps_what_was_set_extra_and_private() -> None:
    @register
    class Wide(pydantic.BaseModel, extra="allow"):
        a: int = 1
        b: tuple[int, ...] = ()
        _secret: int = pydantic.PrivateAttr(default=3)

    value = Wide(b=(1, 2), more={1: 2})  # type: ignore[call-arg]
    value._secret = 9
    back = copy(value)
    assert back == value
    assert back.model_fields_set == {"b", "more"}
    assert back._secret == 9
    assert back.model_extra == {"more": {1: 2}}


# --- hostile bytes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xc0\xc0",
        b"\x91",
        b"\x01\x02",
        b"\x81\x01\xc0",
        b"\xa2\xc3",
        b"\xc7\x00\x20",  # a mark alone
        b"\x92\x01\xc7\x00\x20",  # a mark in the wrong place
        b"\x81\xa1a\xc7\x00\x20",
        b"\x92\xc7\x00\x21\x01",  # a mapping of one half
        b"\x95\xc7\x00\x21\x01\x02\x01\x02",  # the same key twice
        b"\x93\xc7\x00\x21\x90\x01",  # an unhashable key
        b"\x93\xc7\x00\x22\x01\x01",  # the same element twice
        b"\x91\xc7\x00\x24",  # a class without a name
        b"\x93\xc7\x00\x24\x01\x02",
        b"\xd4\x20\x01",  # a mark with content
        b"\xd4\xff\x01",  # a negative extension
        b"\xd4\x7f\x01",
        b"\xd8\x7f" + bytes(16),
        b"\xd4\x04\x01",  # datetime
        b"\xc7\x03\x05\x93\x01\x01\x01\x01",
        b"\xc7\x05\x08" + b"abcde",  # decimal
        b"\xd4\x09\x00",  # uuid of one byte
        b"\xd4\x0b\x09",  # path of no kind
        b"\xc7\x04\x0c\x93\x01\x02\x00",  # range
        b"\xc7\x0c\x0d\xab../../a/bcd",  # time zone outside of the data
        b"\xd4\x0d\xc0",
    ],
    ids=bytes.hex,
)
def test_other_bytes_are_an_error(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode(data)


def test_a_newer_extension_is_told_apart_from_damage() -> None:
    with pytest.raises(UnknownType, match="newer version"):
        decode(b"\xd4\x50\x01")


def test_an_interrupt_during_decoding_is_not_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: bytes) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setitem(exttypes.READERS, 3, interrupted)
    with pytest.raises(KeyboardInterrupt):
        decode(encode(bytearray(b"x")))


@pytest.mark.parametrize("depth", [201, 900, 1022, 1023, 5000, 10**6])
def test_deep_hostile_bytes_neither_recurse_nor_crash(depth: int) -> None:
    for opening in (b"\x91", b"\x92\xc7\x00\x20", b"\x81\xa1k", b"\x93\xc7\x00\x21\x01"):
        with contextlib.suppress(CodecError):
            decode(opening * depth + b"\xc0")
    with pytest.raises(CodecError, match=r"deeper than 200|ecursion"):
        decode(b"\x92\xc7\x00\x20" * depth + b"\xc0")


def test_a_path_of_this_platform_is_the_same_class() -> None:
    assert type(copy(Path("x"))) is type(Path("x"))
    assert type(copy(PurePosixPath("x"))) is PurePosixPath
