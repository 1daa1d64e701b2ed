"""Records that nobody wrote: real ones damaged at random, and payloads meant to do harm under a right checksum.

A checksum without a key detects damage, not forgery: whoever can write to the store can seal other data that is well
formed, and no reader can tell. What must hold even then is that nothing is imported, called or exhausted.
"""

from __future__ import annotations

import pickle
import zlib
from collections.abc import Callable
from functools import cache
from random import Random
from typing import Any, NamedTuple

from ormsgpack import Ext, packb

from chaos.generated import value
from orchestrator import Pipeline, Task
from orchestrator.domain.events import (
    CheckpointMade,
    ErrorInfo,
    Event,
    ExecutionCreated,
    ExecutionFinished,
    ExecutionStarted,
    TaskClaimed,
    TaskCompleted,
    TaskFailed,
    TaskProgressed,
    TasksReset,
)
from orchestrator.domain.ids import TaskId
from orchestrator.domain.packed import pack
from orchestrator.domain.values import EncodedValue, ValueRef
from orchestrator.state import codec, compression, records
from orchestrator.state.commits import open_commit, seal_events
from orchestrator.state.records import Kind, context_of, encode_value, seal, seal_value, unseal_value
from orchestrator.state.valuecodec import ValueCodec
from orchestrator.tools.registry import ToolRegistry

EXECUTION = "exec_1"


class Sample(NamedTuple):
    """A real record: what it is, its bytes, how it is read, and what of it is sealed under which name."""

    name: str
    record: bytes
    read: Callable[[bytes], Any]
    kind: Kind
    context: bytes
    payload: bytes


def _events() -> list[Event]:
    small = encode_value({"a": (1, "x")}).ref
    return [
        ExecutionCreated(1.0, "p", small, small, 2, "run"),
        ExecutionStarted(1.5, 1, "owner", resumed=False, strategy={"max_retry_attempts": 3}),
        TaskClaimed(2.0, "a", 1, small),
        TaskProgressed(2.1, "a", 1, 1.0, None, "half", small),
        TaskCompleted(2.5, "a", 1, small),
        TaskFailed(3.0, "b", 1, ErrorInfo("Boom", "é", trace="x" * 700), None, crashed=False, parked=True),
        CheckpointMade(3.5, "saved", None, {"note": {1, 2}}, small),
        TasksReset(4.0, ["b"], "retry", forgive=True),
        ExecutionFinished(5.0, "failed", None, ErrorInfo("Boom", "m")),
    ]


def _commit(first: int, events: list[Event], name: str, execution: str = EXECUTION) -> Sample:
    last = first + len(events) - 1
    record = seal_events(execution, first, events)
    context = context_of(execution, last)
    payload = records.unseal(record, kind=Kind.EVENTS, context=context, name="x")
    return Sample(name, record, lambda data: open_commit(execution, last, 0, data), Kind.EVENTS, context, payload)


def _value(given: Any, name: str, read: Callable[[bytes], Any]) -> Sample:
    payload = codec.encode(given)
    ref = ValueRef(records.digest_of(payload), len(payload), inline=False)
    record = seal_value(EncodedValue(ref, payload))
    return Sample(name, record, lambda data: read(unseal_value(ref, data, name="value")), Kind.VALUE, ref.data, payload)


def samples() -> list[Sample]:
    """Return one real record of each kind."""
    tools = ToolRegistry(sources=[])
    tools.register("a", lambda: None)
    tasks = [Task(TaskId("a"), "a"), Task(TaskId("b"), "a", dependencies=(TaskId("a"),), condition="a.result > 1")]
    definition = pack(Pipeline(id="p", tasks=tasks, tools=tools).definition)
    events = _events()
    decode = ValueCodec().decode
    chance = Random(3)
    return [
        _commit(1, events, "commit"),
        _commit(len(events) + 1, events[2:5], "later commit"),
        _commit(1, events, "commit of another execution", "exec_2"),
        _value([value(chance, refused=0) for _ in range(40)], "value", decode),
        _value(chance.randbytes(70_000), "blob", decode),
        _value(definition, "definition", ValueCodec().decode_pipeline),
    ]


