"""What an attempt reads and writes besides its parameters and its result, for the plans of later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.files import FileSeen, Trace
from orchestrator.errors import TaskError
from orchestrator.tools.looking import ProjectFiles, is_pattern, matches

if TYPE_CHECKING:
    from orchestrator.ports.executor import Attempt

MISSING_OUTPUT = "missing_output"
"""The kind of an attempt that has not written a file which its step declares."""

_files = ProjectFiles()


class Notes:
    """What was told of one attempt. ``read`` and ``write`` may be called from any thread."""

    __slots__ = ("_project", "_reads", "_writes", "inputs")

    def __init__(self, project: Path) -> None:
        self._project = project
        self._reads: dict[str, FileSeen] = {}
        self._writes: dict[str, FileSeen | None] = {}
        self.inputs = False

    def read(self, path: str) -> None:
        """Look at a file; the first look at it counts, for what was computed may come of that."""
        self.saw(_files.look(self._project, path))

    def saw(self, file: FileSeen) -> None:
        """Take over a file that was looked at."""
        self._reads.setdefault(file.path, file)

    def write(self, path: str) -> None:
        """Remember a file to be looked at in the end."""
        self._writes[path] = None

    def wrote(self, file: FileSeen) -> None:
        """Take over a file as it was written."""
        self._writes[file.path] = file

    def before(self, attempt: Attempt) -> None:
        """Look at the files that the step declares to read; of a pattern, at what matches it, and at each match."""
        for path in attempt.files.reads:
            found = matches(self._project, path)
            if found != [path]:
                self.read(path)
            for match in found:
                self.read(match)

    def after(self, attempt: Attempt) -> Trace:
        """Look at what was written, and return all that is noted.

        Raise TaskError (kind ``missing_output``) for a file that the step declares to write and that is not there.
        """
        written: dict[str, FileSeen] = {}
        for path in attempt.files.writes:
            found = [seen for match in matches(self._project, path) if (seen := self._look(match)).there]
            if not found:
                raise _not_written(self._project, path)
            written |= {seen.path: seen for seen in found}
        for path, known in list(self._writes.items()):  # a thread left behind may still tell
            seen = known or _files.look(self._project, path)
            written.setdefault(seen.path, seen)
        return Trace(tuple(self._reads.values()), tuple(written.values()), self.inputs)

    @property
    def looks(self) -> bool:
        """Whether ``after`` has files to read, even without any declared."""
        return None in self._writes.values()

    def _look(self, path: str) -> FileSeen:
        return self._writes.get(path) or _files.look(self._project, path)


def declares(attempt: Attempt) -> bool:
    """Tell whether the step declares files."""
    return bool(attempt.files.reads or attempt.files.writes)


def _not_written(project: Path, path: str) -> TaskError:
    what = "no file that matches it" if is_pattern(path) else "no such file"
    hint = "; a folder is there, but files are looked for: declare `{}/*`".format(path.rstrip("/"))
    folder = not is_pattern(path) and "\0" not in path and (project / path).is_dir()
    return TaskError(
        f"the step declares under `files: writes:` that it writes {path!r}, but has ended with {what} in the folder "
        f"{str(project)!r}{hint if folder else ''}",
        kind=MISSING_OUTPUT,
    )
