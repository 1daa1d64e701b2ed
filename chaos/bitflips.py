"""``python -m chaos bitflips``: one bit of a small store is wrong, and everything in it is read.

Allowed is what was written, or a complaint (an error of ours, or a finding of ``verify``). A flip in a WAL may make
SQLite take it for the WAL's end, as its design has it: then the last commits are gone, which is counted apart.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos import checks
from chaos.outcome import Outcome
from chaos.trials import default_base
from orchestrator import Orchestrator, OrchestratorError, Task, tool
from orchestrator.compiler.build import build
from orchestrator.core.recovery import load_state
from orchestrator.core.system import SystemChance, SystemClock
from orchestrator.core.verify import verify_store
from orchestrator.domain.ids import TaskId
from orchestrator.state.sqlite import SqliteStore
from orchestrator.state.valuecodec import ValueCodec

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from orchestrator.domain.pipeline import Pipeline

TOOL = "bitflips"
WAL = f"{checks.STORE}-wal"
SIZES = {"small": 20, "row": 1500, "blob": 66_000}
BATCH = 400


@tool(TOOL, action="make")
async def make(size: int) -> bytes:
    """Return so many bytes that cannot be compressed."""
    return random.Random(size).randbytes(size)


@dataclass
class Sample:
    """A store as it was written: its files, and everything that is read from it."""

    files: dict[str, bytes]
    content: Any

    def bits(self) -> dict[str, int]:
        """Return how many bits each file has."""
        return {name: 8 * len(data) for name, data in self.files.items()}


@dataclass
class Tally:
    """What a batch of flips came to."""

    same: int = 0
    noticed: int = 0
    wal_ended: int = 0
    failures: list[str] = field(default_factory=list)


def _pipeline() -> Pipeline:
    tasks = [Task(TaskId(name), TOOL, "make", parameters={"size": size}) for name, size in SIZES.items()]
    return build(id=TOOL, tasks=tasks)


def sample(kind: str) -> Sample:
    """Make the store: ``closed`` as after a run that ended, ``wal`` as if the process had been killed at its end."""
    root = Path(tempfile.mkdtemp(prefix="bitflips-", dir=default_base()))
    kept = root / "killed"
    try:

        async def run() -> None:
            async with Orchestrator(store=f"sqlite:///{root}/{checks.STORE}") as runner:
                await runner.run_pipeline(_pipeline(), {}, execution_id="flipped")
                if kind == "wal":
                    _copy(root, kept)

        asyncio.run(run())
        folder = kept if kind == "wal" else root
        files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.name.endswith("-shm") and "killed" not in path.relative_to(folder).parts
        }
        found = Sample(files, None)
        found.content = asyncio.run(read_all(_write(found, root / "again")))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return found


def _copy(root: Path, target: Path) -> None:
    target.mkdir()
    for path in list(root.iterdir()):
        if path.name.startswith(f"{checks.STORE}-blobs"):
            shutil.copytree(path, target / path.name)
        elif path.name in (checks.STORE, WAL):
            shutil.copy(path, target / path.name)


def _write(store: Sample, folder: Path) -> Path:
    for name, data in store.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


async def read_all(folder: Path) -> Any:
    """Return everything that can be read from a store; complaints of ``verify`` raise OrchestratorError."""
    codec = ValueCodec()
    store = SqliteStore(folder / checks.STORE, clock=SystemClock(), chance=SystemChance(), durable=False)
    try:
        problems = await verify_store(store, codec)
        if problems:
            raise OrchestratorError("; ".join(problems))
        content = []
        for summary in await store.summaries():
            events = [event async for commit in store.read(summary.execution_id) for event in commit.events]
            state = await load_state(store, codec, summary.execution_id)
            values = {
                name: codec.decode(await store.get(task.value)) for name, task in state.tasks.items() if task.value
            }
            by_id = await store.summary(summary.execution_id)
            hidden = await store.hidden(summary.execution_id)
            content.append((summary, by_id, events, values, hidden, state.epoch))
        return content
    finally:
        await store.close()


def flip(store: Sample, name: str, bit: int, tally: Tally, kind: str) -> None:
    """Flip one bit and read everything."""
    data = bytearray(store.files[name])
    data[bit // 8] ^= 1 << bit % 8
    with tempfile.TemporaryDirectory(prefix="bitflip-", dir=default_base()) as folder:
        _write(Sample({**store.files, name: bytes(data)}, None), Path(folder))
        try:
            found = asyncio.run(read_all(Path(folder)))
        except OrchestratorError:
            tally.noticed += 1
            return
        except Exception as error:  # noqa: BLE001 - whatever else it is, nobody may meet it
            found = error
    if found == store.content:
        tally.same += 1
    elif name == WAL and isinstance(found, list) and _is_earlier(found, store.content):
        tally.wal_ended += 1
    else:
        what = repr(found) if isinstance(found, Exception) else _difference(found, store.content)
        tally.failures.append(f"I10: {name} bit {bit}: {what}\n    python -m chaos bitflips --only {kind}:{name}:{bit}")


def _is_earlier(found: Any, content: Any) -> bool:
    """Tell whether this is what the store held at an earlier moment."""
    return not found or all(each[2] == whole[2][: len(each[2])] for each, whole in zip(found, content, strict=True))


def _difference(found: Any, content: Any) -> str:
    if len(found) != len(content):
        return f"{len(found)} executions are listed, {len(content)} were written"
    for one, other in zip(found[0], content[0], strict=True):
        if one != other:
            return f"{str(one)[:300]}, written was {str(other)[:300]}"
    return "?"


def cases(store: Sample, seed: int, each_byte: int) -> Iterator[tuple[str, int]]:
    """Yield bits in an order in which every byte has its turn before any has its second."""
    chance = random.Random(seed)
    for turn in range(8):
        places = [(name, byte) for name, data in store.files.items() for byte in range(len(data))]
        chance.shuffle(places)
        for number, (name, byte) in enumerate(places):
            if turn < each_byte:
                yield name, 8 * byte + (number + turn) % 8 if turn == 0 else 8 * byte + turn


_shared: dict[str, Sample] = {}


def _batch(kind: str, cases: list[tuple[str, int]]) -> Tally:
    tally = Tally()
    for name, bit in cases:
        flip(_shared[kind], name, bit, tally, kind)
    return tally


def campaign(arguments: argparse.Namespace) -> int:
    """Flip as asked; return the exit code."""
    began = time.monotonic()
    until = began + (arguments.seconds or float("inf"))
    outcome = Outcome("bitflips", arguments.seed)
    kinds = ("closed", "wal")
    for kind in kinds:
        _shared[kind] = sample(kind)
    if arguments.only:
        kind, name, bit = arguments.only.split(":")
        tally = _batch(kind, [(name, int(bit))])
        _add(outcome, kind, tally)
        return outcome.report(arguments)
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("fork")) as pool:
        for number, kind in enumerate(kinds):
            share = began + (until - began) * (number + 1) / len(kinds)
            queue = iter(list(cases(_shared[kind], arguments.seed, arguments.bits))[: arguments.sample])
            running = True
            while running and time.monotonic() < share:
                batches = [[case for _, case in zip(range(BATCH), queue, strict=False)] for _ in range(arguments.jobs)]
                running = bool(batches[-1])
                for tally in pool.map(_batch, [kind] * len(batches), batches):
                    _add(outcome, kind, tally)
            bits = sum(_shared[kind].bits().values())
            outcome.notes[f"bits of the store, {kind}"] = bits
    outcome.seconds = time.monotonic() - began
    return outcome.report(arguments)


def _add(outcome: Outcome, kind: str, tally: Tally) -> None:
    tried = outcome.tried
    done = tally.same + tally.noticed + tally.wal_ended + len(tally.failures)
    tried[f"bits flipped, {kind}"] = tried.get(f"bits flipped, {kind}", 0) + done
    for what, often in (
        ("complained about", tally.noticed),
        ("without effect (unused space)", tally.same),
        ("taken for the WAL's end: the last commits are gone", tally.wal_ended),
    ):
        if often or kind == "wal":
            outcome.notes[f"{kind}: {what}"] = outcome.notes.get(f"{kind}: {what}", 0) + often
    outcome.failures += tally.failures


def register(commands: Any) -> None:
    """Add the command (see ``chaos.outcome``)."""
    parser: argparse.ArgumentParser = commands.add_parser("bitflips", help="flip bits of a small store and read it")
    parser.add_argument("--bits", type=int, default=8, choices=range(1, 9), help="how many bits of each byte")
    parser.add_argument("--sample", type=int, help="so many flips of each store only")
    parser.add_argument("--seed", type=int, default=1, help="in which order")
    parser.add_argument("--only", metavar="CASE", help="one case: closed:store.db:4711")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, help="flip nothing after so long")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcome there, too")
    parser.set_defaults(run=campaign)
