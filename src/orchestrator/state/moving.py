"""Executions from one store into another: whole or not at all, and verified by reading them back.

What a killed process has written by half reads as damaged, and a second try takes its place. What is there already and
the same is left alone; what is there and differs is never touched.
"""

from __future__ import annotations

from contextlib import aclosing, contextmanager, suppress
from enum import Enum
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.core.keeper import LeaseKeeper
from orchestrator.domain.ids import ExecutionId, Seq
from orchestrator.errors import (
    ExecutionOwned,
    LeaseLost,
    MailUnread,
    StoreDamaged,
    StoreError,
    UnknownExecution,
    UsageError,
)
from orchestrator.ports.store import Admission, Commit, Lease
from orchestrator.state.eventcodec import encode_events
from orchestrator.state.parcels import Manifest, Parcel, StoredParcel, digest_commit, survey

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from orchestrator.domain.events import Event
    from orchestrator.domain.values import EncodedValue
    from orchestrator.ports.clock import Clock
    from orchestrator.ports.store import ExecutionSummary, Signal, Store

PAUSED_BY = "its copying"
GONE_ON = "somebody who went on with it after it was copied; it was not removed"


class Outcome(Enum):
    """What became of an execution: it was copied, or it was there already."""

    COPIED = "copied"
    THERE = "there"


class _Comparison(NamedTuple):
    """``differs`` is the first fact that is another one (0: none), ``length`` how many facts could be read."""

    differs: int
    length: int
    damage: StoreDamaged | None


