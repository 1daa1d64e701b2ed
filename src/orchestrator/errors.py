"""Every exception the package raises, with the exit code each one ends a command with.

::

    OrchestratorError                     1
    ├── DefinitionError(diagnostics)      2   the pipeline file, or its inputs, are wrong
    ├── UsageError                        2   the call itself is wrong
    │   └── SecretsMissing(missing)       2   secrets that the pipeline names are not found
    ├── ExecutionError(execution_id)      1
    │   ├── ExecutionFailed               1   carries the failed tasks and the command that resumes
    │   ├── ExecutionCancelled            1
    │   ├── ExecutionStopped(signal)    130/143   stopped gracefully, resumable
    │   └── ExecutionWaiting(waits)       9   nothing is left but to wait for a time, a signal or an answer
    ├── TaskError                         1   raised by a tool: carries kind and retryability
    │   └── UnstorableValue(path)         1   a result that cannot be kept faithfully
    ├── ResumeError                       2   the resume was refused
    │   ├── NoCheckpoint                  3   "No resume checkpoint found"
    │   ├── CheckpointUnreadable        7/8   "Failed to load resume state"; the code of its cause
    │   └── PipelineChanged               8
    └── StoreError                        6
        ├── StoreUnavailable              6   (StoreFull: no space left; StoreBroken: not in this process any more)
        ├── StoreDamaged(record)          7
        ├── StoreIncompatible             8
        ├── UnknownExecution              3
        ├── ExecutionExists               2
        ├── ExecutionOwned(owner)         4
        └── JournalConflict               5   another writer was there first
    LeaseLost (BaseException)             5   ownership was lost; must pass any ``except Exception``

Exit codes: 0 done, 1 task failed, 2 usage, 3 no such execution, 4 owned by another, 5 ownership lost,
6 store unavailable or full, 7 damaged, 8 incompatible format or changed pipeline, 9 waiting, 130/143 stopped and
resumable.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class OrchestratorError(Exception):
    """Base of every error of this package; ``exit_code`` is what a command ends with.

    Subclasses with data pickle: their data is what ``__init__`` takes.
    """

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One mistake in a definition: where it is, what it is, and what may have been meant.

    ``line`` and ``column`` count from 1; 0 means that the place is not known (a pipeline built in Python).
    ``path`` is the place inside the document, like ``steps[2].depends_on``. ``hint`` says what to do next.
    """

    message: str
    path: str = ""
    file: str = "<pipeline>"
    line: int = 0
    column: int = 0
    hint: str | None = None

    def __str__(self) -> str:
        """Render as ``file:line:column  path: message (hint)``."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        path = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}  {path}{self.message}{hint}"


class DefinitionError(OrchestratorError):
    """The definition or the inputs are wrong; ``diagnostics`` holds every mistake found, in file order."""

    exit_code = 2

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__(self.diagnostics)

    def __str__(self) -> str:
        """One diagnostic a line."""
        return "\n".join(str(item) for item in self.diagnostics)


class UsageError(OrchestratorError):
    """The call is wrong: a bad option, a malformed id, a missing extra. The message says what to do."""

    exit_code = 2


_WHERE_SECRETS = "`orchestrator secrets list FILE` tells where each is looked for; docs/security.md, how to give them"


class SecretsMissing(UsageError):
    """Secrets that the pipeline names are not found, or cannot be used: nothing has been run.

    ``missing`` maps each name to what is wrong: where it is used, where it was looked for. No value is ever in it.
    """

    def __init__(self, missing: Mapping[str, str]) -> None:
        self.missing = dict(missing)
        super().__init__(self.missing)

    def __str__(self) -> str:
        """Tell each, one after the other."""
        some = (
            "a secret that the pipeline needs is" if len(self.missing) == 1 else "secrets that the pipeline needs are"
        )
        return "\n".join([f"{some} not there; nothing was run", *self.missing.values(), _WHERE_SECRETS])


class ExecutionError(OrchestratorError):
    """An execution did not end well; ``execution_id`` names it, so that it can always be resumed."""

    def __init__(self, message: str, execution_id: str) -> None:
        self.execution_id = execution_id
        self.message = message
        super().__init__(message, execution_id)

    def __str__(self) -> str:
        return self.message


class ExecutionFailed(ExecutionError):
    """One or more tasks failed; everything recorded stays recorded.

    ``failures`` maps task id to the error text of its last attempt, ``parked`` lists those that used up their
    retries, ``resume_command`` is the exact command that goes on; empty where ``resume.enabled`` is false.
    """

    def __init__(
        self, message: str, execution_id: str, failures: Mapping[str, str], parked: Sequence[str], resume_command: str
    ) -> None:
        super().__init__(message, execution_id)
        self.failures = dict(failures)
        self.parked = tuple(parked)
        self.resume_command = resume_command
        self.args = (message, execution_id, self.failures, self.parked, resume_command)

    @property
    def task_id(self) -> str | None:
        """The first failed task, or None if the execution failed as a whole (its outputs, say)."""
        return next(iter(self.failures), None)


class ExecutionCancelled(ExecutionError):
    """Somebody cancelled the execution."""


class ExecutionStopped(ExecutionError):
    """The execution was stopped gracefully by a signal and can be resumed; ``signal`` is its number (2 or 15)."""

    def __init__(self, message: str, execution_id: str, signal: int) -> None:
        super().__init__(message, execution_id)
        self.signal = signal
        self.args = (message, execution_id, signal)

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """128 plus the signal's number, as a shell reports it."""
        return 128 + self.signal


