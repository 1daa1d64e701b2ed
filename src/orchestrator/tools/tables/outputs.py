"""Where a table goes: a file that appears whole, and a small reference to it as the step's result."""

# Whoever writes a pipeline writes its SQL; names are quoted by sqltext, and the engine opens no other file:
# ruff: noqa: S608

from __future__ import annotations

import datetime as dt
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import TaskError
from orchestrator.tools.atomic import file_name, replacing, sha256_of
from orchestrator.tools.left import folder
from orchestrator.tools.looking import tell_written
from orchestrator.tools.tables import sqltext
from orchestrator.tools.tables.inputs import split_name
from orchestrator.tools.tables.sqltext import wrong

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.ports.context import TaskContext
    from orchestrator.tools.paths import Place
    from orchestrator.tools.tables.engine import Engine

MOST_ROWS = 1000
"""Rows returned by ``as_rows`` without a ``limit`` of the pipeline's own."""

_LONGEST_TEXT = 200
_PLAIN = re.compile(
    r"BOOLEAN|U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(.*\)|VARCHAR|BLOB|DATE|TIME|UUID"
    r"|TIMESTAMP(_S|_MS)?|\"NULL\""
)
_NESTED = re.compile(r".*\]|(STRUCT|MAP)\(.*\)", re.DOTALL)
_AWARE = "TIMESTAMP WITH TIME ZONE"


@dataclass(frozen=True, slots=True)
class Format:
    """How a file is written: what the reference calls it, and DuckDB's options for COPY."""

    name: str
    options: str

    @classmethod
    def of(cls, file: str) -> Format:
        """Return the format that a file's ending names."""
        form, compression, tabs = split_name(file)
        packed = f", COMPRESSION {compression}" if compression else ""
        if form is None or compression == "zip" or (form == "parquet" and compression):
            raise wrong(
                f"the ending of {file!r} names no format to write: .parquet, .csv, .tsv, .json, .jsonl; "
                "the texts also with .gz or .zst"
            )
        if form == "parquet":
            return cls(form, "FORMAT parquet, COMPRESSION zstd")
        if form == "csv":
            return cls(form, f"FORMAT csv, HEADER true, DELIMITER '{chr(9) if tabs else ','}'{packed}")
        array = file.lower().removesuffix(".gz").removesuffix(".zst").endswith(".json")
        return cls(form, f"FORMAT json, ARRAY {'true' if array else 'false'}{packed}")


def default_path(context: TaskContext) -> str:
    """Return where a step's table goes if it does not say: one file for each task of each execution."""
    return f"{folder(context.execution_id)}/{file_name(context.task_id)}.parquet"


def write(
    engine: Engine, place: Place, start: Callable[[dict[str, str]], str], preview: int, context: TaskContext
) -> dict[str, Any]:
    """Write a table to a place and return the reference to it.

    ``start`` is told the path to write, opens the database and returns the query.
    """
    form = Format.of(place.name)
    with replacing(place, context) as (descriptor, name):
        target = _beside(place, name)
        query = start({target: place.path})
        columns = engine.columns(query)
        copied = engine.execute(f"COPY ({query}\n) TO {sqltext.literal(target)} ({form.options}, USE_TMP_FILE false)")
        rows = int(copied[0][0])
        written, sha256 = os.fstat(descriptor), sha256_of(descriptor, context)
        about = {
            "path": place.path,
            "format": form.name,
            "rows": rows,
            "columns": columns,
            "bytes": written.st_size,
            "sha256": sha256,
        }
        source = query if form.name != "parquet" else f"SELECT * FROM read_parquet({sqltext.literal(target)})"
        about["preview"] = first_rows(engine, source, columns, preview)
    tell_written(context, place, written, sha256)
    return about


def fetch(engine: Engine, query: str, limit: int | None) -> dict[str, Any]:
    """Return a small table as rows: `{rows, columns, data}`."""
    columns = engine.columns(query)
    most = MOST_ROWS if limit is None else limit
    found = engine.execute(_readable(query, columns), most=most + 1)
    if len(found) > most:
        raise TaskError(
            f"the table has more than {most:,} rows; leave `as_rows` away to hand it on as a file, or set `limit`",
            kind="too_large",
            retryable=False,
        )
    return {"rows": len(found), "columns": columns, "data": _rows(found, columns)}


def _beside(place: Place, name: str) -> str:
    path = f"/proc/self/fd/{place.folder}"
    return f"{path}/{name}" if os.path.isdir(path) else str(place.full.with_name(name))  # noqa: PTH112


def first_rows(engine: Engine, query: str, columns: dict[str, str], count: int) -> list[dict[str, Any]]:
    """Return the first rows of a query whose columns are known, for people: long values are cut."""
    if count <= 0:
        return []
    found = engine.execute(_readable(f"SELECT * FROM (\n{query}\n) LIMIT {count:d}", columns))
    return [{key: _short(value) for key, value in row.items()} for row in _rows(found, columns)]


def _readable(query: str, columns: dict[str, str]) -> str:
    """Return the query with every column in a type that Python knows: what it does not know becomes text."""
    items = []
    for column, kind in columns.items():
        quoted = sqltext.name(column)
        if kind == _AWARE:
            items.append(f"{quoted} AT TIME ZONE 'UTC'")
        elif _PLAIN.fullmatch(kind) or (_NESTED.fullmatch(kind) and "TIME" not in kind and "UNION" not in kind):
            items.append(quoted)
        else:
            items.append(f"CAST({quoted} AS VARCHAR)")
    return f"SELECT {', '.join(items)} FROM (\n{query}\n)"


def _rows(found: list[tuple[Any, ...]], columns: dict[str, str]) -> list[dict[str, Any]]:
    aware = {position for position, kind in enumerate(columns.values()) if kind == _AWARE}
    rows = []
    for row in found:
        values = [
            value.replace(tzinfo=dt.UTC) if position in aware and isinstance(value, dt.datetime) else value
            for position, value in enumerate(row)
        ]
        rows.append(dict(zip(columns, values, strict=True)))
    return rows


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return f"{value[:_LONGEST_TEXT]}..."
    if isinstance(value, bytes):
        return value[:_LONGEST_TEXT]
    if isinstance(value, (list, dict)) and len(text := repr(value)) > _LONGEST_TEXT:
        return f"{text[:_LONGEST_TEXT]}..."
    return value


def scratch(project: Path, context: TaskContext) -> Path:
    """Return a folder for what does not fit into memory: of this attempt alone, removed at its end."""
    return project / folder(context.execution_id) / f"{file_name(context.task_id)}-{context.attempt}.tmp"
