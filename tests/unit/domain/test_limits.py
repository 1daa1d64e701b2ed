"""Limits: what may begin beside what is at work, and after what was begun; folded and decided without a clock."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from orchestrator.domain.decide import Claim, decide, next_at
from orchestrator.domain.events import (
    DefinitionChanged,
    Event,
    ExecutionStarted,
    StageEntered,
    TaskInterrupted,
    TasksReset,
)
from orchestrator.domain.execution import ExecutionState
from orchestrator.domain.ids import TaskId
from orchestrator.domain.limits import Gate, Limit
from orchestrator.domain.pipeline import Pipeline, Task
from orchestrator.domain.stage import undo_id
from tests.unit.domain.graphs import begun, claimed, completed, failed, value


def limited(limits: dict[str, Limit], steps: dict[str, tuple[str, ...]], own: int | None = None) -> Pipeline:
    tasks = {TaskId(name): Task(TaskId(name), "noop", limits=kept) for name, kept in steps.items()}
    return Pipeline("p", tasks, limits=limits, max_concurrency=own)


def next_up(state: ExecutionState, now: float, capacity: int = 9) -> list[str]:
    found = decide(state, now, capacity, stopping=False)
    assert all(isinstance(command, Claim) for command in found)
    return [command.task for command in found if isinstance(command, Claim)]


def after(definition: Pipeline, *events: Event) -> ExecutionState:
    state, _ = begun(definition)
    state.apply_all(events)
    return state


TWO = limited({"api": Limit(2)}, {"a": ("api",), "b": ("api",), "c": ("api",), "free": ()})
SLOW = limited({"api": Limit(count=2, per_seconds=10)}, {"a": ("api",), "b": ("api",), "c": ("api",)})


def test_so_many_at_once_and_what_keeps_no_limit_besides() -> None:
    state = after(TWO)
    assert next_up(state, 1.0) == ["a", "b", "free"]
    state.apply_all([claimed("a"), claimed("b"), claimed("free")])
    assert (next_up(state, 1.0), next_at(state, 9)) == ([], None)
    state.apply(completed("a"))
    assert next_up(state, 2.0) == ["c"]


@pytest.mark.parametrize(
    "end",
    [
        failed("a"),
        failed("a", retry_at=50.0),
        TaskInterrupted(2.0, TaskId("a"), 1, "rerun", "stopped"),
        TaskInterrupted(2.0, TaskId("a"), 1, "ask", "stopped"),
        TasksReset(2.0, [TaskId("a")], forgive=False, reason="why not"),
    ],
    ids=["failed", "retrying", "rerun", "in doubt", "reset"],
)
def test_whatever_ends_an_attempt_gives_its_place_back(end: Event) -> None:
    state = after(TWO, claimed("a"), claimed("b"), claimed("free"), end)
    assert state.limits.gates["api"].working == 1
    assert next_up(state, 2.0) == ["c"]


def test_a_rate_holds_within_any_span_of_its_length() -> None:
    state = after(SLOW, claimed("a", at=1.0), completed("a"), claimed("b", at=4.0), completed("b"))
    assert (next_up(state, 10.9), next_at(state, 9)) == ([], 11.0)
    assert next_up(state, 11.0) == ["c"]


def test_a_retry_counts_and_waits_like_any_attempt() -> None:
    state = after(SLOW, claimed("a", at=1.0), failed("a", retry_at=5.0), claimed("b", at=2.0), completed("b"))
    assert (next_up(state, 5.0), next_at(state, 9)) == ([], 11.0)
    assert next_up(state, 11.0) == ["a"]
    state.apply(claimed("a", 2, at=11.0))
    assert (next_up(state, 11.0), next_at(state, 9)) == ([], 12.0)


def test_a_retry_that_waits_for_its_limit_holds_up_no_other() -> None:
    tasks = {"a": ("one",), "b": ("one",), "free": ()}
    state = after(limited({"one": Limit(1)}, tasks), claimed("a"), failed("a", retry_at=3.0), claimed("b"))
    state.apply_all([claimed("free"), failed("free", retry_at=4.0)])
    assert next_up(state, 9.0) == ["free"]


def test_all_limits_of_a_step_are_kept_and_shared_ones_are_not_exceeded() -> None:
    limits = {"one": Limit(1), "two": Limit(2)}
    state = after(limited(limits, {"a": ("two",), "b": ("two", "one"), "c": ("one",), "d": ("two",)}))
    begun_: list[str] = []
    while found := next_up(state, 1.0):
        state.apply_all([claimed(name) for name in found])
        begun_ += found
        assert all(gate.working <= (gate.limit.at_once or 0) for gate in state.limits.gates.values())
    assert len(begun_) == 3 - ("b" in begun_)


def test_the_definition_s_own_concurrency_holds_where_it_is_lower() -> None:
    definition = limited({}, dict.fromkeys("abcd", ()), own=2)
    state = after(definition)
    assert next_up(state, 1.0) == ["a", "b"]
    assert next_up(state, 1.0, capacity=1) == ["a"]
    state.apply_all([claimed("a"), claimed("b")])
    assert (next_up(state, 1.0), next_at(state, 9)) == ([], None)


def test_a_resume_does_not_go_beyond_a_rate_and_a_clock_set_back_costs_one_span_at_most() -> None:
    before: list[Event] = [claimed("a", at=1000.0), claimed("b", at=1001.0)]
    before += [TaskInterrupted(1001.0, TaskId(name), 1, "rerun", "it died") for name in "ab"]
    state = after(SLOW, *before, ExecutionStarted(1002.0, 2, "me", resumed=True, strategy={}))
    assert (next_up(state, 1002.0), next_at(state, 9)) == ([], 1010.0)
    state = after(SLOW, *before, ExecutionStarted(500.0, 2, "me", resumed=True, strategy={}))
    assert next_at(state, 9) == 510.0


def test_an_edit_of_limits_holds_from_then_on() -> None:
    state = after(SLOW, claimed("a", at=1.0), completed("a"), claimed("b", at=2.0), completed("b"))
    edited = replace(SLOW, limits={"api": Limit(count=3, per_seconds=10)})
    definition = value("edited")
    state.offer(definition, edited)
    inputs = state.inputs
    assert inputs is not None
    state.apply(DefinitionChanged(3.0, definition, inputs, 3, {}, "", "me"))
    assert (state.done_count, next_up(state, 3.0)) == (2, ["c"])
    state.apply(claimed("c", at=3.0))
    assert state.limits.gates["api"].opens_at() == 11.0


def test_a_decision_costs_the_same_however_much_waits() -> None:
    steps: dict[str, tuple[str, ...]] = {f"s{number}": ("api",) for number in range(20_000)}
    state = after(limited({"api": Limit(1, 1, 60.0)}, steps))
    state.apply(claimed("s0", at=1.0))
    start = time.perf_counter()
    for _ in range(1000):
        assert next_up(state, 2.0) == []
        next_at(state, 32)
    assert time.perf_counter() - start < 1.0  # 20 million looks would take longer


def test_a_gate_lets_as_many_through_as_have_grown_old() -> None:
    gate = Gate(Limit(count=3, per_seconds=10))
    for at in (1.0, 2.0, 3.0):
        gate.claim(at)
    assert [gate.room(now, 9) for now in (3.0, 11.0, 12.5, 13.0)] == [0, 1, 2, 3]
    assert gate.room(13.0, 2) == 2


def test_what_is_undone_one_by_one_is_waited_for_and_not_asked_about_again_and_again() -> None:
    undo = (Task(TaskId(""), "noop", limits=("api",)),)
    tasks = {TaskId(name): Task(TaskId(name), "noop", undo=undo, limits=("api",)) for name in ("a", "b")}
    definition = Pipeline("p", tasks, limits={"api": Limit(count=1, per_seconds=1000)})
    state = after(definition, claimed("a"), completed("a"), claimed("b"), completed("b"))
    undone = [undo_id(TaskId(name), 0, 1) for name in ("b", "a")]
    state.apply(StageEntered(3.0, "undo", "failed", undone, None))
    assert next_up(state, 3.0) == [undone[0]]
    state.apply(claimed(undone[0], at=3.0))
    assert (next_up(state, 3.0), next_at(state, 9)) == ([], None)
    state.apply(completed(undone[0], at=4.0))
    assert next_up(state, 4.0) == [undone[1]]