class ExecutionWaiting(ExecutionError):
    """Nothing is left to do but to wait, and whoever ran the execution did not want to; it is kept.

    ``waits`` maps the id of each task that waits to what it waits for, in words; ``due`` is when the first of them is
    over by itself (seconds since 1970, UTC; None: none is).
    """

    exit_code = 9

    def __init__(self, message: str, execution_id: str, waits: Mapping[str, str], due: float | None) -> None:
        super().__init__(message, execution_id)
        self.waits = dict(waits)
        self.due = due
        self.args = (message, execution_id, self.waits, due)


class TaskError(OrchestratorError):
    """A tool says that its step failed.

    ``kind`` is a short word that ``retry.on`` can name (``timeout``, ``http_5xx``, ...; by default the class name
    of the error), ``kinds`` are further words for the same: a 503 is an ``http_5xx`` and an ``http_503``.
    ``retryable=False`` ends the step at once: trying the same again cannot help. ``retry_after``: seconds before
    which a retry is of no use, as a busy server may say; the step's next retry comes no sooner (a day at most).

    >>> error = TaskError("the city is unknown", kind="not_found", retryable=False)
    >>> error.kind, error.retryable, str(error)
    ('not_found', False, 'the city is unknown')
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str = "TaskError",
        retryable: bool = True,
        kinds: Sequence[str] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.retryable = retryable
        self.kinds = tuple(kinds)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[Any, ...]:
        more = {"kind": self.kind, "retryable": self.retryable, "kinds": self.kinds, "retry_after": self.retry_after}
        return (_task_error, (type(self), self.message, more))


def _task_error(cls: type[TaskError], message: str, more: dict[str, Any]) -> TaskError:
    error = cls.__new__(cls)
    TaskError.__init__(error, message, **more)
    return error


class UnstorableValue(TaskError):
    """A value that cannot be kept faithfully; ``path`` is the place inside it, ``type_name`` what stands there."""

    def __init__(self, path: str, type_name: str, reason: str) -> None:
        super().__init__(f"{path or 'the value'}: {type_name} {reason}", kind="unstorable", retryable=False)
        self.path = path
        self.type_name = type_name
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return (UnstorableValue, (self.path, self.type_name, self.reason))


class ResumeError(OrchestratorError):
    """The resume (or a change to the resume state) was refused; the message says why and what to do."""

    exit_code = 2


class NoCheckpoint(ResumeError):
    """No resume checkpoint found: unknown execution, checkpointing disabled, or cleaned up."""

    exit_code = 3


class CheckpointUnreadable(ResumeError):
    """Failed to load resume state; the exit code is that of the cause: 7 damaged, 8 another format."""

    def __init__(self, message: str, exit_code: int = 7) -> None:
        super().__init__(message, exit_code)
        self.message = message
        self._exit_code = exit_code

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """7 when the state is damaged, 8 when its format is not ours."""
        return self._exit_code

    def __str__(self) -> str:
        return self.message


class PipelineChanged(ResumeError):
    """The definition at hand is not the one that the execution was started with."""

    exit_code = 8


class PlanChanged(ResumeError):
    """The plan is not the one that was shown: the journal, the code or the files have changed since."""

    exit_code = 8


class StoreError(OrchestratorError):
    """The store refused or failed."""

    exit_code = 6


class StoreUnavailable(StoreError):
    """The store cannot be reached, read or written just now; trying later may help."""


class StoreFull(StoreUnavailable):
    """No space left; nothing was lost, and the execution resumes once there is room."""


class StoreBroken(StoreUnavailable):
    """The store failed in a way after which this process must not use it any more; another process may."""


class StoreDamaged(StoreError):
    """A record is not what was written; ``record`` names it. Other executions stay usable."""

    exit_code = 7

    def __init__(self, record: str, reason: str) -> None:
        super().__init__(record, reason)
        self.record = record
        self.reason = reason

    def __str__(self) -> str:
        return f"damaged record {self.record}: {self.reason}"


class StoreIncompatible(StoreError):
    """The store, or a record in it, has a format that this version does not read."""

    exit_code = 8


class UnknownExecution(StoreError):
    """There is no execution of this id in this store."""

    exit_code = 3

    def __init__(self, execution_id: str) -> None:
        super().__init__(execution_id)
        self.execution_id = execution_id

    def __str__(self) -> str:
        return f"no execution {self.execution_id!r} in this store; `orchestrator list` shows those there are"


class ExecutionExists(StoreError):
    """The chosen execution id is taken."""

    exit_code = 2

    def __init__(self, execution_id: str) -> None:
        super().__init__(execution_id)
        self.execution_id = execution_id

    def __str__(self) -> str:
        return (
            f"execution {self.execution_id!r} exists already; choose another id, "
            f"or go on with it: orchestrator resume {self.execution_id}"
        )


class ExecutionOwned(StoreError):
    """Another process owns the execution; ``owner`` describes it."""

    exit_code = 4

    def __init__(self, execution_id: str, owner: str) -> None:
        super().__init__(execution_id, owner)
        self.execution_id = execution_id
        self.owner = owner

    def __str__(self) -> str:
        return f"execution {self.execution_id!r} is owned by {self.owner}"


class MailUnread(StoreError):
    """There are signals for the execution that nobody has read; it was not removed."""

    exit_code = 4

    def __init__(self, execution_id: str) -> None:
        super().__init__(execution_id)
        self.execution_id = execution_id

    def __str__(self) -> str:
        return f"there are unread signals for execution {self.execution_id!r}; it was not removed"


class ValueGone(StoreError):
    """A value that was to be referred to is no longer in the store: its execution was removed meanwhile."""

    exit_code = 3

    def __init__(self, digest: str) -> None:
        super().__init__(f"value {digest[:12]} is no longer in the store: the execution that recorded it was removed")
        self.digest = digest


class JournalConflict(StoreError):
    """An append expected the journal to end at ``expected``, and it ended at ``actual``."""

    exit_code = 5

    def __init__(self, execution_id: str, expected: int, actual: int) -> None:
        super().__init__(execution_id, expected, actual)
        self.execution_id = execution_id
        self.expected = expected
        self.actual = actual

    def __str__(self) -> str:
        return f"execution {self.execution_id!r}: journal ends at {self.actual}, the writer expected {self.expected}"


class LeaseLost(BaseException):
    """Ownership was lost to a newer epoch: stop at once and change nothing.

    Not an ``Exception``: a task's ``except Exception`` must not swallow it.
    """

    exit_code = 5

    def __init__(self, execution_id: str, epoch: int) -> None:
        super().__init__(execution_id, epoch)
        self.execution_id = execution_id
        self.epoch = epoch

    def __str__(self) -> str:
        return f"ownership of execution {self.execution_id!r} (epoch {self.epoch}) was lost to another process"
