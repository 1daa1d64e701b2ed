"""Records sealed with AES-256-GCM: unreadable without the key, and nothing about them can be changed unseen.

::

    magic 4 | format 1 | compression 1 | kind 1 | raw length 8 | nonce 12 | length 1 | key id | ciphertext | tag 16

The tag covers the *context* (who the record belongs to), everything before the nonce, the key's id and the payload, as
the checksum of a plain record does. Payloads are compressed before they are encrypted. Nonces are random: one key is
good for 2^32 records (NIST SP 800-38D, 8.3), more than most stores ever hold; rotate before.

Several keys may be given: the first one writes, all of them read.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import subprocess
from typing import TYPE_CHECKING, NoReturn

from orchestrator.errors import StoreDamaged, StoreIncompatible, UsageError
from orchestrator.settings import KEYS_VARIABLE
from orchestrator.state.compression import CompressionError, compress, decompress
from orchestrator.state.records import (
    ENCRYPTED_FORMAT,
    FORMAT,
    HEAD,
    MAGIC,
    MAX_RAW_LENGTH,
    Kind,
    refuse_kind,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_SIZE = 32
COMMAND_SECONDS = 60
EXTRA = "encryption needs an extra: pip install 'durable-orchestrator[encryption]'"

_NONCE_SIZE = 12
_TAG_SIZE = 16
_ID_AT = HEAD.size + _NONCE_SIZE
_KEY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
_EXPECTED = "expected ID:BASE64 of 32 bytes, more of them separated by commas; `orchestrator key` makes one"


class Encryption:
    """Seals with the first of ``keys`` (id -> 32 bytes) and opens what any of them sealed; nothing else is accepted.

    A record that is not encrypted is refused whoever wrote it: what is demanded is said by the configuration, never by
    the record. Raises UsageError where the library is not installed.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError as error:
            raise UsageError(EXTRA) from error
        self._invalid = InvalidTag
        self._ciphers: dict[bytes, AESGCM] = {name.encode(): AESGCM(key) for name, key in keys.items()}
        self.key_ids = tuple(keys)
        first = self.key_ids[0].encode()
        self._cipher = self._ciphers[first]
        self._id = bytes([len(first)]) + first

    def seal(self, payload: bytes, *, kind: Kind, context: bytes) -> bytes:
        """See records.Sealing."""
        raw_length = len(payload)
        compression, payload = compress(payload)
        head = HEAD.pack(MAGIC, ENCRYPTED_FORMAT, compression, kind, raw_length)
        nonce = secrets.token_bytes(_NONCE_SIZE)
        sealed = self._cipher.encrypt(nonce, payload, context + head + self._id)
        return b"".join((head, nonce, self._id, sealed))

    def unseal(self, record: bytes, *, kind: Kind, context: bytes, name: str, limit: int = MAX_RAW_LENGTH) -> bytes:
        """See records.Sealing."""
        if not isinstance(record, bytes):
            raise StoreDamaged(name, f"a {type(record).__name__} stands where the record belongs")
        if len(record) <= _ID_AT:
            raise StoreDamaged(name, f"truncated: {len(record)} bytes are less than a header")
        magic, format_, compression, found, raw_length = HEAD.unpack_from(record)
        if magic != MAGIC:
            raise StoreDamaged(name, f"bad magic: starts with {magic.hex()}")
        if format_ != ENCRYPTED_FORMAT:
            _refuse_format(format_, name)
        if raw_length > limit:
            raise StoreDamaged(name, f"absurd length: {raw_length} bytes declared, {limit} allowed")
        payload_at = _ID_AT + 1 + record[_ID_AT]
        if len(record) < payload_at + _TAG_SIZE:
            raise StoreDamaged(name, "truncated: it ends before its content")
        key_id = record[_ID_AT + 1 : payload_at]
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            self._refuse_key(key_id, name)
        bound = context + record[: HEAD.size] + record[_ID_AT:payload_at]
        try:
            payload = cipher.decrypt(record[HEAD.size : _ID_AT], record[payload_at:], bound)
        except self._invalid:
            raise StoreDamaged(
                name,
                f"changed, cut short, another owner's record, or sealed with another key than our {key_id.decode()!r}",
            ) from None
        refuse_kind(found, kind, name)
        try:
            return decompress(compression, payload, raw_length)
        except CompressionError as error:
            raise StoreDamaged(name, str(error)) from error

    def _refuse_key(self, key_id: bytes, name: str) -> NoReturn:
        if _KEY_ID.fullmatch(shown := key_id.decode("ascii", "replace")) is None:
            raise StoreDamaged(name, "no key has an id like the one it names")
        raise StoreIncompatible(
            f"record {name} is encrypted with the key {shown!r}, and the keys at hand are {', '.join(self.key_ids)}: "
            f"add that key to {KEYS_VARIABLE} (or to what encryption_command prints)"
        )


