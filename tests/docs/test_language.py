"""The reference has every key of the language: what it is, an example that compiles, and what a resume makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator.compiler.keyexamples import ROWS
from orchestrator.compiler.load import load
from orchestrator.compiler.schema import PIPELINE, STEP, innermost, tables
from orchestrator.compiler.shape import Items, Kind, Table
from tools import docs

TABLES = {table.name: table for table in tables()}
BEFORE = {"id": "before", "tool": "shell", "parameters": {"command": ["true"]}}


def plain(line: str) -> dict[str, Any]:
    found: dict[str, Any] = load(line, file=line).plain()
    return found


def test_every_table_has_its_section_and_every_key_its_row() -> None:
    assert sorted(docs.sections()) == sorted(TABLES), "docs/yaml-reference.md: <!-- generated: yaml TABLE -->"
    assert sorted(ROWS) == sorted(TABLES), "compiler/keyexamples.py: the tables"
    for name, table in TABLES.items():
        assert sorted(ROWS[name]) == sorted(table.keys), f"compiler/keyexamples.py: the keys of {name}"


@pytest.mark.parametrize("name", TABLES)
def test_rows_say_in_a_sentence_what_a_resume_makes_of_a_key(name: str) -> None:
    for key, row in ROWS[name].items():
        assert list(plain(row.example)) == [key]
        assert "\n" not in row.example
        assert row.on_resume == row.on_resume.strip()
        assert row.on_resume.endswith("."), key
        assert 20 < len(row.on_resume) < 160, key


@pytest.mark.parametrize("name", TABLES)
def test_examples_of_keys_compile(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "moving.py").write_text("def to_rows(old): return old\n")
    monkeypatch.syspath_prepend(tmp_path)
    for key, row in ROWS[name].items():
        orchestrator.Pipeline.from_dict(document(TABLES[name], key, plain(row.example)[key]))


def document(table: Table, key: str, value: Any) -> dict[str, Any]:
    """Return a pipeline that has this key in a mapping of this table, wherever that may stand."""
    beside = ROWS[table.name][key].beside
    found = {need: plain(ROWS[table.name][need].example)[need] for need in table.required}
    if beside:
        found |= plain(beside)
    elif table is STEP:
        found |= {"tool": "shell", "parameters": {"command": ["date"]}}
    found[key] = value
    if table is PIPELINE:
        return {"id": "p", "inputs": {"day": "2026-01-31"}, "limits": {"api": "10/min"}} | found
    if table is STEP:
        return document(PIPELINE, "steps", [BEFORE, found])
    parent, at, kind = next(
        (parent, at, each.kind)
        for parent in TABLES.values()
        for at, each in parent.keys.items()
        if innermost(each.kind) is table
    )
    return document(parent, at, wrapped(kind, found))


def wrapped(kind: Kind, value: Any) -> Any:
    """Return what holds a value in the lists and names that a kind says."""
    if not isinstance(kind, Items):
        return value
    inner = wrapped(kind.kind, value)
    return {"x": inner} if kind.named else [inner]
