"""The facts of an execution. A journal is a list of these; nothing else is ever stored about what happened.

Each event carries its own time ``at`` (seconds since 1970, UTC), so that a fold yields the same state on any day.
Events are tuples: ``(at, ...)``; on disk each is a list led by its tag (see ``TAGS``). Tags are for ever: a new
meaning gets a new tag.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from orchestrator.domain.files import FileSeen
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.values import ValueRef


CONDITION_FALSE = "condition is false"
"""How the reason of a TaskSkipped begins where the task's own condition says so, and no person."""


AT_ONCE = " (at once)"
"""How ``by`` of a CancelRequested ends that wants no later stage."""


UNDONE = "undone"
"""The reason of a TasksReset that says that what a step did was taken back."""


PROCESS_ENDED = "it was running when the process ended"
"""The reason of a TaskInterrupted that somebody records on behalf of a process that is gone."""


ASKED_FOR = "asked for"
AFTER_ASKED_FOR = "after a step asked for"
AFTER_CHECKPOINT = "after the checkpoint"
AFRESH = frozenset({ASKED_FOR, AFTER_ASKED_FOR, AFTER_CHECKPOINT})
"""The reasons of a TasksReset by which also an unfinished task begins anew, and does not go on from where it was."""


class ErrorInfo(NamedTuple):
    """An error as recorded: ``kind`` is what retry filters name, ``trace`` a shortened traceback or empty."""

    kind: str
    message: str
    retryable: bool = True
    trace: str = ""


class ExecutionCreated(NamedTuple):
    """The execution exists: its definition, inputs and ids are durable (I0). Always seq 1.

    ``definition`` is None for an execution that only the caller knows and never gave a pipeline for.
    ``origin`` is ``run``, or ``manual`` for one made by a caller's own checkpoint.
    """

    at: float
    pipeline_id: str
    definition: ValueRef | None
    inputs: ValueRef
    total: int
    origin: str


class ExecutionStarted(NamedTuple):
    """An owner took the execution up: the first time, or to resume it with this strategy."""

    at: float
    epoch: int
    owner: str
    resumed: bool
    strategy: dict[str, Any]


class TaskClaimed(NamedTuple):
    """An attempt is about to begin.

    ``parameters`` are the rendered ones, when templates made them; of those too large for the journal only the digest.
    """

    at: float
    task: TaskId
    attempt: int
    parameters: ValueRef | bytes | None


class TaskCompleted(NamedTuple):
    """The attempt succeeded with this value; it is never executed again in this execution."""

    at: float
    task: TaskId
    attempt: int
    value: ValueRef


class TaskFailed(NamedTuple):
    """The attempt failed. ``retry_at`` is when the next one is due (None: not in this run).

    ``crashed``: the worker died, the task did not say it failed. ``parked``: its retries are used up.
    """

    at: float
    task: TaskId
    attempt: int
    error: ErrorInfo
    retry_at: float | None
    crashed: bool
    parked: bool


class TaskInterrupted(NamedTuple):
    """The attempt was running when its process ended. ``outcome``: ``rerun``, ``fail`` or ``ask``."""

    at: float
    task: TaskId
    attempt: int
    outcome: str
    reason: str


class TaskSkipped(NamedTuple):
    """The task does not run; it counts as done, with the result None."""

    at: float
    task: TaskId
    reason: str


class TasksReset(NamedTuple):
    """These tasks are to run (again). With ``forgive`` their failure counts start anew."""

    at: float
    tasks: list[TaskId]
    reason: str
    forgive: bool


class TaskProgressed(NamedTuple):
    """How far a running attempt says it is, and the state it saved (None: nothing new saved)."""

    at: float
    task: TaskId
    attempt: int
    done: float | None
    total: float | None
    message: str
    saved: ValueRef | None


class CheckpointMade(NamedTuple):
    """A named position. ``reason``: ``periodic``, ``manual``, ``saved``, ``before``, ``stop``, ``part``.

    ``state`` is what a caller keeps with it: with ``manual`` and ``periodic`` the execution's context. A ``part`` is
    no position of its own: it keeps a value that a checkpoint to come, or one made before, refers to.
    """

    at: float
    reason: str
    task: TaskId | None
    metadata: dict[str, Any]
    state: ValueRef | None


