"""The journal, in lists of sealed records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.crashpoints import point
from orchestrator.domain.events import ExecutionCreated
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import ExecutionId, Seq
from orchestrator.errors import ExecutionExists, JournalConflict, LeaseLost, StoreDamaged, ValueGone
from orchestrator.ports.store import NEW, Admission, Commit, Lease, Place
from orchestrator.state.commits import (
    Carried,
    carried,
    due_after,
    ends,
    gives_back,
    open_commit,
    seal_events,
    status_after,
    total_after,
)
from orchestrator.state.memory.data import Kept, Row
from orchestrator.state.memory.leases import MemoryLeases
from orchestrator.state.records import seal_value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from orchestrator.domain.events import Event
    from orchestrator.domain.values import Stored


class MemoryJournal(MemoryLeases):
    """See ports.store.Journal."""

    async def create(
        self,
        execution_id: ExecutionId,
        owner: str,
        events: Sequence[Event],
        values: Sequence[Stored],
        *,
        admission: Admission = NEW,
    ) -> Lease:
        """See ports.store.Journal."""
        point("before_admission")
        with self._data.mutex:
            execution = self._admit(execution_id, events, values, admission)
            lease = self._grant(execution, owner, copying=admission.head > 0)
        point("after_admission")
        return lease

    async def submit(
        self, execution_id: ExecutionId, events: Sequence[Event], values: Sequence[Stored], place: Place
    ) -> None:
        """See ports.store.Queues."""
        with self._data.mutex:
            execution = self._admit(execution_id, events, values, NEW)
            execution.place, execution.waiting = place, True

    def _admit(
        self, execution_id: ExecutionId, events: Sequence[Event], values: Sequence[Stored], admission: Admission
    ) -> Kept:
        """Keep a new execution, which nobody owns yet."""
        created = events[0]
        if not isinstance(created, ExecutionCreated):
            raise TypeError("the first fact of an execution is its ExecutionCreated")
        row = Row(len(events), events[-1].at, admission.completed, seal_events(execution_id, 1, events))
        brought = carried(values)
        sealed = _seal_values(brought)
        self._check_open()
        if execution_id in self._data.executions:
            raise ExecutionExists(execution_id)
        self._check_referred(brought)
        self._data.admitted += 1
        execution = self._data.executions[execution_id] = Kept(
            execution_id=execution_id,
            number=self._data.admitted,
            pipeline_id=created.pipeline_id,
            status=status_after(events) or ExecutionStatus.CREATED.value,
            total=total_after(events) or created.total,
            created_at=created.at,
            epoch=admission.epoch - 1,
            head=admission.head,
            owner="",
            token=None,
            lease_until=0.0,
            commits=[row],
            due=due_after(events),
        )
        self._keep(execution, sealed, brought)
        return execution

    async def append(
        self,
        lease: Lease,
        events: Sequence[Event],
        values: Sequence[Stored],
        *,
        expected_seq: Seq,
        completed: int,
        durable: bool = False,
    ) -> Seq:
        """See ports.store.Journal."""
        del durable
        last = expected_seq + len(events)
        row = Row(last, events[-1].at, completed, seal_events(lease.execution_id, expected_seq + 1, events))
        brought = carried(values)
        sealed = _seal_values(brought)
        with self._data.mutex:
            self._check_open()
            execution = self._data.executions.get(lease.execution_id)
            if execution is None or execution.token != lease.token or execution.epoch != lease.epoch:
                raise LeaseLost(lease.execution_id, lease.epoch)
            if execution.seq != expected_seq:
                raise JournalConflict(lease.execution_id, expected_seq, execution.seq)
            self._check_referred(brought)
            execution.commits.append(row)
            status = status_after(events)
            if status is not None:
                execution.status, execution.due = status, 0.0 if execution.mail else due_after(events)
            execution.waiting = execution.waiting and not ends(status)
            total = total_after(events)
            execution.total = execution.total if total is None else total
            self._keep(execution, sealed, brought)
            if gives_back(events) and not lease.copying:
                execution.token = None
        return Seq(last)

    def _check_referred(self, brought: Carried) -> None:
        for digest in brought.referred:
            if digest not in self._data.values:
                raise ValueGone(digest.hex())

    def _keep(self, execution: Kept, sealed: dict[bytes, bytes], brought: Carried) -> None:
        for digest, record in sealed.items():
            self._data.values.setdefault(digest, record)
        execution.refs.update(sealed, brought.referred)

    async def read(self, execution_id: ExecutionId, *, newest_first: bool = False) -> AsyncIterator[Commit]:
        """See ports.store.Journal."""
        with self._data.mutex:
            execution = self._find(execution_id)
            rows, head = list(execution.commits), execution.head
        for row in reversed(rows) if newest_first else rows:
            if newest_first and row.last < head and row is rows[-1]:
                break
            yield open_commit(execution_id, row.last, row.completed, row.record)
        if rows[-1].last < head:
            raise StoreDamaged(f"{execution_id}@{head}", "the journal's end is missing")


def _seal_values(brought: Carried) -> dict[bytes, bytes]:
    return {digest: seal_value(value) for digest, value in brought.stored.items()}
