from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from orchestrator.domain.events import (
    TAGS,
    CancelRequested,
    CheckpointMade,
    ErrorInfo,
    Event,
    ExecutionFinished,
    ExecutionStarted,
    TaskInterrupted,
    TaskProgressed,
    TasksReset,
)
from orchestrator.domain.execution import ExecutionState, ExecutionStatus, TaskState, TaskStatus
from orchestrator.domain.pipeline import Pipeline
from tests.unit.domain.graphs import (
    INPUTS,
    begun,
    claimed,
    completed,
    facts,
    failed,
    pipeline,
    run_to_end,
    skipped,
    task_id,
    value,
)

CHAIN = pipeline({"a": (), "b": ("a",), "c": ("b",)})


def after(*events: Event, graph: Pipeline = CHAIN) -> ExecutionState:
    state, _ = begun(graph)
    state.apply_all(events)
    return state


def task(state: ExecutionState, name: str) -> TaskState:
    return state.tasks[task_id(name)]


def reset(*names: str, forgive: bool = False) -> TasksReset:
    return TasksReset(7.0, [task_id(name) for name in names], "why", forgive)


def interrupted(name: str, outcome: str) -> TaskInterrupted:
    return TaskInterrupted(3.0, task_id(name), 1, outcome, "it died")


def test_every_event_has_a_tag_of_its_own_for_ever() -> None:
    assert sorted(TAGS.values()) == [*range(1, 29), 30]
    assert {kind.__name__: tag for kind, tag in TAGS.items()} == {
        "ExecutionCreated": 1,
        "ExecutionStarted": 2,
        "TaskClaimed": 3,
        "TaskCompleted": 4,
        "TaskFailed": 5,
        "TaskInterrupted": 6,
        "TaskSkipped": 7,
        "TasksReset": 8,
        "TaskProgressed": 9,
        "CheckpointMade": 10,
        "CancelRequested": 11,
        "ExecutionFinished": 12,
        "ToolsResolved": 13,
        "TaskTraced": 14,
        "TaskReused": 15,
        "TasksInvalidated": 16,
        "ResultSet": 17,
        "DefinitionChanged": 18,
        "ResumePlanned": 19,
        "DefinitionLoaded": 20,
        "ExecutionForked": 21,
        "DecisionMade": 22,
        "TaskExpanded": 23,
        "TaskGathered": 24,
        "ExecutionWaiting": 25,
        "SignalReceived": 26,
        "TaskWaiting": 27,
        "StageEntered": 28,
        "ExecutionLinked": 30,
    }


def test_the_beginning() -> None:
    state = after()
    assert (state.seq, state.epoch, state.owner, state.total) == (2, 1, "me", 3)
    assert state.status is ExecutionStatus.RUNNING
    assert not state.resumed
    assert state.inputs == INPUTS
    assert list(state.ready) == ["a"]
    assert [known.unmet for known in state.tasks.values()] == [0, 1, 1]


def test_a_claim() -> None:
    state = after(claimed("a", 1, at=4.0))
    known = task(state, "a")
    assert (known.status, known.attempt, known.tries, known.started_at, known.seq) == (TaskStatus.RUNNING, 1, 1, 4.0, 3)
    assert list(state.running) == ["a"]
    assert not state.ready


def test_a_completion_makes_its_dependents_ready() -> None:
    state = after(claimed("a"), completed("a"))
    known = task(state, "a")
    assert (known.status, known.value, known.ended_at, known.seq) == (TaskStatus.COMPLETED, value("a"), 2.0, 4)
    assert list(state.ready) == ["b"]
    assert state.done_count == 1


def test_a_skipped_task_counts_as_done_with_the_result_none() -> None:
    state = after(skipped("a"))
    assert (task(state, "a").status, task(state, "a").value) == (TaskStatus.SKIPPED, None)
    assert list(state.ready) == ["b"]
    assert state.done_count == 1


