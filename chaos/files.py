"""Every file call that a process makes on its store, seen and disturbed: SQLite's by a VFS, the others by ``os``.

Both are portable. A call is one of ``open``, ``read``, ``write``, ``truncate``, ``sync``, ``delete``, ``rename``,
``mkdir``; an ``Observer`` hears of each before it is made and when it is done. Memory maps (the WAL's index, which
nothing has to survive) and locks are not calls on files here.
"""

from __future__ import annotations

import errno
import io
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import apsw

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "watched"


class Call(NamedTuple):
    """A call on a file: its path, for a write its offset (None: at the end) and data, for a rename its target."""

    what: str
    path: str
    offset: int | None = None
    data: bytes = b""
    target: str = ""


class Observer(Protocol):
    """Hears of calls."""

    def before(self, call: Call) -> None:
        """Hear of a call that is about to be made; may raise OSError, or kill the process."""

    def after(self, call: Call) -> None:
        """Hear of a call that was made."""


class _File(apsw.VFSFile):
    def __init__(self, observer: Observer, base: str, name: Any, flags: list[int]) -> None:
        self._observer = observer
        self._path = name.filename() if isinstance(name, apsw.URIFilename) else str(name or "")
        creates = bool(flags[0] & apsw.SQLITE_OPEN_CREATE) and not Path(self._path).exists()
        call = Call("open", self._path, data=b"new" if creates else b"")
        _sqlite(observer.before, call, apsw.SQLITE_IOERR_ACCESS)
        super().__init__(base, name, flags)
        observer.after(call)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802 - SQLite's names
        _sqlite(self._observer.before, Call("read", self._path, offset), apsw.SQLITE_IOERR_READ)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        call = Call("write", self._path, offset, bytes(data))
        try:
            _sqlite(self._observer.before, call, apsw.SQLITE_IOERR_WRITE)
        except Torn:
            super().xWrite(call.data[: len(call.data) // 2], offset)
            _die()
        super().xWrite(data, offset)
        self._observer.after(call)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        call = Call("truncate", self._path, size)
        _sqlite(self._observer.before, call, apsw.SQLITE_IOERR_TRUNCATE)
        super().xTruncate(size)
        self._observer.after(call)

    def xSync(self, flags: int) -> None:  # noqa: N802
        call = Call("sync", self._path)
        _sqlite(self._observer.before, call, apsw.SQLITE_IOERR_FSYNC)
        super().xSync(flags)
        self._observer.after(call)


class _Files(apsw.VFS):
    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._base = apsw.vfs_names()[0]
        super().__init__(NAME, "", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self._observer, self._base, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802, FBT001
        call = Call("delete", filename, data=b"sync" if syncdir else b"")
        _sqlite(self._observer.before, call, apsw.SQLITE_IOERR_DELETE)
        super().xDelete(filename, syncdir)
        self._observer.after(call)


class Torn(BaseException):
    """Raised by an observer before a write: half of it is to be made, then the process dies."""


def _sqlite(hear: Callable[[Call], None], call: Call, code: int) -> None:
    """Let the observer hear of a call, and turn its OSError into what SQLite takes for the same."""
    try:
        hear(call)
    except OSError as error:
        full = error.errno == errno.ENOSPC
        failure: Any = apsw.FullError("database or disk is full") if full else apsw.IOError("disk I/O error")
        failure.extendedresult = apsw.SQLITE_FULL if full else code
        raise failure from error


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _System:
    """The functions of ``os`` by which blobs and lock files are written, watched below one folder."""

    def __init__(self, observer: Observer, store: str) -> None:
        self._observer = observer
        self._store = store
        self._paths: dict[int, str] = {}
        self._real = {
            name: getattr(os, name) for name in ("open", "write", "fsync", "close", "replace", "unlink", "mkdir")
        }
        self._io_open = io.open

    def install(self) -> None:
        for name in self._real:
            setattr(os, name, getattr(self, name))
        vars(io)["open"] = self.io_open

    def _mine(self, path: Any) -> str | None:
        try:
            text = os.fspath(path)
        except TypeError:
            return None
        # The store's own files, and the folder they lie in: a sync of that makes their names durable.
        found = isinstance(text, str) and (text.startswith(self._store) or text == str(Path(self._store).parent))
        return text if found else None

    def open(self, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        mine = self._mine(path)
        if mine is None:
            return int(self._real["open"](path, flags, mode, dir_fd=dir_fd))
        call = Call("open", mine, data=b"new" if flags & os.O_CREAT and not Path(mine).exists() else b"")
        self._observer.before(call)
        descriptor = int(self._real["open"](path, flags, mode, dir_fd=dir_fd))
        self._paths[descriptor] = mine
        self._observer.after(call)
        return descriptor

    def close(self, descriptor: int) -> None:
        self._paths.pop(descriptor, None)
        self._real["close"](descriptor)

    def write(self, descriptor: int, data: Any) -> int:
        path = self._paths.get(descriptor)
        if path is None:
            return int(self._real["write"](descriptor, data))
        call = Call("write", path, None, bytes(data))
        try:
            self._observer.before(call)
        except Torn:
            self._real["write"](descriptor, call.data[: len(call.data) // 2])
            _die()
        written = int(self._real["write"](descriptor, data))
        self._observer.after(call)
        return written

    def fsync(self, descriptor: int) -> None:
        path = self._paths.get(descriptor)
        if path is None:
            self._real["fsync"](descriptor)
            return
        self._around(Call("sync", path), "fsync", descriptor)

    def replace(self, source: Any, target: Any, **keywords: Any) -> None:
        mine = self._mine(source)
        if mine is None:
            self._real["replace"](source, target, **keywords)
            return
        self._around(Call("rename", mine, target=os.fspath(target)), "replace", source, target)

    def unlink(self, path: Any, **keywords: Any) -> None:
        mine = self._mine(path)
        if mine is None:
            self._real["unlink"](path, **keywords)
            return
        self._around(Call("delete", mine), "unlink", path)

    def mkdir(self, path: Any, *arguments: Any, **keywords: Any) -> None:
        mine = self._mine(path)
        if mine is None:
            self._real["mkdir"](path, *arguments, **keywords)
            return
        self._around(Call("mkdir", mine), "mkdir", path, *arguments, **keywords)

    def io_open(self, file: Any, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        mine = self._mine(file)
        if mine is not None and "r" in mode:
            self._observer.before(Call("read", mine))
        return self._io_open(file, mode, *arguments, **keywords)

    def _around(self, call: Call, name: str, *arguments: Any, **keywords: Any) -> None:
        self._observer.before(call)
        self._real[name](*arguments, **keywords)
        self._observer.after(call)


_installed: list[Any] = []


def watch(observer: Observer, store: Path) -> None:
    """Let the observer hear of every file call on the store from now on; for the rest of this process."""
    system = _System(observer, str(store))
    system.install()
    _installed.extend((_Files(observer), system))


class Fault:
    """An observer that disturbs one call: ``KIND:N``, the N-th (from 1) of those that the kind is about.

    ``eio`` and ``enospc`` fail it, with a ``+`` also every one after it; ``torn`` makes half of a write and kills the
    process; ``kill`` kills it before the call, ``after`` when the call is done; ``count`` only counts.
    """

    KINDS = ("eio", "eio+", "enospc", "enospc+", "torn", "kill", "after")

    def __init__(self, order: str) -> None:
        self._kind, _, number = order.partition(":")
        self._number = int(number)
        self.seen = 0
        self.fired = False
        self._struck: Call | None = None  # by identity: other threads make calls of their own meanwhile

    def _counts(self, call: Call) -> bool:
        if self._kind == "torn":
            return call.what == "write"
        if self._kind.startswith("enospc"):
            return call.what in ("write", "mkdir") or (call.what == "open" and call.data == b"new")
        return self._kind not in ("kill", "after") or call.what not in ("read", "open")

    def before(self, call: Call) -> None:
        """See Observer."""
        if not self._counts(call):
            return
        self.seen += 1
        due = self.seen == self._number or (self._kind.endswith("+") and self.seen > self._number)
        if not due or self._kind == "count":
            return
        if self._kind == "after":
            self._struck = call
            return
        self.fired = True
        if self._kind == "torn":
            raise Torn
        if self._kind == "kill":
            _die()
        number = errno.ENOSPC if self._kind.startswith("enospc") else errno.EIO
        raise OSError(number, os.strerror(number), call.path)

    def after(self, call: Call) -> None:
        """See Observer."""
        if call is self._struck:
            _die()
