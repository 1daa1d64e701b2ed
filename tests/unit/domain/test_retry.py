from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.events import ErrorInfo
from orchestrator.domain.execution import TaskState
from orchestrator.domain.ids import TaskId
from orchestrator.domain.pipeline import RetryPolicy, Task
from orchestrator.domain.retry import (
    CRASH_LIMIT,
    LONGEST_ASKED,
    Verdict,
    after_failure,
    delay,
    failure_limit,
    is_exhausted,
)
from orchestrator.domain.strategy import ResumeStrategy

ERROR = ErrorInfo("Boom", "it failed")


def task(policy: RetryPolicy) -> Task:
    return Task(TaskId("t"), "noop", retry=policy)


def state(*, tries: int = 1, failures: int = 0, crashes: int = 0) -> TaskState:
    made = TaskState(0)
    made.tries, made.failures, made.crashes = tries, failures, crashes
    return made


@pytest.mark.parametrize(("retry", "expected"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 10.0), (100, 10.0)])
def test_the_delay_grows_exponentially_up_to_its_cap(retry: int, expected: float) -> None:
    policy = RetryPolicy(max_attempts=200, delay_seconds=1, backoff=2, max_delay_seconds=10, jitter=False)
    assert delay(policy, retry, 0.123) == expected


@given(
    retry=st.integers(1, 10**9),
    random=st.floats(0, 1, exclude_max=True),
    first=st.floats(0, 1e6),
    backoff=st.floats(1, 1e6),
    most=st.floats(0, 1e6),
)
def test_full_jitter_stays_between_nothing_and_the_exact_delay(
    retry: int, random: float, first: float, backoff: float, most: float
) -> None:
    exact = delay(RetryPolicy(2, first, backoff, most, jitter=False), retry, random)
    jittered = delay(RetryPolicy(2, first, backoff, most, jitter=True), retry, random)
    assert 0 <= jittered <= exact <= most
    assert jittered == pytest.approx(exact * random)


def test_a_step_without_retries_fails_at_once() -> None:
    assert after_failure(task(RetryPolicy()), state(), ERROR, ResumeStrategy(), 10.0, 0.5, crashed=False) == Verdict(
        None, parked=False
    )


def test_a_retry_is_due_after_its_delay() -> None:
    policy = RetryPolicy(max_attempts=3, delay_seconds=4, jitter=False)
    verdict = after_failure(task(policy), state(tries=2, failures=1), ERROR, ResumeStrategy(), 10.0, 0.5, crashed=False)
    assert verdict == Verdict(18.0, parked=False)


@pytest.mark.parametrize(("asked", "due"), [(None, 14.0), (3.0, 14.0), (300.0, 310.0), (1e9, 10.0 + LONGEST_ASKED)])
def test_a_retry_comes_no_sooner_than_the_tool_asks(asked: float | None, due: float) -> None:
    step = task(RetryPolicy(max_attempts=3, delay_seconds=4, max_delay_seconds=60, jitter=False))
    verdict = after_failure(step, state(), ERROR, ResumeStrategy(), 10.0, 0.5, crashed=False, retry_after=asked)
    assert verdict == Verdict(due, parked=False)


def test_the_last_try_is_followed_by_none() -> None:
    verdict = after_failure(
        task(RetryPolicy(max_attempts=3)), state(tries=3, failures=2), ERROR, ResumeStrategy(), 10.0, 0.5, crashed=False
    )
    assert verdict == Verdict(None, parked=False)


@pytest.mark.parametrize(
    ("on", "kind", "retryable", "retried"),
    [
        ((), "Boom", True, True),
        ((), "Boom", False, False),
        (("Boom",), "Boom", True, True),
        (("Other", "Boom"), "Boom", True, True),
        (("Other",), "Boom", True, False),
        (("Boom",), "Boom", False, False),
        (("timeout",), "timeout", True, True),
    ],
)
def test_filters_choose_which_errors_are_retried(
    on: tuple[str, ...], kind: str, retryable: bool, retried: bool
) -> None:
    verdict = after_failure(
        task(RetryPolicy(max_attempts=3, on=on)),
        state(),
        ErrorInfo(kind, "", retryable),
        ResumeStrategy(),
        0.0,
        0.5,
        crashed=False,
    )
    assert (verdict.retry_at is not None) is retried
    assert not verdict.parked


@pytest.mark.parametrize(
    ("attempts", "maximum", "limit"), [(1, 3, 3), (1, 0, 0), (2, 3, 3), (10, 3, 10), (10, 20, 20), (2, 0, 2)]
)
def test_the_limit_over_the_whole_execution(attempts: int, maximum: int, limit: int) -> None:
    step = task(RetryPolicy(max_attempts=attempts))
    strategy = ResumeStrategy(max_retry_attempts=maximum)
    assert failure_limit(step, strategy) == limit
    assert not is_exhausted(step, limit, CRASH_LIMIT, strategy)
    assert is_exhausted(step, limit + 1, 0, strategy)


def test_a_task_that_failed_more_often_than_allowed_is_parked() -> None:
    step = task(RetryPolicy())
    verdicts = [
        after_failure(step, state(failures=before), ERROR, ResumeStrategy(), 0.0, 0.5, crashed=False).parked
        for before in range(5)
    ]
    assert verdicts == [False, False, False, True, True]  # three retries, then parked


def test_a_crash_is_retried_even_without_retries_until_its_own_limit() -> None:
    step = task(RetryPolicy())
    found = [
        after_failure(step, state(tries=n + 1, crashes=n), ERROR, ResumeStrategy(), 0.0, 0.5, crashed=True)
        for n in range(CRASH_LIMIT + 1)
    ]
    assert [verdict.parked for verdict in found] == [False] * CRASH_LIMIT + [True]
    assert all(verdict.retry_at is not None for verdict in found[:-1])


def test_a_crash_is_retried_whatever_the_filter() -> None:
    step = task(RetryPolicy(max_attempts=2, on=("Other",)))
    assert after_failure(step, state(), ERROR, ResumeStrategy(), 0.0, 0.5, crashed=True).retry_at is not None


def test_a_filter_names_a_class_or_one_it_is_derived_from() -> None:
    error = ErrorInfo("FileNotFoundError", "no such file")
    filtered = task(RetryPolicy(max_attempts=2, on=("OSError",)))
    kinds = ("FileNotFoundError", "OSError")
    for names, again in ((kinds, True), ((), False)):
        verdict = after_failure(filtered, state(), error, ResumeStrategy(), 0.0, 0.5, crashed=False, kinds=names)
        assert (verdict.retry_at is not None) is again
