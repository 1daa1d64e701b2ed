"""The filters, tests and functions of templates: Jinja's names and meanings, the deterministic and harmless ones.

Each filter takes the meter, the value and its arguments; what it makes is paid for before it is made. Left out on
purpose: what is random, what makes markup, and what reaches into objects.
"""

from __future__ import annotations

import decimal
import json
import math
import textwrap
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from orchestrator.compiler.limits import (
    MAX_WIDTH,
    Meter,
    Missing,
    TemplateFault,
    add,
    check_bits,
    check_textual,
    count_of,
    items_of,
    measure,
    percent,
    text_of,
    total,
    whole,
)
from orchestrator.domain.words import kind_of

Filter = Callable[..., Any]
Test = Callable[..., bool]
FILTERS: dict[str, Filter] = {}
"""Name -> function(meter, value, *arguments)."""
TESTS: dict[str, Test] = {}
"""Name -> function(meter, value, *arguments)."""
FUNCTIONS: dict[str, Filter] = {}
"""What a template may call: name -> function(meter, *arguments)."""


def _filter(*names: str) -> Callable[[Filter], Filter]:
    def register(function: Filter) -> Filter:
        FILTERS.update(dict.fromkeys(names, function))
        return function

    return register


def _test(*names: str) -> Callable[[Test], Test]:
    def register(function: Test) -> Test:
        TESTS.update(dict.fromkeys(names, function))
        return function

    return register


def lookup(value: Any, key: Any) -> Any:
    """Return what stands under ``key`` in a mapping, list or text: data only, never an attribute; raise Missing."""
    try:
        if isinstance(value, Mapping) or (isinstance(value, (list, tuple, str)) and isinstance(key, int)):
            return value[key]
    except (LookupError, TypeError):
        raise Missing(key) from None
    raise Missing(key)


def _dig(value: Any, attribute: Any) -> Any:
    """Follow a dotted path, as ``attribute=`` names one; digits are indexes where there is a list."""
    if attribute is None:
        return value
    if not isinstance(attribute, (str, int)):
        raise TemplateFault(f"attribute: expected a name, got {kind_of(attribute)}")
    for part in str(attribute).split("."):
        key: Any = int(part) if part.isdecimal() and not isinstance(value, Mapping) else part
        try:
            value = lookup(value, key)
        except Missing:
            raise Missing(f"{kind_of(value)} has no {part!r}") from None
    return value


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _key(attribute: Any, case_sensitive: bool, meter: Meter) -> Callable[[Any], Any]:  # noqa: FBT001
    def key(item: Any) -> Any:
        found = _dig(item, attribute)
        measure(found, meter)
        return found if case_sensitive else _folded(found)

    return key


def _text(value: Any, meter: Meter) -> str:
    return text_of(value, meter)


# --- text ---------------------------------------------------------------------------------------------------------


@_filter("string")
def _string(meter: Meter, value: Any) -> str:
    return _text(value, meter)


@_filter("upper")
def _upper(meter: Meter, value: Any) -> str:
    return _text(value, meter).upper()


@_filter("lower")
def _lower(meter: Meter, value: Any) -> str:
    return _text(value, meter).lower()


@_filter("capitalize")
def _capitalize(meter: Meter, value: Any) -> str:
    return _text(value, meter).capitalize()


@_filter("title")
def _title(meter: Meter, value: Any) -> str:
    words = _text(value, meter).split(" ")
    return " ".join(word[:1].upper() + word[1:].lower() for word in words)


@_filter("trim")
def _trim(meter: Meter, value: Any, chars: str | None = None) -> str:
    return _text(value, meter).strip(chars)


@_filter("replace")
def _replace(meter: Meter, value: Any, old: str, new: str, count: int | None = None) -> str:
    text = _text(value, meter)
    hits = len(text) + 1 if old == "" else text.count(old)
    if count is not None:
        hits = min(hits, max(count, 0))
    meter.spend(hits * max(len(new) - len(old), 0))
    return text.replace(old, new, -1 if count is None else max(count, 0))


@_filter("split")
def _split(meter: Meter, value: Any, separator: str | None = None) -> list[str]:
    return _text(value, meter).split(separator)


@_filter("join")
def _join(meter: Meter, value: Any, d: str = "", attribute: Any = None) -> str:
    items = [_text(_dig(item, attribute), meter) for item in items_of(value, meter)]
    meter.spend(len(d) * len(items))
    return d.join(items)


@_filter("center")
def _center(meter: Meter, value: Any, width: int = 80) -> str:
    meter.spend(whole(width, "center", 0, MAX_WIDTH))
    return _text(value, meter).center(width)


