"""The store: journals, leases, values and the list of executions. Four small protocols and their sum.

Everything that is written is written by ``create`` and ``append``, each one atomic transaction that names the epoch
the writer believes it owns and the seq it expects. The store itself refuses a stale writer.

All methods of all four may raise StoreUnavailable (StoreFull), StoreDamaged and StoreIncompatible. After any of
those from ``create`` or ``append`` the outcome is unknown: the caller ends, and reads on resume what is true.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from orchestrator.domain.execution import ExecutionStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from orchestrator.domain.events import Event
    from orchestrator.domain.ids import Epoch, ExecutionId, Seq
    from orchestrator.domain.values import EncodedValue, ValueRef


@dataclass(slots=True)
class Lease:
    """Timed ownership of an execution.

    ``deadline`` is on the clock's ``monotonic`` scale and moves with each renewal; beyond it the holder must not
    begin anything. ``token`` identifies this holder among all.
    """

    execution_id: ExecutionId
    epoch: Epoch
    token: str
    deadline: float


class Holder(NamedTuple):
    """Who owns an execution: ``owner`` is a description for people; ``alive`` is False once it is known to be gone."""

    owner: str
    epoch: Epoch
    alive: bool


class Commit(NamedTuple):
    """Facts that were committed together: ``first`` is the seq of the first one, ``completed`` counts tasks done."""

    first: Seq
    events: list[Event]
    completed: int


@dataclass(frozen=True, slots=True)
class ExecutionSummary:
    """An execution as lists show it, read without its journal's values.

    ``completed`` counts tasks done (completed or skipped), of ``total``. ``status`` is as recorded; ``holder`` tells
    whether somebody is at work. Times are seconds since 1970, UTC.
    """

    execution_id: ExecutionId
    pipeline_id: str
    status: ExecutionStatus
    completed: int
    total: int
    seq: Seq
    created_at: float
    updated_at: float
    holder: Holder | None

    def shown(self) -> ExecutionSummary:
        """Return it as people see it: one that is recorded as running but whose owner is gone was interrupted."""
        gone = self.holder is None or not self.holder.alive
        if self.status is ExecutionStatus.RUNNING and gone:
            return replace(self, status=ExecutionStatus.INTERRUPTED)
        return self


class Journal(Protocol):
    """The append-only lists of facts."""

    async def create(
        self,
        execution_id: ExecutionId,
        owner: str,
        events: Sequence[Event],
        values: Sequence[EncodedValue],
    ) -> Lease:
        """Admit an execution with its first facts (seq 1...) and own it; durable on return, whatever the durability.

        The first fact is its ExecutionCreated. Raises ExecutionExists if the id is taken.
        """

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
        """Append facts, and the values they refer to, in one transaction; return the new last seq.

        ``completed`` is how many tasks are done after these facts; lists show it. ``durable`` demands that a power cut
        cannot take this commit back even where the store's setting is weaker.
        Raises LeaseLost if the epoch is no longer the lease's, JournalConflict if the journal does not end at
        ``expected_seq``; in both cases nothing was written.
        """

    def read(self, execution_id: ExecutionId, *, newest_first: bool = False) -> AsyncIterator[Commit]:
        """Yield the commits in order (or from the last one back), each verified; gaps raise StoreDamaged.

        Raises UnknownExecution.
        """


class Leases(Protocol):
    """Ownership. ``renew`` and ``requests`` are called from the lease keeper's own thread, the rest on the loop."""

    async def acquire(self, execution_id: ExecutionId, owner: str, *, steal: bool = False) -> Lease:
        """Take the execution over with the next epoch.

        Raises UnknownExecution, ExecutionOwned while another holder is alive (unless ``steal``).
        """

    def renew(self, lease: Lease) -> None:
        """Move the lease's deadline on; raises LeaseLost if the epoch has moved on instead."""

    async def release(self, lease: Lease) -> None:
        """Give the execution back, so that the next owner need not wait; nothing happens if it was lost."""

    async def holder(self, execution_id: ExecutionId) -> Holder | None:
        """Tell who owns the execution; None if nobody does. Raises UnknownExecution."""

    async def request_cancel(self, execution_id: ExecutionId, by: str) -> None:
        """Ask the owner to cancel. Raises UnknownExecution."""

    def requests(self, lease: Lease) -> str | None:
        """Return who asked to cancel since the lease began, or None."""


class Values(Protocol):
    """Large values, by digest."""

    async def get(self, ref: ValueRef) -> bytes:
        """Return the encoded bytes of a recorded value, verified against its digest; inline ones at once.

        Raises StoreDamaged if it is missing or not what was written.
        """


class Executions(Protocol):
    """The read side, for lists and pages; never touches values."""

    async def summary(self, execution_id: ExecutionId) -> ExecutionSummary:
        """Return one execution's summary; raises UnknownExecution."""

    async def summaries(
        self, *, pipeline_id: str | None = None, status: ExecutionStatus | None = None, limit: int | None = None
    ) -> list[ExecutionSummary]:
        """Return summaries, newest first, of at most ``limit`` executions (None: all)."""

    async def hidden(self, execution_id: ExecutionId) -> set[int]:
        """Return the seqs of checkpoints that were deleted from the lists."""


class Maintenance(Protocol):
    """What keeps a store in order."""

    async def hide_checkpoint(self, execution_id: ExecutionId, seq: Seq) -> None:
        """Take a checkpoint out of the lists; idempotent. Raises UnknownExecution."""

    async def remove(self, execution_ids: Sequence[ExecutionId]) -> None:
        """Remove executions and the values nobody else refers to. Interruptible and idempotent.

        Raises ExecutionOwned if one is being worked on; those before it are removed.
        """

    async def check(self) -> list[str]:
        """Verify the store's own structure (pages, references, orphans); return what is wrong, in words."""

    async def probe(self) -> None:
        """Do nothing but what shows that the store can be written; raises StoreError if not."""

    async def statistics(self) -> dict[str, Any]:
        """Return counts and sizes in bytes."""

    async def close(self) -> None:
        """Close; idempotent."""


class Store(Journal, Leases, Values, Executions, Maintenance, Protocol):
    """All of it. ``url`` names the store in messages, without secrets."""

    url: str
