"""Tables: load, convert, filter, select, sort, join, aggregate, and SQL, by DuckDB.

A table is handed on as a file. The result of every action is a small reference to it,
`{path, format, rows, columns, bytes, sha256, preview}`, which the next step takes as its input. The file is a Parquet
file of the execution unless `output` names another, appears whole or not at all, and has the same bytes each time the
step is run on the same input, so that a repeated attempt changes nothing.

Queries read the tables they are given and no other file; nothing is fetched from anywhere.
"""

# Whoever writes a pipeline writes its SQL; names are quoted by sqltext, and the engine opens no other file:
# ruff: noqa: S608

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from orchestrator.ports.context import TaskContext
from orchestrator.tools.decorator import tool
from orchestrator.tools.tables import outputs, sqltext
from orchestrator.tools.tables.options import ConvertOptions, LoadOptions, OutputOptions, TableInput
from orchestrator.tools.tables.session import working
from orchestrator.tools.tables.sqltext import wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.tools.tables.engine import Engine

Names = Annotated[str | list[str], "a column, or several"]
Expression = Annotated[str, "a condition in SQL over the columns, like `dep_delay > 60 and origin = 'JFK'`"]
Columns = Annotated[
    list[str | dict[str, str]] | dict[str, str],
    "names, `*` for all, and new columns as {name: SQL expression}",
]
Order = Annotated[
    str | list[str], "columns to sort by, each with ` desc` and ` nulls first` or ` nulls last` if wanted"
]


@tool("data-processing", action="process", default=True)
def process(
    input: TableInput | None = None,  # noqa: A002
    *,
    context: TaskContext,
    where: Expression | None = None,
    columns: Columns | None = None,
    by: Order | None = None,
    **options: Unpack[OutputOptions],
) -> dict[str, Any]:
    """Filter, select and sort a table in one step: `where`, then `columns`, then `by`; each may be left away.

    A step that names no action means this one. Without `input` there is nothing to do, which is said in the log.
    """
    if input is None:
        context.logger.warning("no input was given: there is nothing to process")
        return {"path": None, "rows": 0, "columns": {}}
    query = f"SELECT {sqltext.selection(columns) if columns is not None else '*'} FROM input"
    if where is not None:
        query += f" WHERE {sqltext.expression(where)}"
    if by is not None:
        query = f"SELECT * FROM ({query}\n){sqltext.ordering(_list(by))}"
    return _run(context, {"input": input}, options, query)


@tool("data-processing", action="load")
def load(input: TableInput, *, context: TaskContext, **options: Unpack[LoadOptions]) -> dict[str, Any]:  # noqa: A002
    """Read a CSV, JSON or Parquet file (also `.gz`, `.zst`, or a `.zip` of one file) as a table.

    Delimiter, header and types are found out where they are not said.
    """
    return _run(context, {"input": input}, options, "SELECT * FROM input")


@tool("data-processing", action="convert")
def convert(
    input: TableInput,  # noqa: A002
    output: Annotated[str, "file to write, its format told by its ending"],
    *,
    context: TaskContext,
    **options: Unpack[ConvertOptions],
) -> dict[str, Any]:
    """Write a table in another format: .parquet, .csv, .tsv, .json (one array) or .jsonl (a line for each row)."""
    return _run(context, {"input": input}, {**options, "output": output}, "SELECT * FROM input")


@tool("data-processing", action="filter")
def filter_(
    input: TableInput,  # noqa: A002
    where: Expression,
    *,
    context: TaskContext,
    **options: Unpack[OutputOptions],
) -> dict[str, Any]:
    """Keep the rows for which a condition holds, in their order."""
    return _run(context, {"input": input}, options, f"SELECT * FROM input WHERE {sqltext.expression(where)}")


@tool("data-processing", action="select")
def select(
    input: TableInput,  # noqa: A002
    columns: Columns,
    *,
    context: TaskContext,
    distinct: Annotated[bool, "drop rows that are the same as another; the rest is sorted"] = False,
    **options: Unpack[OutputOptions],
) -> dict[str, Any]:
    """Keep, compute or rename columns."""
    query = f"SELECT {'DISTINCT ' if distinct else ''}{sqltext.selection(columns)} FROM input"
    return _run(context, {"input": input}, options, query + (" ORDER BY ALL" if distinct else ""))


@tool("data-processing", action="sort")
def sort(
    input: TableInput,  # noqa: A002
    by: Order,
    *,
    context: TaskContext,
    **options: Unpack[OutputOptions],
) -> dict[str, Any]:
    """Sort a table. Rows that are equal by the columns named keep their order."""
    numbered = "SELECT *, row_number() OVER () AS _orchestrator_row FROM input"
    query = f"SELECT * EXCLUDE (_orchestrator_row) FROM ({numbered}){sqltext.ordering(_list(by))}, _orchestrator_row"
    return _run(context, {"input": input}, options, query)