@_filter("indent")
def _indent(meter: Meter, value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:  # noqa: FBT001, FBT002
    pad = width if isinstance(width, str) else " " * whole(width, "indent", 0, MAX_WIDTH)
    lines = _text(value, meter).split("\n")
    meter.spend(len(pad) * len(lines))
    keep = 0 if first else 1
    return "\n".join(lines[:keep] + [pad + line if line or blank else line for line in lines[keep:]])


@_filter("wordwrap")
def _wordwrap(meter: Meter, value: Any, width: int = 79) -> str:
    whole(width, "wordwrap", 1, MAX_WIDTH)
    lines = _text(value, meter).splitlines()
    return "\n".join("\n".join(textwrap.wrap(line, width)) for line in lines)


@_filter("truncate")
def _truncate(meter: Meter, value: Any, length: int = 255, killwords: bool = False, end: str = "...") -> str:  # noqa: FBT001, FBT002
    text = _text(value, meter)
    whole(length, "truncate", len(end), 1 << 30)
    if len(text) <= length:
        return text
    cut = text[: length - len(end)]
    return (cut if killwords else cut.rsplit(" ", 1)[0]) + end


@_filter("format")
def _format(meter: Meter, value: Any, *values: Any, **named: Any) -> str:
    return percent(_text(value, meter), named or values, meter)


@_filter("wordcount")
def _wordcount(meter: Meter, value: Any) -> int:
    return len(_text(value, meter).split())


@_filter("urlencode")
def _urlencode(meter: Meter, value: Any) -> str:
    text = _text(value, meter)
    meter.spend(3 * len(text))
    return quote(text)


@_filter("tojson")
def _tojson(meter: Meter, value: Any, indent: int | None = None) -> str:
    if indent is not None:
        whole(indent, "tojson", 0, 16)
    check_textual(value, meter)
    text = json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False)
    meter.spend(len(text))
    return text


# --- numbers --------------------------------------------------------------------------------------------------------


@_filter("abs")
def _abs(meter: Meter, value: Any) -> Any:  # noqa: ARG001
    if not isinstance(value, (int, float, decimal.Decimal)):
        raise TemplateFault(f"expected a number, got {kind_of(value)}")
    return abs(value)


@_filter("round")
def _round(meter: Meter, value: Any, precision: int = 0, method: str = "common") -> float:  # noqa: ARG001
    whole(precision, "round", -300, 300)
    if method not in ("common", "ceil", "floor"):
        raise TemplateFault("round: the method is common, ceil or floor")
    number = float(value)
    if method == "common":
        return round(number, precision)
    scale = 10.0**precision
    return (math.ceil if method == "ceil" else math.floor)(number * scale) / scale


@_filter("int")
def _int(meter: Meter, value: Any, default: int = 0, base: int = 10) -> int:
    try:
        if isinstance(value, str):
            meter.spend(len(value))
            return int(value, base)
        if isinstance(value, decimal.Decimal) and value.is_finite() and value.adjusted() > MAX_WIDTH:
            check_bits(4 * value.adjusted())
        return int(value)
    except (TypeError, ValueError, OverflowError):
        try:
            return int(float(value))
        except (TypeError, ValueError, OverflowError):
            return default


@_filter("float")
def _float(meter: Meter, value: Any, default: float = 0.0) -> float:  # noqa: ARG001
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return default


# --- lists and mappings ---------------------------------------------------------------------------------------------


@_filter("length", "count")
def _length(meter: Meter, value: Any) -> int:  # noqa: ARG001
    if not isinstance(value, (str, list, tuple, Mapping, set, frozenset, bytes)):
        raise TemplateFault(f"{kind_of(value)} has no length")
    return len(value)


@_filter("first")
def _first(meter: Meter, value: Any) -> Any:
    if isinstance(value, (list, tuple, str)):
        return lookup(value, 0) if value else _empty("first")
    items = items_of(value, meter)
    return items[0] if items else _empty("first")


@_filter("last")
def _last(meter: Meter, value: Any) -> Any:
    if isinstance(value, (list, tuple, str)):
        return lookup(value, -1) if value else _empty("last")
    items = items_of(value, meter)
    return items[-1] if items else _empty("last")


def _empty(name: str) -> Any:
    raise Missing(f"{name}: there are no items")


@_filter("list")
def _list(meter: Meter, value: Any) -> list[Any]:
    return items_of(value, meter)


@_filter("items")
def _items(meter: Meter, value: Any) -> list[list[Any]]:
    meter.items(2 * count_of(value))
    if not isinstance(value, Mapping):
        raise TemplateFault(f"expected a mapping, got {kind_of(value)}")
    return [[key, item] for key, item in value.items()]


