"""The log of the steps: one file of JSON lines for each execution.

A line is an object with the fields ``time`` (ISO 8601, UTC), ``level`` (``INFO``, ...), ``task``, ``attempt`` and
``message``. Control characters of a message are kept, escaped as JSON escapes them; whoever prints it strips them.
"""

from __future__ import annotations

import json
import logging
import os
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar

from orchestrator.domain.ids import execution_id as checked_id
from orchestrator.domain.ids import is_execution_id
from orchestrator.observe.lines import LINE_BYTES, TASK_LOGGER, cut
from orchestrator.observe.redacting import REDACTING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_log = logging.getLogger("orchestrator.observe")

MAX_BYTES = 50_000_000
"""A log that grew to this size becomes the older part (``.jsonl.1``, in place of the one before) and a new begins."""
_ESCAPED = 6  # bytes that JSON makes of one control character, at most


@dataclass(slots=True)
class _File:
    fd: int
    size: int


class StepLog(logging.Handler):
    """Appends the lines of the executions it was told of to ``<folder>/<execution_id>.jsonl``.

    Every line is one write, so it survives this process, and a torn one is at most the last. The folder is made
    when the first line comes, for its owner only (0700), as are the files (0600). Nothing here raises into a task:
    if a line cannot be written (no space), that is said once on the logger ``orchestrator.observe``.

    ::

        log = StepLog(folder)
        log.install()
        log.begin(execution_id)
        ...
        log.end(execution_id)
        log.close()
    """

    def __init__(self, folder: Path, *, max_bytes: int = MAX_BYTES) -> None:
        super().__init__()
        self.addFilter(REDACTING)
        self._folder = folder
        self._max_bytes = max_bytes
        self._files: dict[str, _File | None] = {}
        self._complained = False

    _set_level: ClassVar = False  # whether one of us set the logger's level: the last of us to go takes it back

    def install(self) -> None:
        """Listen to the steps. If nobody set the level of their logger, INFO and above is kept."""
        logger = logging.getLogger(TASK_LOGGER)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.INFO)
            StepLog._set_level = True
        logger.addHandler(self)

    def begin(self, execution_id: str) -> None:
        """Keep the lines of this execution from now on."""
        if is_execution_id(execution_id):
            with _locked(self):
                self._files.setdefault(execution_id, None)

    def end(self, execution_id: str) -> None:
        """Stop keeping the lines of this execution."""
        with _locked(self):
            file = self._files.pop(execution_id, None)
            if file is not None:
                os.close(file.fd)

    def close(self) -> None:
        """Stop listening and close all files."""
        logger = logging.getLogger(TASK_LOGGER)
        logger.removeHandler(self)
        if StepLog._set_level and not any(isinstance(handler, StepLog) for handler in logger.handlers):
            logger.setLevel(logging.NOTSET)
            StepLog._set_level = False
        for execution_id in list(self._files):
            self.end(execution_id)
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        """Append one line."""
        execution_id = getattr(record, "execution_id", None)
        if execution_id not in self._files:
            return
        try:
            self._append(execution_id, _line(record, self.format(record)))
            self._complained = False
        except Exception as error:  # noqa: BLE001 - the task must not notice
            if not self._complained:
                self._complained = True
                _log.warning("lines of execution %s cannot be kept: %s", execution_id, error)

    def _append(self, execution_id: str, line: bytes) -> None:
        file = self._files[execution_id] or self._open(execution_id)
        if file.size and file.size + len(line) > self._max_bytes:
            file = self._rotate(execution_id, file)
        file.size += os.write(file.fd, line)

    def _open(self, execution_id: str) -> _File:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = _File(os.open(_path(self._folder, execution_id), flags, 0o600), 0)
        self._files[execution_id] = file
        file.size = os.fstat(file.fd).st_size
        if file.size and os.pread(file.fd, 1, file.size - 1) != b"\n":  # the last writer died in the middle
            file.size += os.write(file.fd, b"\n")
        return file

    def _rotate(self, execution_id: str, file: _File) -> _File:
        path = _path(self._folder, execution_id)
        path.replace(_older(path))
        self._files[execution_id] = None
        os.close(file.fd)
        file = self._open(execution_id)
        note = logging.makeLogRecord({"levelname": "WARNING", "task_id": "", "attempt": 0})
        text = (
            f"the log passed {self._max_bytes} bytes: lines before this stand in {_older(path).name}, earlier are gone"
        )
        file.size += os.write(file.fd, _line(note, text))
        return file


def read_logs(
    folder: Path, execution_id: str, task: str | None = None, tail: int | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the kept lines of an execution, oldest first: of one task only, or only the last ``tail``.

    No log yet is an empty one. What is no line of ours (a torn end) is passed over. UsageError for a malformed id.
    """
    path = _path(folder, checked_id(execution_id))
    lines = (line for part in (_older(path), path) for line in _read(part) if task is None or line.get("task") == task)
    return lines if tail is None else iter(deque(lines, maxlen=max(0, tail)))


def forget_logs(folder: Path, execution_id: str) -> None:
    """Remove the log of an execution."""
    path = _path(folder, execution_id)
    for each in (path, _older(path)):
        each.unlink(missing_ok=True)


def _read(path: Path) -> Iterator[dict[str, Any]]:
    with suppress(FileNotFoundError), path.open("rb") as file:
        for raw in file:
            try:
                line = json.loads(raw)
            except ValueError:
                continue
            if isinstance(line, dict):
                yield line


def _line(record: logging.LogRecord, message: str) -> bytes:
    def encoded(text: str) -> bytes:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "task": getattr(record, "task_id", ""),
            "attempt": getattr(record, "attempt", 0),
            "message": text,
        }
        # A lone surrogate becomes \udc80: that is also how JSON writes it.
        return json.dumps(fields, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"

    line = encoded(message[: LINE_BYTES * 2])
    for limit in (LINE_BYTES - 400, (LINE_BYTES - 400) // _ESCAPED):
        if len(line) <= LINE_BYTES:
            break
        line = encoded(cut(message, limit))
    return line


def _path(folder: Path, execution_id: str) -> Path:
    return folder / f"{execution_id}.jsonl"


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


class _locked:  # noqa: N801 - reads as the statement it is
    """Hold a handler's lock, as logging does around ``emit``."""

    def __init__(self, handler: logging.Handler) -> None:
        self._handler = handler

    def __enter__(self) -> None:
        self._handler.acquire()

    def __exit__(self, *_: object) -> None:
        self._handler.release()
