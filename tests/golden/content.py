"""What the golden stores hold: one pipeline that uses every kind of fact and value, and how it ends."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from orchestrator import Pipeline, ResumeStrategy, RetryPolicy, Task, TaskContext, TaskError
from orchestrator.domain.files import FileSeen, Trace
from orchestrator.domain.ids import ExecutionId, TaskId
from orchestrator.domain.pipeline import CheckpointWhen, Input, OnInterrupted
from orchestrator.ports.store import CacheEntry, Signal
from orchestrator.state.records import encode_value
from orchestrator.tools.registry import ToolRegistry

EXECUTION = ExecutionId("golden")
KEY = f"golden:{b64encode(bytes(range(32))).decode()}"
"""What the encrypted golden stores are sealed with: it keeps nothing secret."""
VALUES: dict[str, Any] = {
    "none": None,
    "numbers": [0, -1, 2**70, 1.5, float("inf"), True],
    "texts": ["", "é", "\udcff", "a" * 300],
    "bytes": b"\x00\xff",
    "when": datetime(2026, 2, 28, 12, 30, tzinfo=UTC),
    "span": timedelta(days=1, microseconds=3),
    "exact": Decimal("1.10"),
    "uuid": UUID(int=7),
    "tuple": (1, (2, 3)),
    "set": {1, 2},
    "keys": {1: "int", (1, 2): "tuple", None: "none"},
}
MIDDLE = [f"row {number}" for number in range(2_000)]
"""Too large for the journal, small enough for a row."""
BIG = Random(7).randbytes(100_000)
"""No compressor makes it smaller: it gets a file of its own."""
TRACE = Trace((FileSeen("rows.csv", 12, 1_750_000_000_123_456_789, "ab" * 32),), (), inputs=True)
SIGNAL = Signal("sent-1", "approved", encode_value({"by": "ada", "yes": True}), "ada@golden", 1_750_000_000.25)
CACHED = CacheEntry(bytes(range(32)), 1_750_000_000.5, "golden@7", encode_value("by fingerprint").ref, TRACE)
"""What the stores keep in their cache, from format 3 on."""


def registry() -> ToolRegistry:
    """Return the tools of the golden pipeline."""
    tools = ToolRegistry()

    async def values() -> dict[str, Any]:
        return VALUES

    async def middle() -> list[str]:
        return MIDDLE

    async def big() -> bytes:
        return BIG

    async def once_more(context: TaskContext) -> int:
        context.progress(1, 2, "half way")
        context.save({"attempt": context.attempt})
        if context.attempt == 1:
            raise TaskError("the first attempt fails", kind="flaky")
        return int(context.saved["attempt"])

    async def fail() -> None:
        raise TaskError("always", retryable=False)

    async def echo(value: Any) -> Any:
        return value

    for function in (values, middle, big, once_more, fail, echo):
        tools.register(function.__name__.replace("_", "-"), function)
    return tools


def pipeline(tools: ToolRegistry) -> Pipeline:
    """Return the golden pipeline: it completes all but ``fails`` and what stands behind it."""
    fails = TaskId("fails")
    return Pipeline(
        id="golden",
        name="Every kind of fact",
        version="1.0",
        description="Written once by each format, read by all later releases.",
        inputs={"who": Input("who", "string", required=True), "many": Input("many", "list", default=[1, 2])},
        tasks=[
            Task(TaskId("values"), "values"),
            Task(TaskId("middle"), "middle", critical=True),
            Task(TaskId("big"), "big", checkpoint=CheckpointWhen.BOTH),
            Task(TaskId("flaky"), "once-more", retry=RetryPolicy(max_attempts=3, delay_seconds=0.01, on=("flaky",))),
            Task(TaskId("skipped"), "echo", parameters={"value": 1}, condition="inputs.who == 'nobody'"),
            Task(TaskId("echoed"), "echo", parameters={"value": "{{ values.result.tuple }}"}),
            Task(fails, "fail", on_interrupted=OnInterrupted.ASK),
            Task(TaskId("behind"), "echo", parameters={"value": 2}, dependencies=(fails,)),
        ],
        outputs={"echoed": "{{ echoed.result }}", "who": "{{ inputs.who }}"},
        resume=ResumeStrategy(max_retry_attempts=5, checkpoint_interval_seconds=0.05),
        tools=tools,
    )
