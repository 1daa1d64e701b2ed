"""Entries of the cache, sealed: what is not exactly what was written is damage, named by its fingerprint."""

from __future__ import annotations

import pytest

from orchestrator.domain.files import FileSeen, Trace, missing
from orchestrator.domain.values import ValueRef
from orchestrator.errors import StoreDamaged, StoreIncompatible
from orchestrator.ports.store import CacheEntry
from orchestrator.state import codec
from orchestrator.state.cache import open_entry, seal_entry
from orchestrator.state.encryption import Encryption
from orchestrator.state.records import PLAIN, Kind, Sealing, context_of

FINGERPRINT = bytes(range(32))
AT = 1_700_000_000.25
KEYED = Encryption({"k": bytes(32)})
SEEN = FileSeen("rep\udcffort.csv", 12, 1_700_000_000_123_456_789, "ab" * 32)
TRACE = Trace((SEEN, missing("no.csv")), (SEEN,), inputs=True)
ENTRY = CacheEntry(FINGERPRINT, AT, "x@7", ValueRef(b"the secret", 10, inline=True), TRACE)
GOOD = [AT, "x@7", b"", 0, True]
both = pytest.mark.parametrize("sealing", [PLAIN, KEYED], ids=["plain", "encrypted"])


@both
@pytest.mark.parametrize("source", ["x@7", "\udcff@1"])
def test_what_is_sealed_is_opened(sealing: Sealing, source: str) -> None:
    large = ValueRef(bytes(32), 10**9, inline=False)
    for value, trace in ((ENTRY.value, TRACE), (large, None), (large, Trace()), (ENTRY.value, Trace(writes=(SEEN,)))):
        entry = ENTRY._replace(source=source, value=value, trace=trace)
        assert open_entry(FINGERPRINT, AT, seal_entry(entry, sealing), sealing) == entry


def test_an_encrypted_entry_tells_nothing() -> None:
    assert b"the secret" in seal_entry(ENTRY)
    assert b"the secret" not in seal_entry(ENTRY, KEYED)
    with pytest.raises(StoreIncompatible, match=FINGERPRINT.hex()):
        open_entry(FINGERPRINT, AT, seal_entry(ENTRY, KEYED))


@both
def test_one_changed_bit_anywhere_is_damage(sealing: Sealing) -> None:
    record = seal_entry(ENTRY, sealing)
    for place in range(len(record)):
        changed = bytearray(record)
        changed[place] ^= 1
        with pytest.raises((StoreDamaged, StoreIncompatible), match=FINGERPRINT.hex()):
            open_entry(FINGERPRINT, AT, bytes(changed), sealing)


@both
def test_an_entry_moved_elsewhere_is_damage(sealing: Sealing) -> None:
    record = seal_entry(ENTRY, sealing)
    with pytest.raises(StoreDamaged, match=f"cache entry {bytes(32).hex()}"):
        open_entry(bytes(32), AT, record, sealing)
    with pytest.raises(StoreDamaged, match="listed as of"):
        open_entry(FINGERPRINT, AT + 1, record, sealing)


@pytest.mark.parametrize(
    "fields",
    [
        *(None, [], [AT, "x@7"], {"at": AT}, [AT, "x@7", b"", 0, True]),
        *([1, "x@7", b"", 0, True, None], [AT, "x@7", b"", 0, 1, None], [AT, "x@7", b"", 0, True, None, 1]),
        *([*GOOD, 1], [*GOOD, []], [*GOOD, [[], [], None]], [*GOOD, [None, [], True]], [*GOOD, [[1], [], True]]),
        *([*GOOD, [[[]], [], True]], [*GOOD, [[["a", 1, 2, 3]], [], True]], [*GOOD, [[["a", 1, 2, "d", 5]], [], True]]),
    ],
    ids=repr,
)
def test_what_is_no_entry_is_damage(fields: object) -> None:
    record = PLAIN.seal(codec.encode(fields), kind=Kind.CACHED, context=context_of(FINGERPRINT))
    with pytest.raises(StoreDamaged, match="no entry of a cache"):
        open_entry(FINGERPRINT, AT, record)
