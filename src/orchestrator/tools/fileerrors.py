"""What goes wrong with files, said so that one knows which and what next."""

from __future__ import annotations

import errno
import os
import stat

from orchestrator.errors import TaskError


def refused(message: str) -> TaskError:
    """Return the error for a path that may not be used."""
    return TaskError(message, kind="path", retryable=False)


def kind_of(mode: int) -> str:
    """Return what a file's mode tells it to be, with its article."""
    kinds = {
        stat.S_IFREG: "a file",
        stat.S_IFDIR: "a folder",
        stat.S_IFLNK: "a symlink",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")


def missing(path: str, what: str = "file") -> TaskError:
    """Return the error for something that is not there."""
    return TaskError(f"there is no {what} {path!r}", kind="not_found")  # it may come: worth a retry


def cancelled(what: str) -> TaskError:
    """Return the error that ends a function whose attempt was cancelled; nobody waits for it any more."""
    return TaskError(f"{what} was cancelled", kind="cancelled")


def os_refused(path: str, error: OSError) -> TaskError:
    """Translate what the system said about a path.

    Names it cannot hold and permissions are final; a full disk or an I/O error may pass, so they can be retried.
    """
    final = error.errno in (
        errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EINVAL, errno.EISDIR, errno.ENOTDIR, errno.ELOOP,
        errno.EILSEQ, errno.EROFS, errno.ENXIO, errno.ENOTEMPTY, errno.EEXIST,
    )  # fmt: skip
    kind = "path" if final else "io"
    return TaskError(f"{path!r}: {os.strerror(error.errno or 0)}", kind=kind, retryable=not final)
