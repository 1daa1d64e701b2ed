from __future__ import annotations

import pytest

from orchestrator.domain.decide import Claim, Command, Finish, decide
from orchestrator.domain.events import CancelRequested, Event, ExecutionFinished, TasksReset
from orchestrator.domain.execution import ExecutionStatus
from tests.unit.domain.graphs import begun, claimed, completed, failed, pipeline, skipped, task_id

DIAMOND = pipeline({"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")})


def claims(*names: str) -> list[Command]:
    return [Claim(task_id(name)) for name in names]


def ends(status: ExecutionStatus) -> list[Command]:
    return [Finish(status)]


def answer(
    events: list[Event], *, graph: object = DIAMOND, now: float = 5.0, capacity: int = 9, stopping: bool = False
) -> list[Command]:
    state, _ = begun(graph)  # type: ignore[arg-type]
    state.apply_all(events)
    return decide(state, now, capacity, stopping=stopping)


A_DONE: list[Event] = [claimed("a"), completed("a")]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], claims("a")),
        ([claimed("a")], []),
        (A_DONE, claims("b", "c")),
        ([*A_DONE, claimed("b")], claims("c")),
        ([*A_DONE, claimed("b"), claimed("c"), completed("c")], []),
        ([*A_DONE, claimed("b"), claimed("c"), completed("c"), completed("b")], claims("d")),
        ([*A_DONE, skipped("b"), skipped("c")], claims("d")),
        ([*A_DONE, skipped("b"), skipped("c"), claimed("d"), completed("d")], ends(ExecutionStatus.COMPLETED)),
        ([claimed("a"), failed("a")], ends(ExecutionStatus.FAILED)),
        ([*A_DONE, claimed("b"), failed("b")], claims("c")),  # an independent branch goes on
        ([*A_DONE, claimed("b"), claimed("c"), failed("b")], []),  # a running sibling finishes
        ([*A_DONE, claimed("b"), claimed("c"), failed("b"), completed("c")], ends(ExecutionStatus.FAILED)),
        ([claimed("a"), failed("a", retry_at=9.0)], []),  # not due
        ([claimed("a"), failed("a", retry_at=5.0)], claims("a")),  # due
        ([claimed("a"), failed("a", parked=True)], ends(ExecutionStatus.FAILED)),
        ([CancelRequested(3.0, "me")], ends(ExecutionStatus.CANCELLED)),
        ([*A_DONE, claimed("b"), CancelRequested(3.0, "me")], []),  # first what runs ends
        ([ExecutionFinished(3.0, "failed", None, None)], []),
    ],
)
def test_what_to_do_next(events: list[Event], expected: list[Command]) -> None:
    assert answer(events) == expected


@pytest.mark.parametrize(("capacity", "expected"), [(0, []), (1, claims("b")), (2, claims("b", "c"))])
def test_no_more_than_the_capacity_runs(capacity: int, expected: list[Command]) -> None:
    assert answer(A_DONE, capacity=capacity) == expected


def test_what_runs_takes_up_capacity() -> None:
    assert answer([*A_DONE, claimed("b")], capacity=1) == []


def test_a_due_retry_goes_first_and_the_earliest_of_them() -> None:
    graph = pipeline({"a": (), "b": (), "c": ()})
    events: list[Event] = [claimed("a"), claimed("b"), failed("a", retry_at=4.0), failed("b", retry_at=3.0)]
    assert answer(events, graph=graph) == claims("b")
    assert answer([*events, claimed("b", 2)], graph=graph) == claims("a")
    assert answer([*events, claimed("b", 2), claimed("a", 2)], graph=graph) == claims("c")


def test_stopping_claims_nothing_and_waits_for_what_runs() -> None:
    assert answer([claimed("a")], stopping=True) == []
    assert answer(A_DONE, stopping=True) == ends(ExecutionStatus.STOPPED)
    assert answer([claimed("a"), failed("a", retry_at=1.0)], stopping=True) == ends(ExecutionStatus.STOPPED)


def test_a_cancel_goes_before_a_stop() -> None:
    assert answer([CancelRequested(3.0, "me")], stopping=True) == ends(ExecutionStatus.CANCELLED)


def test_a_retry_that_was_reset_is_not_claimed_twice() -> None:
    events: list[Event] = [
        claimed("a"),
        failed("a", retry_at=4.0),
        TasksReset(4.5, [task_id("a")], "retry", forgive=False),
    ]
    assert answer(events) == claims("a")
    assert answer([*events, claimed("a", 2)]) == []


def test_an_empty_pipeline_is_complete() -> None:
    assert answer([], graph=pipeline({})) == ends(ExecutionStatus.COMPLETED)


def test_deciding_changes_nothing() -> None:
    state, _ = begun(DIAMOND)
    assert decide(state, 5.0, 9, stopping=False) == decide(state, 5.0, 9, stopping=False) == claims("a")
