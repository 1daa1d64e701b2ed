"""Every mistake that a definition can hold, with the whole message that its author reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.compiler import compile_dict, compile_file, compile_text
from orchestrator.errors import DefinitionError
from tests.unit.compiler.fakes import FakeTools, mistakes

CASES = (Path(__file__).parent / "messages.txt").read_text().split("=" * 20 + "\n")[1:]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.partition("\n->\n")[2].strip())
def test_the_message_says_where_what_and_what_next(case: str) -> None:
    text, _, expected = case.partition("\n->\n")
    assert mistakes(text) == [expected.removesuffix("\n")]


def test_all_mistakes_are_told_at_once_in_file_order() -> None:
    text = (
        "id: p\n"
        "inputs: {limit: {type: integer, default: x}}\n"
        "resume: {checkpoint_interval: -1}\n"
        "steps:\n"
        "  - {id: a, tool: nosuch, timeout: x}\n"
        "  - id: a\n"
        "    tool: noop\n"
        "    depends_on: [bb]\n"
        "    parameters: {n: '{{ inputs.limitt }}'}\n"
        "    conditon: true\n"
    )
    assert [line.split("  ")[0] for line in mistakes(text)] == [
        "p.yaml:2:42",
        "p.yaml:3:31",
        "p.yaml:5:19",
        "p.yaml:5:36",
        "p.yaml:6:9",
        "p.yaml:8:18",
        "p.yaml:9:21",
        "p.yaml:10:5",
    ]


def test_a_mistake_of_shape_is_told_once() -> None:
    assert mistakes("steps:\n- {id: 3, tool: 4}\n- 5\n- {id: b, tool: noop, depends_on: ['3']}") == [
        'p.yaml:2:8  steps[0].id: expected text, got the number 3 (for text, write it in quotes: "3")',
        'p.yaml:2:17  steps[0].tool: expected text, got the number 4 (for text, write it in quotes: "4")',
        "p.yaml:3:3  steps[1]: expected a mapping, got the number 5",
    ]


def test_very_many_mistakes_are_counted() -> None:
    lines = mistakes("steps:\n" + "".join(f"- {{id: a{n}, tool: nosuch, depends_on: [x{n}]}}\n" for n in range(2000)))
    assert len(lines) == 1001
    assert lines[-1] == "p.yaml  and 3000 more mistakes"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "no.yaml", "there is no such file"),
        (tmp_path, "this is a folder, not a file (name the pipeline file in it)"),
        (Path("a\0b"), "cannot be read: embedded null byte"),
    ):
        with pytest.raises(DefinitionError) as caught:
            compile_file(path)
        assert str(caught.value) == f"{path}  {message}"


def test_a_file_names_its_pipeline(tmp_path: Path) -> None:
    path = tmp_path / "my flights.v2.yaml"
    path.write_text("steps: [{id: a, tool: noop}]")
    assert compile_file(path, FakeTools()).id == "my_flights"
    assert compile_text("steps: [{id: a, tool: noop}]", file="C:\\x\\é.yaml").id == "_"
    assert compile_text("steps: [{id: a, tool: noop}]", file="<stdin>").id == "stdin"


def test_a_mapping_needs_its_id_and_tells_no_lines() -> None:
    with pytest.raises(DefinitionError) as caught:
        compile_dict({"steps": [{"id": "a", "tool": "noop"}]})
    assert str(caught.value) == "<pipeline>  id: this key is missing (it names the pipeline)"
    with pytest.raises(DefinitionError) as caught:
        compile_dict({"id": "p", "steps": [{"id": "a", "tool": "noop", "depends_on": "b"}]})
    assert str(caught.value) == "<pipeline>  steps[0].depends_on: no step named 'b'"


def test_a_mapping_of_anything_but_plain_data_is_refused() -> None:
    deep: dict[str, object] = {}
    deep["deep"] = deep
    for value, message in (
        (object(), "a Python object cannot stand in a definition"),
        (b"x", "a Python bytes cannot stand in a definition"),
        ({1: 2}, "a key must be text, not 1"),
        (deep, "nested deeper than 64 levels"),
        ("\ud800", "text that is not valid Unicode"),
    ):
        with pytest.raises(DefinitionError, match=message):
            compile_dict({"id": "p", "steps": [{"id": "a", "tool": "noop", "parameters": {"x": value}}]})


def test_a_number_of_very_many_digits_is_a_mistake_of_shape() -> None:
    hint = 'expected text, got the number with very many digits (for text, write it in quotes: "…")'
    assert mistakes(f"steps: [{{id: 0x{'f' * 5000}, tool: noop}}]") == [f"p.yaml:1:14  steps[0].id: {hint}"]
    with pytest.raises(DefinitionError) as caught:
        compile_dict({"id": "p", "version": 10**5000, "steps": [{"id": "a", "tool": "noop"}]})
    assert str(caught.value) == f"<pipeline>  version: {hint}"


def test_an_input_may_be_named_like_a_key_of_an_input() -> None:
    (mistake,) = mistakes("inputs: {type: {typ: any}}\nsteps: [{id: a, tool: noop}]")
    assert mistake.startswith("p.yaml:1:17  inputs.type.typ: unknown key 'typ' (did you mean 'type'?; a default that")
