from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import TaskError
from orchestrator.tools import ToolRegistry, python

Call = Callable[..., Any]

MODULE = """
import asyncio
from orchestrator.ports.context import TaskContext

CONSTANT = 5

def add(a: int, b: int = 1) -> int:
    "Add."
    return a + b

async def wait(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "waited"

def about(context: TaskContext) -> str:
    return context.idempotency_key

class Box:
    @staticmethod
    def double(number: int) -> int:
        return number * 2

def fails() -> None:
    raise KeyError("x")
"""


@pytest.fixture(autouse=True)
def steps(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (project / "steps_here.py").write_text(MODULE)
    (project / "pack").mkdir()
    (project / "pack" / "__init__.py").write_text("")
    (project / "pack" / "inner.py").write_text("def one(): return 1\n")
    monkeypatch.chdir(project)
    monkeypatch.delenv("ORCHESTRATOR_ALLOW_MODULES", raising=False)
    path, modules = list(sys.path), set(sys.modules)
    python._found.clear()
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith(("steps_here", "pack", "broken")):
            del sys.modules[name]
    python._found.clear()


def no_template(_: Any) -> bool:
    return False


def test_a_function_of_the_project(call: Call, registry: ToolRegistry) -> None:
    assert call("python", "steps_here:add", a=2) == 3
    assert call("python", "pack.inner:one") == 1
    assert call("python", "steps_here:Box.double", number=4) == 8
    assert call("python", "steps_here:about") == "exec/task"
    found = registry.resolve("python", "pack.inner:one")
    assert (found.tool, found.action, found.validate, found.is_async) == ("python", "pack.inner:one", None, False)


def test_a_function_of_an_installed_package(call: Call) -> None:
    assert call("python", "posixpath:commonprefix", m=["abc", "abd"]) == "ab"


def test_an_async_function(registry: ToolRegistry) -> None:
    found = registry.resolve("python", "steps_here:wait")
    assert found.is_async
    assert found.validate is not None
    assert asyncio.run(found.function(**found.validate({"seconds": 0.0}))) == "waited"


def test_the_project_folder_hides_nothing(project: Path) -> None:
    (project / "json.py").write_text("raise RuntimeError('hidden')")
    python.make_importable(project)
    python.make_importable(project)
    assert sys.path.count(str(project)) == 1
    assert sys.path[-1] == str(project)


def test_parameters_are_checked(registry: ToolRegistry, refused: Call) -> None:
    problems = registry.check("python", "steps_here:add", {"a": "x", "c": 1}, no_template)
    assert [problem.path for problem in problems] == [("c",), ("a",)]
    assert [problem.path for problem in registry.check("python", "steps_here:add", {}, no_template)] == [()]
    assert refused("python", "steps_here:add", a="2").kind == "parameters"


@pytest.mark.parametrize(
    ("action", "text"),
    [
        (None, "`package.module:function`, and there is none"),
        ("", "`package.module:function`, and there is none"),
        ("steps_here", "not 'steps_here'"),
        ("steps_here.add", "not 'steps_here.add'"),
        ("steps_here:", "not 'steps_here:'"),
        (":add", "not ':add'"),
        ("steps here:add", "not 'steps here:add'"),
        ("steps_here:add()", "not 'steps_here:add()'"),
        ("../steps_here:add", "not '../steps_here:add'"),
        (".steps_here:add", "not '.steps_here:add'"),
        ("steps_here:add\n", "not 'steps_here:add\\n'"),
        ("nowhere:add", "cannot import 'nowhere': there is no module 'nowhere', neither installed nor in the folder"),
        ("pack.nowhere:add", "there is no module 'pack.nowhere'"),
        ("steps_here:ad", "has no function 'ad' (did you mean 'add'?)"),
        ("steps_here:Box.triple", "has no function 'Box.triple'"),
        ("steps_here:CONSTANT", "is int, not a function"),
        ("math:sqrt", "positional-only"),
    ],
)
def test_actions_that_cannot_be(registry: ToolRegistry, refused: Call, action: str | None, text: str) -> None:
    (problem,) = registry.check("python", action, {}, no_template)
    assert text in problem.message
    error = refused("python", action)
    assert (error.kind, error.retryable) == ("tool", False)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("import not_installed_at_all", "there is no module 'not_installed_at_all'"),
        ("x = 1 / 0", "ZeroDivisionError: division by zero ("),
        ("def f(:", "SyntaxError"),
        ("raise SystemExit(2)", "SystemExit: 2"),
        ("from steps_here import nothing", "ImportError"),
    ],
)
def test_modules_that_cannot_be_imported(registry: ToolRegistry, project: Path, code: str, text: str) -> None:
    (project / "broken_one.py").write_text(code)
    (problem,) = registry.check("python", "broken_one:f", {}, no_template)
    assert "cannot import 'broken_one'" in problem.message
    assert text in problem.message
    (project / "broken_one.py").write_text("def f(): return 'mended, and longer than before'\n")
    assert registry.check("python", "broken_one:f", {}, no_template) == []


def test_an_error_of_the_function_is_its_own(call: Call) -> None:
    with pytest.raises(KeyError):
        call("python", "steps_here:fails")


@pytest.mark.parametrize(
    ("allowed", "action", "fine"),
    [
        ("*", "steps_here:add", True),
        ("steps_here", "steps_here:add", True),
        ("pack", "pack.inner:one", True),
        ("pack.*", "pack.inner:one", True),
        ("json, pack", "pack.inner:one", True),
        ("pac", "pack.inner:one", False),
        ("pack.inner", "pack:x", False),
        ("", "steps_here:add", False),
        ("json", "os:system", False),
    ],
)
def test_modules_can_be_narrowed(monkeypatch: pytest.MonkeyPatch, allowed: str, action: str, fine: bool) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ALLOW_MODULES", allowed)
    problems = ToolRegistry().check("python", action, {"a": 1} if "add" in action else {}, no_template)
    if fine:
        assert problems == []
    else:
        assert "may not be called: ORCHESTRATOR_ALLOW_MODULES allows only" in problems[0].message


def test_narrowing_holds_for_what_was_found_before(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("python", "steps_here:add", a=1) == 2
    monkeypatch.setenv("ORCHESTRATOR_ALLOW_MODULES", "json")
    with pytest.raises(TaskError, match="may not be called"):
        ToolRegistry().resolve("python", "steps_here:add")
