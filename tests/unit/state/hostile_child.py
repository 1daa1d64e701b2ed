"""Feeds mutants and bombs to everything that reads stored bytes, watching what the interpreter is made to do.

Prints the number of values, the number of errors, by how many MB the bombs raised the peak, and what was seen.
"""

import random
import resource
import sys
import zoneinfo
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from orchestrator.errors import StoreError
from orchestrator.state import codec, compression, eventcodec, records
from tests.unit.state.test_eventcodec import ONE_OF_EACH
from tests.unit.state.test_records import CONTEXT, forge
from tests.unit.state.values import Colour, Level, Model, Pair, Point, Rights

WATCHED = {
    *("import", "exec", "compile", "open", "marshal.loads", "pickle.find_class", "ctypes.dlopen", "socket.connect"),
    *("os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen"),
}
SAMPLE = [
    *(1, 2.5, "text", b"bytes", None, {"a": [True, {"b": (1, 2)}]}, {1, 2}, frozenset({3}), {1: 2, (3,): 4}, 2**70),
    *(bytearray(b"x"), "\ud800", Decimal("1.5"), 1j, range(9), datetime(2024, 1, 1)),  # noqa: DTZ001
    datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
    *(Point(1, 2), Colour.RED, Level.LOW, Rights.READ, Pair(1), Model(name="m")),
]
INSERTED = [b"\x91", b"\xdd\x7f\xff\xff\xff", *(b"\xc7\x00" + bytes([tag]) for tag in range(32, 37))]
BILLION = [kind + b"\x3b\x9a\xca\x00" for kind in (b"\xdd", b"\xdf", b"\xdb", b"\xc6", b"\xc9")]

chance = random.Random(5)
seen: list[str] = []
counts = {"value": 0, "error": 0}


def watch(event: str, args: tuple[Any, ...]) -> None:
    if event in WATCHED and not (event == "open" and str(args[0]).startswith(zoneinfo.TZPATH)):
        seen.append(f"{event} {args}"[:200])


def mutated(data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 5)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0:
                changed[at : at + 1] = chance.randbytes(1)
            case 1:
                changed[at:at] = chance.choice(INSERTED)
            case 2:
                del changed[at : at + chance.randrange(9)]
            case _:
                changed[at : at + 2] = chance.randbytes(2)
    return bytes(changed)


def attempt(read: Callable[[bytes], Any], data: bytes) -> None:
    try:
        read(data)
        counts["value"] += 1
    except (codec.CodecError, StoreError):
        counts["error"] += 1


def unseal(record: bytes) -> bytes:
    return records.unseal(record, kind=records.Kind.EVENTS, context=CONTEXT, name="x")


def main(count: int) -> None:
    values = [codec.encode(part) for part in SAMPLE] + [codec.encode(SAMPLE)]
    journal = eventcodec.encode_events(1, ONE_OF_EACH)
    bomb = compression._zstd().compress(bytes(1 << 20), 3)
    bombs = [forge(b"x" * 200, codec_id=way, raw_length=size) for way in (0, 1) for size in (10**9, 2**40, 2**64 - 1)]
    bombs += [
        forge(bomb * many, codec_id=1, raw_length=size) for many, size in ((64, 1000), (1, 250 << 20), (9, 9 << 20))
    ]
    attempt(codec.decode, values[-1])
    attempt(unseal, records.seal(b"x" * 2000, kind=records.Kind.EVENTS, context=CONTEXT))  # now all is loaded
    if counts != {"value": 2, "error": 0}:
        raise AssertionError(counts)

    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    sys.addaudithook(watch)
    for _ in range(count):
        attempt(codec.decode, mutated(chance.choice(values)))
        attempt(codec.decode, chance.randbytes(chance.randrange(40)))
        attempt(eventcodec.decode_events, mutated(journal))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for head in BILLION:
        for opening in (b"", b"\x91", b"\x92\xc7\x00\x20"):
            attempt(codec.decode, opening + head)
            attempt(codec.decode, opening + head * 1000)
    for record in bombs:
        attempt(unseal, record)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(counts["value"], counts["error"], (after - before) // 1024, *seen[:5], sep="|")


if __name__ == "__main__":
    main(int(sys.argv[1]))
