"""Limits as a run keeps them."""

from __future__ import annotations

from orchestrator import ExecutionStopped, Orchestrator
from orchestrator.compiler import compile_dict
from orchestrator.domain.events import TaskClaimed
from orchestrator.testing import Bench as Kit
from tests.unit.core.bench import Bench, begin, journal, step


async def test_items_keep_a_limit_and_other_steps_go_on(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(
        step("each", "hold", for_each=["a", "b", "c"], limits="few"), step("free", "hold"), limits={"few": 2}
    )
    running = await begin(orchestrator.run_pipeline, pipeline)
    await bench.started("each[a]", "each[b]", "free")
    assert len(bench.calls) == 3
    bench.gate("each[b]").set()
    await bench.started("each[c]")
    for name in ("each[a]", "each[c]", "free"):
        bench.gate(name).set()
    assert (await running.result()).status == "completed"


async def test_a_rate_is_kept_over_retries_and_a_resume(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(
        step("a", "fail", limits="slow", retry={"max_attempts": 3, "delay": 0}),
        step("b", "hold", limits=["slow"], after="a"),
        step("c", limits="slow", after="b"),
        limits={"slow": "2/200ms"},
        max_concurrency=3,
    )
    running = await begin(orchestrator.run_pipeline, pipeline, execution_id="x")
    await bench.started("b")
    running.engine.stop(15)
    running.engine.stop(15)
    bench.gate("b").set()
    try:
        await running.result()
    except ExecutionStopped:
        assert (await orchestrator.resume_pipeline("x")).status == "completed"
    claims = [event.at for event in await journal(orchestrator, "x") if isinstance(event, TaskClaimed)]
    assert len(claims) == 4
    assert all(later - earlier >= 0.2 for earlier, later in zip(claims, claims[2:], strict=False))


def test_items_that_were_cut_off_and_wait_for_a_limit_are_not_left_out() -> None:
    each = {
        "id": "each",
        "tool": "shell",
        "for_each": [1, 2, 3, 4],
        "limits": "few",
        "parameters": {"command": ["date"]},
    }
    last = {"id": "last", "tool": "shell", "parameters": {"command": ["echo", "{{ each.result | length }}"]}}
    pipeline = compile_dict({"id": "p", "limits": {"few": 2}, "steps": [each, last]})
    bench = Kit(pipeline, {"each": "done", "last": "done"})
    assert bench.run(crash="after_effect:3").status == "crashed"  # the last two items are at work: none waits

    run = bench.resume()
    assert run.status == "completed"
    assert run.order[-1] == "last"
    assert [call.parameters["command"] for call in run.calls_of("last")] == [["echo", 4]]
