"""An execution's hash, as it came from the server: nothing in it is believed before it is what it should be."""

from __future__ import annotations

from typing import Any, NamedTuple

from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import Epoch, ExecutionId, Seq
from orchestrator.errors import StoreDamaged
from orchestrator.ports.store import ExecutionSummary, Holder, Place
from orchestrator.state.redis.keys import as_text, decoded


class Row(NamedTuple):
    """See the fields of ports.store.ExecutionSummary; ``lease_until`` is in ms by the server's clock."""

    execution_id: ExecutionId
    number: bytes
    pipeline_id: str
    status: ExecutionStatus
    total: int
    created_at: float
    epoch: int
    owner: str
    token: bytes | None
    lease_until: int
    seq: int
    completed: int
    updated_at: float
    place: Place | None
    waiting: bool
    paused_by: str | None
    due: float | None

    def holder(self, now: int) -> Holder | None:
        """Return who owns it; ``now`` is the server's time in ms."""
        return None if self.token is None else Holder(self.owner, Epoch(self.epoch), self.lease_until > now)

    def summary(self, now: int) -> ExecutionSummary:
        """Return it as lists show it."""
        return ExecutionSummary(
            execution_id=self.execution_id,
            pipeline_id=self.pipeline_id,
            status=self.status,
            completed=self.completed,
            total=self.total,
            seq=Seq(self.seq),
            created_at=self.created_at,
            updated_at=self.updated_at,
            holder=self.holder(now),
            place=self.place,
            waiting=self.waiting,
            paused_by=self.paused_by,
            due=self.due,
            lease_left=None if self.token is None else (self.lease_until - now) / 1000,
        )


def row_of(flat: list[bytes]) -> Row:
    """Return the row of a hash as HGETALL lists it; raises StoreDamaged."""
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    name = as_text(fields.get(b"id", b"?"))
    if b"born" not in fields:
        raise StoreDamaged(name, "it is in the list of executions, and nowhere else")
    try:
        return _row(fields)
    except (KeyError, ValueError) as error:
        raise StoreDamaged(name, f"its entry on the server holds something else than it should: {error}") from error


def _row(fields: dict[bytes, bytes]) -> Row:
    paused_by: Any = fields.get(b"paused_by")
    return Row(
        execution_id=ExecutionId(as_text(fields[b"id"])),
        number=fields[b"number"],
        pipeline_id=as_text(fields[b"pipeline"]),
        status=ExecutionStatus(fields[b"status"].decode()),
        total=int(fields[b"total"]),
        created_at=float(fields[b"created_at"]),
        epoch=int(fields[b"epoch"]),
        owner=as_text(fields.get(b"owner", b"")),
        token=fields.get(b"token"),
        lease_until=int(fields[b"lease_until"]),
        seq=int(fields[b"seq"]),
        completed=int(fields[b"completed"]),
        updated_at=float(fields[b"updated_at"]),
        place=Place(decoded(fields[b"queue"]), int(fields[b"priority"])) if b"queue" in fields else None,
        waiting=fields[b"waiting"] == b"1",
        paused_by=None if paused_by is None else as_text(paused_by),
        due=float(fields[b"due"]) if b"due" in fields else None,
    )
