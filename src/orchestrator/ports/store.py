"""The store: journals, leases, queues, mail, values and the list of executions. Small protocols and their sum.

Everything that is written is written by ``create`` and ``append``, each one atomic transaction that names the epoch
the writer believes it owns and the seq it expects. The store itself refuses a stale writer.

All methods of all of them may raise StoreUnavailable (StoreFull), StoreDamaged and StoreIncompatible. After any of
those from ``create`` or ``append`` the outcome is unknown: the caller ends, and reads on resume what is true.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from orchestrator.domain.execution import ExecutionStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from orchestrator.domain.events import Event
    from orchestrator.domain.files import Trace
    from orchestrator.domain.ids import Epoch, ExecutionId, Seq
    from orchestrator.domain.values import EncodedValue, Stored, ValueRef
    from orchestrator.errors import StoreDamaged


ENDED = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED})
"""How an execution ends that waits for no server any more."""


@dataclass(slots=True)
class Lease:
    """Timed ownership of an execution.

    ``deadline`` is on the clock's ``monotonic`` scale and moves with each renewal; beyond it the holder must not
    begin anything. ``token`` identifies this holder among all. ``copying``: what is appended under it was recorded
    elsewhere before, so that no fact in it gives the execution back.
    """

    execution_id: ExecutionId
    epoch: Epoch
    token: str
    deadline: float
    copying: bool = False


class Holder(NamedTuple):
    """Who owns an execution: ``owner`` is a description for people; ``alive`` is False once it is known to be gone."""

    owner: str
    epoch: Epoch
    alive: bool


class Request(NamedTuple):
    """What somebody asked the owner of an execution for: ``kind`` is ``cancel`` or ``pause``.

    ``signal``: there is mail for the execution (see Mail); ``by`` is then empty, for each signal names its own sender.
    """

    kind: str
    by: str


HAS_MAIL = Request("signal", "")

SIGNAL_LIMIT = 64 * 1024
"""The payload of a signal has at most so many bytes, encoded. What is larger is put where both sides can read it."""


class Signal(NamedTuple):
    """A message to an execution, from anybody.

    ``id`` is the sender's, by the rule of ids: what is sent again under it, because nobody knows whether it was heard,
    is the same signal. ``name`` is what waits ask for, ``by`` who sent it (for people), ``at`` when (seconds since
    1970, UTC). The payload travels with its bytes, whatever its size.
    """

    id: str
    name: str
    payload: EncodedValue
    by: str
    at: float


class Place(NamedTuple):
    """Where an execution waits for a server. ``queue`` is named as executions are; higher ``priority`` goes first."""

    queue: str = "default"
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Admission:
    """How an execution comes into a store; the defaults are those of a new one that its caller runs.

    Only one that is copied in differs: ``epoch`` is that of its first owner here, ``completed`` counts the tasks done
    after its first facts, and ``head`` is the seq that its journal reaches once all of it is here. Until then it
    reads as damaged (its end is missing), so that nobody takes a half for the whole. Where ``head`` is given, the
    lease is a ``copying`` one.
    """

    epoch: int = 1
    completed: int = 0
    head: int = 0


NEW = Admission()


class Commit(NamedTuple):
    """Facts that were committed together: ``first`` is the seq of the first one, ``completed`` counts tasks done."""

    first: Seq
    events: list[Event]
    completed: int


@dataclass(frozen=True, slots=True)
class ExecutionSummary:
    """An execution as lists show it, read without its journal's values.

    ``completed`` counts tasks done (completed or skipped), of ``total``. ``status`` is as recorded; ``holder`` tells
    whether somebody is at work. Times are seconds since 1970, UTC. ``place`` is the queue it was given to (None: to
    none), ``waiting`` whether it is to be taken from there whenever nobody owns it (see Queues), ``paused_by`` who
    keeps it from being taken. ``due`` is when an execution of the status ``waiting`` goes on by itself (None: only when
    a signal comes; 0: at once, for one has come). ``lease_left`` is how many seconds its owner may still be silent
    (None: nobody owns it; negative: it is overdue); two summaries are equal whatever that is.
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
    place: Place | None = None
    waiting: bool = False
    paused_by: str | None = None
    due: float | None = None
    lease_left: float | None = field(default=None, compare=False)

    @property
    def over(self) -> bool:
        """Whether it has ended, and nobody is to take it up again by himself."""
        return self.status in ENDED and self.holder is None and not self.waiting

    def shown(self) -> ExecutionSummary:
        """Return it as people see it.

        One that somebody keeps from going on is paused; one that is recorded as running but whose owner is gone was
        interrupted.
        """
        gone = self.holder is None or not self.holder.alive
        if gone and self.paused_by is not None and not self.over:
            return replace(self, status=ExecutionStatus.PAUSED)
        if gone and self.status is ExecutionStatus.RUNNING:
            return replace(self, status=ExecutionStatus.INTERRUPTED)
        return self


