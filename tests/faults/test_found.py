"""What the sweeps have found: disk errors that ended in a traceback, or in a name that was never made durable."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import NoReturn

import apsw
import pytest

from orchestrator import Orchestrator, Task
from orchestrator.compiler.build import build
from orchestrator.domain.ids import TaskId
from orchestrator.errors import CheckpointUnreadable, StoreFull, StoreUnavailable
from orchestrator.state.sqlite import connection
from orchestrator.state.sqlite.connection import prepare_folder
from orchestrator.state.sqlite.locks import LockFiles


def _fails(number: int) -> NoReturn:
    raise OSError(number, os.strerror(number))


def test_an_error_while_the_store_is_made_is_the_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: _fails(errno.EIO))
    with pytest.raises(StoreUnavailable, match=r"cannot be used: .*Input/output error"):
        prepare_folder(tmp_path / "store.db")


def test_a_full_disk_while_the_store_is_made_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "sync_folder", lambda _folder: _fails(errno.ENOSPC))
    with pytest.raises(StoreFull, match="free some and resume"):
        prepare_folder(tmp_path / "store.db")


def test_an_empty_store_file_that_somebody_left_gets_a_durable_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(connection, "sync_folder", synced.append)
    (tmp_path / "store.db").touch()
    prepare_folder(tmp_path / "store.db")
    assert synced == [tmp_path]


def test_a_lock_file_that_cannot_be_removed_is_given_back_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = LockFiles(tmp_path / "locks")
    held = locks.acquire("e")
    assert held is not None
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", lambda *_, **__: _fails(errno.EIO))
        locks.release("e", held)
    assert not locks.is_held("e")
    assert locks.acquire("e") is not None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("UPDATE executions SET total = 7", r"the list says number of steps 7, the journal 1"),
        ("UPDATE executions SET created_at = 5", r"the list says time of creation 5\.0"),
        ("UPDATE executions SET pipeline_id = 'q'", r"the list says pipeline 'q'"),
        ("UPDATE journal SET at = 5", r"the list says time of the last change 5\.0"),
        ("DELETE FROM journal", r"its journal is empty"),
        ("INSERT INTO refs SELECT id, zeroblob(32) FROM executions", r"value 0{64}: missing"),
    ],
)
async def test_verify_notices_a_row_that_says_otherwise_than_the_journal(
    tmp_path: Path, change: str, complaint: str
) -> None:
    await one_execution(tmp_path)
    with apsw.Connection(str(tmp_path / "store.db")) as db:
        db.execute(change)
    async with orchestrator_on(tmp_path) as runner:
        assert any(re.search(complaint, problem) for problem in await runner.state_manager.verify())


async def test_an_execution_with_fewer_owners_than_its_journal_knows_is_not_resumed(tmp_path: Path) -> None:
    await one_execution(tmp_path)
    with apsw.Connection(str(tmp_path / "store.db")) as db:
        db.execute("UPDATE executions SET epoch = 0")
    async with orchestrator_on(tmp_path) as runner:
        with pytest.raises(CheckpointUnreadable, match=r"said to have had 0 owners, its journal knows of 1") as caught:
            await runner.resume_pipeline("e")
    assert caught.value.exit_code == 7


def orchestrator_on(folder: Path) -> Orchestrator:
    return Orchestrator(store=f"sqlite:///{folder}/store.db")


async def one_execution(folder: Path) -> None:
    pipeline = build(id="p", tasks=[Task(TaskId("t"), "shell", parameters={"command": ["true"]})])
    async with orchestrator_on(folder) as runner:
        await runner.run_pipeline(pipeline, {}, execution_id="e")
