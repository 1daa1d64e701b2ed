"""What the journal says about single tasks."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.domain.limits import UNLIMITED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.domain.events import ErrorInfo
    from orchestrator.domain.files import Trace
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Task
    from orchestrator.domain.values import ValueRef
    from orchestrator.domain.waits import SentBack, Waiting


class TaskStatus(StrEnum):
    """Where a task is.

    Two are never recorded, only shown: ``blocked`` is a pending task behind a failed one, ``interrupted`` one that was
    running when the process died, until a resume decides about it. ``expanded`` is a container whose tasks are at work.
    ``waiting`` is a step that waits for a time, a signal or an answer: nothing of it runs.
    """

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    SKIPPED = "skipped"
    FAILED = "failed"
    PARKED = "parked"
    IN_DOUBT = "in_doubt"
    EXPANDED = "expanded"
    WAITING = "waiting"
    BLOCKED = "blocked"
    INTERRUPTED = "interrupted"


DONE = frozenset({TaskStatus.COMPLETED, TaskStatus.SKIPPED})
STUCK = frozenset({TaskStatus.FAILED, TaskStatus.PARKED, TaskStatus.IN_DOUBT})


class Call(NamedTuple):
    """What a call of a tool meant when a task made it (see ToolsResolved). All tasks that made it share the object."""

    version: str
    code: Mapping[str, str]


class Prior(NamedTuple):
    """A result that was recorded, and what it was computed of: what a plan weighs.

    ``status`` is ``completed`` or ``skipped``; ``seq`` is the fact that recorded it, or ``source`` names it
    (``EXECUTION@SEQ``) where it came from elsewhere. ``call`` None: an older version recorded it, and did not say.
    """

    status: TaskStatus
    value: ValueRef | None
    parameters: ValueRef | bytes | None
    call: Call | None
    trace: Trace | None
    seq: int
    source: str


class TaskState:
    """What the journal says about one task.

    ``attempt`` is the number of the last attempt begun (0: none), ``completed_attempt`` that of the last one that
    completed, whatever became of its result since. ``failures`` and ``crashes`` count over the whole
    execution, ``tries`` over the present owner's run. ``unmet`` is how many of its needs are not done. ``seq`` is
    the fact that last changed its status.

    What its last attempt, or its result, was computed of: ``parameters``, ``call``, ``trace``, ``source`` as in Prior;
    ``under`` is the Task it was computed under, where the definition says otherwise now (None: as it says now);
    ``stale``: the execution's inputs were other ones then. ``saved_under`` is the same as ``under`` for ``saved``.
    ``pinned``: a person gave the result or skipped the task, so that it is not weighed. ``kept`` is the result of an
    invalidated task, until its next attempt begins or it is reused. ``wait`` is what it waits for, or did last.

    ``generation`` counts how often it began anew (0: never begun): attempts of the same one go on from where the last
    was. A new one begins with the attempt after a result was given up (``anew``), or one that is given something else
    than the last.

    ``within`` is the container that the task belongs to, ``item`` its place among the items there; ``active`` tells
    that it is counted there among those at work. ``ending``: it belongs to a later stage than the main part. ``life``
    is how often what it did has been undone, ``undone`` the last attempt of which that is so. ``sent_back`` is why the
    task runs again, if an approval sent it back. ``limits`` are those that it keeps.
    """

    __slots__ = (
        "active",
        "anew",
        "attempt",
        "call",
        "completed_attempt",
        "crashes",
        "ended_at",
        "ending",
        "error",
        "failures",
        "generation",
        "item",
        "kept",
        "life",
        "limits",
        "parameters",
        "pinned",
        "progress",
        "retry_at",
        "saved",
        "saved_under",
        "sent_back",
        "seq",
        "source",
        "stale",
        "started_at",
        "status",
        "trace",
        "tries",
        "tries_epoch",
        "under",
        "undone",
        "unmet",
        "value",
        "wait",
        "within",
    )

    def __init__(
        self, unmet: int, within: TaskId | None = None, item: int = 0, limits: tuple[str, ...] = UNLIMITED
    ) -> None:
        self.status = TaskStatus.PENDING
        self.unmet = unmet
        self.within = within
        self.item = item
        self.limits = limits
        self.active = False
        self.ending = False
        self.life = 0
        self.undone = 0
        self.attempt = 0
        self.completed_attempt = 0
        self.failures = 0
        self.crashes = 0
        self.tries = 0
        self.tries_epoch = 0
        self.seq = 0
        self.value: ValueRef | None = None
        self.error: ErrorInfo | None = None
        self.saved: ValueRef | None = None
        self.saved_under: Task | None = None
        self.progress: tuple[float | None, float | None, str] | None = None
        self.retry_at: float | None = None
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.parameters: ValueRef | bytes | None = None
        self.call: Call | None = None
        self.trace: Trace | None = None
        self.source = ""
        self.under: Task | None = None
        self.stale = False
        self.pinned = ""
        self.kept: Prior | None = None
        self.wait: Waiting | None = None
        self.sent_back: SentBack | None = None
        self.generation = 0
        self.anew = True

    @property
    def prior(self) -> Prior | None:
        """The result there is to be weighed: the recorded one, or that of an invalidated task; None without any."""
        if self.status in DONE:
            return Prior(self.status, self.value, self.parameters, self.call, self.trace, self.seq, self.source)
        return self.kept