class Journal(Protocol):
    """The append-only lists of facts."""

    async def create(
        self,
        execution_id: ExecutionId,
        owner: str,
        events: Sequence[Event],
        values: Sequence[Stored],
        *,
        admission: Admission = NEW,
    ) -> Lease:
        """Admit an execution with its first facts (seq 1...) and own it; durable on return, whatever the durability.

        The first fact is its ExecutionCreated. Values as in ``append``. Raises ExecutionExists if the id is taken.
        """

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
        """Append facts, and the values they refer to, in one transaction; return the new last seq.

        ``completed`` is how many tasks are done after these facts; lists show it. ``durable`` demands that a power cut
        cannot take this commit back even where the store's setting is weaker. A bare reference among the values is to
        one that the store has already: from here on it stays as long as any execution refers to it.
        Raises LeaseLost if the epoch is no longer the lease's, JournalConflict if the journal does not end at
        ``expected_seq``, ValueGone if such a value is not there (any more); in all cases nothing was written.
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

    async def request_pause(self, execution_id: ExecutionId, by: str) -> None:
        """Keep the execution from being taken by a server, and ask its owner to stop. Raises UnknownExecution."""

    def requests(self, lease: Lease) -> Request | None:
        """Return what the owner was asked for since the lease began, or None.

        A cancel comes before a pause, and both before ``HAS_MAIL``, which stands until the mail is taken.
        Raises LeaseLost as ``renew`` does.
        """


@runtime_checkable
class BulkLeases(Protocol):
    """What a store offers besides: one round trip (one transaction) for the leases of many executions."""

    def tend(self, leases: Sequence[Lease], due: Sequence[Lease]) -> dict[str, Request | StoreDamaged | None]:
        """Renew those that are ``due`` and return what was asked of each of ``leases``, by token.

        A lease that was lost is missing from the answer; one whose execution the store has forgotten comes with what
        is damaged. Called from the lease keeper's thread.
        """


class QueueSummary(NamedTuple):
    """A queue as lists show it.

    ``limit`` is how many of its executions may be owned at once, over all servers of the store (None: any number).
    While ``paused_by`` is somebody, nothing of it is taken. ``waiting`` and ``owned`` count executions.
    """

    name: str
    limit: int | None
    paused_by: str | None
    waiting: int
    owned: int


class Queues(Protocol):
    """Executions that wait for a server to take them, and what holds for all servers of the store.

    An execution *waits* from the moment it is given a place (``submit``, ``enqueue``) until it ends as completed,
    failed or cancelled, whenever nobody owns it: not yet, no more (its owner stopped and gave it back), or its owner
    has not renewed its lease in time. The last counts on every store, also where a lock of the system's tells that
    the owner's process exists: then it is stopped or stuck. Neither a paused execution nor one of a paused queue is
    taken, nor one of the status ``waiting`` before it is due: by its time, or because there is mail for it.
    """

    async def submit(
        self, execution_id: ExecutionId, events: Sequence[Event], values: Sequence[Stored], place: Place
    ) -> None:
        """Admit an execution that nobody owns yet; durable on return. Its first owner gets epoch 1.

        The first fact is its ExecutionCreated. Raises ExecutionExists if the id is taken.
        """

    async def enqueue(self, execution_id: ExecutionId, place: Place) -> None:
        """Let an execution wait (again) for a server, whatever ended its last run. Idempotent.

        Takes a pause back, and what its owner was asked for. One that is owned goes on; it waits when its owner gives
        it back without having ended it. A completed one stays as it is. Raises UnknownExecution.
        """

    async def take(self, owner: str, queues: Sequence[str], limit: int, *, runs: bool = False) -> list[Lease]:
        """Take over up to ``limit`` waiting executions of these queues: higher priority first, then older first.

        Each is taken by one caller only, and no queue gets beyond its limit. ``runs`` takes besides, after those, what
        waits in no queue: executions recorded as running that nobody owns any more, or whose owner has not renewed its
        lease in time, and those of the status ``waiting`` that are due. A store that knows of an owner's death sooner
        need not wait for the lease's end. Unlike with ``acquire``, a cancel that the last owner was asked for and has
        not answered stands for the next.
        """

    async def set_queue(self, name: str, *, limit: int | None, paused_by: str | None) -> None:
        """Set what holds for a queue, whether anything waits in it yet or not."""

    async def queues(self) -> list[QueueSummary]:
        """Return the queues that something was set for or that hold executions not yet ended, by name."""


class Mail(Protocol):
    """Signals: what anybody sends to an execution, kept until its owner has recorded it, whoever owns it and when.

    A signal is in the mailbox or in the journal, or in both: the owner takes it by recording it as a fact, and only
    then says that it was delivered. Who dies in between leaves it to be offered once more, and the next owner knows it
    by its id. So nothing is lost, and what is recorded twice is the same.
    """

    async def send(self, execution_id: ExecutionId, signal: Signal) -> None:
        """Put a signal into the mailbox; durable on return, whatever the durability.

        Nothing happens if one of its id is there already. The owner hears of it soon (see ``Leases.requests``); an
        execution of the status ``waiting`` is due from now on. One that has ended keeps it, unread.
        Raises UnknownExecution; UsageError for a payload above ``SIGNAL_LIMIT`` or an id against the rule.
        """

    async def signals(self, execution_id: ExecutionId, limit: int | None = None) -> list[Signal]:
        """Return the oldest signals in the mailbox (None: all), in the order in which they came.

        Anybody may read them. Raises UnknownExecution; StoreDamaged for one that is not what was sent.
        """

    async def delivered(self, lease: Lease, ids: Sequence[str]) -> None:
        """Take out of the mailbox what the owner has committed to the journal; unknown ids are no error.

        Its last commit may be behind it: an execution that was given back is still nobody else's. Raises LeaseLost as
        ``renew`` does.
        """


class Values(Protocol):
    """Large values, by digest."""

    async def get(self, ref: ValueRef) -> bytes:
        """Return the encoded bytes of a recorded value, verified against its digest; inline ones at once.

        Raises StoreDamaged if it is missing or not what was written.
        """


class CacheEntry(NamedTuple):
    """A result that other executions may take for their own.

    ``fingerprint`` are 32 bytes; ``source`` is ``EXECUTION@SEQ`` of the fact that recorded it, ``at`` that fact's time.
    ``trace`` are the files that the attempt read and wrote: they have to be the same still (whoever recalls it looks).
    """

    fingerprint: bytes
    at: float
    source: str
    value: ValueRef
    trace: Trace | None = None


class Cache(Protocol):
    """Results by fingerprint, over all executions of the store. What is lost of it costs time, nothing else.

    So an entry may be written less durably than facts are, and does not go along when an execution is copied or
    exported: what is there is what was computed there. Entries are no facts: no journal is changed, no lease needed.
    """

    async def remember(self, execution_id: ExecutionId, entry: CacheEntry) -> None:
        """Keep an entry for as long as the execution is in the store; the newest (by ``at``) of a fingerprint counts.

        The execution has recorded the value. It keeps one entry for a fingerprint: an older one does not replace it.
        An unknown execution (removed meanwhile) is no error.
        """

    async def recall(self, fingerprint: bytes) -> CacheEntry | None:
        """Return the newest entry of the executions that are there, or None.

        Its value may be gone by the time it is referred to (ValueGone). Raises StoreDamaged, naming the fingerprint,
        for one that is not what was written.
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