@pytest.mark.parametrize("second", [completed("a"), skipped("a")])
def test_nothing_is_done_twice(second: Event) -> None:
    """I2: at most one success."""
    with pytest.raises(ValueError, match="a is done twice"):
        after(claimed("a"), completed("a"), second)


def test_a_failure_counts_and_keeps_its_error() -> None:
    state = after(claimed("a"), failed("a", retry_at=9.0))
    known = task(state, "a")
    assert (known.status, known.failures, known.crashes) == (TaskStatus.RETRYING, 1, 0)
    assert known.error == ErrorInfo("Boom", "it failed")
    assert (state.next_retry_at(), state.next_retry(state.limits.unlimited)) == (9.0, (9.0, "a"))
    state.apply(claimed("a", 2))
    assert (state.next_retry_at(), state.next_retry(state.limits.unlimited)) == (None, None)
    state.apply(failed("a", 2, crashed=True, parked=True))
    assert (known.status, known.failures, known.crashes, known.tries) == (TaskStatus.PARKED, 1, 1, 2)


def test_success_takes_the_error_and_the_saved_state_away_but_not_the_count() -> None:
    state = after(claimed("a"), failed("a", retry_at=0.0), claimed("a", 2), completed("a", 2))
    known = task(state, "a")
    assert (known.error, known.saved, known.failures, known.attempt) == (None, None, 1, 2)


def test_tries_count_over_one_ownership_failures_over_the_execution() -> None:
    again = ExecutionStarted(5.0, 2, "you", resumed=True, strategy={})
    state = after(claimed("a"), failed("a"), again, reset("a"), claimed("a", 2))
    known = task(state, "a")
    assert (known.tries, known.failures, known.attempt) == (1, 1, 2)
    assert state.resumed
    assert (state.epoch, state.owner) == (2, "you")


@pytest.mark.parametrize(
    ("outcome", "status", "failures"),
    [("rerun", TaskStatus.PENDING, 0), ("fail", TaskStatus.FAILED, 1), ("ask", TaskStatus.IN_DOUBT, 0)],
)
def test_an_interruption(outcome: str, status: TaskStatus, failures: int) -> None:
    state = after(claimed("a"), interrupted("a", outcome))
    known = task(state, "a")
    assert (known.status, known.failures) == (status, failures)
    assert not state.running
    assert list(state.ready) == (["a"] if outcome == "rerun" else [])


def test_blocked_is_everything_behind_what_is_stuck() -> None:
    graph = pipeline({"a": (), "b": ("a",), "c": ("b",), "x": (), "y": ("x",)})
    state = after(claimed("a"), claimed("x"), failed("a"), graph=graph)
    assert state.blocked() == {"b", "c"}
    assert task(state, "b").status is TaskStatus.PENDING  # shown, never recorded


def test_progress_and_saved_state_survive_failure_and_interruption() -> None:
    saved = TaskProgressed(2.0, task_id("a"), 1, 3.0, 9.0, "third", value("s"))
    for end in (failed("a"), interrupted("a", "rerun")):
        state = after(claimed("a"), saved, end)
        assert task(state, "a").saved == value("s")
        assert task(state, "a").progress == (3.0, 9.0, "third")
    only_shown = TaskProgressed(2.5, task_id("a"), 1, 4.0, 9.0, "", None)
    assert task(after(claimed("a"), saved, only_shown), "a").saved == value("s")


def test_a_reset_of_something_done_takes_its_result_and_its_saved_state_away() -> None:
    state = after(claimed("a"), completed("a"), reset("a"))
    assert (task(state, "a").status, task(state, "a").value) == (TaskStatus.PENDING, None)
    assert list(state.ready) == ["a"]
    assert task(state, "b").unmet == 1


def test_a_reset_of_a_failure_keeps_its_saved_state_and_forgives_only_when_asked() -> None:
    saved = TaskProgressed(2.0, task_id("a"), 1, None, None, "", value("s"))
    for forgive, failures in ((False, 1), (True, 0)):
        known = task(after(claimed("a"), saved, failed("a"), reset("a", forgive=forgive)), "a")
        assert (known.saved, known.failures) == (value("s"), failures)


