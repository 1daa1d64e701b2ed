"""A process's way to its store, and everything that can go wrong on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.errors import LeaseLost, StoreUnavailable
from orchestrator.ports.store import NEW, Admission

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from chaos.simulation.world import Process
    from orchestrator.domain.events import Event
    from orchestrator.domain.execution import ExecutionStatus
    from orchestrator.domain.ids import ExecutionId, Seq
    from orchestrator.domain.values import Stored, ValueRef
    from orchestrator.ports.store import (
        CacheEntry,
        Commit,
        ExecutionSummary,
        Holder,
        Lease,
        Place,
        QueueSummary,
        Request,
        Signal,
        Store,
    )

LIKELY = 0.04
"""How likely each kind of trouble is at each call, while the seed's budget of dangers lasts."""


class DisturbedStore:
    """The store as one process sees it. Each call may fail before or after it is done, stop, or kill the process."""

    def __init__(self, process: Process, inner: Store) -> None:
        self._process = process
        self._world = process.world
        self._judge = process.world.judge
        self.inner = inner
        self.url = inner.url
        self.out_until = 0.0

    def die(self, *, at_once: bool) -> None:
        """Close the handle as the death of its process does.

        ``at_once``: the host frees what it held; else nobody knows before the lease is over.
        """
        if at_once:
            drive(self.inner.close())

    def _before(self, call: str) -> None:
        process, world = self._process, self._world
        process.check_alive()
        if world.dangers <= 0:
            return
        if world.danger("pause", LIKELY):
            self._pause(f"before {call}")
        if world.danger("kill", LIKELY):
            world.log(f"{process.name} is killed before {call}")
            process.die()
            process.check_alive()
        if world.danger("outage", LIKELY / 2):
            self.out_until = world.clock.monotonic() + world.random.choice((0.5, 3.0, 15.0, 40.0))
            world.log(f"{process.name} cannot reach its store")
        if world.clock.monotonic() < self.out_until:
            raise StoreUnavailable("the simulated store cannot be reached")
        if world.danger("error", LIKELY / 2):
            world.log(f"{process.name}: {call} fails")
            raise StoreUnavailable("a simulated error")

    def _after(self, call: str) -> None:
        process, world = self._process, self._world
        if world.dangers <= 0:
            return
        if world.danger("pause", LIKELY):
            self._pause(f"after {call}")
        if world.danger("kill", LIKELY):
            world.log(f"{process.name} is killed after {call}")
            process.die()
            process.check_alive()
        if world.danger("failed but done", LIKELY / 2):
            world.log(f"{process.name}: {call} is done, and its answer is lost")
            raise StoreUnavailable("a simulated loss of the answer")

    def _pause(self, where: str) -> None:
        world = self._world
        seconds = world.random.choice((0.01, 1.0, 12.0, 29.0, 45.0, 90.0))
        blocked = not self._process.tending and world.random.random() < 0.3
        what = "its loop is blocked" if blocked else "is stopped"
        world.log(f"{self._process.name} {what} for {seconds} s {where}")
        world.freeze(self._process, seconds, keeper_alive=blocked)

    # -- journal -------------------------------------------------------------------------------------------------

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
        self._before("create")
        lease = await self.inner.create(execution_id, owner, events, values, admission=admission)
        self._judge.granted(self._process, lease)
        self._judge.look()
        self._after("create")
        return lease

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
        self._before("append")
        try:
            seq = await self.inner.append(
                lease, events, values, expected_seq=expected_seq, completed=completed, durable=durable
            )
            self._judge.wrote(self._process, lease)
        except LeaseLost:
            self._judge.refused(self._process, lease)
            raise
        finally:
            self._judge.look()
        self._after("append")
        return seq

    async def read(self, execution_id: ExecutionId, *, newest_first: bool = False) -> AsyncIterator[Commit]:
        """See ports.store.Journal."""
        self._before("read")
        async for commit in self.inner.read(execution_id, newest_first=newest_first):
            yield commit

    # -- leases --------------------------------------------------------------------------------------------------

    async def acquire(self, execution_id: ExecutionId, owner: str, *, steal: bool = False) -> Lease:
        """See ports.store.Leases."""
        self._before("acquire")
        lease = await self.inner.acquire(execution_id, owner, steal=steal)
        self._judge.granted(self._process, lease, stolen=steal)
        self._after("acquire")
        return lease

    def renew(self, lease: Lease) -> None:
        """See ports.store.Leases."""
        self._before("renew")
        self.inner.renew(lease)
        self._after("renew")

    async def release(self, lease: Lease) -> None:
        """See ports.store.Leases."""
        self._before("release")
        self._judge.gave_back(lease)
        await self.inner.release(lease)
        self._after("release")

    async def holder(self, execution_id: ExecutionId) -> Holder | None:
        """See ports.store.Leases."""
        self._before("holder")
        return await self.inner.holder(execution_id)

    async def request_cancel(self, execution_id: ExecutionId, by: str) -> None:
        """See ports.store.Leases."""
        self._before("request_cancel")
        await self.inner.request_cancel(execution_id, by)
        self._after("request_cancel")

    async def request_pause(self, execution_id: ExecutionId, by: str) -> None:
        """See ports.store.Leases."""
        self._before("request_pause")
        await self.inner.request_pause(execution_id, by)
        self._after("request_pause")

    def requests(self, lease: Lease) -> Request | None:
        """See ports.store.Leases."""
        self._before("requests")
        return self.inner.requests(lease)

    # -- queues --------------------------------------------------------------------------------------------------

    async def submit(
        self, execution_id: ExecutionId, events: Sequence[Event], values: Sequence[Stored], place: Place
    ) -> None:
        """See ports.store.Queues."""
        self._before("submit")
        await self.inner.submit(execution_id, events, values, place)
        self._judge.look()
        self._after("submit")

    async def enqueue(self, execution_id: ExecutionId, place: Place) -> None:
        """See ports.store.Queues."""
        self._before("enqueue")
        await self.inner.enqueue(execution_id, place)
        self._after("enqueue")

    async def take(self, owner: str, queues: Sequence[str], limit: int, *, runs: bool = False) -> list[Lease]:
        """See ports.store.Queues."""
        self._before("take")
        leases = await self.inner.take(owner, queues, limit, runs=runs)
        for lease in leases:
            self._judge.granted(self._process, lease)
        self._after("take")
        return leases

    async def set_queue(self, name: str, *, limit: int | None, paused_by: str | None) -> None:
        """See ports.store.Queues."""
        self._before("set_queue")
        await self.inner.set_queue(name, limit=limit, paused_by=paused_by)
        self._after("set_queue")

    async def queues(self) -> list[QueueSummary]:
        """See ports.store.Queues."""
        self._before("queues")
        return await self.inner.queues()

    # -- mail ----------------------------------------------------------------------------------------------------

    async def send(self, execution_id: ExecutionId, signal: Signal) -> None:
        """See ports.store.Mail."""
        self._before("send")
        await self.inner.send(execution_id, signal)
        self._after("send")

    async def signals(self, execution_id: ExecutionId, limit: int | None = None) -> list[Signal]:
        """See ports.store.Mail."""
        self._before("signals")
        return await self.inner.signals(execution_id, limit)

    async def delivered(self, lease: Lease, ids: Sequence[str]) -> None:
        """See ports.store.Mail."""
        self._before("delivered")
        await self.inner.delivered(lease, ids)
        self._after("delivered")

    # -- the rest ------------------------------------------------------------------------------------------------

    async def get(self, ref: ValueRef) -> bytes:
        """See ports.store.Values."""
        self._before("get")
        return await self.inner.get(ref)

    async def remember(self, execution_id: ExecutionId, entry: CacheEntry) -> None:
        """See ports.store.Cache."""
        self._before("remember")
        await self.inner.remember(execution_id, entry)
        self._after("remember")

    async def recall(self, fingerprint: bytes) -> CacheEntry | None:
        """See ports.store.Cache."""
        self._before("recall")
        return await self.inner.recall(fingerprint)

    async def summary(self, execution_id: ExecutionId) -> ExecutionSummary:
        """See ports.store.Executions."""
        self._before("summary")
        return await self.inner.summary(execution_id)

    async def summaries(
        self, *, pipeline_id: str | None = None, status: ExecutionStatus | None = None, limit: int | None = None
    ) -> list[ExecutionSummary]:
        """See ports.store.Executions."""
        self._before("summaries")
        return await self.inner.summaries(pipeline_id=pipeline_id, status=status, limit=limit)

    async def hidden(self, execution_id: ExecutionId) -> set[int]:
        """See ports.store.Executions."""
        return await self.inner.hidden(execution_id)

    async def hide_checkpoint(self, execution_id: ExecutionId, seq: Seq) -> None:
        """See ports.store.Maintenance."""
        await self.inner.hide_checkpoint(execution_id, seq)

    async def remove(self, execution_ids: Sequence[ExecutionId], *, unread: bool = True) -> None:
        """See ports.store.Maintenance."""
        self._before("remove")
        await self.inner.remove(execution_ids, unread=unread)
        self._judge.removed(execution_ids)
        self._after("remove")

    async def check(self) -> list[str]:
        """See ports.store.Maintenance."""
        return await self.inner.check()

    async def probe(self) -> None:
        """See ports.store.Maintenance."""
        await self.inner.probe()

    async def statistics(self) -> dict[str, Any]:
        """See ports.store.Maintenance."""
        return await self.inner.statistics()

    async def close(self) -> None:
        """See ports.store.Maintenance."""
        await self.inner.close()


def drive(coroutine: Any) -> Any:
    """Run a coroutine that waits for nothing, to its end."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    coroutine.close()
    raise RuntimeError("a store waits: the simulator takes each of its calls for one step")
