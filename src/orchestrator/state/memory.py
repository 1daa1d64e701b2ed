"""The store in memory: for tests, for trying things out, and as the model that other stores are held against.

It keeps sealed bytes, not objects: what is read back is a fresh decode, as from any other store. Nothing outlives
the process, and so ``durable`` changes nothing. An owner counts as alive until its lease's deadline.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.domain.events import ExecutionCreated
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import Epoch, ExecutionId, Seq
from orchestrator.errors import (
    ExecutionExists,
    ExecutionOwned,
    JournalConflict,
    LeaseLost,
    StoreDamaged,
    StoreUnavailable,
    UnknownExecution,
)
from orchestrator.ports.store import NEW, Admission, Commit, ExecutionSummary, Holder, Lease, Request
from orchestrator.state.commits import gives_back, open_commit, seal_events, status_after
from orchestrator.state.records import seal_value, unseal_value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from orchestrator.domain.events import Event
    from orchestrator.domain.values import EncodedValue, ValueRef
    from orchestrator.ports.clock import Chance, Clock

LEASE_SECONDS = 30.0


class _Row(NamedTuple):
    """A commit: the seq of its last fact, that fact's time, how many tasks are done, and the facts, sealed."""

    last: int
    at: float
    completed: int
    record: bytes


@dataclass(slots=True)
class _Execution:
    """``number`` counts admissions; ``token`` None is an execution that nobody owns; see Admission for ``head``."""

    execution_id: ExecutionId
    number: int
    pipeline_id: str
    status: str
    total: int
    created_at: float
    epoch: int
    head: int
    owner: str
    token: str | None
    lease_until: float
    commits: list[_Row]
    cancel_by: str | None = None
    paused_by: str | None = None
    refs: set[bytes] = field(default_factory=set)
    hidden: set[int] = field(default_factory=set)

    @property
    def seq(self) -> int:
        return self.commits[-1].last


class _Data:
    """What all handles onto one store share; ``mutex`` makes each method one transaction."""

    def __init__(self) -> None:
        self.mutex = threading.RLock()
        self.executions: dict[str, _Execution] = {}
        self.values: dict[bytes, bytes] = {}
        self.admitted = 0


