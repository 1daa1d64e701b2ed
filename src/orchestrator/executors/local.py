"""Attempts in this process: async functions on the event loop, plain ones in threads."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from functools import partial
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.crashpoints import point
from orchestrator.domain.pipeline import NO_FILES
from orchestrator.errors import TaskError
from orchestrator.executors.context import Context
from orchestrator.executors.failure import outcome_of
from orchestrator.executors.migration import migrated
from orchestrator.executors.patience import Patience, is_limited
from orchestrator.executors.threads import ThreadPool
from orchestrator.executors.traces import Notes, declares
from orchestrator.ports.executor import Cancelled, Succeeded

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from orchestrator.executors.threads import Job
    from orchestrator.ports.executor import Attempt, Outcome, Reporter
    from orchestrator.ports.tools import Tools

T = TypeVar("T")

_log = logging.getLogger("orchestrator.executors")


class _Run:
    """One attempt between start and finished."""

    __slots__ = (
        "attempt",
        "context",
        "coroutine",
        "job",
        "key",
        "loop",
        "notes",
        "patience",
        "reporter",
        "task",
        "timer",
        "verdict",
    )

    def __init__(self, attempt: Attempt, reporter: Reporter, loop: asyncio.AbstractEventLoop) -> None:
        self.key = (attempt.execution_id, attempt.task_id, attempt.attempt)
        self.attempt = attempt
        self.reporter = reporter
        self.loop = loop
        self.context: Context | None = None
        self.notes: Notes | None = None  # of a step that declares files; else its context has them, if there are any
        self.coroutine: Coroutine[Any, Any, None] | None = None
        self.task: asyncio.Task[None] | None = None
        self.job: Job | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.patience: Patience | None = None
        self.verdict: Outcome | None = None  # once the attempt was asked to end: its outcome, whatever it does now


class LocalExecutor:
    """Runs attempts in this process.

    ``snapshot`` copies a saved state as the store would give it back, and raises UnstorableValue for one that cannot
    be kept. ``max_threads`` bounds the threads for plain functions; abandoned ones do not count. An attempt that is
    asked to end has ``grace_seconds`` to do so by itself, then it is abandoned: an async function is closed where it
    stands, a thread runs on with nobody listening. A plain function without a context cannot know that it should
    end, so its thread is abandoned at once. The time of an attempt begins when its function does, not in the queue.

    ``finished`` is called on the loop for async functions, in the attempt's thread for plain ones, and never from
    inside ``start`` or ``cancel``. An attempt of an execution whose ownership was lost (LeaseLost) ends as Cancelled.
    """

    def __init__(
        self,
        tools: Tools,
        *,
        snapshot: Callable[[Any], Any],
        max_threads: int = 32,
        grace_seconds: float = 2.0,
    ) -> None:
        self._tools = tools
        self._snapshot = snapshot
        self._grace = grace_seconds
        self._threads = ThreadPool(max_threads)
        # Whoever takes a run out of here, by one atomic pop, is the one that reports its end.
        self._runs: dict[tuple[str, str, int], _Run] = {}
        self._closed = False

    def start(self, attempt: Attempt, reporter: Reporter) -> None:
        """Begin an attempt; an unknown tool or wrong parameters end it as Failed."""
        if self._closed:
            raise RuntimeError("the executor is closed")
        loop = asyncio.get_running_loop()
        run = _Run(attempt, reporter, loop)
        self._runs[run.key] = run
        try:
            call = self._tools.resolve(attempt.tool, attempt.action)
            validate = call.validate
            arguments = dict(attempt.parameters) if validate is None else validate(attempt.parameters)
            if call.context_parameter is not None:
                run.context = arguments[call.context_parameter] = Context(attempt, reporter, self._snapshot)
            if attempt.files is not NO_FILES and declares(attempt):
                run.notes = Notes(attempt.project)
                if run.context is not None:
                    run.context.notes = run.notes
            if call.is_async:
                run.coroutine = self._on_loop(run, call.function, arguments)
                run.task = loop.create_task(run.coroutine, name=attempt.task_id)
                if is_limited(attempt):
                    self._arm(run)
            else:
                run.job = self._threads.submit(partial(self._in_thread, run, call.function, arguments))
        except Exception as error:  # noqa: BLE001 - whatever a tool's validation raises is the attempt's failure
            loop.call_soon(self._end, run, outcome_of(error, attempt.execution_id))

    def cancel(self, attempt: Attempt) -> None:
        """Ask a running attempt to end; nothing happens if it ended already."""
        run = self._runs.get((attempt.execution_id, attempt.task_id, attempt.attempt))
        if run is not None and run.verdict is None:
            self._ask_to_end(run, Cancelled())

    async def close(self) -> None:
        """Cancel what still runs, wait for it at most the grace, and give back the threads."""
        self._closed = True
        loop = asyncio.get_running_loop()
        for run in list(self._runs.values()):
            if run.loop is not loop:  # its loop is gone, and with it whoever wants to know
                self._let_go(run)
                with contextlib.suppress(RuntimeError):
                    self._end(run, Cancelled())
            elif run.verdict is None:
                self._ask_to_end(run, Cancelled())
        try:
            while self._runs:  # noqa: ASYNC110 - each ends by itself, or by its timer; threads end them too
                await asyncio.sleep(0.002)
        finally:
            self._threads.close()
            if left := self._threads.abandoned:
                _log.warning("%d thread(s) of ended attempts still run; they end with the process at the latest", left)

    async def _on_loop(self, run: _Run, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
        # SystemExit and KeyboardInterrupt must not reach the asyncio task: it would hand them on to the loop.
        outcome: Outcome
        try:
            if run.notes is not None:
                await self._off_loop(partial(run.notes.before, run.attempt))
            self._migrate(run)
            point("before_effect")
            value = await function(**arguments)
            point("after_effect")
            notes = run.notes if run.context is None else run.context.notes
            if notes is None:
                outcome = Succeeded(value)
            elif run.notes is None and not notes.looks:
                outcome = Succeeded(value, notes.after(run.attempt))
            else:
                outcome = Succeeded(value, await self._off_loop(partial(notes.after, run.attempt)))
        except BaseException as error:  # noqa: BLE001
            outcome = outcome_of(error, run.attempt.execution_id)
        self._end(run, outcome)

    def _in_thread(self, run: _Run, function: Callable[..., Any], arguments: dict[str, Any]) -> None:
        outcome: Outcome
        try:
            if run.verdict is None:
                if is_limited(run.attempt):
                    run.loop.call_soon_threadsafe(self._arm, run)
                if run.notes is not None:
                    run.notes.before(run.attempt)
            if run.verdict is not None:  # cancelled while it waited for a thread, or its files were looked at
                self._end(run, run.verdict, in_thread=True)
                return
            self._migrate(run)
            point("before_effect")
            value = function(**arguments)
            point("after_effect")
            if isinstance(value, CoroutineType):
                value.close()
                raise TaskError("the function returned a coroutine: declare it async", kind="tool", retryable=False)
            notes = run.notes if run.context is None else run.context.notes
            outcome = Succeeded(value, None if notes is None else notes.after(run.attempt))
        except BaseException as error:  # noqa: BLE001
            outcome = outcome_of(error, run.attempt.execution_id)
        if not run.loop.is_closed():  # else nobody wants to know any more
            self._end(run, outcome, in_thread=True)

    def _migrate(self, run: _Run) -> None:
        if run.attempt.migrate is not None and run.context is not None:
            run.context.begin_with(migrated(run.attempt, self._snapshot))

    async def _off_loop(self, look: Callable[[], T]) -> T:
        """Run in a thread what reads files; cancelled, it is not waited for."""
        loop = asyncio.get_running_loop()
        found: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                tell: Callable[[], None] = partial(found.set_result, look())
            except BaseException as error:  # noqa: BLE001 - raised again where it is awaited
                tell = partial(found.set_exception, error)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for it any more
                loop.call_soon_threadsafe(lambda: None if found.done() else tell())

        self._threads.submit(work)
        return await found

    def _end(self, run: _Run, outcome: Outcome, *, in_thread: bool = False) -> None:
        if self._runs.pop(run.key, None) is None:
            return
        if in_thread:
            if is_limited(run.attempt) or run.timer is not None:
                run.loop.call_soon_threadsafe(_disarm, run)
        elif run.timer is not None:
            run.timer.cancel()
        if run.context is not None:
            run.context.end()
        run.reporter.finished(run.attempt, run.verdict or outcome)

    def _arm(self, run: _Run) -> None:
        """Let the time of an attempt begin."""
        if run.verdict is None and run.key in self._runs:
            patience = run.patience = Patience(run.attempt, time.monotonic())
            if run.context is not None and run.attempt.idle_timeout is not None:
                run.context.on_alive = lambda: setattr(patience, "heard", time.monotonic())
            self._expire(run)

    def _expire(self, run: _Run) -> None:
        """Look whether the time of an attempt is over; if not, look again when it may be."""
        patience = run.patience
        if patience is None or run.verdict is not None or run.key not in self._runs:
            return
        now = time.monotonic()
        verdict, ends_at = patience.verdict(now), patience.ends_at()
        if verdict is not None:
            self._ask_to_end(run, verdict)
        elif ends_at is not None:
            run.timer = run.loop.call_later(ends_at - now, self._expire, run)

    def _ask_to_end(self, run: _Run, verdict: Outcome) -> None:
        run.verdict = verdict
        if run.timer is not None:
            run.timer.cancel()
        if run.context is not None:
            run.context.ask_to_end()
        if run.task is not None:
            run.task.cancel()
            # Cancelled before its first step, its coroutine never gets to report.
            run.task.add_done_callback(lambda _: self._end(run, verdict))
        patient = run.task is not None or (run.context is not None and run.job is not None and run.job.begun)
        run.timer = run.loop.call_later(self._grace if patient else 0, self._abandon, run, verdict)

    def _abandon(self, run: _Run, verdict: Outcome) -> None:
        if run.key in self._runs:
            self._end(run, verdict)
            self._let_go(run)

    def _let_go(self, run: _Run) -> None:
        if run.job is not None:
            self._threads.abandon(run.job)
            if run.job.begun:
                _log.warning("task %s: its thread does not end and is abandoned", run.attempt.task_id)
        if run.task is not None and run.coroutine is not None and not run.task.done():
            _log.warning("task %s: does not end when cancelled and is closed where it stands", run.attempt.task_id)
            run.coroutine.close()
            run.task.add_done_callback(lambda task: task.cancelled() or task.exception())
            if not run.loop.is_closed():
                run.task.cancel()  # wakes it, to find its coroutine closed


def _disarm(run: _Run) -> None:
    if run.timer is not None:
        run.timer.cancel()
