"""The one record format: every stored byte is sealed in it, and every byte read comes out of it verified.

::

    magic 4 | format 1 | compression 1 | kind 1 | raw length 8 | checksum 16 | payload

Numbers are little-endian. The checksum (BLAKE2b) covers the *context* (who the record belongs to, see
``context_of``), the header before it and the payload as stored: one changed bit fails, and so does a record moved
elsewhere.
A checksum detects damage, not forgery: it has no key. Records with one are those of ``state.encryption``.
"""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b
from struct import Struct
from typing import Any, NoReturn, Protocol

from orchestrator.domain.values import INLINE_LIMIT, EncodedValue, ValueRef
from orchestrator.errors import StoreDamaged, StoreIncompatible
from orchestrator.settings import KEYS_VARIABLE
from orchestrator.state import codec
from orchestrator.state.compression import RAW, THRESHOLD, CompressionError, compress, decompress

FORMAT = 1
"""The format of records that anybody can read; see ``Sealing`` for the other one."""
ENCRYPTED_FORMAT = 2
"""The format of encrypted records, see ``state.encryption``."""
MAX_RAW_LENGTH = codec.SIZE_LIMIT + (1 << 20)
"""No record declares more bytes than this; a larger number is damage."""
DIGEST_SIZE = 32

MAGIC = b"\x89orc"
HEAD = Struct("<4sBBBQ")
"""What every record begins with, whatever its format: magic, format, compression, kind, raw length."""
_HEAD_SIZE = HEAD.size
_SUM_SIZE = 16
_PAYLOAD_AT = _HEAD_SIZE + _SUM_SIZE
_JOIN_LIMIT = 4096  # below, one concatenation is cheaper than feeding the hash in pieces
_head = HEAD.pack
_unhead = HEAD.unpack_from


class Kind(IntEnum):
    """What a record holds; stored, so a number is never given a second meaning."""

    EVENTS = 1
    VALUE = 2
    EXECUTION = 3
    LEASE = 4
    STORE = 5
    SNAPSHOT = 6
    REQUEST = 7
    ARCHIVE = 8
    CACHED = 9
    SIGNAL = 10


def context_of(*parts: str | bytes | int) -> bytes:
    """Spell out who a record belongs to, e.g. ``context_of(execution_id, first_seq)``; no two lists collide."""
    return ascii(parts).encode("ascii")


def seal(payload: bytes, *, kind: Kind, context: bytes) -> bytes:
    """Return the record that holds ``payload`` for the owner named by ``context``; compressed if that pays."""
    raw_length = len(payload)
    compression = RAW
    if raw_length > THRESHOLD:
        compression, payload = compress(payload)
    head = _head(MAGIC, FORMAT, compression, kind, raw_length)
    return b"".join((head, _checksum(context + head, payload), payload))


def unseal(record: bytes, *, kind: Kind, context: bytes, name: str, limit: int = MAX_RAW_LENGTH) -> bytes:
    """Return the payload of a record, verified: made by ``seal`` with the same ``kind`` and ``context``.

    ``name`` is how errors call the record. Raises StoreIncompatible for a newer format, StoreDamaged for anything
    else that is not exactly what was sealed.
    """
    if not isinstance(record, bytes):
        raise StoreDamaged(name, f"a {type(record).__name__} stands where the record belongs")
    if len(record) < _PAYLOAD_AT:
        raise StoreDamaged(name, f"truncated: {len(record)} bytes are less than a header")
    magic, format_, compression, found, raw_length = _unhead(record)
    if magic != MAGIC or format_ != FORMAT:
        _refuse_format(magic, format_, name)
    if raw_length > limit:
        raise StoreDamaged(name, f"absurd length: {raw_length} bytes declared, {limit} allowed")
    payload = record[_PAYLOAD_AT:]
    if compression == RAW and len(payload) != raw_length:
        more = len(payload) - raw_length
        raise StoreDamaged(name, f"trailing bytes: {more}" if more > 0 else f"truncated: {-more} bytes are missing")
    if _checksum(context + record[:_HEAD_SIZE], payload) != record[_HEAD_SIZE:_PAYLOAD_AT]:
        raise StoreDamaged(name, "wrong checksum: changed, cut short, or another owner's record")
    refuse_kind(found, kind, name)
    if compression == RAW:
        return payload
    try:
        return decompress(compression, payload, raw_length)
    except CompressionError as error:
        raise StoreDamaged(name, str(error)) from error


class Sealing(Protocol):
    """How a store seals its records and opens them again; see ``seal`` and ``unseal`` for the contract."""

    def seal(self, payload: bytes, *, kind: Kind, context: bytes) -> bytes:
        """Return the record that holds ``payload`` for the owner named by ``context``."""

    def unseal(self, record: bytes, *, kind: Kind, context: bytes, name: str, limit: int = MAX_RAW_LENGTH) -> bytes:
        """Return the payload of a record, verified; raises StoreIncompatible, StoreDamaged."""


