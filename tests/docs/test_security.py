"""The security page names a test for every line, and the tests exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

LINES = 24
PAGE = ROOT / "docs" / "security.md"
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \| (.*?) ?\|$", re.MULTILINE)
NAMED = re.compile(r"`([\w/]+\.py)::(\w+)`")


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}


def test_every_line_has_a_row_and_its_tests_exist() -> None:
    rows = ROW.findall(PAGE.read_text("utf-8"))
    assert [int(number) for number, *_ in rows] == list(range(1, LINES + 1))
    missing = [
        f"{path}::{name}"
        for *_, tests in rows
        for path, name in NAMED.findall(tests)
        if not (ROOT / path).exists() or name not in functions_of(ROOT / path)
    ]
    assert not missing


@pytest.mark.parametrize("row", ROW.findall(PAGE.read_text("utf-8")), ids=lambda row: row[0])
def test_a_line_that_holds_names_a_test(row: tuple[str, str, str, str]) -> None:
    _, _, state, tests = row
    assert NAMED.search(tests) or "does not apply" in state
