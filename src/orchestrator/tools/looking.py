"""Stand-in."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from orchestrator.domain.files import FileSeen, missing

if TYPE_CHECKING:
    from pathlib import Path


class LocalFiles:
    """See ports.files.Files."""

    def look(self, project: Path, path: str, known: FileSeen | None = None) -> FileSeen:
        """See ports.files.Files."""
        full = project / path
        if not full.is_file():
            return missing(path)
        stat = full.stat()
        if known is not None and (known.size, known.modified) == (stat.st_size, stat.st_mtime_ns):
            return known
        return FileSeen(path, stat.st_size, stat.st_mtime_ns, hashlib.sha256(full.read_bytes()).hexdigest())
