from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.domain.changes import MISSING, Change
from orchestrator.domain.diff import Diff, Position, TaskDifference, diff_of
from orchestrator.domain.events import (
    Event,
    ExecutionFinished,
    ResultSet,
    TaskCompleted,
    TaskInterrupted,
    TaskReused,
    TasksReset,
)
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
    "failed, and is to run again": (
        [claimed("a"), failed("a"), TasksReset(3.0, ["a"], "asked", forgive=True)],
        [],
        TaskDifference.NONE,
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
        ({"a": (), "new": (), "b": ()}, {"new": "a"}, [("a", None), ("new", "a"), ("b", None)]),
        ({"b": (), "a": ()}, {"b": "a", "a": "b"}, [("b", "a"), ("a", "b")]),
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
    of_a = [each.a for each in found.tasks if (each.was or each.task) == "a" and each.a is not None]
    assert [each.attempts for each in of_a] == [1]
    assert not [each for each in found.tasks if each.difference is TaskDifference.ONLY_A]
    assert found.definition


def test_the_definition_is_the_same_whatever_the_order_of_steps_and_keys_or_not() -> None:
    one = pipeline(NEEDS, parameters={"x": 1, "y": 2})
    same = replace(one, tasks={name: replace(task, parameters={"y": 2, "x": 1}) for name, task in one.tasks.items()})
    found = diff(state(definition=one), state(definition=same))
    assert not found.definition
    assert found.equal
    described = replace(one, description="words only")
    told = diff(state(definition=one), state(definition=described))
    assert told.definition.settings == [Change("description", MISSING, "words only")]
    assert not told.equal


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


TIMES: dict[str, tuple[list[Event], float | None]] = {
    "completed": ([claimed("a", 1, 10.0), completed("a", 1, 13.0)], 3.0),
    "failed": ([claimed("a", 1, 10.0), failed("a", at=12.0)], 2.0),
    "due again": ([claimed("a", 1, 10.0), failed("a", at=12.0, retry_at=20.0)], 2.0),
    "the last attempt counts": ([claimed("a"), failed("a"), claimed("a", 2, 20.0), completed("a", 2, 21.0)], 1.0),
    "running": ([claimed("a", 1, 10.0)], None),
    "found cut off a day later": ([claimed("a"), TaskInterrupted(86400.0, "a", 1, "rerun", "")], None),
    "found cut off, and failed": ([claimed("a"), TaskInterrupted(86400.0, "a", 1, "fail", "")], None),
    "skipped after it failed": ([claimed("a"), failed("a"), skipped("a", 50.0)], None),
    "to run again": ([*DONE, TasksReset(50.0, ["a"], "asked", forgive=True)], None),
    "taken from elsewhere": ([TaskReused(50.0, "a", value("a"), None, "other@3")], None),
    "given": ([claimed("a"), failed("a"), ResultSet(50.0, "a", value("a"), "me", "")], None),
    "a clock that went back": ([claimed("a", 1, 10.0), completed("a", 1, 9.0)], None),
}


@pytest.mark.parametrize(("events", "seconds"), TIMES.values(), ids=TIMES)
def test_what_an_attempt_took_is_known_of_those_that_ended_by_themselves(
    events: list[Event], seconds: float | None
) -> None:
    side = diff(state(*events), state()).tasks[0].a
    assert side is not None
    assert side.seconds == seconds


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
