"""Records sealed with AES-256-GCM, and the keys they are sealed with."""

from __future__ import annotations

import base64
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.values import EncodedValue, ValueRef
from orchestrator.errors import StoreDamaged, StoreError, StoreIncompatible, UsageError
from orchestrator.settings import Settings
from orchestrator.state.encryption import Encryption, configured_keys, new_key, parse_keys
from orchestrator.state.opening import sealing_of
from orchestrator.state.records import (
    PLAIN,
    Kind,
    Sealing,
    context_of,
    digest_of,
    encode_value,
    seal,
    seal_value,
    unseal_value,
)

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
SEALING = Encryption({"new": NEW, "old": OLD})
CONTEXT = context_of("flights-1", 7)
SHORT = b"sixty bytes or so, as one claim and one completion take them"
LONG = b"a text that compresses well, " * 40
NOISE = random.Random(1).randbytes(700)


def read(record: bytes, sealing: Sealing = SEALING, *, kind: Kind = Kind.EVENTS, context: bytes = CONTEXT) -> bytes:
    return sealing.unseal(record, kind=kind, context=context, name="journal flights-1@7")


def sealed(payload: bytes = SHORT, sealing: Sealing = SEALING) -> bytes:
    return sealing.seal(payload, kind=Kind.EVENTS, context=CONTEXT)


@given(st.binary(max_size=2000) | st.binary(max_size=20).map(lambda part: part * 200), st.sampled_from(Kind), st.text())
@settings(max_examples=200)
def test_what_is_sealed_is_unsealed(payload: bytes, kind: Kind, owner: str) -> None:
    context = context_of(owner, 1)
    record = SEALING.seal(payload, kind=kind, context=context)
    assert read(record, kind=kind, context=context) == payload
    assert len(payload) < 8 or payload not in record


def test_long_records_are_compressed_before_they_are_encrypted() -> None:
    assert len(sealed(LONG)) < len(LONG) / 5
    assert len(sealed(NOISE)) == len(NOISE) + 15 + 12 + 4 + 16


def test_no_two_records_are_alike() -> None:
    records = {sealed() for _ in range(1000)}
    assert len({record[15:27] for record in records}) == 1000  # the nonces


@pytest.mark.parametrize("payload", [b"", SHORT, LONG, NOISE], ids=["empty", "short", "compressed", "raw"])
def test_every_flipped_bit_is_noticed(payload: bytes) -> None:
    record = sealed(payload)
    for bit in range(len(record) * 8):
        flipped = bytearray(record)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((StoreDamaged, StoreIncompatible)) as caught:
            read(bytes(flipped))
        # The format and the key's id may be a newer version's, or a key's that we lack: told so.
        assert isinstance(caught.value, StoreDamaged) or bit // 8 == 4 or bit // 8 in range(27, 31)
        assert "journal flights-1@7" in str(caught.value)


@pytest.mark.parametrize("payload", [SHORT, LONG, NOISE], ids=["short", "compressed", "raw"])
def test_every_length_but_its_own_is_noticed(payload: bytes) -> None:
    record = sealed(payload)
    for length in range(len(record)):
        with pytest.raises((StoreDamaged, StoreIncompatible)):
            read(record[:length])
    for more in (b"\0", record):
        with pytest.raises(StoreDamaged):
            read(record + more)


@pytest.mark.parametrize("odd", [None, 7, "text", bytearray(b"x" * 80)])
def test_what_is_no_record_at_all(odd: bytes) -> None:
    with pytest.raises(StoreDamaged, match="stands where the record belongs"):
        read(odd)


def test_another_owner_or_kind_is_damage() -> None:
    record = sealed()
    with pytest.raises(StoreDamaged, match="another owner's record"):
        read(record, context=context_of("flights-1", 8))
    with pytest.raises(StoreDamaged, match="wrong kind: EVENTS where VALUE belongs"):
        read(record, kind=Kind.VALUE)


def test_a_raw_length_that_is_absurd_is_refused_before_anything_is_made_of_it() -> None:
    record = SEALING.seal(LONG, kind=Kind.EVENTS, context=CONTEXT)
    with pytest.raises(StoreDamaged, match="absurd length: 1160 bytes declared, 1000 allowed"):
        SEALING.unseal(record, kind=Kind.EVENTS, context=CONTEXT, name="x", limit=1000)


def test_a_value_is_bound_to_its_digest() -> None:
    value = encode_value("long " * 1000)
    record = seal_value(value, SEALING)
    assert unseal_value(value.ref, record, name="v", sealing=SEALING) == value.payload
    other = ValueRef(digest_of(b"other"), value.ref.size, inline=False)
    with pytest.raises(StoreDamaged):
        unseal_value(other, record, name="v", sealing=SEALING)
    lie = seal_value(EncodedValue(other, value.payload), SEALING)  # by somebody who has the key
    with pytest.raises(StoreDamaged, match="does not have the digest"):
        unseal_value(other, lie, name="v", sealing=SEALING)


# -- what is demanded is said by the configuration -----------------------------------------------------------------


def test_with_keys_a_plain_record_is_refused() -> None:
    with pytest.raises(StoreIncompatible, match=r"is not encrypted, .*orchestrator copy --unencrypted-source"):
        read(seal(SHORT, kind=Kind.EVENTS, context=CONTEXT))


