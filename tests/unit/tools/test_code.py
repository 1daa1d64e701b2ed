"""What counts as the code of a step's function, and what does not."""

from __future__ import annotations

import functools
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import TaskError
from orchestrator.tools import ToolRegistry, decorator, modules

STEPS = '''
"""Steps."""
import json
import functools
from coded_pack import maths, shared
from coded_pack.again import doubled as twice
import coded_pack.deep.inner
try:
    from coded_pack.fast import speedy
except ImportError:
    from coded_pack.slow import speedy

LIMIT = 5
TABLE = {}
TABLE["a"] = 1

def noted(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)
    return inner

@noted
def work(rows: list[int], factor: int = 2) -> list[int]:
    """Work on rows."""
    # as it should be
    LOCAL = factor
    return [helper(row) * LOCAL for row in rows if row < LIMIT]

def helper(x):
    return maths.halve(x) + twice(x) + TABLE["a"] + coded_pack.deep.inner.far(x) + len(str(speedy(x)))

def other(x):
    from coded_pack.late import lately
    return lately(x)

def even(n):
    return n == 0 or odd(n - 1)

def odd(n):
    return n != 0 and even(n - 1)

def shadow(helper, LIMIT=1):
    work = helper + LIMIT
    return [other for other in range(work)]

def whole():
    return getattr(shared, "any" + "thing")

class Base:
    def common(self):
        return 1

class Box(Base):
    SIZE = 3

    def size(self):
        """Tell."""
        return self.SIZE + LIMIT

    @staticmethod
    def double(n):
        return n * 2
'''
PACK = {
    "__init__": "",
    "maths": "ROUND = 2\ndef halve(x):\n    return x / ROUND\ndef unused(x):\n    return x\n",
    "again": "from .origin import doubled\n",
    "origin": "def doubled(x):\n    return 2 * x\n",
    "shared": "def one():\n    return 1\nprint\n",
    "slow": "def speedy(x):\n    return x\n",
    "late": "def lately(x):\n    return x\n",
    "deep/__init__": "",
    "deep/inner": "def far(x):\n    return x\n",
}


