"""What the adapters of databases have in common."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.errors import TaskError
from orchestrator.tools.fileerrors import cancelled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.ports.context import TaskContext
    from orchestrator.tools.database.statement import Statement

BATCH = 1000
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement gave: the names of its columns (none: no rows), its rows in batches, how many it changed."""

    columns: list[str]
    batches: Iterator[list[tuple[Any, ...]]]
    changed: int = 0


class Database(Protocol):
    """An open database, used by one thread and interrupted by another.

    Every method but ``interrupt`` raises what its driver raises; ``translated`` turns that into TaskErrors.
    """

    def transaction(self) -> AbstractContextManager[None]:
        """Begin; commit where the block ends well, else roll back."""

    def query(self, statement: Statement, values: dict[str, Any]) -> Answer:
        """Run a statement that only reads; its rows come as they are asked for."""

    def execute(self, statement: Statement, values: dict[str, Any]) -> Answer:
        """Run a statement to its end."""

    def translated(self) -> AbstractContextManager[None]:
        """Put what the driver raises into words that hold no secret."""

    def interrupt(self) -> None:
        """Stop the statement that runs, from any thread."""


@contextmanager
def watched(database: Database, context: TaskContext, seconds: float) -> Iterator[None]:
    """Interrupt the database once the attempt is cancelled or ``seconds`` are over, and say which of them it was."""
    done, late = threading.Event(), threading.Event()
    end = time.monotonic() + seconds

    def watch() -> None:
        while not done.wait(_LOOK_SECONDS):
            if time.monotonic() > end:
                late.set()
            if late.is_set() or context.cancelled:
                database.interrupt()

    watcher = threading.Thread(target=watch, name="sql watch", daemon=True)
    watcher.start()
    try:
        yield
    except TaskError as error:
        if late.is_set():
            raise TaskError(f"not done after {seconds:g} s, its `timeout`", kind="timeout") from error
        if context.cancelled:
            raise cancelled("the statement") from error
        raise
    finally:
        done.set()
        watcher.join()


def busy(what: str, text: str) -> TaskError:
    """Return the error for a database that others use just now."""
    return TaskError(f"{what}: {text}", kind="busy")


def failed(what: str, text: str) -> TaskError:
    """Return the error for a statement that the database refuses; the same again would be refused again."""
    return TaskError(f"{what}: {text}", kind="sql", retryable=False)