@_filter("dictsort")
def _dictsort(
    meter: Meter,
    value: Any,
    case_sensitive: bool = False,  # noqa: FBT001, FBT002
    by: str = "key",
    reverse: bool = False,  # noqa: FBT001, FBT002
) -> list[list[Any]]:
    position = {"key": 0, "value": 1}.get(by)
    if position is None:
        raise TemplateFault("dictsort: sort by key or value")
    pairs = _items(meter, value)
    measure(pairs, meter)
    return sorted(pairs, key=_key(position, case_sensitive, meter), reverse=reverse)


@_filter("reverse")
def _reverse(meter: Meter, value: Any) -> Any:
    if isinstance(value, str):
        meter.spend(len(value))
        return value[::-1]
    return items_of(value, meter)[::-1]


@_filter("sort")
def _sort(
    meter: Meter,
    value: Any,
    reverse: bool = False,  # noqa: FBT001, FBT002
    case_sensitive: bool = False,  # noqa: FBT001, FBT002
    attribute: Any = None,
) -> list[Any]:
    items = items_of(value, meter)
    for name in reversed(str(attribute).split(",")) if attribute is not None else (None,):
        meter.items(len(items))
        items.sort(key=_key(name, case_sensitive, meter), reverse=reverse)
    return items


@_filter("unique")
def _unique(meter: Meter, value: Any, case_sensitive: bool = False, attribute: Any = None) -> list[Any]:  # noqa: FBT001, FBT002
    key = _key(attribute, case_sensitive, meter)
    seen: dict[Any, Any] = {}
    for item in items_of(value, meter):
        seen.setdefault(key(item), item)
    return list(seen.values())


@_filter("min")
def _min(meter: Meter, value: Any, case_sensitive: bool = False, attribute: Any = None) -> Any:  # noqa: FBT001, FBT002
    items = items_of(value, meter)
    return min(items, key=_key(attribute, case_sensitive, meter)) if items else _empty("min")


@_filter("max")
def _max(meter: Meter, value: Any, case_sensitive: bool = False, attribute: Any = None) -> Any:  # noqa: FBT001, FBT002
    items = items_of(value, meter)
    return max(items, key=_key(attribute, case_sensitive, meter)) if items else _empty("max")


@_filter("sum")
def _sum(meter: Meter, value: Any, attribute: Any = None, start: Any = 0) -> Any:
    return total((_dig(item, attribute) for item in items_of(value, meter)), start, meter)


@_filter("batch")
def _batch(meter: Meter, value: Any, linecount: int, fill_with: Any = None) -> list[list[Any]]:
    items = items_of(value, meter)
    size = whole(linecount, "batch", 1, 1 << 30)
    rows = [items[start : start + size] for start in range(0, len(items), size)]
    if rows and fill_with is not None:
        meter.items(size - len(rows[-1]))
        rows[-1] += [fill_with] * (size - len(rows[-1]))
    return rows


@_filter("slice")
def _slice(meter: Meter, value: Any, slices: int, fill_with: Any = None) -> list[list[Any]]:
    items = items_of(value, meter)
    meter.items(whole(slices, "slice", 1, 1 << 30))
    size, longer = divmod(len(items), slices)
    rows, start = [], 0
    for index in range(slices):
        end = start + size + (index < longer)
        rows.append(items[start:end])
        if fill_with is not None and longer and index >= longer:
            rows[-1].append(fill_with)
        start = end
    return rows


@_filter("map")
def _map(
    meter: Meter, value: Any, name: str | None = None, *args: Any, attribute: Any = None, default: Any = None
) -> Any:
    items = items_of(value, meter)
    if name is None:
        return [_dig_or(item, attribute, default) for item in items]
    function = FILTERS.get(name)
    if function is None or name in ("map", "select", "reject", "selectattr", "rejectattr"):
        raise TemplateFault(f"map: no filter named {name!r} can be mapped")
    return [function(meter, item, *args) for item in items]


def _dig_or(item: Any, attribute: Any, default: Any) -> Any:
    try:
        return _dig(item, attribute)
    except Missing:
        if default is None:
            raise
        return default


def _holds(meter: Meter, name: str | None, value: Any, args: tuple[Any, ...]) -> bool:
    if name is None:
        return bool(value)
    test = TESTS.get(name)
    if test is None:
        raise TemplateFault(f"no test named {name!r}")
    return test(meter, value, *args)


@_filter("select")
def _select(meter: Meter, value: Any, name: str | None = None, *args: Any) -> list[Any]:
    return [item for item in items_of(value, meter) if _holds(meter, name, item, args)]


@_filter("reject")
def _reject(meter: Meter, value: Any, name: str | None = None, *args: Any) -> list[Any]:
    return [item for item in items_of(value, meter) if not _holds(meter, name, item, args)]


