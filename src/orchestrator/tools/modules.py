"""A module of the project as its source file says, read anew and never run.

Where the file is, Python's own finders tell, asked package by package: that imports none of them.
"""

# Entries of sys.path are compared as texts, links and all:
# ruff: noqa: PTH100, PTH118, PTH120

from __future__ import annotations

import ast
import importlib
import os
import site
import sys
import sysconfig
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.tools.references import Unit, local_imports, told_names, without_options

if TYPE_CHECKING:
    from collections.abc import Iterable
    from importlib.machinery import ModuleSpec

_INSTALLED = frozenset({"site-packages", "dist-packages"})


class Where(NamedTuple):
    """Where a module is: its file, and the folders of its submodules; either may be missing."""

    file: str | None
    folders: tuple[str, ...] = ()


class Source:
    """The module-level names of one source file.

    ``units`` are the statements behind each name, ``imports`` what a name was imported as, ``stars`` the modules of
    which everything was imported, ``rest`` the statements that give no name anything.
    """

    def __init__(self, name: str, tree: ast.Module, *, package: bool) -> None:
        self.name = name
        self.imports, self.stars = local_imports(tree.body, name, package=package)
        self.package = package
        without_options(tree.body, self.imports)
        statements: dict[str, list[ast.stmt]] = {}
        rest: list[ast.stmt] = []
        for statement in tree.body:
            names = told_names(statement)
            for told in names:
                statements.setdefault(told, []).append(statement)
            if not names:
                rest.append(statement)
        self.units = {told: Unit(nodes) for told, nodes in statements.items()}
        self.rest = Unit(rest)


_sources: dict[str, tuple[tuple[int, int, int], Source | None]] = {}


def source_of(name: str, file: str) -> Source | None:
    """Return what the file says now; None if it cannot be read or is not Python. Cheap while it does not change."""
    try:
        about = os.stat(file)  # noqa: PTH116
        stamp = (about.st_mtime_ns, about.st_size, about.st_ino)
        known = _sources.get(file)
        if known is not None and known[0] == stamp and (known[1] is None or known[1].name == name):
            return known[1]
        with open(file, "rb") as opened:  # noqa: PTH123
            text = opened.read()
    except (OSError, ValueError):
        return None
    made = None
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):  # whoever runs it is told what is wrong
        made = Source(name, ast.parse(text), package=os.path.basename(file) == "__init__.py")  # noqa: PTH119
    _sources[file] = (stamp, made)
    return made


def where_is(name: str) -> Where | None:
    """Return where the module would be imported from, or was; None if it is nowhere, built in or of the library."""
    if name.partition(".")[0] in sys.stdlib_module_names:
        return None
    known = sys.modules.get(name)
    file = getattr(known, "__file__", None)
    if known is not None and (file is not None or hasattr(known, "__path__")):
        return Where(file and os.path.abspath(file), tuple(getattr(known, "__path__", ())))
    above, _, _ = name.rpartition(".")
    folders: Iterable[str] | None = None
    if above:
        parent = where_is(above)
        if parent is None or not parent.folders:
            return None
        folders = parent.folders
    spec = _spec(name, folders)
    if spec is None:
        importlib.invalidate_caches()  # the module may have been written a moment ago
        spec = _spec(name, folders)
    if spec is None:
        return None
    file = spec.origin if spec.has_location else None
    return Where(file and os.path.abspath(file), tuple(spec.submodule_search_locations or ()))


def _spec(name: str, folders: Iterable[str] | None) -> ModuleSpec | None:
    path = None if folders is None else list(folders)
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec: ModuleSpec | None = None
        if find is not None:
            with suppress(Exception):  # a finder of whoever set up this Python; the next one may know
                spec = find(name, path)
        if spec is not None:
            return spec
    return None


@cache
def is_own(file: str) -> bool:
    """Tell whether a file is the project's: Python, and neither installed, nor the library's, nor this package's."""
    if not file.endswith(".py") or _INSTALLED.intersection(Path(file).parts):
        return False
    return not any(file.startswith(folder) for folder in _foreign())


@cache
def _foreign() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    folders = {paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"], site.getusersitepackages()}
    folders.add(os.path.dirname(os.path.dirname(__file__)))
    folders |= {os.path.realpath(folder) for folder in folders}
    return tuple(os.path.join(os.path.abspath(folder), "") for folder in folders)
