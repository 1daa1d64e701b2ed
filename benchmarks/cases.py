"""The measurements, each with its goal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import fleet, floor, plans
from benchmarks.pipelines import PAYLOAD_BYTES, chain, payloads, registry
from orchestrator import Orchestrator, Pipeline

ROOT = Path(__file__).parents[1]
ROUNDS = 5
EXECUTIONS = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report; ``reached`` None where there is no goal to reach."""

    what: str
    measured: str
    goal: str
    reached: bool | None
    floor: str = ""


@contextmanager
def folder() -> Iterator[Path]:
    """Lend a folder on the same disk as the checkout: /tmp may be memory, and then an fsync costs nothing."""
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as name:
        yield Path(name)


async def timed_run(pipeline: Pipeline, url: str) -> float:
    """Return the seconds of a run, without those of opening the store."""
    async with Orchestrator(store=url, tools=registry()) as orchestrator:
        start = time.perf_counter()
        await orchestrator.run_pipeline(pipeline.definition)
        return time.perf_counter() - start


def chain_cost(length: int = 1000) -> list[Row]:
    """Measure a chain beside the raw floor, in turns within the same minute."""
    pipeline = chain(length, registry())
    ratios, ours, raws, processes, raw_processes = [], [], [], [], []
    for _ in range(ROUNDS):
        with folder() as place:
            raw = floor.commits(place / "raw.db", length, durable=True)
            mine = asyncio.run(timed_run(pipeline, f"sqlite:///{place}/ours.db")) / length
            again = floor.commits(place / "raw2.db", length, durable=True)
            raw_processes.append(floor.commits(place / "raw3.db", length, durable=False))
            processes.append(asyncio.run(timed_run(pipeline, f"sqlite:///{place}/p.db?durability=process")) / length)
        raws.append((raw + again) / 2)
        ours.append(mine)
        ratios.append(mine / raws[-1])
    ratio, mine, raw = statistics.median(ratios), statistics.median(ours), statistics.median(raws)
    process = statistics.median(processes)
    return [
        Row(
            f"chain of {length:,} no-op steps, durable",
            f"{ratio:.2f} x the floor ({mine * 1e6:,.0f} us a step; rounds {spread(ratios)})",
            "<= 1.25 x",
            ratio <= 1.25,
            f"one INSERT, one commit: {raw * 1e6:,.0f} us",
        ),
        Row(
            f"chain of {length:,} no-op steps, `durability: process`",
            f"{process * 1e6:,.0f} us a step (rounds {spread([value * 1e6 for value in processes], '.0f')})",
            "<= 150 us",
            process * 1e6 <= 150,
            f"one INSERT, one commit: {statistics.median(raw_processes) * 1e6:,.0f} us",
        ),
    ]


def spread(values: list[float], form: str = ".2f") -> str:
    """Return the least and the greatest."""
    return f"{min(values):{form}} to {max(values):{form}}"


def fan_cost() -> list[Row]:
    """Measure fan-outs of 100 to 100,000 steps, each in a process of its own."""
    cost: dict[int, float] = {}
    gross: dict[int, float] = {}
    rates: dict[int, float] = {}
    peak = build = fixed = 0.0
    for width in (100, 1_000, 10_000, 100_000):
        results = []
        for _ in range(3 if width < 100_000 else 1):
            with folder() as place:
                results.append(child("fan", str(width), f"sqlite:///{place}/store.db"))
        best = min(results, key=lambda result: result["seconds"])
        gross[width] = best["seconds"] / best["steps"]
        cost[width] = (best["seconds"] - best["fixed"]) / best["steps"]
        fixed = best["fixed"]
        rates[width] = statistics.median(result["steps"] / result["seconds"] for result in results)
        peak, build = best["peak_mb"], best["build_seconds"]
    flat = max(cost.values()) / min(cost.values())
    costs = ", ".join(f"{width:,}: {cost[width] * 1e6:.0f} ({gross[width] * 1e6:.0f}) us" for width in cost)
    return [
        Row(
            "fan-out 1 → 10,000 → 1, durable",
            f"{rates[10_000]:,.0f} steps/s",
            ">= 8,000 steps/s",
            rates[10_000] >= 8_000,
        ),
        Row(
            "cost per step at 100 ... 100,000",
            f"factor {flat:.2f}: {costs}; net of the {fixed * 1e3:.1f} ms of a one-step run (gross in brackets)",
            "<= factor 1.5",
            flat <= 1.5,
        ),
        Row("memory of 100,000 steps", f"{peak:,.0f} MB at the peak", "<= 400 MB", peak <= 400),
        Row("compiling 100,000 steps built in Python", f"{build:.2f} s", "", None),
    ]