class CancelRequested(NamedTuple):
    """Somebody asked to cancel; from here on no attempt begins but those of later stages, and none AT_ONCE."""

    at: float
    by: str


class ExecutionFinished(NamedTuple):
    """This owner is done. ``status``: ``completed``, ``failed``, ``cancelled`` or ``stopped`` (by a signal)."""

    at: float
    status: str
    outputs: ValueRef | None
    error: ErrorInfo | None


class ExecutionWaiting(NamedTuple):
    """This owner is done, and nothing but waits is left: the execution's status is ``waiting``.

    It goes on once a signal has come for it, or ``due`` has passed (seconds since 1970, UTC; None: only for a signal).
    """

    at: float
    due: float | None


class SignalReceived(NamedTuple):
    """A signal came for the execution: it is kept until a step takes it, which waits for one of this name.

    ``id`` is its sender's: one that is offered twice is recorded once. ``sent_at`` is when it was sent, by whom ``by``.
    """

    at: float
    id: str
    name: str
    payload: ValueRef
    by: str
    sent_at: float


class TaskWaiting(NamedTuple):
    """The task waits: for a time, for a signal of this name, for an answer to an approval (``name`` is the task then).

    ``kind``: ``time``, ``signal`` or ``approval``. ``until`` is when it is over by itself (None: never), decided once.
    ``text`` says in a line what is waited for; ``parameters`` are the rendered ones, whole.
    """

    at: float
    task: TaskId
    attempt: int
    kind: str
    name: str
    until: float | None
    text: str
    parameters: ValueRef


class ToolsResolved(NamedTuple):
    """What these calls mean from here on: ``[tool, action, version, code]``.

    ``code`` maps ``module:name`` to the digest of its source: the function of the action, and what it calls in the
    project. Empty where the version alone tells.
    """

    at: float
    calls: list[tuple[str, str | None, str, dict[str, str]]]


class TaskTraced(NamedTuple):
    """What the attempt that succeeds in the next fact read and wrote besides its parameters and its result.

    ``reads`` and ``writes`` are files as they were then; ``inputs`` tells whether it looked at the execution's inputs
    by itself.
    """

    at: float
    task: TaskId
    attempt: int
    reads: list[FileSeen]
    writes: list[FileSeen]
    inputs: bool


class TaskReused(NamedTuple):
    """The task is done with a result that was recorded before, and does not run.

    ``source`` is ``EXECUTION@SEQ`` of the fact that recorded it. ``parameters`` as in TaskClaimed: those that the
    result was computed of.
    """

    at: float
    task: TaskId
    value: ValueRef
    parameters: ValueRef | bytes | None
    source: str


class TasksInvalidated(NamedTuple):
    """What these finished tasks were given may change: each is looked at again once what it needs is done.

    It keeps its result if it would be given the same again, and runs otherwise.
    """

    at: float
    tasks: list[TaskId]
    reason: str


class ResultSet(NamedTuple):
    """Somebody gave the task this result; it is done, and is not looked at again until somebody asks for it."""

    at: float
    task: TaskId
    value: ValueRef
    by: str
    reason: str


class DefinitionChanged(NamedTuple):
    """From here on the execution is one of another definition.

    ``total`` is how many tasks that one has; ``renamed`` maps tasks of the new one to their ids in the old one.
    ``inputs`` are the execution's from here on; ``source`` is the file the definition came from, or empty.
    """

    at: float
    definition: ValueRef
    inputs: ValueRef
    total: int
    renamed: dict[str, str]
    source: str
    by: str


class ResumePlanned(NamedTuple):
    """What the owner is about to do with the tasks: the facts after this one, and then the run.

    ``digest`` is that of the plan, as shown. ``request`` is what was asked for, by the names of ``PlanRequest``; empty
    for a plain resume. ``until``: the only tasks to run, None for all.
    """

    at: float
    digest: str
    by: str
    reason: str
    request: dict[str, Any]
    until: list[TaskId] | None


class DefinitionLoaded(NamedTuple):
    """The execution's definition came from this file: a path in the project folder, or an absolute one.

    ``digest`` is the SHA-256 of the file in hexadecimal, as it was when it was read; empty if that is not known.
    """

    at: float
    source: str
    digest: str = ""