@tool("data-processing", action="join")
def join(
    left: TableInput,
    right: TableInput,
    on: Annotated[str | list[str] | dict[str, str], "columns of that name in both, or {left column: right column}"],
    *,
    context: TaskContext,
    how: Annotated[
        Literal["inner", "left", "right", "full", "semi", "anti"],
        "rows kept: the matching, all of one side, all of both; `semi`, `anti`: left rows with or without a match",
    ] = "inner",
    suffix: Annotated[str, "put behind a right column's name that the left table has too"] = "_right",
    **options: Unpack[OutputOptions],
) -> dict[str, Any]:
    """Join two tables on equal columns.

    The result has the left columns, then the right ones without those joined on.
    """
    keys = dict(on) if isinstance(on, dict) else {key: key for key in _list(on)}
    if not keys:
        raise wrong("`on` names no column")

    def query(engine: Engine) -> str:
        columns = engine.columns('SELECT * FROM "left"'), engine.columns('SELECT * FROM "right"')
        return _join(keys, how, suffix, columns)

    return _run(context, {"left": left, "right": right}, options, query)


@tool("data-processing", action="aggregate")
def aggregate(
    input: TableInput,  # noqa: A002
    measures: Annotated[dict[str, str], "{name: SQL aggregate}, like {flights: count(*), delay: avg(dep_delay)}"],
    *,
    context: TaskContext,
    by: Names | None = None,
    where: Expression | None = None,
    having: Annotated[str | None, "a condition on the groups, like `count(*) > 10`"] = None,
    **options: Unpack[OutputOptions],
) -> dict[str, Any]:
    """Compute measures for each group of rows with the same values in `by`, or over all rows; sorted by group."""
    groups = _list(by) if by is not None else []
    if not measures:
        raise wrong("`measures` names nothing to compute")
    chosen = [sqltext.name(group) for group in groups]
    chosen += [f"{sqltext.expression(text)} AS {sqltext.name(measure)}" for measure, text in measures.items()]
    query = f"SELECT {', '.join(chosen)} FROM input"
    if where is not None:
        query += f" WHERE {sqltext.expression(where)}"
    if groups:
        query += f" GROUP BY {sqltext.names(groups)}"
    if having is not None:
        query += f" HAVING {sqltext.expression(having)}"
    if groups:
        query += f" ORDER BY {sqltext.names(groups)}"
    return _run(context, {"input": input}, options, query)


@tool("data-processing", action="sql")
def sql(
    query: Annotated[str, "one SELECT over the tables that `inputs` names"],
    inputs: Annotated[dict[str, TableInput] | None, "{table name in the query: table}"] = None,
    *,
    context: TaskContext,
    **options: Unpack[OutputOptions],
) -> dict[str, Any]:
    """Run a query. Without ORDER BY the order of its rows is the engine's; `random()` begins from a fixed seed."""
    return _run(context, dict(inputs or {}), options, lambda engine: engine.query(query))


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _join(keys: dict[str, str], how: str, suffix: str, columns: tuple[dict[str, str], dict[str, str]]) -> str:
    left, right = columns
    known = {name.lower(): name for name in right}
    for side, table, wanted in (("left", left, keys.keys()), ("right", right, keys.values())):
        for key in wanted:
            if key.lower() not in {name.lower() for name in table}:
                raise wrong(f"the {side} table has no column {key!r}; there are {', '.join(table)}")
    condition = " AND ".join(f"l.{sqltext.name(one)} = r.{sqltext.name(other)}" for one, other in keys.items())
    if how in ("semi", "anti"):
        return f'SELECT l.* FROM "left" l {how} JOIN "right" r ON {condition}'
    matched = {one.lower(): known[other.lower()] for one, other in keys.items()}
    chosen, taken = [], {name.lower() for name in left}
    for column in left:
        partner = matched.get(column.lower()) if how in ("right", "full") else None
        own = f"l.{sqltext.name(column)}"
        if partner is not None:
            own = f"coalesce({own}, r.{sqltext.name(partner)}) AS {sqltext.name(column)}"
        chosen.append(own)
    joined = {other.lower() for other in keys.values()}
    for column in right:
        if column.lower() in joined:
            continue
        new = column + suffix if column.lower() in taken else column
        if new.lower() in taken:
            raise wrong(f"both tables have a column {new!r}; choose another `suffix`")
        taken.add(new.lower())
        chosen.append(f"r.{sqltext.name(column)} AS {sqltext.name(new)}")
    return f'SELECT {", ".join(chosen)} FROM "left" l {how} JOIN "right" r ON {condition}'


def _run(
    context: TaskContext, inputs: Mapping[str, Any], options: Mapping[str, Any], query: str | Callable[[Engine], str]
) -> dict[str, Any]:
    """Run a query over the inputs and hand its table on as the options say."""
    if options.get("as_rows") and "output" in options:
        raise wrong("`as_rows` and `output` exclude each other")
    limit = options.get("limit")
    with working(context, inputs, options) as session:
        engine = session.engine

        def start(files: dict[str, str]) -> str:
            engine.open(session.sources, files)
            text = engine.query(query) if isinstance(query, str) else query(engine)
            return text if limit is None else f"SELECT * FROM (\n{text}\n) LIMIT {limit:d}"

        if options.get("as_rows"):
            return outputs.fetch(engine, start({}), limit)
        place = session.place(options.get("output") or outputs.default_path(context))
        return outputs.write(engine, place, start, options.get("preview", 5), context)
