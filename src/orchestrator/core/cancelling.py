"""Cancelling: asking the owner, or recording it oneself where there is none."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from orchestrator.core.family import unfinished_children
from orchestrator.core.live import record_interruptions
from orchestrator.domain.decide import tasks_of
from orchestrator.domain.events import AT_ONCE, CancelRequested, ExecutionFinished
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.stage import Stage
from orchestrator.errors import ExecutionOwned, ResumeError, UnknownExecution

if TYPE_CHECKING:
    from orchestrator.core.adapters import Adapters
    from orchestrator.core.live import LiveExecutions
    from orchestrator.domain.execution import ExecutionState
    from orchestrator.domain.ids import ExecutionId

CHILD_WAIT_SECONDS = 5.0
"""How long the owner of a child is waited for, that is cancelled with a parent nobody owns."""
OVER = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.CANCELLED})


async def cancel_execution(
    adapters: Adapters, live: LiveExecutions, execution_id: ExecutionId, by: str, wait_seconds: float
) -> bool:
    """Cancel; True once the journal says so, False if the owner has not answered within ``wait_seconds``.

    Where nobody is at work, the stages after the main part are carried out here, however long that takes; there are
    none if ``by`` ends with ``AT_ONCE``. Raises ResumeError if there is nothing to cancel, or if a step of these stages
    failed.
    """
    engine = live.engine(execution_id)
    if engine is not None:
        engine.cancel(by)
    deadline = adapters.clock.monotonic() + wait_seconds
    asked = engine is not None
    while True:
        summary = await adapters.store.summary(execution_id)
        if summary.status is ExecutionStatus.CANCELLED and asked:
            return True
        if asked and summary.status is ExecutionStatus.FAILED and summary.holder is None:
            raise _failed(execution_id)
        if summary.status in OVER:
            raise ResumeError(f"execution {execution_id!r} is {summary.status.value}: there is nothing to cancel")
        if summary.holder is None or not summary.holder.alive:
            try:
                await _cancel_here(adapters, live, execution_id, by)
            except ExecutionOwned:
                continue  # somebody took it up meanwhile: ask them
            return True
        if not asked:
            await adapters.store.request_cancel(execution_id, by)
            asked = True
        if adapters.clock.monotonic() >= deadline:
            return False
        await asyncio.sleep(0.1)


def _failed(execution_id: str) -> ResumeError:
    return ResumeError(
        f"execution {execution_id!r} has failed: a step did before the cancel came, or one that comes after it; "
        f"look at it with: orchestrator show {execution_id}"
    )


async def _cancel_here(adapters: Adapters, live: LiveExecutions, execution_id: ExecutionId, by: str) -> None:
    state = await live.load(execution_id)
    if not by.endswith(AT_ONCE) and _has_more(state):
        await _cancel_children(adapters, live, state, execution_id, by)
        state = await live.end(execution_id, by)
        if state.status is not ExecutionStatus.CANCELLED:
            raise _failed(execution_id)
        return
    await _record_cancel(adapters, live, execution_id, by)


def _has_more(state: ExecutionState) -> bool:
    """Tell whether stages are to come after a cancel: not where nothing has begun, nor where they have been."""
    if state.ended or state.status is ExecutionStatus.CREATED:
        return False
    return state.ending or any(tasks_of(state, stage) for stage in (Stage.UNDO, Stage.FINALLY))


async def _cancel_children(
    adapters: Adapters, live: LiveExecutions, state: ExecutionState, execution_id: ExecutionId, by: str
) -> None:
    """Cancel the children of an execution that nobody is at work on.

    They go first: whoever finds this one cancelled need not look further, and one that is not can be asked again.
    """
    for child in unfinished_children(execution_id, state):
        with contextlib.suppress(UnknownExecution, ResumeError):  # not begun yet; over already
            await cancel_execution(adapters, live, child, by, CHILD_WAIT_SECONDS)


async def _record_cancel(adapters: Adapters, live: LiveExecutions, execution_id: ExecutionId, by: str) -> None:
    recorder = await live.borrow(execution_id)
    try:
        await _cancel_children(adapters, live, recorder.state, execution_id, by)
        now = adapters.clock.now()
        recorder.record(CancelRequested(now, by))
        record_interruptions(recorder, now)
        recorder.record(ExecutionFinished(now, ExecutionStatus.CANCELLED.value, None, None))
        await recorder.flush()
    finally:
        await live.give_back(recorder)
