"""The one layout: what it looks like, and that nothing is lost on the way there, whatever the file."""

from __future__ import annotations

import os
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.compiler import compile_text
from orchestrator.compiler.commented import comments_of
from orchestrator.compiler.format import formatted
from orchestrator.errors import DefinitionError, UsageError
from tests.docs.blocks import ROOT

EXAMPLES = int(os.environ.get("ORCHESTRATOR_EXAMPLES", "30"))
MESSY = """\
# About the file

steps:
# of b
- tool: shell # the tool
  id: b     # the id
  # about the parameters
  parameters: {command: [echo, 'it''s', no, 2026-01-31, "a: b"],   # inside
    # own
    cwd: {}}
  # after the step


  # still
- # beside the dash
  id:   c
  depends_on:
  - b
  parameters:
      text: |+  # kept
        one

          two

      folded: >-
         a
         b
      quoted: 'one
        two'
  tool: python
id: p
# before the outputs
outputs: {x: "{{ b.result }}"}  # out
version: 1.10
# the end
"""
NEAT = """\
# About the file

id: p
version: 1.10

steps:
  # of b
  - id: b  # the id
    tool: shell  # the tool
    # about the parameters
    parameters:
      command: [echo, "it's", "no", "2026-01-31", "a: b"]  # inside
      # own
      cwd: {}
    # after the step

    # still

  # beside the dash
  - id: c
    tool: python
    parameters:
      text: |+  # kept
        one

          two

      folded: >-
        a
        b
      quoted: "one two"
    depends_on:
      - b

# before the outputs
outputs:  # out
  x: "{{ b.result }}"
# the end
"""


def test_a_messy_file_becomes_neat_and_stays_so() -> None:
    assert formatted(MESSY) == NEAT
    assert formatted(NEAT) == NEAT
    assert formatted("\ufeff" + MESSY.replace("\n", "\r\n")) == NEAT


def test_comments_in_odd_places_stay_and_find_their_place_at_once() -> None:
    text = (
        "steps:\n- tool: x\n  id: # one\n    a # two\n  parameters: {  # three\n  # four\n  } # five\n"
        "- {tool: x, # six\n  id: b} # seven\n- # eight\n  id: # nine\n    # ten\n    c\n  tool: x\n # eleven\n# twelve"
    )
    neat = formatted(text)
    assert len(comments_of(neat)) == 12
    assert "  # one\n  - id: a  # two\n" in neat
    assert formatted(neat) == neat


def test_long_lines_are_broken_where_that_means_the_same() -> None:
    words = " ".join(["word"] * 40)
    text = f"id: p\nsteps: [{{id: a, tool: x, parameters: {{a: [{words}], b: '{'x' * 130}', c: ' {words}'}}}}]"
    neat = formatted(text)
    assert compile_text(neat) == compile_text(text)
    assert "- >-\n          word word" in neat
    breakable = [line for line in neat.splitlines() if "x" * 130 not in line and '" word' not in line]
    assert max(map(len, breakable)) <= 120
    assert formatted(neat) == neat


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("steps:\n- {id: a, tool: x, parameters: &p {n: 1}}\n- {id: b, parameters: *p, tool: x}", "  parameters: *p"),
        ("id: p\nsteps:\n- {id: a, tool: x, parameters: {n: !!str 5, m: !!float 1}}", 'n: "5", m: !!float 1'),
        ("---\nid: p\nsteps:\n- {id: a, tool: x, parameters: {n: , ? m : }}\n...\n", "{n: null, m: null}"),
        ('id: p\nsteps:\n- {id: a, tool: x, parameters: {n: "\\u0007\\u2028\\t"}}', '"\\x07\\u2028\\t"'),
        ("id: p\nsteps:\n- {id: a, tool: x, parameters: {n: }}\nname:\n", "name:\n"),
    ],
)
def test_anchors_tags_nothing_and_escapes_stay(text: str, part: str) -> None:
    neat = formatted(text)
    assert part in neat
    assert formatted(neat) == neat


