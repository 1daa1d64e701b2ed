"""Where the stores of trials live: one kind of ground for each kind of store.

A trial has a folder for its logs. Its store is in that folder, or in a place of its own on a server that all trials of
a campaign share. A copy of the store is taken at each kill without a line of the product's code, for the judge to open.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from chaos.checks import STORE


class Ground(Protocol):
    """What a trial asks of the place where its store is.

    ``lease`` is how long the processes of a trial own an execution without being heard of, in seconds; 0 where that
    does not matter, because what a killed owner had is free at once.
    """

    kind: str
    lease: float

    def url(self, folder: Path, durability: str = "full") -> str:
        """Return the URL of the store of the trial in ``folder``; it need not exist yet."""

    def copy(self, folder: Path, number: int) -> str:
        """Copy the store while none of the trial's processes is at work on it; return the copy's URL."""

    def clear(self, folder: Path) -> None:
        """Remove the store and its copies."""


class Files:
    """Stores in SQLite, each in the folder of its trial: whoever removes that removes them."""

    kind = "sqlite"
    lease = 0.0

    def url(self, folder: Path, durability: str = "full") -> str:
        """See Ground."""
        return f"sqlite:///{folder}/{STORE}?durability={durability}"

    def copy(self, folder: Path, number: int) -> str:
        """See Ground."""
        target = folder / f"snapshot-{number}"
        target.mkdir()
        for suffix in ("", "-wal", "-blobs"):
            source = folder / f"{STORE}{suffix}"
            if source.is_dir():
                with suppress(FileNotFoundError):
                    shutil.copytree(source, target / source.name)
            elif source.exists():
                shutil.copy(source, target / source.name)
        return self.url(target, "process")

    def clear(self, folder: Path) -> None:
        """See Ground."""


FILES = Files()
