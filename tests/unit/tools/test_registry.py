from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest

from orchestrator.errors import TaskError, UsageError
from orchestrator.ports.context import TaskContext
from orchestrator.tools import ToolRegistry, decorator, default_registry, tool
from orchestrator.tools.sources import PluginTools


def is_template(value: Any) -> bool:
    return isinstance(value, str) and "{{" in value


@pytest.fixture(autouse=True)
def only_these_decorated() -> Iterator[None]:
    before = dict(decorator.decorated)
    decorator.decorated.clear()
    yield
    decorator.decorated.clear()
    decorator.decorated.update(before)


def test_knows_the_shipped_tools_without_importing_them() -> None:
    code = (
        "import sys; from orchestrator.tools import default_registry; print(default_registry().names())\n"
        "heavy = ('pydantic', 'duckdb', 'httpx2', 'tarfile', 'asyncio', 'orchestrator.tools.shell')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    names = "['approval', 'archive', 'data-processing', 'filesystem', 'http', 'pipeline', 'python', "
    names += "'report', 'shell', 'sql', 'validation', 'wait']"
    assert out == f"{names}\n[]\n"


def test_the_default_registry_is_one() -> None:
    assert default_registry() is default_registry()


@pytest.mark.parametrize("spelling", ["data-processing", "data_processing"])
def test_two_spellings_of_one_tool(registry: ToolRegistry, spelling: str) -> None:
    assert registry.resolve(spelling, "load").tool == "data-processing"
    assert registry.describe(spelling).name == "data-processing"


def test_resolving_twice_gives_the_same_call(registry: ToolRegistry) -> None:
    assert registry.resolve("filesystem", "read") is registry.resolve("filesystem", "read")


@pytest.mark.parametrize(
    ("name", "action", "text"),
    [
        (
            "filesytem",
            "read",
            "no tool named 'filesytem'; there are approval, archive, data-processing, filesystem, http, pipeline, ",
        ),
        ("Filesystem", "read", "did you mean 'filesystem'?"),
        ("zzzzzz", None, "no tool named 'zzzzzz'; there are"),
        ("filesystem", "raed", "has no action 'raed'; there are append, copy,"),
        ("filesystem", "READ", "did you mean 'read'?"),
        ("filesystem", None, "needs an action; there are append"),
        ("", None, "no tool named ''"),
        ("../x", None, "no tool named '../x'"),
    ],
)
def test_unknown_names_are_told(registry: ToolRegistry, name: str, action: str | None, text: str) -> None:
    with pytest.raises(TaskError) as caught:
        registry.resolve(name, action)
    assert text in str(caught.value)
    assert (caught.value.kind, caught.value.retryable) == ("tool", False)
    (problem,) = registry.check(name, action, {}, is_template)
    assert problem.message in str(caught.value)


def test_a_function_becomes_a_tool() -> None:
    @tool("greeting")
    def greet(name: str, times: int = 1) -> str:
        """Greet somebody."""
        return f"Hello {name}" * times

    registry = ToolRegistry()
    assert "greeting" in registry.names()
    call = registry.resolve("greeting", None)
    assert (call.action, call.is_async, call.context_parameter) == ("run", False, None)
    assert call.validate is not None
    assert call.function(**call.validate({"name": "Ada"})) == "Hello Ada"
    assert greet("x") == "Hello x"


def test_a_tool_of_several_functions() -> None:
    @tool("mail", action="send", default=True)
    def send(to: str) -> str:
        return to

    @tool("mail", action="count")
    def count() -> int:
        return 0

    registry = ToolRegistry()
    assert registry.resolve("mail", None).function is send
    assert registry.resolve("mail", "count").function is count
    assert registry.resolve("mail", "count").validate is None


def test_an_action_decorated_later_is_found() -> None:
    tool("late", action="one")(lambda: 1)
    registry = ToolRegistry()
    assert registry.resolve("late", None).action == "one"
    tool("late", action="two")(functools.partial(lambda: 2).func)
    assert registry.resolve("late", "two").action == "two"


def test_the_methods_of_a_class_are_actions() -> None:
    made = []

    @tool("counter", version="3")
    class Counter:
        """Count things."""

        kind = "plain"

        def __init__(self) -> None:
            made.append(1)
            self.count = 0

        def add(self, amount: int) -> int:
            """Add."""
            self.count += amount
            return self.count

        async def wait(self) -> None: ...

        @staticmethod
        def zero() -> int:
            return 0

        @property
        def shown(self) -> int:
            return 1

        def _hidden(self) -> None: ...

    registry = ToolRegistry()
    assert made == []
    described = registry.describe("counter")
    assert [action.name for action in described.actions] == ["add", "wait", "zero"]
    assert described.summary == "Count things."
    add = registry.resolve("counter", "add")
    assert add.version == "3"
    assert (add.function(amount=2), add.function(amount=3)) == (2, 5)
    assert registry.resolve("counter", "wait").is_async
    assert made == [1]
    assert Counter.kind == "plain"


def test_a_class_that_cannot_be_made_is_a_problem_of_its_own() -> None:
    @tool("broken")
    class Broken:
        def __init__(self) -> None:
            raise UsageError("no licence file")

        def run(self) -> None: ...

    registry = ToolRegistry()
    assert registry.resolve("filesystem", "read").action == "read"
    assert registry.check("broken", None, {}, is_template)[0].message == "no licence file"


def test_the_same_action_twice_is_refused() -> None:
    @tool("twice")
    def one() -> None: ...

    @tool("twice")
    def two() -> None: ...

    (problem,) = ToolRegistry().check("twice", None, {}, is_template)
    assert "two actions named 'run'" in problem.message


def test_a_shipped_name_is_not_given_away() -> None:
    with pytest.raises(UsageError, match="'shell' is a shipped tool"):
        tool("shell")(lambda: None)
    with pytest.raises(UsageError, match="'data-processing' is a shipped tool"):
        tool("data_processing", action="more")(lambda: None)


@pytest.mark.parametrize("name", ["", "1x", "a b", "a/b", "ä", "x" * 65, "a\n", "../a"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a tool"):
        tool(name)
    with pytest.raises(UsageError, match="cannot name an action"):
        tool("fine", action=name.replace("-", "/") or "")


def test_registering_by_hand() -> None:
    registry = ToolRegistry()
    registry.register("double", lambda number: number * 2)
    registry.register("double", lambda number: number / 2, action="undo")
    assert registry.resolve("double", "run").function(number=2) == 4
    assert registry.resolve("double", "undo").function(number=2) == 1
    with pytest.raises(UsageError, match="has an action 'run' already"):
        registry.register("double", lambda: None)
    with pytest.raises(UsageError, match="there is a tool named 'shell'"):
        registry.register("shell", lambda: None)
    registry.register("shell", lambda: "mine", replace=True)
    assert registry.resolve("shell", None).function() == "mine"
    with pytest.raises(UsageError, match="neither a function nor a class"):
        registry.register("nothing", 5)


def test_registering_again_forgets_resolved_calls() -> None:
    registry = ToolRegistry()
    registry.register("value", lambda: 1)
    assert registry.resolve("value", None).function() == 1
    registry.register("value", lambda: 2, replace=True)
    assert registry.resolve("value", None).function() == 2


# What calls look like ---------------------------------------------------------------------------------------------


def test_context_is_found_by_name_or_annotation() -> None:
    def named(context: Any) -> None: ...
    def annotated(about: TaskContext) -> None: ...
    def optional(about: TaskContext | None = None) -> None: ...
    def quoted(about: "Unknown | TaskContext") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037
    def none(value: int) -> None: ...

    registry = ToolRegistry(sources=[])
    found = []
    for index, function in enumerate((named, annotated, optional, quoted, none)):
        registry.register(f"t{index}", function)
        found.append(registry.resolve(f"t{index}").context_parameter)
    assert found == ["context", "about", "about", "about", None]


def test_the_context_is_not_for_steps_to_give() -> None:
    registry = ToolRegistry(sources=[])
    registry.register("t", lambda context, value=1: (context, value))
    (problem,) = registry.check("t", None, {"context": 1}, is_template)
    assert "no parameter named 'context'" in problem.message


def test_async_functions_are_recognised() -> None:
    async def plain() -> int:
        return 1

    class Callable:
        async def __call__(self) -> int:
            return 1

    registry = ToolRegistry(sources=[])
    registry.register("a", plain)
    registry.register("b", functools.partial(plain))
    registry.register("c", Callable())
    registry.register("d", lambda: 1)
    assert [registry.resolve(name).is_async for name in "abcd"] == [True, True, True, False]
    assert asyncio.run(registry.resolve("b").function()) == 1


def test_functions_that_cannot_be_called_by_name() -> None:
    def positional(value: int, /) -> None: ...
    def optional(value: int = 1, /, other: int = 2) -> int:
        return value + other

    registry = ToolRegistry(sources=[])
    registry.register("t", positional)
    registry.register("o", optional)
    assert "positional-only" in registry.check("t", None, {}, is_template)[0].message
    with pytest.raises(TaskError, match="write a small function around it"):
        registry.resolve("t")
    assert registry.check("o", None, {"other": 1}, is_template) == []


def test_functions_that_take_anything() -> None:
    def anything(*_: int, **others: int) -> dict[str, int]:
        return others

    registry = ToolRegistry(sources=[])
    registry.register("t", anything)
    assert registry.check("t", None, {"a": 1, "b": 2}, is_template) == []
    assert registry.check("t", None, {"a": "x"}, is_template)[0].path == ("a",)
    assert registry.describe("t").actions[0].more


def test_describing() -> None:
    def act(path: Annotated[str, "where"], mode: str | None = None, *, context: TaskContext) -> None:
        """Do it.

        At length.
        """

    registry = ToolRegistry(sources=[])
    registry.register("t", act)
    (action,) = registry.describe("t").actions
    assert (action.name, action.summary, action.default) == ("run", "Do it.", True)
    assert action.text == "Do it.\n\nAt length."
    told = [(each.name, each.type, each.required, each.default, each.description) for each in action.parameters]
    assert told == [("path", "str", True, None, "where"), ("mode", "str | None", False, None, "")]
    with pytest.raises(TaskError, match="no tool named"):
        registry.describe("u")


def test_every_shipped_parameter_is_described(registry: ToolRegistry) -> None:
    for name in registry.names():
        described = registry.describe(name)
        assert described.summary
        for action in described.actions:
            assert action.summary, action.name
            for parameter in action.parameters:
                assert parameter.description, f"{name}.{action.name}.{parameter.name}"
                assert parameter.type
                assert "Annotated" not in parameter.type


# Plugins ----------------------------------------------------------------------------------------------------------


class Site:
    """A folder of installed distributions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, distribution: str, entries: dict[str, str], modules: dict[str, str]) -> None:
        about = self.folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
        (about / "entry_points.txt").write_text(f"[orchestrator.tools]\n{lines}")
        for name, text in modules.items():
            (self.folder / f"{name}.py").write_text(text)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield Site(folder)
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(folder) in str(sys.modules[name].__file__):
            del sys.modules[name]


def test_plugins_are_found_and_loaded_when_asked_for(site: Site) -> None:
    site.install(
        "acme-tools",
        {"acme_mail": "acme_one:send", "acme-many": "acme_two", "acme-class": "acme_one:Tool"},
        {
            "acme_one": "def send(to: str): return to\nclass Tool:\n    'A class.'\n    def go(self): return 1\n",
            "acme_two": (
                "'Many.'\nfrom orchestrator.tools import tool\n"
                "@tool('acme-many', action='a')\ndef a(): ...\n@tool('acme_many', action='b')\ndef b(): ...\n"
                "@tool('other')\ndef c(): ...\n"
            ),
        },
    )
    registry = ToolRegistry()
    assert {"acme-mail", "acme-many", "acme-class"} < set(registry.names())
    assert "acme_one" not in sys.modules
    assert registry.resolve("acme-mail", None).function(to="x") == "x"
    assert "acme_two" not in sys.modules
    assert [action.name for action in registry.describe("acme_many").actions] == ["a", "b"]
    assert registry.describe("acme-many").summary == "Many."
    assert registry.describe("acme-mail").origin == "distribution acme-tools 1.0"
    assert registry.resolve("acme-class", "go").function() == 1
    assert registry.faults() == {}


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("raise RuntimeError('boom')", "RuntimeError: boom"),
        ("import nothing_like_it", "ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("x = 1", "AttributeError"),
        ("fn = 5", "neither a function nor a class"),
        ("def", "SyntaxError"),
    ],
)
def test_a_broken_plugin_names_its_distribution_and_breaks_nothing_else(site: Site, module: str, reason: str) -> None:
    site.install("acme-broken", {"acme-bad": "acme_bad:fn"}, {"acme_bad": module})
    registry = ToolRegistry()
    (problem,) = registry.check("acme-bad", None, {}, is_template)
    assert "'acme-bad' of distribution acme-broken 1.0 cannot be loaded from 'acme_bad:fn'" in problem.message
    assert reason in problem.message
    assert list(registry.faults()) == ["acme-bad"]
    assert registry.resolve("filesystem", "read").action == "read"
    assert "acme-bad" in registry.names()


def test_a_plugin_module_without_tools(site: Site) -> None:
    site.install("acme-empty", {"acme-empty": "acme_empty"}, {"acme_empty": ""})
    assert "has no actions" in ToolRegistry().check("acme-empty", None, {}, is_template)[0].message


def test_a_name_that_two_distributions_announce(site: Site) -> None:
    site.install("acme-a", {"acme-dup": "acme_a:fn"}, {"acme_a": "def fn(): ..."})
    site.install("acme-b", {"acme_dup": "acme_b:fn"}, {"acme_b": "def fn(): ..."})
    (problem,) = ToolRegistry().check("acme-dup", None, {}, is_template)
    assert "announced by acme-a 1.0 and acme-b 1.0" in problem.message


def test_a_plugin_does_not_replace_a_shipped_tool(site: Site) -> None:
    site.install("acme-evil", {"shell": "acme_evil:fn"}, {"acme_evil": "def fn(): ..."})
    registry = ToolRegistry()
    assert registry.describe("shell").origin == "shipped"
    assert "acme-evil 1.0 announces a tool 'shell'" in registry.faults()["shell"]
    assert PluginTools().names() == {"shell"}


def test_a_missing_extra_is_told_by_the_call(monkeypatch: pytest.MonkeyPatch, refused: Any) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    error = refused("data-processing", "load", input=[{"a": 1}])
    assert (error.kind, error.retryable) == ("missing_extra", False)
    assert "pip install 'durable-orchestrator[data]'" in str(error)


def test_allowed_folders_and_modules_go_into_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ALLOW_PATHS", "before")
    monkeypatch.setenv("ORCHESTRATOR_ALLOW_MODULES", "before")
    monkeypatch.setenv("ORCHESTRATOR_ALLOW_HOSTS", "before")
    ToolRegistry()
    assert os.environ["ORCHESTRATOR_ALLOW_PATHS"] == "before"
    ToolRegistry(allow_paths=[tmp_path, "/data"], allow_modules=["flights", "json"], allow_hosts=["db", "::1"])
    assert os.environ["ORCHESTRATOR_ALLOW_HOSTS"] == "db,::1"
    assert os.environ["ORCHESTRATOR_ALLOW_PATHS"] == f"{tmp_path}{os.pathsep}/data"
    assert os.environ["ORCHESTRATOR_ALLOW_MODULES"] == "flights,json"
