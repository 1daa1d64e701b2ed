"""How many attempts of an execution may be at work at once, and how soon they may follow each other.

A limit is named in the definition, and steps name the limits that they keep. What waits is kept in queues, one for each
set of limits that a task keeps: however many tasks wait for a limit, asking for the next costs the same.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict, deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from orchestrator.domain.ids import TaskId

UNLIMITED: tuple[str, ...] = ()
"""The limits of a task that keeps none."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``at_once`` attempts at work; at most ``count`` begun within any ``per_seconds``. None: any number.

    >>> Limit(count=10, per_seconds=60).rate
    '10/min'
    """

    at_once: int | None = None
    count: int | None = None
    per_seconds: float = 1.0

    @property
    def rate(self) -> str | None:
        """The rate as it is written; None without one."""
        if self.count is None:
            return None
        unit = _UNITS.get(self.per_seconds)
        return f"{self.count}/{unit or f'{_written(self.per_seconds)}s'}"


_UNITS = {1.0: "s", 60.0: "min", 3600.0: "h", 86400.0: "d"}


def _written(seconds: float) -> str:
    return f"{seconds:.9f}".rstrip("0").rstrip(".")


class Gate:
    """What is known of one limit: how many attempts are at work, and when the last ``count`` were claimed."""

    __slots__ = ("begun", "limit", "working")

    def __init__(self, limit: Limit, begun: Iterable[float] = ()) -> None:
        self.limit = limit
        self.working = 0
        self.begun: deque[float] = deque(begun, limit.count or 0)

    def room(self, now: float, most: int) -> int:
        """Return how many more may begin now, at most so many. O(most)."""
        limit = self.limit
        if limit.at_once is not None:
            most = min(most, limit.at_once - self.working)
        if limit.count is None or most <= 0:
            return max(most, 0)
        free = limit.count - len(self.begun)
        if free < most:
            past = islice(self.begun, most - free)
            free += sum(1 for at in past if at + limit.per_seconds <= now)
        return min(most, free)

    def opens_at(self) -> float | None:
        """Return when the rate lets the next one begin; None if that is not a matter of time."""
        limit = self.limit
        if limit.at_once is not None and self.working >= limit.at_once:
            return None
        return self.begun[0] + limit.per_seconds if limit.count is not None and len(self.begun) == limit.count else 0.0

    def claim(self, at: float) -> None:
        """Count an attempt."""
        self.working += 1
        self.begun.append(at)

    def release(self) -> None:
        """Count an attempt no more: it has ended."""
        self.working -= 1

    def set_clock(self, now: float) -> None:
        """Let no claim lie ahead of a clock that was set back meanwhile: the next ones would wait for that long."""
        self.begun = deque((min(at, now) for at in self.begun), self.begun.maxlen)


class Queue:
    """Tasks that keep the same limits: those that may begin but for them, in order, and those whose retry waits."""

    __slots__ = ("gates", "ready", "retries")

    def __init__(self, gates: tuple[Gate, ...]) -> None:
        self.gates = gates
        # Taken from the front again and again: a plain dict would walk over its own holes to find its first key.
        self.ready: OrderedDict[TaskId, None] = OrderedDict()
        self.retries: list[tuple[float, TaskId]] = []

    def room(self, now: float, most: int) -> int:
        """Return how many of its tasks may begin now, at most so many."""
        for gate in self.gates:
            most = gate.room(now, most)
        return most

    def opens_at(self) -> float | None:
        """Return when its limits let the next one begin; None if that is not a matter of time."""
        found = 0.0
        for gate in self.gates:
            at = gate.opens_at()
            if at is None:
                return None
            found = max(found, at)
        return found

    def next_retry(self, waits: Callable[[tuple[float, TaskId]], bool]) -> tuple[float, TaskId] | None:
        """Return the retry that is due first, and when; ``waits`` tells whether one is still waited for."""
        heap = self.retries
        while heap and not waits(heap[0]):
            heapq.heappop(heap)
        return heap[0] if heap else None


class Limits:
    """The limits of an execution, and the tasks that wait for them."""

    __slots__ = ("gates", "queues", "unlimited")

    def __init__(self, limits: Mapping[str, Limit]) -> None:
        self.gates: dict[str, Gate] = {name: Gate(limit) for name, limit in limits.items()}
        self.unlimited = Queue(())
        self.queues: dict[tuple[str, ...], Queue] = {UNLIMITED: self.unlimited}

    def queue(self, names: tuple[str, ...]) -> Queue:
        """Return the queue of the tasks that keep these limits."""
        found = self.queues.get(names)
        if found is None:
            gates = tuple(self.gates[name] for name in names if name in self.gates)
            found = self.queues[names] = Queue(gates)
        return found

    def redefined(self, limits: Mapping[str, Limit]) -> Limits:
        """Return these limits with other numbers and nothing in their queues; what was claimed counts on."""
        found = Limits({})
        for name, limit in limits.items():
            old = self.gates.get(name)
            found.gates[name] = Gate(limit, () if old is None else old.begun)
        return found

    def set_clock(self, now: float) -> None:
        """See Gate.set_clock."""
        for gate in self.gates.values():
            gate.set_clock(now)
