"""Every mistake that a definition can hold, with the whole message that its author reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.compiler import compile_dict, compile_file, compile_text
from orchestrator.errors import DefinitionError
from tests.unit.compiler.fakes import FakeTools, mistakes

ID_RULE = "an id is letters, digits, '_', '-' and '.', starting with a letter, digit or '_', at most 128 characters"
NOOP = "steps: [{id: a, tool: noop}]\n"


def step(line: str) -> str:
    """Return a pipeline whose second step has one more line, which is line 4."""
    return f"steps:\n- {{id: first_step, tool: noop}}\n- id: b\n  {line}\n  tool: noop\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # shape
        ("[1]", "p.yaml:1:1  expected a mapping with the pipeline's keys, got a list"),
        ("just text", "p.yaml:1:1  expected a mapping with the pipeline's keys, got the text 'just text'"),
        ("id: p", "p.yaml:1:1  steps: this key is missing"),
        ("steps: []", "p.yaml:1:8  steps: a pipeline needs at least one step"),
        ("steps: {a: 1}", "p.yaml:1:8  steps: expected a list, got a mapping"),
        ("steps: [3]", "p.yaml:1:9  steps[0]: expected a mapping, got the number 3"),
        ("steps: [{tool: noop}]", "p.yaml:1:9  steps[0].id: this key is missing"),
        ("steps: [{id: a}]", "p.yaml:1:9  steps[0].tool: this key is missing"),
        (NOOP + "stps: 1", "p.yaml:2:1  stps: unknown key 'stps' (did you mean 'steps'?)"),
        (
            NOOP + "zzzzzz: 1",
            "p.yaml:2:1  zzzzzz: unknown key 'zzzzzz' "
            "(there are id, name, version, description, inputs, resume, steps, outputs, parameters)",
        ),
        (NOOP + "name: 3", 'p.yaml:2:7  name: expected text, got the number 3 (for text, write it in quotes: "3")'),
        (
            step("parameters:"),
            "p.yaml:4:14  steps[1].parameters: expected a mapping, got nothing (null) (leave the key out to have its default)",
        ),
        (NOOP + "id: a b", f"p.yaml:2:5  id: 'a b' is not an id ({ID_RULE})"),
        (NOOP + "id: ../x", f"p.yaml:2:5  id: '../x' is not an id ({ID_RULE})"),
        (
            "parameters: {}\ninputs: {}\n" + NOOP,
            "p.yaml:1:1  parameters: parameters is another name of inputs: give one of them",
        ),
        # steps
        (step("paramters: {}"), "p.yaml:4:3  steps[1].paramters: unknown key 'paramters' (did you mean 'parameters'?)"),
        (step("depends_on: first-step"), "p.yaml:4:15  steps[1].depends_on: no step named 'first-step' (did you mean 'first_step'?)"),
        (step("dependencies: [firststep]"), "p.yaml:4:18  steps[1].dependencies: no step named 'firststep' (did you mean 'first_step'?)"),
        (step("depends_on: 3"), "p.yaml:4:15  steps[1].depends_on: expected text or a list of texts, got the number 3"),
        (step("depends_on: [3]"), 'p.yaml:4:16  steps[1].depends_on[0]: expected text, got the number 3 (for text, write it in quotes: "3")'),
        (step("depends_on: b"), "p.yaml:4:15  steps[1].depends_on: a step cannot depend on itself"),
        (
            "steps:\n- {id: a, tool: noop, dependencies: [], depends_on: []}\n",
            "p.yaml:2:41  steps[0].depends_on: depends_on is another name of dependencies: give one of them",
        ),
        (step("timeout: '5'"), "p.yaml:4:12  steps[1].timeout: expected a duration: seconds as a number, or text like '90s', '5m', '2h', got the text '5'"),
        (step("timeout: 1:30"), "p.yaml:4:12  steps[1].timeout: expected a duration: seconds as a number, or text like '90s', '5m', '2h', got the text '1:30'"),
        (step("timeout: true"), "p.yaml:4:12  steps[1].timeout: expected a duration: seconds as a number, or text like '90s', '5m', '2h', got true"),
        (step("timeout: 0"), "p.yaml:4:12  steps[1].timeout: expected more than 0 seconds, got the number 0"),
        (step("timeout: -1"), "p.yaml:4:12  steps[1].timeout: expected more than 0 seconds, got the number -1"),
        (step("timeout: .inf"), "p.yaml:4:12  steps[1].timeout: expected more than 0 seconds, got the number inf"),
        (step("timeout: .nan"), "p.yaml:4:12  steps[1].timeout: expected more than 0 seconds, got the number nan"),
        (step("retry: 0"), "p.yaml:4:10  steps[1].retry.max_attempts: expected 1 or more, got the number 0"),
        (step("retry: often"), "p.yaml:4:10  steps[1].retry: expected a number of attempts, or a mapping, got the text 'often'"),
        (step("retry: {max_attempts: 2.5}"), "p.yaml:4:25  steps[1].retry.max_attempts: expected a whole number, got the number 2.5"),
        (step("retry: {max_attempts: true}"), "p.yaml:4:25  steps[1].retry.max_attempts: expected a whole number, got true"),
        (step("retry: {max_attempts: '3'}"), "p.yaml:4:25  steps[1].retry.max_attempts: expected a whole number, got the text '3' (for a number, write it without quotes)"),
        (step("retry: {delay: -1}"), "p.yaml:4:18  steps[1].retry.delay: expected 0 or more, got the number -1"),
        (step("retry: {backoff: 0.5}"), "p.yaml:4:20  steps[1].retry.backoff: expected 1 or more, got the number 0.5"),
        (step("retry: {max_delay: -5s}"), "p.yaml:4:22  steps[1].retry.max_delay: expected a duration: seconds as a number, or text like '90s', '5m', '2h', got the text '-5s'"),
        (step("retry: {jitter: no}"), "p.yaml:4:19  steps[1].retry.jitter: expected true or false, got the text 'no'"),
        (step("retry: {on: [3]}"), 'p.yaml:4:16  steps[1].retry.on[0]: expected text, got the number 3 (for text, write it in quotes: "3")'),
        (step("retry: {on: ['']}"), "p.yaml:4:15  steps[1].retry.on: expected kinds of error, as text"),
        (step("resume: {critical: 1}"), "p.yaml:4:22  steps[1].resume.critical: expected true or false, got the number 1"),
        (step("resume: {checkpoint: beforr}"), "p.yaml:4:24  steps[1].resume.checkpoint: expected before, after, both or none, got the text 'beforr' (did you mean 'before'?)"),
        (step("on_interrupted: retry"), "p.yaml:4:19  steps[1].on_interrupted: expected rerun, fail or ask, got the text 'retry' (did you mean 'rerun'?)"),
        (step("isolation: proces"), "p.yaml:4:14  steps[1].isolation: expected none or process, got the text 'proces' (did you mean 'process'?)"),
        (step("parameters: [1]"), "p.yaml:4:15  steps[1].parameters: expected a mapping, got a list"),
        (step("condition: 3"), 'p.yaml:4:14  steps[1].condition: expected text, got the number 3 (for text, write it in quotes: "3")'),
        # ids
        ("steps: [{id: a b, tool: noop}]", f"p.yaml:1:14  steps[0].id: 'a b' is not an id ({ID_RULE})"),
        ("steps: [{id: '', tool: noop}]", f"p.yaml:1:14  steps[0].id: '' is not an id ({ID_RULE})"),
        ("steps: [{id: -x, tool: noop}]", f"p.yaml:1:14  steps[0].id: '-x' is not an id ({ID_RULE})"),
        ("steps: [{id: inputs, tool: noop}]", "p.yaml:1:14  steps[0].id: no step can be named 'inputs' (the word has a meaning in templates)"),
        ("steps: [{id: None, tool: noop}]", "p.yaml:1:14  steps[0].id: no step can be named 'None' (the word has a meaning in templates)"),
        ("steps:\n- {id: a, tool: noop}\n- {id: a, tool: noop}\n", "p.yaml:3:8  steps[1].id: two steps are named 'a' (the first is at 2:8)"),
        # cycles
        (
            "steps:\n- {id: c, tool: noop}\n- {id: a, tool: noop, depends_on: [c, b]}\n- {id: b, tool: noop, parameters: {x: '{{ a.result }}'}}\n",
            "p.yaml:3:39  steps[1].depends_on: the steps wait for each other: a -> b -> a",
        ),
        (
            "steps:\n- {id: a, tool: noop, parameters: {x: '{{ b.result }}'}}\n- {id: b, tool: noop, depends_on: a}\n",
            "p.yaml:2:3  steps[0]: the steps wait for each other: a -> b -> a",
        ),
        # tools
        ("steps: [{id: a, tool: file}]", "p.yaml:1:23  steps[0].tool: no tool named 'file' (did you mean 'files'?)"),
        ("steps: [{id: a, tool: files, action: rea}]", "p.yaml:1:38  steps[0].action: tool 'files' has no action 'rea' (did you mean 'read'?)"),
        ("steps: [{id: a, tool: files, action: read, parameters: {path: x, pat: y}}]", "p.yaml:1:71  steps[0].parameters.pat: unknown parameter 'pat'"),
        ("steps: [{id: a, tool: files, action: read, parameters: {path: 3}}]", "p.yaml:1:63  steps[0].parameters.path: expected text"),
        # inputs
        (NOOP + "inputs: {a: {type: int}}", "p.yaml:2:20  inputs.a.type: expected string, integer, number, boolean, list, object or any, got the text 'int'"),
        (NOOP + "inputs: {a: {type: integer, default: x}}", "p.yaml:2:38  inputs.a.default: expected a whole number, got the text 'x'"),
        (NOOP + "inputs: {a: {type: integer, default: true}}", "p.yaml:2:38  inputs.a.default: expected a whole number, got true"),
        (NOOP + "inputs: {a: {required: true, default: 3}}", "p.yaml:2:24  inputs.a.required: an input with a default need not be given (drop one of the two)"),
        (NOOP + "inputs: {a: {defalt: 3}}", "p.yaml:2:14  inputs.a.defalt: unknown key 'defalt' (did you mean 'default'?; a default that is a mapping is written default: {…})"),
        (NOOP + "inputs: {a b: 3}", f"p.yaml:2:10  inputs['a b']: 'a b' cannot name an input ({ID_RULE.replace('an id', 'a name', 1)})"),
        # resume
        (NOOP + "resume: {checkpoint_interval: -3}", "p.yaml:2:31  resume.checkpoint_interval: expected seconds above 0, got -3.0"),
        (NOOP + "resume: {checkpoint_interval_seconds: 0}", "p.yaml:2:39  resume.checkpoint_interval_seconds: expected seconds above 0, got 0.0"),
        (NOOP + "resume: {max_retries: -1}", "p.yaml:2:23  resume.max_retries: expected 0 or more, got -1"),
        (NOOP + "resume: {max_retry_attempts: -1}", "p.yaml:2:30  resume.max_retry_attempts: expected 0 or more, got -1"),
        (NOOP + "resume: {retry_failed: true, retry_failed_tasks: true}", "p.yaml:2:30  resume.retry_failed_tasks: retry_failed_tasks is another name of retry_failed: give one of them"),
        (NOOP + "resume: {enabled: on}", "p.yaml:2:19  resume.enabled: expected true or false, got the text 'on'"),
        (NOOP + "resume: true", "p.yaml:2:9  resume: expected a mapping, got true"),
        (NOOP + "resume: {preserve_completed: true}", "p.yaml:2:10  resume.preserve_completed: unknown key 'preserve_completed' (did you mean 'preserve_completed_tasks'?)"),
        # references
        (step("condition: inputs.x"), "p.yaml:4:14  steps[1].condition: {{ inputs.x }}: no input named 'x' (the pipeline declares no inputs)"),
        (step("condition: frst_step.result"), "p.yaml:4:14  steps[1].condition: {{ frst_step.result }}: no step named 'frst_step' (did you mean 'first_step'?)"),
        (step("parameters: {x: ['{{ first_step.rsult }}']}"), "p.yaml:4:20  steps[1].parameters.x[0]: {{ first_step.rsult }}: a step has result and status, not 'rsult' (did you mean 'result'?)"),
        (step("parameters: {x: '{{ first_step.rows }}'}"), "p.yaml:4:19  steps[1].parameters.x: {{ first_step.rows }}: a step has result and status, not 'rows' (a field of its result is written first_step.result.rows)"),
        (step("parameters: {x: '{{ first_step }}'}"), "p.yaml:4:19  steps[1].parameters.x: {{ first_step }}: first_step is a step, not a value (write first_step.result)"),
        (step("parameters: {x: '{{ b.result }}'}"), "p.yaml:4:19  steps[1].parameters.x: {{ b.result }}: a step cannot read its own result"),
        (step("parameters: {x: '{{ execution.ID }}'}"), "p.yaml:4:19  steps[1].parameters.x: {{ execution.ID }}: execution has no 'ID' (did you mean 'id'?)"),
        (step("parameters: {x: '{{ attempt.n }}'}"), "p.yaml:4:19  steps[1].parameters.x: {{ attempt.n }}: attempt is a number and holds nothing"),
        (step("parameters: {x: '{{ steps[attempt].result }}'}"), "p.yaml:4:19  steps[1].parameters.x: {{ steps[attempt].result }}: a step is named by a literal, not computed (write steps['some-id'].result)"),
        (step("parameters: {x: '{{ steps | length }}'}"), "p.yaml:4:19  steps[1].parameters.x: {{ steps | length }}: steps stands before the name of a step (write steps['some-id'].result)"),
        (step('parameters: {x: "{{ steps[\'nosuch\'].result }}"}'), "p.yaml:4:19  steps[1].parameters.x: {{ steps['nosuch'].result }}: no step named 'nosuch'"),
        (
            "inputs: {limit: 3}\n" + step("parameters: {x: '{{ limit }}'}"),
            "p.yaml:5:19  steps[1].parameters.x: {{ limit }}: no step named 'limit' (the input is written inputs.limit)",
        ),
        (
            "inputs: {limit: 3}\n" + step("parameters: {x: '{{ inputs.limt }}'}"),
            "p.yaml:5:19  steps[1].parameters.x: {{ inputs.limt }}: no input named 'limt' (did you mean 'limit'?)",
        ),
        (
            "steps:\n- {id: my-step, tool: noop}\n- {id: b, tool: noop, parameters: {x: '{{ my-step.result }}'}}\n",
            "p.yaml:3:39  steps[1].parameters.x: {{ my-step.result }}: my-step cannot be written like this "
            "(write steps['my-step'])",
        ),
        (NOOP + "outputs: {x: '{{ aa.result }}'}", "p.yaml:2:14  outputs.x: {{ aa.result }}: no step named 'aa' (did you mean 'a'?)"),
        # templates
        (step("parameters: {x: '{{ 1 +'}"), "p.yaml:4:19  steps[1].parameters.x: '{{ 1 +' is not closed by }}; a text that holds two braces is written {{ '{{' }}"),
        (step("parameters: {x: '{{ }}'}"), "p.yaml:4:19  steps[1].parameters.x: {{  }}: an expression is missing between the braces"),
        (step("parameters: {x: '{{ 1 2 }}'}"), "p.yaml:4:19  steps[1].parameters.x: {{ 1 2 }}: not an expression: unexpected '2'"),
        (step("parameters: {x: '{{ 1 | uper }}'}"), "p.yaml:4:19  steps[1].parameters.x: {{ 1 | uper }}: no filter named 'uper'; did you mean 'upper'?"),
        (step("parameters: {x: '{{ attempt is evn }}'}"), "p.yaml:4:19  steps[1].parameters.x: {{ attempt is evn }}: no test named 'evn'; did you mean 'even'?"),
        (step("parameters: {x: '{{ attempt.bit_length() }}'}"), "p.yaml:4:19  steps[1].parameters.x: {{ attempt.bit_length() }}: a template calls nothing: use a filter, like {{ x | upper }}, or index with [...]"),
        (step("parameters: {x: '{% if a %}'}"), "p.yaml:4:19  steps[1].parameters.x: statements like '{% if a %}' are not part of the language; use an expression, {{ a if b else c }}, or a condition"),
        (step("parameters: {x: '{# a #}'}"), "p.yaml:4:19  steps[1].parameters.x: comments like '{# a #}' are not part of the language; use YAML's #"),
        (step("parameters: {x: '{{ 1 / 0 }}'}"), "p.yaml:4:19  steps[1].parameters.x: {{ 1 / 0 }}: division by zero"),
        (step("condition: '{{ attempt }} > 1'"), "p.yaml:4:14  steps[1].condition: a condition is one expression: write all of it inside one pair of braces, or without any"),
        (step("condition: ''"), "p.yaml:4:14  steps[1].condition: {{  }}: an expression is missing between the braces"),
    ],
)  # fmt: skip
def test_the_message_says_where_what_and_what_next(text: str, expected: str) -> None:
    assert mistakes(text) == [expected]


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
    assert compile_text("steps: [{id: a, tool: noop}]", file="<stdin>").id == "_stdin_"


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
