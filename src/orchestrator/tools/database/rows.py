"""Rows of a database as results: in the journal, or as a file of a table."""

# The names are ours or quoted by sqltext:
# ruff: noqa: S608

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from orchestrator.errors import TaskError
from orchestrator.tools.tables import outputs, sqltext
from orchestrator.tools.tables.inputs import Source
from orchestrator.tools.tables.session import working
from orchestrator.tools.tables.sqltext import wrong

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.ports.context import TaskContext
    from orchestrator.tools.database.database import Answer

_KEPT = (type(None), bool, int, float, str, bytes, datetime, date, time, timedelta, Decimal, UUID)
_TYPES: dict[type, str] = {
    bool: "BOOLEAN", int: "BIGINT", float: "DOUBLE", str: "VARCHAR", bytes: "BLOB", datetime: "TIMESTAMP",
    date: "DATE", time: "TIME", Decimal: "DECIMAL", UUID: "UUID", list: "JSON", dict: "JSON",
}  # fmt: skip
_AWARE = "TIMESTAMP WITH TIME ZONE"
_DIGITS = 38


def kept(value: Any) -> Any:
    """Return a value as a result may hold it: what Python has no type of its own for becomes text."""
    if isinstance(value, dict):
        return {str(key): kept(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [kept(item) for item in value]
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    return value if type(value) in _KEPT else str(value)


def plain(value: Any) -> Any:
    """Return a value as JSON has it; what JSON does not know becomes text."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):  # noqa: PLR0124 - NaN
        return str(value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def fetched(answer: Answer, most: int) -> dict[str, Any]:
    """Return a small table as rows: `{rows, columns, data}`."""
    columns = distinct(answer.columns)
    kinds = Kinds(columns)
    data: list[dict[str, Any]] = []
    for batch in answer.batches:
        if len(data) + len(batch) > most:
            raise too_many(most, "name an `output` to hand it on as a file, or raise `max_rows`")
        for row in batch:
            values = [kept(value) for value in row]
            kinds.add(values)
            data.append(dict(zip(columns, values, strict=True)))
    return {"rows": len(data), "columns": kinds.found(), "data": data}


def too_many(most: int, hint: str) -> TaskError:
    """Return the error for more rows than the step allows."""
    return TaskError(f"there are more than {most:,} rows; {hint}", kind="too_large", retryable=False)


def written(answer: Answer, most: int, output: str, preview: int, context: TaskContext) -> dict[str, Any]:
    """Write the rows to a file, its format told by its ending, and return the reference to it."""
    columns = distinct(answer.columns)
    kinds = Kinds(columns)
    with working(context, {}, {"preview": preview}) as session:
        place = session.place(output)
        outputs.Format.of(place.name)  # before the rows are fetched
        scratch = outputs.scratch(context.project, context)
        scratch.mkdir(parents=True, exist_ok=True)
        path = scratch / "rows.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for line in _lines(answer, kinds, most):
                file.write(line)

        def start(files: dict[str, str]) -> str:
            source = Source(paths=[str(path)], shown={str(path): "the rows"})
            session.engine.open({}, files | source.shown)
            return kinds.query(str(path))

        return outputs.write(session.engine, place, start, preview, context)


def _lines(answer: Answer, kinds: Kinds, most: int) -> Iterator[str]:
    for batch in answer.batches:
        for row in batch:
            values = [kept(value) for value in row]
            kinds.add(values)
            if kinds.rows > most:
                raise too_many(most, "raise `max_rows`")
            texts = {f"c{index}": _text(value) for index, value in enumerate(values) if value is not None}
            yield json.dumps(texts, ensure_ascii=False) + "\n"


def _text(value: Any) -> str:
    """Return a value as the text that DuckDB reads it from."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, (list, dict)):
        return json.dumps(plain(value), ensure_ascii=False)
    return repr(value) if isinstance(value, float) else str(value)


class Kinds:
    """What types the values of each column turned out to have."""

    def __init__(self, columns: list[str]) -> None:
        self.rows = 0
        self._columns = columns
        self._seen: list[set[str]] = [set() for _ in columns]
        self._whole = [0] * len(columns)
        self._scale = [0] * len(columns)

    def add(self, values: list[Any]) -> None:
        """Take a row."""
        self.rows += 1
        for index, value in enumerate(values):
            if value is None:
                continue
            kind = _TYPES.get(type(value), "VARCHAR")
            if kind == "TIMESTAMP" and value.tzinfo is not None:
                kind = _AWARE
            elif kind == "BIGINT" and not -(1 << 63) <= value < 1 << 63:
                kind = "HUGEINT" if -(1 << 127) < value < 1 << 127 else "VARCHAR"
            elif kind == "DECIMAL":
                kind = self._decimal(index, value)
            self._seen[index].add(kind)

    def _decimal(self, index: int, value: Decimal) -> str:
        exponent = value.as_tuple().exponent
        if not isinstance(exponent, int):
            return "VARCHAR"  # NaN and the infinities
        self._scale[index] = max(self._scale[index], -exponent)
        self._whole[index] = max(self._whole[index], value.adjusted() + 1)
        return "DECIMAL"

    def found(self) -> dict[str, str]:
        """Return the columns: name -> type, as DuckDB calls it."""
        return {name: self._kind(index) for index, name in enumerate(self._columns)}

    def _kind(self, index: int) -> str:
        seen = self._seen[index]
        if len(seen) > 1 and seen <= {"BIGINT", "HUGEINT", "DOUBLE"}:
            return "DOUBLE" if "DOUBLE" in seen else "HUGEINT"
        if len(seen) != 1:
            return "VARCHAR"
        (kind,) = seen
        if kind == "DECIMAL":
            scale = self._scale[index]
            return f"DECIMAL({_DIGITS},{scale})" if self._whole[index] + scale <= _DIGITS else "VARCHAR"
        return kind

    def query(self, path: str) -> str:
        """Return the query that reads the rows from a file of texts with their types."""
        if not self.rows:
            items = [f"CAST(NULL AS {kind}) AS {sqltext.name(name)}" for name, kind in self.found().items()]
            return f"SELECT {', '.join(items)} WHERE false"
        items = []
        for index, (name, kind) in enumerate(self.found().items()):
            value = f"unhex(c{index})" if kind == "BLOB" else f"CAST(c{index} AS {kind})"
            items.append(f"{value} AS {sqltext.name(name)}")
        texts = {f"c{index}": "VARCHAR" for index in range(len(self._columns))}
        options = {"format": "newline_delimited", "columns": texts, "maximum_object_size": 1 << 28}
        return f"SELECT {', '.join(items)} FROM {sqltext.call('read_json', sqltext.literal([path]), options)}"


def distinct(columns: list[str]) -> list[str]:
    """Return the names of a query's columns; raise TaskError unless there are some, each with a name of its own."""
    if not columns:
        raise wrong("the statement gives no rows: it is no query")
    seen: set[str] = set()
    for name in columns:
        if name.lower() in seen:
            raise wrong(f"two columns are named {name!r}; name one of them otherwise, by AS")
        seen.add(name.lower())
    return columns
