"""What a template may cost, and the operations that could cost too much.

Everything that makes something bigger than its parts goes through here and is paid for before it happens: a template
can neither eat memory nor run for long, on any machine, because what it may do is counted and not timed.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import pathlib
import re
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.domain.words import kind_of

MAX_TEXT = 1_048_576
"""Longest text that one template may yield, in characters."""
MAX_WORK = 8 * MAX_TEXT
"""Characters that rendering one value may make in all; an item of a list or mapping costs as much as eight."""
_ITEM = 8
MAX_BITS = 16_384
"""Largest whole number that a template may compute, in bits."""
MAX_WIDTH = 10_000
"""Largest width or precision that a format may ask for."""

_DATES = (dt.date, dt.time, dt.timedelta)  # a datetime is a date
_NUMBERS: tuple[Any, ...] = (int, float, decimal.Decimal)
SIGNED = (*_NUMBERS, dt.timedelta)
"""What can be negated."""
_TEXTUAL = (*_NUMBERS, *_DATES, enum.Enum, uuid.UUID, pathlib.PurePath)
_FORMAT = re.compile(
    r"%(?:\([^()]*\))?[-#0 +]*(?P<width>\*|[0-9]*)(?:\.(?P<precision>\*|[0-9]*))?(?P<kind>.?)", re.DOTALL
)


class TemplateFault(Exception):
    """A template could not be evaluated; the message says why."""


class Missing(TemplateFault):
    """Something that a template reads is not there; ``default`` and ``is defined`` catch this."""


class Meter:
    """Counts what rendering costs.

    >>> Meter(80).items(11)
    Traceback (most recent call last):
    orchestrator.compiler.limits.TemplateFault: too large: more than 80 characters, or 10 items
    """

    __slots__ = ("left", "limit")

    def __init__(self, limit: int = MAX_WORK) -> None:
        self.limit = limit
        self.left = limit

    def spend(self, characters: int) -> None:
        """Pay for so many characters; raise TemplateFault if that is too much."""
        self.left -= characters
        if self.left < 0:
            raise TemplateFault(f"too large: more than {self.limit:,} characters, or {self.limit // _ITEM:,} items")

    def items(self, count: int) -> None:
        """Pay for so many items of lists or mappings, or steps of work; raise TemplateFault if that is too much."""
        self.spend(count * _ITEM)

    def parts(self, value: str | list[Any] | tuple[Any, ...], times: int = 1) -> None:
        """Pay for all characters or items of ``value``, so many times."""
        self.spend(len(value) * times * (1 if isinstance(value, str) else _ITEM))


def text_of(value: Any, meter: Meter) -> str:
    """Return ``value`` as text inside other text, as Python writes it; raise TemplateFault if it has no fixed text."""
    if type(value) is str:
        meter.spend(len(value))
        return value
    if value is None or type(value) in (bool, float):
        return str(value)
    if isinstance(value, str):
        meter.spend(len(value))
        return str.__str__(value)
    if isinstance(value, int):
        check_bits(value.bit_length())
        return str(value)
    if isinstance(value, _TEXTUAL):
        return str(value)
    check_textual(value, meter)
    return repr(value)


def check_textual(value: Any, meter: Meter) -> None:
    """Refuse what has no fixed text: sets (no order), bytes, objects; count the rest."""
    todo = [value]
    while todo:
        item = todo.pop()
        match item:
            case str():
                meter.spend(2 * len(item) + 4)
            case int():
                check_bits(item.bit_length())
                meter.spend(6 + item.bit_length() // 3)
            case dict():
                meter.items(2 * len(item) + 1)
                todo.extend(item)
                todo.extend(item.values())
            case list() | tuple():
                meter.items(len(item) + 1)
                todo.extend(item)
            case None | float():
                meter.spend(24)
            case _ if isinstance(item, _TEXTUAL):
                meter.spend(80)
            case _:
                raise TemplateFault(f"{kind_of(item)} cannot be written as text")


def measure(value: Any, meter: Meter) -> None:
    """Pay for everything in ``value``, as something is about to walk through all of it."""
    if not isinstance(value, (list, tuple, dict, str)):
        return
    todo: list[Any] = [value]
    while todo:
        item = todo.pop()
        if isinstance(item, (list, tuple)):
            meter.items(len(item) + 1)
            todo.extend(item)
        elif isinstance(item, dict):
            meter.items(2 * len(item) + 1)
            todo.extend(item.values())
        elif isinstance(item, str):
            meter.spend(len(item) // 64)


def items_of(value: Any, meter: Meter) -> list[Any]:
    """Return what a filter goes through: items of a list, keys of a mapping, characters; a set in a fixed order."""
    if isinstance(value, (set, frozenset)):
        meter.items(2 * len(value))
        return sorted(value, key=lambda item: (type(item).__name__, repr(item)))
    if isinstance(value, (list, tuple, str, Mapping, range)):
        meter.items(len(value))
        return list(value)
    raise TemplateFault(f"expected a list, got {kind_of(value)}")


def whole(value: Any, what: str, low: int, high: int) -> int:
    """Return ``value`` if it is a whole number within bounds; raise TemplateFault naming ``what`` otherwise."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TemplateFault(f"{what}: expected a whole number, got {kind_of(value)}")
    if not low <= value <= high:
        raise TemplateFault(f"{what}: expected {low} to {high:,}, got {kind_of(value).removeprefix('the number ')}")
    return value


