"""SQLite: one file of the project, and no other file opened by any statement."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

import apsw

from orchestrator.errors import TaskError
from orchestrator.tools.database.database import BATCH, Answer, busy, failed
from orchestrator.tools.tables.sqltext import wrong

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.tools.database.statement import Statement
    from orchestrator.tools.paths import Place

_BUSY_MS = 10_000
_PRAGMAS = frozenset({
    "application_id", "foreign_key_check", "foreign_key_list", "index_info", "index_list", "index_xinfo",
    "integrity_check", "quick_check", "table_info", "table_list", "table_xinfo", "user_version",
})  # fmt: skip
_REFUSED = {
    apsw.SQLITE_ATTACH: "ATTACH and VACUUM INTO would open another file",
    apsw.SQLITE_DETACH: "DETACH has nothing to detach",
    apsw.SQLITE_TRANSACTION: "the statements of a step are one transaction",
    apsw.SQLITE_SAVEPOINT: "the statements of a step are one transaction",
}


class Sqlite:
    """A file opened for one action. ``write``: it may be changed, and is made if it is not there."""

    def __init__(self, place: Place, *, write: bool) -> None:
        self._what = f"sqlite:///{place.path}"
        self._write = write
        self._refusal = ""
        self._guarded = False
        folder = f"/proc/self/fd/{place.folder}"
        path = f"{folder}/{place.name}" if os.path.isdir(folder) else str(place.full)  # noqa: PTH112
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE if write else apsw.SQLITE_OPEN_READONLY
        with self.translated():
            self._connection = apsw.Connection(path, flags=flags)
            self._connection.set_busy_timeout(_BUSY_MS)
            self._connection.execute("PRAGMA foreign_keys=on")
            self._connection.execute("PRAGMA synchronous=full")
            self._connection.authorizer = self._authorize

    def close(self) -> None:
        """Close the file."""
        self._connection.close(force=True)

    def interrupt(self) -> None:
        """See Database."""
        self._connection.interrupt()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See Database."""
        self._connection.execute("BEGIN IMMEDIATE" if self._write else "BEGIN")
        self._guarded = True
        try:
            yield
            self._guarded = False
            self._connection.execute("COMMIT")
        finally:
            self._guarded = False
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def query(self, statement: Statement, values: dict[str, Any]) -> Answer:
        """See Database."""
        columns: list[str] = []
        cursor = self._run(statement, values, columns)
        return Answer(columns, _batches(cursor))

    def execute(self, statement: Statement, values: dict[str, Any]) -> Answer:
        """See Database."""
        columns: list[str] = []
        before = self._connection.total_changes()
        rows = self._run(statement, values, columns).fetchall()
        changed = self._connection.changes() if self._connection.total_changes() != before else 0
        return Answer(columns, iter([rows]), changed)

    def _run(self, statement: Statement, values: dict[str, Any], columns: list[str]) -> apsw.Cursor:
        cursor = self._connection.cursor()
        seen = 0

        def begins(cursor: apsw.Cursor, _sql: str, _values: Any) -> bool:
            nonlocal seen
            seen += 1
            if seen > 1:
                raise wrong("the text holds several statements; give them as a list")
            columns.extend(column[0] for column in cursor.get_description())
            return True

        cursor.exec_trace = begins
        self._refusal = ""
        cursor.execute(statement.numbered("?"), statement.bound(values, _adapt))
        return cursor

    def _authorize(self, action: int, first: str | None, second: str | None, *_where: str | None) -> int:
        reason = _REFUSED.get(action) if self._guarded or action == apsw.SQLITE_ATTACH else None
        if action == apsw.SQLITE_PRAGMA and self._guarded and (first or "").lower() not in _PRAGMAS:
            reason = f"PRAGMA {first} is not for a step to say"
        if action == apsw.SQLITE_FUNCTION and (second or "").lower() == "load_extension":
            reason = "extensions are not loaded"
        if reason is None:
            return apsw.SQLITE_OK
        self._refusal = reason
        return apsw.SQLITE_DENY

    @contextmanager
    def translated(self) -> Iterator[None]:
        """See Database."""
        try:
            yield
        except apsw.AuthError as error:
            raise failed(self._what, self._refusal or str(error)) from error
        except (apsw.BusyError, apsw.LockedError) as error:
            raise busy(self._what, f"{error}: another program holds it") from error
        except apsw.InterruptError as error:
            raise TaskError(f"{self._what}: interrupted", kind="timeout") from error
        except (apsw.IOError, apsw.FullError, apsw.CantOpenError) as error:
            raise TaskError(f"{self._what}: {error}", kind="io") from error
        except apsw.ReadOnlyError as error:
            hint = "" if self._write else "; `query` only reads: use `execute`"
            raise failed(self._what, f"{error}{hint}") from error
        except apsw.Error as error:
            raise failed(self._what, str(error)) from error


def _batches(cursor: apsw.Cursor) -> Iterator[list[tuple[Any, ...]]]:
    batch: list[tuple[Any, ...]] = []
    for row in cursor:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _adapt(value: Any) -> Any:
    """Return a value as one of SQLite's types; dates are texts as ISO 8601 has them, lists and mappings are JSON."""
    if value is None or isinstance(value, (int, float, str, bytes)):
        return value
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (list, tuple, dict)):
        return json.dumps(value, default=str, ensure_ascii=False)
    return str(value)