class MemoryStore:
    """A store that lives as long as the process; ``reopened`` makes a second handle onto the same data.

    ``lease_seconds`` is how long an owner that went silent keeps an execution. A handle that is closed gives up what
    it owns at once; one that is only dropped, at its deadlines.
    """

    _named: dict[str, _Data] = {}  # noqa: RUF012 - one for the process, by intent
    _named_mutex = threading.Lock()

    def __init__(self, *, clock: Clock, chance: Chance, name: str = "", lease_seconds: float = LEASE_SECONDS) -> None:
        self.url = f"memory://{name}"
        self.lease_seconds = lease_seconds
        self._name = name
        self._clock = clock
        self._chance = chance
        self._data = _Data()
        self._tokens: set[str] = set()
        self._closed = False

    @classmethod
    def shared(cls, name: str, *, clock: Clock, chance: Chance, lease_seconds: float = LEASE_SECONDS) -> MemoryStore:
        """Return a handle onto this process's store of that name; the first one makes it."""
        store = cls(clock=clock, chance=chance, name=name, lease_seconds=lease_seconds)
        with cls._named_mutex:
            store._data = cls._named.setdefault(name, store._data)
        return store

    def reopened(self) -> MemoryStore:
        """Return another handle onto the same data, as a second process would open it."""
        store = MemoryStore(clock=self._clock, chance=self._chance, name=self._name, lease_seconds=self.lease_seconds)
        store._data = self._data
        return store

    def _find(self, execution_id: str) -> _Execution:
        self._check_open()
        execution = self._data.executions.get(execution_id)
        if execution is None:
            raise UnknownExecution(execution_id)
        return execution

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"the store {self.url} was closed")

    # -- journal -------------------------------------------------------------------------------------------------

    async def create(
        self,
        execution_id: ExecutionId,
        owner: str,
        events: Sequence[Event],
        values: Sequence[EncodedValue],
        *,
        admission: Admission = NEW,
    ) -> Lease:
        """See ports.store.Journal."""
        created = events[0]
        if not isinstance(created, ExecutionCreated):
            raise TypeError("the first fact of an execution is its ExecutionCreated")
        row = _Row(len(events), events[-1].at, admission.completed, seal_events(execution_id, 1, events))
        sealed = _seal_values(values)
        with self._data.mutex:
            self._check_open()
            if execution_id in self._data.executions:
                raise ExecutionExists(execution_id)
            self._data.admitted += 1
            execution = self._data.executions[execution_id] = _Execution(
                execution_id=execution_id,
                number=self._data.admitted,
                pipeline_id=created.pipeline_id,
                status=status_after(events) or ExecutionStatus.CREATED.value,
                total=created.total,
                created_at=created.at,
                epoch=admission.epoch - 1,
                head=admission.head,
                owner="",
                token=None,
                lease_until=0.0,
                commits=[row],
            )
            self._keep(execution, sealed)
            return self._grant(execution, owner, copying=admission.head > 0)

    async def append(
        self,
        lease: Lease,
        events: Sequence[Event],
        values: Sequence[EncodedValue],
        *,
        expected_seq: Seq,
        completed: int,
        durable: bool = False,
    ) -> Seq:
        """See ports.store.Journal."""
        del durable
        last = expected_seq + len(events)
        row = _Row(last, events[-1].at, completed, seal_events(lease.execution_id, expected_seq + 1, events))
        sealed = _seal_values(values)
        with self._data.mutex:
            self._check_open()
            execution = self._data.executions.get(lease.execution_id)
            if execution is None or execution.token != lease.token or execution.epoch != lease.epoch:
                raise LeaseLost(lease.execution_id, lease.epoch)
            if execution.seq != expected_seq:
                raise JournalConflict(lease.execution_id, expected_seq, execution.seq)
            execution.commits.append(row)
            execution.status = status_after(events) or execution.status
            self._keep(execution, sealed)
            if gives_back(events) and not lease.copying:
                execution.token = None
        return Seq(last)

    def _keep(self, execution: _Execution, sealed: dict[bytes, bytes]) -> None:
        for digest, record in sealed.items():
            self._data.values.setdefault(digest, record)
            execution.refs.add(digest)

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

    # -- leases --------------------------------------------------------------------------------------------------

    def _grant(self, execution: _Execution, owner: str, *, copying: bool = False) -> Lease:
        execution.epoch += 1
        execution.owner = owner
        execution.token = self._chance.token()
        execution.lease_until = self._clock.monotonic() + self.lease_seconds
        execution.cancel_by = execution.paused_by = None
        self._tokens.add(execution.token)
        return Lease(
            execution.execution_id, Epoch(execution.epoch), execution.token, execution.lease_until, copying=copying
        )

    def _holder(self, execution: _Execution) -> Holder | None:
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
            return None if execution.paused_by is None else Request("pause", execution.paused_by)

    def _owned(self, lease: Lease) -> _Execution:
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

    # -- values --------------------------------------------------------------------------------------------------

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

    # -- read side -----------------------------------------------------------------------------------------------

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

    def _summarize(self, execution: _Execution) -> ExecutionSummary:
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
            paused_by=execution.paused_by,
        )

    async def hidden(self, execution_id: ExecutionId) -> set[int]:
        """See ports.store.Executions."""
        with self._data.mutex:
            return set(self._find(execution_id).hidden)

    # -- maintenance ---------------------------------------------------------------------------------------------

    async def hide_checkpoint(self, execution_id: ExecutionId, seq: Seq) -> None:
        """See ports.store.Maintenance."""
        with self._data.mutex:
            self._find(execution_id).hidden.add(int(seq))

    async def remove(self, execution_ids: Sequence[ExecutionId]) -> None:
        """See ports.store.Maintenance."""
        for execution_id in execution_ids:
            with self._data.mutex:
                self._check_open()
                execution = self._data.executions.get(execution_id)
                if execution is None:
                    continue
                holder = self._holder(execution)
                if holder is not None and holder.alive:
                    raise ExecutionOwned(execution_id, holder.owner)
                del self._data.executions[execution_id]
                for digest in execution.refs.difference(*(other.refs for other in self._data.executions.values())):
                    del self._data.values[digest]

    async def check(self) -> list[str]:
        """See ports.store.Maintenance."""
        with self._data.mutex:
            self._check_open()
            wanted = {digest for execution in self._data.executions.values() for digest in execution.refs}
            missing = wanted - self._data.values.keys()
            orphans = self._data.values.keys() - wanted
        return [f"value {digest.hex()}: missing" for digest in sorted(missing)] + [
            f"value {digest.hex()}: belongs to no execution" for digest in sorted(orphans)
        ]

    async def probe(self) -> None:
        """See ports.store.Maintenance."""
        self._check_open()

    async def statistics(self) -> dict[str, Any]:
        """See ports.store.Maintenance."""
        by_status: dict[str, int] = {}
        with self._data.mutex:
            self._check_open()
            records = [row.record for execution in self._data.executions.values() for row in execution.commits]
            for execution in self._data.executions.values():
                by_status[execution.status] = by_status.get(execution.status, 0) + 1
            return {
                "executions": len(self._data.executions),
                "by_status": by_status,
                "commits": len(records),
                "values": len(self._data.values),
                "blobs": 0,
                "database_bytes": sum(map(len, records)) + sum(map(len, self._data.values.values())),
                "blob_bytes": 0,
            }

    async def close(self) -> None:
        """See ports.store.Maintenance. What this handle owns is free at once, as after its process's death."""
        with self._data.mutex:
            self._closed = True
            for execution in self._data.executions.values():
                if execution.token in self._tokens:
                    execution.lease_until = float("-inf")
            self._tokens.clear()


def _seal_values(values: Sequence[EncodedValue]) -> dict[bytes, bytes]:
    return {value.ref.data: seal_value(value) for value in values if not value.ref.inline}