def items_cost() -> list[Row]:
    """Measure a ``for_each`` beside a fan-out as wide, in turns within the same minutes."""
    width, rounds = 100_000, 3
    found: dict[str, list[dict[str, float]]] = {"fan": [], "items": []}
    for _ in range(rounds):
        for kind, results in found.items():
            with folder() as place:
                results.append(child(kind, str(width), f"sqlite:///{place}/store.db"))
    seconds = {kind: min(result["seconds"] for result in results) for kind, results in found.items()}
    busy = {kind: min(result["busy"] for result in results) for kind, results in found.items()}
    ratio = seconds["items"] / seconds["fan"]
    cost = {width: seconds["items"] / width}
    for narrow in (1_000, 10_000):
        results = []
        for _ in range(rounds):
            with folder() as place:
                results.append(child("items", str(narrow), f"sqlite:///{place}/store.db"))
        best = min(results, key=lambda result: result["seconds"])
        cost[narrow] = (best["seconds"] - best["fixed"]) / narrow
    flat = max(cost.values()) / min(cost.values())
    costs = ", ".join(f"{each:,}: {cost[each] * 1e6:.0f} us" for each in sorted(cost))
    peak = max(result["peak_mb"] for result in found["items"])
    return [
        Row(
            f"`for_each` of {width:,} no-op items, durable",
            f"{ratio:.2f} x the fan-out ({width / seconds['items']:,.0f} items/s; of processor time "
            f"{busy['items'] / busy['fan']:.2f} x)",
            "<= 1.3 x",
            ratio <= 1.3,
            f"as many steps written out: {width / seconds['fan']:,.0f}/s",
        ),
        Row("cost per item at 1,000 ... 100,000", f"factor {flat:.2f}: {costs}", "<= factor 1.5", flat <= 1.5),
        Row(f"memory of {width:,} items", f"{peak:,.0f} MB at the peak", "<= 400 MB", peak <= 400),
        *items_resume(),
    ]


def items_resume() -> list[Row]:
    """Measure the resume of a ``for_each`` whose process was killed at its half: exactly the missing items run."""
    size = 100_000
    with folder() as place:
        url = f"sqlite:///{place}/store.db"
        child("half", "items", str(size), url, expected=-9)
        start = time.clock_gettime(time.CLOCK_MONOTONIC)
        began = child("resume", url, expected=-9)["began"] - start
        rest = child("rest", url)
    exact = rest["exact"] and rest["done"] == size + 1
    told = f"{began:.2f} s to the first of the {rest['ran']:,.0f} missing items, {rest['seconds']:.1f} s for all"
    again = f"{rest['again']:.0f} that were at work at a kill ran again"
    return [
        Row(
            f"resume of a `for_each` of {size - 2:,} items killed at its half",
            f"{told}; plan {rest['plan_seconds']:.2f} s; {again}",
            "exactly the missing ones",
            bool(exact),
        )
    ]


