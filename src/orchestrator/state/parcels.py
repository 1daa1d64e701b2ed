"""An execution on its way between stores: what is told of it beforehand, then its facts and values in order."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

from orchestrator.domain.events import ExecutionCreated, ExecutionStarted
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import ExecutionId
from orchestrator.domain.values import EncodedValue, ValueRef
from orchestrator.errors import StoreDamaged, StoreIncompatible, UnknownExecution
from orchestrator.ports.store import Commit
from orchestrator.state.commits import status_after
from orchestrator.state.eventcodec import encode_events

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from collections.abc import Set as AbstractSet

    from orchestrator.domain.events import Event
    from orchestrator.ports.store import Journal, Signal, Store


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of an execution before the first of its facts is read.

    ``seq`` is the last fact that goes along: of a running execution, the last one committed when it was looked at.
    ``epoch`` is that of its last owner, ``hidden`` are the checkpoints deleted from the lists, ``running`` is whether
    its last fact leaves it so, or waiting: the original may go on by itself. ``digest`` is that of all its commits (see
    ``digest_commit``).
    """

    execution_id: ExecutionId
    pipeline_id: str
    seq: int
    epoch: int
    hidden: tuple[int, ...]
    running: bool
    digest: bytes


class Parcel(Protocol):
    """An execution that can be read from its beginning, as often as wanted."""

    @property
    def manifest(self) -> Manifest:
        """What is known beforehand."""

    def mail(self) -> AsyncGenerator[Signal]:
        """Yield what was sent to it and is in none of its facts yet, oldest first. Raises as ``items``."""

    def items(self) -> AsyncGenerator[EncodedValue | Commit]:
        """Yield the commits in order, each after the values that it is the first to refer to; all verified.

        Raises StoreDamaged, StoreIncompatible.
        """


class StoredParcel:
    """An execution in a store; what is appended after ``survey`` does not go along."""

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self._store = store
        self.manifest = manifest

    async def mail(self) -> AsyncGenerator[Signal]:
        """See Parcel."""
        for signal in await self._store.signals(self.manifest.execution_id):
            yield signal

    async def items(self) -> AsyncGenerator[EncodedValue | Commit]:
        """See Parcel."""
        seen: set[bytes] = set()
        async for commit in self._store.read(self.manifest.execution_id):
            for ref in large_values(commit.events):
                if ref.data not in seen:
                    seen.add(ref.data)
                    yield EncodedValue(ref, await self._store.get(ref))
            yield commit
            if commit.first + len(commit.events) > self.manifest.seq:
                return


async def survey(store: Store, execution_id: ExecutionId) -> Manifest:
    """Read an execution's whole journal once, and tell what of it goes along.

    Raises UnknownExecution, StoreDamaged, StoreIncompatible.
    """
    digest = blake2b(digest_size=32)
    pipeline_id, seq, epoch, status = "", 0, 1, ""
    async for commit in store.read(execution_id):
        if not seq:
            created = commit.events[0]
            if not isinstance(created, ExecutionCreated):
                raise StoreDamaged(f"{execution_id}@1", f"the first fact is {type(created).__name__}")
            pipeline_id = created.pipeline_id
        digest.update(digest_commit(commit))
        seq += len(commit.events)
        status = status_after(commit.events) or status
        epoch = max([epoch, *(event.epoch for event in commit.events if isinstance(event, ExecutionStarted))])
    if not seq:
        raise StoreDamaged(f"{execution_id}@1", "the journal is empty")
    hidden = tuple(sorted(number for number in await store.hidden(execution_id) if number <= seq))
    running = status in (ExecutionStatus.RUNNING, ExecutionStatus.WAITING)
    return Manifest(execution_id, pipeline_id, seq, epoch, hidden, running, digest.digest())


def digest_commit(commit: Commit) -> bytes:
    """Return the digest of a commit: its place, its count of tasks done, its facts, and so its values' digests."""
    content = encode_events(commit.first, commit.events)
    return blake2b(
        b"%d %d %d " % (commit.first, len(commit.events), commit.completed) + content, digest_size=32
    ).digest()


async def unkept(
    journal: Journal, execution_id: ExecutionId, kept: Callable[[], Awaitable[AbstractSet[bytes]]]
) -> list[str]:
    """Return, in words, which values the facts of an execution need that are not ``kept`` for it.

    Whoever removes another execution may take them away. What cannot be read is not judged: whoever reads it is told.
    """
    needed: set[bytes] = set()
    try:
        async for commit in journal.read(execution_id):
            needed.update(ref.data for ref in large_values(commit.events))
        missing = needed - await kept()  # asked after the facts were read: meanwhile more may be kept, never fewer
        if missing:
            await anext(aiter(journal.read(execution_id)))  # unless it was removed
    except (StoreDamaged, StoreIncompatible, UnknownExecution):
        return []
    return [f"{execution_id}: its value {digest.hex()} is not kept for it" for digest in sorted(missing)]


def large_values(events: Sequence[Event]) -> list[ValueRef]:
    """Return the references of these facts to values that do not stand in the journal."""
    return [part for event in events for part in event if isinstance(part, ValueRef) and not part.inline]