class ExecutionForked(NamedTuple):
    """The execution begins with what another one had recorded at a position, ``EXECUTION@SEQ``.

    ``inputs`` names those that are other ones here.
    """

    at: float
    source: str
    inputs: list[str]
    by: str
    reason: str


class ExecutionLinked(NamedTuple):
    """The execution was started by a step of another one, its parent, and its outputs are that step's result.

    ``depth`` is how many parents there are above it.
    """

    at: float
    parent: str
    task: TaskId
    depth: int


class DecisionMade(NamedTuple):
    """A condition, or what a construct asks, was evaluated: it is obeyed from here on.

    ``kind``: ``condition``, ``for_each``, ``while``, ``until`` or ``switch``. ``value`` is what it yielded and
    ``reads`` what it read, in a few words each. ``round`` counts the rounds of a loop, from 1; else 0.

    Of what waits: ``signal`` is a signal that the task takes, or that is refused (``value`` says so, ``reads`` names
    it by its id); ``send_back`` is one that sends the execution back, for the ``round``-th time: to the task ``step``
    by ``by`` at the time ``at``, with the comment ``value``.
    """

    at: float
    task: TaskId
    kind: str
    round: int
    value: str
    reads: dict[str, str]


class TaskExpanded(NamedTuple):
    """A container got its tasks: one set of its body for each key.

    ``keys`` name the items of a for_each, in order, or the one round of a loop; those of a block and a switch have
    the one key "". ``items`` is the list of a for_each's items; ``mapping`` tells that they were a mapping's.
    ``branch`` is the case of a switch. ``total`` is how many tasks the execution has from here on. Where it had tasks
    already, those under the same key go on with what they had: a result is looked at again.
    """

    at: float
    task: TaskId
    keys: list[str]
    items: ValueRef | None
    mapping: bool
    branch: str
    total: int


class TaskGathered(NamedTuple):
    """A container is done: its result is made of those of its tasks. ``lost`` are the keys of items that failed."""

    at: float
    task: TaskId
    lost: list[str]


class StageEntered(NamedTuple):
    """The stage before can go no further: the tasks of this one are there now, and only they begin.

    ``outcome`` is how the main part ended: ``completed``, ``failed`` or ``cancelled``; ``error`` is why, where no task
    tells. ``tasks`` are those of the stage: of ``undo`` in the order in which they begin, one after the other.
    """

    at: float
    stage: str
    outcome: str
    tasks: list[TaskId]
    error: ErrorInfo | None


Event = (
    ExecutionCreated
    | ExecutionStarted
    | TaskClaimed
    | TaskCompleted
    | TaskFailed
    | TaskInterrupted
    | TaskSkipped
    | TasksReset
    | TaskProgressed
    | CheckpointMade
    | CancelRequested
    | ExecutionFinished
    | ToolsResolved
    | TaskTraced
    | TaskReused
    | TasksInvalidated
    | ResultSet
    | DefinitionChanged
    | ResumePlanned
    | DefinitionLoaded
    | ExecutionForked
    | DecisionMade
    | TaskExpanded
    | TaskGathered
    | ExecutionWaiting
    | SignalReceived
    | TaskWaiting
    | StageEntered
    | ExecutionLinked
)

TAGS: dict[type[Event], int] = {
    ExecutionCreated: 1,
    ExecutionStarted: 2,
    TaskClaimed: 3,
    TaskCompleted: 4,
    TaskFailed: 5,
    TaskInterrupted: 6,
    TaskSkipped: 7,
    TasksReset: 8,
    TaskProgressed: 9,
    CheckpointMade: 10,
    CancelRequested: 11,
    ExecutionFinished: 12,
    ToolsResolved: 13,
    TaskTraced: 14,
    TaskReused: 15,
    TasksInvalidated: 16,
    ResultSet: 17,
    DefinitionChanged: 18,
    ResumePlanned: 19,
    DefinitionLoaded: 20,
    ExecutionForked: 21,
    DecisionMade: 22,
    TaskExpanded: 23,
    TaskGathered: 24,
    ExecutionWaiting: 25,
    SignalReceived: 26,
    TaskWaiting: 27,
    StageEntered: 28,
    ExecutionLinked: 30,
}
