"""Stores and exports of every format ever released open, verify, and go on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator import ExecutionFailed, Orchestrator
from orchestrator.cli import main
from orchestrator.settings import KEYS_VARIABLE
from tests.golden.content import BIG, CACHED, EXECUTION, KEY, MIDDLE, SIGNAL, VALUES, pipeline, registry
from tests.golden.make import PRESENT

KINDS = ("format", "encrypted", "export")
FORMATS = sorted(path for path in Path(__file__).parent.iterdir() if path.is_dir() and path.name.startswith(KINDS))


def test_the_present_formats_have_their_golden_files() -> None:
    """A new format comes with a new golden file."""
    assert set(PRESENT) <= {path.name for path in FORMATS}


@pytest.fixture(params=FORMATS, ids=lambda path: path.name)
async def orchestrator(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Orchestrator]:
    """Return an orchestrator on a copy of a golden store, or on what a golden export was imported into."""
    golden, copy = request.param, tmp_path / "golden"
    url = f"sqlite:///{copy}/store.db"
    if golden.name.startswith("encrypted"):
        monkeypatch.setenv(KEYS_VARIABLE, KEY)
    if golden.name.startswith("export"):
        assert await asyncio.to_thread(main, ["import", str(golden / "all.orc"), "--store", url]) == 0
    else:
        shutil.copytree(golden, copy)
        copy.chmod(0o700)
        (copy / "store.db").chmod(0o600)
    async with Orchestrator(store=url, tools=registry()) as opened:
        yield opened


async def test_every_value_comes_back(orchestrator: Orchestrator) -> None:
    """Values inline, in rows and in files are what they were, type for type."""
    values = await orchestrator.get_result(EXECUTION, "values")
    assert values == VALUES
    assert {name: type(value) for name, value in values.items()} == {
        name: type(value) for name, value in VALUES.items()
    }
    assert await orchestrator.get_result(EXECUTION, "middle") == MIDDLE
    assert await orchestrator.get_result(EXECUTION, "big") == BIG
    assert await orchestrator.get_result(EXECUTION, "echoed") == (1, (2, 3))
    assert await orchestrator.get_result(EXECUTION, "flaky") == 2  # what its second attempt saved


async def test_what_was_cached_is_recalled(orchestrator: Orchestrator, request: pytest.FixtureRequest) -> None:
    """Stores that had no cache have an empty one; exports carry none."""
    had_none = request.node.callspec.id in ("format1", "format2", "encrypted2") or "export" in request.node.callspec.id
    store = orchestrator._adapters.store
    assert await store.recall(CACHED.fingerprint) == (None if had_none else CACHED)
    await store.remember(EXECUTION, CACHED)
    assert await store.recall(CACHED.fingerprint) == CACHED


async def test_what_was_sent_is_still_unread(orchestrator: Orchestrator, request: pytest.FixtureRequest) -> None:
    """Stores and exports from before there were signals have an empty mailbox, into which one can be put."""
    had_none = request.node.callspec.id in ("format1", "format2", "format3", "encrypted2", "export1")
    store = orchestrator._adapters.store
    assert await store.signals(EXECUTION) == ([] if had_none else [SIGNAL])
    await store.send(EXECUTION, SIGNAL)
    assert await store.signals(EXECUTION) == [SIGNAL]


async def test_it_verifies(orchestrator: Orchestrator) -> None:
    """Every promise holds for it."""
    assert await orchestrator.state_manager.verify() == []


async def test_the_definition_is_what_it_was(orchestrator: Orchestrator) -> None:
    """The recorded pipeline equals the one it was made from."""
    recorded, state = await orchestrator.resume_manager.get_resume_state(EXECUTION)
    assert recorded == pipeline(registry()).definition
    assert state.completed_tasks == {"values", "middle", "big", "flaky", "skipped", "echoed"}
    assert state.failed_tasks == {"fails": 2}
    assert state.inputs == {"who": "Ada", "many": [1, 2]}
    assert state.context == {"user": "ada"}


async def test_it_goes_on(orchestrator: Orchestrator) -> None:
    """A resume reuses what is recorded, and the other executions are there."""
    with pytest.raises(ExecutionFailed) as caught:
        await orchestrator.resume_pipeline(EXECUTION)
    assert caught.value.failures == {"fails": "always"}
    assert (await orchestrator.resume_pipeline(EXECUTION, skip=["fails"])).outputs == {
        "echoed": (1, (2, 3)),
        "who": "Ada",
    }
    _pipeline, by_hand = await orchestrator.resume_manager.get_resume_state("by-hand")
    assert by_hand.task_results == {"values": "by hand"}
    assert by_hand.failed_tasks == {"flaky": 2}
    assert (await orchestrator.state_manager.restore_checkpoint("foreign"))["state"] == {"step": 3}
