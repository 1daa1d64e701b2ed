"""What comes after the main part: undo, on_failure and finally, as steps that survive and are told why."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestrator import ExecutionCancelled, ExecutionFailed, Orchestrator, ResumeError, TaskContext
from orchestrator.core.verify import verify_store
from orchestrator.domain.events import StageEntered, TasksReset
from orchestrator.domain.pipeline import Pipeline
from tests.unit.core.bench import Bench, begin, journal, step, wait_until

SEEN = "{{ failure.step }}: {{ failure.message }} ({{ failure.kind }})"


def undone(name: str, after: str = "", **options: Any) -> dict[str, Any]:
    """Return a step that can be undone."""
    undo = {"tool": "echo", "parameters": {"value": "{{ result }} of " + SEEN}}
    return {**step(name, value=name.upper(), after=after or []), "undo": undo, **options}


def at_the_end(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"finally": list(steps)}


def order(bench: Bench, **options: Any) -> Pipeline:
    return bench.pipeline(
        undone("a"),
        undone("b", after="a"),
        step("c", "fail", after="b"),
        on_failure=[step("tell", value=SEEN)],
        **at_the_end(step("clean", value="{{ a.status }} {{ a.result }} {{ c.status }}")),
        **options,
    )


async def sound(orchestrator: Orchestrator) -> None:
    adapters = orchestrator._adapters
    assert await verify_store(adapters.store, adapters.codec) == []


async def test_what_was_completed_last_is_undone_first(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = order(bench)
    with pytest.raises(ExecutionFailed, match="step 'c' failed"):
        await orchestrator.run_pipeline(pipeline, execution_id="e")
    assert bench.calls == ["a", "b", "c", "b.undo", "a.undo", "tell", "clean"]
    why = "c: c is out of luck (Boom)"
    assert await orchestrator.get_result("e", "b.undo") == f"B of {why}"
    assert await orchestrator.get_result("e", "tell") == why
    assert await orchestrator.get_result("e", "clean") == "pending None failed"
    resets = [event.tasks for event in await journal(orchestrator, "e") if isinstance(event, TasksReset)]
    assert resets == [["b"], ["a"]]
    await sound(orchestrator)


async def test_a_resume_runs_undone_steps_again_and_the_end_anew(bench: Bench, orchestrator: Orchestrator) -> None:
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(order(bench), execution_id="e")
    bench.calls.clear()
    bench.contexts.clear()
    plan = await orchestrator.resume_manager.plan("e")
    assert [(each.task, each.verb.value) for each in plan.decisions] == [
        ("a", "rerun"), ("b", "rerun"), ("c", "rerun"), ("tell", "wait"), ("clean", "run")
    ]  # fmt: skip
    result = await orchestrator.resume_pipeline("e")
    assert result.status == "completed"
    assert bench.calls == ["a", "b", "c", "clean"]
    assert [context.idempotency_key for context in bench.contexts] == ["e/a~1", "e/b~1", "e/c", "e/clean~1"]
    bench.calls.clear()
    assert (await orchestrator.resume_manager.plan("e")).changes_nothing
    assert (await orchestrator.resume_pipeline("e")).status == "completed"
    assert bench.calls == []
    await sound(orchestrator)


async def test_a_run_that_completes_has_its_end_as_well(bench: Bench, orchestrator: Orchestrator) -> None:
    ending: dict[str, Any] = {
        "on_failure": [step("tell")],
        "finally": [step("clean", value=SEEN), step("more", after="clean")],
    }
    await orchestrator.run_pipeline(bench.pipeline(undone("a"), **ending), execution_id="e")
    assert bench.calls == ["a", "clean", "more"]
    assert await orchestrator.get_result("e", "clean") == "None: None (None)"


async def test_a_failed_end_makes_a_completed_run_fail_and_is_all_that_a_resume_repeats(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    pipeline = bench.pipeline(undone("a"), **at_the_end(step("clean", "fail")))
    with pytest.raises(ExecutionFailed, match="step 'clean' failed"):
        await orchestrator.run_pipeline(pipeline, execution_id="e")
    assert (await orchestrator.resume_pipeline("e")).status == "completed"
    assert bench.calls == ["a", "clean", "clean"]


async def test_an_undo_that_fails_keeps_no_other_from_running(bench: Bench, orchestrator: Orchestrator) -> None:
    broken = undone("b", after="a", undo=[{"tool": "fail"}, {"tool": "echo"}])
    pipeline = bench.pipeline(undone("a"), broken, step("c", "fail", after="b"))
    with pytest.raises(ExecutionFailed, match=r"step 'b.undo\[1\]' failed"):
        await orchestrator.run_pipeline(pipeline, execution_id="e")
    assert bench.calls == ["a", "b", "c", "b.undo[1]", "a.undo"]
    state = await orchestrator.get_state("e")
    assert (state.tasks["a"].status.value, state.tasks["b"].status.value) == ("pending", "completed")


async def test_items_are_undone_with_what_they_were(bench: Bench, orchestrator: Orchestrator) -> None:
    each = undone("x", for_each=["p", "q"])
    each["undo"] = {"tool": "echo", "parameters": {"value": "{{ item }} {{ key }} {{ result }}"}}
    pipeline = bench.pipeline(each, step("c", "fail", after="x"))
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(pipeline, execution_id="e")
    assert sorted(bench.calls[3:]) == ["x[p].undo", "x[q].undo"]
    assert await orchestrator.get_result("e", "x[q].undo") == "q q X"
    assert (await orchestrator.resume_pipeline("e")).status == "completed"
    assert sorted(bench.calls[5:]) == ["c", "x[p]", "x[q]"]
    await sound(orchestrator)


async def test_a_cancel_undoes_first(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(
        undone("a"), step("slow", "hold", after="a"), on_failure=[step("tell")], **at_the_end(step("clean"))
    )
    running = await begin(orchestrator.run_pipeline, pipeline, execution_id="e")
    await bench.started("slow")
    assert await orchestrator.cancel("e", by="me")
    with pytest.raises(ExecutionCancelled, match="cancelled by me"):
        await running.result()
    assert bench.calls == ["a", "slow", "a.undo", "clean"]
    assert await orchestrator.get_result("e", "a.undo") == "A of None: cancelled by me (cancelled)"
    await sound(orchestrator)


async def test_a_cancel_at_once_undoes_nothing(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(undone("a"), step("slow", "hold", after="a"), **at_the_end(step("clean")))
    running = await begin(orchestrator.run_pipeline, pipeline, execution_id="e")
    await bench.started("slow")
    assert await orchestrator.cancel("e", by="me", at_once=True)
    with pytest.raises(ExecutionCancelled):
        await running.result()
    assert bench.calls == ["a", "slow"]


async def test_a_run_that_takes_too_long_fails_and_may_be_resumed(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(
        undone("a"), step("slow", "hold", after="a"), timeout=0.05, on_failure=[step("tell", value=SEEN)]
    )
    with pytest.raises(ExecutionFailed, match="the run took longer than"):
        await orchestrator.run_pipeline(pipeline, execution_id="e")
    assert bench.calls == ["a", "slow", "a.undo", "tell"]
    assert await orchestrator.get_result("e", "tell") == "None: the run took longer than 0.05 s (timeout)"
    await sound(orchestrator)


async def test_a_run_cut_off_in_a_stage_goes_on_there(bench: Bench, orchestrator: Orchestrator) -> None:
    async def last(context: TaskContext) -> None:
        bench.note(context)
        if context.attempt == 1:
            await asyncio.Event().wait()

    bench.register(last)
    slow = undone("a", undo={"tool": "last"})
    pipeline = bench.pipeline(slow, undone("b", after="a"), step("c", "fail", after="b"), on_failure=[step("tell")])
    running = await begin(orchestrator.run_pipeline, pipeline, execution_id="e")
    await wait_until(lambda: "a.undo" in bench.calls, description="the undo of a begins")
    running.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running.task
    bench.calls.clear()
    with pytest.raises(ResumeError, match="cut off in its stage 'undo'"):
        await orchestrator.resume_pipeline("e", rerun=["b"])
    with pytest.raises(ExecutionFailed, match="step 'c' failed"):
        await orchestrator.resume_pipeline("e")
    assert bench.calls == ["a.undo", "tell"]
    entered = [event.stage for event in await journal(orchestrator, "e") if isinstance(event, StageEntered)]
    assert entered == ["undo", "on_failure"]
    await sound(orchestrator)


async def test_a_fork_begins_with_the_main_part(bench: Bench, orchestrator: Orchestrator) -> None:
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(order(bench), execution_id="e")
    fork = await orchestrator.fork("e", execution_id="f")
    del fork
    assert set((await orchestrator.get_state("f")).tasks) == {"a", "b", "c"}


async def test_an_edit_of_an_undo_runs_no_step_again(bench: Bench, orchestrator: Orchestrator) -> None:
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(
            bench.pipeline(step("a", value="A"), step("c", "fail", after="a")), execution_id="e"
        )
    edited = bench.pipeline(undone("a"), step("c", "fail", after="a"))
    assert (await orchestrator.resume_pipeline("e", pipeline=edited)).status == "completed"
    assert bench.calls == ["a", "c", "c"]


def faults(bench: Bench, *steps: dict[str, Any], **parts: Any) -> str:
    from orchestrator import DefinitionError

    with pytest.raises(DefinitionError) as caught:
        bench.pipeline(*steps, **parts)
    return str(caught.value)


def test_what_cannot_be_an_ending(bench: Bench) -> None:
    a = undone("a")
    assert "two steps are named 'a'" in faults(bench, a, on_failure=[step("a")])
    assert "a is a step of the main part" in faults(bench, a, **at_the_end(step("z", after="a")))
    assert "a step of a later stage has a tool" in faults(bench, a, **at_the_end({**step("z"), "for_each": [1]}))
    assert "is not undone" in faults(bench, a, on_failure=[undone("z")])
    assert "failure means nothing here" in faults(bench, step("b", value="{{ failure.step }}"))
    assert "a.undo, as another step is" in faults(bench, a, step("a.undo"))
    assert "expected more than 0 seconds" in faults(bench, a, timeout=0)
    assert "no step named 'oops'" in faults(
        bench, {**a, "undo": {"tool": "echo", "parameters": {"value": "{{ oops.x }}"}}}
    )
    assert "undo belongs to the steps inside" in faults(
        bench, {"id": "s", "steps": [step("i")], "undo": {"tool": "echo"}}
    )
