"""Pipelines as functions, and the test kit, as a stranger's program uses them: checked by mypy --strict, never run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypedDict, assert_type

import orchestrator as orc
from orchestrator.domain.plan import Plan
from orchestrator.testing import Bench, Call, ManualClock, Run, in_turn, replay, run_pipeline, verbs


class Rows(TypedDict):
    user: str
    rows: list[int]


@orc.task(retry=orc.RetryPolicy(max_attempts=3), timeout=60, critical=True)
def fetch(user: str, *, limit: int = 10) -> Rows:
    return {"user": user, "rows": list(range(limit))}


@orc.task
async def process(rows: list[int], context: orc.TaskContext | None = None) -> float:
    if context is not None:
        context.progress(1, 2)
    return sum(rows) / len(rows)


@orc.task(name="mail", isolation="process")
def send(total: float, to: str | None = None) -> None:
    print(total, to)


@orc.pipeline
def daily(user: Annotated[str, "whose"] = "nobody") -> dict[str, float]:
    found = fetch(user, limit=3)
    assert_type(found, Rows)
    mean = process(found["rows"])
    assert_type(mean, float)
    late = orc.expression("{} > {limit}", mean, limit=3)
    send.when(late).after(found)(mean)
    send.named("mail-boss").options(timeout=5, on_interrupted="ask")(mean, to=f"boss of {user}")
    return {"mean": mean}


@orc.pipeline(id="weekly", version="2", resume=orc.ResumeStrategy(max_retry_attempts=5))
def weekly(users: list[str]) -> float:
    one = daily(users[0])
    two = daily.step.named("second")(user=users[1])
    month = orc.subpipeline("monthly.yaml", {"one": one}, timeout=60.0)
    send(month["mean"])
    rows = fetch.for_each(users, key=orc.item["id"], max_parallel=3, tolerate=0.05)(orc.item["id"], limit=1)
    process.repeat(until=orc.last["done"], max_iterations=9).after(rows)(orc.last)
    return two["mean"]


def mistakes() -> None:
    fetch(3)  # type: ignore[arg-type]
    fetch("ada", limits=3)  # type: ignore[call-arg]
    process(fetch("ada"))  # type: ignore[arg-type]
    fetch.options(timeuot=3)("ada")  # type: ignore[call-arg]
    daily(limit=3)  # type: ignore[call-arg]


async def run() -> None:
    pipeline: orc.Pipeline = daily
    assert_type(await daily.run(user="ada"), orc.Result)
    assert_type(weekly.run_sync(users=["ada", "bob"]).outputs, dict[str, Any])
    assert_type(daily.to_yaml(), str)
    assert_type(await process.function([1]), Any)
    async with orc.Orchestrator() as orchestrator:
        await orchestrator.run_pipeline(pipeline, {"user": "ada"})
        await orchestrator.resume_pipeline("exec_1", pipeline=weekly)


def tested() -> None:
    run = run_pipeline(daily, {"user": "ada"}, fakes={"fetch": {"rows": [1]}, "mail": OSError}, crash="after_commit")
    assert_type(run, Run)
    assert_type(run.calls, tuple[Call, ...])
    bench = Bench(daily, {"fetch": in_turn(OSError("down"), {"rows": []})}, strict=True, clock=ManualClock())
    assert_type(bench.run(user="ada").error, orc.ExecutionError | None)
    plan = bench.plan(pipeline=weekly, rerun=["fetch"])
    assert_type(bench.resume(crash="before_effect", expect=plan, pipeline=weekly).order, list[str])
    assert_type(replay("sqlite:///store.db", "exec_1", daily), Plan)
    assert_type(verbs(replay(Path("recorded.orc"), None, "daily.yaml", until="fetch")), dict[str, str])
