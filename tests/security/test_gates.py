"""What may not be in the package's code at all, read from its syntax."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "src" / "orchestrator"
MODULES = sorted(ROOT.rglob("*.py"))

ALLOWED_IMPORTS = {
    "executors/worker.py": {"pickle"},  # between a process and the workers that it started itself, by a pipe
    "executors/guard.py": {"pickle"},
    "executors/child.py": {"pickle"},
    "executors/wire.py": {"pickle"},
}
FORBIDDEN_IMPORTS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "jsonpickle", "code", "codeop"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
NAMED_BY_CODE = {
    "__init__.py",  # the public names, from a table
    "compiler/__init__.py",
    "testing/__init__.py",
    "cli/app.py",  # the commands, from a table
    "tools/sources.py",  # the shipped tools, from a table, and entry points
    "tools/python.py",  # the pipeline's author names the function to call; settings may narrow it
    "executors/worker.py",  # what the executor that started it names
    "state/frames.py",  # pandas, polars, numpy, pyarrow, from a table
}
"""Where a module is imported by a name that is not written there: never one that was read from the store."""


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def nodes(path: Path) -> Iterator[ast.AST]:
    yield from ast.walk(ast.parse(path.read_text("utf-8")))


def called(node: ast.AST) -> str:
    """Return what a call calls, dotted: ``db.execute``."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_in_the_package_can_run_what_it_reads(path: Path) -> None:
    found = set()
    for node in nodes(path):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        found |= {name for name in names if name.split(".")[0] in FORBIDDEN_IMPORTS}
        if called(node) in FORBIDDEN_CALLS or called(node) in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"):
            found.add(called(node))
        if called(node).endswith("import_module") and name_of(path) not in NAMED_BY_CODE:
            found.add(called(node))
    assert found <= ALLOWED_IMPORTS.get(name_of(path), set())


@pytest.mark.parametrize("path", sorted((ROOT / "state").rglob("*.py")), ids=name_of)
def test_no_sql_is_built_from_values(path: Path) -> None:
    """The first argument of each ``execute`` is a text in the code, or made of such: no f-string, format or ``%``."""
    for node in nodes(path):
        if isinstance(node, ast.Call) and called(node).split(".")[-1] in ("execute", "executemany"):
            for part in ast.walk(node.args[0]):
                made = isinstance(part, (ast.JoinedStr, ast.Call)) or (
                    isinstance(part, ast.BinOp) and isinstance(part.op, ast.Mod)
                )
                assert not made, f"{path.name}:{node.lineno}: {ast.unparse(node.args[0])}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_part_of_the_package_listens(path: Path) -> None:
    listening = ("start_server", "start_unix_server", "create_server", "socketserver.TCPServer", "HTTPServer")
    for node in nodes(path):
        last = called(node).split(".")[-1]
        assert last not in listening
        assert not (last in ("bind", "listen") and "socket" in called(node)), f"{path.name}: {called(node)}"
