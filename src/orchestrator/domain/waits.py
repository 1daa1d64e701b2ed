"""Steps that wait: for a time, for a signal, for a person's answer; and the signals that have come.

Such a step is no attempt of an executor. Who waits for what is part of the fold, and so is every signal, whether
somebody waits for it yet or not: each is taken once, in the order in which they came.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.domain.words import did_you_mean, kind_of, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Task
    from orchestrator.domain.values import ValueRef

WAIT, APPROVAL = "wait", "approval"
TOOLS = frozenset({WAIT, APPROVAL})
TIME, SIGNAL = "time", "signal"
"""Two of the kinds of waits; the third is ``approval``."""
SEND_BACK = "send back"
"""The choice beside the others where an approval may send its execution back to a step."""
ANSWER_KEYS = ("choice", "form", "comment", "send_back", "attempt")
"""``attempt`` is the one that asked: an answer to an earlier question of the same step is none to this one."""
MAX_COMMENT = 10_000
_SHOWN = 300


def waits(task: Task) -> bool:
    """Tell whether a task waits, instead of being run by an executor."""
    return task.tool in TOOLS


@dataclass(frozen=True, slots=True)
class Wait:
    """What a step waits for, as its parameters say.

    ``kind``: ``time``, ``signal`` or ``approval``. It is over by itself after ``seconds``, or at ``until`` (seconds
    since 1970, UTC; None and None: never); then the result is made of ``default`` where ``has_default``, and else the
    step fails, or is done where it waits for a time. ``schema`` is that of a signal's payload or of an approval's form.
    """

    kind: str
    signal: str = ""
    seconds: float | None = None
    until: float | None = None
    schema: Mapping[str, Any] | None = None
    has_default: bool = False
    default: Any = None
    question: str = ""
    choices: tuple[str, ...] = ()
    send_back: tuple[str, ...] = ()

    def told(self) -> str:
        """Say in a line what is waited for."""
        if self.kind == SIGNAL:
            return f"for the signal {self.signal!r}"
        if self.kind == TIME:
            return "for a time"
        offered = [*self.choices, *(f"{SEND_BACK} to {step}" for step in self.send_back)]
        form = ["a form"] if self.schema is not None and not self.choices else []
        return f"{shorten(' '.join(self.question.split()), _SHOWN)} [{' / '.join(form + offered)}]"


class Waiting(NamedTuple):
    """A task that waits, as recorded (see TaskWaiting)."""

    kind: str
    name: str
    until: float | None
    text: str
    parameters: ValueRef


class Received(NamedTuple):
    """A signal that is recorded, and that no step has taken yet (see SignalReceived)."""

    id: str
    name: str
    payload: ValueRef
    by: str
    sent_at: float


class SentBack(NamedTuple):
    """Why a step runs again: who sent it back from which approval, with what comment, for the how manieth time."""

    step: str
    by: str
    comment: str
    at: str
    times: int


class Waits:
    """The part of an execution's state that is about waiting; each change costs O(log of those that wait).

    ``tasks`` are those that wait, in the order in which they began to. ``rewinds`` are approvals whose execution was
    sent back, to which task, as long as the tasks in between have not been reset.
    """

    __slots__ = ("_due", "_heard", "_matched", "_named", "_signals", "_where", "rewinds", "tasks")

    def __init__(self) -> None:
        self.tasks: dict[TaskId, Waiting] = {}
        self.rewinds: dict[TaskId, TaskId] = {}
        self._due: list[tuple[float, TaskId]] = []
        self._named: dict[str, OrderedDict[TaskId, None]] = {}
        self._signals: dict[str, OrderedDict[str, Received]] = {}
        self._where: dict[str, str] = {}
        self._heard: set[str] = set()
        self._matched: dict[str, None] = {}

    def __eq__(self, other: object) -> bool:
        """Two are equal if the same tasks wait for the same, and the same signals are there."""
        if not isinstance(other, Waits):
            return NotImplemented
        return (self.tasks, self.rewinds, self._signals, self._heard) == (
            other.tasks,
            other.rewinds,
            other._signals,
            other._heard,
        )

    __hash__ = None  # type: ignore[assignment]

    # -- changes -------------------------------------------------------------------------------------------------

    def begin(self, task: TaskId, waiting: Waiting) -> None:
        """Let a task wait."""
        self.tasks[task] = waiting
        if waiting.until is not None:
            heapq.heappush(self._due, (waiting.until, task))
        if waiting.kind != TIME:
            self._named.setdefault(waiting.name, OrderedDict())[task] = None
            self._match(waiting.name)

    def end(self, task: TaskId) -> None:
        """Let a task wait no more, whatever for; nothing happens if it did not."""
        self.rewinds.pop(task, None)
        waiting = self.tasks.pop(task, None)
        if waiting is not None and waiting.kind != TIME:
            named = self._named[waiting.name]
            named.pop(task, None)
            if not named:
                del self._named[waiting.name]
            self._match(waiting.name)

    def clear(self) -> None:
        """Let no task wait; the signals stay."""
        self.tasks.clear()
        self.rewinds.clear()
        self._due.clear()
        self._named.clear()
        self._matched.clear()

    def receive(self, signal: Received) -> None:
        """Keep a signal until a step takes it; one that was heard before is the same."""
        if signal.id in self._heard:
            return
        self._heard.add(signal.id)
        self._where[signal.id] = signal.name
        self._signals.setdefault(signal.name, OrderedDict())[signal.id] = signal
        self._match(signal.name)

    def take(self, signal: str) -> None:
        """Drop a signal that was taken, or that was refused."""
        name = self._where.pop(signal, None)
        if name is not None:
            del self._signals[name][signal]
            if not self._signals[name]:
                del self._signals[name]
            self._match(name)

    def _match(self, name: str) -> None:
        if name in self._signals and name in self._named:
            self._matched[name] = None
        else:
            self._matched.pop(name, None)

    # -- reading -------------------------------------------------------------------------------------------------

    def heard(self, signal: str) -> bool:
        """Tell whether a signal of this id is recorded."""
        return signal in self._heard

    def signals(self) -> list[Received]:
        """Return the signals that nobody has taken yet, by name and in the order in which they came."""
        return [signal for named in self._signals.values() for signal in named.values()]

    def answered(self) -> tuple[TaskId, Received] | None:
        """Return a task that waits and the signal that it is to take, or None."""
        for name in self._matched:
            return next(iter(self._named[name])), next(iter(self._signals[name].values()))
        return None

    def due(self) -> tuple[float, TaskId] | None:
        """Return when the first wait is over by itself, and which; None if none is."""
        heap = self._due
        while heap and not self._is_due(heap[0]):
            heapq.heappop(heap)
        return heap[0] if heap else None

    def _is_due(self, entry: tuple[float, TaskId]) -> bool:
        waiting = self.tasks.get(entry[1])
        return waiting is not None and waiting.until == entry[0] and entry[1] not in self.rewinds


def answer_fault(wait: Wait, payload: Any, check: Callable[[Mapping[str, Any], Any], str | None]) -> str | None:
    """Say what is wrong with an answer to a wait; None if nothing is. ``check`` holds a value against a schema."""
    if wait.kind == SIGNAL:
        return None if wait.schema is None else check(wait.schema, payload)
    if not isinstance(payload, dict):
        return f"an answer is a mapping, got {kind_of(payload)}"
    for key in payload:
        if key not in ANSWER_KEYS:
            return f"an answer has no {key!r}; there are {', '.join(ANSWER_KEYS)}"
    comment = payload.get("comment")
    if not (comment is None or (isinstance(comment, str) and len(comment) <= MAX_COMMENT)):
        return f"the comment is not a text of at most {MAX_COMMENT:,} characters"
    step = payload.get("send_back")
    if step is not None:
        return _send_back_fault(wait, step)
    return _choice_fault(wait, payload.get("choice")) or _form_fault(wait, payload, check)


def _send_back_fault(wait: Wait, step: Any) -> str | None:
    if step in wait.send_back:
        return None
    if not wait.send_back:
        return "it cannot be sent back: the step has no `send_back`"
    return f"it cannot be sent back to {step!r}; it can to {', '.join(wait.send_back)}"


def _choice_fault(wait: Wait, choice: Any) -> str | None:
    if not wait.choices:
        return None if choice is None else "it asks for a form, and offers no choices"
    if isinstance(choice, str) and choice in wait.choices:
        return None
    there = f"there are {', '.join(wait.choices)}"
    if not isinstance(choice, str):
        return f"a choice is missing; {there}"
    return f"no choice {choice!r}; {did_you_mean(choice, wait.choices) or there}"


def _form_fault(
    wait: Wait, payload: Mapping[str, Any], check: Callable[[Mapping[str, Any], Any], str | None]
) -> str | None:
    form = payload.get("form")
    if wait.schema is None:
        return None if form is None else "it asks for no form"
    fault = check(wait.schema, {} if form is None else form)
    return f"form: {fault}" if fault is not None else None
