import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.values import INLINE_LIMIT, EncodedValue, ValueRef
from orchestrator.errors import StoreDamaged, StoreIncompatible
from orchestrator.state import codec, compression, records
from orchestrator.state.records import (
    Kind,
    context_of,
    decode_value,
    encode_value,
    seal,
    seal_value,
    unseal,
    unseal_value,
)

CONTEXT = context_of("flights-1", 7)
SHORT = b"sixty bytes or so, as one claim and one completion take them"
LONG = b"a text that compresses well, " * 40
NOISE = random.Random(1).randbytes(700)


def read(record: bytes, kind: Kind = Kind.EVENTS, context: bytes = CONTEXT) -> bytes:
    return unseal(record, kind=kind, context=context, name="journal flights-1@7")


@given(st.binary(max_size=2000) | st.binary(max_size=20).map(lambda part: part * 200), st.sampled_from(Kind), st.text())
@settings(max_examples=300, deadline=None)
def test_what_is_sealed_is_unsealed(payload: bytes, kind: Kind, owner: str) -> None:
    context = context_of(owner, 1)
    assert unseal(seal(payload, kind=kind, context=context), kind=kind, context=context, name="x") == payload


def test_long_records_are_compressed_only_if_that_pays() -> None:
    assert len(seal(LONG, kind=Kind.EVENTS, context=CONTEXT)) < len(LONG) / 5
    assert len(seal(NOISE, kind=Kind.EVENTS, context=CONTEXT)) == len(NOISE) + 31


@pytest.mark.parametrize("payload", [b"", SHORT, LONG, NOISE], ids=["empty", "short", "compressed", "raw"])
def test_every_flipped_bit_is_noticed(payload: bytes) -> None:
    record = seal(payload, kind=Kind.EVENTS, context=CONTEXT)
    for bit in range(len(record) * 8):
        flipped = bytearray(record)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((StoreDamaged, StoreIncompatible)) as caught:
            read(bytes(flipped))
        assert isinstance(caught.value, StoreDamaged) or bit // 8 == 4
        assert "journal flights-1@7" in str(caught.value)


@pytest.mark.parametrize("payload", [SHORT, LONG, NOISE], ids=["short", "compressed", "raw"])
def test_every_length_but_its_own_is_noticed(payload: bytes) -> None:
    record = seal(payload, kind=Kind.EVENTS, context=CONTEXT)
    for length in range(len(record)):
        with pytest.raises(StoreDamaged):
            read(record[:length])
    for more in (b"\0", b"x" * 100, record):
        with pytest.raises(StoreDamaged):
            read(record + more)


def test_a_record_of_another_owner_or_kind_is_refused() -> None:
    record = seal(SHORT, kind=Kind.EVENTS, context=CONTEXT)
    for context in (context_of("flights-1", 8), context_of("flights-2", 7), b"", CONTEXT + b"x", CONTEXT[:-1]):
        with pytest.raises(StoreDamaged, match="wrong checksum"):
            read(record, context=context)
    with pytest.raises(StoreDamaged, match="wrong kind: EVENTS where VALUE belongs"):
        read(record, kind=Kind.VALUE)


def test_contexts_do_not_collide() -> None:
    lists: list[tuple[str | bytes | int, ...]] = [
        ("a", "b"), ("ab",), ("a", 1), ("a", "1"), ("a", b"1"), (), ("",), ("", ""), ("a', 'b",), ("é",), ("\\xe9",),
    ]  # fmt: skip
    assert len({context_of(*parts) for parts in lists}) == len(lists)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: r[:20], "truncated"),
        (lambda r: r[:-1], "truncated"),
        (lambda r: b"SQLi" + r[4:], "bad magic"),
        (lambda r: r[:4] + b"\0" + r[5:], "bad format"),
        (lambda r: r + b"x", "trailing bytes: 1"),
        (lambda r: r[:-1] + b"x", "wrong checksum"),
        (lambda r: r[:7] + (10**9).to_bytes(8, "little") + r[15:], "absurd length: 1000000000"),
        (lambda r: r[:7] + b"\xff" * 8 + r[15:], "absurd length"),
    ],
    ids=["head", "tail", "magic", "format", "trailing", "checksum", "1e9", "2^64"],
)
def test_the_reason_is_told(change: Any, reason: str) -> None:
    with pytest.raises(StoreDamaged, match=reason) as caught:
        read(change(seal(SHORT, kind=Kind.EVENTS, context=CONTEXT)))
    assert caught.value.record == "journal flights-1@7"


def test_a_newer_format_is_incompatible_and_not_damaged() -> None:
    record = seal(SHORT, kind=Kind.EVENTS, context=CONTEXT)
    with pytest.raises(StoreIncompatible, match=r"format 3.*up to 2.*newer version"):
        read(record[:4] + b"\x03" + record[5:])


