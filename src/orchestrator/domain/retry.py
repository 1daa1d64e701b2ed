"""Whether and when a failed attempt is followed by another."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from orchestrator.domain.events import ErrorInfo
    from orchestrator.domain.execution import TaskState
    from orchestrator.domain.pipeline import RetryPolicy, Task
    from orchestrator.domain.strategy import ResumeStrategy

CRASH_LIMIT = 3
"""How many crashes of its worker a task survives in one execution before it is parked."""

LONGEST_ASKED = 86_400.0
"""Seconds: a tool that asks for more patience than a day is tried again after a day."""


class Verdict(NamedTuple):
    """``retry_at`` is when to try again (None: not in this run); ``parked``: not without being released."""

    retry_at: float | None
    parked: bool


def failure_limit(task: Task, strategy: ResumeStrategy) -> int:
    """Return how many failures a task may have and still be tried again, over the whole execution.

    That is ``max_retry_attempts``, or the step's own ``retry.max_attempts`` where that is more: a step that was
    promised ten tries in one run is not cut off at three, and a resume after them all still gets one.
    """
    if task.retry.max_attempts > 1:
        return max(strategy.max_retry_attempts, task.retry.max_attempts)
    return strategy.max_retry_attempts


def is_exhausted(task: Task, failures: int, crashes: int, strategy: ResumeStrategy) -> bool:
    """Tell whether a task has used up what it may fail or crash."""
    return failures > failure_limit(task, strategy) or crashes > CRASH_LIMIT


def delay(policy: RetryPolicy, retry: int, random: float) -> float:
    """Return the seconds before the ``retry``-th retry (from 1): exponential, capped, with full jitter.

    ``random`` is uniform in [0, 1). Source: M. Brooker, "Exponential Backoff and Jitter" (2015), "full jitter".

    >>> from orchestrator.domain.pipeline import RetryPolicy
    >>> delay(RetryPolicy(delay_seconds=1, backoff=2, max_delay_seconds=5), 4, 0.5)
    2.5
    """
    exponent = min(retry - 1, 1000)
    try:
        ceiling = min(policy.max_delay_seconds, policy.delay_seconds * policy.backoff**exponent)
    except OverflowError:
        ceiling = policy.max_delay_seconds
    return ceiling * random if policy.jitter else ceiling


def after_failure(  # noqa: PLR0913 - all that a verdict depends on
    task: Task,
    state: TaskState,
    error: ErrorInfo,
    strategy: ResumeStrategy,
    now: float,
    random: float,
    *,
    crashed: bool,
    kinds: tuple[str, ...] = (),
    retry_after: float | None = None,
) -> Verdict:
    """Decide what follows a failed attempt. ``state`` is that before the failure is folded in.

    ``kinds`` are names besides ``error.kind`` that ``retry.on`` may call the error by. ``retry_after``: seconds before
    which a retry is of no use, whatever the policy says; None if the tool does not know.
    """
    failures = state.failures + (not crashed)
    crashes = state.crashes + crashed
    if is_exhausted(task, failures, crashes, strategy):
        return Verdict(None, parked=True)
    policy = task.retry
    wanted = crashed or (error.retryable and (not policy.on or not {error.kind, *kinds}.isdisjoint(policy.on)))
    # A crash is the worker's fault, not the task's: it is tried again even where the step has no retries of its own.
    tries_left = state.tries < policy.max_attempts or (crashed and state.tries <= CRASH_LIMIT)
    if wanted and tries_left:
        wait = max(delay(policy, max(state.tries, 1), random), min(retry_after or 0.0, LONGEST_ASKED))
        return Verdict(now + wait, parked=False)
    return Verdict(None, parked=False)
