"""Results held against JSON Schema (2020-12), by the library ``jsonschema``, which is loaded with the first schema.

What is bounded: a check ends after ``MAX_CHECKS`` keywords, and a schema that refers to itself without end is found
out. Nothing is fetched: a reference leads to a place inside the schema. ``format`` only says what is meant; it is not
checked. What is not bounded: a ``pattern`` is the user's own, and one that backtracks takes the time that it takes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from itertools import islice
from re import error as PatternError  # noqa: N812 - its name from Python 3.13 on
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from orchestrator.domain.changes import joined, shown
from orchestrator.domain.words import shorten
from orchestrator.schemas.words import innermost, said

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

MAX_CHECKS = 10_000_000
"""A check that looks at more keywords than these gives up: about a minute."""
MAX_MESSAGE = 200
_KEPT = 128
_HEAVY = frozenset(("$ref", "$dynamicRef", "anyOf", "oneOf"))
"""Keywords that count as five: so much longer do they take."""
_work = threading.local()
"""``left``: how many keywords the check of this thread may still look at."""

Mistake = tuple[tuple[str | int, ...], str]
"""A place inside a value, and what is wrong there."""


class ResultSchemas:
    """The language's Schemas (see ``ports.schemas``): safe to share between threads.

    >>> schema = {"type": "array", "items": {"required": ["price"]}}
    >>> ResultSchemas().check(schema, [{"price": 3}, {}])
    "[1]: the key 'price' is missing"
    """

    def __init__(self) -> None:
        self._ready: dict[int, tuple[Mapping[str, Any], Any]] = {}  # by identity: a task keeps its schema

    def check(self, schema: Mapping[str, Any], value: Any) -> str | None:
        """Return the first mistake of ``value``, with its path, in at most 200 characters; None if there is none.

        The schema must be one that a definition was built with. Blocks: some microseconds for each keyword and item.
        """
        for path, message in mistakes(self._validator(schema), value):
            where = ""
            for part in path:
                where = joined(where, part) if isinstance(part, str) else f"{where}[{part}]"
            text = f"{shorten(where, MAX_MESSAGE // 2)}: {message}" if where else message
            return shorten(text, MAX_MESSAGE)
        return None

    def _validator(self, schema: Mapping[str, Any]) -> Any:
        known = self._ready.get(id(schema))
        if known is None:
            if len(self._ready) >= _KEPT:
                self._ready.clear()
            known = self._ready[id(schema)] = (schema, validator_of(schema))
        return known[1]


def validator_of(schema: Mapping[str, Any]) -> Any:
    """Return what ``mistakes`` holds values against a schema with."""
    from referencing import Registry

    # With $schema in it, the library would go on with a class of its own wherever the schema refers to itself.
    bare = {key: part for key, part in schema.items() if key != "$schema"}
    return _validators()(bare, registry=Registry())


def metaschema() -> Any:
    """Return what ``mistakes`` holds schemas themselves against."""
    from jsonschema import Draft202012Validator

    return _validators()(Draft202012Validator.META_SCHEMA, registry=_specifications())


@cache
def keywords() -> frozenset[str]:
    """Return every keyword of JSON Schema."""
    from jsonschema import Draft202012Validator

    whole: Any = Draft202012Validator.META_SCHEMA
    parts = [_specifications().contents(urljoin(whole["$id"], part["$ref"])) for part in whole["allOf"]]
    return frozenset(name for part in (whole, *parts) for name in part["properties"])


def mistakes(validator: Any, value: Any) -> Iterator[Mistake]:
    """Yield the mistakes of a value, in the order of the schema."""
    from referencing.exceptions import Unresolvable

    _work.left = MAX_CHECKS
    try:
        for error in validator.iter_errors(value):
            found = innermost(error)
            yield tuple(found.absolute_path), said(found)
    except _TooMuchError:
        yield (), f"it takes more than {MAX_CHECKS:,} checks to hold this against the schema"
    except RecursionError:
        yield (), "this is nested too deeply for the schema, or the schema refers to itself without end"
    except Unresolvable as fault:
        yield (), f"the schema refers to {shown(fault.ref)}, which is not inside it"
    except (ArithmeticError, LookupError, TypeError, ValueError, PatternError) as fault:
        yield (), f"this cannot be held against the schema: {fault}"


def _specifications() -> Any:
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    return REGISTRY


class _TooMuchError(Exception):
    """The check has taken all that it may."""


@cache
def _validators() -> Any:
    """Make the class of validators: the library's, counted, and with words, types and costs of our own."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    own = {
        "additionalProperties": _additional,
        "anyOf": _any_of,
        "multipleOf": _multiple_of,
        "oneOf": _one_of,
        "properties": _properties,
        "propertyNames": _names,
        "type": _type,
        "uniqueItems": _unique,
    }
    checker = Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "array": lambda _, value: isinstance(value, (list, tuple)),
            "integer": lambda _, value: _is_number(value) and value % 1 == 0,
            "number": lambda _, value: _is_number(value),
            "object": lambda _, value: isinstance(value, dict) and all(isinstance(key, str) for key in value),
        }
    )
    known: Mapping[str, Any] = Draft202012Validator.VALIDATORS
    keywords = {name: _counted(name, own.get(name, check)) for name, check in known.items()}
    made: Any = extend  # the stubs have no types for it
    return made(Draft202012Validator, keywords, type_checker=checker)