class _Plain:
    def seal(self, payload: bytes, *, kind: Kind, context: bytes) -> bytes:
        return seal(payload, kind=kind, context=context)

    def unseal(self, record: bytes, *, kind: Kind, context: bytes, name: str, limit: int = MAX_RAW_LENGTH) -> bytes:
        return unseal(record, kind=kind, context=context, name=name, limit=limit)


PLAIN: Sealing = _Plain()
"""Checksums against accidents, readable by whoever can read the store."""


def _refuse_format(magic: bytes, format_: int, name: str) -> NoReturn:
    if magic != MAGIC:
        raise StoreDamaged(name, f"bad magic: starts with {magic.hex()}")
    if format_ < FORMAT:
        raise StoreDamaged(name, f"bad format number {format_}")
    if format_ == ENCRYPTED_FORMAT:
        raise StoreIncompatible(
            f"record {name} is encrypted, and no keys are configured: set {KEYS_VARIABLE}, or encryption_command in "
            "orchestrator.toml (or that byte is damaged)"
        )
    raise StoreIncompatible(
        f"record {name} has format {format_}, and this version reads up to {ENCRYPTED_FORMAT}: "
        "it was written by a newer version (upgrade), or that byte is damaged"
    )


def _checksum(bound: bytes, payload: bytes) -> bytes:
    if len(payload) <= _JOIN_LIMIT:
        return blake2b(bound + payload, digest_size=_SUM_SIZE).digest()
    state = blake2b(bound, digest_size=_SUM_SIZE)
    state.update(payload)
    return state.digest()


def refuse_kind(found: int, kind: Kind, name: str) -> None:
    """Raise StoreDamaged if a record's kind is not the one that belongs there."""
    if found != kind:
        raise StoreDamaged(name, f"wrong kind: {_kind_name(found)} where {kind.name} belongs")


def _kind_name(number: int) -> str:
    try:
        return Kind(number).name
    except ValueError:
        return f"unknown kind {number}"


# --- values -----------------------------------------------------------------------------------------------------------


def digest_of(payload: bytes) -> bytes:
    """Return the name of an encoded value: its BLAKE2b-256."""
    return blake2b(payload, digest_size=DIGEST_SIZE).digest()


def refer(payload: bytes) -> EncodedValue:
    """Return encoded bytes with how the journal refers to them."""
    size = len(payload)
    if size <= INLINE_LIMIT:
        return EncodedValue(ValueRef(payload, size, inline=True), payload)
    return EncodedValue(ValueRef(digest_of(payload), size, inline=False), payload)


_NONE = refer(codec.encode(None))
_TRUE = refer(codec.encode(True))  # noqa: FBT003
_FALSE = refer(codec.encode(False))  # noqa: FBT003


def encode_value(value: Any, *, name: str = "result", limit: int = codec.SIZE_LIMIT) -> EncodedValue:
    """Encode a value and say how the journal refers to it: inline up to ``INLINE_LIMIT`` bytes, else by digest.

    Raises UnstorableValue (see ``codec.encode``).
    """
    if value is None:
        return _NONE
    if value is True:
        return _TRUE
    if value is False:
        return _FALSE
    return refer(codec.encode(value, name=name, limit=limit))


def decode_value(payload: bytes, *, name: str) -> Any:
    """Return the value of verified encoded bytes; ``name`` is how errors call the record.

    Raises StoreIncompatible if the value needs a newer version or a class that this process has not registered,
    StoreDamaged if the bytes are no encoded value.
    """
    try:
        return codec.decode(payload)
    except codec.UnknownType as error:
        raise StoreIncompatible(f"record {name}: {error}") from error
    except codec.CodecError as error:
        raise StoreDamaged(name, str(error)) from error


def seal_value(encoded: EncodedValue, sealing: Sealing = PLAIN) -> bytes:
    """Return the record under which a store keeps a value that is not inline; its owner is its digest."""
    return sealing.seal(encoded.payload, kind=Kind.VALUE, context=encoded.ref.data)


def unseal_value(ref: ValueRef, record: bytes, *, name: str, sealing: Sealing = PLAIN) -> bytes:
    """Return the encoded bytes that ``ref`` stands for out of their record, verified down to the digest."""
    payload = sealing.unseal(record, kind=Kind.VALUE, context=ref.data, name=name)
    if len(payload) != ref.size or digest_of(payload) != ref.data:
        raise StoreDamaged(name, "wrong checksum: the content does not have the digest it is stored under")
    return payload
