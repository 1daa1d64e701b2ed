"""What this handle owns, and how it tells a loss from an end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import JournalConflict, LeaseLost, StoreDamaged
from orchestrator.state.outside import Outside
from orchestrator.state.records import PLAIN, Sealing
from orchestrator.state.redis.server import PATIENCE_SECONDS, Server

if TYPE_CHECKING:
    from orchestrator.ports.blobs import Blobs
    from orchestrator.ports.clock import Chance, Clock
    from orchestrator.ports.store import Lease
    from orchestrator.state.redis.address import Address

LEASE_SECONDS = 30.0


@dataclass(slots=True)
class Held:
    """What was acknowledged to an owner: its execution's number on the server, its epoch, its journal's last seq.

    ``number`` is empty while it is not known whether the execution was granted: the answer has not come.
    """

    execution_id: str
    number: bytes = b""
    epoch: int = 0
    seq: int = 0


class Holding:
    """The server, and the leases by their tokens."""

    def __init__(
        self,
        address: Address,
        *,
        clock: Clock,
        chance: Chance,
        lease_seconds: float = LEASE_SECONDS,
        sealing: Sealing = PLAIN,
        blobs: Blobs | None = None,
    ) -> None:
        self.url = address.shown
        self.lease_seconds = lease_seconds
        self._clock = clock
        self._chance = chance
        self._sealing = sealing
        self._outside = Outside(blobs, self._store_id)
        self._held: dict[str, Held] = {}
        self._server = Server(address, chance)

    async def _store_id(self) -> str:
        return self._server.uuid

    @property
    def _lease_ms(self) -> int:
        return round(self.lease_seconds * 1000)

    def _patience(self, lease: Lease) -> float:
        """Return how long an owner repeats itself: beyond its lease it must assume that it has none."""
        return max(0.0, min(lease.deadline - self._clock.monotonic(), PATIENCE_SECONDS))

    def _gone(self, lease: Lease, removed: bytes) -> BaseException:
        """Return why an execution that this handle owned is not there."""
        if removed == b"1" or self._held.get(lease.token) is None:
            self._held.pop(lease.token, None)
            return LeaseLost(lease.execution_id, lease.epoch)
        return StoreDamaged(
            lease.execution_id, "its history was lost: nobody removed it, and it is gone from the server"
        )

    def _refusal(self, lease: Lease, expected: int, answer: list[Any]) -> BaseException:
        """Return why an append wrote nothing."""
        epoch, is_ours, seq, number, missing = answer
        held = self._held[lease.token]
        self._check_history(lease, held, epoch, seq, number)
        if epoch != lease.epoch or not is_ours:
            self._held.pop(lease.token, None)
            return LeaseLost(lease.execution_id, lease.epoch)
        if missing:
            return StoreDamaged(
                f"{lease.execution_id}@{seq}", f"its history was lost: {missing} commits are gone from its journal"
            )
        return JournalConflict(lease.execution_id, expected, seq)

    def _check_history(self, lease: Lease, held: Held, epoch: int, seq: int, number: bytes) -> None:
        """Notice that the server has forgotten what it had acknowledged (a lagging replica, a torn log)."""
        if number == held.number and (seq < held.seq or epoch < held.epoch):
            raise StoreDamaged(
                f"{lease.execution_id}@{held.seq}",
                f"its history was lost: the server had acknowledged fact {held.seq} and now knows {seq}"
                " (a replica took over that lagged, or the end of the server's log was lost)",
            )
