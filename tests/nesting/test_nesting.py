"""Steps that run other pipelines, each as an execution of its own: it goes on, ends and is removed with its parent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import ExecutionCancelled, ExecutionFailed, ExecutionStopped, Orchestrator, ResumeError, UsageError
from orchestrator.core.family import children_first
from orchestrator.core.retention import apply_retention
from orchestrator.domain.events import ExecutionLinked, TaskTraced
from orchestrator.domain.ids import ExecutionId
from orchestrator.errors import DefinitionError, ExecutionExists
from orchestrator.settings import Retention
from tests.nesting.ground import PARENT, Ground, facts, names
from tests.unit.core.bench import wait_until


@pytest.fixture
async def ground(tmp_path: Path) -> AsyncIterator[Ground]:
    made = Ground(tmp_path)
    yield made
    await made.close()


@pytest.fixture
def runner(ground: Ground) -> Orchestrator:
    return ground.orchestrator()


async def run(ground: Ground, runner: Orchestrator, **inputs: Any) -> Any:
    return await runner.run_pipeline(ground.pipeline(runner), inputs, execution_id="p")


# -- results and links ---------------------------------------------------------------------------------------------


async def test_a_child_is_an_execution_of_its_own_whose_outputs_are_the_result(
    ground: Ground, runner: Orchestrator
) -> None:
    result = await run(ground, runner, value=5)
    assert result.outputs == {"value": 8}
    assert await names(runner) == {"p": "completed", "p~sub": "completed"}
    assert [fact[1:] for fact in await facts(runner, "p~sub", ExecutionLinked)] == [("p", "sub", 1)]
    assert await runner.get_result("p", "sub") == {"value": 7}
    assert [one.execution_id for one in await runner.list_executions(children=False)] == ["p"]
    assert not await runner.state_manager.verify()


async def test_a_failed_child_fails_its_step_and_goes_on_when_the_step_is_tried_again(
    ground: Ground, runner: Orchestrator
) -> None:
    ground.fails = {"two"}
    with pytest.raises(ExecutionFailed) as caught:
        await run(ground, runner)
    for part in ("its execution p~sub failed: step 'two' failed", "it fails", "orchestrator show p~sub"):
        assert part in caught.value.failures["sub"]
    ground.fails.clear()
    assert (await runner.resume_pipeline("p")).outputs == {"value": 4}
    assert ground.ran == ["p~sub/one", "p~sub/two", "p~sub/two", "p/after"]
    assert await names(runner) == {"p": "completed", "p~sub": "completed"}


async def test_a_retry_of_the_step_goes_on_with_the_child(ground: Ground, runner: Orchestrator) -> None:
    retrying = "tool: pipeline, retry: {max_attempts: 3, delay: 0.01, jitter: false}"
    ground.write("parent.yaml", PARENT.replace("tool: pipeline", retrying))
    ground.fails = {"two"}
    with pytest.raises(ExecutionFailed):
        await run(ground, runner)
    assert ground.ran == ["p~sub/one", *["p~sub/two"] * 3]
    assert len(await names(runner)) == 2


async def test_a_child_that_somebody_resumed_alone_is_taken_as_it_is(ground: Ground, runner: Orchestrator) -> None:
    ground.fails = {"one"}
    with pytest.raises(ExecutionFailed):
        await run(ground, runner)
    ground.fails.clear()
    await runner.resume_pipeline("p~sub")
    ran = len(ground.ran)
    await runner.resume_pipeline("p")
    assert ground.ran[ran:] == ["p/after"]


# -- again ---------------------------------------------------------------------------------------------------------


async def test_a_step_that_runs_again_begins_a_new_child(ground: Ground, runner: Orchestrator) -> None:
    await run(ground, runner)
    await runner.resume_pipeline("p", rerun=["sub"])
    assert ground.ran.count("p~sub.2/one") == 1
    ground.fails = {"two"}
    with pytest.raises(ExecutionFailed):
        await runner.resume_pipeline("p", rerun=["sub"])
    ground.fails.clear()
    await runner.resume_pipeline("p")  # goes on with the third
    assert ground.ran.count("p~sub.3/one") == 1
    assert sorted(await names(runner)) == ["p", "p~sub", "p~sub.2", "p~sub.3"]


async def test_asking_for_a_failed_step_begins_a_new_child_and_releasing_it_does_not(
    ground: Ground, runner: Orchestrator
) -> None:
    ground.fails = {"two"}
    with pytest.raises(ExecutionFailed):
        await run(ground, runner)
    with pytest.raises(ExecutionFailed):
        await runner.resume_pipeline("p", retry=["sub"])
    assert sorted(await names(runner)) == ["p", "p~sub"]
    ground.fails.clear()
    await runner.resume_pipeline("p", rerun=["sub"])
    assert ground.ran.count("p~sub.2/one") == 1


async def test_a_child_of_other_inputs_is_another_child(ground: Ground, runner: Orchestrator) -> None:
    ground.fails = {"two"}
    with pytest.raises(ExecutionFailed):
        await run(ground, runner)
    ground.fails.clear()
    ground.write("parent.yaml", PARENT.replace('"{{ inputs.value }}"', "7"))
    result = await runner.resume_pipeline("p", pipeline=ground.pipeline(runner))
    assert result.outputs == {"value": 10}
    assert sorted(await names(runner)) == ["p", "p~sub", "p~sub.2"]
    ground.write("parent.yaml", PARENT.replace('"{{ inputs.value }}"', "8"))
    assert (await runner.resume_pipeline("p", pipeline=ground.pipeline(runner))).outputs == {"value": 11}


async def test_a_changed_file_is_told_and_followed_by_an_edited_resume(ground: Ground, runner: Orchestrator) -> None:
    await run(ground, runner)
    (traced,) = await facts(runner, "p", TaskTraced)
    assert [seen.path for seen in traced.reads] == ["lib/child.yaml"]
    ground.write("lib/child.yaml", (ground.folder / "lib/child.yaml").read_text() + "# another\n")
    plan = await runner.plan("p")
    assert plan.changes_nothing
    assert "file lib/child.yaml" in plan.decisions[0].reason
    await runner.resume_pipeline("p", on_change="rerun")
    assert "p~sub.2" in await names(runner)


async def test_an_unfinished_child_goes_on_with_its_recorded_definition(ground: Ground, runner: Orchestrator) -> None:
    ground.fails = {"two"}
    with pytest.raises(ExecutionFailed):
        await run(ground, runner)
    ground.fails.clear()
    ground.write("lib/child.yaml", "steps: [{id: other, tool: act, parameters: {value: 1}}]")
    assert (await runner.resume_pipeline("p")).outputs == {"value": 4}
    reason = (await runner.plan("p")).decisions[0].reason
    assert "file lib/child.yaml" in reason  # what it was computed of is not what is there


# -- ends ----------------------------------------------------------------------------------------------------------


async def test_cancelling_a_parent_cancels_its_child(ground: Ground, runner: Orchestrator) -> None:
    ground.holds = {"two"}
    running = asyncio.ensure_future(run(ground, runner))
    await wait_until(lambda: "p~sub/two" in ground.ran, description="the child is at work")
    assert await runner.cancel("p", by="me")
    with pytest.raises(ExecutionCancelled):
        await running
    assert await names(runner) == {"p": "cancelled", "p~sub": "cancelled"}
    ground.holds.clear()
    assert (await runner.resume_pipeline("p")).outputs == {"value": 4}
    assert ground.ran.count("p~sub/one") == 1


async def test_cancelling_a_parent_that_nobody_owns_cancels_its_children(ground: Ground, runner: Orchestrator) -> None:
    ground.holds = {"two"}
    running = asyncio.ensure_future(run(ground, runner))
    await wait_until(lambda: "p~sub/two" in ground.ran, description="the child is at work")
    running.cancel()
    await asyncio.wait([running])
    await wait_until(lambda: not runner._live.engines(), description="both have ended")
    assert await names(runner) == {"p": "stopped", "p~sub": "stopped"}
    assert await runner.cancel("p", by="me")
    assert await names(runner) == {"p": "cancelled", "p~sub": "cancelled"}


async def test_pausing_a_parent_stops_its_child_at_once(ground: Ground, runner: Orchestrator) -> None:
    ground.holds = {"one"}
    running = asyncio.ensure_future(run(ground, runner))
    await wait_until(lambda: "p~sub/one" in ground.ran, description="the child is at work")
    assert not await runner.pause("p", by="me", wait_seconds=0)
    ground.holds.clear()
    with pytest.raises(ExecutionStopped):
        await running
    assert "p~sub/two" not in ground.ran
    await runner.resume_pipeline("p")
    assert ground.ran == ["p~sub/one", "p~sub/two", "p/after"]


async def test_a_child_cancelled_alone_fails_its_step(ground: Ground, runner: Orchestrator) -> None:
    ground.holds = {"one"}
    running = asyncio.ensure_future(run(ground, runner))
    await wait_until(lambda: "p~sub/one" in ground.ran, description="the child is at work")
    assert await runner.cancel("p~sub", by="them")
    with pytest.raises(ExecutionFailed, match="its execution p~sub was cancelled by them"):
        await running
    ground.holds.clear()
    assert (await runner.resume_pipeline("p")).outputs == {"value": 4}


async def test_a_step_whose_time_is_over_leaves_its_child_to_be_gone_on_with(
    ground: Ground, runner: Orchestrator
) -> None:
    ground.write("parent.yaml", PARENT.replace("tool: pipeline", "tool: pipeline, timeout: 0.2"))
    ground.holds = {"two"}
    with pytest.raises(ExecutionFailed, match="timeout"):
        await run(ground, runner)
    assert (await names(runner))["p~sub"] == "stopped"
    ground.holds.clear()
    await runner.resume_pipeline("p")
    assert ground.ran.count("p~sub/one") == 1


async def test_a_child_owned_elsewhere_is_waited_for(ground: Ground, runner: Orchestrator) -> None:
    ground.fails = {"two"}
    with pytest.raises(ExecutionFailed):
        await run(ground, runner)
    ground.fails, ground.holds = set(), {"two"}
    other = ground.orchestrator()
    alone = asyncio.ensure_future(other.resume_pipeline("p~sub"))
    await wait_until(lambda: ground.ran.count("p~sub/two") == 2, description="somebody else is at work on the child")
    parent = asyncio.ensure_future(runner.resume_pipeline("p"))
    await wait_until(lambda: runner._live.engine("p"), description="the parent goes on")
    ground.holds.clear()
    assert (await parent).outputs == {"value": 4}
    await alone
    assert ground.ran.count("p~sub/two") == 2


# -- what they share -----------------------------------------------------------------------------------------------


async def test_one_slot_is_enough_however_deep(ground: Ground) -> None:
    runner = ground.orchestrator(max_concurrency=1)
    ground.write("lib/middle.yaml", PARENT)
    ground.write("parent.yaml", PARENT.replace("lib/child", "lib/middle"))
    async with asyncio.timeout(20):
        assert (await run(ground, runner)).outputs == {"value": 5}
    assert sorted(await names(runner)) == ["p", "p~sub", "p~sub~sub"]
    assert [fact.depth for fact in await facts(runner, "p~sub~sub", ExecutionLinked)] == [2]


async def test_children_share_the_allowance_of_one_execution(ground: Ground) -> None:
    runner = ground.orchestrator(max_concurrency=3)
    steps = "".join(f"  - {{id: s{n}, tool: act, parameters: {{value: 1}}}}\n" for n in range(4))
    ground.write("lib/child.yaml", f"steps:\n{steps}")
    calls = "".join(f"  - {{id: c{n}, tool: pipeline, parameters: {{pipeline: lib/child.yaml}}}}\n" for n in range(4))
    ground.write("parent.yaml", f"steps:\n{calls}")
    await run(ground, runner)
    assert len(ground.ran) == 16
    assert ground.most == 3


# -- what is kept --------------------------------------------------------------------------------------------------


async def test_a_child_is_kept_for_its_parent_and_goes_with_it(ground: Ground, runner: Orchestrator) -> None:
    ground.fails = {"two"}
    with pytest.raises(ExecutionFailed):
        await run(ground, runner)
    with pytest.raises(ResumeError, match="'p~sub' is kept for 'p'"):
        await runner.state_manager.remove(["p~sub"])
    store, rule = runner._adapters.store, Retention(max_count=0)
    assert await apply_retention(store, [rule], 0, lambda _: None) == []
    ground.fails.clear()
    await runner.resume_pipeline("p")
    assert await runner.state_manager.cleanup(dry_run=True) == ["p", "p~sub"]
    assert await runner.state_manager.cleanup(dry_run=True, pipeline_id="child") == []
    removed = await apply_retention(store, [rule], 0, lambda _: None)
    assert [each.execution_id for each in removed] == ["p", "p~sub"]
    assert await names(runner) == {}


def test_what_goes_elsewhere_goes_after_its_children() -> None:
    ids = [ExecutionId(name) for name in ("q", "p~a~b", "p", "p~a")]
    below = {ids[3]: ids[2], ids[1]: ids[3]}
    assert children_first(ids, below) == ["q", "p~a~b", "p~a", "p"]
    assert children_first([ids[2]], below) == ["p~a~b", "p~a", "p"]


async def test_an_id_of_a_child_cannot_be_chosen(ground: Ground, runner: Orchestrator) -> None:
    with pytest.raises(UsageError, match="'~' is kept for executions that steps start"):
        await runner.run_pipeline(ground.pipeline(runner), execution_id="p~sub")


# -- definitions ---------------------------------------------------------------------------------------------------

WRONG = [
    ("lib/none.yaml", {}, "parameters.pipeline: there is no file"),
    ("../x.yaml", {}, "outside the project"),
    ("lib/broken.yaml", {}, "'lib/broken.yaml' cannot be compiled: lib/broken.yaml:1:"),
    ("lib/child.yaml", {"valeu": 1}, "has no input 'valeu' (did you mean 'value'?)"),
    ("lib/child.yaml", {"value": "x"}, "expected a whole number, got the text"),
    ("lib/strict.yaml", {}, "must be given the input 'path'"),
    ("lib/self.yaml", {}, "the pipelines call each other: lib/self.yaml -> lib/self.yaml"),
    ("lib/round.yaml", {}, "the pipelines call each other: parent.yaml -> lib/round.yaml -> parent.yaml"),
    ("json:dumps", {}, "json:dumps  this is a function, not a pipeline"),
]


@pytest.mark.parametrize(("name", "inputs", "message"), WRONG)
def test_a_wrong_call_is_a_mistake_at_its_place(
    ground: Ground, name: str, inputs: dict[str, Any], message: str
) -> None:
    runner = ground.orchestrator()
    ground.write("lib/broken.yaml", "steps: [{id: a, tool: nothing}]")
    ground.write(
        "lib/strict.yaml", "inputs: {path: {type: string}}\nsteps: [{id: a, tool: act, parameters: {value: 1}}]"
    )
    for file, called in (("self", "self.yaml"), ("round", "../parent.yaml")):
        ground.write(f"lib/{file}.yaml", f"steps: [{{id: a, tool: pipeline, parameters: {{pipeline: lib/{called}}}}}]")
    ground.write(
        "parent.yaml", f"steps:\n  - id: s\n    tool: pipeline\n    parameters: {{pipeline: {name}, inputs: {inputs}}}"
    )
    with pytest.raises(DefinitionError) as caught:
        ground.pipeline(runner)
    assert message in str(caught.value), caught.value
    assert "parent.yaml:4:" in str(caught.value)


async def test_a_call_that_is_wrong_only_when_it_runs_fails_its_step(ground: Ground, runner: Orchestrator) -> None:
    ground.write("parent.yaml", PARENT.replace("lib/child.yaml", '"lib/{{ inputs.value }}.yaml"'))
    with pytest.raises(ExecutionFailed, match="there is no file"):
        await run(ground, runner)
    assert await names(runner) == {"p": "failed"}


async def test_pipelines_that_call_each_other_by_templates_end_at_a_depth(ground: Ground, runner: Orchestrator) -> None:
    step = '{id: s, tool: pipeline, parameters: {pipeline: "{{ inputs.me }}"}}'
    ground.write("parent.yaml", f"inputs: {{me: {{default: parent.yaml}}}}\nsteps: [{step}]")
    with pytest.raises(ExecutionFailed, match="no more than 16 pipelines"):
        await run(ground, runner)
    assert len(await names(runner)) == 16


async def test_a_foreign_execution_under_the_childs_id_is_not_touched(ground: Ground, runner: Orchestrator) -> None:
    await runner.state_manager.save_checkpoint("p~sub", {"page": 1})
    with pytest.raises(ExecutionFailed, match="'p~sub' that this step did not start"):
        await run(ground, runner)
    with pytest.raises(ExecutionExists):
        await run(ground, runner)