@pytest.fixture(autouse=True)
def written(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (project / "coded_steps.py").write_text(STEPS)
    (project / "coded_pack" / "deep").mkdir(parents=True)
    for name, text in PACK.items():
        (project / "coded_pack" / f"{name}.py").write_text(text)
    monkeypatch.chdir(project)
    monkeypatch.delenv("ORCHESTRATOR_ALLOW_MODULES", raising=False)
    path = list(sys.path)
    yield
    sys.path[:] = path
    assert not [name for name in sys.modules if name.startswith("coded_")]


def code(action: str, tool: str = "python", registry: ToolRegistry | None = None) -> dict[str, str]:
    return dict((registry or ToolRegistry()).identity(tool, action).code)


def edit(file: str, old: str, new: str) -> None:
    path = Path(file)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


WORK = {
    "coded_pack.deep.inner:far",
    "coded_pack.maths:ROUND",
    "coded_pack.maths:halve",
    "coded_pack.origin:doubled",
    "coded_pack.slow:speedy",
    "coded_steps:LIMIT",
    "coded_steps:TABLE",
    "coded_steps:helper",
    "coded_steps:noted",
    "coded_steps:work",
}


def test_a_function_and_all_that_it_refers_to_in_the_project() -> None:
    found = code("coded_steps:work")
    assert found.keys() == WORK
    assert all(len(digest) == 16 for digest in found.values())
    assert list(found) == sorted(found)


S = "coded_steps.py"
SAME = [
    pytest.param("work", S, "# as it should be", "# quite so", id="comment"),
    pytest.param("work", S, '"""Work on rows."""', '"""Work\n    hard."""', id="docstring"),
    pytest.param("work", S, '    """Work on rows."""\n', "", id="no docstring"),
    pytest.param(
        "work", S, "rows: list[int], factor: int = 2", "rows: list[\n  int\n ],\n  factor: int=2", id="layout"
    ),
    pytest.param("work", S, "\nLIMIT = 5", "\n\n\n\nLIMIT = (5)  # rows", id="position"),
    pytest.param("work", S, '["a"]', "['a']", id="quotes"),
    pytest.param("work", S, "return lately(x)", "return lately(x) + 1", id="another function"),
    pytest.param("work", S, "import json", "import json, os", id="another import"),
    pytest.param("work", "coded_pack/maths.py", "return x\n", "return -x\n", id="another function of a helper module"),
    pytest.param("work", S, "SIZE = 3", "SIZE = 4", id="a class it does not use"),
    pytest.param("shadow", S, "LIMIT = 5", "LIMIT = 6", id="a name that is a parameter"),
    pytest.param("shadow", S, "return lately(x)", "return 0", id="a name of a comprehension"),
    pytest.param("shadow", S, "return [helper(row)", "return [(row)", id="a name that is assigned"),
    pytest.param("Box", S, '"""Tell."""', '"""Tell the size."""', id="docstring of a method"),
]


@pytest.mark.parametrize(("name", "file", "old", "new"), SAME)
def test_what_does_not_count(name: str, file: str, old: str, new: str) -> None:
    before = code(f"coded_steps:{name}")
    edit(file, old, new)
    assert before
    assert code(f"coded_steps:{name}") == before


M = "coded_pack/maths.py"
DIFFERENT = [
    ("body", "work", S, "* LOCAL", "+ LOCAL", "coded_steps:work"),
    ("default", "work", S, "factor: int = 2", "factor: int = 3", "coded_steps:work"),
    ("annotation", "work", S, "factor: int =", "factor: float =", "coded_steps:work"),
    ("decorator taken off", "work", S, "@noted\n", "", "coded_steps:work coded_steps:noted"),
    ("body of a decorator", "work", S, "return function(*args", "return 1 or function(*args", "coded_steps:noted"),
    ("called helper", "work", S, "halve(x) +", "halve(x) -", "coded_steps:helper"),
    ("constant", "work", S, "LIMIT = 5", "LIMIT = 6", "coded_steps:LIMIT"),
    ("type of a constant", "work", S, "LIMIT = 5", "LIMIT = 5.0", "coded_steps:LIMIT"),
    ("item of a constant", "work", S, 'TABLE["a"] = 1', 'TABLE["a"] = 2', "coded_steps:TABLE"),
    ("helper in another module", "work", M, "x / ROUND", "x // ROUND", "coded_pack.maths:halve"),
    ("constant in another module", "work", M, "ROUND = 2", "ROUND = 3", "coded_pack.maths:ROUND"),
    ("imported by a relative import", "work", "coded_pack/origin.py", "2 * x", "3 * x", "coded_pack.origin:doubled"),
    ("module of a package", "work", "coded_pack/deep/inner.py", "return x", "return -x", "coded_pack.deep.inner:far"),
    ("import or another one", "work", "coded_pack/slow.py", "return x", "return -x", "coded_pack.slow:speedy"),
    ("import inside a function", "other", "coded_pack/late.py", "return x", "return -x", "coded_pack.late:lately"),
    ("a cycle", "even", S, "return n != 0", "return n > 0", "coded_steps:odd"),
    ("a module as such", "whole", "coded_pack/shared.py", "return 1", "return 2", "coded_pack.shared:one"),
    ("a module's statements", "whole", "coded_pack/shared.py", "print", "repr", "coded_pack.shared:*"),
    ("method", "Box.double", S, "n * 2", "n * 3", "coded_steps:Box.double"),
    ("another method", "Box.double", S, "self.SIZE +", "self.SIZE -", "coded_steps:Box.size"),
    ("class attribute", "Box.double", S, "SIZE = 3", "SIZE = 4", "coded_steps:Box"),
    ("what a method reads", "Box.double", S, "LIMIT = 5", "LIMIT = 6", "coded_steps:LIMIT"),
    ("base class", "Box.double", S, "return 1", "return 2", "coded_steps:Base.common"),
]


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "keys"), [row[1:] for row in DIFFERENT], ids=[row[0] for row in DIFFERENT]
)
def test_what_counts_and_what_it_is_called(name: str, file: str, old: str, new: str, keys: str) -> None:
    before = code(f"coded_steps:{name}")
    edit(file, old, new)
    after = code(f"coded_steps:{name}")
    assert {each for each in before | after if before.get(each) != after.get(each)} == set(keys.split())


def test_a_star_import_is_looked_through(project: Path) -> None:
    (project / "coded_star.py").write_text("from coded_pack.maths import *\ndef work(x): return halve(x) + len([x])\n")
    assert code("coded_star:work").keys() == {"coded_star:work", "coded_pack.maths:halve", "coded_pack.maths:ROUND"}


def test_imports_in_a_circle_end(project: Path) -> None:
    for name, other in (("coded_a", "coded_b"), ("coded_b", "coded_a")):
        (project / f"{name}.py").write_text(f"from {other} import *\nfrom {other} import x, y\nz = x\n")
    assert "coded_a:z" in code("coded_a:z")
    assert code("coded_a:x") == {}


@pytest.mark.parametrize("text", ["def work(:\n", "\0", "x = 1\xff", "x = " + "(" * 5000, "x = " + "1+" * 20000 + "1"])
def test_what_is_not_python_has_no_code_and_breaks_nothing(text: str, project: Path) -> None:
    (project / "coded_bad.py").write_bytes(text.encode("latin-1"))
    assert code("coded_bad:work") == {}
    (project / "coded_good.py").write_text("import coded_bad\ndef work(): return coded_bad.work()\n")
    assert "coded_good:work" in code("coded_good:work")


@pytest.mark.parametrize(
    "action", ["coded_none:work", "coded_pack.none:work", "coded_none.x:y", "json:dumps", "time:time"]
)
def test_what_is_not_there_or_not_the_projects_has_no_code(action: str) -> None:
    assert code(action) == {}


@pytest.mark.parametrize(
    ("tool", "action"), [("python", "nonsense"), ("python", None), ("none", "run"), ("shell", "walk")]
)
def test_what_is_no_tool_or_action_is_refused(tool: str, action: str | None) -> None:
    with pytest.raises(TaskError) as caught:
        ToolRegistry().identity(tool, action)
    assert caught.value.kind == "tool"