def test_without_keys_an_encrypted_record_names_the_settings() -> None:
    with pytest.raises(StoreIncompatible, match="ORCHESTRATOR_ENCRYPTION_KEYS, or encryption_command"):
        read(sealed(), PLAIN)


def test_a_newer_format_is_told_as_such() -> None:
    for sealing in (PLAIN, SEALING):
        record = bytearray(sealed(sealing=sealing))
        record[4] = 3
        with pytest.raises(StoreIncompatible, match=r"format 3.*up to 2.*newer version"):
            read(bytes(record), sealing)
        record[4] = 0
        with pytest.raises(StoreDamaged, match="bad format number 0"):
            read(bytes(record), sealing)


def test_keys_rotate() -> None:
    before, after = Encryption({"old": OLD}), Encryption({"new": NEW})
    assert read(sealed(sealing=before)) == SHORT
    assert read(sealed(), after) == SHORT  # the first one writes
    with pytest.raises(StoreIncompatible, match="with the key 'old', and the keys at hand are new: add that key"):
        read(sealed(sealing=before), after)


def test_another_key_under_the_same_id_opens_nothing() -> None:
    with pytest.raises(StoreDamaged, match="another key than our 'old'"):
        read(sealed(sealing=Encryption({"old": OLD})), Encryption({"old": NEW}))


# -- keys ----------------------------------------------------------------------------------------------------------


def test_a_new_key_is_one_of_its_own() -> None:
    keys = {new_key("k") for _ in range(100)}
    assert len(keys) == 100
    assert len(parse_keys(keys.pop(), "x")["k"]) == 32
    with pytest.raises(UsageError, match="not a key's id: 'a b'"):
        new_key("a b")


def text_of(**keys: bytes) -> str:
    return ",\n ".join(f"{name}:{base64.b64encode(key).decode()}" for name, key in keys.items())


def test_keys_are_read_in_their_order() -> None:
    assert list(parse_keys(text_of(b=OLD, a=NEW) + ",\n", "x").items()) == [("b", OLD), ("a", NEW)]
    high = bytes([251] * 32)
    assert parse_keys(f"a:{base64.urlsafe_b64encode(high).decode()}", "x") == {"a": high}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "entry 1 is no key"),
        ("c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "entry 1 is no key"),
        ("a:c2VjcmV0", "key 'a' has 6 bytes"),
        ("a:secret!", "key 'a' is not base64"),
        ("a:sécret", "key 'a' is not base64"),
        (f"{text_of(a=OLD)},,{text_of(b=OLD)}", "entry 2 is no key"),
        (f"{text_of(a=OLD)},{text_of(a=NEW)}", "two keys 'a'"),
        (f"secret secret:{base64.b64encode(OLD).decode()}", "entry 1 is no key"),
        ("é:x", "entry 1 is no key"),
    ],
)
def test_keys_that_are_none_are_told_but_not_shown(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"ORCHESTRATOR_ENCRYPTION_KEYS: .*{message}") as caught:
        configured_keys((), project=tmp_path, environ={"ORCHESTRATOR_ENCRYPTION_KEYS": text})
    assert "secret" not in str(caught.value)
    assert "c2Vj" not in str(caught.value)
    assert base64.b64encode(OLD).decode() not in str(caught.value)


def program(tmp_path: Path, code: str) -> tuple[str, ...]:
    (tmp_path / "keys.py").write_text(code)
    return (sys.executable, "keys.py")


def test_a_command_prints_the_keys(tmp_path: Path) -> None:
    command = program(tmp_path, f"print({text_of(a=OLD)!r})")
    assert configured_keys(command, project=tmp_path, environ={}) == {"a": OLD}
    environ = {"ORCHESTRATOR_ENCRYPTION_KEYS": text_of(b=NEW)}
    assert configured_keys(command, project=tmp_path, environ=environ) == {"b": NEW}
    assert configured_keys((), project=tmp_path, environ={}) == {}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit('the vault is locked')", r"\(.*\): ended with 1: the vault is locked"),
        ("print('')", "entry 1 is no key"),
        ("import sys; sys.stdout.buffer.write(bytes([255]))", "entry 1 is no key"),
    ],
)
def test_a_command_that_fails(tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"encryption_command.*{message}"):
        configured_keys(program(tmp_path, code), project=tmp_path, environ={})


def test_a_command_that_is_not_there_or_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"encryption_command \(no-such\): cannot be run: No such file"):
        configured_keys(("no-such",), project=tmp_path, environ={})
    monkeypatch.setattr("orchestrator.state.encryption.COMMAND_SECONDS", 0.3)
    with pytest.raises(UsageError, match=r"printed no keys within 0\.3 s"):
        configured_keys(program(tmp_path, "import time; time.sleep(60)"), project=tmp_path, environ={})


def test_encryption_that_is_demanded_is_not_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demanding = Settings(tmp_path, require_encryption=True)
    with pytest.raises(UsageError, match="require_encryption is set, and there are no keys"):
        sealing_of(demanding)
    assert sealing_of(Settings(tmp_path)) is PLAIN
    monkeypatch.setenv("ORCHESTRATOR_ENCRYPTION_KEYS", text_of(a=OLD))
    assert isinstance(sealing_of(demanding), Encryption)


def test_the_library_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(UsageError, match=r"pip install 'durable-orchestrator\[encryption\]'"):
        Encryption({"a": OLD})


def test_errors_are_store_errors() -> None:
    for sealing in (PLAIN, SEALING):
        with pytest.raises(StoreError):
            read(b"", sealing)
