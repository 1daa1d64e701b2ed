"""Queues."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.execution import ExecutionStatus
from orchestrator.ports.store import Lease, Place, QueueSummary
from orchestrator.state.memory.data import Kept
from orchestrator.state.memory.leases import MemoryLeases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.ids import ExecutionId


_TAKEN_UNASKED = (ExecutionStatus.RUNNING, ExecutionStatus.WAITING)


class MemoryQueues(MemoryLeases):
    """See ports.store.Queues; ``submit`` is beside ``create``."""

    async def enqueue(self, execution_id: ExecutionId, place: Place) -> None:
        """See ports.store.Queues."""
        with self._data.mutex:
            execution = self._find(execution_id)
            if execution.status != ExecutionStatus.COMPLETED:
                execution.place, execution.waiting = place, True
                execution.paused_by = execution.cancel_by = None

    async def take(self, owner: str, queues: Sequence[str], limit: int, *, runs: bool = False) -> list[Lease]:
        """See ports.store.Queues."""
        with self._data.mutex:
            self._check_open()
            found: list[Kept] = []
            for queue in dict.fromkeys(queues):
                found += self._takable(queue)
            found.sort(key=_order)
            if runs:
                found += [one for one in self._free() if not one.waiting and one.status in _TAKEN_UNASKED]
            return [self._grant(execution, owner) for execution in found[:limit]]

    def _takable(self, queue: str) -> list[Kept]:
        limit, paused_by = self._data.queues.get(queue, (None, None))
        if paused_by is not None:
            return []
        free = sorted((one for one in self._free() if _waits_in(one, queue)), key=_order)
        return free if limit is None else free[: max(0, limit - self._count_owned(queue))]

    def _free(self) -> list[Kept]:
        return [
            one
            for one in self._data.executions.values()
            if not self._is_owned(one) and one.paused_by is None and self._is_due(one)
        ]

    def _is_due(self, execution: Kept) -> bool:
        due = execution.due
        return execution.status != ExecutionStatus.WAITING or (due is not None and due <= self._clock.now())

    def _is_owned(self, execution: Kept) -> bool:
        holder = self._holder(execution)
        return holder is not None and holder.alive

    def _count_owned(self, queue: str) -> int:
        return sum(_waits_in(one, queue) and self._is_owned(one) for one in self._data.executions.values())

    async def set_queue(self, name: str, *, limit: int | None, paused_by: str | None) -> None:
        """See ports.store.Queues."""
        with self._data.mutex:
            self._check_open()
            self._data.queues[name] = (limit, paused_by)
            if limit is None and paused_by is None:
                del self._data.queues[name]

    async def queues(self) -> list[QueueSummary]:
        """See ports.store.Queues."""
        with self._data.mutex:
            self._check_open()
            waiting = [one for one in self._data.executions.values() if one.waiting and one.place is not None]
            names = {one.place.queue for one in waiting if one.place is not None} | self._data.queues.keys()
            found = []
            for name in sorted(names):
                owned = self._count_owned(name)
                total = sum(_waits_in(one, name) for one in waiting)
                limit, paused_by = self._data.queues.get(name, (None, None))
                found.append(QueueSummary(name, limit, paused_by, total - owned, owned))
            return found


def _waits_in(execution: Kept, queue: str) -> bool:
    return execution.waiting and execution.place is not None and execution.place.queue == queue


def _order(execution: Kept) -> tuple[int, int]:
    return (-execution.place.priority if execution.place is not None else 0, execution.number)
