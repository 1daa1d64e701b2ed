"""Whatever the text, the compiler answers with a pipeline or with a DefinitionError that says where."""

from __future__ import annotations

import contextlib
import json
import random
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.compiler import compile_dict, compile_text
from orchestrator.domain.pipeline import Pipeline
from orchestrator.errors import DefinitionError
from tests.unit.compiler.fakes import FakeTools

VALID = """\
id: flights
name: Flights
version: 1.0
inputs: {limit: 3, path: {type: string, default: "x"}}
resume: {enabled: true, checkpoint_interval: 30, max_retries: 3}
steps:
  - id: fetch_data
    tool: files
    action: read
    parameters: {path: "{{ inputs.path }}/a.csv"}
    retry: {max_attempts: 3, delay: 1s, on: [timeout]}
    resume: {critical: true}
  - id: report
    tool: files
    action: write
    depends_on: [fetch_data]
    condition: "{{ fetch_data.result.rows | length > 0 }}"
    timeout: 5m
    parameters:
      path: out.txt
      content: |
        {{ fetch_data.result.text }} and {{ execution.id }}
outputs: {report: "{{ report.result }}"}
"""
PIECES = [
    *("{{", "}}", "{%", "%}", ": ", "- ", "&a ", "*a", "!!python/object:os.system ", "!x ", "<<: ", "[", "]", "{", "}"),
    *("'", '"', "|", ">", "\t", "\n", "\r", "\x00", "\x85", "\u2028", "\ufeff", "\ud800", "null", "true", "-1", ".inf"),
    *(".nan", "9" * 50, "0x", "---\n", "...\n", "? ", "#", "%YAML 3.0\n---\n", "%TAG ! tag:x,1:\n", "steps", "inputs"),
    *("id: a\n", "🙂", "((((", "9**9**9", "__class__", ","),
]


def outcome(text: str | bytes) -> Pipeline | DefinitionError:
    try:
        return compile_text(text, file="p.yaml", tools=FakeTools())
    except DefinitionError as error:
        return error


def answer(text: str | bytes) -> None:
    found = outcome(text)
    if isinstance(found, Pipeline):
        return
    assert found.diagnostics
    for item in found.diagnostics:
        assert item.message
        assert item.file == "p.yaml"
        assert (item.line > 0 and item.column > 0) or "more mistakes" in item.message


def test_the_seed_is_valid() -> None:
    assert compile_text(VALID, tools=FakeTools()).id == "flights"


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    answer(data)


@given(st.text(max_size=200))
@example("? ? a")
@example("{}: {}")
@example("a: &a\n  b: *a")
def test_any_text(text: str) -> None:
    answer(text)


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join))
def test_any_pieces_of_yaml(text: str) -> None:
    answer(text)


edits = st.tuples(st.integers(0, len(VALID)), st.integers(0, 12), st.sampled_from(PIECES) | st.text(max_size=3))


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(st.integers(0, len(VALID)), st.integers(0, 12), st.sampled_from(PIECES) | st.text(max_size=3)),
        max_size=4,
    )
)
def test_mutants_of_a_valid_file(mutations: list[tuple[int, int, str]]) -> None:
    text = VALID
    for at, cut, piece in mutations:
        text = text[:at] + piece + text[at + cut :]
    answer(text)


@pytest.mark.slow
def test_many_mutants_of_a_valid_file() -> None:
    chance = random.Random(7)
    lines = VALID.splitlines(keepends=True)
    for _ in range(1500):
        mutant = list(lines)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(mutant))
            match chance.randrange(5):
                case 0:
                    del mutant[at]
                case 1:
                    mutant.insert(at, chance.choice(lines))
                case 2:
                    mutant[at] = " " * chance.randrange(6) + mutant[at].lstrip()
                case 3:
                    place = chance.randrange(len(mutant[at]) + 1)
                    mutant[at] = mutant[at][:place] + chance.choice(PIECES) + mutant[at][place:]
                case _:
                    mutant[at] = mutant[at][: chance.randrange(len(mutant[at]) + 1)]
            if not mutant:
                break
        answer("".join(mutant))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=3),
    max_leaves=10,
)
KEYS = (
    "id name version inputs parameters resume steps outputs tool action dependencies depends_on condition timeout "
    "retry on_interrupted isolation files reads writes output_schema properties items $ref cache ttl key on_change "
    "migrate renamed_from"
)
keys = st.sampled_from([*KEYS.split(), "critical", "checkpoint", "default", "type"])
shaped = st.recursive(
    anything | st.sampled_from(["a", "b", "{{ a.result }}", "{{ inputs.x }}", "both", "process", "5m"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=60)
@given(st.dictionaries(keys, shaped, max_size=6))
def test_any_mapping(definition: dict[str, Any]) -> None:
    with contextlib.suppress(DefinitionError):
        assert isinstance(compile_dict(definition, FakeTools()), Pipeline)


@pytest.mark.slow
@pytest.mark.parametrize(
    "value",
    [
        "{%" * 1_000_000,
        "{#" * 1_000_000,
        "{{" * 1_000_000,
        "{{1}}" * 500_000,
        "{{ ''" + "''" * 500_000,
        "{{ '" + "\\'" * 500_000,
        "{{ " + "((((" * 2000 + " }}",
        "{{ " + "-" * 9000 + "1 }}",
        "{{ " + "1_" * 4500 + "1 }}",
        "{{ 1" + "|abs" * 2000 + " }}",
        "{{ " + "[" * 4000 + " }}",
        "x" * 4_000_000,
    ],
    ids=lambda value: value[:10],
)
def test_long_texts_do_not_take_long(value: str) -> None:
    start = time.process_time()
    answer(f"steps: [{{id: a, tool: noop, parameters: {{x: {json.dumps(value)}}}}}]")
    assert time.process_time() - start < 3


@pytest.mark.slow
def test_very_many_mistakes_do_not_take_long() -> None:
    for text in (
        "\n".join(f"k{n}: 1" for n in range(50_000)),
        "steps: [" + "1," * 100_000 + "]",
        "steps: [{id: a, tool: noop, parameters: {x: [" + "'{{ ((1 }}'," * 50_000 + "]}}]",
        f"steps: [{{id: a, tool: noop, depends_on: [{'x' * 1_000_000}]}}, {{id: {'y' * 1_000_000}, tool: noop}}]",
    ):
        start = time.process_time()
        answer(text)
        assert time.process_time() - start < 6
