"""Cancelling: asking the owner, or recording it oneself where there is none."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from orchestrator.core.family import unfinished_children
from orchestrator.domain.events import PROCESS_ENDED, CancelRequested, ExecutionFinished, TaskInterrupted
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.planner import interruption
from orchestrator.errors import ExecutionOwned, ResumeError, UnknownExecution

if TYPE_CHECKING:
    from orchestrator.core.adapters import Adapters
    from orchestrator.core.live import LiveExecutions
    from orchestrator.core.recorder import Recorder
    from orchestrator.domain.ids import ExecutionId

CHILD_WAIT_SECONDS = 5.0
"""How long the owner of a child is waited for, that is cancelled with a parent nobody owns."""
OVER = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.CANCELLED})


async def cancel_execution(
    adapters: Adapters, live: LiveExecutions, execution_id: ExecutionId, by: str, wait_seconds: float
) -> bool:
    """Cancel; True once the journal says so, False if the owner has not answered within ``wait_seconds``."""
    engine = live.engine(execution_id)
    if engine is not None:
        engine.cancel(by)
    deadline = adapters.clock.monotonic() + wait_seconds
    asked = engine is not None
    while True:
        summary = await adapters.store.summary(execution_id)
        if summary.status is ExecutionStatus.CANCELLED and asked:
            return True
        if summary.status in OVER:
            raise ResumeError(f"execution {execution_id!r} is {summary.status.value}: there is nothing to cancel")
        if summary.holder is None or not summary.holder.alive:
            try:
                await _record_cancel(adapters, live, execution_id, by)
            except ExecutionOwned:
                continue  # somebody took it up meanwhile: ask them
            return True
        if not asked:
            await adapters.store.request_cancel(execution_id, by)
            asked = True
        if adapters.clock.monotonic() >= deadline:
            return False
        await asyncio.sleep(0.1)


def record_interruptions(recorder: Recorder, now: float) -> None:
    """Record of steps that ran when their process died that they do so no more."""
    state = recorder.state
    pipeline = state.pipeline
    if pipeline is None:
        return
    for name in list(state.running):
        policy = interruption(state.graph[name], pipeline.resume)
        recorder.record(TaskInterrupted(now, name, state.tasks[name].attempt, policy.value, PROCESS_ENDED))


async def _record_cancel(adapters: Adapters, live: LiveExecutions, execution_id: ExecutionId, by: str) -> None:
    recorder = await live.borrow(execution_id)
    try:
        # They go first: whoever finds this one cancelled need not look further, and one that is not can be asked again.
        for child in unfinished_children(execution_id, recorder.state):
            with contextlib.suppress(UnknownExecution, ResumeError):  # not begun yet; over already
                await cancel_execution(adapters, live, child, by, CHILD_WAIT_SECONDS)
        now = adapters.clock.now()
        recorder.record(CancelRequested(now, by))
        record_interruptions(recorder, now)
        recorder.record(ExecutionFinished(now, ExecutionStatus.CANCELLED.value, None, None))
        await recorder.flush()
    finally:
        await live.give_back(recorder)
