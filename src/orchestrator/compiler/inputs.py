"""What a run is given: declared inputs, their types, and the values for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.compiler.diagnostics import Collector, NoSource
from orchestrator.compiler.plain import plain_copy
from orchestrator.domain.pipeline import Input, Pipeline
from orchestrator.domain.words import Path, kind_of
from orchestrator.errors import UsageError

_FITS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "list": lambda value: isinstance(value, (list, tuple)),
    "object": lambda value: isinstance(value, Mapping),
    "any": lambda value: True,  # noqa: ARG005
}
TYPES = tuple(_FITS)
"""The types that an input can have."""
EXPECTED = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list",
    "object": "a mapping",
}
_FROM_SCHEMA = {
    "array": "list",
    "boolean": "boolean",
    "integer": "integer",
    "number": "number",
    "object": "object",
    "string": "string",
}
"""The types of JSON Schema -> those of inputs."""
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def fits(type_name: str, value: Any) -> bool:
    """Tell whether ``value`` is of an input's type; true is no number."""
    return _FITS[type_name](value)


def type_of(value: Any, schema: Mapping[str, Any] | None = None) -> str:
    """Return the type that an input has by its schema, else by its default: ``any`` for null.

    >>> [type_of(value) for value in ("x", 3, 2.5, True, [], {}, None)]
    ['string', 'integer', 'number', 'boolean', 'list', 'object', 'any']
    >>> type_of(3, {"type": "number"})
    'number'
    """
    if schema is not None and (found := schema_type(schema)) is not None:
        return found
    if value is None:
        return "any"
    order = ("string", "boolean", "integer", "number", "list", "object")
    return next((name for name in order if fits(name, value)), "any")


def schema_type(schema: Mapping[str, Any]) -> str | None:
    """Return the type of inputs that a schema names, None if it names none, or several."""
    word = schema.get("type")
    return _FROM_SCHEMA.get(word) if isinstance(word, str) else None


def check_value(mistakes: Collector, path: Path, schema: Mapping[str, Any], value: Any) -> None:
    """Note where a value, which stands at ``path``, is not what a good schema says."""
    from orchestrator.schemas.values import mistakes as breaches
    from orchestrator.schemas.values import validator_of

    for inner, message in breaches(validator_of(schema), value):
        mistakes.add((*path, *inner), message)
        if mistakes.full:
            break


def bind_inputs(pipeline: Pipeline, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for every declared input, in the order of their declaration.

    Takes what is ``given``, else the default. Raises DefinitionError with everything that is wrong at once: unknown
    names, missing required inputs, wrong types, and what breaks a schema, at its place inside the value.
    """
    mistakes = Collector(NoSource("<inputs>"))
    for name in given:
        if name not in pipeline.inputs:
            known = ", ".join(pipeline.inputs)
            hint = mistakes.guess(str(name), pipeline.inputs)
            hint = hint or (f"there are {known}" if known else "it declares none")
            mistakes.add((str(name),), f"the pipeline {pipeline.id} has no such input", hint)
    bound: dict[str, Any] = {}
    for name, declared in pipeline.inputs.items():
        if name in given:
            value = given[name]
            if not fits(declared.type, value):
                mistakes.add((name,), f"expected {EXPECTED[declared.type]}, got {kind_of(value)}")
            elif declared.schema is not None:
                check_value(mistakes, (name,), declared.schema, value)
            bound[name] = list(value) if isinstance(value, tuple) else value
        elif declared.required:
            what = f": {declared.description}" if declared.description else ""
            mistakes.add((name,), f"this input must be given{what}")
        else:
            bound[name] = plain_copy(declared.default, lambda *_: None)
    mistakes.check()
    return bound


def parse_input(declared: Input, text: str) -> Any:
    """Read a command line's ``-i name=text`` as the input's type; raise UsageError if it cannot be.

    Lists and objects are JSON; ``any`` is JSON if it parses, else text.

    >>> parse_input(Input("limit", "integer"), "12"), parse_input(Input("x"), "[1]"), parse_input(Input("x"), "a b")
    (12, [1], 'a b')
    """
    if declared.type == "string":
        return text
    if declared.type == "boolean":
        value: Any = _WORDS.get(text.strip().lower())
    else:
        try:
            value = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            value = text if declared.type == "any" else None
    if value is None and declared.type == "any":
        return None
    if value is None or not fits(declared.type, value):
        form = f"{EXPECTED[declared.type]} as JSON" if declared.type in ("list", "object") else EXPECTED[declared.type]
        raise UsageError(f"input {declared.name}: expected {form}, got {text!r}")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
