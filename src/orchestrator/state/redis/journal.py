"""The journal: a commit is one script, which checks the owner and the seq and adds one element to a list."""

from __future__ import annotations

from functools import partial
from struct import Struct
from typing import TYPE_CHECKING, Any

from orchestrator.crashpoints import point
from orchestrator.domain.events import ExecutionCreated
from orchestrator.domain.ids import Epoch, ExecutionId, Seq
from orchestrator.errors import ExecutionExists, LeaseLost, StoreDamaged, UnknownExecution, ValueGone
from orchestrator.ports.store import NEW, Admission, Commit, Lease, Place
from orchestrator.state.commits import due_after, ends, gives_back, open_commit, seal_events, status_after, total_after
from orchestrator.state.redis.holding import Held
from orchestrator.state.redis.keys import as_bytes, encoded
from orchestrator.state.redis.leases import RedisLeases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from orchestrator.domain.events import Event
    from orchestrator.domain.values import Stored

READ_PAGE = 1000
FIRST_PAGE_BACK = 16
"""Whoever reads from the end may want the last fact only."""
READ_BYTES = 1 << 20
_HEAD = Struct("<QdQ")
"""Stands before each record: the seq of its last fact, that fact's time, how many tasks are done."""


class RedisJournal(RedisLeases):
    """See ports.store.Journal; ``submit`` is one of ports.store.Queues."""

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
        token = self._chance.token()
        deadline = self._clock.monotonic() + self.lease_seconds
        ownership = {"epoch": admission.epoch, "owner": as_bytes(owner), "token": token, "waiting": 0}
        element, fields = self._admission(execution_id, events, admission)
        self._held[token] = Held(execution_id)  # where the answer never comes, closing gives it back
        try:
            number = await self._admit(token, element, fields | ownership, values)
        except (ExecutionExists, ValueGone):
            del self._held[token]
            raise
        self._held[token] = Held(execution_id, number, admission.epoch, len(events))
        return Lease(execution_id, Epoch(admission.epoch), token, deadline, copying=admission.head > 0)

    async def submit(
        self, execution_id: ExecutionId, events: Sequence[Event], values: Sequence[Stored], place: Place
    ) -> None:
        """See ports.store.Queues."""
        waiting = {"epoch": 0, "queue": encoded(place.queue), "priority": place.priority, "waiting": 1}
        element, fields = self._admission(execution_id, events, NEW)
        await self._admit(self._chance.token(), element, fields | waiting, values)

    def _admission(
        self, execution_id: str, events: Sequence[Event], admission: Admission
    ) -> tuple[bytes, dict[str, Any]]:
        """Return a new execution's first element and what its hash holds of it."""
        created = events[0]
        if not isinstance(created, ExecutionCreated):
            raise TypeError("the first fact of an execution is its ExecutionCreated")
        element = _element(
            len(events), events[-1].at, admission.completed, seal_events(execution_id, 1, events, self._sealing)
        )
        return element, {
            "id": as_bytes(execution_id),
            "pipeline": as_bytes(created.pipeline_id),
            "pipeline_key": encoded(created.pipeline_id),
            "status": status_after(events),
            "total": total_after(events),
            "created_at": repr(float(created.at)),
            "head": admission.head,
            "seq": len(events),
            "completed": admission.completed,
            "updated_at": repr(float(events[-1].at)),
        }

    async def _admit(self, nonce: str, element: bytes, fields: dict[str, Any], values: Sequence[Stored]) -> bytes:
        execution_id = fields["id"].decode("utf-8", "surrogatepass")
        flat = [part for field in fields.items() for part in field]
        given = (encoded(execution_id), nonce, self._lease_ms, element, len(fields), *flat)
        point("before_admission")
        answer = await self._with_values(
            values, lambda along: self._server.run("create", *given, *along, commit=True, durable=True)
        )
        if answer[0] == b"exists":
            raise ExecutionExists(execution_id)
        point("after_admission")
        number: bytes = answer[1]
        return number

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
        execution_id = lease.execution_id
        held = self._held.get(lease.token)
        if held is None:
            self._server.check_open()
            raise LeaseLost(execution_id, lease.epoch)
        last, at = expected_seq + len(events), float(events[-1].at)
        element = _element(last, at, completed, seal_events(execution_id, expected_seq + 1, events, self._sealing))
        status, total = status_after(events), total_after(events)
        finished = gives_back(events) and not lease.copying
        given = (
            encoded(execution_id), lease.epoch, lease.token, int(expected_seq), last, repr(at), completed, element,
            status or "", int(ends(status)), int(finished),
            "" if total is None else total, "" if (due := due_after(events)) is None else repr(float(due)),
        )  # fmt: skip
        run = partial(self._server.run, commit=True, durable=durable, patience=self._patience(lease))
        answer = await self._with_values(values, lambda along: run("append", *given, *along))
        if answer[0] == b"ok":
            held.seq = last
            if finished:
                self._held.pop(lease.token, None)
            return Seq(last)
        if answer[0] == b"gone":
            raise self._gone(lease, answer[1])
        raise self._refusal(lease, expected_seq, answer[1:])

    async def read(self, execution_id: ExecutionId, *, newest_first: bool = False) -> AsyncIterator[Commit]:
        """See ports.store.Journal. Page by page; what is read stays where it is, for a journal only grows."""
        expected: int | None = None if newest_first else 1
        number, index, head, finished = None, b"" if newest_first else 0, 0, False
        size = FIRST_PAGE_BACK if newest_first else READ_PAGE
        while not finished:
            answer = await self._server.run("read", encoded(execution_id), index, int(newest_first), size, READ_BYTES)
            size = READ_PAGE
            if answer[0] == b"unknown" or (number is not None and answer[1] != number):
                raise UnknownExecution(execution_id)  # removed meanwhile, and maybe created anew
            _, number, head, index, elements = answer
            finished = index < 0 or len(elements) == 0
            for element in elements:
                commit, last = self._opened(execution_id, element)
                if expected is None and last < head:
                    raise StoreDamaged(f"{execution_id}@{head}", "the journal's end is missing")
                found = last if newest_first else commit.first
                if expected is not None and found != expected:
                    raise StoreDamaged(f"{execution_id}@{expected}", "the journal has a gap: this fact is missing")
                expected = commit.first - 1 if newest_first else last + 1
                yield commit
        if expected is None or expected == 1 or (newest_first and expected):
            raise StoreDamaged(f"{execution_id}@{expected or 1}", "the journal has a gap: this fact is missing")
        if not newest_first and expected <= head:
            raise StoreDamaged(f"{execution_id}@{head}", "the journal's end is missing")

    def _opened(self, execution_id: str, element: bytes) -> tuple[Commit, int]:
        if len(element) < _HEAD.size:
            raise StoreDamaged(execution_id, "an element of its journal is too short")
        last, _at, completed = _HEAD.unpack_from(element)
        return open_commit(execution_id, last, completed, element[_HEAD.size :], self._sealing), last


def _element(last: int, at: float, completed: int, record: bytes) -> bytes:
    return _HEAD.pack(last, at, completed) + record
