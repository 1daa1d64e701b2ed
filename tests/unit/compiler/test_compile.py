"""Compiling as a whole."""

import pytest

from orchestrator.compiler.compile import compile_text
from orchestrator.errors import DefinitionError


def test_a_key_given_twice_hides_no_other_mistake() -> None:
    text = "id: p\nid: q\nsteps:\n  - id: a\n    tool: t\n    tool: u\n    timeout: -1\n    dependson: []\n"
    with pytest.raises(DefinitionError) as caught:
        compile_text(text, file="p.yaml")
    places = [(item.line, item.column, item.message.split(",")[0]) for item in caught.value.diagnostics]
    assert [place for place in places if place[0] != 7] == [
        (2, 1, "the key 'id' is given twice"),
        (6, 5, "the key 'tool' is given twice"),
        (8, 5, "unknown key 'dependson'"),
    ]
    assert [place[:2] for place in places] == [(2, 1), (6, 5), (7, 14), (8, 5)]
