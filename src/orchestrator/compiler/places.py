"""Where a pipeline is: in a file, or under a name in Python. The one road from such a place to the pipeline."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.domain.pipeline import Pipeline
from orchestrator.domain.plan import Source
from orchestrator.errors import DefinitionError, Diagnostic, OrchestratorError, TaskError, UsageError

if TYPE_CHECKING:
    import os

    from orchestrator.compiler.calls import Callees
    from orchestrator.ports.tools import Tools

_NAME = r"[^\W\d]\w*"
_PYTHON = re.compile(rf"(.+\.py|{_NAME}(?:\.{_NAME})*):({_NAME}(?:\.{_NAME})*)", re.DOTALL)


class PythonPlace(NamedTuple):
    """A name in Python: in a module (``flights.daily``), or in a file (``pipelines/daily.py``)."""

    module: str
    name: str

    @property
    def is_file(self) -> bool:
        """Whether the module is named by its file."""
        return self.module.endswith(".py")


def python_place(place: str | os.PathLike[str]) -> PythonPlace | None:
    """Return the place as a name in Python; None if it is a file.

    >>> python_place("flights.daily:nightly")
    PythonPlace(module='flights.daily', name='nightly')
    >>> python_place("pipelines/daily.yaml") is None
    True
    """
    found = _PYTHON.fullmatch(str(place))
    return PythonPlace(*found.groups()) if found is not None and not Path(place).is_file() else None


def compile_at(
    place: str | os.PathLike[str],
    tools: Tools | None = None,
    *,
    default_id: str | None = None,
    library: Callees | None = None,
) -> Pipeline:
    """Return the pipeline at ``FILE``, ``MODULE:NAME`` or ``FILE.py:NAME``.

    A file is compiled. A name in Python is imported, which runs that module, and must be a pipeline: one that
    ``@pipeline`` or ``Pipeline(...)`` made. ``default_id`` is the id of a file that tells none. Raises DefinitionError
    with every mistake, a place where nothing is included.

    >>> compile_at("nowhere.py:nightly")
    Traceback (most recent call last):
    orchestrator.errors.DefinitionError: nowhere.py  there is no such file
    """
    python = python_place(place)
    if python is None:
        if str(place).endswith(".py"):
            raise _mistake(str(place), "this is a Python file", f"name the pipeline in it: {place}:NAME")
        from orchestrator.compiler.compile import compile_file

        return compile_file(place, tools, default_id=default_id, library=library)
    return imported(str(place), python)


def file_at(place: str | os.PathLike[str]) -> Path | None:
    """Return the file that a definition stands in, whether it is there or not; None for a module that has none."""
    python = python_place(place)
    if python is None:
        return Path(place)
    if python.is_file:
        return Path(python.module)
    from orchestrator.tools.modules import where_is

    where = where_is(python.module)
    return Path(where.file) if where is not None and where.file is not None else None


def source_at(place: str | os.PathLike[str], project: Path) -> Source:
    """Return a definition's place as it is recorded, its file relative to the project where it is inside."""
    python, file = python_place(place), file_at(place)
    if file is None:
        return Source(str(place), "")
    full, project = file.absolute(), project.absolute()
    text = full.relative_to(project).as_posix() if full.is_relative_to(project) else str(full)
    return Source(text if python is None else f"{text}:{python.name}", sha256_of(full))


def sha256_of(path: Path) -> str:
    """Return the digest of a file; empty if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def imported(place: str, python: PythonPlace) -> Pipeline:
    """Import the pipeline at a place in Python; raise DefinitionError as ``compile_at`` does."""
    from orchestrator.tools.python import load
    from orchestrator.tools.scripts import module_of

    module = python.module
    try:
        if python.is_file:
            if not Path(module).is_file():
                raise _mistake(module, "there is no such file")
            module = module_of(module)
        value = load(f"{module}:{python.name}", "pipeline")
        definition = value if isinstance(value, Pipeline) else getattr(value, "definition", None)
    except (TaskError, UsageError) as error:
        raise _mistake(place, str(error)) from error
    except OrchestratorError:
        raise
    except Exception as error:  # a pipeline function of the user's: it may raise anything
        raise _mistake(place, f"{type(error).__name__}: {error}{_line(error)}") from error
    if isinstance(definition, Pipeline):
        return definition
    raise _mistake(place, f"this is {_kind(value)}, not a pipeline", "a function becomes one by @orc.pipeline")


def _line(error: BaseException) -> str:
    """Return where an exception was raised, as far as that is in somebody else's code."""
    import traceback

    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f" ({frame.filename}:{frame.lineno})"


def _kind(value: Any) -> str:
    return "a function" if callable(value) else type(value).__name__


def _mistake(file: str, message: str, hint: str | None = None) -> DefinitionError:
    return DefinitionError([Diagnostic(message, file=file, hint=hint)])
