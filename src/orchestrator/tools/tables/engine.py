"""DuckDB, shut in: it reads and writes exactly the files it is told, and stops when the attempt is cancelled."""

# Whoever writes a pipeline writes its SQL; names are quoted by sqltext, and the engine opens no other file:
# ruff: noqa: S608

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from orchestrator.errors import TaskError
from orchestrator.tools.fileerrors import cancelled
from orchestrator.tools.tables import driver, sqltext

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from types import TracebackType

    from duckdb import DuckDBPyConnection

    from orchestrator.ports.context import TaskContext
    from orchestrator.tools.tables.inputs import Source

_LOOK_SECONDS = 0.05
_TELL_EVERY = 10  # looks


class Engine:
    """A database in memory for one action.

    ``paths`` are the only files it can open; no extension is loaded or fetched, and the configuration is locked
    before any SQL of the pipeline is seen. With one thread the same input gives the same bytes.
    """

    def __init__(self, context: TaskContext, *, memory: str, threads: int, scratch: Path) -> None:
        self._context = context
        self._memory = memory
        self._threads = threads
        self._scratch = scratch
        self._shown: dict[str, str] = {}
        self._connection: DuckDBPyConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()

    def open(self, inputs: dict[str, Source], outputs: dict[str, str]) -> None:
        """Start the database with a view or table for each input; ``outputs`` maps paths to what people call them."""
        duckdb = driver.duckdb()
        for source in inputs.values():
            self._shown |= source.shown
        self._shown |= outputs
        with self._translated():
            self._connection = duckdb.connect(
                ":memory:",
                config={
                    "autoinstall_known_extensions": "false",
                    "autoload_known_extensions": "false",
                    "python_enable_replacements": "false",
                    "threads": str(self._threads),
                    "async_threads": "0",  # else DuckDB 2.0 hangs now and then in a COPY that fails or is interrupted
                    "memory_limit": self._memory,
                    "temp_directory": str(self._scratch),
                },
            )
            for statement in (
                "SET TimeZone='UTC'",
                "SET enable_progress_bar=true",
                "SET enable_progress_bar_print=false",
                "SET progress_bar_time=0",
                f"SET allowed_paths={sqltext.literal(list(self._shown))}",
                "SET enable_external_access=false",
                "SET lock_configuration=true",
                "SELECT setseed(0.5)",
            ):
                self._connection.execute(statement)
        for name, source in inputs.items():
            if source.rows is not None:
                self.execute(
                    f"CREATE TEMP TABLE {sqltext.name(name)} AS SELECT unnest($1, max_depth := 2)", [source.rows]
                )
            else:
                self.execute(f"CREATE TEMP VIEW {sqltext.name(name)} AS SELECT * FROM {source.sql}")

    def query(self, text: str) -> str:
        """Return a pipeline's query without its semicolon; raise TaskError unless it is one that only reads."""
        duckdb = driver.duckdb()
        with self._translated():
            statements = duckdb.extract_statements(text)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise TaskError(
                "the query must be one statement that reads: SELECT, FROM, WITH or VALUES", kind="sql", retryable=False
            )
        return str(statements[0].query).strip().rstrip(";")

    def columns(self, query: str) -> dict[str, str]:
        """Return the columns of a query: name -> type."""
        return {str(row[0]): str(row[1]) for row in self.execute(f"DESCRIBE ({query}\n)")}

    def execute(
        self, sql: str, values: Sequence[Any] | None = None, *, most: int | None = None
    ) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows, at most ``most``; watched for cancellation, reporting progress."""
        connection = self._connection
        assert connection is not None  # noqa: S101 - `open` comes first
        with self._translated(), _watched(connection, self._context):
            result = connection.execute(sql, values)
            return result.fetchall() if most is None else result.fetchmany(most)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate what DuckDB raises, with the names that people know."""
        duckdb = driver.duckdb()
        try:
            yield
        except duckdb.InterruptException as error:
            raise cancelled("the query") from error
        except duckdb.Error as error:
            text = str(error)
            for path, shown in self._shown.items():
                text = text.replace(path, shown)
            raise _translate(duckdb, error, text) from error


def _translate(duckdb: Any, error: Exception, text: str) -> TaskError:
    if isinstance(error, duckdb.OutOfMemoryException):
        return TaskError(f"{text}\n(`memory` sets how much may be used)", kind="memory", retryable=False)
    if isinstance(error, duckdb.PermissionException):
        hint = "a query reads only the tables it is given: name the file in `inputs`"
        return TaskError(f"{text}\n({hint})", kind="path", retryable=False)
    if isinstance(error, (duckdb.IOException, duckdb.InternalException)):
        return TaskError(text, kind="io")
    return TaskError(text, kind="sql", retryable=False)


@contextmanager
def _watched(connection: DuckDBPyConnection, context: TaskContext) -> Iterator[None]:
    """Interrupt the connection once the attempt is cancelled, and report progress meanwhile."""
    done = threading.Event()

    def watch() -> None:
        looks = 0
        while not done.wait(_LOOK_SECONDS):
            looks += 1
            if context.cancelled:
                connection.interrupt()
            elif looks % _TELL_EVERY == 0:
                percent = float(connection.query_progress())
                if percent >= 0:
                    context.progress(round(percent, 1), 100.0)

    watcher = threading.Thread(target=watch, name="data-processing watch", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
