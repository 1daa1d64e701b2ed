"""How long an attempt may take, and how long it may say nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.executors.failure import idled, timed_out

if TYPE_CHECKING:
    from orchestrator.ports.executor import Attempt, Failed


class Patience:
    """What is left of an attempt's time, by a monotonic clock.

    ``heard`` is when it last told something; whoever hears of it sets that, in any thread.
    """

    __slots__ = ("_begun", "_idle", "_timeout", "heard")

    def __init__(self, attempt: Attempt, now: float) -> None:
        self._begun = self.heard = now
        self._timeout = attempt.timeout
        self._idle = attempt.idle_timeout

    def ends_at(self) -> float | None:
        """Return when it is to be looked at again, if nothing is heard before; None: never."""
        ends = [] if self._timeout is None else [self._begun + self._timeout]
        if self._idle is not None:
            ends.append(self.heard + self._idle)
        return min(ends, default=None)

    def verdict(self, now: float) -> Failed | None:
        """Return what the attempt ends with; None if it has time left."""
        if self._timeout is not None and now >= self._begun + self._timeout:
            return timed_out(self._timeout)
        if self._idle is not None and now >= self.heard + self._idle:
            return idled(self._idle)
        return None


def is_limited(attempt: Attempt) -> bool:
    """Tell whether the time of an attempt ends at all."""
    return attempt.timeout is not None or attempt.idle_timeout is not None
