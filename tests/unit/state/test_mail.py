"""Signals at rest: what was sealed is opened, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.errors import StoreDamaged, StoreIncompatible
from orchestrator.state import codec
from orchestrator.state.encryption import Encryption
from orchestrator.state.mail import open_signal, pack_signal, seal_signal, unpack_signal
from orchestrator.state.records import PLAIN, Sealing
from orchestrator.testing.stores.facts import signal, value

KEYED = Encryption({"k": bytes(32)})


@pytest.mark.parametrize("sealing", [PLAIN, KEYED])
def test_it_is_bound_to_its_execution_and_its_id(sealing: Sealing) -> None:
    sent = signal("s1", value(3000))
    record = seal_signal("x", sent, sealing)
    assert open_signal("x", "s1", record, sealing) == sent
    for execution_id, name in (("y", "s1"), ("x", "s2")):
        with pytest.raises(StoreDamaged, match=f"signal {name} of {execution_id}"):
            open_signal(execution_id, name, record, sealing)
    with pytest.raises((StoreDamaged, StoreIncompatible)):
        open_signal("x", "s1", record, KEYED if sealing is PLAIN else PLAIN)
    for at in range(0, len(record), 37):
        changed = bytes([*record[:at], record[at] ^ 1, *record[at + 1 :]])
        with pytest.raises((StoreDamaged, StoreIncompatible)):
            open_signal("x", "s1", changed, sealing)


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        ["s1", "n", b"", "me"],
        ["s1", "n", "", "me", 1.0],
        ["s1", "n", b"", "me", 1],
        ("s1", "n", b"", "me", 1.0),
    ],
)
def test_other_content_is_damage(content: Any) -> None:
    with pytest.raises(StoreDamaged, match="is no signal"):
        unpack_signal(codec.encode(content), "it")
    with pytest.raises(StoreDamaged):
        unpack_signal(pack_signal(signal())[:-1], "it")
