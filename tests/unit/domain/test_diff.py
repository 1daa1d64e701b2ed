from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.changes import MISSING, Change
from orchestrator.domain.diff import Diff, Position, TaskDifference, diff_of
from orchestrator.domain.events import Event, ExecutionFinished, TaskCompleted
from orchestrator.domain.execution import ExecutionState
from orchestrator.domain.ids import ExecutionId
from orchestrator.domain.pipeline import Pipeline
from orchestrator.domain.values import ValueRef
from tests.unit.domain.graphs import begun, claimed, completed, failed, pipeline, run_to_end, skipped, value

NEEDS: dict[str, tuple[str, ...]] = {"a": (), "b": ("a",)}
LARGE = ValueRef(b"d" * 32, 5000, inline=False)
OTHER = ValueRef(b"e" * 32, 5000, inline=False)


def state(*events: Event, needs: Any = None, definition: Pipeline | None = None) -> ExecutionState:
    made, _events = begun(definition or pipeline(needs or NEEDS))
    made.apply_all(events)
    return made


def diff(one: ExecutionState, other: ExecutionState, inputs: Any = None, others: Any = None) -> Diff:
    return diff_of(Position(ExecutionId("one"), one, inputs or {}), Position(ExecutionId("two"), other, others or {}))


def result(name: str, ref: ValueRef) -> TaskCompleted:
    return TaskCompleted(2.0, name, 1, ref)


DONE = (claimed("a"), completed("a"))
CASES: dict[str, tuple[list[Event], list[Event], TaskDifference]] = {
    "nothing ran": ([], [], TaskDifference.NONE),
    "the same small result": ([*DONE], [*DONE], TaskDifference.NONE),
    "the same large result": ([result("a", LARGE)], [result("a", LARGE)], TaskDifference.NONE),
    "another small result": ([*DONE], [claimed("a"), result("a", value("x"))], TaskDifference.RESULT),
    "another large result": ([result("a", LARGE)], [result("a", OTHER)], TaskDifference.RESULT),
    "more attempts": ([*DONE], [claimed("a", 2, 5.0), completed("a", 2, 9.0)], TaskDifference.NONE),
    "not run and done": ([], [*DONE], TaskDifference.STATUS),
    "done and running": ([*DONE], [claimed("a")], TaskDifference.STATUS),
    "done and skipped": ([*DONE], [skipped("a")], TaskDifference.STATUS),
    "skipped twice": ([skipped("a")], [skipped("a")], TaskDifference.NONE),
    "failed alike": ([failed("a")], [failed("a", 2, at=8.0)], TaskDifference.NONE),
    "failed and parked": ([failed("a")], [failed("a", parked=True)], TaskDifference.STATUS),
    "failed otherwise": (
        [failed("a")],
        [failed("a")._replace(error=failed("a").error._replace(message="it blew up"))],
        TaskDifference.ERROR,
    ),
    "failed elsewhere in the code": (
        [failed("a")],
        [failed("a")._replace(error=failed("a").error._replace(trace="line 3"))],
        TaskDifference.NONE,
    ),
}


@pytest.mark.parametrize(("before", "after", "difference"), CASES.values(), ids=CASES)
def test_what_differs_about_a_task(before: list[Event], after: list[Event], difference: TaskDifference) -> None:
    found = diff(state(*before), state(*after))
    assert [each.difference for each in found.tasks] == [difference, TaskDifference.NONE]
    assert found.equal is (difference is TaskDifference.NONE)
    assert [each.task for each in found.differing()] == ([] if found.equal else ["a"])
    assert (found.tasks[0].contents is not None) is (difference is TaskDifference.RESULT)


def test_tasks_of_one_only_come_where_b_has_them_and_then_those_of_a() -> None:
    found = diff(state(*DONE, needs={"x": (), "a": ()}), state(*DONE, needs={"a": (), "y": ()}))
    assert [(each.task, each.difference.value, each.a is None, each.b is None) for each in found.tasks] == [
        ("a", "none", False, False),
        ("y", "only in b", True, False),
        ("x", "only in a", False, True),
    ]
    assert found.counts() == {TaskDifference.NONE: 1, TaskDifference.ONLY_A: 1, TaskDifference.ONLY_B: 1}


