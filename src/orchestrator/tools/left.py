"""What executions leave in their own folders, and who else needs it: a fork, or an execution that took a result over.

Whoever needs files in the folder of another execution puts a mark into it, named after itself. The folder goes with the
last of them.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.tools.atomic import file_name
from orchestrator.tools.paths import STORE

if TYPE_CHECKING:
    from collections.abc import Sequence

_MARKS = ".held"
_GONE = ".gone"
"""The mark of a folder whose own execution was removed. No execution's file name begins with a dot."""


def folder(execution_id: str) -> str:
    """Return the folder for the files of an execution, relative to the project."""
    return f"{STORE}/data/{file_name(execution_id)}"


def hold(project: Path, paths: Sequence[str], execution_id: str) -> None:
    """Mark the folders of other executions that these files are in; durable on return, idempotent."""
    own = file_name(execution_id)
    names = {parts[2] for path in paths if len(parts := Path(path).parts) > 3 and parts[:2] == (STORE, "data")}  # noqa: PLR2004
    for name in sorted(names - {own}):
        marks = project / STORE / "data" / name / _MARKS
        with suppress(FileNotFoundError):  # the folder is gone, and its files with it
            marks.mkdir(exist_ok=True)
            (marks / own).touch()
            _sync(marks)
            _sync(marks.parent)


def forget(project: Path, execution_id: str) -> None:
    """Remove an execution's own folder, unless others hold files in it; let go of what it held itself."""
    own = file_name(execution_id)
    data = project / STORE / "data"
    mine = data / own
    if mine.is_dir():
        if _holders(mine):
            with suppress(OSError):
                (mine / _MARKS / _GONE).touch()
        else:
            shutil.rmtree(mine, ignore_errors=True)
    for mark in data.glob(f"*/{_MARKS}/{own}"):
        mark.unlink(missing_ok=True)
        other = mark.parent.parent
        if (mark.parent / _GONE).exists() and not _holders(other):
            shutil.rmtree(other, ignore_errors=True)


def _holders(place: Path) -> list[str]:
    with suppress(OSError):
        return [mark.name for mark in (place / _MARKS).iterdir() if mark.name != _GONE]
    return []


def _sync(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