def _attribute_holds(meter: Meter, item: Any, attribute: Any, name: str | None, args: tuple[Any, ...]) -> bool:
    try:
        found = _dig(item, attribute)
    except Missing:
        return name == "undefined"
    return True if name == "defined" else _holds(meter, name, found, args)


@_filter("selectattr")
def _selectattr(meter: Meter, value: Any, attribute: Any, name: str | None = None, *args: Any) -> list[Any]:
    return [item for item in items_of(value, meter) if _attribute_holds(meter, item, attribute, name, args)]


@_filter("rejectattr")
def _rejectattr(meter: Meter, value: Any, attribute: Any, name: str | None = None, *args: Any) -> list[Any]:
    return [item for item in items_of(value, meter) if not _attribute_holds(meter, item, attribute, name, args)]


@_filter("default", "d")
def _default(meter: Meter, value: Any, default_value: Any = "", boolean: bool = False) -> Any:  # noqa: ARG001, FBT001, FBT002
    # A missing value never gets here: the expression evaluates to default_value instead.
    return value or default_value if boolean else value


# --- tests ----------------------------------------------------------------------------------------------------------


@_test("defined")
def _defined(meter: Meter, value: Any) -> bool:  # noqa: ARG001
    return True  # a missing value never gets here


@_test("undefined")
def _undefined(meter: Meter, value: Any) -> bool:  # noqa: ARG001
    return False


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, decimal.Decimal)) and not isinstance(value, bool)


_SIMPLE_TESTS: dict[str, Callable[[Any], bool]] = {
    "none": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "true": lambda value: value is True,
    "false": lambda value: value is False,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, float),
    "number": _is_number,
    "string": lambda value: isinstance(value, str),
    "mapping": lambda value: isinstance(value, Mapping),
    "sequence": lambda value: isinstance(value, (list, tuple, str, Mapping)),
    "iterable": lambda value: isinstance(value, (list, tuple, str, Mapping, set, frozenset)),
    "even": lambda value: _is_number(value) and value % 2 == 0,
    "odd": lambda value: _is_number(value) and value % 2 == 1,
    "lower": lambda value: isinstance(value, str) and value.islower(),
    "upper": lambda value: isinstance(value, str) and value.isupper(),
}


def _simple(test: Callable[[Any], bool]) -> Test:
    def run(meter: Meter, value: Any) -> bool:  # noqa: ARG001
        return test(value)

    return run


TESTS.update({name: _simple(test) for name, test in _SIMPLE_TESTS.items()})


@_test("divisibleby")
def _divisibleby(meter: Meter, value: Any, num: Any) -> bool:  # noqa: ARG001
    if not (_is_number(value) and _is_number(num)):
        raise TemplateFault("divisibleby: expected numbers")
    return bool(value % num == 0)


@_test("in")
def contains(meter: Meter, value: Any, seq: Any) -> bool:
    """Tell whether ``value`` is in a list, a text or the keys of a mapping."""
    if isinstance(seq, (Mapping, set, frozenset)):
        return value in seq
    if not isinstance(seq, (list, tuple, str)):
        raise TemplateFault(f"nothing is in {kind_of(seq)}")
    measure(seq, meter)
    meter.spend(len(seq))
    return value in seq


def compare(operator: str) -> Test:
    """Return the comparison of that name: ``eq, ne, lt, le, gt, ge``."""

    def run(meter: Meter, value: Any, other: Any) -> bool:
        measure(value, meter)
        measure(other, meter)
        match operator:
            case "eq":
                return bool(value == other)
            case "ne":
                return bool(value != other)
            case "lt":
                return bool(value < other)
            case "le":
                return bool(value <= other)
            case "gt":
                return bool(value > other)
            case _:
                return bool(value >= other)

    return run


for _names in (
    ("eq", "==", "equalto"),
    ("ne", "!="),
    ("lt", "<", "lessthan"),
    ("le", "<="),
    ("gt", ">", "greaterthan"),
    ("ge", ">="),
):
    TESTS.update(dict.fromkeys(_names, compare(_names[0])))


# --- functions ------------------------------------------------------------------------------------------------------


def _range(meter: Meter, *bounds: int) -> list[int]:
    for bound in bounds:
        whole(bound, "range", -(1 << 62), 1 << 62)
    numbers = range(*bounds)
    meter.items(max(0, (numbers.stop - numbers.start) // numbers.step))
    return list(numbers)


FUNCTIONS["range"] = _range
__all__ = ["FILTERS", "FUNCTIONS", "TESTS", "Missing", "add", "compare", "contains", "lookup"]
