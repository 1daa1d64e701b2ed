"""How far running steps are: noted by any thread, shown at once, made durable now and then."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.ports.executor import Attempt

_LIMIT = 1 << 63

_Shown = tuple[float | None, float | None, str]


class _Entry:
    __slots__ = ("announced", "dirty", "has_state", "shown", "state")

    def __init__(self) -> None:
        self.shown: _Shown = (None, None, "")
        self.state: Any = None
        self.has_state = False
        self.dirty = False
        self.announced = False


class ProgressBook:
    """The latest progress and saved state of each running attempt. Saves are coalesced: the last one counts."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[Attempt, _Entry]] = {}
        self._mutex = threading.Lock()

    def _entry(self, attempt: Attempt) -> _Entry:
        known = self._entries.get(attempt.task_id)
        if known is None or known[0] is not attempt:
            if known is not None and known[0].attempt > attempt.attempt:
                return _Entry()  # an abandoned attempt still speaks: nobody listens
            known = self._entries[attempt.task_id] = (attempt, _Entry())
        return known[1]

    def note(self, attempt: Attempt, done: float | None, total: float | None, message: str) -> bool:
        """Note progress; return whether somebody must be sent to show it (one at a time is enough)."""
        with self._mutex:
            entry = self._entry(attempt)
            entry.shown = (_fitting(done), _fitting(total), message)
            entry.dirty = True
            first, entry.announced = not entry.announced, True
            return first

    def save(self, attempt: Attempt, state: Any) -> None:
        """Keep the state to go on from."""
        with self._mutex:
            entry = self._entry(attempt)
            entry.state, entry.has_state, entry.dirty = state, True, True

    def shown(self, attempt: Attempt) -> _Shown | None:
        """Return what to show, and expect the next announcement."""
        with self._mutex:
            entry = self._entry(attempt)
            entry.announced = False
            return entry.shown

    def take(self, attempt: Attempt) -> tuple[float | None, float | None, str, bool, Any] | None:
        """Return what is not durable yet (done, total, message, whether a state was saved, the state), or None."""
        with self._mutex:
            entry = self._entry(attempt)
            if not entry.dirty:
                return None
            taken = (*entry.shown, entry.has_state, entry.state)
            entry.dirty = entry.has_state = False
            entry.state = None
            return taken

    def forget(self, attempt: Attempt) -> None:
        """Forget an attempt that ended."""
        with self._mutex:
            known = self._entries.get(attempt.task_id)
            if known is not None and known[0] is attempt:
                del self._entries[attempt.task_id]


def _fitting(number: float | None) -> float | None:
    """Return a number that fits a journal: a whole one beyond 64 bits becomes a float."""
    return number if number is None or -_LIMIT <= number < _LIMIT else float(number)