def resume_cost() -> list[Row]:
    """Measure process start to first new step, of a half-done execution whose process was killed."""
    rows = []
    for size, goal in ((1_000, 0.5), (100_000, 2.0)):
        with folder() as place:
            child("half", "fan", str(size), f"sqlite:///{place}/store.db", expected=-9)
            times = []
            for _ in range(3):
                start = time.clock_gettime(time.CLOCK_MONOTONIC)
                times.append(child("resume", f"sqlite:///{place}/store.db", expected=-9)["began"] - start)
        seconds = statistics.median(times)
        rows.append(
            Row(
                f"resume of a half-done execution of {size:,} steps, process start to first new step",
                f"{seconds:.2f} s",
                f"<= {goal:g} s",
                seconds <= goal,
            )
        )
    return rows


def store_cost() -> list[Row]:
    """Measure what the store takes on disk."""
    rows = []
    for length in (1_000, 10_000):
        with folder() as place:
            asyncio.run(timed_run(chain(length, registry()), f"sqlite:///{place}/s.db?durability=process"))
            size = _disk(place) / length
        rows.append(Row(f"store, chain of {length:,} no-op steps", f"{size:.0f} bytes a step", "<= 300", size <= 300))
    with folder() as place:
        asyncio.run(timed_run(payloads(200, registry()), f"sqlite:///{place}/s.db?durability=process"))
        ratio = _disk(place) / (200 * PAYLOAD_BYTES)
    rows.append(
        Row(
            "store, 200 steps of 100 KB",
            f"{ratio:.2f} x the distinct bytes (random: they do not compress)",
            "<= 1.2 x",
            ratio <= 1.2,
        )
    )
    return rows


def _disk(place: Path) -> int:
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())


def start_cost() -> list[Row]:
    """Measure what a person waits for."""
    python = [sys.executable, "-c"]
    bare = _best([*python, "pass"])
    imported = _best([*python, "import orchestrator"]) - bare
    helped = _best([sys.executable, "-m", "orchestrator", "--help"])
    with folder() as place:
        file = place / "hello.yaml"
        file.write_text("id: hello\nsteps:\n  - id: greet\n    tool: shell\n    parameters: {command: [echo, hi]}\n")
        ran = _best([sys.executable, "-m", "orchestrator", "run", str(file), "--store", f"sqlite:///{place}/s.db"])
    return [
        Row(
            "`import orchestrator`",
            f"{imported * 1e3:.0f} ms",
            "<= 80 ms",
            imported <= 0.08,
            f"bare Python: {bare * 1e3:.0f} ms",
        ),
        Row("`orchestrator --help`", f"{helped * 1e3:.0f} ms", "<= 250 ms", helped <= 0.25),
        Row("a one-step run, start to exit", f"{ran * 1e3:.0f} ms", "<= 500 ms", ran <= 0.5),
    ]


def _best(command: list[str], rounds: int = 5) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        times.append(time.perf_counter() - start)
    return min(times)


def _on_disk(place: Path, name: str) -> str:
    return f"sqlite:///{place}/{name}.db"


def adoption_cost(url: Callable[[Path, str], str] = _on_disk, of: str = "") -> list[Row]:
    """Measure how soon another server goes on with what one left behind; ``url`` names an empty store."""
    goal = fleet.LEASE * 1.25
    rows = []
    for number, what in ((signal.SIGKILL, "killed"), (signal.SIGSTOP, "stopped")):
        with folder() as place:
            found = fleet.adoptions(place, url(place, what), number)
        rows.append(
            Row(
                f"{of}adoption of what a {what} server had in hand, lease {fleet.LEASE:g} s (median)",
                fleet.spread(found),
                f"<= {goal:g} s: the lease and a renewal",
                max(found) <= goal,
            )
        )
    return rows


