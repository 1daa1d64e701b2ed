"""What a file of the project is called as a module, also when it is the script that was started.

A script's functions live in ``__main__`` while it runs; everybody else, a worker or a later resume, imports them by the
name of its file.
"""

# Entries of sys.path are compared as texts, links and all:
# ruff: noqa: PTH100, PTH118, PTH119, PTH120, PTH122

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError
from orchestrator.tools.modules import where_is

if TYPE_CHECKING:
    from types import ModuleType


def module_of(file: str | Path) -> str:
    """Return the name that a Python file is imported by, in any process whose folder is the project's.

    Of the folders that Python looks into, and the present one, the nearest above the file counts; not the one that
    Python put first because the script that was started lies there, for others do not look into it. Raise UsageError
    for a file that no import finds.
    """
    full, folder = os.path.abspath(file), str(Path.cwd())
    entries = [os.path.abspath(entry or ".") for entry in sys.path]
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    if script is not None and entries and entries[0] == os.path.dirname(os.path.abspath(script)):
        del entries[0]
    above = [entry for entry in (*entries, folder) if full.startswith(os.path.join(entry, ""))]
    if not above:
        raise UsageError(f"{file}: the file is outside of the project folder ({folder}), where no import finds it")
    parts = list(Path(full).with_suffix("").relative_to(max(above, key=len)).parts)
    if parts[-1] == "__init__":
        del parts[-1]
    name = ".".join(parts)
    if not parts or not all(part.isidentifier() for part in parts):
        raise UsageError(f"{file}: {name!r} cannot be imported; rename the file, or its folder, to a Python name")
    if parts[0] in sys.stdlib_module_names:
        raise UsageError(f"{file}: Python's library has a module {parts[0]!r} of its own; rename the file")
    where = where_is(name)
    if where is not None and where.file != full:
        raise UsageError(f"{file}: Python imports {name!r} from another place, {where.file}; rename one of them")
    return name


def running_script(name: str) -> ModuleType | None:
    """Return the running script's module if an import of ``name`` would load its file a second time; else None."""
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    if main is None or file is None or name in sys.modules:
        return None
    if name.rpartition(".")[2] != os.path.splitext(os.path.basename(file))[0]:
        return None
    where = where_is(name)
    return main if where is not None and where.file == os.path.abspath(file) else None


def has_guard(file: str | Path) -> bool:
    """Tell whether a script looks at ``__name__``, so that whoever imports it does not run it once more."""
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, ValueError, SyntaxError):
        return False
    return any(
        isinstance(node, ast.Name) and node.id == "__name__"
        for statement in tree.body
        if isinstance(statement, ast.If)
        for node in ast.walk(statement.test)
    )
