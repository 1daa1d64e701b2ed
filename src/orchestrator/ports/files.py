"""How a plan looks at the files of the project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.domain.files import FileSeen


class Files(Protocol):
    """Looks at files; changes none."""

    def look(self, project: Path, path: str, known: FileSeen | None = None) -> FileSeen:
        """Return what is at ``path`` now: relative to ``project``, or absolute.

        With size and time of change as in ``known``, its digest is taken for the file's; else the content is read.
        What is not there, or no regular file, or cannot be read, is a missing file. A pattern (``data/*.csv``) that is
        no file's name is looked at as the list of the names that match it: their number is its size. Blocks; any
        thread.
        """

    def hold(self, project: Path, paths: Sequence[str], execution_id: str) -> None:
        """Keep these files, as far as they are what an execution left behind, for another one too; durable on return.

        Whoever removes an execution then leaves the files of it that others hold, until those are removed as well
        (I9). Idempotent. Files elsewhere are people's own, and nobody's to hold. Blocks; any thread.
        """
