"""The plan of a resume, for every state of a task, every field of the strategy both ways, and every request."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.domain.events import Event, TaskInterrupted, TaskProgressed, TaskSkipped, TasksReset
from orchestrator.domain.execution import ExecutionState, TaskStatus
from orchestrator.domain.pipeline import OnInterrupted, Pipeline, RetryPolicy
from orchestrator.domain.plan import Decision, Plan, PlanRequest, Verb
from orchestrator.domain.strategy import ResumeStrategy
from orchestrator.errors import ResumeError
from tests.unit.domain.graphs import begun, claimed, completed, failed, pipeline, planned, skipped, task_id, value

NOW = 50.0
T = task_id("t")

DEFAULT = ResumeStrategy()
NO_RETRY = ResumeStrategy(retry_failed_tasks=False)
NO_RESET = ResumeStrategy(reset_running_tasks=False)
NO_PRESERVE = ResumeStrategy(preserve_completed_tasks=False)
MORE = ResumeStrategy(max_retry_attempts=9)
NONE = ResumeStrategy(max_retry_attempts=0)
UNCHECKED = ResumeStrategy(validate_checkpoint_integrity=False)
STRATEGIES = {
    "default": DEFAULT,
    "no retry": NO_RETRY,
    "no reset": NO_RESET,
    "no preserve": NO_PRESERVE,
    "more": MORE,
    "none": NONE,
    "unchecked": UNCHECKED,
}

FOUR_FAILURES: list[Event] = [event for n in range(1, 5) for event in (claimed("t", n), failed("t", n, parked=n == 4))]

HISTORIES: dict[str, tuple[TaskStatus, list[Event]]] = {
    "pending": (TaskStatus.PENDING, []),
    "running": (TaskStatus.RUNNING, [claimed("t")]),
    "retrying": (TaskStatus.RETRYING, [claimed("t"), failed("t", retry_at=9.0)]),
    "completed": (TaskStatus.COMPLETED, [claimed("t"), completed("t")]),
    "skipped": (TaskStatus.SKIPPED, [skipped("t")]),
    "failed": (TaskStatus.FAILED, [claimed("t"), failed("t")]),
    "parked": (TaskStatus.PARKED, FOUR_FAILURES),
    "in doubt": (TaskStatus.IN_DOUBT, [claimed("t"), TaskInterrupted(2.0, T, 1, "ask", "it died")]),
}

REUSE, RERUN, RUN, SKIP, WAIT = Verb.REUSE, Verb.RERUN, Verb.RUN, Verb.SKIP, Verb.WAIT

TABLE: dict[str, dict[str, Verb]] = {
    #                default  no retry  no reset  no preserve  more  none  unchecked
    "pending": dict(zip(STRATEGIES, (RUN, RUN, RUN, RUN, RUN, RUN, RUN), strict=True)),
    "running": dict(zip(STRATEGIES, (RERUN, RERUN, WAIT, RERUN, RERUN, RERUN, RERUN), strict=True)),
    "retrying": dict(zip(STRATEGIES, (RERUN, RERUN, RERUN, RERUN, RERUN, RERUN, RERUN), strict=True)),
    "completed": dict(zip(STRATEGIES, (REUSE, REUSE, REUSE, RERUN, REUSE, REUSE, REUSE), strict=True)),
    "skipped": dict(zip(STRATEGIES, (REUSE, REUSE, REUSE, RERUN, REUSE, REUSE, REUSE), strict=True)),
    "failed": dict(zip(STRATEGIES, (RERUN, WAIT, RERUN, RERUN, RERUN, WAIT, RERUN), strict=True)),
    "parked": dict(zip(STRATEGIES, (WAIT, WAIT, WAIT, WAIT, RERUN, WAIT, WAIT), strict=True)),
    "in doubt": dict(zip(STRATEGIES, (WAIT, WAIT, WAIT, WAIT, WAIT, WAIT, WAIT), strict=True)),
}


def found(history: str, graph: Pipeline | None = None) -> tuple[Pipeline, ExecutionState]:
    definition = graph or pipeline({"t": ()})
    state, _ = begun(definition)
    state.apply_all(HISTORIES[history][1])
    assert state.tasks[T].status is HISTORIES[history][0]
    return definition, state


def plan(history: str, strategy: ResumeStrategy = DEFAULT, **request: object) -> Plan:
    definition, state = found(history)
    return planned(definition, state, strategy, PlanRequest(**request), NOW)  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("history", HISTORIES)
def test_what_becomes_of_a_task(history: str, strategy: str) -> None:
    made = plan(history, STRATEGIES[strategy])
    assert [decision.verb for decision in made.decisions] == [TABLE[history][strategy]]
    assert made.decisions[0].reason


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("history", HISTORIES)
def test_the_facts_do_what_the_decision_says(history: str, strategy: str) -> None:
    definition, state = found(history)
    made = planned(definition, state, STRATEGIES[strategy], PlanRequest(), NOW)
    failures = state.tasks[T].failures
    state.apply_all(made.events)
    task = state.tasks[T]
    match made.decisions[0].verb:
        case Verb.REUSE | Verb.SKIP:
            assert task.status in (TaskStatus.COMPLETED, TaskStatus.SKIPPED)
        case Verb.RUN | Verb.RERUN:
            assert list(state.ready) == ["t"]
        case Verb.WAIT:
            assert not state.ready
            assert task.status in (TaskStatus.FAILED, TaskStatus.PARKED, TaskStatus.IN_DOUBT)
    if history in ("failed", "parked"):
        assert task.failures == failures  # a resume forgives nothing by itself


@pytest.mark.parametrize(
    ("history", "verb"),
    [(name, None if name in ("completed", "skipped") else RERUN) for name in HISTORIES],
)
def test_a_retry_on_request(history: str, verb: Verb | None) -> None:
    if verb is None:
        with pytest.raises(ResumeError, match=f"is {history}: there is nothing to retry or to skip"):
            plan(history, retry=frozenset({"t"}))
        return
    made = plan(history, NO_RETRY, retry=frozenset({"t"}))
    assert made == Plan(
        (Decision(T, RERUN, "released on request"),),
        (TasksReset(NOW, [T], "released on request", forgive=True),),
        pipeline_id="p",
    )


@pytest.mark.parametrize("history", HISTORIES)
def test_a_skip_on_request(history: str) -> None:
    if history in ("completed", "skipped"):
        with pytest.raises(ResumeError, match=f"is {history}: there is nothing to retry or to skip"):
            plan(history, skip=frozenset({"t"}))
        return
    made = plan(history, skip=frozenset({"t"}))
    assert made.events == (TaskSkipped(NOW, T, "skipped on request"),)
    assert made.counts() == {SKIP: 1}


@pytest.mark.parametrize("history", HISTORIES)
def test_back_to_a_position_before_anything_happened(history: str) -> None:
    made = plan(history, from_seq=2)
    expected = RUN if history == "pending" else RERUN
    assert [decision.verb for decision in made.decisions] == [expected]
    if expected is RERUN:
        assert made.events == (TasksReset(NOW, [T], "after the checkpoint", forgive=True),)


@pytest.mark.parametrize("history", HISTORIES)
def test_back_to_the_present_changes_nothing(history: str) -> None:
    _, state = found(history)
    assert plan(history, from_seq=state.seq).decisions == plan(history).decisions


@pytest.mark.parametrize("seq", [0, -1, 99])
def test_a_position_that_does_not_exist_is_refused(seq: int) -> None:
    with pytest.raises(ResumeError, match=f"no position {seq}: the journal has 2 facts"):
        plan("pending", from_seq=seq)


def test_requests_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ResumeError, match="no step named 'ghost'"):
        plan("failed", retry=frozenset({"ghost"}))
    with pytest.raises(ResumeError, match="no step named 'ghost'"):
        plan("failed", skip=frozenset({"ghost"}))
    with pytest.raises(ResumeError, match="'t' cannot be both retried and skipped"):
        plan("failed", retry=frozenset({"t"}), skip=frozenset({"t"}))


@pytest.mark.parametrize("policy", OnInterrupted)
@pytest.mark.parametrize("reset", [True, False])
def test_an_interrupted_step(policy: OnInterrupted, reset: bool) -> None:
    definition, state = found("running", pipeline({"t": ()}, on_interrupted=policy))
    strategy = ResumeStrategy(reset_running_tasks=reset)
    made = planned(definition, state, strategy, PlanRequest(), NOW)
    outcome = policy.value if reset else "fail"
    assert made.events == (TaskInterrupted(NOW, T, 1, outcome, "it was running when the process ended"),)
    reasons = {
        "rerun": "attempt 1 was interrupted",
        "ask": "in doubt: attempt 1 was interrupted (release it with --retry t or --skip t)",
        "fail": "attempt 1 was interrupted, marked failed: "
        + ("on_interrupted: fail" if reset else "reset_running_tasks is off"),
    }
    assert made.decisions == (Decision(T, RERUN if outcome == "rerun" else WAIT, reasons[outcome]),)


def test_a_step_that_was_stopped_is_due_again() -> None:
    definition, state = found("running", pipeline({"t": ()}))
    state.apply(TaskInterrupted(NOW, T, 1, "rerun", "stopped by signal 2"))
    made = planned(definition, state, ResumeStrategy(), PlanRequest(), NOW)
    assert made.decisions == (Decision(T, RERUN, "due again after attempt 1"),)


def test_reasons_say_why() -> None:
    reasons = {name: plan(name).decisions[0].reason for name in HISTORIES}
    assert reasons == {
        "pending": "not run yet",
        "running": "attempt 1 was interrupted",
        "retrying": "failed 1x, its retry was due",
        "completed": "completed at seq 4",
        "skipped": "skipped at seq 3",
        "failed": "failed 1x: it failed",
        "parked": "parked: 4 failures, 3 retries allowed (release it with --retry t or --skip t)",
        "in doubt": "in doubt: it was running when the process ended (release it with --retry t or --skip t)",
    }
    assert plan("failed", NO_RETRY).decisions[0].reason == "failed, and retry_failed_tasks is off"
    assert plan("completed", NO_PRESERVE).decisions[0].reason == "preserve_completed_tasks is off"


def test_a_saved_state_is_mentioned() -> None:
    definition, state = found("running")
    state.apply(TaskProgressed(3.0, T, 1, None, None, "", value("s")))
    made = planned(definition, state, DEFAULT, PlanRequest(), NOW)
    assert made.decisions[0].reason == "attempt 1 was interrupted, goes on from its saved state"


def test_a_worker_that_crashed_too_often_is_parked_whatever_the_maximum() -> None:
    definition, state = found("pending")
    for attempt in range(1, 5):
        state.apply_all([claimed("t", attempt), failed("t", attempt, crashed=True, parked=attempt == 4)])
    made = planned(definition, state, MORE, PlanRequest(), NOW)
    assert made.decisions[0].verb is WAIT
    assert "its worker crashed 4 times (limit 3)" in made.decisions[0].reason


def test_a_step_with_more_attempts_of_its_own_is_not_parked_before_them() -> None:
    graph = pipeline({"t": ()}, retry=RetryPolicy(max_attempts=10))
    definition, state = found("failed", graph)
    for attempt in range(2, 11):
        state.apply_all([claimed("t", attempt), failed("t", attempt)])
    assert planned(definition, state, DEFAULT, PlanRequest(), NOW).decisions[0].verb is RERUN
    state.apply_all([claimed("t", 11), failed("t", 11)])
    assert planned(definition, state, DEFAULT, PlanRequest(), NOW).decisions[0].verb is WAIT


def test_tasks_reset_for_one_reason_share_a_fact() -> None:
    graph = pipeline({"a": (), "b": (), "c": ()})
    state, _ = begun(graph)
    for name in "abc":
        state.apply_all([claimed(name), failed(name)])
    made = planned(graph, state, DEFAULT, PlanRequest(retry=frozenset({"c"})), NOW)
    assert made.events == (
        TasksReset(NOW, [task_id("a"), task_id("b")], "retry", forgive=False),
        TasksReset(NOW, [task_id("c")], "released on request", forgive=True),
    )
    assert made.counts() == {RERUN: 3}


def test_what_is_behind_a_waiting_task_waits_too() -> None:
    graph = pipeline({"last": ("mid",), "mid": ("t", "ok"), "t": (), "ok": (), "free": ("ok",), "skipped": ("t",)})
    state, _ = begun(graph)
    state.apply_all(FOUR_FAILURES)
    made = planned(graph, state, DEFAULT, PlanRequest(skip=frozenset({"skipped"})), NOW)
    assert [(each.task, each.verb, each.reason) for each in made.decisions if each.task != "t"] == [
        ("last", WAIT, "behind mid"),
        ("mid", WAIT, "behind t"),
        ("ok", RUN, "not run yet"),
        ("free", RUN, "not run yet"),
        ("skipped", SKIP, "skipped on request"),
    ]
    released = planned(graph, state, DEFAULT, PlanRequest(retry=frozenset({"t"})), NOW)
    assert released.counts() == {RERUN: 1, RUN: 5}


def test_what_is_behind_is_found_without_recursion() -> None:
    graph = pipeline({"t": ()} | {f"s{n}": (f"s{n - 1}" if n else "t",) for n in range(20_000)})
    state, _ = begun(graph)
    state.apply_all(FOUR_FAILURES)
    assert planned(graph, state, DEFAULT, PlanRequest(), NOW).counts() == {WAIT: 20_001}


def test_decisions_stand_in_the_order_of_the_pipeline_and_planning_changes_nothing() -> None:
    graph = pipeline({"c": (), "a": ("c",), "b": ()})
    state, _ = begun(graph)
    state.apply_all([claimed("b"), completed("b")])
    before = state.seq, list(state.ready)
    made = planned(graph, state, replace(DEFAULT), PlanRequest(), NOW)
    assert [decision.task for decision in made.decisions] == ["c", "a", "b"]
    assert made.events == ()
    assert (state.seq, list(state.ready)) == before
