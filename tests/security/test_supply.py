"""What the package is built on: little, pinned, and above the fixes that are known."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import apsw
import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
ADVISORIES = tomllib.loads((ROOT / "tools" / "advisories.toml").read_text("utf-8"))["minimum"]
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[\w,-]+\])?==([0-9][\w.!+-]*)(?: ;.*)?$")

WHY = {
    "apsw": "SQLite, of a version of our choice",
    "backports.zstd": "compression; part of Python from 3.14 on",
    "click": "the command line",
    "jinja2": "the parser of expressions",
    "jsonschema": "results held against the schema of their step; loaded with the first one",
    "markdown-it-py": "Markdown to HTML in the tool report; rich brings it anyway",
    "ormsgpack": "the form of values and facts",
    "pydantic": "tools with models as parameters",
    "pyyaml": "the parser of pipelines",
    "rich": "tables and progress on a terminal",
}


def pins(path: Path) -> dict[str, str]:
    found = {}
    for line in path.read_text("utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text and not text.startswith("-"):
            match = PIN.match(text)
            assert match, f"{path.name}: not pinned exactly: {text}"
            found[match[1].lower().replace("_", "-").replace(".", "-")] = match[2]
    return found


def number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_every_pin_is_exact(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "://" not in text
    assert pins(path) or path.name == "demo.txt"


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_no_pin_is_below_a_known_fix(path: Path) -> None:
    for name, version in pins(path).items():
        least = ADVISORIES.get(name)
        if least is not None:
            assert number(version) >= number(least["version"]), f"{name} {version}: {least['why']}"


def test_sqlite_has_the_fix_that_durability_needs() -> None:
    assert number(apsw.sqlite_lib_version()) >= number(ADVISORIES["sqlite"]["version"])


def test_the_core_needs_nothing_unexplained() -> None:
    names = {re.split(r"[<>=~;\s\[]", text, maxsplit=1)[0] for text in PROJECT["dependencies"]}
    assert names == set(WHY)


def test_lower_bounds_are_not_below_a_known_fix() -> None:
    for text in PROJECT["dependencies"]:
        name, _, rest = text.partition(">=")
        least = ADVISORIES.get(name.strip().lower())
        if least is not None:
            assert number(rest.split(";")[0]) >= number(least["version"]), text
