"""Reading YAML: what a text means, and that no text breaks the reader."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
import yaml

from orchestrator.compiler.load import MAX_BYTES, MAX_DEPTH, load
from orchestrator.errors import DefinitionError

ESCAPE = '(write it as an escape inside double quotes, like "\\u0007")'


TABS = "(indent with spaces, not tabs, and put text that starts with a special character in quotes)"
COLON = "(put text that contains ': ' in quotes)"


def messages(text: str | bytes) -> list[str]:
    with pytest.raises(DefinitionError) as caught:
        load(text, file="p.yaml")
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("y", "y"),
        ("12:30", "12:30"),
        ("1:30:00", "1:30:00"),
        ("2024-01-01", "2024-01-01"),
        ("1.10", 1.1),
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0", 0),
        ("+7", 7),
        ("-", None),
        ("~", None),
        ("null", None),
        ("NULL", None),
        ("true", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("=", "="),
        ("'1'", "1"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
        ("!!float 3", 3.0),
        ("!!null ''", None),
        ("&a x", "x"),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: Any) -> None:
    node = load(f"k: {text}" if text != "-" else "k:", file="p.yaml")
    found = node.plain()["k"]
    assert found == value
    assert type(found) is type(value)


def test_places_count_from_one_for_keys_and_values() -> None:
    root = load("a: 1\nbb:\n  - x\n  -   y\n", file="p.yaml")
    assert root.keys == {"a": (1, 1), "bb": (2, 1)}
    second = root.value["bb"].value[1]
    assert (second.line, second.column, second.text) == (4, 7, "y")


def test_aliases_are_followed() -> None:
    assert load("a: &x [1, 2]\nb: *x\n", file="p.yaml").plain() == {"a": [1, 2], "b": [1, 2]}


def test_a_byte_order_mark_is_skipped() -> None:
    assert load(b"\xef\xbb\xbfa: 1", file="p.yaml").plain() == {"a": 1}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["p.yaml:1:1  the file is empty"]),
        ("# nothing\n", ["p.yaml:1:1  the file is empty"]),
        ("a: 1\nb: 2\na: 3\n", ["p.yaml:3:1  the key 'a' is given twice (first at 1:1)"]),
        (
            "x:\n  k: 1\n  k: 2\n  k: 3\n",
            [
                "p.yaml:3:3  the key 'k' is given twice (first at 2:3)",
                "p.yaml:4:3  the key 'k' is given twice (first at 2:3)",
            ],
        ),
        ("a: 1\n---\nb: 2\n", ["p.yaml:2:1  a second document starts here (a file holds one pipeline)"]),
        ("200: ok", ['p.yaml:1:1  a key must be text (write "200", in quotes)']),
        ("true: ok", ['p.yaml:1:1  a key must be text (write "true", in quotes)']),
        ("? [a]\n: 1\n", ["p.yaml:1:3  a list or a mapping cannot be a key"]),
        ("{a: 1}: 1\n", ["p.yaml:1:1  a list or a mapping cannot be a key"]),
        ("<<: {a: 1}", ["p.yaml:1:1  merge keys ('<<') are not part of YAML 1.2 (write the keys out)"]),
        (
            "a: !!python/object:os.system x",
            ["p.yaml:1:4  the tag '!!python/object:os.system' is not allowed (a pipeline holds plain data only)"],
        ),
        (
            "a: !!python/object/apply:os.system [ls]",
            ["p.yaml:1:4  the tag '!!python/object/apply:os.system' is not allowed (a pipeline holds plain data only)"],
        ),
        ("a: !env X", ["p.yaml:1:4  the tag '!env' is not allowed (a pipeline holds plain data only)"]),
        ("a: !!set {x}", ["p.yaml:1:4  the tag '!!set' is not allowed (a pipeline holds plain data only)"]),
        ("a: !!int x", ["p.yaml:1:4  'x' is not of the type !!int"]),
        ("a: *b", ["p.yaml:1:4  no anchor '&b' before this alias"]),
        ("a: &a [*a]", ["p.yaml:1:8  the alias '*a' stands inside what it refers to"]),
        (
            "a:\n\t- b",
            [
                "p.yaml:2:1  not YAML: found character that cannot start any token while scanning for the next token "
                + TABS
            ],
        ),
        ("a: [1, 2\n", ["p.yaml:2:1  not YAML: did not find expected ',' or ']' while parsing a flow sequence"]),
        (
            "a: b: c",
            ["p.yaml:1:5  not YAML: mapping values are not allowed in this context " + COLON],
        ),
        (
            "a: x\x00y",
            ["p.yaml:1:5  the character U+0000 cannot stand in YAML " + ESCAPE],
        ),
        (
            "a: \ud800",
            ["p.yaml:1:4  the character U+D800 cannot stand in YAML " + ESCAPE],
        ),
        (b"a: 1\nb: \xff", ["p.yaml:2:4  not UTF-8: unexpected byte 0xff (save the file with the encoding UTF-8)"]),
        (
            "a: 1\n".encode("utf-16"),
            ["p.yaml:1:1  not UTF-8: unexpected byte 0xff (save the file with the encoding UTF-8)"],
        ),
        ("a: " + "9" * 5000, ["p.yaml:1:4  a number with too many digits (put it in quotes to make it text)"]),
    ],
)
def test_mistakes_are_told_with_their_place(text: str | bytes, expected: list[str]) -> None:
    assert messages(text) == expected


def test_an_alias_bomb_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    text = "\n".join(lines)
    assert len(text) < 600
    start = time.process_time()
    assert messages(text) == [
        "p.yaml:6:26  more than 500,000 values, counting each alias as all that it stands for",
    ]
    assert time.process_time() - start < 0.5


def test_depth_through_aliases_counts() -> None:
    deep = "[" * 40 + "]" * 40
    assert messages(f"a: &a {deep}\nb: {'[' * 40}*a{']' * 40}") == ["p.yaml:2:44  nested deeper than 64 levels"]


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000, "!!str " * 100_000])
def test_deep_nesting_is_refused_at_once(text: str) -> None:
    start = time.process_time()
    assert len(messages(text)) <= 2
    assert time.process_time() - start < 2


def test_just_deep_enough_is_fine() -> None:
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert load(text, file="p.yaml").height == MAX_DEPTH - 1
    assert messages(f"[{text}]") == ["p.yaml:1:65  nested deeper than 64 levels"]


@pytest.mark.parametrize("text", [b"a" * (MAX_BYTES + 1), "a" * (MAX_BYTES + 1), "é" * (MAX_BYTES // 2 + 1)])
def test_a_large_file_is_refused(text: str | bytes) -> None:
    assert messages(text) == ["p.yaml:1:1  larger than 5,000,000 bytes"]


def test_mistakes_without_end_stop_somewhere() -> None:
    assert len(messages("\n".join(["a: 1"] * 1000))) == 100


def test_it_reads_without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert load("a: [1, {b: no}]", file="p.yaml").plain() == {"a": [1, {"b": "no"}]}
    assert messages("a: [") == [
        "p.yaml:1:5  not YAML: expected the node content, but found '<stream end>' while parsing a flow node"
    ]


def test_long_texts_count_as_many_values_when_they_are_aliased() -> None:
    text = "x: &t '" + "é" * 500_000 + "'\ny: [" + "*t," * 200_000 + "]"
    start = time.process_time()
    assert messages(text)[0].endswith("more than 500,000 values, counting each alias as all that it stands for")
    assert time.process_time() - start < 2
