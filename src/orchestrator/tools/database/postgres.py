"""PostgreSQL: one connection for one action, told by SQLSTATE what went wrong."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Jsonb

from orchestrator.errors import TaskError
from orchestrator.tools.database.database import BATCH, Answer, busy, failed
from orchestrator.tools.tables.sqltext import wrong

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.tools.database.statement import Statement
    from orchestrator.tools.database.urls import Address

_CONNECT_SECONDS = 10
_SLACK_MS, _IDLE_MS = 2_000, 60_000
_BUSY = ("40001", "40P01", "55P03")
_GONE = ("08", "57P")
_FULL = ("53",)
_NO_QUERY = ("0A000", "25006", "42601")


class Postgres:
    """A connection for one action. ``write``: it may change something; else the server itself refuses that."""

    def __init__(self, address: Address, *, write: bool, seconds: float) -> None:
        self._address = address
        self._write = write
        self._cursor: psycopg.ServerCursor[tuple[Any, ...]] | None = None
        try:
            known = conninfo_to_dict(address.url)
        except psycopg.Error:  # what it says may repeat a part of the URL
            raise wrong(f"url: {address.shown} cannot be read as the URL of a PostgreSQL database") from None
        # Our own watch comes first, and says more; the server's is for a client that is gone.
        most = min(int(seconds * 1000) + _SLACK_MS, 2**31 - 1 - _IDLE_MS)
        ours = f"-c TimeZone=UTC -c statement_timeout={most} -c idle_in_transaction_session_timeout={most + _IDLE_MS}"
        options: dict[str, Any] = {
            "application_name": "orchestrator sql",
            "connect_timeout": _CONNECT_SECONDS,
            "client_encoding": "UTF8",
            **known,
            "options": f"{known.get('options') or ''} {ours}".strip(),
        }
        with self.translated():
            self._connection: psycopg.Connection[tuple[Any, ...]] = psycopg.connect(
                **options, autocommit=True, cursor_factory=psycopg.RawCursor
            )
            self._connection.server_cursor_factory = psycopg.RawServerCursor
            self._connection.read_only = not write

    def close(self) -> None:
        """Close the connection; what is not committed is rolled back by the server."""
        self._connection.close()

    def interrupt(self) -> None:
        """See Database."""
        with suppress(psycopg.Error):
            self._connection.cancel_safe(timeout=1)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """See Database."""
        with self._connection.transaction():
            try:
                yield
            finally:
                if self._cursor is not None:
                    self._cursor.close()

    def query(self, statement: Statement, values: dict[str, Any]) -> Answer:
        """See Database."""
        cursor = self._cursor = self._connection.cursor("orchestrator_rows")
        cursor.execute(statement.numbered("$"), statement.bound(values, _adapt))
        columns = [column.name for column in cursor.description or []]
        return Answer(columns, _batches(cursor))

    def execute(self, statement: Statement, values: dict[str, Any]) -> Answer:
        """See Database."""
        # Prepared: the server then takes one statement only, with values or without.
        cursor = self._connection.execute(statement.numbered("$"), statement.bound(values, _adapt), prepare=True)
        columns = [column.name for column in cursor.description or []]
        changed = 0 if (cursor.statusmessage or "").startswith(("SELECT", "SHOW")) else max(cursor.rowcount, 0)
        return Answer(columns, iter([cursor.fetchall()] if columns else []), changed)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """See Database."""
        try:
            yield
        except psycopg.Error as error:
            raise self._told(error) from None  # the driver's own text may hold what is masked here

    def _told(self, error: psycopg.Error) -> TaskError:
        what, state = self._address.shown, error.sqlstate
        text = self._address.masked(str(error)) or type(error).__name__
        if state is None:
            if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
                return TaskError(f"{what}: no connection: {text}", kind="connection")
            return failed(what, text)
        if state in _BUSY:
            return busy(what, text)
        if state == "57014":
            return TaskError(f"{what}: {text}", kind="timeout")
        if state.startswith(_GONE):
            return TaskError(f"{what}: {text}", kind="connection")
        if state.startswith(_FULL):
            return TaskError(f"{what}: {text}", kind="io")
        if state == "42601" and "multiple commands" in text:
            text = "the text holds several statements; give them as a list"
        elif state in _NO_QUERY and not self._write:
            text += "; `query` only reads (SELECT, WITH, VALUES): use `execute` for the rest"
        return failed(what, text)


def _batches(cursor: psycopg.ServerCursor[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    while rows := cursor.fetchmany(BATCH):
        yield rows


def _adapt(value: Any) -> Any:
    """Return a value as the driver takes it: a mapping, or a list that holds one, is JSON; a list else is an array."""
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(each, (dict, list)) for each in value)):
        return Jsonb(value)
    return value