@runtime_checkable
class Sizes(Protocol):
    """What a store that can tell sizes offers besides; budgets in bytes need it."""

    async def sizes(self, execution_ids: Sequence[ExecutionId]) -> dict[ExecutionId, int]:
        """Return how many bytes each execution takes as stored: its facts, and its values in full, also shared ones.

        An unknown one is missing from the answer.
        """


class Maintenance(Protocol):
    """What keeps a store in order."""

    async def hide_checkpoint(self, execution_id: ExecutionId, seq: Seq) -> None:
        """Take a checkpoint out of the lists; idempotent. Raises UnknownExecution."""

    async def remove(self, execution_ids: Sequence[ExecutionId], *, unread: bool = True) -> None:
        """Remove executions, their mail and the values nobody else refers to. Interruptible and idempotent.

        Raises ExecutionOwned if one is being worked on, and unless ``unread`` MailUnread if there is mail for one;
        those before it are removed.
        """

    async def check(self) -> list[str]:
        """Verify the store's own structure (pages, references, orphans); return what is wrong, in words."""

    async def probe(self) -> None:
        """Do nothing but what shows that the store can be written; raises StoreError if not."""

    async def statistics(self) -> dict[str, Any]:
        """Return counts and sizes in bytes."""

    async def close(self) -> None:
        """Close; idempotent."""


class Store(Journal, Leases, Queues, Mail, Values, Cache, Executions, Maintenance, Protocol):
    """All of it. ``url`` names the store in messages, without secrets."""

    url: str
