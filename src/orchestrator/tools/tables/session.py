"""What one action on tables works with: its engine, the door for its inputs, and a place for its output."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.tools.paths import Sandbox
from orchestrator.tools.tables import outputs
from orchestrator.tools.tables.engine import Engine
from orchestrator.tools.tables.inputs import Opener, Source
from orchestrator.tools.tables.options import ReadOptions
from orchestrator.tools.tables.sqltext import wrong

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orchestrator.ports.context import TaskContext
    from orchestrator.tools.paths import Place

_READING = frozenset(ReadOptions.__annotations__)
_LEAST = {"limit": 0, "preview": 0, "threads": 1}


@dataclass(frozen=True, slots=True)
class Session:
    """The means of one action, as long as it lasts."""

    engine: Engine
    sources: dict[str, Source]
    _sandbox: Sandbox
    _opened: ExitStack

    def place(self, path: str) -> Place:
        """Open the place of a file to write."""
        return self._opened.enter_context(self._sandbox.place(path, create=True, change=True))


@contextmanager
def working(context: TaskContext, inputs: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[Session]:
    """Open the inputs as the options say; the engine itself is opened by whoever knows the files to write."""
    for name, least in _LEAST.items():
        if options.get(name) is not None and options[name] < least:
            raise wrong(f"{name}: {options[name]} is less than {least}")
    reading = {key: value for key, value in options.items() if key in _READING}
    sandbox = Sandbox(context.project)
    scratch = outputs.scratch(sandbox.project, context)
    with ExitStack() as opened:
        opened.callback(shutil.rmtree, scratch, ignore_errors=True)
        opener = Opener(sandbox, context, opened, scratch)
        sources = {name: opener.open(value, reading) for name, value in inputs.items()}
        memory, threads = options.get("memory", "1GB"), options.get("threads", 1)
        engine = opened.enter_context(Engine(context, memory=memory, threads=threads, scratch=scratch))
        yield Session(engine, sources, sandbox, opened)
