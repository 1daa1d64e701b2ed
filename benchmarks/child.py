"""What a benchmark runs in a process of its own: ``python -m benchmarks.child CASE ARGUMENTS``; prints JSON."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable

from benchmarks.fleet import serve_many, submit_many
from benchmarks.pipelines import chain, fan, items, registry
from benchmarks.plans import CHILDREN
from orchestrator import Orchestrator, Pipeline, TaskContext
from orchestrator.domain.execution import DONE
from orchestrator.tools.registry import ToolRegistry


async def run_fan(width: int, url: str, made: Callable[[int, ToolRegistry], Pipeline] = fan) -> dict[str, float]:
    """Run a fan; report seconds, those of the processor and of a one-step execution, steps, peak memory in MB."""
    tools = registry()
    start = time.perf_counter()
    pipeline = made(width, tools)
    built = time.perf_counter() - start
    async with Orchestrator(store=url, tools=tools) as orchestrator:
        # What a process pays once (imports, opening the store) is measured as the start, not as the cost of steps.
        await orchestrator.run_pipeline(chain(1, tools).definition)
        fixed = []
        for _ in range(5):
            start = time.perf_counter()
            await orchestrator.run_pipeline(chain(1, tools).definition)
            fixed.append(time.perf_counter() - start)
        start, busy = time.perf_counter(), time.process_time()
        await orchestrator.run_pipeline(pipeline.definition)
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
    return {
        "seconds": seconds,
        "busy": busy,
        "fixed": statistics.median(fixed),
        "steps": width + 2,
        "build_seconds": built,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


async def half(kind: str, size: int, url: str) -> dict[str, float]:
    """Run half of a pipeline, then die as kill -9 would."""
    tools = registry()
    left = [size // 2]

    async def noop() -> None:
        left[0] -= 1
        if left[0] < 0:
            await asyncio.sleep(3600)

    tools.register("noop", noop, replace=True)
    pipeline = {"chain": chain, "fan": fan, "items": items}[kind](size if kind == "chain" else size - 2, tools)
    orchestrator = Orchestrator(store=url, tools=tools)
    task = asyncio.create_task(orchestrator.run_pipeline(pipeline.definition, execution_id="half"))
    while left[0] >= 0:
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.5)
    print(json.dumps({"done": 1}), flush=True)
    os.kill(os.getpid(), 9)
    await task
    return {}


async def resume(url: str) -> dict[str, float]:
    """Resume and stop at the first new step; report the clock when it began."""
    tools = registry()
    began: list[float] = []

    async def noop() -> None:
        began.append(time.clock_gettime(time.CLOCK_MONOTONIC))
        print(json.dumps({"began": began[0]}), flush=True)
        os.kill(os.getpid(), 9)

    tools.register("noop", noop, replace=True)
    async with Orchestrator(store=url, tools=tools) as orchestrator:
        await orchestrator.resume_pipeline("half")
    return {}


async def rest(url: str) -> dict[str, float]:
    """Resume to the end; report the seconds, what the plan said and took, how many steps ran, and how many again."""
    tools = registry()
    ran: list[str] = []

    async def noop(context: TaskContext) -> None:
        ran.append(context.task_id)

    tools.register("noop", noop, replace=True)
    async with Orchestrator(store=url, tools=tools) as orchestrator:
        state = await orchestrator.get_state("half")
        missing = {name for name, task in state.tasks.items() if task.status not in DONE and name not in state.groups}
        again = sum(bool(state.tasks[name].attempt) for name in missing)
        start = time.perf_counter()
        plan = await orchestrator.plan("half")
        plan_seconds = time.perf_counter() - start
        start = time.perf_counter()
        await orchestrator.resume_pipeline("half")
        seconds = time.perf_counter() - start
        done = (await orchestrator.get_state("half")).done_count
    return {
        "seconds": seconds,
        "plan_seconds": plan_seconds,
        "planned": sum(each.verb.value in ("run", "rerun") for each in plan.decisions),
        "ran": len(ran),
        "again": again,
        "exact": len(ran) == len(missing) and set(ran) == missing,
        "done": done,
    }


def main() -> None:
    """Run the case that the arguments name."""
    case, *arguments = sys.argv[1:]
    if case in CHILDREN:
        result = CHILDREN[case](*arguments)
    elif case == "fan":
        result = asyncio.run(run_fan(int(arguments[0]), arguments[1]))
    elif case == "half":
        result = asyncio.run(half(arguments[0], int(arguments[1]), arguments[2]))
    elif case == "items":
        result = asyncio.run(run_fan(int(arguments[0]), arguments[1], items))
    elif case == "rest":
        result = asyncio.run(rest(arguments[0]))
    elif case == "submit":
        result = asyncio.run(submit_many(int(arguments[0]), arguments[1]))
    elif case == "serve":
        result = asyncio.run(serve_many(int(arguments[0]), arguments[1]))
    else:
        result = asyncio.run(resume(arguments[0]))
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
