"""Databases: DuckDB and SQLite files of the project, PostgreSQL servers.

A query's rows are the step's result, or a file that it refers to. An effect happens once: what a step changes is noted
in the database itself, in the same transaction, so that an attempt that died before its result was recorded is not
repeated. Values are bound, never pasted into a statement.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from orchestrator.domain.words import Path
from orchestrator.errors import TaskError
from orchestrator.ports.context import TaskContext
from orchestrator.ports.tools import Problem
from orchestrator.tools.database import effects, urls
from orchestrator.tools.database.database import watched
from orchestrator.tools.database.rows import distinct, fetched, plain, too_many, written
from orchestrator.tools.database.statement import Statement, mismatch, named
from orchestrator.tools.decorator import tool
from orchestrator.tools.fileerrors import missing
from orchestrator.tools.paths import Sandbox
from orchestrator.tools.tables.options import TableInput
from orchestrator.tools.tables.sqltext import wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from orchestrator.tools.database.database import Answer, Database
    from orchestrator.tools.database.urls import Address

MOST_ROWS = 1000
MOST_WRITTEN = 10_000_000
MOST_LOADED = 1_000_000

Url = Annotated[
    str, "`sqlite:///PATH`, `duckdb:///PATH` (a fourth slash: absolute) or `postgresql://USER@HOST/DATABASE`"
]
Values = Annotated[
    dict[str, Any] | list[Any] | None, "what `$name` stands for in the statement; for a list `$1`, `$2`, ..."
]
Timeout = Annotated[float, "seconds for all of it; then it is interrupted"]


def _check(parameters: Mapping[str, Any], is_template: Callable[[Any], bool]) -> list[Problem]:
    found: list[Problem] = []
    url, sql = parameters.get("url"), parameters.get("sql")
    if isinstance(url, str) and not is_template(url) and (fault := urls.fault(url)) is not None:
        found.append(Problem(fault[0], ("url",), fault[1]))
    texts: list[tuple[Path, Any]] = [(("sql",), sql)] if isinstance(sql, str) else []
    if isinstance(sql, list):
        texts = [(("sql", index), text) for index, text in enumerate(sql)]
    statements = []
    for path, text in texts:
        if not isinstance(text, str):
            continue  # its type is told already
        if is_template(text):
            message = "a statement holds no templates: what is pasted into it could be anything"
            hint = 'write $name where a value belongs, and give it: `values: {name: "{{ ... }}"}`'
            found.append(Problem(message, path, hint))
            continue
        try:
            statements.append(Statement.of(text))
        except TaskError as error:
            found.append(Problem(error.message, path))
    if texts and len(statements) == len(texts):
        found += _check_values(parameters, statements, is_template)
    found += [
        Problem(f"{value} is less than 0", (name,))
        for name in ("timeout", "max_rows", "preview")
        if isinstance(value := parameters.get(name), (int, float)) and value < 0
    ]
    return found


def _check_values(
    parameters: Mapping[str, Any], statements: list[Statement], is_template: Callable[[Any], bool]
) -> list[Problem]:
    values, rows = parameters.get("values"), parameters.get("rows")
    if is_template(values) or not isinstance(values, (dict, list, type(None))) or rows is not None:
        return []
    wrong_values = mismatch(statements, named(values))
    return (
        [Problem(wrong_values[0], ("values",) if values is not None else ("sql",), wrong_values[1])]
        if wrong_values
        else []
    )


@tool("sql", action="query", default=True, check=_check)
def query(  # noqa: PLR0913 - they are the options of a query, given by name
    url: Url,
    sql: Annotated[str, "one statement that only reads"],
    values: Values = None,
    *,
    context: TaskContext,
    output: Annotated[
        str | None, "file for the rows, its format told by its ending: .parquet, .csv, .tsv, .json, .jsonl"
    ] = None,
    preview: Annotated[int, "how many rows of the file the result shows"] = 5,
    max_rows: Annotated[int | None, "refuse more rows (default: 1,000; into a file 10,000,000)"] = None,
    timeout: Timeout = 60.0,
) -> dict[str, Any]:
    """Read rows: `{rows, columns, data}`, or with `output` the reference to a file as `data-processing` has it.

    Either is a table for the steps after it. The database is opened for reading only: nothing can be changed.
    `columns` tells the types that the values turned out to have.
    """
    statement = Statement.of(sql)
    bindings = _fitting([statement], values)
    most = max_rows if max_rows is not None else MOST_ROWS if output is None else MOST_WRITTEN
    with _opened(context, url, timeout, write=False) as database, database.transaction():
        answer = database.query(statement, bindings)
        if output is None:
            return fetched(answer, most)
        return written(answer, most, output, preview, context)


@tool("sql", action="execute", check=_check)
def execute(  # noqa: PLR0913 - they are the options of a change, given by name
    url: Url,
    sql: Annotated[str | list[str], "a statement, or several in their order; together they are one transaction"],
    values: Values = None,
    *,
    context: TaskContext,
    rows: Annotated[
        TableInput | None, "run the statements for each row of this table: its columns are values, too"
    ] = None,
    exactly_once: Annotated[
        bool, "note the effect in the table `orchestrator_effects` of the database, in the same transaction"
    ] = True,
    max_rows: Annotated[int, "refuse more rows from RETURNING"] = MOST_ROWS,
    timeout: Timeout = 60.0,
) -> dict[str, Any]:
    """Change something, all of it or nothing: `{changed, data}`.

    `changed` counts the rows that were inserted, updated or deleted, `data` are those that the last statement with
    RETURNING gave, dates and decimals as text. With `exactly_once` the effect is not repeated by an attempt that does
    not know of it: after a crash, or where the connection broke in the moment of the commit. A step that is run anew
    on purpose (`--rerun`, an edit) has its effect anew.
    """
    statements = [Statement.of(text) for text in ([sql] if isinstance(sql, str) else sql)]
    if not statements:
        raise wrong("sql: there is no statement")
    given = _given(statements, values, rows, context)

    with _opened(context, url, timeout, write=True) as database:

        def effect() -> dict[str, Any]:
            return _run(database, statements, given, max_rows, context)

        if exactly_once:
            what = [each.text for each in statements], given
            return effects.once(database, context, what, effect)
        with database.transaction():
            return effect()


def _run(
    database: Database, statements: list[Statement], given: list[dict[str, Any]], most: int, context: TaskContext
) -> dict[str, Any]:
    changed, data = 0, list[dict[str, Any]]()
    for done, values in enumerate(given):
        for statement in statements:
            answer = database.execute(statement, values)
            changed += answer.changed
            if answer.columns:
                data = _returned(answer, data if len(given) > 1 else [], most)
        if done % 1000 == 0:
            context.progress(done, len(given))
    return {"changed": changed, "data": data}


def _returned(answer: Answer, before: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    data, columns = list(before), distinct(answer.columns)
    for batch in answer.batches:
        data += [dict(zip(columns, map(plain, row), strict=True)) for row in batch]
        if len(data) > most:
            raise too_many(most, "raise `max_rows`, or return fewer")
    return data


def _given(statements: list[Statement], values: Any, rows: Any, context: TaskContext) -> list[dict[str, Any]]:
    """Return the values for each run of the statements; columns of a row that they do not use are left out."""
    if rows is None:
        return [_fitting(statements, values)]
    used = {name for statement in statements for name in statement.names}
    common = {name: value for name, value in named(values).items() if name in used}
    data = rows.get("data") if isinstance(rows, dict) else rows
    if not isinstance(data, list):
        data = _loaded(rows, context)
    if not all(isinstance(row, dict) for row in data):
        raise wrong("rows: each is a mapping of names to values")
    return [
        _fitting(statements, {**common, **{str(name): value for name, value in row.items() if name in used}})
        for row in data
    ]


def _loaded(rows: Any, context: TaskContext) -> list[Any]:
    """Return the rows of a table that is a file."""
    from orchestrator.tools.tables import outputs
    from orchestrator.tools.tables.session import working

    with working(context, {"input": rows}, {}) as session:
        session.engine.open(session.sources, {})
        data: list[Any] = outputs.fetch(session.engine, "SELECT * FROM input", MOST_LOADED)["data"]
    return data


def _fitting(statements: Sequence[Statement], values: Any) -> dict[str, Any]:
    """Return the values by name, if they are those that the statements use."""
    bindings = named(values)
    found = mismatch(statements, bindings)
    if found is not None:
        raise wrong(f"values: {found[0]}" + (f" ({found[1]})" if found[1] else ""))
    return bindings


@contextmanager
def _opened(context: TaskContext, url: str, seconds: float, *, write: bool) -> Iterator[Database]:
    """Open a database for one action, interrupted when its time is over or the attempt is cancelled."""
    address = urls.address(url)
    if address.kind == "postgresql":
        database: Any = _postgres(address, seconds, write=write)
        with _used(database, context, seconds):
            yield database
        return
    sandbox = Sandbox(context.project)
    with sandbox.place(address.path, create=write, change=write) as place:
        found = place.stat()
        if found is not None:
            place.require_file(found)
        elif not write:
            raise missing(place.path)
        if address.kind == "sqlite":
            from orchestrator.tools.database.sqlite import Sqlite

            database = Sqlite(place, write=write)
        else:
            from orchestrator.tools.database.duck import Duck

            database = Duck(place, write=write, seconds=seconds)
        with _used(database, context, seconds):
            yield database


@contextmanager
def _used(database: Any, context: TaskContext, seconds: float) -> Iterator[None]:
    try:
        with watched(database, context, seconds), database.translated():
            yield
    finally:
        database.close()


def _postgres(address: Address, seconds: float, *, write: bool) -> Database:
    try:
        from orchestrator.tools.database.postgres import Postgres
    except ImportError as error:
        raise TaskError(
            "PostgreSQL needs psycopg: pip install 'durable-orchestrator[postgres]'",
            kind="missing_extra",
            retryable=False,
        ) from error
    return Postgres(address, write=write, seconds=seconds)