def check_bits(bits: int) -> None:
    """Refuse a whole number of so many bits."""
    if bits > MAX_BITS:
        raise TemplateFault("the number has too many digits")


def add(left: Any, right: Any, meter: Meter) -> Any:
    """``left + right``: numbers, dates, or two texts or lists."""
    if isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS):
        return left + right
    for kind in (str, list, tuple):
        if isinstance(left, kind) and isinstance(right, kind):
            meter.parts(left)
            meter.parts(right)
            return left + right  # type: ignore[operator]
    return _dates("+", left, right) if isinstance(left, _DATES) else _no("+", left, right)


def subtract(left: Any, right: Any, meter: Meter) -> Any:  # noqa: ARG001
    """``left - right``: numbers or dates."""
    if isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS):
        return left - right
    return _dates("-", left, right) if isinstance(left, _DATES) else _no("-", left, right)


def multiply(left: Any, right: Any, meter: Meter) -> Any:
    """``left * right``: numbers, or a text or list so many times."""
    if isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS):
        if isinstance(left, int) and isinstance(right, int):
            check_bits(left.bit_length() + right.bit_length())
        return left * right
    if isinstance(left, int):
        left, right = right, left
    if isinstance(left, (str, list, tuple)) and isinstance(right, int):
        meter.parts(left, max(right, 0))
        return left * right
    return _no("*", left, right)


def power(left: Any, right: Any, meter: Meter) -> Any:  # noqa: ARG001
    """``left ** right`` of numbers."""
    if not (isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS)):
        return _no("**", left, right)
    if isinstance(left, int) and isinstance(right, int) and abs(left) > 1 and right > 0:
        check_bits((abs(left).bit_length() - 1) * right + 1)
    result = left**right
    if isinstance(result, complex):
        raise TemplateFault("the result of ** is not a real number")
    return result


def modulo(left: Any, right: Any, meter: Meter) -> Any:
    """``left % right`` of numbers, or ``text % values``."""
    if isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS):
        return left % right
    if isinstance(left, str):
        return percent(left, right if isinstance(right, (tuple, dict)) else (right,), meter)
    return _no("%", left, right)


def divide(left: Any, right: Any, meter: Meter) -> Any:  # noqa: ARG001
    """``left / right`` of numbers."""
    return left / right if isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS) else _no("/", left, right)


def floor_divide(left: Any, right: Any, meter: Meter) -> Any:  # noqa: ARG001
    """``left // right`` of numbers."""
    return left // right if isinstance(left, _NUMBERS) and isinstance(right, _NUMBERS) else _no("//", left, right)


def percent(template: str, values: tuple[Any, ...] | dict[str, Any], meter: Meter) -> str:
    """Format as ``%`` does, without widths that eat memory and without calling anything of the values."""
    meter.spend(len(template))
    for found in _FORMAT.finditer(template):
        for size in (found["width"], found["precision"]):
            if size and (size == "*" or len(size) > len(str(MAX_WIDTH)) or int(size) > MAX_WIDTH):
                raise TemplateFault(f"a format may ask for at most {MAX_WIDTH:,} characters")
        meter.spend(int(found["width"] or 0) + int(found["precision"] or 0))
        if found["kind"] and found["kind"] not in "sdiuxXofFeEgG%":
            raise TemplateFault(f"no format %{found['kind']}")
    given = values.values() if isinstance(values, dict) else values
    for value in given:
        if isinstance(value, decimal.Decimal) and abs(value.adjusted()) > MAX_WIDTH:
            raise TemplateFault("the number has too many digits")
    if isinstance(values, dict):
        return template % {key: _formattable(value, meter) for key, value in values.items()}
    return template % tuple(_formattable(value, meter) for value in values)


def _formattable(value: Any, meter: Meter) -> Any:
    if isinstance(value, (float, decimal.Decimal)):
        meter.spend(400)
        return value
    if isinstance(value, int):
        check_bits(value.bit_length())
        return value
    return text_of(value, meter)


def count_of(value: Any) -> int:
    """Return the number of items of anything that has items, else 1."""
    return len(value) if isinstance(value, (str, list, tuple, Mapping, set, frozenset)) else 1


def total(values: Iterable[Any], start: Any, meter: Meter) -> Any:
    """Add all ``values`` up."""
    result = start
    for value in values:
        result = add(result, value, meter)
    return result


def _dates(operator: str, left: Any, right: Any) -> Any:
    if not isinstance(right, _DATES):
        _no(operator, left, right)
    return left + right if operator == "+" else left - right


def _no(operator: str, left: Any, right: Any) -> Any:
    raise TemplateFault(f"no {operator} between {kind_of(left)} and {kind_of(right)}")
