"""How a plan looks at the files of the project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.domain.files import FileSeen


class Files(Protocol):
    """Looks at files; changes none."""

    def look(self, project: Path, path: str, known: FileSeen | None = None) -> FileSeen:
        """Return what is at ``path`` now: relative to ``project``, or absolute.

        With size and time of change as in ``known``, its digest is taken for the file's; else the content is read.
        What is not there, or no regular file, or cannot be read, is a missing file. Blocks; any thread.
        """