def _counted(name: str, check: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``check``, which takes what it costs from the work that is left."""
    cost = 5 if name in _HEAVY else 1
    squared = name.startswith("unevaluated")  # the library looks through a list for each item

    def counted(validator: Any, wanted: Any, instance: Any, schema: Any) -> Any:
        _work.left -= cost + (len(instance) ** 2 // 100 if squared and hasattr(instance, "__len__") else 0)
        if _work.left < 0:
            raise _TooMuchError
        return check(validator, wanted, instance, schema)

    return counted


def _is_number(value: Any) -> bool:
    """Tell whether JSON has this number: it knows neither nan nor infinity."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")


def _fault(path: tuple[str | int, ...] = (), **parts: Any) -> ValidationError:
    from jsonschema.exceptions import ValidationError

    return ValidationError("", path=path, **parts)


def _additional(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """Look at the keys that are neither named nor matched by a pattern, in their order."""
    import re

    if not validator.is_type(instance, "object"):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", ())
    for key in instance:
        if key in known or any(re.search(pattern, key) for pattern in patterns):
            continue
        if wanted is False:
            yield _fault((key,))
        else:
            yield from validator.descend(instance[key], wanted, path=key)


def _any_of(validator: Any, wanted: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    """Keep one mistake of each form: a form may have one for every item of a long list."""
    context: list[Any] = []
    for index, form in enumerate(wanted):
        first = next(validator.descend(instance, form, schema_path=index), None)
        if first is None:
            return
        context.append(first)
    yield _fault(context=context)


def _one_of(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    fitting = (index for index, form in enumerate(wanted) if validator.evolve(schema=form).is_valid(instance))
    found = list(islice(fitting, 2))
    if not found:
        yield from _any_of(validator, wanted, instance, schema)
    elif len(found) > 1:
        yield _fault()


def _multiple_of(validator: Any, wanted: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    """Divide the numbers as they are written: 0.07 is seven times 0.01."""
    from fractions import Fraction

    def exact(number: Any) -> Fraction:
        return Fraction(number if isinstance(number, int) else repr(float(number)))

    if validator.is_type(instance, "number") and exact(instance) % exact(wanted):
        yield _fault()


def _properties(validator: Any, wanted: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    """Look at the named keys; the library forgets where a key is that must not be there."""
    if validator.is_type(instance, "object"):
        for key, schema in wanted.items():
            if key in instance:
                found = validator.descend(instance[key], schema, path=key)
                yield from (found if schema is not False else (_fault((key,), validator=None),))


def _names(validator: Any, wanted: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "object"):
        for key in instance:
            yield from validator.descend(key, wanted, path=key)


def _type(validator: Any, wanted: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not any(validator.is_type(instance, name) for name in names):
        yield _fault()


def _unique(validator: Any, wanted: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    """Find equal items in linear time, whatever they are."""
    if not wanted or not validator.is_type(instance, "array"):
        return
    seen: set[Any] = set()
    for index, item in enumerate(instance):
        key = _key(item)
        if key in seen:
            yield _fault((index,))
        seen.add(key)


def _key(value: Any) -> Any:
    """Return something that is equal, and can be looked up, where JSON calls two values equal."""
    if isinstance(value, bool):
        return (bool, value)
    if isinstance(value, (list, tuple)):
        return (list, *map(_key, value))
    if isinstance(value, dict):
        return (dict, frozenset((key, _key(item)) for key, item in value.items()))
    try:
        hash(value)
    except TypeError:
        return (id, id(value))
    return value