def test_mistakes_are_told_as_always_and_directives_are_refused() -> None:
    with pytest.raises(DefinitionError, match=r"p\.yaml:2:13  steps\[0\]\.tol: unknown key"):
        formatted("id: p\nsteps: [{id: a, tol: x}]".replace("{id: a, ", "{   "), file="p.yaml")
    with pytest.raises(DefinitionError, match=r"p\.yaml:1:5  not YAML"):
        formatted("a: b: c", file="p.yaml")
    with pytest.raises(UsageError, match="directives"):
        formatted("%YAML 1.2\n---\nid: p\nsteps: [{id: a, tool: x}]")


def test_what_the_writer_would_lose_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.compiler import format as module

    monkeypatch.setattr(module._Writer, "document", lambda *_: "id: p\nsteps: [{id: a, tool: y}]")
    with pytest.raises(UsageError, match="without changing what it means"):
        formatted("id: p\nsteps: [{id: a, tool: x}]")
    with pytest.raises(UsageError, match="a comment in it would be lost"):
        formatted("id: p\nsteps: [{id: a, tool: y}] # c")


def test_the_files_of_this_repository_are_neat() -> None:
    files = [*(ROOT / "examples").rglob("pipeline.yaml"), *(ROOT / "src").rglob("pipeline.yaml")]
    assert len(files) >= 4
    for file in files:
        assert formatted(file.read_bytes()) == file.read_text("utf-8"), file


# -- whatever the file -------------------------------------------------------------------------------------------

texts = st.text(st.characters(codec="utf-8", exclude_characters="{}\ufeff"), max_size=12) | st.sampled_from(
    ["no", "1:30", "a\nb\n\n", " x\ny ", "# no comment", "a: b", "- a", "0x1F", "word " * 40 + "end", "\n", "a\n\n b\n"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def files(draw: Any) -> str:
    """Return a pipeline in some layout, its comments numbered: every `#c`."""
    steps = []
    for number in range(draw(st.integers(1, 3))):
        step = {"tool": "x", "id": f"s{number}", "parameters": draw(st.dictionaries(texts, values, max_size=3))}
        step |= {"description": draw(texts)} if draw(st.booleans()) else {}
        steps.append({key: step[key] for key in draw(st.permutations(list(step)))})
    document = {"steps": steps, "id": "p", "outputs": draw(st.dictionaries(texts, values, max_size=2))}
    document = {key: document[key] for key in draw(st.permutations(list(document)))}
    flow = draw(st.sampled_from([None, False, True]))
    style = draw(st.sampled_from([None, None, "'", '"', "|", ">"]))
    unicode, width = draw(st.booleans()), draw(st.sampled_from([20, 80, 1000]))
    text: str = (
        yaml.safe_dump(
            document,
            default_flow_style=flow,
            default_style=None,
            allow_unicode=unicode,
            width=width,
            sort_keys=False,
            indent=draw(st.sampled_from([2, 3, 4])),
        )
        if style is None
        else yaml.dump(document, Dumper=_styled(style), default_flow_style=False, width=width)
    )
    return _commented(draw, text)


def _styled(style: str) -> Any:
    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(
        str,
        lambda dumper, value: dumper.represent_scalar(
            "tag:yaml.org,2002:str", value, style=style if len(value) > 1 else None
        ),
    )
    return Dumper


def _commented(draw: Any, text: str) -> str:
    """Put comments and blank lines where they change nothing."""
    try:
        meant = compile_text(text)
    except DefinitionError:
        return text
    lines = text.split("\n")
    for number in range(draw(st.integers(0, 5))):
        at = draw(st.integers(0, len(lines) - 1))
        comment = f"#c{number}"
        changed = [*lines]
        if draw(st.booleans()):
            changed[at] += f" {comment}"
        else:
            changed[at:at] = [*draw(st.sampled_from([[], [""]])), " " * draw(st.integers(0, 8)) + comment]
        try:
            same = compile_text("\n".join(changed)) == meant
        except DefinitionError:
            continue
        lines = changed if same else lines
    return "\n".join(lines)


@settings(max_examples=EXAMPLES)
@given(files())
def test_nothing_is_lost_whatever_the_file(text: str) -> None:
    try:
        meant = compile_text(text)
    except DefinitionError:
        return
    neat = formatted(text)
    assert compile_text(neat) == meant
    assert list(compile_text(neat).tasks) == list(meant.tasks)
    assert sorted(each.text for each in comments_of(neat)) == sorted(each.text for each in comments_of(text))
    assert formatted(neat) == neat
    assert neat.endswith("\n")
