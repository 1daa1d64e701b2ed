"""Paths that stay inside the project folder.

A path is walked component by component from an open folder, never through a name that the kernel would follow: each
step opens the next folder relative to the one before it with O_NOFOLLOW, a symlink is read and its target walked the
same way, and `..` goes back to the folder opened before. So whatever others swap meanwhile, a walk ends inside the
folder it began in, or is refused.
"""

# pathlib follows links and normalises, which is what must not happen here:
# ruff: noqa: PTH100, PTH117, PTH118

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.tools.fileerrors import kind_of, missing, os_refused, refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from orchestrator.errors import TaskError

ALLOW_PATHS = "ORCHESTRATOR_ALLOW_PATHS"
"""Environment variable: folders besides the project that tools may use, separated by os.pathsep."""

STORE = ".orchestrator"
"""The folder of the default store: tools may read it, and change only what is in its folder ``data``."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40


@dataclass(frozen=True, slots=True)
class Place:
    """An open folder and a name in it: everything about a path that stays true while others rename.

    ``folder`` is a file descriptor, ``name`` the last component (``.``: the folder itself). ``path`` is what people
    are shown: relative to the project with ``/``, or absolute outside of it. ``full`` is the absolute path.
    """

    folder: int
    name: str
    path: str
    full: Path

    def stat(self) -> os.stat_result | None:
        """Return what is at the place (a symlink: the link itself), or None if there is nothing."""
        try:
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, flags: int, mode: int = 0o666) -> int:
        """Open the regular file at the place and return its descriptor; raise TaskError for anything else there.

        Nothing that is not a regular file gets as far as being opened for good: opening a FIFO would wait, and
        opening a device may act.
        """
        found = self.stat()
        if found is not None:
            self.require_file(found)
        try:
            descriptor = os.open(
                self.name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, mode, dir_fd=self.folder
            )
        except FileNotFoundError:
            raise missing(self.path) from None
        except OSError as error:
            raise os_refused(self.path, error) from error
        try:
            self.require_file(os.fstat(descriptor))
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def require_file(self, found: os.stat_result) -> None:
        """Raise TaskError unless ``found`` tells of a regular file."""
        if not stat.S_ISREG(found.st_mode):
            raise refused(f"{self.path!r} is {kind_of(found.st_mode)}, not a file")


class Sandbox:
    """The folders that the tools of one project may use.

    ``project`` is where relative paths begin; ``allowed`` are further folders (None: those of the environment
    variable ORCHESTRATOR_ALLOW_PATHS). Absolute paths are fine as long as they lie in one of them.
    """

    def __init__(self, project: Path | str, allowed: Sequence[Path | str] | None = None) -> None:
        if allowed is None:
            allowed = [part for part in os.environ.get(ALLOW_PATHS, "").split(os.pathsep) if part]
        self.project = Path(os.path.abspath(project))
        self._roots: list[tuple[Path, Path]] = []  # (as written, the folder it is)
        for root in (project, *allowed):
            written, real = Path(os.path.abspath(root)), Path(os.path.realpath(root))
            self._roots.append((written, real))
            if real != written:
                self._roots.append((real, real))

    @contextmanager
    def place(
        self, path: str | Path, *, follow: bool = True, create: bool = False, change: bool = False
    ) -> Iterator[Place]:
        """Open the folder that ``path`` is in, for as long as the context lasts.

        ``follow``: a symlink at the end is followed. ``create``: folders that are missing on the way are made.
        ``change``: the path is meant to be written, so the store and the project folder itself are refused.
        Raise TaskError (kind ``path``) if the path leads outside, and (kind ``not_found``) if a folder is missing.
        """
        text = self._text(path)
        with ExitStack() as opened:
            walk = _Walk(self, text, opened, follow=follow, create=create)
            found = walk.run()
            if change:
                self._guard(found, text)
            yield found

    @contextmanager
    def folder(self, path: str | Path) -> Iterator[Place]:
        """Open the folder at ``path``: the place's ``folder`` is that folder itself, its ``name`` is ``.``."""
        with self.place(path) as place:
            if place.name == ".":
                yield place
                return
            try:
                descriptor = os.open(place.name, _FOLDER, dir_fd=place.folder)
            except FileNotFoundError:
                raise missing(place.path, "folder") from None
            except NotADirectoryError:
                raise refused(f"{place.path!r} is not a folder") from None
            except OSError as error:
                raise os_refused(place.path, error) from error
            try:
                yield Place(descriptor, ".", place.path, place.full)
            finally:
                os.close(descriptor)

    def shown(self, full: Path) -> str:
        """Return a path as people are shown it: relative to the project where it is inside, else absolute."""
        for written, real in self._roots[:1]:
            for root in (written, real):
                if full.is_relative_to(root):
                    return full.relative_to(root).as_posix()
        return str(full)

    def _text(self, path: str | Path) -> str:
        text = os.fspath(path)
        if not text:
            raise refused("the path is empty")
        if "\0" in text:
            raise refused(f"the path {text!r} holds a NUL character")
        try:
            os.fsencode(text)
        except UnicodeEncodeError:
            raise refused(f"the path {text!r} cannot be a file name") from None
        return text

    def start(self, text: str) -> tuple[Path, list[str]] | None:
        """Return the root that a path begins in and the components below it, or None if it is in no root."""
        if not os.path.isabs(text):
            return self._roots[0][1], _components(text)
        for candidate in (text, os.path.normpath(text)):
            parts = _components(candidate)
            for written, real in self._roots:
                above = _components(str(written))
                if parts[: len(above)] == above:
                    return real, parts[len(above) :]
        return None

    def outside(self, text: str) -> TaskError:
        """Return the error for a path that leads out of every allowed folder."""
        return refused(
            f"the path {text!r} leads outside the project folder {str(self.project)!r}; "
            f"to allow it, put its folder into {ALLOW_PATHS} (separated by {os.pathsep!r})"
        )

    def _guard(self, place: Place, text: str) -> None:
        parts = _components(place.path)
        if place.name == ".":
            raise refused(f"{text!r} is the project folder, or an allowed one: it cannot be replaced or removed")
        if parts[:1] == [STORE] and (len(parts) < 3 or parts[1] != "data"):  # noqa: PLR2004
            raise refused(f"{text!r} belongs to the store of executions; tools change nothing there but data files")


