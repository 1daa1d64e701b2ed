"""What every store does with an entry of the cache, wherever it keeps it: seal it, and open it again."""

from __future__ import annotations

from typing import Any

from orchestrator.domain.values import ValueRef
from orchestrator.errors import StoreDamaged
from orchestrator.ports.store import CacheEntry
from orchestrator.state import codec
from orchestrator.state.records import PLAIN, Kind, Sealing, context_of, decode_value


def seal_entry(entry: CacheEntry, sealing: Sealing = PLAIN) -> bytes:
    """Return the record of an entry, bound to its fingerprint."""
    payload = codec.encode([float(entry.at), entry.source, *entry.value])
    return sealing.seal(payload, kind=Kind.CACHED, context=context_of(entry.fingerprint))


def open_entry(fingerprint: bytes, at: float, record: bytes, sealing: Sealing = PLAIN) -> CacheEntry:
    """Return the entry that a record holds, verified to be the fingerprint's and of the time ``at``.

    Raises StoreDamaged (named ``cache entry FINGERPRINT``) and StoreIncompatible.
    """
    name = f"cache entry {fingerprint.hex()}"
    payload = sealing.unseal(record, kind=Kind.CACHED, context=context_of(fingerprint), name=name)
    fields: Any = decode_value(payload, name=name)
    if type(fields) is not list or [type(part) for part in fields] != [float, str, bytes, int, bool]:
        raise StoreDamaged(name, "no entry of a cache: a part of it is of another type")
    recorded, source, *ref = fields
    if recorded != at:
        raise StoreDamaged(name, f"it was recorded at {recorded}, and is listed as of {at}")
    return CacheEntry(fingerprint, recorded, source, ValueRef(*ref))
