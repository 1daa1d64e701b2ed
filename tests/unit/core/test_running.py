"""How the engine runs steps: at once, in order, again, in time, and from recorded values only."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator import (
    DefinitionError,
    ExecutionFailed,
    Orchestrator,
    Result,
    TaskContext,
    TaskStatus,
    UsageError,
)
from orchestrator.core.system import SystemChance
from orchestrator.domain.decide import decide
from orchestrator.domain.events import (
    DecisionMade,
    ExecutionFinished,
    TaskClaimed,
    TaskCompleted,
    TaskFailed,
    TaskSkipped,
    ToolsResolved,
)
from orchestrator.errors import ExecutionExists, TaskError
from tests.unit.core.bench import Bench, begin, commits, journal, statuses, step, wait_until


async def test_a_run_returns_what_it_ended_with(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(
        step("a", value="{{ inputs.n }}"),
        step("b", value="{{ a.result + 1 }}"),
        inputs={"n": {"type": "integer"}},
        outputs={"sum": "{{ a.result + b.result }}", "said": "b is {{ b.result }}"},
    )
    result = await orchestrator.run_pipeline(pipeline, {"n": 3}, execution_id="mine")
    assert result == Result("mine", "completed", {"sum": 7, "said": "b is 4"}, {"a": "completed", "b": "completed"})
    assert bench.calls == ["a", "b"]
    assert await orchestrator.get_result("mine", "b") == 4


async def test_an_execution_id_that_is_taken_is_refused(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(step("a"))
    await orchestrator.run_pipeline(pipeline, execution_id="mine")
    with pytest.raises(ExecutionExists, match="orchestrator resume mine") as caught:
        await orchestrator.run_pipeline(pipeline, execution_id="mine")
    assert caught.value.exit_code == 2
    assert bench.calls == ["a"]
    with pytest.raises(UsageError, match="not an execution id"):
        await orchestrator.run_pipeline(pipeline, execution_id="../mine")


async def test_wrong_inputs_begin_nothing(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(step("a"), inputs={"n": {"type": "integer", "schema": {"minimum": 1}}})
    for given in ({}, {"n": "x"}, {"n": 0}, {"n": 1, "m": 2}):
        with pytest.raises(DefinitionError):
            await orchestrator.run_pipeline(pipeline, given)
        with pytest.raises(DefinitionError):
            await orchestrator.submit(pipeline, given)
    assert await orchestrator.list_executions() == []


# -- at once -------------------------------------------------------------------------------------------------------


async def test_independent_steps_run_at_once(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(*(step(f"s{n}", "hold") for n in range(10)))
    running = await begin(orchestrator.run_pipeline, pipeline)
    await bench.started(*(f"s{n}" for n in range(10)))
    for n in range(10):
        bench.gate(f"s{n}").set()
    assert (await running.result()).status == "completed"


async def test_no_more_than_the_limit_run_at_once(bench: Bench) -> None:
    most = now = 0

    async def count() -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1

    bench.register(count)
    await bench.open(max_concurrency=3).run_pipeline(bench.pipeline(*(step(f"s{n}", "count") for n in range(20))))
    assert most == 3


def test_the_limit_is_checked() -> None:
    with pytest.raises(UsageError, match="max_concurrency: expected 1 or more, got 0"):
        Orchestrator("memory://x", max_concurrency=0)


async def test_async_functions_run_on_the_loop_and_plain_ones_in_threads(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    threads: dict[str, int] = {}

    async def on_loop() -> None:
        threads["loop"] = threading.get_ident()

    def in_thread(context: TaskContext) -> None:
        threads[context.task_id] = threading.get_ident()
        time.sleep(0.02)

    bench.register(on_loop)
    bench.register(in_thread)
    pipeline = bench.pipeline(step("l", "on_loop"), step("t", "in_thread"), step("u", "in_thread"))
    await orchestrator.run_pipeline(pipeline)
    assert threads["loop"] == threading.get_ident()
    assert len(set(threads.values())) == 3


async def test_a_step_begins_only_after_all_it_needs_and_the_others_do_not_wait(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    pipeline = bench.pipeline(
        step("slow", "hold"), step("quick"), step("behind_quick", after="quick"), step("last", after=["slow", "quick"])
    )
    running = await begin(orchestrator.run_pipeline, pipeline)
    await bench.started("behind_quick")
    assert "last" not in bench.calls
    bench.gate("slow").set()
    await running.result()
    assert bench.calls[-1] == "last"


# -- again ---------------------------------------------------------------------------------------------------------


async def test_a_step_is_retried_until_it_succeeds(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(
        step("a", "fail", times=2, retry={"max_attempts": 3, "delay": 0.001, "backoff": 2}), step("b", after="a")
    )
    await orchestrator.run_pipeline(pipeline, execution_id="e")
    assert bench.calls == ["a", "a", "a", "b"]
    assert [context.attempt for context in bench.contexts] == [1, 2, 3, 1]
    assert {context.idempotency_key for context in bench.contexts[:3]} == {"e/a"}
    state = await orchestrator.get_state("e")
    assert [task.failures for task in state.tasks.values()] == [2, 0]


async def test_the_wait_before_a_retry_grows_and_is_recorded(
    bench: Bench, orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SystemChance, "random", lambda _self: 0.5)
    pipeline = bench.pipeline(
        step("a", "fail", times=3, retry={"max_attempts": 4, "delay": 0.02, "backoff": 2, "max_delay": 0.06})
    )
    await orchestrator.run_pipeline(pipeline, execution_id="e")
    failures = [event for event in await journal(orchestrator, "e") if isinstance(event, TaskFailed)]
    waits = [event.retry_at - event.at for event in failures if event.retry_at is not None]
    assert waits == pytest.approx([0.01, 0.02, 0.03])
    claims = [event.at for event in await journal(orchestrator, "e") if isinstance(event, TaskClaimed)]
    assert all(claim >= (failure.retry_at or 0) for claim, failure in zip(claims[1:], failures, strict=True))


async def test_a_retry_waits_as_long_as_the_tool_asks(
    bench: Bench, orchestrator: Orchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(context: TaskContext) -> int:
        if context.attempt == 1:
            raise TaskError("busy", kind="http_5xx", kinds=["http_503"], retry_after=0.05)
        return context.attempt

    monkeypatch.setattr(SystemChance, "random", lambda _self: 0.5)
    bench.tools.register("busy", busy)
    retry = {"max_attempts": 2, "delay": 0.001, "on": ["http_503"]}
    await orchestrator.run_pipeline(bench.pipeline(step("a", "busy", retry=retry)), execution_id="e")
    (failure,) = [event for event in await journal(orchestrator, "e") if isinstance(event, TaskFailed)]
    assert failure.retry_at == failure.at + 0.05
    assert (await orchestrator.get_state("e")).tasks["a"].attempt == 2


@pytest.mark.parametrize(("on", "attempts"), [(["Net"], 3), (["Other"], 1), ([], 3)])
async def test_only_chosen_errors_are_retried(
    bench: Bench, orchestrator: Orchestrator, on: list[str], attempts: int
) -> None:
    retry = {"max_attempts": 3, "delay": 0.001, "on": on}
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(bench.pipeline(step("a", "fail", times=9, kind="Net", retry=retry)))
    assert bench.calls == ["a"] * attempts


async def test_a_failure_that_cannot_pass_is_not_retried(bench: Bench, orchestrator: Orchestrator) -> None:
    retry = {"max_attempts": 3, "delay": 0.001}
    with pytest.raises(ExecutionFailed):
        await orchestrator.run_pipeline(bench.pipeline(step("a", "fail", retryable=False, retry=retry)))
    assert bench.calls == ["a"]


async def test_other_steps_run_while_one_waits_for_its_retry(bench: Bench) -> None:
    orchestrator = bench.open(max_concurrency=1)
    retry = {"max_attempts": 2, "delay": 0.05, "jitter": False}
    await orchestrator.run_pipeline(bench.pipeline(step("a", "fail", retry=retry), step("b"), step("c")))
    assert bench.calls == ["a", "b", "c", "a"]


async def test_a_due_retry_waits_for_a_free_place_without_spinning(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    orchestrator = bench.open(max_concurrency=1)
    retry = {"max_attempts": 2, "delay": 0.001, "jitter": False}
    turns = 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal turns
        turns += 1
        return decide(*arguments, **options)

    monkeypatch.setattr("orchestrator.core.engine.decide", counted)
    running = await begin(orchestrator.run_pipeline, bench.pipeline(step("a", "fail", retry=retry), step("b", "hold")))
    await bench.started("b")
    await asyncio.sleep(0.1)
    bench.gate("b").set()
    await running.result()
    assert bench.calls == ["a", "b", "a"]
    assert turns < 30


async def test_a_worker_that_crashes_is_tried_again_and_then_parked(bench: Bench, orchestrator: Orchestrator) -> None:
    from orchestrator.ports.executor import Attempt, Crashed, Reporter

    class CrashingExecutor:
        starts = 0

        def start(self, attempt: Attempt, reporter: Reporter) -> None:
            self.starts += 1
            asyncio.get_running_loop().call_soon(reporter.finished, attempt, Crashed("killed by the kernel"))

        def cancel(self, attempt: Attempt) -> None: ...

        async def close(self) -> None: ...

    executor = CrashingExecutor()
    orchestrator._make_executor = lambda: executor  # type: ignore[method-assign]
    retry = {"max_attempts": 1, "delay": 0.001}
    with pytest.raises(ExecutionFailed, match="its worker crashed 4 times") as caught:
        await orchestrator.run_pipeline(bench.pipeline(step("a", retry=retry)))
    assert executor.starts == 4
    assert caught.value.parked == ("a",)


# -- in time -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["hold", "hold_thread"])
async def test_a_step_that_takes_too_long_fails_and_ends(bench: Bench, orchestrator: Orchestrator, tool: str) -> None:
    with pytest.raises(ExecutionFailed, match="no result after"):
        await orchestrator.run_pipeline(bench.pipeline(step("a", tool, timeout=0.02)), execution_id="e")
    await wait_until(lambda: bench.ended == ["a"], description="the attempt was ended")
    error = next(event.error for event in await journal(orchestrator, "e") if isinstance(event, TaskFailed))
    assert error.kind == "timeout"


async def test_a_timeout_can_be_retried(bench: Bench, orchestrator: Orchestrator) -> None:
    async def slow_once(context: TaskContext) -> int:
        await asyncio.sleep(10 if context.attempt == 1 else 0)
        return context.attempt

    bench.register(slow_once)
    retry = {"max_attempts": 2, "delay": 0.001, "on": "timeout"}
    pipeline = bench.pipeline(step("a", "slow_once", timeout=0.02, retry=retry), outputs={"n": "{{ a.result }}"})
    assert (await orchestrator.run_pipeline(pipeline)).outputs == {"n": 2}


# -- failures ------------------------------------------------------------------------------------------------------


async def test_when_a_step_fails_its_siblings_finish_and_independent_branches_go_on(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    pipeline = bench.pipeline(
        step("bad", "fail"),
        step("behind", after="bad"),
        step("far_behind", after="behind"),
        step("sibling", "hold", value="kept"),
        step("branch", after="sibling"),
    )
    running = await begin(orchestrator.run_pipeline, pipeline, execution_id="e")
    await bench.started("bad", "sibling")
    await wait_until(lambda: running.engine.state.counts[TaskStatus.FAILED], description="bad failed")
    bench.gate("sibling").set()
    with pytest.raises(ExecutionFailed) as caught:
        await running.result()
    assert bench.calls == ["bad", "sibling", "branch"]
    assert await orchestrator.get_result("e", "sibling") == "kept"
    state = await orchestrator.get_state("e")
    assert state.blocked() == {"behind", "far_behind"}
    error = caught.value
    assert (error.execution_id, error.task_id, error.failures) == ("e", "bad", {"bad": "bad is out of luck"})
    assert error.resume_command.startswith("orchestrator resume e --store ")
    assert str(error).splitlines() == [
        "step 'bad' failed (attempt 1): bad is out of luck",
        "2 steps blocked behind",
        f"resume with: {error.resume_command}",
    ]
    assert error.exit_code == 1


async def test_all_failed_steps_are_told(bench: Bench, orchestrator: Orchestrator) -> None:
    with pytest.raises(ExecutionFailed) as caught:
        await orchestrator.run_pipeline(bench.pipeline(step("a", "fail"), step("b", "fail")))
    assert list(caught.value.failures) == ["a", "b"]


async def test_an_exception_of_a_tool_is_recorded_with_its_kind_and_trace(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("no such quotient")

    bench.register(broken)
    with pytest.raises(ExecutionFailed, match="no such quotient"):
        await orchestrator.run_pipeline(bench.pipeline(step("a", "broken")), execution_id="e")
    error = next(event.error for event in await journal(orchestrator, "e") if isinstance(event, TaskFailed))
    assert (error.kind, error.message) == ("ZeroDivisionError", "no such quotient")
    assert "in broken" in error.trace


async def test_outputs_that_cannot_be_made_fail_the_execution_and_lose_nothing(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    pipeline = bench.pipeline(step("a", value={"x": 1}), outputs={"y": "{{ a.result.y }}"})
    with pytest.raises(ExecutionFailed, match="y") as caught:
        await orchestrator.run_pipeline(pipeline, execution_id="e")
    assert caught.value.task_id is None
    assert "orchestrator resume e" in caught.value.resume_command
    assert await statuses(orchestrator, "e") == {"a": "completed"}
    with pytest.raises(ExecutionFailed):
        await orchestrator.resume_pipeline("e")
    assert bench.calls == ["a"]


async def test_a_template_that_fails_fails_its_step_only(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(
        step("a", value={"x": 1}), step("b", value="{{ a.result.nothing }}"), step("c", after="a")
    )
    with pytest.raises(ExecutionFailed, match="step 'b' failed") as caught:
        await orchestrator.run_pipeline(pipeline)
    assert list(caught.value.failures) == ["b"]
    assert bench.calls == ["a", "c"]


# -- conditions ----------------------------------------------------------------------------------------------------


async def test_a_condition_decides_whether_a_step_runs(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(
        step("a", value=3),
        step("big", condition="a.result > 5"),
        step("small", condition="{{ a.result <= 5 }}", value="s"),
        step("after_big", after="big"),
        outputs={"big": "{{ big.result }}", "status": "{{ big.status }}", "small": "{{ small.result }}"},
    )
    result = await orchestrator.run_pipeline(pipeline, execution_id="e")
    assert result.outputs == {"big": None, "status": "skipped", "small": "s"}
    assert result.statuses == {"a": "completed", "big": "skipped", "small": "completed", "after_big": "completed"}
    assert await orchestrator.get_result("e", "big") is None
    skips = [event for event in await journal(orchestrator, "e") if isinstance(event, TaskSkipped)]
    assert [(event.task, event.reason) for event in skips] == [
        ("big", "condition is false: a.result > 5 (a.result = 3)")
    ]
    decisions = [event for event in await journal(orchestrator, "e") if isinstance(event, DecisionMade)]
    assert [(event.task, event.kind, event.value, event.reads) for event in decisions] == [
        ("big", "condition", "false", {"a.result": "3"}),
        ("small", "condition", "true", {"a.result": "3"}),
    ]


async def test_a_chain_of_skipped_steps_completes_without_running(bench: Bench, orchestrator: Orchestrator) -> None:
    steps = [step(f"s{n}", condition="false", after=[f"s{n - 1}"] if n else []) for n in range(50)]
    result = await orchestrator.run_pipeline(bench.pipeline(*steps), execution_id="e")
    assert set(result.statuses.values()) == {"skipped"}
    assert bench.calls == []
    assert len(await commits(orchestrator, "e")) == 2  # admission, and all the rest


# -- values --------------------------------------------------------------------------------------------------------


async def test_steps_see_recorded_values_only(bench: Bench, orchestrator: Orchestrator) -> None:
    """Mutating a value in one step changes nothing for another, nor what is recorded."""
    kept: list[list[int]] = []

    async def make() -> list[int]:
        kept.append([1])
        return kept[0]

    async def spoil(context: TaskContext, result: list[int], given: list[int], own: list[int]) -> list[list[int]]:
        seen = [list(result), list(given), list(own), list(context.inputs["given"])]
        kept[0].append(99)
        for each in (result, given, own, context.inputs["given"]):
            each.append(99)
        return seen

    bench.register(make)
    bench.register(spoil)
    parameters: dict[str, Any] = {"result": "{{ make.result }}", "given": "{{ inputs.given }}", "own": [1]}
    pipeline = bench.pipeline(
        step("make", "make"),
        step("one", "spoil", **parameters),
        step("two", "spoil", after="one", **parameters),
        inputs={"given": {"type": "list"}},
        outputs={"one": "{{ one.result }}", "two": "{{ two.result }}", "make": "{{ make.result }}"},
    )
    given = [1]
    result = await orchestrator.run_pipeline(pipeline, {"given": given})
    fresh = [[1]] * 4
    assert result.outputs == {"one": fresh, "two": fresh, "make": [1]}
    assert given == [1]
    assert pipeline.tasks["one"].parameters["own"] == [1]


async def test_a_result_is_never_evaluated_as_a_template(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(
        step("a", value="{{ inputs.text }}"),
        step("b", value="{{ a.result }}"),
        inputs={"text": {"type": "string"}},
        outputs={"b": "{{ b.result }}", "in_text": "<{{ b.result }}>"},
    )
    result = await orchestrator.run_pipeline(pipeline, {"text": "{{ 6 * 7 }}"})
    assert result.outputs == {"b": "{{ 6 * 7 }}", "in_text": "<{{ 6 * 7 }}>"}


async def test_a_single_template_keeps_its_type(bench: Bench, orchestrator: Orchestrator) -> None:
    value = {"n": 1, "f": 1.5, "t": (1, 2), "b": b"x", "none": None, "l": [{"k": True}]}

    async def make() -> Any:
        return value

    bench.register(make)
    pipeline = bench.pipeline(step("a", "make"), step("b", value="{{ a.result }}"), outputs={"b": "{{ b.result }}"})
    assert (await orchestrator.run_pipeline(pipeline)).outputs == {"b": value}


async def test_large_values_pass_from_step_to_step(bench: Bench, orchestrator: Orchestrator) -> None:
    big = "x" * 300_000
    pipeline = bench.pipeline(
        step("a", value=big), step("b", value="{{ a.result }}"), outputs={"b": "{{ b.result | length }}"}
    )
    assert (await orchestrator.run_pipeline(pipeline)).outputs == {"b": 300_000}


async def test_execution_facts_in_templates(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(step("a", value=["{{ execution.id }}", "{{ execution.is_resume }}", "{{ attempt }}"]))
    await orchestrator.run_pipeline(pipeline, execution_id="e")
    assert await orchestrator.get_result("e", "a") == ["e", False, 1]


@dataclass
class NotStorable:
    """A type that nobody registered."""

    x: int


async def test_a_result_that_cannot_be_kept_fails_its_attempt_naming_where_it_is(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    async def unkept() -> Any:
        return {"rows": [1, {"deep": NotStorable(1)}]}

    bench.register(unkept)
    retry = {"max_attempts": 3, "delay": 0.001}
    with pytest.raises(ExecutionFailed) as caught:
        await orchestrator.run_pipeline(bench.pipeline(step("a", "unkept", retry=retry)), execution_id="e")
    text = caught.value.failures["a"]
    assert "step 'a'" in text
    assert "result.rows[1].deep" in text
    assert "NotStorable" in text
    failures = [event for event in await journal(orchestrator, "e") if isinstance(event, TaskFailed)]
    assert [(event.error.kind, event.error.retryable) for event in failures] == [("unstorable", False)]


async def test_what_a_tool_is_told_about_itself(bench: Bench, orchestrator: Orchestrator) -> None:
    pipeline = bench.pipeline(step("a"), inputs={"n": 5})
    await orchestrator.run_pipeline(pipeline, execution_id="e")
    (context,) = bench.contexts
    assert (context.execution_id, context.task_id, context.attempt) == ("e", "a", 1)
    assert (context.idempotency_key, dict(context.inputs), context.saved) == ("e/a", {"n": 5}, None)
    assert context.project == orchestrator.settings.project


# -- commits -------------------------------------------------------------------------------------------------------


async def test_a_chain_costs_one_commit_a_step(bench: Bench, orchestrator: Orchestrator) -> None:
    for length in (10, 40):
        steps = [step(f"s{n}", after=[f"s{n - 1}"] if n else []) for n in range(length)]
        before = (await orchestrator.state_manager.get_statistics())["commits"]
        await orchestrator.run_pipeline(bench.pipeline(*steps))
        after = (await orchestrator.state_manager.get_statistics())["commits"]
        assert after - before == length + 2  # admission, the first claim, and then one each


async def test_completions_that_arrive_together_share_a_commit(bench: Bench, orchestrator: Orchestrator) -> None:
    steps = [step(f"s{n}", after="a") for n in range(200)]
    pipeline = bench.pipeline(step("a"), *steps, step("z", after=[f"s{n}" for n in range(200)]))
    orchestrator = bench.open(max_concurrency=200)
    await orchestrator.run_pipeline(pipeline, execution_id="e")
    assert len(await commits(orchestrator, "e")) < 20


async def test_the_claims_of_what_a_completion_makes_ready_ride_in_its_commit(
    bench: Bench, orchestrator: Orchestrator
) -> None:
    await orchestrator.run_pipeline(bench.pipeline(step("a"), step("b", after="a")), execution_id="e")
    shapes = [[type(event) for event in commit] for commit in await commits(orchestrator, "e")]
    claimed = [ToolsResolved, TaskClaimed]
    assert shapes[1:] == [claimed, [TaskCompleted, TaskClaimed], [TaskCompleted, ExecutionFinished]]


async def test_nothing_begins_before_its_claim_is_durable_and_nobody_hears_of_what_is_not(bench: Bench) -> None:
    told: list[tuple[str, int]] = []

    class Listener:
        def notify(self, event: Any, execution_id: str, seq: int) -> None:
            assert execution_id == "e"
            told.append((type(event).__name__, seq))

        def progress(self, *arguments: Any) -> None: ...

    async def look(context: TaskContext) -> None:
        events = await journal(orchestrator, "e")
        assert any(isinstance(event, TaskClaimed) and event.task == context.task_id for event in events)

    bench.register(look)
    orchestrator = bench.open(listeners=[Listener()])
    await orchestrator.run_pipeline(bench.pipeline(step("a", "look"), step("b", "look", after="a")), execution_id="e")
    events = await journal(orchestrator, "e")
    assert told == [(type(event).__name__, seq) for seq, event in enumerate(events, 1)]


async def test_a_listener_that_fails_changes_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    class Listener:
        def notify(self, *heard: Any) -> None:
            raise ValueError(f"no ears for {heard}")

        progress = notify

    async def tell(context: TaskContext) -> None:
        context.progress(1, 2)
        await asyncio.sleep(0.01)

    bench.register(tell)
    result = await bench.open(listeners=[Listener()]).run_pipeline(bench.pipeline(step("a", "tell")))
    assert result.status == "completed"
    assert "a listener failed" in caplog.text
