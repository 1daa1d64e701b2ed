"""What every store does with a commit, wherever it keeps it: seal it, open it, tell what it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchestrator.domain.events import (
    DefinitionChanged,
    ExecutionCreated,
    ExecutionFinished,
    ExecutionStarted,
    ExecutionWaiting,
    TaskExpanded,
)
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import Seq
from orchestrator.domain.values import EncodedValue
from orchestrator.errors import StoreDamaged
from orchestrator.ports.store import ENDED, Commit
from orchestrator.state.eventcodec import decode_events, encode_events
from orchestrator.state.records import PLAIN, Kind, Sealing, context_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.events import Event
    from orchestrator.domain.values import Stored


def seal_events(execution_id: str, first: int, events: Sequence[Event], sealing: Sealing = PLAIN) -> bytes:
    """Return the record of a commit, bound to its execution and to the seq of its last fact.

    Raises UnstorableValue for a mapping inside an event that cannot be kept.
    """
    context = context_of(execution_id, first + len(events) - 1)
    return sealing.seal(encode_events(Seq(first), events), kind=Kind.EVENTS, context=context)


def open_commit(execution_id: str, last: int, completed: int, record: bytes, sealing: Sealing = PLAIN) -> Commit:
    """Return the commit that a record holds, verified to be the one that ends at ``last``.

    Raises StoreDamaged (named ``EXECUTION@SEQ``) and StoreIncompatible.
    """
    name = f"{execution_id}@{last}"
    payload = sealing.unseal(record, kind=Kind.EVENTS, context=context_of(execution_id, last), name=name)
    first, events = decode_events(payload, name=name)
    if first + len(events) - 1 != last:
        raise StoreDamaged(name, f"it holds facts {first} to {first + len(events) - 1}")
    return Commit(Seq(first), events, completed)


def status_after(events: Sequence[Event]) -> str | None:
    """Return the status that these facts leave an execution in; None if they do not change it."""
    status: str | None = None
    for event in events:
        if isinstance(event, ExecutionFinished):
            status = event.status
        elif isinstance(event, ExecutionWaiting):
            status = ExecutionStatus.WAITING.value
        elif isinstance(event, ExecutionStarted):
            status = ExecutionStatus.RUNNING.value
        elif isinstance(event, ExecutionCreated):
            status = ExecutionStatus.CREATED.value
    return status


def due_after(events: Sequence[Event]) -> float | None:
    """Return when an execution that these facts leave waiting goes on by itself; None if only a signal wakes it."""
    due: float | None = None
    for event in events:
        if isinstance(event, ExecutionWaiting):
            due = event.due
        elif isinstance(event, (ExecutionFinished, ExecutionStarted)):
            due = None
    return due


def total_after(events: Sequence[Event]) -> int | None:
    """Return how many tasks the execution has after these facts; None if they do not change it."""
    total: int | None = None
    for event in events:
        if isinstance(event, (ExecutionCreated, DefinitionChanged, TaskExpanded)):
            total = event.total
    return total


class Carried(NamedTuple):
    """What comes with facts, each once: values to store, by digest, and digests of those that are to be there."""

    stored: dict[bytes, EncodedValue]
    referred: list[bytes]


def carried(values: Sequence[Stored]) -> Carried:
    """Return what of these has a place of its own: inline ones stand in the journal."""
    stored: dict[bytes, EncodedValue] = {}
    referred: dict[bytes, None] = {}
    for value in values:
        if not isinstance(value, EncodedValue):
            if not value.inline:
                referred[value.data] = None
        elif not value.ref.inline:
            stored[value.ref.data] = value
    return Carried(stored, [digest for digest in referred if digest not in stored])


def gives_back(events: Sequence[Event]) -> bool:
    """Tell whether the commit of these facts is its owner's last: it gives the execution back as well."""
    return any(isinstance(event, (ExecutionFinished, ExecutionWaiting)) for event in events)


def ends(status: str | None) -> bool:
    """Tell whether an execution that comes to this status (None: it keeps its own) waits for no server any more."""
    return status is not None and status in ENDED
