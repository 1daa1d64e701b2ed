"""What an encrypted store gives away to somebody who has its files, but no key."""

from __future__ import annotations

import base64
import random
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import redis
from psycopg import sql

import orchestrator as orc
from orchestrator import ExecutionFailed, Orchestrator, TaskContext
from orchestrator.cli import main
from orchestrator.errors import CheckpointUnreadable, UsageError
from orchestrator.state import records
from orchestrator.state.encryption import new_key
from orchestrator.state.postgres import parse_target
from orchestrator.tools.registry import ToolRegistry

PARTS = ("input", "parameter", "result", "large", "error", "progress", "saved", "metadata", "state")
CANARIES = {part: f"canary-{part}-{random.Random(part).randbytes(6).hex()}" for part in PARTS}
NOISE = random.Random(1).randbytes(400_000)


async def give(word: str) -> Any:
    return {
        "word": word,
        "result": CANARIES["result"],
        "large": NOISE[:200_000] + CANARIES["large"].encode() + NOISE[200_000:],
    }


async def fail(context: TaskContext) -> None:
    context.progress(1, 2, CANARIES["progress"])
    context.save({"at": CANARIES["saved"]})
    raise ValueError(CANARIES["error"])


async def fill(orchestrator: Orchestrator, tools: ToolRegistry) -> None:
    parameters = {"word": "{{ inputs.word }} " + CANARIES["parameter"]}
    steps = [{"id": "a", "tool": "give", "parameters": parameters}, {"id": "b", "tool": "fail", "depends_on": "a"}]
    document = {"id": "readable-name", "inputs": {"word": {"type": "string"}}, "steps": steps}
    pipeline = orc.Pipeline.from_dict(document, tools=tools).definition
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(pipeline, {"word": CANARIES["input"]}, execution_id="readable-id")
    manager = orchestrator.state_manager
    await manager.save_checkpoint("kept", {"state": CANARIES["state"]}, {"metadata": CANARIES["metadata"]})


def files_of(folder: Path) -> list[bytes]:
    """Return every file's bytes."""
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.parent.name != "logs"]


def in_postgres(url: str) -> list[bytes]:
    """Return every table's rows as they are dumped, and what of them is bytes as it is."""
    target = parse_target(url, durable=True)
    dumped: list[bytes] = []
    with psycopg.connect(target.conninfo, autocommit=True) as db:
        tables = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (target.schema,)).fetchall()
        assert len(tables) >= 7
        for (table,) in tables:
            name = sql.Identifier(target.schema, table)
            with db.cursor().copy(sql.SQL("COPY {} TO STDOUT").format(name)) as copy:
                dumped.append(b"".join(copy))
            rows = db.execute(sql.SQL("SELECT * FROM {}").format(name)).fetchall()
            dumped += [field for row in rows for field in row if isinstance(field, bytes)]
    return dumped


def in_redis(url: str) -> list[bytes]:
    """Return every key of the store with all that lies under it."""
    prefix = parse_qs(urlsplit(url).query)["prefix"][0]
    everything: list[bytes] = []
    with redis.Redis.from_url(url.partition("?")[0]) as client:
        for key in client.scan_iter(f"*{prefix}*", count=1000):
            everything.append(key)
            command = {
                b"hash": lambda key: [part for pair in client.hgetall(key).items() for part in pair],
                b"list": lambda key: client.lrange(key, 0, -1),
                b"set": client.smembers,
                b"zset": lambda key: client.zrange(key, 0, -1),
            }[client.type(key)]
            everything += command(key)
    return everything


def content_of(url: str) -> list[bytes]:
    """Return all that a store holds, as somebody sees it who has its disk or its server."""
    if url.startswith("sqlite"):
        return files_of(Path(url.removeprefix("sqlite:///")).parent)
    return in_redis(url) if url.startswith("redis") else in_postgres(url)


def found(content: list[bytes]) -> set[str]:
    """Return the canaries that lie in it, raw, as base64 at any of its three offsets, or as hex."""
    assert sum(map(len, content)) > 400_000
    seen = set()
    for part, canary in CANARIES.items():
        raw = canary.encode()
        shapes = [raw, raw.hex().encode(), raw.hex().upper().encode()]
        shapes += [base64.b64encode(b"\0" * pad + raw)[pad + 1 : -4] for pad in range(3)]
        if any(shape in piece for shape in shapes for piece in content):
            seen.add(part)
    return seen


