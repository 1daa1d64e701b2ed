"""Rules that the rows of a table must satisfy, each as the SQL condition of the rows that break it."""

# Whoever writes a pipeline writes its SQL; names are quoted by sqltext, and the engine opens no other file:
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from orchestrator.errors import TaskError
from orchestrator.tools.names import did_you_mean
from orchestrator.tools.tables import sqltext
from orchestrator.tools.tables.sqltext import wrong

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.tools.tables.engine import Engine

Broken = dict[str, str]
"""Name of a rule -> condition that is true for the rows that break it, and never NULL."""

_BOUNDS = 2


def broken(engine: Engine, options: Mapping[str, Any]) -> Broken:
    """Return the rules that the options name, in their order; raise TaskError for one that cannot be held."""
    found: Broken = {}
    for name, condition in _rules(_Columns(engine), options):
        if name in found:
            raise wrong(f"two rules are named {name!r}")
        _try(engine, name, condition)
        found[name] = condition
    return found


class _Columns:
    """The columns of the table, found whatever the case of their letters, as SQL has it."""

    def __init__(self, engine: Engine) -> None:
        self._known = {name.lower(): name for name in engine.columns("SELECT * FROM input")}

    def quoted(self, rule: str, name: str) -> str:
        if name.lower() not in self._known:
            there = self._known.values()
            guess = did_you_mean(name, there)
            hint = f" ({guess})" if guess else ""
            raise wrong(f"{rule}: the table has no column {name!r}; there are {', '.join(there)}{hint}")
        return sqltext.name(self._known[name.lower()])


def _rules(columns: _Columns, options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, text in (options.get("rules") or {}).items():
        yield name, f"({sqltext.expression(text)} IS NOT TRUE)"
    for name in _names(options.get("not_null")):
        yield f"not_null: {name}", f"({columns.quoted('not_null', name)} IS NULL)"
    for key in _keys(options.get("unique")):
        yield f"unique: {', '.join(key)}", _doubled([columns.quoted("unique", name) for name in key])
    for name, bounds in (options.get("between") or {}).items():
        yield f"between: {name}", _outside(columns.quoted("between", name), name, bounds)
    for name, values in (options.get("one_of") or {}).items():
        if not values:
            raise wrong(f"one_of: {name} names no value")
        listed = ", ".join(_literal(value) for value in values)
        yield f"one_of: {name}", f"coalesce({columns.quoted('one_of', name)} NOT IN ({listed}), false)"


def _try(engine: Engine, name: str, condition: str) -> None:
    """Let the database look at one rule alone, so that its mistake can be told with its name."""
    try:
        engine.columns(f"SELECT *, {condition} AS _orchestrator_broken FROM input")
    except TaskError as error:
        if error.kind != "sql":
            raise
        raise TaskError(f"rule {name!r}: {error.message}", kind="sql", retryable=False) from error


def _names(value: str | list[str] | None) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _keys(value: str | list[Any] | None) -> list[list[str]]:
    """Return the keys that `unique` names: one of one column, one of several, or several keys."""
    if not value:
        return []
    if isinstance(value, list) and any(isinstance(item, list) for item in value):
        return [_names(item) for item in value]
    return [_names(value)]


def _doubled(columns: list[str]) -> str:
    if not columns:
        raise wrong("unique: a key names no column")
    key = ", ".join(columns)
    there = " AND ".join(f"{column} IS NOT NULL" for column in columns)
    doubled = f"SELECT {key} FROM input WHERE {there} GROUP BY {key} HAVING count(*) > 1"
    return f"({there} AND ({key}) IN ({doubled}))"


def _outside(column: str, name: str, bounds: list[Any]) -> str:
    if len(bounds) != _BOUNDS or all(bound is None for bound in bounds):
        raise wrong(f"between: {name} needs two bounds, [lowest, highest]; one of them may be null")
    low, high = bounds
    parts = [] if low is None else [f"{column} < {_literal(low)}"]
    parts += [] if high is None else [f"{column} > {_literal(high)}"]
    return f"coalesce({' OR '.join(parts)}, false)"


def _literal(value: Any) -> str:
    if isinstance(value, (dt.date, dt.time)):
        return sqltext.literal(value.isoformat())
    return str(value) if isinstance(value, Decimal) and value.is_finite() else sqltext.literal(value)
