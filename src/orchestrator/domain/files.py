"""Files as a step met them."""

from __future__ import annotations

from typing import NamedTuple


class FileSeen(NamedTuple):
    """A file at a moment: ``path`` is relative to the project with ``/``, or absolute outside of it.

    ``size`` is in bytes, ``modified`` in nanoseconds since 1970 as the file system tells it, ``digest`` the SHA-256 in
    hexadecimal. A file that is not there has size -1 and no digest.
    """

    path: str
    size: int
    modified: int
    digest: str

    @property
    def there(self) -> bool:
        """Whether there was a file."""
        return self.size >= 0

    def same(self, other: FileSeen) -> bool:
        """Whether both are the same content, or both are no file."""
        return self.digest == other.digest and self.there == other.there


class Trace(NamedTuple):
    """What an attempt read and wrote besides its parameters and its result (see TaskTraced)."""

    reads: tuple[FileSeen, ...] = ()
    writes: tuple[FileSeen, ...] = ()
    inputs: bool = False


def missing(path: str) -> FileSeen:
    """Return what is seen where there is no file."""
    return FileSeen(path, -1, 0, "")
