"""What holds for executions holds for threads: they are encrypted, and move between stores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from langgraph.types import Command

from orchestrator.errors import StoreDamaged, StoreIncompatible
from orchestrator.integrations.langgraph import OrchestratorSaver
from orchestrator.state.encryption import new_key
from tests.integrations.graphs import chatting, counting, on, said
from tests.integrations.stores import put


async def test_threads_are_encrypted_where_keys_are_configured(
    sqlite_url: str, quick_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ENCRYPTION_KEYS", new_key("k1"))
    async with OrchestratorSaver(sqlite_url) as saver:
        await chatting(saver).ainvoke(said("attack at dawn"), on("the generals"))
        await put(saver, "long", {"text": "attack at dawn " * 500})
        for file in quick_path.rglob("*"):
            assert file.is_dir() or not any(word in file.read_bytes() for word in (b"dawn", b"generals"))
    async with OrchestratorSaver(sqlite_url) as saver:
        state = await chatting(saver).aget_state(on("the generals"))
        assert [each.content for each in state.values["messages"]] == ["attack at dawn", "1: attack at dawn"]
    monkeypatch.setenv("ORCHESTRATOR_ENCRYPTION_KEYS", new_key("k2"))
    async with OrchestratorSaver(sqlite_url) as saver:
        with pytest.raises((StoreDamaged, StoreIncompatible)):
            await saver.aget_tuple(on("long"))


def test_a_thread_goes_on_in_another_store(isolated: Path) -> None:
    effects: list[str] = []
    with OrchestratorSaver("sqlite:///here.db") as saver:
        counting(saver, effects).invoke({"done": [], "total": 0}, on("t"))
    stores = ["--from", "sqlite:///here.db", "--to", "sqlite:///there.db"]
    copied = subprocess.run(
        [sys.executable, "-m", "orchestrator", "copy", *stores],
        cwd=isolated,
        capture_output=True,
        text=True,
        check=False,
    )
    assert copied.returncode == 0, copied.stderr
    with OrchestratorSaver("sqlite:///there.db") as saver:
        ended = counting(saver, effects).invoke(Command(resume=20), on("t"))
    assert ended == {"done": ["first", "ask", "last"], "total": 42}
    assert effects == ["first", "ask", "last"]