def test_a_module_that_may_not_be_called_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ALLOW_MODULES", "elsewhere")
    with pytest.raises(TaskError, match="may not be called"):
        code("coded_steps:work")


def test_nothing_of_the_project_is_run(project: Path) -> None:
    (project / "coded_trap").mkdir()
    for file in ("coded_trap/__init__.py", "coded_trap/inner.py"):
        (project / file).write_text("open('sprung', 'w')\ndef f(): return 1\n")
    assert code("coded_trap.inner:f").keys() == {"coded_trap.inner:f"}
    assert not (project / "sprung").exists()


def test_shipped_tools_are_told_by_their_version() -> None:
    registry = ToolRegistry()
    for tool, action in (("filesystem", "read"), ("shell", None)):
        found = registry.identity(tool, action)
        assert (found.version, found.code) == (registry.resolve(tool, action).version, {})


def test_every_process_sees_the_same(project: Path, tmp_path: Path) -> None:
    here = code("coded_steps:work")
    moved = tmp_path / "elsewhere"
    project.rename(moved)
    script = "from orchestrator.tools import ToolRegistry; print(ToolRegistry().identity('python', 'coded_steps:work'))"
    done = subprocess.run([sys.executable, "-c", script], cwd=moved, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"Identity(version='1', code={here!r})"


def test_a_file_is_parsed_once_however_many_functions_it_has(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"def f{n}(x):\n    return f{n + 1}(x) + C{n}\nC{n} = {n}\n" for n in range(1000)]
    (project / "coded_many.py").write_text("".join(lines))
    parsed: list[str] = []
    made = modules.Source

    def making(name: str, *about: Any, **more: Any) -> modules.Source:
        parsed.append(name)
        return made(name, *about, **more)

    monkeypatch.setattr(modules, "Source", making)
    assert len(code("coded_many:f0")) == 2000
    assert [len(code(f"coded_many:f{n}")) for n in range(989, 1000)] == list(range(22, 0, -2))
    assert len(parsed) == 1
    edit("coded_many.py", "C999 = 999", "C999 = 1000")
    assert len(code("coded_many:f999")) == 2
    assert len(parsed) == 2


# Functions that are there already


def make(factor: int) -> Callable[[int], int]:
    def inner(x: int) -> int:
        return x * factor

    return inner


class Parent:
    def inherited(self) -> int:
        return 1


class Machine(Parent):
    def __call__(self, x: int) -> int:
        return x

    def act(self) -> str:
        return "acted"


HERE = __name__


@pytest.mark.parametrize(
    ("target", "action", "keys"),
    [
        pytest.param(make, None, {f"{HERE}:make"}, id="function"),
        pytest.param(make(2), None, {f"{HERE}:make"}, id="closure"),
        pytest.param(functools.partial(make, 3), None, {f"{HERE}:make"}, id="partial"),
        pytest.param(
            Machine,
            "act",
            {
                f"{HERE}:Machine",
                f"{HERE}:Machine.__call__",
                f"{HERE}:Machine.act",
                f"{HERE}:Parent",
                f"{HERE}:Parent.inherited",
            },
            id="class",
        ),
        pytest.param(
            Machine(),
            "inherited",
            {
                f"{HERE}:Machine",
                f"{HERE}:Machine.__call__",
                f"{HERE}:Machine.act",
                f"{HERE}:Parent",
                f"{HERE}:Parent.inherited",
            },
            id="instance",
        ),
        pytest.param(math.gcd, None, set(), id="C function"),
    ],
)
def test_registered_functions_classes_and_instances(target: Any, action: str | None, keys: set[str]) -> None:
    registry = ToolRegistry()
    made = decorator.Definition("mine", "here", {"run": decorator.Action("run", target)})
    registry.register("mine", made if isinstance(target, functools.partial) else target)
    assert registry.identity("mine", action).code.keys() == keys


def test_a_lambda_is_told_by_its_bytecode() -> None:
    registry = ToolRegistry()
    for name, function in (
        ("a", lambda x: x + 1),
        ("b", lambda x: x + 1),
        ("c", lambda x: x + 2),
        ("d", lambda x: [make(x)]),
    ):
        registry.register(name, function)
    codes = {name: dict(registry.identity(name, None).code) for name in "abcd"}
    assert codes["a"] == codes["b"] != codes["c"]
    assert f"{HERE}:make" in codes["d"]


def test_code_made_at_run_time_is_told_by_its_bytecode() -> None:
    registry, scope = ToolRegistry(), {"__name__": "made_up"}
    exec("def f(x): return x in {'b', 'a', 'c'}", scope)
    registry.register("made", scope["f"])
    assert registry.identity("made", None).code.keys() == {"made_up:f"}


def test_a_raised_version_is_told() -> None:
    registry = ToolRegistry()
    registry.register("mine", decorator.Definition("mine", "here", {"run": decorator.Action("run", make, "7")}))
    assert registry.identity("mine", None).version == "7"
