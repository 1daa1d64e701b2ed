"""What the sweeps have found: disk errors that ended in a traceback, or in a name that was never made durable."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from orchestrator.errors import StoreFull, StoreUnavailable
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
