"""What a tool's function is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping
    from pathlib import Path


@runtime_checkable
class TaskContext(Protocol):
    """The running attempt as its tool sees it: who it is, and where progress goes.

    A tool's function receives it when it has a parameter annotated ``TaskContext`` or named ``context``.

    >>> def total(numbers: list[int], context: TaskContext) -> int:
    ...     done, result = context.saved or (0, 0)
    ...     for position in range(done, len(numbers)):
    ...         result += numbers[position]
    ...         context.progress(position + 1, len(numbers))
    ...         context.save((position + 1, result))
    ...     return result
    """

    @property
    def execution_id(self) -> str:
        """The execution this attempt belongs to."""

    @property
    def task_id(self) -> str:
        """The task this is an attempt of."""

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1, counted over the whole execution."""

    @property
    def idempotency_key(self) -> str:
        """``execution/task``: the same for every attempt; hand it to services that drop duplicates."""

    @property
    def created_at(self) -> float:
        """When the execution was made, in seconds since 1970: tells it from an earlier one that had its id."""

    @property
    def completed_attempt(self) -> int:
        """Number of the task's last attempt whose result was recorded; 0 for none.

        An effect of a later attempt than this one has no recorded result: the attempt at hand repeats it. An effect
        of this one or an earlier is over and done with: the attempt at hand was asked for anew, by ``--rerun``, say.
        """

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The execution's inputs. A step that looks at them is looked at again where a fork changes them."""

    def reads(self, path: str | Path) -> None:
        """Tell that the attempt is about to read this file; any thread, takes as long as its SHA-256 does.

        A plan notices when the file is another one later. A relative path means the project folder. A path outside
        the project is fine here: this only looks. Files that the shipped tools are given are told of by them.
        """

    def writes(self, path: str | Path) -> None:
        """Tell that the attempt writes (or removes) this file, before or after it does.

        The file is looked at when the attempt has succeeded. A plan notices when it is missing or another one later.
        """

    @property
    def project(self) -> Path:
        """The project folder: what relative paths mean."""

    @property
    def logger(self) -> logging.Logger:
        """A logger whose lines `orchestrator logs` shows for this task."""

    @property
    def saved(self) -> Any:
        """The state last saved by this task, in this attempt or an earlier one; None if never."""

    @property
    def cancelled(self) -> bool:
        """True once the attempt should end; loops in plain functions look at it between two rounds."""

    def progress(self, done: float | None = None, total: float | None = None, message: str = "") -> None:
        """Say how far the step is; any thread, cheap enough for every round of a loop."""

    def save(self, state: Any) -> None:
        """Keep ``state`` to go on from after a retry or a resume.

        Saves are coalesced: the last one is made durable every checkpoint interval, on a stop, on failure, and for
        critical steps at once: some milliseconds after this returns, in the engine's next commit. The state must be
        storable like a result; it is taken as it is now (copied).
        """
