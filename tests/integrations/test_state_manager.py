"""StateManager by itself, on each store, by URL and by name; and what is said of stores that are none."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import NoCheckpoint, Orchestrator, StateManager, StoreError, UsageError
from orchestrator.integrations.langgraph import OrchestratorSaver
from orchestrator.settings import load_settings


async def test_all_of_it_on_each_store(store_url: str) -> None:
    async with StateManager(store_url) as manager:
        first = await manager.save_checkpoint("mine", {"page": 1, "rows": ["x" * 3_000]}, {"by": "hand"})
        second = await manager.save_checkpoint("mine", {"page": 2})
        assert (await manager.restore_checkpoint(first))["state"] == {"page": 1, "rows": ["x" * 3_000]}
        assert (await manager.restore_checkpoint("mine"))["state"] == {"page": 2}
    async with StateManager(store_url) as manager, Orchestrator(store_url) as orchestrator:
        listed = await manager.list_checkpoints("mine")
        assert [entry["checkpoint_id"] for entry in listed] == [second, first, "mine@1"]
        assert listed[1]["metadata"]["by"] == "hand"
        assert listed == await orchestrator.state_manager.list_checkpoints("mine")
        assert await manager.delete_checkpoint(first)
        assert len(await manager.list_checkpoints("mine")) == 2
        assert await manager.is_healthy()
        assert await manager.verify() == []
        assert (await manager.get_statistics())["executions"] == 1
        assert await manager.cleanup() == []
        await manager.remove(["mine"])
        with pytest.raises(NoCheckpoint):
            await manager.restore_checkpoint("mine")


@pytest.mark.parametrize(
    ("name", "variable", "url"),
    [
        ("file", None, "sqlite:///.orchestrator/store.db"),
        ("memory", None, "memory://"),
        ("redis", None, "redis://localhost:6379/0"),
        ("redis", ("ORCHESTRATOR_REDIS_URL", "redis://cache:1/2"), "redis://cache:1/2"),
        ("postgres", None, "postgresql://localhost/orchestrator"),
        ("postgres", ("ORCHESTRATOR_POSTGRES_URL", "postgresql://db/x"), "postgresql://db/x"),
        ("sqlite:///redis", None, "sqlite:///redis"),
    ],
)
def test_names_stand_for_urls_everywhere(
    name: str, variable: tuple[str, str] | None, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable is not None:
        monkeypatch.setenv(*variable)
    assert Orchestrator(name).store_url == url
    assert load_settings(store=name).store == url
    monkeypatch.setenv("ORCHESTRATOR_STORE", name)
    assert Orchestrator().store_url == url
    monkeypatch.delenv("ORCHESTRATOR_STORE")
    Path("orchestrator.toml").write_text(f'store = "{name}"\n')
    assert Orchestrator().store_url == url


async def test_a_backend_is_the_store_of_that_name(isolated: Path) -> None:
    async with StateManager(backend="file") as manager:
        await manager.save_checkpoint("mine", {"page": 1})
    async with Orchestrator() as orchestrator, StateManager() as manager:
        assert (isolated / ".orchestrator" / "store.db").exists()
        assert len(await orchestrator.state_manager.list_checkpoints("mine")) == 2
        assert manager.url == orchestrator.state_manager.url


@pytest.mark.parametrize(
    ("store", "said"),
    [
        ("postgress", "did you mean 'postgres'?"),
        ("Redis", "did you mean 'redis'?"),
        ("sqlit:///x.db", "did you mean 'sqlite://'?"),
        ("reddis://user:hunter2@host/0", "did you mean 'redis://'?"),
        ("mysql://host", "expected sqlite:///"),
        ("redis://[hunter2", "not a store"),
        ("", "expected sqlite:///"),
    ],
)
async def test_what_is_no_store_is_told_with_what_was_meant(store: str, said: str) -> None:
    manager = StateManager(store)
    with pytest.raises(UsageError, match="not a store") as refused:
        await manager.list_checkpoints("x")
    assert said in str(refused.value)
    assert "hunter2@" not in str(refused.value)


def test_a_backend_is_a_name() -> None:
    with pytest.raises(UsageError, match=r"'postgresql' \(did you mean 'postgres'\?\); there are file"):
        StateManager(backend="postgresql")
    with pytest.raises(UsageError, match="not from both"):
        StateManager("memory://", backend="memory")


@pytest.fixture
def silent() -> Iterator[int]:
    """Return a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


SERVERS = ["redis", pytest.param("postgresql", marks=pytest.mark.slow)]
"""PostgreSQL is waited for: a server that restarts comes back."""


@pytest.mark.parametrize("scheme", SERVERS)
async def test_a_server_that_does_not_answer_is_told_in_time(scheme: str, silent: int) -> None:
    url = f"{scheme}://user:hunter2@127.0.0.1:{silent}/0"
    began = time.monotonic()
    async with StateManager(url) as manager:
        assert not await manager.is_healthy()
        with pytest.raises(StoreError) as refused:
            await manager.list_checkpoints("mine")
    with OrchestratorSaver(url) as saver, pytest.raises(StoreError):
        saver.get_tuple({"configurable": {"thread_id": "t"}})
    assert time.monotonic() - began < 30
    assert f"127.0.0.1:{silent}" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("scheme", SERVERS)
def test_so_it_is_on_the_command_line(scheme: str, silent: int) -> None:
    url = f"{scheme}://user:hunter2@127.0.0.1:{silent}/0"
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", "list", "--store", url], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 6
    assert f"127.0.0.1:{silent}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "hunter2" not in ended.stderr
