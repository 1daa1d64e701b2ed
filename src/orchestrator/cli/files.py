"""Files that a command writes for its user: whole or not at all, whoever reads or kills meanwhile."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def replace_file(path: Path, data: bytes) -> None:
    """Write a file beside its place, sync it, and rename it there; a link stays and what it leads to is replaced.

    Permissions are kept. Raises UsageError, with the file as it was, if it cannot be written.
    """
    try:
        place = path.resolve(strict=False)
        mode = place.stat().st_mode & 0o777 if place.exists() else 0o666 & ~_umask()
        descriptor, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name[:100]}-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            os.replace(name, place)  # noqa: PTH105 - of two names, one of them no Path
        except BaseException:
            with suppress(OSError):
                os.unlink(name)  # noqa: PTH108
            raise
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links that lead in a circle
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path} cannot be written: {reason}") from error


def _umask() -> int:
    """Return the mask for new files; the only way to ask is to set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
