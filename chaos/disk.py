"""A disk that remembers what would survive a power cut: contents and names that were synced, and what was not yet.

Written against POSIX and the habits of ext4 and XFS: a write is safe once its file was synced, a name (of a new file, a
rename, a removal) once its folder was. SQLite's unix VFS syncs the folder of a journal or WAL with the first sync of
the file, and that of a deletion where it says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import random

    from chaos.files import Call

SECTOR = 512
POLICIES = ("lost", "kept", "random")
"""What becomes of everything that was not synced."""


class _Write(NamedTuple):
    """``data`` None cuts the file to ``offset`` bytes."""

    offset: int
    data: bytes | None


@dataclass
class _Content:
    """A file apart from its name: what is on the disk, and what was written since."""

    safe: bytearray = field(default_factory=bytearray)
    pending: list[_Write] = field(default_factory=list)
    size: int = 0

    def write(self, offset: int | None, data: bytes) -> None:
        start = self.size if offset is None else offset
        self.pending.append(_Write(start, data))
        self.size = max(self.size, start + len(data))

    def truncate(self, size: int) -> None:
        self.pending.append(_Write(size, None))
        self.size = size

    def sync(self) -> None:
        self.safe = self.after("kept", None)
        self.pending.clear()

    def after(self, policy: str, chance: random.Random | None) -> bytearray:
        """Return what is found after a power cut."""
        found = bytearray(self.safe)
        for write in () if policy == "lost" else self.pending:
            if policy == "random" and chance is not None:
                _apply_some(found, write, chance)
            else:
                _apply(found, write.offset, write.data)
        return found


def _apply(found: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del found[offset:]
        found.extend(bytes(offset - len(found)))
        return
    found.extend(bytes(max(0, offset - len(found))))
    found[offset : offset + len(data)] = data


def _apply_some(found: bytearray, write: _Write, chance: random.Random) -> None:
    """Let some of a write's sectors reach the disk, in any choice: neither order nor wholeness is promised."""
    if write.data is None:
        if chance.random() < 0.5:
            _apply(found, write.offset, None)
        return
    whole = chance.random()
    for start in range(0, len(write.data), SECTOR):
        if whole < 0.3 or (whole < 0.7 and chance.random() < 0.5):
            _apply(found, write.offset + start, write.data[start : start + SECTOR])


class _Folder:
    """What the name of a folder means."""


_FOLDER = _Folder()


class _Name(NamedTuple):
    """A change of a folder: a name now means this content (None: nothing)."""

    path: str
    content: _Content | _Folder | None


class Disk:
    """Takes the calls of a run one by one; ``cut`` writes what a power cut would leave."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[str, _Content | _Folder | None] = {}
        self._safe: dict[str, _Content | _Folder | None] = {}
        self._pending: dict[str, list[_Name]] = {}

    def apply(self, call: Call) -> None:
        """Take note of a call that was made."""
        path = call.path
        match call.what:
            case "open" if call.data:
                self._rename(path, _Content())
            case "mkdir":
                self._rename(path, _FOLDER)
            case "write":
                self._content(path).write(call.offset, call.data)
            case "truncate":
                self._content(path).truncate(call.offset or 0)
            case "rename":
                content = self._content(path)
                self._rename(path, None)
                self._rename(call.target, content)
            case "delete":
                self._rename(path, None)
                if call.data:
                    self._sync_folder(str(Path(path).parent))
            case "sync":
                self._sync(path)
            case _:
                pass  # reading leaves no trace

    def _content(self, path: str) -> _Content:
        found = self._names.get(path)
        if not isinstance(found, _Content):
            found = _Content()  # opened before the recording began, or by a call that is not watched
            self._rename(path, found)
        return found

    def _rename(self, path: str, content: _Content | _Folder | None) -> None:
        self._names[path] = content
        self._pending.setdefault(str(Path(path).parent), []).append(_Name(path, content))

    def _sync(self, path: str) -> None:
        found = self._names.get(path)
        if isinstance(found, _Content):
            found.sync()
            if path.endswith(("-journal", "-wal")):
                self._sync_folder(str(Path(path).parent))
        else:
            self._sync_folder(path)

    def _sync_folder(self, folder: str) -> None:
        for name, content in self._pending.pop(folder, ()):
            self._safe[name] = content

    def cut(self, target: Path, policy: str, chance: random.Random) -> None:
        """Write what is found after a power cut right now into the folder ``target``."""
        names = dict(self._safe)
        for pending in self._pending.values():
            # A journalling file system keeps the order of changes in a folder: a part of them from the first on.
            kept = {"lost": 0, "kept": len(pending), "random": chance.randint(0, len(pending))}[policy]
            names.update((name.path, name.content) for name in pending[:kept])
        for path, content in sorted(names.items()):
            place = target / Path(path).relative_to(self._root)
            if not self._reachable(path, names):
                continue
            if content is _FOLDER:
                place.mkdir(parents=True, exist_ok=True)
            elif isinstance(content, _Content):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content.after(policy, chance))

    def _reachable(self, path: str, names: dict[str, _Content | _Folder | None]) -> bool:
        """Tell whether every folder on the way to a file is there."""
        folder = Path(path).parent
        while folder != self._root and self._root in folder.parents:
            if names.get(str(folder)) is not _FOLDER:
                return False
            folder = folder.parent
        return True