def serve_cost(
    url: Callable[[Path, str], str] = _on_disk,
    of: str = "",
    raw_commits: Callable[[Path, int], float] = lambda place, count: floor.commits(
        place / "raw.db", count, durable=True
    ),
) -> list[Row]:
    """Measure many executions at once in one server, and in two."""
    rows = []
    count = EXECUTIONS
    for servers in (1, 2):
        with folder() as place:
            store = url(place, f"serve{servers}")
            raw = raw_commits(place, count)
            submitted = child("submit", str(count), store)["rate"]
            start = time.perf_counter()
            with ThreadPoolExecutor(servers) as pool:
                found = list(pool.map(child, ["serve"] * servers, [str(count)] * servers, [store] * servers))
            seconds = time.perf_counter() - start
        steps = sum(each["steps"] for each in found)
        rows.append(
            Row(
                f"{of}{count:,} executions of {fleet.LENGTH} steps in {servers} server{'s' * (servers > 1)}",
                f"{steps / seconds:,.0f} steps/s, {max(each['peak_mb'] for each in found):.0f} MB"
                f" (submitted {submitted:,.0f}/s)",
                "",
                None,
                f"one commit after the other: {1 / raw:,.0f}/s",
            )
        )
    return rows


def plan_cost() -> list[Row]:
    """Measure plans and forks of an execution of 100,000 steps, completed and half done."""
    rows = []
    for what, calls in (("completed", 0), ("half done", plans.SIZE // 2)):
        with folder() as place:
            url = f"sqlite:///{place}/s.db?durability=process"
            child("large", url, str(calls), expected=-9 if calls else 0)
            for how in ("plain", "edited"):
                found = [child("plan", url, how) for _ in range(3)]
                seconds = statistics.median(each["seconds"] for each in found)
                edit = f", edited in one step with {plans.DEPENDENTS} dependents" if how == "edited" else ""
                measured = f"{seconds:.2f} s; {found[0]['runs']:,.0f} steps to run"
                rows.append(
                    Row(f"plan of {plans.SIZE:,} steps, {what}{edit}", measured, "<= 3 s", seconds <= plans.GOAL)
                )
            plain, again = plans.command_line(place), plans.command_line(place, "--rerun", f"step_{plans.SIZE // 2}")
            measured = f"{plain:.2f} s; with `--rerun` of the step that ten read {again:.2f} s"
            rows.append(Row(f"`orchestrator plan --json` of it, {what}, start to exit", measured, "", None))
            if not calls:
                before = _disk(place)
                took = child("fork", url)["seconds"]
                grown = _disk(place) - before
                rows.append(Row(f"fork of {plans.SIZE:,} steps", f"{took:.2f} s, {grown / 1e6:.1f} MB", "", None))
    return rows


def fingerprint_cost() -> list[Row]:
    """Measure what fingerprints add to a fan-out whose steps read an input and an upstream result, in turns."""
    rows = []
    for width, rounds in ((10_000, 5), (100_000, 3)):
        cost: dict[str, list[float]] = {"with": [], "without": []}
        for _ in range(rounds):
            for how, times in cost.items():
                with folder() as place:
                    url = f"sqlite:///{place}/s.db?durability=process"
                    times.append(child("reading", str(width), url, how)["busy"] / width * 1e6)
        found, bare = min(cost["with"]), min(cost["without"])
        rows.append(
            Row(
                f"fingerprints in a fan-out of {width:,} steps that read an input and a result",
                f"{found - bare:.1f} us of processor time a step (best of {rounds})",
                "<= 30 us",
                found - bare <= plans.FINGERPRINT_GOAL,
                f"without: {bare:.0f} us",
            )
        )
    return rows


def child(*arguments: str, expected: int = 0) -> dict[str, float]:
    """Run a case in a process of its own and return what it printed first."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.child", *arguments],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},
        check=False,
    )
    if done.returncode != expected:
        raise RuntimeError(f"{arguments}: exit {done.returncode}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[0])
    return result


CASES: dict[str, Callable[[], list[Row]]] = {
    "chain": chain_cost,
    "fan": fan_cost,
    "items": items_cost,
    "resume": resume_cost,
    "store": store_cost,
    "start": start_cost,
    "adoption": adoption_cost,
    "serve": serve_cost,
    "plan": plan_cost,
    "fingerprints": fingerprint_cost,
}
