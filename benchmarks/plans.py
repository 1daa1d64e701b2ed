"""What knowing what changed costs: plans and forks of large executions, and fingerprints while they run."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator import Input, Orchestrator, Pipeline, Task
from orchestrator.core.claims import Claims
from orchestrator.core.weighing import Weighing
from orchestrator.domain.ids import TaskId
from orchestrator.tools.registry import ToolRegistry

SIZE = 100_000
DEPENDENTS = 10
GOAL = 3.0
FINGERPRINT_GOAL = 30.0
"""Microseconds a step."""
ACTION = "benchmarks.plans:give"
LEFT: list[int] = []
"""How many calls are left before the process dies; empty: it lives."""


def give(level: int = 0, of: Any = None) -> int:
    """Return the level."""
    del of
    if LEFT:
        LEFT[0] -= 1
        if LEFT[0] <= 0:
            print(json.dumps({"done": 1}), flush=True)
            os.kill(os.getpid(), 9)
    return level


def steps(level: int, size: int = SIZE) -> list[tuple[str, dict[str, Any], str]]:
    """Return id, parameters and need of each step: one in the middle has a level, and ten dependents that read it."""
    middle = f"step_{size // 2}"
    found: list[tuple[str, dict[str, Any], str]] = [("first", {}, "")]
    found += [(f"step_{number}", {"level": level if number == size // 2 else 1}, "first") for number in range(size)]
    found += [(f"reader_{number}", {"of": f"{{{{ {middle}.result }}}}"}, "first") for number in range(DEPENDENTS)]
    return found


def pipeline(level: int, size: int = SIZE) -> Pipeline:
    """Return these steps as a pipeline built in Python."""
    tasks = [
        Task(TaskId(name), "python", ACTION, parameters, (TaskId(need),) if need else ())
        for name, parameters, need in steps(level, size)
    ]
    return Pipeline(id="large", tasks=tasks)


async def run_large(url: str, calls: int) -> dict[str, float]:
    """Run them; die after so many calls (0: run to the end)."""
    if calls:
        LEFT.append(calls)
    async with Orchestrator(store=url) as orchestrator:
        await orchestrator.run_pipeline(pipeline(1).definition, execution_id="large")
    return {"done": 1}


async def plan_large(url: str, edited: bool) -> dict[str, float]:  # noqa: FBT001
    """Plan a resume, with or without an edit; report seconds, those of the processor, and how many steps run."""
    definition = pipeline(2) if edited else None
    async with Orchestrator(store=url) as orchestrator:
        start, busy = time.perf_counter(), time.process_time()
        found = await orchestrator.plan("large", pipeline=definition)
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
    runs = sum(each.verb.value in ("run", "rerun") for each in found.decisions)
    return {"seconds": seconds, "busy": busy, "runs": runs}


async def fork_large(url: str) -> dict[str, float]:
    """Fork it; report seconds."""
    async with Orchestrator(store=url) as orchestrator:
        start, busy = time.perf_counter(), time.process_time()
        await orchestrator.fork("large", execution_id="fork")
        return {"seconds": time.perf_counter() - start, "busy": time.process_time() - busy}


async def fan_reading(width: int, url: str, *, without: bool) -> dict[str, float]:
    """Run a fan whose steps read an input and an upstream result; ``without`` what is recorded for fingerprints."""
    if without:
        _forget_fingerprints()
    tools = ToolRegistry()

    async def read(start: int, of: Any) -> int:
        del of
        return start

    tools.register("read", read)
    parameters = {"start": "{{ inputs.start }}", "of": "{{ first.result }}"}
    middle = [Task(TaskId(f"step_{number}"), "read", parameters=parameters) for number in range(width)]
    first = Task(TaskId("first"), "read", parameters={"start": 1, "of": None})
    made = Pipeline(id="fan", tasks=[first, *middle], inputs=[Input("start", "integer", required=True)], tools=tools)
    async with Orchestrator(store=url, tools=tools) as orchestrator:
        start, busy = time.perf_counter(), time.process_time()
        await orchestrator.run_pipeline(made.definition, {"start": 3})
        return {"seconds": time.perf_counter() - start, "busy": time.process_time() - busy}


def _forget_fingerprints() -> None:
    """Let this process record what releases without fingerprints did: small parameters, in any order, and no calls."""

    def given_ref(self: Any, parameters: Any) -> Any:
        ref = self._adapters.codec.encode(parameters).ref
        return ref if ref.inline else None

    Weighing.given_ref = given_ref  # type: ignore[method-assign]
    Claims._resolve = lambda *_: None  # type: ignore[method-assign] # noqa: SLF001


CHILDREN: dict[str, Callable[..., Any]] = {
    "large": lambda url, calls: asyncio.run(run_large(url, int(calls))),
    "plan": lambda url, edited: asyncio.run(plan_large(url, edited == "edited")),
    "fork": lambda url: asyncio.run(fork_large(url)),
    "reading": lambda width, url, how: asyncio.run(fan_reading(int(width), url, without=how == "without")),
}


def command_line(place: Path, *more: str) -> float:
    """Return the seconds of ``orchestrator plan large --json``, the process's start included."""
    command = [sys.executable, "-m", "orchestrator", "plan", "large", "--json", "--store", f"sqlite:///{place}/s.db"]
    times = []
    for _ in range(2):
        start = time.perf_counter()
        subprocess.run([*command, *more], check=True, capture_output=True, cwd=Path(__file__).parents[1])
        times.append(time.perf_counter() - start)
    return min(times)
