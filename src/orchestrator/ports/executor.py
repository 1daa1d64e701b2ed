"""Where attempts run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.domain.pipeline import NO_FILES, DeclaredFiles, Isolation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.domain.events import ErrorInfo
    from orchestrator.domain.files import Trace
    from orchestrator.domain.ids import ExecutionId, TaskId


@dataclass(slots=True)
class Attempt:
    """Everything an executor needs to run one attempt; plain data but for nothing.

    ``parameters`` are rendered. ``saved`` is the state last saved by an earlier attempt, or None. ``timeout`` is in
    seconds, None for no limit. ``inputs`` are the execution's. ``project`` is the folder that relative paths mean.
    ``files`` are those the step declares, rendered: those read are looked at before the tool is called, those written
    after it has returned (one that is not there fails the attempt with kind ``missing_output``). ``migrate``
    (``module:function``): what makes the saved state of the present definition out of ``saved`` before the tool sees
    it. ``completed_attempt`` is the number of the task's last attempt that completed, 0 for none;
    ``created_at`` is when the execution was made, in seconds since 1970. ``generation``: attempts of the
    same one go on from where the last one was (see TaskState).
    """

    execution_id: ExecutionId
    task_id: TaskId
    attempt: int
    tool: str
    action: str | None
    parameters: Mapping[str, Any]
    idempotency_key: str
    inputs: Mapping[str, Any]
    project: Path
    saved: Any = None
    timeout: float | None = None
    isolation: Isolation = Isolation.NONE
    critical: bool = False
    files: DeclaredFiles = NO_FILES
    migrate: str | None = None
    completed_attempt: int = 0
    created_at: float = 0.0
    generation: int = 1


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The attempt returned ``value``; ``trace`` is what it read and wrote besides, None for nothing."""

    value: Any
    trace: Trace | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt failed by its own fault (an exception, a timeout: ``kind`` is ``timeout``).

    ``kinds`` are further names that retry filters may call it by: those that the tool says, and those of the
    exception's base classes. ``retry_after``: seconds that the tool asks to wait before a retry, None if it does not.
    """

    error: ErrorInfo
    kinds: tuple[str, ...] = ()
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Crashed:
    """The worker died under the attempt (killed, out of memory, ``os._exit``)."""

    reason: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The attempt was cancelled at the engine's request."""


Outcome = Succeeded | Failed | Crashed | Cancelled


class Reporter(Protocol):
    """What an executor calls back. Every method may be called from any thread and returns at once."""

    def finished(self, attempt: Attempt, outcome: Outcome) -> None:
        """Report the end of an attempt: exactly once for each started attempt. Later reports are ignored."""

    def progressed(self, attempt: Attempt, done: float | None, total: float | None, message: str) -> None:
        """Report how far the attempt is; shown at once, made durable now and then."""

    def saved(self, attempt: Attempt, state: Any) -> None:
        """Hand over the state to go on from; the engine makes the last one durable in its interval."""


class Executor(Protocol):
    """Runs attempts. Called on the engine's event loop only.

    ``start`` begins an attempt and returns at once; its end is told to ``reporter.finished``. ``cancel`` asks a
    running attempt to end: an async function is cancelled, a process is killed (TERM, then KILL of its group), a
    thread cannot be killed: it is abandoned, its later result dropped. In all cases ``finished(Cancelled())`` follows
    soon. A timeout is the executor's to keep: ``finished(Failed(kind='timeout'))`` and the attempt ended likewise.
    ``close`` ends everything that still runs and gives back all threads and processes; idempotent.
    """

    def start(self, attempt: Attempt, reporter: Reporter) -> None:
        """Begin an attempt."""

    def cancel(self, attempt: Attempt) -> None:
        """End a running attempt; nothing happens if it ended already."""

    async def close(self) -> None:
        """End what still runs and release every resource."""
