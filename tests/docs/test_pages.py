"""The pages are complete, agree with the code, and lead somewhere."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
from dataclasses import fields
from pathlib import Path

import click
import pytest

import orchestrator
from orchestrator import errors
from orchestrator.cli.app import COMMANDS, program
from orchestrator.compiler.filters import FILTERS, TESTS
from orchestrator.crashpoints import POINTS
from orchestrator.observe import progress
from orchestrator.settings import Settings
from orchestrator.tools.registry import ToolRegistry
from tests.docs.blocks import PAGES, ROOT, name_of
from tools import docs

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
SOURCES = sorted((ROOT / "src").rglob("*.py"))
MODULES = [
    module.name
    for module in pkgutil.walk_packages(orchestrator.__path__, "orchestrator.")
    if not module.name.endswith("__main__")
]
WITH_DOCTESTS = [
    name
    for name in ["orchestrator", *MODULES]
    if ">>>" in Path(str(importlib.util.find_spec(name).origin)).read_text("utf-8")  # type: ignore[union-attr]
]
ERRORS = [
    thing
    for thing in vars(errors).values()
    if inspect.isclass(thing) and issubclass(thing, BaseException) and thing.__module__ == errors.__name__
]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text("utf-8")


# -- generated parts ---------------------------------------------------------------------------------------------


GENERATED = [path for path in PAGES if "<!-- generated: " in path.read_text("utf-8")]


@pytest.mark.parametrize("path", GENERATED, ids=name_of)
def test_generated_parts_are_as_the_code_says(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text == docs.renewed(text), "`make docs` writes them anew"


# -- nothing is missing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_is_in_the_cli_page(command: str) -> None:
    text = page("cli.md")
    assert f"\n## {command}\n" in text
    section = text.partition(f"\n## {command}\n")[2].partition("\n## ")[0]
    context = click.Context(program, info_name="orchestrator", **program.context_settings)
    found = program.get_command(context, command)
    assert found is not None
    common = text.partition("\n## ")[0]
    for parameter in found.params:
        for option in parameter.opts if isinstance(parameter, click.Option) else ():
            assert option in section or option in common, option


def test_every_filter_and_test_is_in_the_reference() -> None:
    text = page("yaml-reference.md")
    assert [name for name in (*FILTERS, *TESTS) if name[0].isalpha() and f"`{name}`" not in text] == []


def test_every_setting_and_variable_is_in_the_configuration_page() -> None:
    text = page("configuration.md")
    names = {field.name for field in fields(Settings)} - {"project"}
    for source in SOURCES:
        names |= set(re.findall(r"ORCHESTRATOR_[A-Z_]+", source.read_text("utf-8")))
    assert sorted(name for name in names if f"`{name}`" not in text) == []


def test_defaults_of_settings_are_as_the_configuration_page_says() -> None:
    text = page("configuration.md")
    settings = Settings(Path())
    for name in ("store", "durability", "max_concurrency", "grace"):
        value = getattr(settings, name)
        shown = f"{value:g}" if isinstance(value, float) else str(value)
        assert re.search(rf"\| `{name}` \| `?{re.escape(shown)}`? \|", text), name


def test_every_public_name_is_in_the_python_page() -> None:
    text = page("python-api.md")
    assert [name for name in orchestrator.__all__ if f"\n### {name}\n" not in text] == []


def test_every_tool_action_and_parameter_is_in_the_tools_page() -> None:
    text = page("tools.md")
    registry = ToolRegistry()
    for name in docs_tools():
        assert f"\n## {name}\n" in text
        for action in registry.describe(name).actions:
            assert f"\n### {name}: {action.name}" in text
            assert [each.name for each in action.parameters if f"`{each.name}`" not in text] == []


def docs_tools() -> list[str]:
    from orchestrator.tools.names import SHIPPED

    return list(SHIPPED)


def test_every_crash_point_is_in_the_guarantees() -> None:
    assert [point for point in POINTS if f"`{point}`" not in page("guarantees.md")] == []


def test_every_exit_code_is_told() -> None:
    codes = {0, 70, 130, 143}
    codes |= {code for error in ERRORS if isinstance(code := getattr(error, "exit_code", None), int)}
    assert codes == set(docs.EXIT_CODES)
    cli, guarantees, troubleshooting = page("cli.md"), page("guarantees.md"), page("troubleshooting.md")
    for code in codes:
        assert f"| {code} |" in cli
        assert re.search(rf"^\| (\d+, )?{code}(, \d+)? \|", guarantees, re.MULTILINE) or code == docs_bug(), code
        assert re.search(rf"^### (\d+, )?{code}\b", troubleshooting, re.MULTILINE) or code == 0, code


def docs_bug() -> int:
    from orchestrator.cli.endings import BUG_EXIT_CODE

    return BUG_EXIT_CODE


def test_every_error_is_in_the_troubleshooting_page_with_its_code() -> None:
    text = page("troubleshooting.md")
    for error in ERRORS:
        line = re.search(rf"^[│├└─ ]*{error.__name__}\b.*?\s(\d+)", text, re.MULTILINE)
        assert line, error.__name__
        code = getattr(error, "exit_code", None)
        assert not isinstance(code, int) or int(line[1]) == code, error.__name__


def test_every_event_for_machines_is_in_the_cli_page() -> None:
    text = page("cli.md")
    names = re.findall(r"^``(\w+)``", progress.__doc__ or "", re.MULTILINE)
    assert "task_started" in names
    assert [name for name in names if f"`{name}`" not in text and name != "progress"] == []


def test_every_decision_is_listed() -> None:
    listed = (ROOT / "docs" / "decisions" / "README.md").read_text("utf-8")
    found = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("0*.md"))
    assert [name for name in found if f"({name})" not in listed] == []


# -- links -------------------------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """Return the anchors that headings make."""
    found: set[str] = set()
    for heading in re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    ):
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found.add(plain)
    return found


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_files_that_are_named_are_there(path: Path) -> None:
    named = re.findall(r"`((?:tests|src|examples|tools|chaos|docs)/[\w./-]+)`", path.read_text("utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text("utf-8")
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        if found == ROOT / "docs" / "benchmarks.md":
            continue  # `make bench` writes it
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found.read_text("utf-8")), target


def test_every_page_is_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in seen or not path.exists():
            continue
        seen.add(path)
        path = path / "README.md" if path.is_dir() else path
        if path.suffix == ".md" and path.exists():
            seen.add(path)
            targets = (target.partition("#")[0] for target in LINK.findall(path.read_text("utf-8")))
            waiting += [(path.parent / target).resolve() for target in targets if target and ":" not in target]
    assert [name_of(path) for path in PAGES if path not in seen] == []


# -- docstrings --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("clean_process")
@pytest.mark.parametrize("name", WITH_DOCTESTS)
def test_examples_in_docstrings_run(name: str) -> None:
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert tried > 0
    assert failed == 0
