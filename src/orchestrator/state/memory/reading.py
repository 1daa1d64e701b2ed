"""The read side: values by their digest, and executions as lists show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import Seq
from orchestrator.errors import StoreDamaged
from orchestrator.ports.store import ExecutionSummary
from orchestrator.state.memory.data import Kept
from orchestrator.state.memory.leases import MemoryLeases
from orchestrator.state.records import unseal_value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.ids import ExecutionId
    from orchestrator.domain.values import ValueRef


class MemoryReading(MemoryLeases):
    """See ports.store.Values and ports.store.Executions."""

    async def get(self, ref: ValueRef) -> bytes:
        """See ports.store.Values."""
        if ref.inline:
            return ref.data
        name = f"value {ref.data.hex()}"
        with self._data.mutex:
            self._check_open()
            record = self._data.values.get(ref.data)
        if record is None:
            raise StoreDamaged(name, "missing")
        return unseal_value(ref, record, name=name)

    async def summary(self, execution_id: ExecutionId) -> ExecutionSummary:
        """See ports.store.Executions."""
        with self._data.mutex:
            return self._summarize(self._find(execution_id))

    async def summaries(
        self, *, pipeline_id: str | None = None, status: ExecutionStatus | None = None, limit: int | None = None
    ) -> list[ExecutionSummary]:
        """See ports.store.Executions."""
        with self._data.mutex:
            self._check_open()
            found = [
                execution
                for execution in self._data.executions.values()
                if (pipeline_id is None or execution.pipeline_id == pipeline_id)
                and (status is None or execution.status == status)
            ]
            found.sort(key=lambda execution: (execution.created_at, execution.number), reverse=True)
            return [self._summarize(execution) for execution in found[:limit]]

    def _summarize(self, execution: Kept) -> ExecutionSummary:
        last = execution.commits[-1]
        return ExecutionSummary(
            execution_id=execution.execution_id,
            pipeline_id=execution.pipeline_id,
            status=ExecutionStatus(execution.status),
            completed=last.completed,
            total=execution.total,
            seq=Seq(last.last),
            created_at=execution.created_at,
            updated_at=last.at,
            holder=self._holder(execution),
            place=execution.place,
            waiting=execution.waiting,
            paused_by=execution.paused_by,
            due=execution.due if execution.status == ExecutionStatus.WAITING else None,
            lease_left=None if execution.token is None else execution.lease_until - self._clock.monotonic(),
        )

    async def sizes(self, execution_ids: Sequence[ExecutionId]) -> dict[ExecutionId, int]:
        """See ports.store.Sizes."""
        with self._data.mutex:
            found = [self._data.executions[name] for name in execution_ids if name in self._data.executions]
            return {
                each.execution_id: sum(len(row.record) for row in each.commits)
                + sum(len(self._data.values[digest]) for digest in each.refs)
                for each in found
            }

    async def hidden(self, execution_id: ExecutionId) -> set[int]:
        """See ports.store.Executions."""
        with self._data.mutex:
            return set(self._find(execution_id).hidden)
