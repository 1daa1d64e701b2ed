"""The name by which every process finds a function again: ``package.module:function``."""

from __future__ import annotations

import inspect
import os
import sys
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UsageError
from orchestrator.functions.calls import shown
from orchestrator.tools.scripts import has_guard, module_of

if TYPE_CHECKING:
    from collections.abc import Callable


def address_of(function: Callable[..., Any]) -> str:
    """Return ``module:function``; raise UsageError, with what to do, for a function that nobody else could import."""
    module: str = getattr(function, "__module__", None) or ""
    name: str = getattr(function, "__qualname__", "")
    label = f"{place_of(function)}{name or repr(function)}"
    if not name or name.endswith("<lambda>"):
        raise UsageError(f"{label} has no name that another process could import; write it as a def")
    if "<locals>" in name:
        raise UsageError(
            f"{label} is made inside another function, so that no other process (a worker, a later resume) could "
            "import it; move it to the top level of its module, and what it took from around it into parameters"
        )
    return f"{_script() if module == '__main__' else module}:{name}"


def place_of(function: Any) -> str:
    """Return ``file:line: `` of a function's definition; empty if it has none."""
    code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
    return "" if code is None else f"{shown(code.co_filename)}:{code.co_firstlineno}: "


def _script() -> str:
    """Return how others import the module that was started."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    file = getattr(main, "__file__", None)
    if file is None or not os.path.isfile(file):  # noqa: PTH113
        raise UsageError(
            "these functions were typed into Python itself, where no other process (a worker, a later resume) could "
            "import them; put them into a file of the project, and import that"
        )
    if not has_guard(file):
        raise UsageError(
            f"{shown(file)} is the script that runs, and a worker or a later resume would run all of it again to get "
            'at its functions; put what only the script is to do below `if __name__ == "__main__":`, '
            "or the functions into a module of their own"
        )
    return str(spec.name) if spec is not None else module_of(file)
