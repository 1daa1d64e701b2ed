"""What every store does with an entry of the cache, wherever it keeps it: seal it, and open it again."""

from __future__ import annotations

from typing import Any

from orchestrator.domain.files import FileSeen, Trace
from orchestrator.domain.values import ValueRef
from orchestrator.errors import StoreDamaged
from orchestrator.ports.store import CacheEntry
from orchestrator.state import codec
from orchestrator.state.records import PLAIN, Kind, Sealing, context_of, decode_value

_FIELDS = [float, str, bytes, int, bool]
_FILE = [str, int, int, str]


class _Mismatch(ValueError):
    """A part is not what an entry has there."""


def seal_entry(entry: CacheEntry, sealing: Sealing = PLAIN) -> bytes:
    """Return the record of an entry, bound to its fingerprint."""
    trace = entry.trace
    files = (
        None if trace is None else [*(list(map(list, files)) for files in (trace.reads, trace.writes)), trace.inputs]
    )
    payload = codec.encode([float(entry.at), entry.source, *entry.value, files])
    return sealing.seal(payload, kind=Kind.CACHED, context=context_of(entry.fingerprint))


def open_entry(fingerprint: bytes, at: float, record: bytes, sealing: Sealing = PLAIN) -> CacheEntry:
    """Return the entry that a record holds, verified to be the fingerprint's and of the time ``at``.

    Raises StoreDamaged (named ``cache entry FINGERPRINT``) and StoreIncompatible.
    """
    name = f"cache entry {fingerprint.hex()}"
    payload = sealing.unseal(record, kind=Kind.CACHED, context=context_of(fingerprint), name=name)
    try:
        *fields, trace = _parts(decode_value(payload, name=name), len(_FIELDS) + 1)
        recorded, source, *ref = _typed(fields, _FIELDS)
        entry = CacheEntry(fingerprint, recorded, source, ValueRef(*ref), _trace(trace))
    except _Mismatch as error:
        raise StoreDamaged(name, f"no entry of a cache: {error}") from error
    if recorded != at:
        raise StoreDamaged(name, f"it was recorded at {recorded}, and is listed as of {at}")
    return entry


def _trace(part: Any) -> Trace | None:
    if part is None:
        return None
    reads, writes, inputs = _parts(part, 3)
    _typed([inputs], [bool])
    return Trace(_files(reads), _files(writes), inputs)


def _files(part: Any) -> tuple[FileSeen, ...]:
    return tuple(FileSeen(*_typed(_parts(each, len(_FILE)), _FILE)) for each in _parts(part))


def _parts(part: Any, count: int | None = None) -> list[Any]:
    if type(part) is not list or count not in (None, len(part)):
        raise _Mismatch(f"{part!r:.60} stands where a list belongs")
    return part


def _typed(parts: list[Any], types: list[type]) -> list[Any]:
    if [type(part) for part in parts] != types:
        raise _Mismatch(f"{parts!r:.60} has a part of another type")
    return parts
