"""Ownership: leases by the server's clock, fenced by the epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.domain.ids import Epoch, ExecutionId
from orchestrator.errors import ExecutionOwned, LeaseLost, StoreDamaged, UnknownExecution
from orchestrator.ports.store import HAS_MAIL, Holder, Lease, Request
from orchestrator.state.postgres.database import Owned, Patience
from orchestrator.state.postgres.history import PostgresHistory
from orchestrator.state.postgres.names import from_text, to_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.state.postgres.database import Rows
    from orchestrator.state.postgres.links import Connection


class PostgresLeases(PostgresHistory):
    """See ports.store.Leases and ports.store.BulkLeases."""

    async def acquire(self, execution_id: ExecutionId, owner: str, *, steal: bool = False) -> Lease:
        """See ports.store.Leases."""
        name, token = to_text(execution_id), self._chance.token()
        deadline = self._clock.monotonic() + self.lease_seconds

        async def work(db: Connection, again: bool) -> tuple[int, int, str]:  # noqa: FBT001
            del again
            row = (name, to_text(owner), token, float(self.lease_seconds), steal)
            taken = await self._execute(db, "acquire", row)
            if taken:
                return taken[0][0], taken[0][1], taken[0][2]
            found = await self._execute(db, "owner", (name,))
            if not found:
                raise UnknownExecution(execution_id)
            epoch, holder, held_by, left, seq, born = found[0]
            if held_by == token:  # the answer to an earlier try was lost
                return epoch, seq, born
            raise ExecutionOwned(execution_id, _describe(from_text(holder), left))

        epoch, seq, born = await self._run(work)
        self._owned[token] = Owned(execution_id, born, seq)
        return Lease(execution_id, Epoch(epoch), token, deadline)

    async def release(self, lease: Lease) -> None:
        """See ports.store.Leases."""
        if self._closed:
            return
        self._owned.pop(lease.token, None)
        row = (to_text(lease.execution_id), lease.token)

        async def work(db: Connection, again: bool) -> None:  # noqa: FBT001
            del again
            await self._execute(db, "release", row)

        # Beyond its end there is nothing to give back, and no reason to wait for a server that is away.
        await self._run(work, patience=Patience(self.lease_seconds, lease))

    def renew(self, lease: Lease) -> None:
        """See ports.store.Leases."""
        deadline = self._clock.monotonic() + self.lease_seconds
        row = (to_text(lease.execution_id), lease.epoch, lease.token, float(self.lease_seconds))
        if not self._keep(self._kept("renew", row)):
            self._keep(self._why_lost(lease))
        lease.deadline = deadline

    def requests(self, lease: Lease) -> Request | None:
        """See ports.store.Leases."""
        rows = self._keep(self._kept("requests", (to_text(lease.execution_id), lease.epoch, lease.token)))
        if not rows:
            self._keep(self._why_lost(lease))
        return _request(*rows[0])

    def tend(self, leases: Sequence[Lease], due: Sequence[Lease]) -> dict[str, Request | StoreDamaged | None]:
        """See ports.store.BulkLeases."""
        self._check_open()
        if not leases:
            return {}
        deadline = self._clock.monotonic() + self.lease_seconds
        tokens = {lease.token for lease in due}
        rows = self._keep(
            self._kept(
                "tend",
                (
                    [to_text(lease.execution_id) for lease in leases],
                    [int(lease.epoch) for lease in leases],
                    [lease.token for lease in leases],
                    [lease.token in tokens for lease in leases],
                    float(self.lease_seconds),
                ),
            )
        )
        found: dict[str, Request | StoreDamaged | None] = {
            token: _request(cancel_by, paused_by, mail) for token, cancel_by, paused_by, mail in rows
        }
        for lease in due:
            if lease.token in found:
                lease.deadline = deadline
        for lease in leases:
            if lease.token not in found:
                try:
                    self._keep(self._why_lost(lease))
                except StoreDamaged as error:
                    found[lease.token] = error
                except LeaseLost:
                    continue
        return found

    async def _kept(self, name: str, row: tuple[Any, ...]) -> Rows:
        """Carry out a statement for the keeper: tried again at once if its connection had broken, and no more."""

        async def work(db: Connection, again: bool) -> Rows:  # noqa: FBT001
            del again
            return await self._execute(db, name, row)

        return await self._run(work, patience=Patience(self._keeper_seconds / 2), links=self._keeper_links)

    async def _why_lost(self, lease: Lease) -> None:
        """Say why a lease is no longer ours: another has it, or the server knows less than it did."""

        async def work(db: Connection, again: bool) -> None:  # noqa: FBT001
            del again
            await self._stands(db, lease)

        await self._run(work, patience=Patience(self._keeper_seconds / 2), links=self._keeper_links)
        raise LeaseLost(lease.execution_id, lease.epoch)

    async def holder(self, execution_id: ExecutionId) -> Holder | None:
        """See ports.store.Leases."""
        found = await self._ask("owner", to_text(execution_id))
        if not found:
            raise UnknownExecution(execution_id)
        epoch, owner, token, left, *_ = found[0]
        return make_holder(epoch, owner, token, left)

    async def request_cancel(self, execution_id: ExecutionId, by: str) -> None:
        """See ports.store.Leases."""
        await self._ask_known("request_cancel", execution_id, to_text(by))

    async def request_pause(self, execution_id: ExecutionId, by: str) -> None:
        """See ports.store.Leases."""
        await self._ask_known("request_pause", execution_id, to_text(by))

    async def _ask_known(self, name: str, execution_id: ExecutionId, *parameters: Any) -> None:
        """Carry out a statement that returns a row for an execution that is there; raises UnknownExecution."""
        if not await self._ask(name, to_text(execution_id), *parameters):
            raise UnknownExecution(execution_id)


def make_holder(epoch: int, owner: str | None, token: str | None, left: float) -> Holder | None:
    """Return who owns an execution; ``left`` is what the lease has left by the server's clock, in seconds."""
    return None if token is None else Holder(from_text(owner) or "", Epoch(epoch), left > 0)


def _request(cancel_by: str | None, paused_by: str | None, mail: bool) -> Request | None:  # noqa: FBT001 - a row
    if cancel_by is not None:
        return Request("cancel", from_text(cancel_by))
    if paused_by is not None:
        return Request("pause", from_text(paused_by))
    return HAS_MAIL if mail else None


def _describe(owner: str | None, left: float) -> str:
    return (
        f"{owner or 'another process'}; wait for it, or cancel it. If its process is gone, its lease ends in "
        f"{max(left, 0.0):.0f} s; to take over sooner: --steal"
    )
