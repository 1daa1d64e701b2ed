"""Ownership, told by deadlines alone."""

from __future__ import annotations

from orchestrator.domain.ids import Epoch, ExecutionId
from orchestrator.errors import ExecutionOwned, LeaseLost
from orchestrator.ports.store import HAS_MAIL, Holder, Lease, Request
from orchestrator.state.memory.data import Kept, MemoryData


class MemoryLeases(MemoryData):
    """See ports.store.Leases."""

    def _grant(self, execution: Kept, owner: str, *, copying: bool = False) -> Lease:
        """Make this handle the owner, whoever was before."""
        execution.epoch += 1
        execution.owner = owner
        execution.token = self._chance.token()
        execution.lease_until = self._clock.monotonic() + self.lease_seconds
        self._tokens.add(execution.token)
        return Lease(
            execution.execution_id, Epoch(execution.epoch), execution.token, execution.lease_until, copying=copying
        )

    def _holder(self, execution: Kept) -> Holder | None:
        if execution.token is None:
            return None
        return Holder(execution.owner, Epoch(execution.epoch), execution.lease_until > self._clock.monotonic())

    async def acquire(self, execution_id: ExecutionId, owner: str, *, steal: bool = False) -> Lease:
        """See ports.store.Leases."""
        with self._data.mutex:
            execution = self._find(execution_id)
            holder = self._holder(execution)
            if holder is not None and holder.alive and not steal:
                raise ExecutionOwned(execution_id, holder.owner)
            execution.cancel_by = execution.paused_by = None
            return self._grant(execution, owner)

    def renew(self, lease: Lease) -> None:
        """See ports.store.Leases."""
        with self._data.mutex:
            execution = self._owned(lease)
            execution.lease_until = lease.deadline = self._clock.monotonic() + self.lease_seconds

    def requests(self, lease: Lease) -> Request | None:
        """See ports.store.Leases."""
        with self._data.mutex:
            execution = self._owned(lease)
            if execution.cancel_by is not None:
                return Request("cancel", execution.cancel_by)
            if execution.paused_by is not None:
                return Request("pause", execution.paused_by)
            return HAS_MAIL if execution.mail else None

    def _owned(self, lease: Lease) -> Kept:
        """Return the lease's execution; one that was given back is still nobody else's, and no reason for alarm."""
        self._check_open()
        execution = self._data.executions.get(lease.execution_id)
        if execution is None or execution.epoch != lease.epoch or execution.token not in (None, lease.token):
            raise LeaseLost(lease.execution_id, lease.epoch)
        return execution

    async def release(self, lease: Lease) -> None:
        """See ports.store.Leases."""
        with self._data.mutex:
            self._tokens.discard(lease.token)
            execution = self._data.executions.get(lease.execution_id)
            if execution is not None and execution.token == lease.token:
                execution.token = None

    async def holder(self, execution_id: ExecutionId) -> Holder | None:
        """See ports.store.Leases."""
        with self._data.mutex:
            return self._holder(self._find(execution_id))

    async def request_cancel(self, execution_id: ExecutionId, by: str) -> None:
        """See ports.store.Leases."""
        with self._data.mutex:
            self._find(execution_id).cancel_by = by

    async def request_pause(self, execution_id: ExecutionId, by: str) -> None:
        """See ports.store.Leases."""
        with self._data.mutex:
            self._find(execution_id).paused_by = by