@pytest.mark.parametrize("names", [("a", "b", "c"), ("c", "b", "a"), ("b", "a", "c")])
def test_a_reset_of_everything_is_the_beginning_whatever_its_order(names: tuple[str, ...]) -> None:
    done = [event for name in "abc" for event in (claimed(name), completed(name))]
    state = after(*done, reset(*names))
    assert list(state.ready) == ["a"]
    assert [known.unmet for known in state.tasks.values()] == [0, 1, 1]
    assert state.done_count == 0


@pytest.mark.parametrize("reason", ["manual", "periodic"])
def test_only_a_report_of_the_caller_changes_the_context(reason: str) -> None:
    made = [CheckpointMade(1.0, each, None, {}, value(each)) for each in (reason, "saved", "before")]
    engines_own = CheckpointMade(1.0, "periodic", None, {"running": 1}, None)
    state = after(*made, engines_own)
    assert state.context == value(reason)


def test_cancel_and_end() -> None:
    asked: list[Event] = [CancelRequested(3.0, "me")]
    assert after(*asked).cancel_requested == "me"
    ended: list[Event] = [*asked, ExecutionFinished(4.0, "cancelled", None, None)]
    assert after(*ended).finished
    assert after(*ended).status is ExecutionStatus.CANCELLED
    again = after(*ended, ExecutionStarted(5.0, 2, "me", resumed=True, strategy={}))
    assert not again.finished
    assert again.cancel_requested is None


def test_the_same_facts_give_the_same_state() -> None:
    events: list[Event] = [claimed("a"), failed("a", retry_at=3.0), claimed("a", 2), completed("a", 2), claimed("b")]
    assert facts(after(*events)) == facts(after(*events))


def test_an_execution_without_a_pipeline_folds() -> None:
    state = ExecutionState(None)
    state.apply(CheckpointMade(1.0, "saved", None, {}, value("x")))
    assert (state.seq, state.total, state.tasks) == (1, 0, {})


def test_a_fact_about_an_unknown_task_is_an_error() -> None:
    with pytest.raises(KeyError):
        after(claimed("ghost"))


# -- 100,000 tasks -------------------------------------------------------------------------------------------------

MANY = 100_000


@pytest.fixture
def _uncollected() -> Iterator[None]:
    """Leave the garbage collector out of it: it walks through all those objects again and again."""
    gc.disable()
    yield
    gc.enable()


@cache
def chain(length: int) -> Pipeline:
    return pipeline({f"t{n}": (f"t{n - 1}",) if n else () for n in range(length)})


def fan(width: int) -> Pipeline:
    middle = [f"t{n}" for n in range(width)]
    return pipeline({"first": (), **dict.fromkeys(middle, ("first",)), "last": middle})


@pytest.mark.usefixtures("_uncollected")
@pytest.mark.parametrize(("shape", "questions"), [(chain, MANY + 1), (fan, 4)])
def test_a_hundred_thousand_tasks_fold_without_recursion_and_at_the_price_of_the_change(
    shape: Callable[[int], Pipeline], questions: int
) -> None:
    seconds = {}
    asked = 0
    for size in (MANY // 10, MANY):
        state, _ = begun(shape(size))
        started = time.process_time()
        asked = run_to_end(state)
        seconds[size] = time.process_time() - started
        assert state.status is ExecutionStatus.COMPLETED
        assert state.done_count == len(state.tasks)
    assert asked == questions
    assert seconds[MANY] < 40 * max(seconds[MANY // 10], 0.01)  # quadratic would be a hundred times as much


@pytest.mark.usefixtures("_uncollected")
def test_what_a_failure_blocks_is_found_without_recursion() -> None:
    state, _ = begun(chain(MANY))
    state.apply_all([claimed("t0"), failed("t0")])
    assert len(state.blocked()) == MANY - 1
