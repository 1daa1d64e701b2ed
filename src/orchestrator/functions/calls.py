"""Where in somebody's code a pipeline function is just now: for messages, and for the places of mistakes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.words import path_text

if TYPE_CHECKING:
    from orchestrator.domain.words import Path as Place

_OURS = f"{__package__}."


def call_site() -> tuple[str, int]:
    """Return file and line of the nearest code on the stack that is neither this package's nor Python's library."""
    frame = sys._getframe(1)  # noqa: SLF001 - the way to the caller's line
    while frame.f_back is not None and _is_passed(str(frame.f_globals.get("__name__", ""))):
        frame = frame.f_back
    return shown(frame.f_code.co_filename), frame.f_lineno


def _is_passed(module: str) -> bool:
    return module.startswith(_OURS) or module.partition(".")[0] in sys.stdlib_module_names


def here() -> str:
    """Return ``file:line: `` to begin a message with."""
    file, line = call_site()
    return f"{file}:{line}: "


def shown(file: str) -> str:
    """Return a file's name as it is shown: relative where it lies in the present folder."""
    folder = os.path.join(Path.cwd(), "")  # noqa: PTH118 - with a separator at its end
    return file.removeprefix(folder)


class Calls:
    """Where the steps of a pipeline function are called (a ``diagnostics.Source``)."""

    def __init__(self, file: str, line: int) -> None:
        self.file = file
        self._line = line
        self._steps: list[tuple[str, int]] = []

    def note(self, step: str, file: str, line: int) -> None:
        """Keep where a step is called; of one called from another file, only the pipeline's own place is known."""
        self._steps.append((step, line if file == self.file else self._line))

    def line_of(self, step: str) -> int:
        """Return the line where a step is called."""
        return next((line for name, line in self._steps if name == step), self._line)

    def place(self, path: Place, *, key: bool = False) -> tuple[int, int, str]:  # noqa: ARG002 - nothing is that exact
        """Return line, column and name of a place; steps are called by their names."""
        match path:
            case ("steps", int(index), *rest) if index < len(self._steps):
                step, line = self._steps[index]
                return line, 1, path_text(("steps", step, *rest))
            case _:
                return self._line, 1, path_text(path)