@pytest.fixture
def tools() -> ToolRegistry:
    registry = ToolRegistry(sources=[])
    for function in (give, fail):
        registry.register(function.__name__, function)
    return registry


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    made = new_key("k1")
    monkeypatch.setenv("ORCHESTRATOR_ENCRYPTION_KEYS", made)
    return made


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def places(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return the URLs of two empty stores of a kind."""
    if request.param == "sqlite":
        return "sqlite:///encrypted/store.db", "sqlite:///plain/store.db"
    if request.param == "redis":
        url = request.getfixturevalue("redis_place").url
        return url, f"{url}-plain"
    return request.getfixturevalue("postgres_emptied_url"), request.getfixturevalue("postgres_url")


async def test_no_canary_is_found_in_database_log_or_blobs(
    places: tuple[str, str], tools: ToolRegistry, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, plain = places
    async with Orchestrator(url, tools=tools) as orchestrator:
        await fill(orchestrator, tools)
        assert not url.startswith("sqlite") or Path("encrypted/store.db-wal").stat().st_size > 0
        assert found(content_of(url)) == set()
    content = content_of(url)
    assert found(content) == set()
    for name in (b"readable-id", b"readable-name"):
        assert any(name in piece for piece in content)
    assert not any(key.partition(":")[2].encode() in piece for piece in content)

    # The search can find: without keys, and without compression, which would hide some of them as well.
    monkeypatch.delenv("ORCHESTRATOR_ENCRYPTION_KEYS")
    monkeypatch.setattr(records, "THRESHOLD", 1 << 30)
    async with Orchestrator(plain, tools=tools) as orchestrator:
        await fill(orchestrator, tools)
    assert found(content_of(plain)) == set(PARTS)


@pytest.mark.usefixtures("key")
async def test_what_was_encrypted_reads_the_same(tools: ToolRegistry) -> None:
    async with Orchestrator(tools=tools) as orchestrator:
        await fill(orchestrator, tools)
    async with Orchestrator(tools=tools) as orchestrator:
        _, state = await orchestrator.resume_manager.get_resume_state("readable-id")
        result = state.task_results["a"]
        assert result["word"] == f"{CANARIES['input']} {CANARIES['parameter']}"
        assert CANARIES["large"].encode() in result["large"]
        assert await orchestrator.state_manager.verify() == []


async def test_a_store_and_its_configuration_that_disagree(
    tools: ToolRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Orchestrator(tools=tools) as orchestrator:
        await fill(orchestrator, tools)
    monkeypatch.setenv("ORCHESTRATOR_ENCRYPTION_KEYS", new_key("k1"))
    async with Orchestrator(tools=tools) as orchestrator:
        summaries = await orchestrator.list_executions()
        assert {summary.execution_id for summary in summaries} == {"readable-id", "kept"}
        with pytest.raises(CheckpointUnreadable, match="is not encrypted, and with keys configured") as caught:
            await orchestrator.resume_pipeline("readable-id")
        assert caught.value.exit_code == 8
    async with Orchestrator("sqlite:///other.db", tools=tools) as orchestrator:
        await fill(orchestrator, tools)
    monkeypatch.delenv("ORCHESTRATOR_ENCRYPTION_KEYS")
    async with Orchestrator("sqlite:///other.db", tools=tools) as orchestrator:
        with pytest.raises(CheckpointUnreadable, match="is encrypted, and no keys are configured: set ORCH"):
            await orchestrator.resume_pipeline("readable-id")
    Path("orchestrator.toml").write_text("require_encryption = true")
    with pytest.raises(UsageError, match="there are no keys"):
        await Orchestrator(tools=tools).list_executions()


@pytest.mark.usefixtures("key")
async def test_steps_do_not_find_the_keys_in_their_environment(tmp_path: Path) -> None:
    look = {"id": "look", "tool": "shell", "parameters": {"command": ["env"]}}
    pipeline = orc.Pipeline.from_dict({"id": "p", "steps": [look], "outputs": {"env": "{{ look.result.stdout }}"}})
    async with Orchestrator() as orchestrator:
        result = await orchestrator.run_pipeline(pipeline)
    assert "ORCHESTRATOR_TASK_ID=look" in result.outputs["env"]
    assert "ENCRYPTION" not in result.outputs["env"]
    assert not any("ENCRYPTION" in path.read_text() for path in (tmp_path / ".orchestrator" / "logs").rglob("*.log"))


def test_doctor_tells_whether_encryption_is_on(key: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    shown = capfd.readouterr().out
    assert "on: writes with key k1 (from ORCHESTRATOR_ENCRYPTION_KEYS)" in shown
    assert key.partition(":")[2] not in shown
    Path("orchestrator.toml").write_text(f'encryption_command = ["echo", "{key}"]')
    assert main(["doctor"]) == 0
    assert key.partition(":")[2] not in capfd.readouterr().out


def test_doctor_tells_what_is_wrong_with_the_keys(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor"]) == 0
    assert "off: whoever can read the store's files" in capfd.readouterr().out
    monkeypatch.setenv("ORCHESTRATOR_ENCRYPTION_KEYS", "k1:c2VjcmV0")
    assert main(["doctor"]) == 6
    shown = capfd.readouterr().out
    assert "key 'k1' has 6 bytes" in shown
    assert "c2VjcmV0" not in shown


def test_the_key_command(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "--id", "autumn"]) == 0
    assert capfd.readouterr().out.startswith("autumn:")
    assert main(["key"]) == 0
    assert capfd.readouterr().out.startswith("20")
    assert main(["key", "--id", "no id"]) == 2
    assert "not a key's id" in capfd.readouterr().err