@pytest.mark.parametrize(
    ("needs", "renames", "pairs"),
    [
        ({"new": (), "b": ()}, {"new": "a"}, [("new", "a"), ("b", None)]),
        ({"new": (), "a": (), "b": ()}, {"new": "a"}, [("new", None), ("a", None), ("b", None)]),
        ({"new": (), "newer": (), "b": ()}, {"new": "a", "newer": "a"}, [("new", "a"), ("newer", None), ("b", None)]),
        ({"a": (), "b": ()}, {"a": "never"}, [("a", None), ("b", None)]),
    ],
)
def test_a_renamed_task_is_compared_with_what_it_was(
    needs: dict[str, tuple[str, ...]], renames: dict[str, str], pairs: list[tuple[str, str | None]]
) -> None:
    plain = pipeline(needs)
    tasks = {name: replace(task, renamed_from=renames.get(name)) for name, task in plain.tasks.items()}
    found = diff(state(*DONE), state(definition=replace(plain, tasks=tasks)))
    assert [(each.task, each.was) for each in found.tasks if each.b is not None] == pairs
    renamed = [each for each in found.tasks if each.was is not None]
    assert all(each.a is not None and each.a.attempts == 1 for each in renamed)
    gone = [each.task for each in found.tasks if each.difference is TaskDifference.ONLY_A]
    assert gone == [name for name in NEEDS if name not in needs and name not in renames.values()]


def test_inputs_are_compared_part_by_part_and_outputs_by_digest() -> None:
    one, other = state(ExecutionFinished(9.0, "completed", value("x"), None)), state()
    found = diff(one, other, {"n": 1, "deep": {"x": [1, 2]}}, {"deep": {"x": [1, 3]}, "n": 1, "more": None})
    assert found.inputs == (Change("deep.x[1]", 2, 3), Change("more", MISSING, None))
    assert found.outputs is not None
    assert found.outputs.changes is None
    assert not found.equal
    assert (found.a.checkpoint_id, found.b.checkpoint_id) == ("one@3", "two@2")
    assert (found.a.seconds, found.b.seconds) == (9.0, 0.0)


def test_the_status_alone_makes_a_difference() -> None:
    stopped = state(ExecutionFinished(9.0, "stopped", None, None))
    assert not diff(state(), stopped).equal
    assert diff(stopped, stopped).equal


def test_the_largest_changes_of_time_come_first_and_what_did_not_end_twice_has_none() -> None:
    needs: dict[str, tuple[str, ...]] = dict.fromkeys("pqrst", ())

    def took(**seconds: float) -> ExecutionState:
        events = [(claimed(name, 1, 10.0), completed(name, 1, 10.0 + long)) for name, long in seconds.items()]
        return state(*(event for pair in events for event in pair), needs=needs)

    found = diff(took(p=1.0, q=5.0, r=2.0, s=1.0), took(p=2.0, q=1.0, r=2.0, t=50.0))
    assert [(each.task, each.slower) for each in found.slowest()] == [("q", -4.0), ("p", 1.0)]
    assert [each.task for each in found.slowest(1)] == ["q"]
    assert found.slowest(None) == found.slowest(2)
    assert [each.slower for each in found.tasks] == [1.0, -4.0, 0.0, None, None]


def test_a_clock_that_went_back_makes_no_time() -> None:
    found = diff(state(claimed("a", 1, 10.0), completed("a", 1, 9.0)), state(*DONE))
    assert found.tasks[0].a is not None
    assert found.tasks[0].a.seconds is None


def test_ten_thousand_tasks_cost_as_much_each_as_a_hundred() -> None:
    def least(count: int) -> float:
        needs: dict[str, tuple[str, ...]] = {f"t{number}": () for number in range(count)}
        one, other = state(needs=needs), state(needs=needs)
        run_to_end(one)
        run_to_end(other)
        times = []
        for _try in range(3):
            begun_at = time.perf_counter()
            assert diff(one, other).slowest() == []
            times.append(time.perf_counter() - begun_at)
        return min(times) / count

    assert least(10_000) < 10 * least(100)