def damaged(record: bytes, chance: Random, others: list[bytes]) -> bytes:
    """Return a record with damage of one kind; never the record itself."""
    while True:
        made = bytearray(record)
        at = chance.randrange(len(made))
        match chance.randrange(8):
            case 0:
                made[at] ^= 1 << chance.randrange(8)
            case 1:
                del made[at:]
            case 2:
                made += chance.randbytes(1 + chance.randrange(40))
            case 3:
                made[at : at + 4] = chance.randbytes(4)
            case 4:
                other = chance.choice(others)
                made[at:] = other[chance.randrange(len(other)) :]
            case 5:
                made = bytearray(chance.choice(others))
            case 6:
                made[4] = chance.randrange(256)
            case _:
                made[chance.randrange(31)] = chance.randrange(256)
        if made != record:
            return bytes(made)


def forged(kind: Kind, context: bytes, payload: bytes, compressed: int, raw_length: int) -> bytes:
    """Return a record with a right checksum, whatever its header says."""
    head = records._head(records.MAGIC, records.FORMAT, compressed, kind, raw_length)  # noqa: SLF001
    return b"".join((head, records._checksum(context + head, payload), payload))  # noqa: SLF001


_IMPORT = b"cos\nsystem\n(S'true'\ntR."
_HOOKS = [
    packb(["builtins", "exec", "import os"]),
    packb(["os", "system", ["true"], {}]),
    packb(["subprocess", "Popen", {"args": ["true"]}, "construct"]),
    b'{"lc": 2, "type": "constructor", "id": ["os", "system"], "kwargs": {"command": "true"}}',
    pickle.dumps(print),
    _IMPORT,
    b"",
    b"\xff" * 40,
]
HUGE = [head + b"\x3b\x9a\xca\x00" for head in (b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9")]


def hostile() -> list[bytes]:
    """Return payloads that are meant to do harm, among them the published shapes.

    CVE-2025-64439: JSON with ``lc`` constructors. CVE-2026-28277: MessagePack extensions that name a class and its
    arguments. CVE-2026-27794: pickles where plain bytes are expected.
    """
    found: list[bytes] = [_IMPORT, _HOOKS[3], pickle.dumps({"a": print}), b"", b"\xc1", b"\xff\xfe", b"\x80\x05"]
    found += [packb(Ext(tag, data)) for tag in range(128) for data in _HOOKS]
    found += [packb([Ext(tag, b""), "os.system", ["true"]]) for tag in range(32, 40)]
    found += [packb({"lc": 1, "type": "constructor", "id": ["os", "system"]}), packb({"__reduce__": []})]
    found += HUGE + [b"\x91" + head for head in HUGE] + [head * 2000 for head in HUGE]
    found += [b"\x92\xc7\x00" + bytes([tag]) + head for tag in range(32, 37) for head in HUGE]
    found += [b"\x91" * depth for depth in (100, 201, 255, 1000, 10**5)]
    found += [b"\x92\xc7\x00\x20" * depth for depth in (100, 201, 1000, 10**5)]
    found += [b"\x81\xa1a" * depth for depth in (100, 1000, 10**5)]
    found += [packb(Ext(12, packb([b"\xff" * 9, b"\x7f" * 90, b"\x01"]))), packb(Ext(8, b"1E+999999999999999999"))]
    found += [packb(Ext(4, packb([2026, 1, 1, 0, 0, 0, 0, 0, zone]))) for zone in ("../../etc/passwd", "/etc/passwd")]
    found += [packb(Ext(48, packb([code, [10**9], "C", b""]))) for code in ("<f8", "|O", [["a", "|O", [], 0]], "|V0")]
    found += [packb(Ext(48, packb(["|V0", [10**9, 10**9], "C", b""]))), b"\xa4\xff\xfe\xfd\xfc", b"\xcf" + b"\xff" * 8]
    rows: list[Any] = [[], [1], [[]], [0, 4], [1, [4]], [1, [99, 1.0]], [1, ["4", 1.0]], [-1], [2**63], [1, [True]]]
    rows += [[1, [4, 1.0, "a", 1, [b"", 2**63, True]]], [1, [4, "x", 1, "a", None]], [1, [12, 1.0, "no", None, None]]]
    rows += [[1, [4, 1.0, "a", 1, ["x", 1, 1]]], [1, [[4], 1.0]], [1, [{}, 1.0]], {"a": 1}, [1, None], [1, [None]]]
    rows += [[1, [10, 1.0, "saved", None, data, None]] for data in (_IMPORT, b"\x91" * 300, b"\xdd\x7f\xff\xff\xff")]
    packed: list[Any] = [{"v": 1}, {"v": 2**40}, {"v": 1, "id": "p", "tasks": ["a"], "calls": [], "call_of": 0}]
    packed += [{"v": 1, "id": "p", "tasks": [[]], "calls": [["a", None]], "call_of": -1, "needs": [10**9]}]
    return found + [packb(item) for item in rows + packed] + [codec.encode(2 ** (1 << 20))]


@cache
def _zeros(size: int) -> bytes:
    packed: bytes = compression._zstd().compress(bytes(size), 3)  # noqa: SLF001
    return packed


def bombs(kind: Kind, context: bytes) -> list[bytes]:
    """Return records that are small and declare, or unfold to, very much."""
    zstd = compression._zstd()  # noqa: SLF001
    mebibyte = zstd.compress(bytes(1 << 20), 3)
    gigabyte = mebibyte * 1024
    made = [
        forged(kind, context, b"x" * 200, way, size)
        for way in (0, 1, 2, 255)
        for size in (10**9, 2**40, 2**64 - 1, 250 << 20)
    ]
    made += [forged(kind, context, gigabyte, 1, size) for size in (1000, 1 << 20, 16 << 20, 255 << 20, 1 << 30)]
    made += [forged(kind, context, zlib.compress(bytes(1 << 24)), way, 1 << 24) for way in (1, 2)]
    made += [forged(kind, context, _zeros(16 << 20), 1, 16 << 20), forged(kind, context, _zeros(200 << 20), 1, 1 << 20)]
    return [*made, forged(kind, context, mebibyte, 1, 1 << 20), forged(kind, context, mebibyte + b"x", 1, 1 << 20)]


def mutated(payload: bytes, chance: Random) -> bytes:
    """Return a payload with a few bytes changed, put in or taken out."""
    made = bytearray(payload)
    for _ in range(1 + chance.randrange(4)):
        at = chance.randrange(len(made) + 1)
        match chance.randrange(5):
            case 0:
                made[at : at + 1] = chance.randbytes(1)
            case 1:
                made[at:at] = chance.choice((b"\x91", b"\xdd\x7f\xff\xff\xff", *HUGE, b"\xc7\x00\x20", b"\xc7\x00\x24"))
            case 2:
                del made[at : at + chance.randrange(9)]
            case 3:
                made[at:at] = packb(Ext(chance.randrange(128), chance.choice(_HOOKS)))
            case _:
                made[at : at + 2] = chance.randbytes(2)
    return bytes(made)


def resealed(sample: Sample, payload: bytes) -> Callable[[], Any]:
    """Return what reads ``payload`` in the place of a sample's own, under a checksum that is right."""
    if sample.kind is Kind.EVENTS:
        record = seal(payload, kind=sample.kind, context=sample.context)
        return lambda: sample.read(record)
    ref = ValueRef(records.digest_of(payload), len(payload), inline=False)  # whoever forges a value names it anew
    sealed = seal_value(EncodedValue(ref, payload))
    decode = ValueCodec().decode_pipeline if sample.name == "definition" else ValueCodec().decode
    return lambda: decode(unseal_value(ref, sealed, name="value"))