def _refuse_format(format_: int, name: str) -> NoReturn:
    if format_ == FORMAT:
        raise StoreIncompatible(
            f"record {name} is not encrypted, and with keys configured nothing else is read: it was written before, "
            "or by somebody without them; `orchestrator copy --unencrypted-source` takes a store into an encrypted one"
        )
    if format_ < FORMAT:
        raise StoreDamaged(name, f"bad format number {format_}")
    raise StoreIncompatible(
        f"record {name} has format {format_}, and this version reads up to {ENCRYPTED_FORMAT}: "
        "it was written by a newer version (upgrade), or that byte is damaged"
    )


# --- keys -------------------------------------------------------------------------------------------------------------


def new_key(key_id: str) -> str:
    """Return a fresh key as it is configured, ``ID:BASE64``; raises UsageError for an id that is none."""
    if _KEY_ID.fullmatch(key_id) is None:
        raise UsageError(f"not a key's id: {key_id!r}; expected up to 32 letters, digits, and _ . - after the first")
    return f"{key_id}:{base64.b64encode(secrets.token_bytes(KEY_SIZE)).decode()}"


def parse_keys(text: str, source: str) -> dict[str, bytes]:
    """Read ``ID:BASE64,ID:BASE64``; ``source`` is how errors call the text, of which they repeat nothing but ids."""
    keys: dict[str, bytes] = {}
    for number, entry in enumerate((part.strip() for part in text.strip().strip(",").split(",")), 1):
        key_id, colon, encoded = entry.partition(":")
        if not colon or _KEY_ID.fullmatch(key_id) is None:
            raise UsageError(f"{source}: entry {number} is no key: {_EXPECTED}")
        try:
            key = base64.b64decode(encoded.strip().translate(str.maketrans("-_", "+/")), validate=True)
        except (binascii.Error, ValueError):
            raise UsageError(f"{source}: key {key_id!r} is not base64: {_EXPECTED}") from None
        if len(key) != KEY_SIZE:
            raise UsageError(f"{source}: key {key_id!r} has {len(key)} bytes: {_EXPECTED}")
        if key_id in keys:
            raise UsageError(f"{source}: there are two keys {key_id!r}; each needs an id of its own")
        keys[key_id] = key
    return keys


def configured_keys(
    command: Sequence[str], *, project: Path, environ: Mapping[str, str] | None = None
) -> dict[str, bytes]:
    """Return the keys of the environment variable, else those that ``command`` prints; empty where neither is set.

    ``command`` runs in the project folder, without a shell. Raises UsageError when it fails or prints no keys: once
    keys are configured, nothing goes on without them.
    """
    environ = os.environ if environ is None else environ
    if KEYS_VARIABLE in environ:
        return parse_keys(environ[KEYS_VARIABLE], KEYS_VARIABLE)
    if not command:
        return {}
    source = f"encryption_command ({command[0]})"
    try:
        done = subprocess.run(
            list(command),
            cwd=project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"{source}: printed no keys within {COMMAND_SECONDS} s") from None
    except OSError as error:
        raise UsageError(f"{source}: cannot be run: {error.strerror or error}") from error
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[-200:]
        raise UsageError(f"{source}: ended with {done.returncode}{f': {said}' if said else ''}")
    return parse_keys(done.stdout.decode("utf-8", "replace"), source)
