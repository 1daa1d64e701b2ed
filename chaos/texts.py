"""``python -m chaos.corpora yaml``: a pipeline file, damaged at random, compiles or is refused with its mistakes."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from chaos.cases import campaign, options
from orchestrator.compiler import compile_text
from orchestrator.errors import DefinitionError

if TYPE_CHECKING:
    import argparse

MOST_SECONDS = 2.0
USUAL_SECONDS = 0.045
"""What a million additions take where the bound was found."""
ROOT = Path(__file__).parents[1]
SMALL = """\
id: small
version: 1.0
inputs: {limit: 3, path: {type: string, default: "x"}}
resume: {checkpoint_interval: 30, max_retries: 3}
steps:
  - id: first
    tool: filesystem
    parameters: &shared {path: "{{ inputs.path }}/a.csv", deep: [[1, {a: no}], 12:30, 0o14, 1_000]}
    retry: {max_attempts: 3, delay: 1s, on: [timeout]}
  - id: second
    tool: shell
    depends_on: [first]
    condition: "{{ first.result.rows | length > inputs.limit }}"
    parameters: {command: [echo, *shared]}
    timeout: 5m
outputs: {report: "{{ second.result }}"}
"""
SOURCES = [SMALL.encode(), *(path.read_bytes() for path in sorted((ROOT / "examples").rglob("*.yaml")))]
PIECES = [
    *(b"{{", b"}}", b"{%", b": ", b"- ", b"&a ", b"*a", b"*shared", b"<<: ", b"<<: *shared\n", b"[", b"]", b"{", b"}"),
    *(
        b"!!python/object/apply:os.system [id]",
        b"!!python/name:os.system ",
        b"!!binary ",
        b"!x ",
        b"!!set ",
        b"'",
        b'"',
    ),
    *(
        b"|",
        b">",
        b"\t",
        b"\n",
        b"\r",
        b"\x00",
        b"\xc2\x85",
        b"\xe2\x80\xa8",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xed\xa0\x80",
    ),
    *(
        b"no",
        b"on",
        b"1:30",
        b"0o7",
        b"012",
        b"1_0",
        b".inf",
        b"-.nan",
        b"9" * 5000,
        b"1e999",
        b"~",
        b"---\n",
        b"...\n",
    ),
    *(b"%YAML 1.1\n---\n", b"? ", b"#", b"9**9**9**9", b"a" * 2000, b"steps", b"id: a\n", b"__proto__: ", b"\\uD800"),
    *(b"{{ range(10**9) }}", b"{{ 'a' * 10**9 }}", b"{{ (" + b"(" * 300, b"{{ a." + b"b." * 500, b"{{ ''.__class__ }}"),
]


def _layer(number: int) -> bytes:
    inner = b"*a%d" % (number - 1) if number else b"0"
    return b"x%d: &a%d [%s]\n" % (number, number, b",".join([inner] * 9))


BOMBS: list[Callable[[Random], bytes]] = [
    lambda chance: b"a: " + b"[" * chance.randrange(60, 100_000),
    lambda chance: b"a: " + b"{a: " * chance.randrange(60, 50_000),
    lambda chance: b"- " * chance.randrange(60, 50_000),
    lambda chance: b"".join(map(_layer, range(chance.randrange(3, 40)))),
    lambda chance: b"a: &a [*a]\n" * chance.randrange(1, 9),
    lambda chance: b"? " * chance.randrange(9, 20_000),
    lambda chance: b"a: '" + b"x" * chance.randrange(4_999_000, 5_001_000) + b"'",
    lambda chance: b"steps: [" + b"{id: a}," * chance.randrange(9, 60_000) + b"]",
    lambda chance: b"".join(b"k%d: 1\n" % n for n in range(chance.randrange(9, 100_000))),
    lambda chance: SMALL.encode(chance.choice(("utf-16", "utf-32", "utf-8-sig", "cp037"))),
]  # fmt: skip
BOMB_EVERY = 100


def mutant(number: int) -> bytes:
    """Return the text of a number."""
    chance = Random(number)
    if number % BOMB_EVERY == 0:
        return chance.choice(BOMBS)(chance)
    made = bytearray(chance.choice(SOURCES))
    for _ in range(1 + chance.randrange(5)):
        at = chance.randrange(len(made) + 1)
        lines = bytes(made).split(b"\n")
        line = chance.randrange(len(lines))
        match chance.randrange(7):
            case 0:
                made[at : at + 1] = chance.randbytes(1)
            case 1 | 2:
                made[at:at] = chance.choice(PIECES)
            case 3:
                del made[at : at + chance.randrange(30)]
            case 4:
                made[:] = b"\n".join([*lines[:line], lines[line], *lines[line:]])
            case 5:
                made[:] = b"\n".join([*lines[:line], *lines[line + 1 :]])
            case _:
                other = chance.choice(SOURCES)
                cut = chance.randrange(len(other))
                made[at:at] = other[cut : cut + chance.randrange(200)]
    return bytes(made)


@cache
def slowness() -> float:
    """Return how many times slower than usual this machine is, at least 1: by what a million additions take."""
    took = []
    for _ in range(5):
        began = time.thread_time()
        sum(number & 1 for number in range(1_000_000))
        took.append(time.thread_time() - began)
    return max(1.0, min(took) / USUAL_SECONDS)


def case(number: int) -> tuple[str, str]:
    """Compile the text of a number."""
    text = mutant(number)
    began = time.thread_time()  # what it costs, however busy the machine is
    kind, violated = "refused with its mistakes", ""
    try:
        compile_text(text, file="p.yaml")
        kind = "compiled"
    except DefinitionError as error:
        if not error.diagnostics or not all(item.message for item in error.diagnostics):
            violated = "refused without a reason"
    except BaseException as error:  # noqa: BLE001 - any other is a violation
        kind, violated = "broken", f"{type(error).__name__}: {str(error)[:200]}"
    took = time.thread_time() - began
    if not violated and took > MOST_SECONDS * slowness():
        violated = f"took {took:.1f} s for {len(text):,} bytes"
    return (
        kind,
        violated and f"security, line 11: {violated}\n    python -m chaos.corpora yaml --seed {number} --mutants 1",
    )


def run(arguments: argparse.Namespace) -> int:
    """Compile as asked; return the exit code."""
    return campaign("yaml", case, arguments.count, arguments).report(arguments)


def register(commands: Any) -> None:
    """Add the command (see ``chaos.outcome``)."""
    parser: argparse.ArgumentParser = commands.add_parser("yaml", help="damaged pipeline files")
    options(parser, "mutants", 1_000_000)
    parser.set_defaults(run=run)
