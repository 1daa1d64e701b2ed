"""The pipelines that steps call: found by name and compiled."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.compiler.calls import Found
from orchestrator.compiler.compile import compile_text
from orchestrator.compiler.load import MAX_BYTES
from orchestrator.compiler.places import imported, python_place, source_at
from orchestrator.domain.plan import Source
from orchestrator.errors import DefinitionError, TaskError
from orchestrator.tools.paths import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.compiler.places import PythonPlace
    from orchestrator.ports.tools import Tools

MOST_DEEP = 16
"""So many pipelines may call each other in a row, the first one included."""


class Library:
    """Finds pipelines by the names that steps call them by, and compiles each once, with all that it calls itself.

    A name is a file of the project (or of an allowed folder), or ``MODULE:NAME`` or ``FILE.py:NAME`` of one in Python.
    Files are read when they are first asked for: a library is for one compilation, or one call.
    """

    def __init__(self, project: Path, tools: Tools | None = None) -> None:
        self._sandbox = Sandbox(project)
        self._tools = tools
        self._found: dict[str, Found | TaskError | DefinitionError] = {}
        self._open: list[str] = []

    def find(self, name: str) -> Found:
        """Return the pipeline of a name.

        Raises TaskError (kinds ``not_found``, ``path``, ``tool``, ``recursion``) where there is none, DefinitionError
        for one with mistakes.
        """
        if name not in self._found:
            python = python_place(name)
            try:
                self._found[name] = self._compiled(name) if python is None else self._imported(name, python)
            except TaskError as error:
                if error.kind == "recursion":  # so it is only for those that are being compiled just now
                    raise
                self._found[name] = error
            except DefinitionError as error:
                self._found[name] = error
        found = self._found[name]
        if isinstance(found, Found):
            return found
        raise found

    @contextlib.contextmanager
    def compiling(self, name: str | os.PathLike[str]) -> Iterator[None]:
        """Within: a pipeline file is compiled, and must not be called by those it calls."""
        key = os.path.realpath(self._sandbox.project / name)
        if key in self._open:
            cycle = [*self._open[self._open.index(key) :], key]
            shown = " -> ".join(self._sandbox.shown(Path(each)) for each in cycle)
            raise TaskError(f"the pipelines call each other: {shown}", kind="recursion", retryable=False)
        if len(self._open) >= MOST_DEEP:
            raise TaskError(
                f"more than {MOST_DEEP} pipelines call each other in a row", kind="recursion", retryable=False
            )
        self._open.append(key)
        try:
            yield
        finally:
            self._open.pop()

    def _compiled(self, name: str) -> Found:
        with self._sandbox.place(name) as place:
            shown = place.path
            with os.fdopen(place.open(os.O_RDONLY), "rb") as stream:
                text = stream.read(MAX_BYTES + 1)
        with self.compiling(name):
            pipeline = compile_text(text, file=shown, tools=self._tools, library=self)
        return Found(pipeline, Source(shown, hashlib.sha256(text).hexdigest()))

    def _imported(self, name: str, python: PythonPlace) -> Found:
        return Found(imported(name, python), source_at(name, self._sandbox.project))