def forge(payload: bytes, *, codec_id: int, raw_length: int) -> bytes:
    """Make a record whose checksum holds, whatever it declares."""
    head = records._head(records.MAGIC, records.FORMAT, codec_id, Kind.EVENTS, raw_length)
    return head + records._checksum(CONTEXT + head, payload) + payload


def test_forged_compression_is_refused() -> None:
    _, packed = compression.compress(LONG)
    bomb = compression._zstd().compress(bytes(100 << 20), 3)
    for record, reason in [
        (forge(packed, codec_id=compression.ZSTD, raw_length=len(LONG) + 1), "other than the declared"),
        (forge(packed, codec_id=compression.ZSTD, raw_length=len(LONG) - 1), "other than the declared"),
        (forge(packed[:-1], codec_id=compression.ZSTD, raw_length=len(LONG)), "other than the declared"),
        (forge(packed + b"x", codec_id=compression.ZSTD, raw_length=len(LONG)), "trailing bytes"),
        (forge(NOISE, codec_id=compression.ZSTD, raw_length=1000), "decompression failed"),
        (forge(SHORT, codec_id=7, raw_length=len(SHORT)), "unknown compression 7"),
        (forge(bomb, codec_id=compression.ZSTD, raw_length=100 << 20), "compression bomb"),
        (forge(bomb, codec_id=compression.ZSTD, raw_length=1000), r"window|memory|other than the declared"),
    ]:
        with pytest.raises(StoreDamaged, match=reason):
            read(record)


def test_ten_thousand_poisoned_records() -> None:
    chance = random.Random(1)
    originals = [seal(payload, kind=Kind.EVENTS, context=CONTEXT) for payload in (SHORT, LONG, NOISE)]
    for _ in range(10_000):
        record = bytearray(chance.choice(originals))
        for _ in range(chance.randrange(1, 5)):
            match chance.randrange(4):
                case 0:
                    record[chance.randrange(len(record))] ^= 1 << chance.randrange(8)
                case 1:
                    del record[chance.randrange(len(record)) :][: chance.randrange(9)]
                case 2:
                    at = chance.randrange(len(record))
                    record[at:at] = chance.randbytes(chance.randrange(1, 9))
                case _:
                    at = chance.randrange(len(record))
                    record[at : at + 8] = chance.randbytes(8)
            if len(record) < 2:
                break
        if bytes(record) not in originals:
            with pytest.raises((StoreDamaged, StoreIncompatible)):
                read(bytes(record))


# --- values -----------------------------------------------------------------------------------------------------------


def test_small_values_stand_in_the_journal_and_large_ones_have_a_digest() -> None:
    small, large = encode_value("x" * (INLINE_LIMIT - 3)), encode_value("x" * (INLINE_LIMIT - 2))
    assert (small.ref.inline, small.ref.size, small.ref.data) == (True, INLINE_LIMIT, small.payload)
    assert (large.ref.inline, large.ref.size) == (False, INLINE_LIMIT + 1)
    assert large.ref.data == records.digest_of(large.payload)
    assert decode_value(large.payload, name="x") == "x" * (INLINE_LIMIT - 2)


def test_the_commonest_values_are_made_once() -> None:
    for value in (None, True, False):
        assert encode_value(value) is encode_value(value)
        assert decode_value(encode_value(value).payload, name="x") is value
    assert type(decode_value(encode_value(1).payload, name="x")) is int


def test_a_value_ends_verified_down_to_its_digest() -> None:
    encoded = encode_value(list(range(2000)))
    record = seal_value(encoded)
    assert unseal_value(encoded.ref, record, name="value") == encoded.payload
    other = encode_value(list(range(2001)))
    with pytest.raises(StoreDamaged, match="wrong checksum"):
        unseal_value(other.ref, record, name="value")
    forged = seal_value(EncodedValue(encoded.ref, b"something else"))
    with pytest.raises(StoreDamaged, match="does not have the digest"):
        unseal_value(encoded.ref, forged, name="value")
    with pytest.raises(StoreDamaged, match="does not have the digest"):
        unseal_value(ValueRef(encoded.ref.data, 3, inline=False), record, name="value")


def test_damage_and_ignorance_are_told_apart() -> None:
    with pytest.raises(StoreDamaged, match="value 1: not an encoded value"):
        decode_value(b"\xc1", name="value 1")
    stored = codec.encode(("marker",)).replace(b"\xc7\x00\x20", b"\xc7\x00\x6f")
    with pytest.raises(StoreIncompatible, match=r"record value 1: .*newer version"):
        decode_value(stored, name="value 1")