class _Walk:
    """One walk from a root to the place of a path."""

    def __init__(self, sandbox: Sandbox, text: str, opened: ExitStack, *, follow: bool, create: bool) -> None:
        self._sandbox = sandbox
        self._text = text
        self._opened = opened
        self._follow = follow
        self._create = create
        self._links = 0
        self._begin(text)

    def _begin(self, text: str) -> None:
        started = self._sandbox.start(text)
        if started is None:
            raise self._sandbox.outside(self._text)
        self._root, self._left = started
        try:
            descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise os_refused(str(self._root), error) from error
        self._opened.callback(os.close, descriptor)
        self._folders = [descriptor]
        self._names: list[str] = []

    def run(self) -> Place:
        """Walk to the folder of the last component."""
        self._left.reverse()  # the next component is the last of the list
        while self._left:
            name = self._left.pop()
            if name == "..":
                self._back()
            elif self._left:
                self._enter(name)
            elif not self._link(name, wanted=self._follow):
                return self._place(name)
        return self._place(".")

    def _place(self, name: str) -> Place:
        below = self._names if name == "." else [*self._names, name]
        full = self._root.joinpath(*below)
        return Place(self._folders[-1], name, self._sandbox.shown(full), full)

    def _back(self) -> None:
        if self._names:
            self._names.pop()
            self._folders.pop()
            return
        # Above the root there may be another allowed folder: begin again there, or be refused.
        rest = os.path.join(*reversed(self._left)) if self._left else "."
        self._jump(os.path.normpath(os.path.join(self._root, "..", rest)))

    def _jump(self, text: str) -> None:
        self._count_link()
        self._begin(text)
        self._left.reverse()

    def _enter(self, name: str) -> None:
        try:
            descriptor = self._open(name)
        except FileNotFoundError:
            raise missing(self._shown(name), "folder") from None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK) and self._link(name, wanted=True):
                return
            if error.errno == errno.ENOTDIR:
                raise refused(f"{self._shown(name)!r} is not a folder") from None
            raise os_refused(self._text, error) from error
        self._opened.callback(os.close, descriptor)
        self._folders.append(descriptor)
        self._names.append(name)

    def _open(self, name: str) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=self._folders[-1])
        except FileNotFoundError:
            if not self._create:
                raise
            self._make(name)
            return os.open(name, _FOLDER, dir_fd=self._folders[-1])

    def _make(self, name: str) -> None:
        try:
            os.mkdir(name, 0o700 if name == STORE else 0o777, dir_fd=self._folders[-1])
            os.fsync(self._folders[-1])
        except FileExistsError:
            pass
        except OSError as error:
            raise os_refused(self._shown(name), error) from error

    def _link(self, name: str, *, wanted: bool) -> bool:
        """Put a symlink's target in front of what is left, and tell whether ``name`` was one."""
        if not wanted:
            return False
        try:
            target = os.readlink(name, dir_fd=self._folders[-1])
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):
                return False  # no symlink
            raise os_refused(self._text, error) from error
        if os.path.isabs(target):
            self._jump(os.path.join(target, *reversed(self._left)))
        else:
            self._count_link()
            self._left.extend(reversed(_components(target)))
        return True

    def _count_link(self) -> None:
        self._links += 1
        if self._links > _MOST_LINKS:
            raise refused(f"the path {self._text!r} goes through too many symlinks")

    def _shown(self, name: str) -> str:
        return self._sandbox.shown(self._root.joinpath(*self._names, name))


def _components(text: str) -> list[str]:
    return [part for part in text.split("/") if part not in ("", ".")]
