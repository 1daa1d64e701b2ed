"""DuckDB: one file of the project, shut in like the tables of `data-processing`."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.errors import TaskError
from orchestrator.tools.database.database import BATCH, Answer, busy, failed
from orchestrator.tools.tables import driver
from orchestrator.tools.tables.sqltext import wrong

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection

    from orchestrator.tools.database.statement import Statement
    from orchestrator.tools.paths import Place

_CONFIG = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "async_threads": "0",
    "enable_external_access": "false",
    "lock_configuration": "true",
    "python_enable_replacements": "false",
}

_held: dict[str, threading.Lock] = {}
_holding = threading.Lock()


def _lock_of(path: str) -> threading.Lock:
    """Return what keeps two steps of one process apart: DuckDB opens a file in one way at a time."""
    with _holding:
        return _held.setdefault(path, threading.Lock())


class Duck:
    """A file opened for one action. ``write``: it may be changed, and is made if it is not there."""

    def __init__(self, place: Place, *, write: bool, seconds: float) -> None:
        self._duckdb = driver.duckdb()
        self._what = f"duckdb:///{place.path}"
        self._write = write
        self._lock = _lock_of(os.path.realpath(place.full))
        if not self._lock.acquire(timeout=seconds):
            raise busy(self._what, "other steps use it")
        try:
            with self.translated():
                self._connection: DuckDBPyConnection = self._duckdb.connect(
                    str(place.full), read_only=not write, config=_CONFIG
                )
        except BaseException:
            self._lock.release()
            raise

    def close(self) -> None:
        """Close the file, and let the next step have it."""
        try:
            self._connection.close()
        finally:
            self._lock.release()

    def interrupt(self) -> None:
        """See Database."""
        self._connection.interrupt()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See Database."""
        self._connection.begin()
        try:
            yield
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()

    def query(self, statement: Statement, values: dict[str, Any]) -> Answer:
        """See Database."""
        kind, _ = self._kind(statement)
        if kind != self._duckdb.StatementType.SELECT:
            raise failed(self._what, "`query` only reads (SELECT, FROM, WITH, VALUES): use `execute`")
        columns = self._run(statement, values)
        return Answer(columns, self._batches())

    def execute(self, statement: Statement, values: dict[str, Any]) -> Answer:
        """See Database."""
        kind, results = self._kind(statement)
        if kind == self._duckdb.StatementType.TRANSACTION:
            raise wrong("the statements of a step are one transaction")
        columns = self._run(statement, values)
        rows = self._connection.fetchall() if columns else []
        changes = self._duckdb.ExpectedResultType.CHANGED_ROWS in results
        if changes and columns == ["Count"]:
            return Answer([], iter([]), int(rows[0][0]) if rows else 0)
        return Answer(columns, iter([rows]), len(rows) if changes else 0)

    def _kind(self, statement: Statement) -> tuple[Any, list[Any]]:
        found = self._duckdb.extract_statements(statement.numbered("$"))
        if len(found) != 1:
            raise wrong("the text holds several statements; give them as a list")
        return found[0].type, list(found[0].expected_result_type)

    def _run(self, statement: Statement, values: dict[str, Any]) -> list[str]:
        self._connection.execute(statement.numbered("$"), statement.bound(values, lambda value: value))
        return [str(column[0]) for column in self._connection.description or []]

    def _batches(self) -> Iterator[list[tuple[Any, ...]]]:
        while rows := self._connection.fetchmany(BATCH):
            yield rows

    @contextmanager
    def translated(self) -> Iterator[None]:
        """See Database."""
        duckdb = self._duckdb
        try:
            yield
        except duckdb.InterruptException as error:
            raise TaskError(f"{self._what}: interrupted", kind="timeout") from error
        except duckdb.TransactionException as error:
            raise busy(self._what, str(error)) from error
        except (duckdb.IOException, duckdb.ConnectionException) as error:
            if "lock" in str(error) or isinstance(error, duckdb.ConnectionException):
                raise busy(self._what, "another program holds it") from error
            raise TaskError(f"{self._what}: {error}", kind="io") from error
        except duckdb.Error as error:
            raise failed(self._what, str(error)) from error
