"""Ownership on one host: the kernel's lock on a file per execution, freed at the owner's death."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class LockFiles:
    """Lock files in a folder, named by a hash of the execution id (ids never become paths)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, execution_id: str) -> Path:
        name = hashlib.blake2b(execution_id.encode(), digest_size=16).hexdigest()
        return self._folder / f"{name}.lock"

    def acquire(self, execution_id: str) -> int | None:
        """Take the lock and return its file descriptor; None if another holds it.

        The file may be unlinked between our open and our lock; then the lock is worth nothing and we try again.
        """
        path = self._path(execution_id)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return None
            except BaseException:
                os.close(fd)
                raise
            try:
                if os.path.samestat(os.fstat(fd), path.stat()):
                    return fd
            except FileNotFoundError:
                pass
            os.close(fd)

    def release(self, execution_id: str, fd: int) -> None:
        """Give the lock back and remove its file, in this order of effect: nobody can hold a removed file's lock.

        A file that cannot be removed stays: it is the lock that counts, and the next owner takes the file over.
        """
        with contextlib.suppress(OSError):
            self._path(execution_id).unlink(missing_ok=True)
        os.close(fd)

    def is_held(self, execution_id: str) -> bool:
        """Tell whether somebody holds the lock now."""
        try:
            fd = os.open(self._path(execution_id), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False
