"""Ownership: a token and an epoch in the execution's hash, and a deadline by the server's clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.domain.ids import Epoch, ExecutionId
from orchestrator.errors import ExecutionOwned, LeaseLost, StoreDamaged, StoreError, UnknownExecution
from orchestrator.ports.store import HAS_MAIL, Holder, Lease, Request
from orchestrator.state.redis.holding import Held
from orchestrator.state.redis.keys import as_bytes, as_text, encoded
from orchestrator.state.redis.rows import Row, row_of
from orchestrator.state.redis.values import RedisValues

if TYPE_CHECKING:
    from collections.abc import Sequence


class RedisLeases(RedisValues):
    """See ports.store.Leases and ports.store.BulkLeases."""

    async def acquire(self, execution_id: ExecutionId, owner: str, *, steal: bool = False) -> Lease:
        """See ports.store.Leases."""
        token = self._chance.token()
        deadline = self._clock.monotonic() + self.lease_seconds
        self._held[token] = Held(execution_id)  # where the answer never comes, closing gives it back
        answer = await self._server.run(
            "acquire", encoded(execution_id), as_bytes(owner), token, self._lease_ms, int(steal), commit=True
        )
        if answer[0] == b"ok":
            return self._granted(answer[1], deadline)
        del self._held[token]
        if answer[0] == b"unknown":
            raise UnknownExecution(execution_id)
        raise ExecutionOwned(execution_id, describe_owner(as_text(answer[1]), answer[2] / 1000))

    def _granted(self, grant: list[Any], deadline: float) -> Lease:
        name, epoch, token, number, seq = grant
        execution_id = ExecutionId(as_text(name))
        lease = Lease(execution_id, Epoch(epoch), token.decode(), deadline)
        self._held[lease.token] = Held(execution_id, number, epoch, seq)
        return lease

    def renew(self, lease: Lease) -> None:
        """See ports.store.Leases."""
        deadline = self._clock.monotonic() + self.lease_seconds
        self._one(lease, renew=True)
        lease.deadline = deadline

    def requests(self, lease: Lease) -> Request | None:
        """See ports.store.Leases."""
        return self._one(lease, renew=False)

    def _one(self, lease: Lease, *, renew: bool) -> Request | None:
        answer = self._tend([lease], {lease.token} if renew else set())[0]
        self._judge(lease, answer)
        return _request(answer)

    def tend(self, leases: Sequence[Lease], due: Sequence[Lease]) -> dict[str, Request | StoreDamaged | None]:
        """See ports.store.BulkLeases."""
        deadline = self._clock.monotonic() + self.lease_seconds
        renewed = {lease.token for lease in due}
        everything = list({lease.token: lease for lease in (*leases, *due)}.values())
        found: dict[str, Request | StoreDamaged | None] = {}
        for lease, answer in zip(everything, self._tend(everything, renewed), strict=True):
            try:
                self._judge(lease, answer)
            except LeaseLost:
                continue
            except StoreDamaged as error:
                found[lease.token] = error
                continue
            if lease.token in renewed:
                lease.deadline = deadline
            found[lease.token] = _request(answer)
        return found

    def _tend(self, leases: Sequence[Lease], due: set[str]) -> list[list[Any]]:
        arguments = [
            part
            for lease in leases
            for part in (encoded(lease.execution_id), lease.epoch, lease.token, int(lease.token in due))
        ]
        answers: list[list[Any]] = self._server.run_in_thread("tend", self._lease_ms, *arguments)[1]
        return answers

    def _judge(self, lease: Lease, answer: list[Any]) -> None:
        """Raise LeaseLost for a lease that ended, StoreDamaged where the server has forgotten it."""
        if answer[0] == b"gone":
            raise self._gone(lease, answer[1])
        if answer[0] == b"lost":
            held = self._held.get(lease.token)
            if held is not None:
                self._check_history(lease, held, *answer[1:])
            raise LeaseLost(lease.execution_id, lease.epoch)

    async def release(self, lease: Lease) -> None:
        """See ports.store.Leases."""
        if self._held.pop(lease.token, None) is not None:
            await self._server.run(
                "release", encoded(lease.execution_id), lease.token, 0, patience=self._patience(lease)
            )

    async def _let_go(self) -> None:
        """End every lease of this handle; what cannot be told to the server runs out there."""
        while self._held:
            token, held = self._held.popitem()
            try:
                await self._server.run("release", encoded(held.execution_id), token, 1, patience=0)
            except StoreError:
                return

    async def _row(self, execution_id: str) -> tuple[Row, int]:
        """Return an execution's row and the server's time in ms; raises UnknownExecution."""
        answer = await self._server.run("summary", encoded(execution_id))
        if answer[0] == b"unknown":
            raise UnknownExecution(execution_id)
        return row_of(answer[2]), answer[1]

    async def holder(self, execution_id: ExecutionId) -> Holder | None:
        """See ports.store.Leases."""
        row, now = await self._row(execution_id)
        return row.holder(now)

    async def request_cancel(self, execution_id: ExecutionId, by: str) -> None:
        """See ports.store.Leases."""
        await self._request(execution_id, "cancel_by", by)

    async def request_pause(self, execution_id: ExecutionId, by: str) -> None:
        """See ports.store.Leases."""
        await self._request(execution_id, "paused_by", by)

    async def _request(self, execution_id: str, what: str, by: str) -> None:
        answer = await self._server.run("request", encoded(execution_id), what, as_bytes(by), commit=True)
        if answer[0] == b"unknown":
            raise UnknownExecution(execution_id)


def _request(answer: list[Any]) -> Request | None:
    if len(answer) == 1:
        return None
    request = Request(answer[1].decode(), as_text(answer[2]))
    return HAS_MAIL if request == HAS_MAIL else request


def describe_owner(owner: str, left: float) -> str:
    """Say who owns an execution, and what one can do; ``left`` is what its lease has left, in seconds."""
    return f"{owner or 'another process'}; wait for it, or cancel it (if it is gone, it is free in {left:.0f} s)"
