"""The formats of archives, told by their names when written and by their first bytes when read."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any, Literal

from orchestrator.errors import TaskError

Format = Literal["zip", "tar", "tar.gz", "tar.zst"]

ENDINGS: dict[str, Format] = {
    ".zip": "zip",
    ".tar": "tar",
    ".tar.gz": "tar.gz",
    ".tgz": "tar.gz",
    ".tar.zst": "tar.zst",
    ".tzst": "tar.zst",
}
_MAGIC: tuple[tuple[bytes, Format], ...] = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x1f\x8b", "tar.gz"),
    (b"\x28\xb5\x2f\xfd", "tar.zst"),
)
_USTAR = slice(257, 262)
_BLOCK = 512


@cache
def zstd() -> Any:
    """Return the module for zstd: the standard library's, or its forerunner."""
    if sys.version_info >= (3, 14):
        from compression import zstd as module
    else:
        from backports import zstd as module
    return module


def by_name(path: str) -> Format:
    """Return the format that a file name tells; raise TaskError (kind ``format``) if it tells none."""
    for ending, found in ENDINGS.items():
        if path.lower().endswith(ending):
            return found
    raise TaskError(
        f"{path!r}: its ending tells no format; there are {', '.join(ENDINGS)}, or give `format`",
        kind="format",
        retryable=False,
    )


def by_content(head: bytes, path: str) -> Format:
    """Return the format that the first 512 bytes of a file tell; raise TaskError (kind ``archive``) if none."""
    for magic, found in _MAGIC:
        if head.startswith(magic):
            return found
    if head[_USTAR] == b"ustar" or (len(head) == _BLOCK and not any(head)):
        return "tar"
    raise damaged(path, "it is neither zip nor tar, tar.gz or tar.zst")


def damaged(path: str, reason: str) -> TaskError:
    """Return the error for an archive that cannot be read, or is not opened."""
    return TaskError(f"{path!r} is not opened: {reason}", kind="archive", retryable=False)
