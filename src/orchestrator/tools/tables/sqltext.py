"""Writing SQL: names and values quoted, expressions kept in their place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from orchestrator.errors import TaskError
from orchestrator.tools.tables import driver

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_ORDER = re.compile(
    r"(?P<name>.+?)(?:\s+(?P<way>asc|desc))?(?:\s+nulls\s+(?P<nulls>first|last))?", re.IGNORECASE | re.DOTALL
)


def wrong(message: str) -> TaskError:
    """Return the error for a call that no later attempt will make right."""
    return TaskError(message, kind="parameters", retryable=False)


def name(text: str) -> str:
    """Return a name of a column or table, quoted."""
    if not text or "\0" in text:
        raise wrong(f"{text!r} cannot name a column or a table")
    return '"' + text.replace('"', '""') + '"'


def names(texts: Iterable[str]) -> str:
    """Return names, quoted and separated."""
    return ", ".join(name(text) for text in texts)


def literal(value: Any) -> str:
    """Return a text, number, boolean, list or mapping (a STRUCT) as SQL."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        if "\0" in value:
            raise wrong(f"{value!r} holds a NUL character")
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, list):
        return "[" + ", ".join(literal(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(str(key))}: {literal(item)}" for key, item in value.items()) + "}"
    raise wrong(f"{type(value).__name__} cannot be written in SQL")


def call(function: str, first: str, options: Mapping[str, Any]) -> str:
    """Return a table function's call with named arguments."""
    rest = "".join(f", {key}={literal(value)}" for key, value in options.items())
    return f"{function}({first}{rest})"


def expression(text: str) -> str:
    """Return an expression in brackets of its own; raise TaskError if it is none.

    What can stand alone behind SELECT closes no bracket that it did not open, and what can stand in brackets brings
    no further part of a query. The last bracket has a line of its own: a comment cannot swallow it.
    """
    duckdb = driver.duckdb()
    inside = f"(\n{text}\n)"
    try:
        for query in (f"SELECT\n{text}\n", f"SELECT {inside}"):
            if len(duckdb.extract_statements(query)) != 1:
                raise wrong(f"{text!r} is more than an expression")
    except duckdb.Error as error:
        raise wrong(f"{text!r} is no SQL expression: {str(error).splitlines()[0]}") from error
    return inside


def ordering(by: Sequence[str]) -> str:
    """Return ORDER BY of items like ``name``, ``name desc``, ``name desc nulls first``."""
    items = []
    for item in by:
        match = _ORDER.fullmatch(item.strip())
        if match is None:
            raise wrong(f"{item!r} is no column to sort by; write `name`, `name desc` or `name desc nulls first`")
        way, nulls = match["way"], match["nulls"]
        items.append(name(match["name"]) + (f" {way}" if way else "") + (f" NULLS {nulls}" if nulls else ""))
    if not items:
        raise wrong("there is no column to sort by")
    return " ORDER BY " + ", ".join(items)


def selection(columns: Sequence[str | Mapping[str, str]] | Mapping[str, str]) -> str:
    """Return the list of a SELECT: names, ``*``, and new columns as mappings of name to expression."""
    items: list[str] = []
    for item in [columns] if isinstance(columns, dict) else columns:
        if isinstance(item, str):
            items.append("*" if item == "*" else name(item))
        else:
            items += [f"{expression(text)} AS {name(new)}" for new, text in dict(item).items()]
    if not items:
        raise wrong("no columns are selected")
    return ", ".join(items)
