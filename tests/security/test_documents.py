"""Pipelines that were damaged at random: compiled, or refused with a message; never anything else."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from orchestrator.compiler.compile import compile_text
from orchestrator.errors import DefinitionError

ROOT = Path(__file__).parents[2]
SEEDS = [(ROOT / "examples" / "flights" / "pipeline.yaml").read_bytes()]
MUTANTS = 1500
SPLICES = [
    b"&a [*a]", b"*x", b"&x ", b"<<: *x", b"!!python/object/apply:os.system [id]", b"!!binary x", b"? ", b"- " * 70,
    b"[" * 100, b"{" * 100, b"{{ ", b" }}", b"{% for x in y %}", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\t", b"---\n",
    b"...\n", b"%YAML 9.9\n", b"0o7", b"1:30", b"no", b".inf", b"1e999", b"9" * 400, b"'", b'"', b"|2-\n", b">\n",
    "\u2028\u202e\x85".encode(), b"\xed\xa0\x80", b"steps:\n", b"id: x\n",
]  # fmt: skip


def mutate(text: bytes, chance: random.Random) -> bytes:
    data = bytearray(text)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[at:at] = chance.choice(SPLICES)
            case 1:
                del data[at : at + chance.choice((1, 3, 40))]
            case 2 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 3:
                lines = bytes(data).split(b"\n")
                lines.insert(chance.randrange(len(lines)), chance.choice(lines))
                data = bytearray(b"\n".join(lines))
            case _:
                data = data[: max(1, at)]
    return bytes(data)


@pytest.mark.parametrize("chunk", range(4))
def test_mutated_pipelines_are_compiled_or_refused(chunk: int) -> None:
    refused = 0
    for seed in range(chunk * MUTANTS, (chunk + 1) * MUTANTS):
        mutant = mutate(chance_text(seed), random.Random(seed))
        began = time.monotonic()
        try:
            compile_text(mutant)
        except DefinitionError as error:
            refused += bool(error.diagnostics)
        assert time.monotonic() - began < 10, seed
    assert refused > MUTANTS / 3


def chance_text(seed: int) -> bytes:
    return SEEDS[seed % len(SEEDS)]
