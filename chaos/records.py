"""``python -m chaos.corpora records``: whatever a store's bytes are, reading them harms nobody.

Each mutant is read in a child whose audit hook watches what the interpreter is made to do. A damaged record is
refused by an error of the package; one that was sealed anew over other data may also be well formed, which no checksum
without a key can tell. Each takes at most a second and 100 MB.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zoneinfo
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from chaos.cases import MOST_FAILURES, options
from chaos.hostile import Sample, bombs, damaged, hostile, mutated, resealed, samples
from chaos.outcome import Outcome
from orchestrator.errors import StoreDamaged, StoreIncompatible

if TYPE_CHECKING:
    import argparse

MOST_SECONDS = 1.0
MOST_KIB = 100 << 10
WATCHED = {
    *("import", "exec", "compile", "open", "marshal.loads", "pickle.find_class", "ctypes.dlopen", "socket.connect"),
    *("os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "subprocess.Popen", "os.remove", "os.rename"),
}
ROOT = Path(__file__).parents[1]


class Reading:
    """Reads mutants and notes what comes of it."""

    def __init__(self) -> None:
        self.samples: list[Sample] = samples()
        self.tried: Counter[str] = Counter()
        self.failures: list[str] = []
        self.seen: list[str] = []
        self.most = [0.0, 0]
        for sample in self.samples:  # the first reading imports what reading needs
            sample.read(sample.record)

    def watch(self, event: str, args: tuple[Any, ...]) -> None:
        """Note what a reader must not do; the data of time zones is all that one opens."""
        if event in WATCHED and not (event == "open" and str(args[0]).startswith(zoneinfo.TZPATH)):
            self.seen.append(f"{event} {args}"[:200])

    def attempt(self, what: str, read: Callable[[], Any], repeat: str, *, may_be_read: bool) -> None:
        """Read one mutant; everything but an error of the package, or a value where there may be one, is a failure."""
        self.seen.clear()
        memory = _peak(reset=True)
        began = time.perf_counter()
        violated = ""
        try:
            read()
            self.tried["read as well-formed data"] += 1
            if not may_be_read:
                violated = "I10 damaged, and read as if nothing were wrong"
        except (StoreDamaged, StoreIncompatible):
            self.tried["refused"] += 1
        except BaseException as error:  # noqa: BLE001 - any other is a violation
            violated = f"I10 {type(error).__name__}: {str(error)[:200]}"
        took, grown = time.perf_counter() - began, _peak(reset=False) - memory
        self.most = [max(self.most[0], took), max(self.most[1], grown)]
        if not violated and (took > MOST_SECONDS or grown > MOST_KIB):
            violated = f"H9 took {took:.2f} s and {grown >> 10} MB"
        if self.seen:
            violated = f"security, line 1: reading it does {self.seen[0]}"
        if violated:
            self.failures.append(f"{what}: {violated}\n    {repeat}")

    def corpus(self) -> None:
        """Read all that is meant to do harm, in the place of every kind of record."""
        repeat = "python -m chaos.corpora records --mutants 1"
        payloads = hostile()
        for sample in self.samples:
            for number, payload in enumerate(payloads):
                read = resealed(sample, payload)
                self.attempt(f"{sample.name}, hostile payload {number}", read, repeat, may_be_read=True)
            for number, record in enumerate(bombs(sample.kind, sample.context)):
                self.attempt(f"{sample.name}, bomb {number}", partial(sample.read, record), repeat, may_be_read=False)
            for other in self.samples:
                if other is not sample:
                    read = partial(sample.read, other.record)
                    self.attempt(f"{other.name} in the place of {sample.name}", read, repeat, may_be_read=False)
        self.tried["of the hostile corpus"] = self.tried.total()

    def mutant(self, number: int) -> None:
        """Read the mutant of a number: every second one is sealed anew."""
        chance = Random(number)
        sample = chance.choice(self.samples)
        repeat = f"python -m chaos.corpora records --seed {number} --mutants 1"
        if number % 2:
            others = [other.record for other in self.samples if other is not sample]
            record = damaged(sample.record, chance, others)
            self.attempt(f"damaged {sample.name}", lambda: sample.read(record), repeat, may_be_read=False)
        else:
            read = resealed(sample, mutated(sample.payload, chance))
            self.attempt(f"{sample.name} sealed anew", read, repeat, may_be_read=True)
        self.tried["damaged" if number % 2 else "sealed anew"] += 1


def _peak(*, reset: bool) -> int:
    """Return the most memory held since the last reset (Linux), in KiB."""
    if sys.platform != "linux":
        return 0
    if reset:
        _CLEAR.write("5")
        _CLEAR.flush()
    _STATUS.seek(0)
    for line in _STATUS:
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return 0


if sys.platform == "linux":
    _CLEAR = Path("/proc/self/clear_refs").open("w")  # noqa: SIM115 - open before anybody watches what is opened
    _STATUS = Path("/proc/self/status").open()  # noqa: SIM115


def child(seed: int, count: int, end: float) -> None:
    """Read the corpus and the mutants under watch, and print what came of it."""
    reading = Reading()
    sys.addaudithook(reading.watch)
    reading.corpus()
    for number in range(seed, seed + count):
        if (end and time.monotonic() > end) or len(reading.failures) >= MOST_FAILURES:
            break
        reading.mutant(number)
    tried, most, failures = dict(reading.tried), list(reading.most), list(reading.failures)
    sys.stdout.write(json.dumps({"tried": tried, "failures": failures, "most": most}) + "\n")


def try_out(seed: int, count: int, seconds: float | None = None, program: str = "") -> Outcome:
    """Read in a child of its own: an audit hook stays for good. ``program`` is run in it before."""
    began = time.monotonic()
    outcome = Outcome("records", seed)
    end = began + seconds if seconds else 0.0
    code = f"{program}\nfrom chaos.records import child\nchild({seed}, {count}, {end})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    outcome.seconds = time.monotonic() - began
    if done.returncode:
        outcome.failures.append(f"the reader died ({done.returncode}): {done.stderr[-500:]}")
        return outcome
    found = json.loads(done.stdout)
    mutants = found["tried"].get("damaged", 0) + found["tried"].get("sealed anew", 0)
    outcome.tried = {"mutants": mutants, **found["tried"]}
    outcome.failures = found["failures"]
    outcome.notes["slowest, seconds"] = round(found["most"][0], 3)
    outcome.notes["most memory, MB"] = found["most"][1] >> 10
    outcome.notes["not detectable without a key"] = "other data, well formed and sealed by somebody who can write"
    if mutants < count:
        outcome.notes["not reached in the time given"] = count - mutants
    return outcome


def run(arguments: argparse.Namespace) -> int:
    """Read as asked; return the exit code."""
    return try_out(arguments.seed, arguments.count, arguments.seconds).report(arguments)


def register(commands: Any) -> None:
    """Add the command (see ``chaos.outcome``)."""
    parser: argparse.ArgumentParser = commands.add_parser("records", help="damaged and hostile records")
    options(parser, "mutants", 10_000)
    parser.set_defaults(run=run)
