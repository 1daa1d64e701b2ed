"""The running attempt as its tool sees it."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any

from orchestrator.executors.traces import Notes
from orchestrator.observe.lines import TASK_LOGGER
from orchestrator.observe.redacting import REDACTING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from orchestrator.domain.files import FileSeen
    from orchestrator.ports.executor import Attempt, Reporter

MESSAGE_LIMIT = 1024
"""Longest progress message, in characters; the rest is cut."""

_LOCK = threading.Lock()


class Context:
    """A TaskContext for one attempt; made only when its tool takes one.

    ``snapshot`` copies a state as the store would give it back, or raises UnstorableValue. Reports made after
    ``end`` are dropped: a thread that outlives its attempt changes nothing any more. ``notes`` are of what is read and
    written, None while there is nothing to tell.
    """

    __slots__ = ("_attempt", "_cancelled", "_ended", "_logger", "_reporter", "_saved", "_snapshot", "notes")

    def __init__(self, attempt: Attempt, reporter: Reporter, snapshot: Callable[[Any], Any]) -> None:
        self._attempt = attempt
        self._reporter = reporter
        self._snapshot = snapshot
        self._saved = attempt.saved
        self.notes: Notes | None = None
        self._logger: logging.Logger | None = None
        self._cancelled = False
        self._ended = False

    @property
    def execution_id(self) -> str:
        """The execution this attempt belongs to."""
        return self._attempt.execution_id

    @property
    def task_id(self) -> str:
        """The task this is an attempt of."""
        return self._attempt.task_id

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1."""
        return self._attempt.attempt

    @property
    def idempotency_key(self) -> str:
        """``execution/task``: the same for every attempt."""
        return self._attempt.idempotency_key

    @property
    def created_at(self) -> float:
        """When the execution was made, in seconds since 1970."""
        return self._attempt.created_at

    @property
    def completed_attempt(self) -> int:
        """Number of the task's last attempt that completed; 0 for none."""
        return self._attempt.completed_attempt

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The execution's inputs; that they were looked at is noted."""
        self._noted().inputs = True
        return self._attempt.inputs

    def reads(self, path: str | Path) -> None:
        """Tell that a file is about to be read; looks at it at once, in this thread."""
        self._noted().read(os.fspath(path))

    def writes(self, path: str | Path) -> None:
        """Tell that a file is written or removed; it is looked at when the attempt has succeeded."""
        self._noted().write(os.fspath(path))

    def saw(self, file: FileSeen) -> None:
        """Take over a file that a shipped tool has read and looked at itself."""
        self._noted().saw(file)

    def wrote(self, file: FileSeen) -> None:
        """Take over a file as a shipped tool has written it."""
        self._noted().wrote(file)

    @property
    def project(self) -> Path:
        """The project folder: what relative paths mean."""
        return self._attempt.project

    @property
    def logger(self) -> logging.Logger:
        """A logger whose records carry ``execution_id``, ``task_id`` and ``attempt``."""
        if self._logger is None:
            self._logger = TaskLogger(self._attempt.execution_id, self._attempt.task_id, self._attempt.attempt)
        return self._logger

    @property
    def saved(self) -> Any:
        """A copy of the state last saved, in this attempt or an earlier one; None if never."""
        return None if self._saved is None else self._snapshot(self._saved)

    @property
    def cancelled(self) -> bool:
        """True once the attempt should end: it was cancelled, or its time is over."""
        return self._cancelled

    def progress(self, done: float | None = None, total: float | None = None, message: str = "") -> None:
        """Say how far the step is; any thread."""
        if not self._ended:
            self._reporter.progressed(self._attempt, _number(done), _number(total), str(message)[:MESSAGE_LIMIT])

    def save(self, state: Any) -> None:
        """Keep a copy of ``state`` as it is now; raise UnstorableValue if it cannot be kept."""
        copy = self._snapshot(state)
        self._saved = copy
        if not self._ended:
            self._reporter.saved(self._attempt, copy)

    def begin_with(self, saved: Any) -> None:
        """Make this the state that was saved last, before the tool is called."""
        self._saved = saved

    def ask_to_end(self) -> None:
        """Make ``cancelled`` true."""
        self._cancelled = True

    def end(self) -> None:
        """Drop every later report; the attempt is over."""
        self._cancelled = True
        self._ended = True

    def _noted(self) -> Notes:
        notes = self.notes
        if notes is None:  # two threads at once: both go on with the one that is kept
            with _LOCK:
                notes = self.notes = self.notes or Notes(self._attempt.project)
        return notes


class TaskLogger(logging.Logger):
    """A child of ``orchestrator.task`` that marks its records with the attempt they come from.

    It is not registered with the logging module: 100,000 tasks would leave 100,000 loggers behind.
    """

    def __init__(self, execution_id: str, task_id: str, attempt: int) -> None:
        super().__init__(TASK_LOGGER)
        self.parent = logging.getLogger(TASK_LOGGER)
        self.addFilter(REDACTING)
        self._who = {"execution_id": execution_id, "task_id": task_id, "attempt": attempt}

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the standard library's name
        """Ask the registered parent, whose cache is cleared when levels change."""
        parent = self.parent
        return super().isEnabledFor(level) if parent is None else parent.isEnabledFor(level)

    def makeRecord(self, *args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: N802 - the standard library's name
        """Make a record and mark it."""
        record = super().makeRecord(*args, **kwargs)
        record.__dict__.update(self._who)
        return record


def _number(value: Any) -> float | None:
    """Return a plain number that any codec knows (numpy's scalars become floats)."""
    return value if value is None or type(value) in {int, float} else float(value)
