"""Effects that happen once: what an attempt did is noted beside it, in the same transaction of the same database.

A step's result is recorded in the orchestrator's store after its effect, so that a crash between the two leaves an
effect that nobody knows of. The note is in the one place that cannot disagree with the effect: whichever of them is
there, the other is. That holds for every database that has transactions, whatever the store is; a commit shared with
the store would need them to be one and the same, and the store's lease to be held while a statement runs.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from orchestrator.errors import TaskError
from orchestrator.tools.database.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.ports.context import TaskContext
    from orchestrator.tools.database.database import Database

TABLE = "orchestrator_effects"
CREATE = (
    f"CREATE TABLE IF NOT EXISTS {TABLE} (key TEXT PRIMARY KEY, attempt BIGINT NOT NULL, "
    "statement TEXT NOT NULL, result TEXT, noted_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)"
)

_IS_THERE = Statement.of(f"SELECT key FROM {TABLE} LIMIT 0")  # noqa: S608 - the name is ours
_NOTE = Statement.of(
    f"INSERT INTO {TABLE} (key, attempt, statement) VALUES ($key, $attempt, $statement) "  # noqa: S608
    "ON CONFLICT (key) DO UPDATE SET attempt = excluded.attempt, statement = excluded.statement, result = NULL, "
    f"noted_at = excluded.noted_at WHERE {TABLE}.attempt <= $completed RETURNING key"
)
_KEEP = Statement.of(f"UPDATE {TABLE} SET result = $result WHERE key = $key")  # noqa: S608
_FOUND = Statement.of(f"SELECT attempt, statement, result FROM {TABLE} WHERE key = $key")  # noqa: S608


def once(database: Database, context: TaskContext, what: Any, effect: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Have an effect and note its result; or, where an attempt whose result was never recorded had it, return that.

    ``what`` is all that the effect depends on. Where an attempt at the same moment has it, the database makes one of
    them wait. Raise TaskError (kind ``effect``) if what was done is not what is to be done now.
    """
    _make_table(database)
    key = f"{context.idempotency_key}@{context.created_at:.6f}"  # an id may be used again once its execution is gone
    digest = hashlib.sha256(json.dumps(what, default=repr, sort_keys=True).encode()).hexdigest()
    note = {
        "key": key,
        "attempt": context.attempt,
        "statement": digest,
        "completed": context.completed_attempt,
    }
    with database.transaction():
        if _rows(database, _NOTE, note):
            result = effect()
            text = json.dumps(result, ensure_ascii=False)
            database.execute(_KEEP, {"key": key, "result": text})
            return result
        ((attempt, statement, text),) = _rows(database, _FOUND, {"key": key})
    if statement != digest:
        raise TaskError(
            f"attempt {attempt} had its effect, by another statement or with other values, and its result was never "
            f"recorded. If the effect at hand is to come on top of it, remove the row of {TABLE} with the key {key!r}; "
            "if not, give the step its result (`--set-result`), or skip it",
            kind="effect",
            retryable=False,
        )
    context.logger.info("attempt %d had the effect already: its result is taken, nothing is done again", attempt)
    found: dict[str, Any] = json.loads(text)
    return found


def _make_table(database: Database) -> None:
    try:
        with database.translated():
            _rows(database, _IS_THERE, {})
            return
    except TaskError as error:
        if error.kind != "sql":
            raise
    try:
        with database.translated(), database.transaction():
            database.execute(Statement.of(CREATE), {})
    except TaskError as error:
        try:
            with database.translated():
                _rows(database, _IS_THERE, {})  # another step has made it meanwhile
        except TaskError:
            raise TaskError(
                f"the table {TABLE}, by which an effect happens once, cannot be made ({error.message}); make it "
                f"yourself: {CREATE}; or say `exactly_once: false`",
                kind=error.kind,
                retryable=error.retryable,
            ) from error


def _rows(database: Database, statement: Statement, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [row for batch in database.execute(statement, values).batches for row in batch]
