"""Mail: what was sent to an execution and not taken yet."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from orchestrator.domain.execution import ExecutionStatus
from orchestrator.state.mail import open_signal, seal_signal
from orchestrator.state.memory.leases import MemoryLeases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.ids import ExecutionId
    from orchestrator.ports.store import Lease, Signal


class MemoryMail(MemoryLeases):
    """See ports.store.Mail."""

    async def send(self, execution_id: ExecutionId, signal: Signal) -> None:
        """See ports.store.Mail."""
        record = seal_signal(execution_id, signal)
        with self._data.mutex:
            execution = self._find(execution_id)
            execution.mail.setdefault(signal.id, record)
            if execution.status == ExecutionStatus.WAITING:
                execution.due = 0.0

    async def signals(self, execution_id: ExecutionId, limit: int | None = None) -> list[Signal]:
        """See ports.store.Mail."""
        with self._data.mutex:
            found = list(islice(self._find(execution_id).mail.items(), limit))
        return [open_signal(execution_id, name, record) for name, record in found]

    async def delivered(self, lease: Lease, ids: Sequence[str]) -> None:
        """See ports.store.Mail."""
        with self._data.mutex:
            execution = self._owned(lease)
            for name in ids:
                execution.mail.pop(name, None)
