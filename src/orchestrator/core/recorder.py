"""The only writer of an execution's journal.

Facts are recorded, folded at once, and made durable together by ``flush`` (group commit). Nobody is told before the
commit: listeners hear of a fact only when it is durable. A failed commit ends the recorder: what it folded ahead of
the store is worth nothing, and a resume reads what is true.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol

from orchestrator import crashpoints
from orchestrator.crashpoints import point
from orchestrator.domain.events import TaskClaimed, TaskCompleted, TaskExpanded, TaskGathered
from orchestrator.domain.ids import Seq
from orchestrator.domain.values import EncodedValue, ValueRef
from orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.events import Event
    from orchestrator.domain.execution import ExecutionState
    from orchestrator.domain.values import Stored
    from orchestrator.ports.store import Journal, Lease

_log = logging.getLogger("orchestrator.recorder")

_FAULTS = (OrchestratorError, OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError)
"""What a listener may raise without harm."""


class Listener(Protocol):
    """Hears of facts once they are durable, in order."""

    def notify(self, event: Event, execution_id: str, seq: int) -> None:
        """Take note; must return at once. An exception is logged and changes nothing."""

    def progress(self, execution_id: str, task: str, done: float | None, total: float | None, message: str) -> None:
        """Take note of how far a running step says it is; not a fact yet."""


class Recorder:
    """Records facts of one execution under one lease.

    ``state`` is ahead of the store by the facts recorded since the last ``flush``.
    """

    def __init__(
        self, journal: Journal, lease: Lease, state: ExecutionState, listeners: Sequence[Listener] = ()
    ) -> None:
        self.lease = lease
        self.state = state
        self._journal = journal
        self._listeners = tuple(listeners)
        self._events: list[Event] = []
        self._values: list[Stored] = []
        self._durable = False
        self._in_flight: list[Stored] = []
        self._broken: BaseException | None = None
        self._turn = asyncio.Lock()

    def record(self, event: Event, *values: Stored, durable: bool = False) -> None:
        """Fold a fact in and keep it for the next flush, with the values it refers to that the store may not have.

        ``durable`` raises the whole commit to what a power cut survives, where the store's setting is weaker.
        """
        self.state.apply(event)
        self._events.append(event)
        for value in values:
            if not (value if isinstance(value, ValueRef) else value.ref).inline:
                self._values.append(value)
        if durable:
            self._durable = True

    def listen(self, listener: Listener) -> None:
        """Let one more hear of this execution's facts."""
        self._listeners = (*self._listeners, listener)

    @property
    def pending(self) -> bool:
        """Whether there is something to flush."""
        return bool(self._events)

    def pending_value(self, ref: ValueRef) -> bytes | None:
        """Return a value that is recorded but not yet in the store."""
        for value in (*reversed(self._values), *self._in_flight):
            if isinstance(value, EncodedValue) and value.ref.data == ref.data:
                return value.payload
        return None

    async def flush(self) -> None:
        """Make everything recorded durable, then tell the listeners.

        While a commit is under way more may be recorded, also by others; it goes with the next one. Raises LeaseLost,
        JournalConflict or another StoreError; afterwards the recorder refuses to go on.
        """
        async with self._turn:
            if self._broken is not None:
                raise self._broken
            if self._events:
                await self._commit()

    async def _commit(self) -> None:
        events, values, durable = self._events, self._values, self._durable
        self._events, self._values, self._durable, self._in_flight = [], [], False, values
        expected = Seq(self.state.seq - len(events))
        if crashpoints.ACTIVE:
            _points("before", events)
        try:
            await self._journal.append(
                self.lease, events, values, expected_seq=expected, completed=self.state.done_count, durable=durable
            )
        except BaseException as error:
            self._broken = error
            raise
        self._in_flight = []
        if crashpoints.ACTIVE:
            _points("after", events)
        if self._listeners:
            point("before_acknowledge")
            self.tell(events, expected)
            point("after_acknowledge")

    def tell_progress(self, task: str, done: float | None, total: float | None, message: str) -> None:
        """Pass on how far a running step says it is."""
        for listener in self._listeners:
            try:
                listener.progress(self.lease.execution_id, task, done, total, message)
            except _FAULTS:
                _log.exception("a listener failed; the execution goes on")

    def tell(self, events: Sequence[Event], before: int) -> None:
        """Tell the listeners of durable facts; ``before`` is the seq before the first."""
        for listener in self._listeners:
            try:
                for seq, event in enumerate(events, before + 1):
                    listener.notify(event, self.lease.execution_id, seq)
            except _FAULTS:
                _log.exception("a listener failed; the execution goes on")


def _points(moment: str, events: Sequence[Event]) -> None:
    """Pass the crash points of a commit: what it may hold has one each."""
    if any(type(event) is TaskCompleted for event in events):
        point(f"{moment}_commit")
    if any(type(event) is TaskClaimed for event in events):
        point(f"{moment}_claim")
    if any(type(event) is TaskExpanded for event in events):
        point(f"{moment}_expand")
    if any(type(event) is TaskGathered for event in events):
        point(f"{moment}_gather")
