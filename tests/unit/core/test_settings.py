from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import Orchestrator, UsageError
from orchestrator.settings import Settings, load_settings


def test_defaults(tmp_path: Path) -> None:
    assert load_settings() == Settings(tmp_path)
    assert Settings(tmp_path).store == "sqlite:///.orchestrator/store.db"


def test_a_file_is_found_in_the_folder_or_above(tmp_path: Path) -> None:
    (tmp_path / "orchestrator.toml").write_text(
        'store = "memory://x"\ndurability = "process"\nmax_concurrency = 4\ngrace = 2.5\n'
        'allow_paths = ["/data"]\nallow_modules = ["flights"]\n'
    )
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    expected = Settings(tmp_path, "memory://x", "process", 4, 2.5, ("/data",), ("flights",))
    assert load_settings(cwd=deep) == load_settings() == expected


def test_the_project_is_where_the_file_or_the_store_folder_is(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert load_settings(cwd=deep).project == deep
    (tmp_path / "a" / ".orchestrator").mkdir()
    assert load_settings(cwd=deep).project == tmp_path / "a"
    (tmp_path / "orchestrator.toml").write_text("")
    assert load_settings(cwd=deep).project == tmp_path


def test_argument_before_environment_before_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "orchestrator.toml").write_text('store = "memory://file"')
    assert Orchestrator().store_url == "memory://file"
    monkeypatch.setenv("ORCHESTRATOR_STORE", "memory://environment")
    assert Orchestrator().store_url == "memory://environment"
    assert Orchestrator("memory://argument").store_url == "memory://argument"
    assert load_settings(store="memory://argument").store == "memory://argument"
    assert load_settings(environ={}).store == "memory://file"
    assert load_settings(environ={"ORCHESTRATOR_STORE": ""}).store == "memory://file"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("store = 1", "store: expected a text, got 1"),
        ("storage = 'x'", "unknown setting 'storage' \\(there are allow_hosts, .*store\\)"),
        ("durability = 'none'", "durability: expected 'full' or 'process', got 'none'"),
        ("max_concurrency = 0", "max_concurrency: expected 1 or more, got 0"),
        ("max_concurrency = true", "max_concurrency: expected a whole number, got True"),
        ("max_concurrency = 1.5", "max_concurrency: expected a whole number, got 1.5"),
        ("grace = -1", "grace: expected seconds, 0 or more, got -1"),
        ("grace = inf", "grace: expected seconds, 0 or more, got inf"),
        ("grace = nan", "grace: expected seconds, 0 or more, got nan"),
        ("allow_hosts = true", "allow_hosts: expected a list of texts"),
        ("allow_paths = [1]", "allow_paths: expected a list of texts"),
        ("allow_modules = 'x'", "allow_modules: expected a list of texts, got 'x'"),
        ("this is no toml", "orchestrator.toml: not TOML: "),
    ],
)
def test_mistakes_name_the_file_and_the_key(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "orchestrator.toml").write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        load_settings()
    assert str(tmp_path / "orchestrator.toml") in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "orchestrator.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"orchestrator\.toml"):
        load_settings()


@pytest.mark.parametrize("url", ["", "x", "mysql://u:secret@h/d", "sqlite://", "sqlite://host/x", "sqlite:///x?y=1"])
async def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(UsageError, match="not a store") as caught:
        await Orchestrator(url).list_executions()
    assert "secret" not in str(caught.value)


async def test_relative_store_paths_are_meant_from_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "orchestrator.toml").write_text('store = "sqlite:///here/s.db"')
    deep = tmp_path / "deep"
    deep.mkdir()
    monkeypatch.chdir(deep)
    async with Orchestrator() as orchestrator:
        assert await orchestrator.state_manager.is_healthy()
    assert (tmp_path / "here" / "s.db").exists()
