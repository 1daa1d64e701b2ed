"""What every store does with a signal, wherever it keeps it: seal it, and open it again."""

from __future__ import annotations

from typing import Any

from orchestrator.domain.ids import ID_RULE, is_valid_id
from orchestrator.errors import StoreDamaged, UsageError
from orchestrator.ports.store import SIGNAL_LIMIT, Signal
from orchestrator.state import codec
from orchestrator.state.records import PLAIN, Kind, Sealing, context_of, decode_value, refer

_FIELDS = [str, str, bytes, str, float]


def seal_signal(execution_id: str, signal: Signal, sealing: Sealing = PLAIN) -> bytes:
    """Return the record of a signal, bound to its execution and its id.

    Raises UsageError for an id against the rule and a payload above ``SIGNAL_LIMIT``.
    """
    if not is_valid_id(signal.id):
        raise UsageError(f"not an id of a signal: {signal.id!r:.200} (an id is {ID_RULE})")
    size = len(signal.payload.payload)
    if size > SIGNAL_LIMIT:
        raise UsageError(
            f"the payload of signal {signal.name!r:.100} has {size:,} bytes, and a signal carries at most "
            f"{SIGNAL_LIMIT:,}; put it into a file or a table, and send where it is"
        )
    payload = pack_signal(signal)
    return sealing.seal(payload, kind=Kind.SIGNAL, context=context_of(execution_id, signal.id))


def open_signal(execution_id: str, id_: str, record: bytes, sealing: Sealing = PLAIN) -> Signal:
    """Return the signal that a record holds, verified to be this one of this execution.

    Raises StoreDamaged (named ``signal ID of EXECUTION``) and StoreIncompatible.
    """
    name = f"signal {id_} of {execution_id}"
    payload = sealing.unseal(record, kind=Kind.SIGNAL, context=context_of(execution_id, id_), name=name)
    signal = unpack_signal(payload, name)
    if signal.id != id_:
        raise StoreDamaged(name, f"it holds signal {signal.id}")
    return signal


def pack_signal(signal: Signal) -> bytes:
    """Return the bytes of a signal."""
    return codec.encode([signal.id, signal.name, signal.payload.payload, signal.by, float(signal.at)])


def unpack_signal(payload: bytes, name: str) -> Signal:
    """Return what ``pack_signal`` was given; raises StoreDamaged for anything else."""
    fields: Any = decode_value(payload, name=name)
    if type(fields) is not list or [type(field) for field in fields] != _FIELDS:
        raise StoreDamaged(name, f"{fields!r:.60} is no signal")
    id_, what, content, by, at = fields
    return Signal(id_, what, refer(content), by, at)
