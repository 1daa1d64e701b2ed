"""The pipeline that is killed: one step of every kind, each of which logs that it ran.

A step's value is ``{"task", "data", "by"}``. ``data`` is a deterministic function of the inputs, so that any run
must end the same; ``by`` is different in every attempt of every process, so that it shows whose value was read.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from chaos.effects import digest_of, record
from orchestrator import ResumeStrategy, RetryPolicy, Task, TaskContext, TaskError, tool
from orchestrator.compiler.build import build
from orchestrator.domain.ids import TaskId
from orchestrator.domain.pipeline import Input, Isolation, OnInterrupted
from orchestrator.tools.registry import default_registry

if TYPE_CHECKING:
    from orchestrator.domain.pipeline import Pipeline

TOOL = "chaos"
BIG_BYTES = 100 * 1024
"""Size of the big result: random bytes, so that they stay above the 64 KiB beyond which a value gets a file."""
FLAKY_FAILURES = 2
UNITS = 5
AMOUNT = 7

Value = dict[str, Any]


class _Work:
    """One attempt's entry in the log: ``begin`` at once, ``end`` with the value."""

    def __init__(self, context: TaskContext, of: list[Value], saved: Any = None) -> None:
        self._context = context
        self._log = context.inputs["log"]
        self._by = f"{context.attempt}.{os.getpid()}.{secrets.token_hex(4)}"
        reads = {value["task"]: value["by"] for value in of}
        self._record("begin", {"reads": reads, "saved": saved})

    def end(self, data: Any) -> Value:
        self._record("end", {"by": self._by, "digest": digest_of(data)})
        return {"task": self._context.task_id, "data": data, "by": self._by}

    def _record(self, what: str, details: dict[str, Any]) -> None:
        context = self._context
        record(self._log, what, context.task_id, context.attempt, context.idempotency_key, details)


def _combine(of: list[Value], number: int) -> int:
    total: int = (sum(value["data"] for value in of) * 31 + number) % 1_000_003
    return total


@tool(TOOL, action="start")
async def start(context: TaskContext, amount: int) -> Value:
    """Begin: make a number of the pipeline's input."""
    work = _Work(context, [])
    await _pause(context)
    return work.end(amount * 3)


@tool(TOOL, action="mix")
async def mix(context: TaskContext, of: list[Value], number: int = 0) -> Value:
    """Combine values, on the event loop."""
    work = _Work(context, of)
    await _pause(context)
    return work.end(_combine(of, number))


@tool(TOOL, action="mix_plain")
def mix_plain(context: TaskContext, of: list[Value], number: int = 0) -> Value:
    """Combine values, in a thread (or in a process of its own)."""
    work = _Work(context, of)
    time.sleep(_seconds(context))
    return work.end(_combine(of, number))


@tool(TOOL, action="flaky")
async def flaky(context: TaskContext, of: list[Value], failures: int) -> Value:
    """Fail the first attempts, by their number."""
    work = _Work(context, of)
    if context.attempt <= failures:
        raise TaskError(f"attempt {context.attempt} fails, as it should", kind="flaky")
    await _pause(context)
    return work.end(_combine(of, failures))


@tool(TOOL, action="big")
def big(context: TaskContext, of: list[Value], size: int) -> Value:
    """Return more than fits into the database."""
    work = _Work(context, of)
    return work.end(_bytes(_combine(of, 0), size))


@tool(TOOL, action="measure")
async def measure(context: TaskContext, of: Value, text: str) -> Value:
    """Read a big value, and a text made by a template."""
    work = _Work(context, [of])
    return work.end({"length": len(of["data"]), "digest": digest_of(of["data"]), "text": text})


@tool(TOOL, action="save")
def save(context: TaskContext, of: list[Value], units: int) -> Value:
    """Work through units, saving after each; go on from what was saved."""
    state = context.saved or {"done": 0, "sum": 0}
    work = _Work(context, of, state)
    for unit in range(state["done"], units):
        time.sleep(_seconds(context))
        state = {"done": unit + 1, "sum": state["sum"] + _combine(of, unit)}
        context.save(state)
        context.progress(unit + 1, units)
    return work.end(state["sum"])


