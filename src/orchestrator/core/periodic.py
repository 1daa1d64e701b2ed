"""Periodic checkpoints of a loop that is the caller's own."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.core.reports import Report, Reports
from orchestrator.errors import ResumeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.core.adapters import Adapters
    from orchestrator.core.live import LiveExecutions
    from orchestrator.domain.ids import ExecutionId
    from orchestrator.domain.pipeline import Pipeline

    GetState = Callable[[], Mapping[str, Any] | Awaitable[Mapping[str, Any]]]

_log = logging.getLogger("orchestrator.resume_manager")


@dataclass(slots=True)
class _Loop:
    task: asyncio.Task[None]
    stop: asyncio.Event


class PeriodicCheckpoints:
    """The loops that make them; each owns its execution until it is stopped."""

    def __init__(self, adapters: Adapters, live: LiveExecutions, reports: Reports) -> None:
        self._adapters = adapters
        self._live = live
        self._reports = reports
        self._loops: dict[str, _Loop] = {}

    async def start(self, name: ExecutionId, pipeline: Pipeline, get_state: GetState, interval: float | None) -> None:
        """Make a checkpoint now and then in each interval; see ``start_periodic_checkpointing``."""
        seconds = pipeline.resume.checkpoint_interval_seconds if interval is None else interval
        if not 0 < seconds < float("inf"):
            raise ResumeError(f"interval: expected seconds above 0, got {interval!r}")
        if name in self._loops:
            raise ResumeError(f"periodic checkpointing of execution {name!r} is running already")
        report = await _ask(name, get_state)
        if self._live.engine(name) is None:
            recorder = await self._reports.borrow(name, pipeline, report)
            self._live.hold(recorder)
            self._adapters.keeper.keep(recorder.lease, self._lost(name), lambda _by: None)
        try:
            await self._reports.record(name, pipeline, report)
        except BaseException:
            await self._let_go(name)
            raise
        stop = asyncio.Event()
        loop = self._loop(name, pipeline, get_state, seconds, stop)
        task = asyncio.get_running_loop().create_task(loop, name=f"checkpoints of {name}")
        self._loops[name] = _Loop(task, stop)

    def _lost(self, name: str) -> Callable[[BaseException], None]:
        loop = asyncio.get_running_loop()

        def lost(error: BaseException) -> None:
            _log.error("execution %s: %s", name, error)
            running = self._loops.get(name)
            if running is not None:
                loop.call_soon_threadsafe(running.stop.set)

        return lost

    async def _loop(
        self, name: ExecutionId, pipeline: Pipeline, get_state: GetState, seconds: float, stop: asyncio.Event
    ) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await stop.wait()
            try:
                made = await self._reports.record(name, pipeline, await _ask(name, get_state))
            except Exception:
                _log.exception("periodic checkpointing of %s ends: its checkpoint failed", name)
                raise
            _log.debug("periodic checkpoint %s", made)
            if stop.is_set():
                return

    async def stop(self, name: str) -> None:
        """Make a last checkpoint and stop; nothing happens if none runs. Raises what ended the loop."""
        running = self._loops.pop(name, None)
        if running is None:
            return
        running.stop.set()
        try:
            await running.task
        finally:
            await self._let_go(name)

    async def _let_go(self, name: str) -> None:
        recorder = self._live.let_go(name)
        if recorder is not None:
            self._adapters.keeper.drop(recorder.lease)
            await self._live.give_back(recorder)

    async def close(self) -> None:
        """Stop all loops without a last checkpoint."""
        for name, running in list(self._loops.items()):
            running.task.cancel()
            await asyncio.gather(running.task, return_exceptions=True)
            await self._let_go(name)
        self._loops.clear()


_STATE_KEYS = ("completed_tasks", "task_results", "context", "failed_tasks")


async def _ask(name: str, get_state: GetState) -> Report:
    """Return what the caller's function tells: keywords of ``create_resume_checkpoint`` after its first two."""
    told: Any = get_state()
    if inspect.isawaitable(told):
        told = await told
    expected = f"get_state_func: expected a dict with keys among {', '.join(_STATE_KEYS)}"
    if not isinstance(told, Mapping):
        raise ResumeError(f"{expected}; got {type(told).__name__}")
    if told.get("execution_id", name) != name:
        raise ResumeError(f"get_state_func: it tells of execution {told['execution_id']!r}, this one is {name!r}")
    state = {key: value for key, value in told.items() if key not in ("execution_id", "pipeline")}
    unknown = [key for key in state if key not in _STATE_KEYS]
    if unknown:
        raise ResumeError(f"{expected}; got {', '.join(map(repr, unknown))}")
    report = Report.of(**state)
    report.reason = "periodic"
    return report
