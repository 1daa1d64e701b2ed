"""``python -m chaos.corpora values``: what a task returns comes back equal, or is refused by its path.

First the corpus, then values that follow from a seed each; all of them go through the sealed records of a store.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from chaos.cases import campaign, options
from chaos.generated import Loose, same, value
from orchestrator.domain.values import INLINE_LIMIT
from orchestrator.errors import UnstorableValue
from orchestrator.state.records import decode_value, encode_value, seal_value, unseal_value

if TYPE_CHECKING:
    import argparse

BLOB = 64 * 1024
MOST_SECONDS = 10.0
KEPT, REFUSED = "kept", "refused"


def _sizes() -> Iterator[tuple[str, Any]]:
    for limit, head in ((INLINE_LIMIT, 3), (BLOB, 5)):
        for more in (-1, 0, 1):
            chance = Random(limit + more)  # no compressor makes it smaller
            yield f"{limit}{more:+} bytes", chance.randbytes(limit + more - head)


def _nested(depth: int) -> list[Any]:
    made: list[Any] = []
    for _ in range(depth):
        made = [made]
    return made


def _doubled() -> list[Any]:
    made: list[Any] = [0]
    for _ in range(40):
        made = [made, made]
    return made


def _cycle() -> dict[str, Any]:
    made: dict[str, Any] = {}
    made["again"] = [made]
    return made


CORPUS: dict[str, tuple[str, Callable[[], Any]]] = {
    "empty text": (KEPT, lambda: ""),
    "empty bytes": (KEPT, lambda: b""),
    "a million keys": (KEPT, lambda: {str(number): number for number in range(10**6)}),
    "keys of all kinds": (KEPT, lambda: {None: 0, 1.5: 1, (1, (2,)): 2, b"": 3, frozenset({1}): 4}),
    "equal elements of different signs": (KEPT, lambda: [0.0, -0.0, 0, False]),
    "10,000 levels": (REFUSED, lambda: _nested(10_000)),
    "a bomb": (REFUSED, _doubled),
    "a cycle": (REFUSED, _cycle),
    "a generator": (REFUSED, lambda: {"a": (number for number in (1,))}),
    "an open file": (REFUSED, lambda: [io.BytesIO()]),
    "a function": (REFUSED, lambda: {"a": {"b": lambda: None}}),
    "a foreign dataclass": (REFUSED, lambda: [Loose(1)]),
    "300 MB": (REFUSED, lambda: bytes(300_000_000)),
}
CORPUS |= {name: (KEPT, partial(deepcopy, item)) for name, item in _sizes()}


def through_the_store(given: Any) -> Any:
    """Return what a later process would read of ``given``."""
    encoded = encode_value(given)
    payload = encoded.ref.data if encoded.ref.inline else unseal_value(encoded.ref, seal_value(encoded), name="value")
    return decode_value(payload, name="value")


def judge(given: Any) -> tuple[str, str]:
    """Return whether a value was kept or refused, and what was violated."""
    began = time.monotonic()
    try:
        back = through_the_store(given)
    except UnstorableValue as refusal:
        told = refusal.path.startswith("result") and refusal.type_name and refusal.reason
        verdict = REFUSED, "" if told else f"a refusal without path or type: {refusal}"
    except BaseException as error:  # noqa: BLE001 - any other is a violation
        verdict = "broken", f"{type(error).__name__}: {str(error)[:200]}"
    else:
        verdict = KEPT, "" if same(given, back) else f"changed silently: {given!r:.300} became {back!r:.300}"
    took = time.monotonic() - began
    return verdict if verdict[1] or took < MOST_SECONDS else (verdict[0], f"took {took:.1f} s")


def case(number: int) -> tuple[str, str]:
    """Try the value of a number."""
    kind, violated = judge(value(Random(number)))
    return kind, violated and f"I4 {violated}\n    python -m chaos.corpora values --seed {number} --examples 1"


def corpus(names: Iterable[str] = CORPUS) -> Iterator[tuple[str, str]]:
    """Try (some of) the corpus; yield names and what was violated."""
    for name in names:
        expected, make = CORPUS[name]
        kind, violated = judge(make())
        yield name, violated or ("" if kind == expected else f"{kind}, expected: {expected}")


def run(arguments: argparse.Namespace) -> int:
    """Try both; return the exit code."""
    broken = [
        f"I4 {name}: {violated}\n    python -m chaos.corpora values --examples 1"
        for name, violated in corpus()
        if violated
    ]
    outcome = campaign("values", case, arguments.count, arguments)
    outcome.tried["of the corpus"] = len(CORPUS)
    outcome.failures[:0] = broken
    return outcome.report(arguments)


def register(commands: Any) -> None:
    """Add the command (see ``chaos.outcome``)."""
    parser: argparse.ArgumentParser = commands.add_parser("values", help="values of all kinds, there and back")
    options(parser, "examples", 100_000)
    parser.set_defaults(run=run)