@tool(TOOL, action="after_skipped")
async def after_skipped(context: TaskContext, of: list[Value], nothing: None) -> Value:
    """Come after a step that is skipped: its result is None."""
    work = _Work(context, of)
    return work.end([value["data"] for value in of] + [nothing])


async def _pause(context: TaskContext) -> None:
    await asyncio.sleep(_seconds(context))


def _seconds(context: TaskContext) -> float:
    """Return how long a step (or a unit of it) takes: a different time for each, the same in each run."""
    spread: float = int(digest_of(context.task_id), 16) % 1000 / 1000
    return float(context.inputs["pace"]) * (0.2 + spread)


def _bytes(seed: int, size: int) -> bytes:
    return hashlib.shake_256(seed.to_bytes(8, "big")).digest(size)


def _step(name: str, action: str, of: list[str], **options: Any) -> Task:
    parameters = {"of": [f"{{{{ {need}.result }}}}" for need in of], **options.pop("parameters", {})}
    return Task(TaskId(name), TOOL, action, parameters, **options)


_ONCE_MORE = RetryPolicy(max_attempts=FLAKY_FAILURES + 2, delay_seconds=0.002, max_delay_seconds=0.004)


@cache
def make(variant: str = "threads") -> Pipeline:
    """Return the pipeline; ``variant`` ``processes`` has steps in processes of their own as well."""
    isolation = Isolation.PROCESS if variant == "processes" else Isolation.NONE
    ends = ["tail", "critical", "measure", "saving", "flaky", "taken", "isolated", "fallback"]
    tasks = [
        Task(TaskId("start"), TOOL, "start", {"amount": "{{ inputs.amount }}"}),
        _step("left", "mix", ["start"], parameters={"number": 1}),
        _step("right", "mix_plain", ["start"], parameters={"number": 2}),
        _step("join", "mix", ["left", "right"]),
        *(_step(f"fan{n}", "mix_plain" if n % 2 else "mix", ["join"], parameters={"number": n}) for n in range(4)),
        _step("gather", "mix", [f"fan{n}" for n in range(4)]),
        _step("chain", "mix_plain", ["gather"]),
        _step("tail", "mix", ["chain"]),
        _step("flaky", "flaky", ["start"], retry=_ONCE_MORE, parameters={"failures": FLAKY_FAILURES}),
        _step("saving", "save", ["left"], parameters={"units": UNITS}),
        _step("critical", "save", ["join"], critical=True, parameters={"units": UNITS}),
        _step("big", "big", ["right"], parameters={"size": BIG_BYTES}),
        Task(
            TaskId("measure"),
            TOOL,
            "measure",
            {"of": "{{ big.result }}", "text": "{{ left.result.data }} of {{ inputs.amount }}"},
        ),
        _step("skipped", "mix", ["left"], condition="{{ left.result.data < 0 }}"),
        Task(
            TaskId("fallback"),
            TOOL,
            "after_skipped",
            {"of": ["{{ start.result }}"], "nothing": "{{ skipped.result }}"},
            on_interrupted=OnInterrupted.RERUN,
        ),
        _step("taken", "mix", ["right"], condition="{{ right.result.data > 0 }}"),
        _step("isolated", "mix_plain", ["left"], isolation=isolation, parameters={"number": 5}),
        Task(
            TaskId("finish"),
            TOOL,
            "after_skipped",
            {"of": [f"{{{{ {name}.result }}}}" for name in ends], "nothing": "{{ skipped.result }}"},
        ),
    ]
    return build(
        id=f"chaos-{variant}",
        tasks=tasks,
        inputs=[
            Input("log", "string", required=True),
            Input("amount", "integer", default=AMOUNT),
            Input("pace", "number"),
        ],
        outputs={
            "all": "{{ finish.result.data }}",
            "tail": "{{ tail.result.data }}",
            "skipped": "{{ skipped.result }}",
        },
        resume=ResumeStrategy(checkpoint_interval_seconds=0.01),
        tools=default_registry(),
    )


def planned_attempts(task: str) -> int:
    """Return how many attempts of a task an undisturbed run makes."""
    return {"flaky": FLAKY_FAILURES + 1, "skipped": 0}.get(task, 1)
