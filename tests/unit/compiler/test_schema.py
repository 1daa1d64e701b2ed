"""The JSON Schema of the language says about the shape of a file what the compiler says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.compiler import json_schema
from orchestrator.compiler.diagnostics import Collector, NoSource
from orchestrator.compiler.load import load
from orchestrator.compiler.schema import PIPELINE
from orchestrator.compiler.shape import Reading
from orchestrator.errors import DefinitionError
from orchestrator.schemas.values import metaschema, mistakes, validator_of
from tests.docs.blocks import PAGES, ROOT, blocks_of

SCHEMA = validator_of(json_schema())
CASES = (Path(__file__).parent / "messages.txt").read_text().split("=" * 20 + "\n")[1:]
FILES = [*(ROOT / "examples").rglob("pipeline.yaml"), *(ROOT / "src").rglob("pipeline.yaml")]
BLOCKS = [
    block
    for page in PAGES
    for block in blocks_of(page)
    if block.kind == "yaml" and not {"from", "fragment"} & block.notes.keys() and "refused" not in (block.file or "")
]
UNSAID = ("is another name of", "got the number inf", "got the number nan")
"""Two names of one key JSON Schema could tell only at the price of all other messages; numbers without end it lacks."""


def refused(document: Any) -> list[str]:
    return [message for _, message in mistakes(SCHEMA, document)]


def test_the_schema_is_one_of_2020_12() -> None:
    assert list(mistakes(metaschema(), json_schema())) == []


def test_every_key_has_what_an_editor_shows() -> None:
    schema = json_schema()
    for part in (schema, *schema["$defs"].values()):
        for key, about in part["properties"].items():
            assert about["description"], key
            assert len(about["examples"]) == 1, key
            assert not refused_by(about, about["examples"][0]), key


def refused_by(part: dict[str, Any], value: Any) -> list[str]:
    return [message for _, message in mistakes(validator_of({**part, "$defs": json_schema()["$defs"]}), value)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_pipelines_of_the_repository_satisfy_it(file: Path) -> None:
    assert refused(load(file.read_bytes()).plain()) == []


def test_pipelines_of_the_documentation_satisfy_it() -> None:
    assert len(BLOCKS) > 5
    assert {block.place: found for block in BLOCKS if (found := refused(load(block.text).plain()))} == {}


def test_it_refuses_what_the_compiler_refuses_for_its_shape_and_nothing_else() -> None:
    looked_at = {True: 0, False: 0}
    for case in CASES:
        try:
            document = load(case.partition("\n->\n")[0]).plain()
        except DefinitionError:
            continue  # no YAML: there is no document to have a shape
        found = Collector(NoSource())
        if isinstance(document, dict):
            PIPELINE.read(document, (), Reading(found))
        else:
            found.add((), "no mapping")
        if any(word in f"{case}{found.error()}" for word in UNSAID):
            continue
        assert bool(refused(document)) == bool(found), case
        looked_at[bool(found)] += 1
    assert min(looked_at.values()) > 30