class Mover:
    """Puts executions into ``store`` as ``owner`` (for people); holds the leases it needs from a thread: close it."""

    def __init__(self, store: Store, clock: Clock, owner: str, lease_seconds: float) -> None:
        self._store = store
        self._owner = owner
        self._keeper = LeaseKeeper(store, clock, lease_seconds)

    def close(self) -> None:
        """End the thread."""
        self._keeper.close()

    async def put(self, parcel: Parcel, *, paused_by: str | None = None) -> Outcome:
        """Write an execution and read it back; nobody can take it up before that has shown the same.

        ``paused_by`` keeps servers from it afterwards; so does, without it, a pause of our own where the last fact
        leaves the execution running: the original may run on.
        Raises UsageError if another one of this id is there, ExecutionOwned while what is there has to give way and is
        being worked on, StoreDamaged for damage on either side. Then the store holds what it held before, or nothing
        of this execution.
        """
        mail = await self._make_room(parcel)
        if mail is None:
            await self._verify(parcel.manifest)
            await self._send_mail(parcel)
            return Outcome.THERE
        await self._write(parcel, mail, paused_by or (PAUSED_BY if parcel.manifest.running else None))
        return Outcome.COPIED

    async def move(self, source: Store, source_mover: Mover, execution_id: ExecutionId) -> Outcome:
        """Copy an execution, then remove it from ``source``; nobody can go on with it there meanwhile.

        Where it waits, whether it is paused, and what is sent to it until it is removed, goes along. Raises
        ExecutionOwned while somebody is at work on it, and what ``put`` raises: then it stays where it was.
        """
        summary = await source.summary(execution_id)
        lease = await source.acquire(execution_id, self._owner)
        try:
            with source_mover.holding(lease):
                manifest = await survey(source, execution_id)
                outcome = await self.put(StoredParcel(source, manifest), paused_by=summary.paused_by or PAUSED_BY)
        except BaseException:
            await source.release(lease)
            if summary.paused_by is not None:  # taking it has ended that
                await source.request_pause(execution_id, summary.paused_by)
            raise
        await source.release(lease)
        if (await source.summary(execution_id)).seq != manifest.seq:
            raise ExecutionOwned(execution_id, GONE_ON)
        await self._remove(source, lease)
        await self._settle(summary)
        return outcome

    async def _remove(self, source: Store, lease: Lease) -> None:
        """Remove a copied execution; a signal that came after the copy is taken there first."""
        name = lease.execution_id
        while True:
            mail = await source.signals(name)
            for signal in mail:
                await self._store.send(name, signal)
            try:
                await source.delivered(lease, [signal.id for signal in mail])
                await source.remove([name], unread=False)
            except MailUnread:
                continue
            except LeaseLost as error:
                raise ExecutionOwned(name, GONE_ON) from error
            return

    async def _settle(self, summary: ExecutionSummary) -> None:
        """Let it wait here as it did there; only now, for until it was removed there it could have run twice."""
        name = summary.execution_id
        if summary.place is not None and summary.waiting:
            await self._store.enqueue(name, summary.place)
        if summary.paused_by is not None:
            await self._store.request_pause(name, summary.paused_by)
        elif (await self._store.summary(name)).paused_by == PAUSED_BY:
            await self._store.release(await self._store.acquire(name, self._owner))

    @contextmanager
    def holding(self, lease: Lease) -> Iterator[None]:
        """Within: the lease is renewed."""
        self._keeper.keep(lease, lambda _error: None, lambda _request: None)  # the store itself refuses who lost it
        try:
            yield
        finally:
            self._keeper.drop(lease)

    # -- what is there already -----------------------------------------------------------------------------------

    async def _make_room(self, parcel: Parcel) -> list[Signal] | None:
        """Return None if the store has all of it.

        Else removes an earlier try's half, and an earlier copy that is shorter, and returns the mail that was there.
        """
        manifest = parcel.manifest
        name = manifest.execution_id
        try:
            summary = await self._store.summary(name)
        except UnknownExecution:
            return []
        found = await self._compare(parcel)
        if found.differs:
            raise UsageError(
                f"there is another execution {name!r} in {self._store.url}: it differs from fact {found.differs} on. "
                "Nothing was changed"
            )
        if found.damage is not None and found.length < summary.seq:
            raise found.damage
        if found.damage is None and found.length >= manifest.seq:
            return None
        if summary.holder is not None and summary.holder.alive:
            raise ExecutionOwned(name, summary.holder.owner)
        mail = await self._store.signals(name)
        await self._store.remove([name])
        return mail

    async def _compare(self, parcel: Parcel) -> _Comparison:
        """Hold what is there against a parcel, as far as both go."""
        length = 0
        async with aclosing(_facts_of(parcel.items())) as theirs:
            try:
                async for commit in self._store.read(parcel.manifest.execution_id):
                    for event in commit.events:
                        length += 1
                        other = await anext(theirs, None)
                        if other is not None and _encoded(event) != _encoded(other):
                            return _Comparison(length, length, None)
            except StoreDamaged as damage:
                return _Comparison(0, length, damage)
        return _Comparison(0, length, None)

    # -- writing -------------------------------------------------------------------------------------------------

    async def _write(self, parcel: Parcel, mail: list[Signal], paused_by: str | None) -> None:
        lease: Lease | None = None
        try:
            values: list[EncodedValue] = []
            seq = 0
            async with aclosing(parcel.items()) as items:
                async for item in items:
                    if not isinstance(item, Commit):
                        values.append(item)
                        continue
                    if lease is None:
                        lease = await self._create(parcel.manifest, item, values)
                        await self._mark(parcel.manifest, paused_by)
                        await self._send_mail(parcel, mail)
                    else:
                        await self._append(parcel.manifest, lease, item, values)
                    seq += len(item.events)
                    values = []
            if lease is None or seq != parcel.manifest.seq:
                raise StoreDamaged(
                    parcel.manifest.execution_id, f"{parcel.manifest.seq} facts were announced, {seq} came"
                )
            await self._verify(parcel.manifest)
        except LeaseLost:
            raise  # what is there now is another's
        except BaseException:
            if lease is not None:
                await self._take_back(lease)
            raise
        self._keeper.drop(lease)
        await self._store.release(lease)

    async def _create(self, manifest: Manifest, first: Commit, values: list[EncodedValue]) -> Lease:
        admission = Admission(epoch=manifest.epoch, completed=first.completed, head=manifest.seq)
        lease = await self._store.create(manifest.execution_id, self._owner, first.events, values, admission=admission)
        self._keeper.keep(lease, lambda _error: None, lambda _request: None)  # the store itself refuses who lost it
        return lease

    async def _append(self, manifest: Manifest, lease: Lease, commit: Commit, values: list[EncodedValue]) -> None:
        """Write a commit. A power cut may take back all but the last one: then the end is missing."""
        await self._store.append(
            lease,
            commit.events,
            values,
            expected_seq=Seq(commit.first - 1),
            completed=commit.completed,
            durable=commit.first + len(commit.events) > manifest.seq,
        )

    async def _mark(self, manifest: Manifest, paused_by: str | None) -> None:
        """Write what stands beside the facts, before the last of them: who is killed after that has left all of it."""
        for hidden in manifest.hidden:
            await self._store.hide_checkpoint(manifest.execution_id, Seq(hidden))
        if paused_by is not None:
            await self._store.request_pause(manifest.execution_id, paused_by)

    async def _send_mail(self, parcel: Parcel, before: Sequence[Signal] = ()) -> None:
        """Put into the mailbox what came along and, before that, what was there; what is known already is no second."""
        for signal in before:
            await self._store.send(parcel.manifest.execution_id, signal)
        async with aclosing(parcel.mail()) as mail:
            async for signal in mail:
                await self._store.send(parcel.manifest.execution_id, signal)

    async def _take_back(self, lease: Lease) -> None:
        self._keeper.drop(lease)
        with suppress(StoreError):
            await self._store.release(lease)
            await self._store.remove([lease.execution_id])

    async def _verify(self, manifest: Manifest) -> None:
        """Read everything back, values too; raises StoreDamaged if it is not what was written."""
        digest = blake2b(digest_size=32)
        async with aclosing(StoredParcel(self._store, manifest).items()) as items:
            async for item in items:
                if isinstance(item, Commit):
                    digest.update(digest_commit(item))
        if digest.digest() != manifest.digest:
            raise StoreDamaged(manifest.execution_id, f"read back from {self._store.url}, it is not what was written")


async def _facts_of(items: AsyncGenerator[EncodedValue | Commit]) -> AsyncGenerator[Event]:
    async for item in items:
        if isinstance(item, Commit):
            for event in item.events:
                yield event


def _encoded(event: Event) -> bytes:
    return encode_events(1, [event])
