"""What is wrong with a value by its schema, in words of our own: short, whatever the value."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from orchestrator.domain.changes import shown
from orchestrator.domain.words import did_you_mean, kind_of

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

_WORDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}
TYPES = tuple(_WORDS)
"""The types that JSON Schema knows."""
_LIMITS = {
    "minimum": "{} or more",
    "maximum": "{} or less",
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "multipleOf": "a multiple of {}",
}
_SIZES = {
    "minLength": "at least {} character",
    "maxLength": "at most {} character",
    "minItems": "at least {} item",
    "maxItems": "at most {} item",
    "minProperties": "at least {} key",
    "maxProperties": "at most {} key",
}
_SHOWN = 8


def innermost(error: ValidationError) -> ValidationError:
    """Return the mistake that explains one of ``anyOf`` or ``oneOf`` best: that of the form which went furthest."""
    while error.context and error.validator in ("anyOf", "oneOf"):
        furthest = max(error.context, key=lambda inner: len(inner.relative_path))
        if not furthest.relative_path and len(error.context) > 1:
            return error
        error = furthest
    return error


def said(error: Any) -> str:
    """Say what is wrong."""
    keyword, wanted, value = error.validator, error.validator_value, error.instance
    if keyword in _SAYINGS:
        return _SAYINGS[keyword](error, wanted, value)
    if keyword in _LIMITS:
        return f"expected {_LIMITS[keyword].format(shown(wanted))}, got {shown(value)}"
    if keyword in _SIZES:
        return f"expected {_SIZES[keyword].format(shown(wanted))}{'s' * (wanted != 1)}, got {len(value)}"
    if keyword is None:
        return "the schema allows nothing here"
    return f"expected {keyword} {shown(wanted)}, got {shown(value)}"


def _unknown(error: Any, _: Any, __: Any) -> str:
    known = error.schema.get("properties", ()) if isinstance(error.schema, dict) else ()
    guess = did_you_mean(str(error.path[-1]), known)
    return "the schema has no such key" + (f" ({guess})" if guess else "")


def _no_form(error: Any, _: Any, value: Any) -> str:
    context = error.context
    if not context:
        return "this fits more than one form of oneOf"
    if all(inner.validator == "type" for inner in context):
        names = [name for inner in context for name in _listed(inner.validator_value)]
        return f"expected {_types(list(dict.fromkeys(names)))}, got {_kind(value)}"
    return f"this fits none of {len(context)} forms; the first: {said(innermost(context[0]))}"


def _one_from(values: Any) -> str:
    words = [shown(value) for value in values[:_SHOWN]]
    return f"one of {', '.join(words)}{', …' * (len(values) > _SHOWN)}" if len(values) > 1 else ", ".join(words)


def _listed(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _types(names: Any) -> str:
    return " or ".join(_WORDS.get(name, name) for name in _listed(names))


def _kind(value: Any) -> str:
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        return "a mapping with a key that is no text"
    return kind_of(value)


_SAYINGS: dict[str | None, Callable[[Any, Any, Any], str]] = {
    "additionalProperties": _unknown,
    "anyOf": _no_form,
    "const": lambda _, wanted, value: f"expected {shown(wanted)}, got {shown(value)}",
    "contains": lambda _, wanted, __: f"expected an item that fits {shown(wanted)}",
    "enum": lambda _, wanted, value: f"expected {_one_from(wanted)}, got {shown(value)}",
    "items": lambda *_: "there are more items than the schema has",
    "not": lambda _, wanted, __: f"this fits {shown(wanted)}, and must not",
    "oneOf": _no_form,
    "pattern": lambda _, wanted, value: f"expected text that matches {shown(wanted)}, got {shown(value)}",
    "required": lambda _, wanted, value: f"the key {shown(next(key for key in wanted if key not in value))} is missing",
    "type": lambda _, wanted, value: f"expected {_types(wanted)}, got {_kind(value)}",
    "unevaluatedItems": lambda *_: "there are more items than the schema has",
    "unevaluatedProperties": lambda *_: "there are keys that the schema does not have",
    "uniqueItems": lambda *_: "the same item stands before it, and none may occur twice",
}
