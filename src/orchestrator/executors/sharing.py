"""Attempts of several executions that share one allowance: together they run no more at once than one of them might."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from orchestrator.ports.executor import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.ports.executor import Attempt, Executor, Outcome, Reporter

_Key = tuple[str, str, int]


class SharingExecutor:
    """Begins at most ``capacity`` attempts of a group at once, on ``inner``; the others wait for their turn, in order.

    ``group_of`` names the group of an attempt, None for one that shares with nobody. The time of an attempt begins
    when its turn comes.
    """

    def __init__(self, inner: Executor, capacity: int, group_of: Callable[[Attempt], str | None]) -> None:
        self._inner = inner
        self._capacity = capacity
        self._group_of = group_of
        self._groups: dict[str, _Group] = {}

    def start(self, attempt: Attempt, reporter: Reporter) -> None:
        """Begin an attempt, or let it wait."""
        name = self._group_of(attempt)
        if name is None:
            self._inner.start(attempt, reporter)
            return
        group = self._groups.setdefault(name, _Group())
        group.waiting[_key(attempt)] = attempt, reporter
        self._begin(name, group)

    def cancel(self, attempt: Attempt) -> None:
        """End a running or waiting attempt; nothing happens if it ended already."""
        name = self._group_of(attempt)
        group = self._groups.get(name) if name is not None else None
        found = group.waiting.pop(_key(attempt), None) if group is not None else None
        if found is None:
            self._inner.cancel(attempt)
        else:
            asyncio.get_running_loop().call_soon(found[1].finished, attempt, Cancelled())

    async def close(self) -> None:
        """End what waits and what runs."""
        for group in self._groups.values():
            for attempt, reporter in group.waiting.values():
                reporter.finished(attempt, Cancelled())
            group.waiting.clear()
        await self._inner.close()

    def _begin(self, name: str, group: _Group) -> None:
        while group.waiting and group.running < self._capacity:
            _, (attempt, reporter) = group.waiting.popitem(last=False)
            group.running += 1
            self._inner.start(attempt, _Turn(reporter, asyncio.get_running_loop(), lambda: self._leave(name, group)))
        if not group.running:
            self._groups.pop(name, None)

    def _leave(self, name: str, group: _Group) -> None:
        group.running -= 1
        self._begin(name, group)


class _Group:
    __slots__ = ("running", "waiting")

    def __init__(self) -> None:
        self.running = 0
        self.waiting: OrderedDict[_Key, tuple[Attempt, Reporter]] = OrderedDict()


class _Turn:
    """Reports for an attempt, and lets the next one have its turn when it has ended."""

    __slots__ = ("_left", "_loop", "_reporter")

    def __init__(self, reporter: Reporter, loop: asyncio.AbstractEventLoop, left: Callable[[], None]) -> None:
        self._reporter = reporter
        self._loop = loop
        self._left: Callable[[], None] | None = left

    def finished(self, attempt: Attempt, outcome: Outcome) -> None:
        """See ports.executor.Reporter."""
        left, self._left = self._left, None
        self._reporter.finished(attempt, outcome)
        if left is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(left)

    def progressed(self, attempt: Attempt, done: float | None, total: float | None, message: str) -> None:
        """See ports.executor.Reporter."""
        self._reporter.progressed(attempt, done, total, message)

    def saved(self, attempt: Attempt, state: Any) -> None:
        """See ports.executor.Reporter."""
        self._reporter.saved(attempt, state)


def _key(attempt: Attempt) -> _Key:
    return attempt.execution_id, attempt.task_id, attempt.attempt
