"""The one thread that supervises all worker processes: it alone touches their state, so there are no locks."""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UnstorableValue
from orchestrator.executors.child import Child, Stage
from orchestrator.executors.failure import outcome_of
from orchestrator.executors.patience import Patience
from orchestrator.observe.lines import TASK_LOGGER
from orchestrator.ports.executor import Cancelled, Crashed

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.ports.executor import Attempt, Outcome, Reporter

_log = logging.getLogger("orchestrator.executors")

START_SECONDS = 60.0
"""A worker that by then is not ready, or has not imported the tool it is to call, is killed."""
_KILL_SECONDS = 1.5


class Job:
    """One attempt between start and finished; ``order`` is the frame that tells a worker to run it."""

    __slots__ = ("attempt", "key", "order", "reporter", "verdict")

    def __init__(self, attempt: Attempt, reporter: Reporter, order: bytes) -> None:
        self.key = key_of(attempt)
        self.attempt = attempt
        self.reporter = reporter
        self.order = order
        self.verdict: Outcome | None = None  # once it is to end: its outcome, whatever still arrives


class _Worker:
    """A child, what it is doing, and when patience with it ends."""

    __slots__ = ("begun", "broken", "called", "child", "deadline", "job", "patience")

    def __init__(self, child: Child, deadline: float) -> None:
        self.child = child
        self.job: Job | None = None
        self.begun = False
        self.called = False
        self.patience: Patience | None = None
        self.deadline: float | None = deadline
        self.broken: str | None = None


class Supervisor:
    """Hands jobs to at most ``limit`` workers, each begun with the frame ``setup``."""

    def __init__(self, setup: bytes, limit: int, grace_seconds: float) -> None:
        self._setup = setup
        self._limit = limit
        self._grace = grace_seconds
        self._pending: deque[Job] = deque()
        self._workers: set[_Worker] = set()
        self._orders: deque[Callable[[], None]] = deque()
        self._closing = False
        self._wake, self._waker = socket.socketpair()
        self._wake.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self._waker.setblocking(False)  # noqa: FBT003
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake, selectors.EVENT_READ, self._woken)
        self._thread = threading.Thread(target=self._supervise, name="orchestrator-processes", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """False once it has ended, closed or failed."""
        return self._thread.is_alive()

    def run(self, job: Job) -> None:
        """Run a job; any thread."""
        self._post(partial(self._pending.append, job))

    def cancel(self, attempt: Attempt) -> None:
        """End a job, if it is still there; any thread."""
        self._post(partial(self._cancel, key_of(attempt)))

    def close(self) -> None:
        """Cancel all jobs and end all workers; ``alive`` tells when that is done. Any thread."""
        self._post(self._cancel_all)

    # All below runs in the supervising thread.

    def _post(self, order: Callable[[], None]) -> None:
        self._orders.append(order)
        with suppress(OSError):  # full: it is about to wake; closed: it has ended
            self._waker.send(b".")

    def _supervise(self) -> None:
        try:
            while self._workers or not self._closing:
                self._turn()
        except Exception as error:  # noqa: BLE001 - no attempt may wait for ever for a thread that is gone
            _log.exception("the supervisor of worker processes failed")
            self._give_up(f"the supervisor of worker processes failed: {type(error).__name__}: {error}")
        finally:
            self._selector.close()
            self._wake.close()
            self._waker.close()

    def _turn(self) -> None:
        deadlines = [worker.deadline for worker in self._workers if worker.deadline is not None]
        wait = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
        for key, _ in self._selector.select(wait):
            key.data()
        while self._orders:
            self._orders.popleft()()
        now = time.monotonic()
        for worker in [item for item in self._workers if item.deadline is not None and item.deadline <= now]:
            self._out_of_patience(worker)
        self._hand_out()

    def _woken(self) -> None:
        with suppress(BlockingIOError):
            self._wake.recv(4096)

    def _hand_out(self) -> None:
        alive = [worker for worker in self._workers if worker.child.stage is Stage.ALIVE]
        for worker in alive:
            if not self._pending:
                return
            if worker.child.ready and worker.job is None:
                job = worker.job = self._pending.popleft()
                worker.begun = worker.called = False
                worker.patience = None
                worker.deadline = time.monotonic() + START_SECONDS
                worker.child.send(job.order)
                self._flush(worker)
        starting = sum(not worker.child.ready for worker in alive)
        for _ in range(min(self._limit - len(alive), len(self._pending) - starting)):
            self._start_worker()

    def _start_worker(self) -> None:
        try:
            child = Child(self._setup)
        except OSError as error:  # no more processes or files: say so for one attempt, the next may be luckier
            job = self._pending.popleft()
            _report(job, Crashed(f"no worker could be started: {error}"))
            return
        worker = _Worker(child, time.monotonic() + START_SECONDS)
        self._workers.add(worker)
        self._selector.register(child.control, selectors.EVENT_READ, partial(self._controlled, worker))
        self._selector.register(child.data, selectors.EVENT_READ, partial(self._transfer, worker))
        self._flush(worker)

    def _transfer(self, worker: _Worker) -> None:
        if worker not in self._workers:
            return  # its control was heard first
        self._read(worker)
        if worker.child.at_end:
            self._selector.unregister(worker.child.data)  # control tells the rest
        else:
            self._flush(worker)

    def _flush(self, worker: _Worker) -> None:
        worker.child.flush()
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.child.wants_to_write else 0)
        with suppress(KeyError):
            key = self._selector.get_key(worker.child.data)
            if key.events != events:
                self._selector.modify(worker.child.data, events, key.data)

    def _read(self, worker: _Worker) -> None:
        for message in worker.child.messages():
            self._heard(worker, *message)

    def _heard(self, worker: _Worker, what: str, *data: Any) -> None:  # noqa: C901 - a branch for each message
        job = worker.job
        if what == "ready":
            worker.child.ready = True
            if worker.child.stage is Stage.ALIVE:
                worker.deadline = None
        elif what == "broken":
            worker.broken = data[0]
        elif job is None:
            return  # a late word of an attempt that is over
        elif what == "begun":
            worker.begun = True
        elif what == "called":
            self._called(worker, job)
        elif what == "alive":
            self._alive(worker)
        elif what == "progressed":
            _tell(job.reporter.progressed, job.attempt, *data)
        elif what == "saved":
            _tell(job.reporter.saved, job.attempt, *data)
        elif what == "logged":
            _log_for(job.attempt, *data)
        elif what == "finished":
            self._finished(worker, job, *data)
        elif what == "unreadable":
            problem = UnstorableValue("", "a value", f"cannot leave the worker process: {data[0]}")
            self._finished(worker, job, outcome_of(problem, ""), clean=False)

    def _called(self, worker: _Worker, job: Job) -> None:
        worker.called = True
        worker.patience = Patience(job.attempt, time.monotonic())
        if worker.child.stage is Stage.ALIVE:
            worker.deadline = worker.patience.ends_at()

    @staticmethod
    def _alive(worker: _Worker) -> None:
        patience = worker.patience
        if patience is not None and worker.child.stage is Stage.ALIVE:
            patience.heard = time.monotonic()
            worker.deadline = patience.ends_at()

    def _finished(self, worker: _Worker, job: Job, outcome: Outcome, clean: bool) -> None:  # noqa: FBT001
        if job.verdict is not None:
            return  # too late: it is being ended, and told when it is gone
        worker.job = worker.patience = None
        worker.deadline = None
        if not clean:  # it left threads behind, which must not touch the next attempt
            self._end(worker, Stage.CUT_OFF)
        _report(job, outcome)

    def _out_of_patience(self, worker: _Worker) -> None:
        job = worker.job
        if worker.child.stage is Stage.ALIVE and job is None:
            worker.broken = f"it was not ready within {START_SECONDS:g} s"
        elif worker.child.stage is Stage.ALIVE and job is not None:
            if worker.called and worker.patience is not None:
                job.verdict = worker.patience.verdict(time.monotonic())
            else:
                job.verdict = Crashed(f"the worker did not get to call the tool within {START_SECONDS:g} s")
        self._end(worker, Stage(min(worker.child.stage + 1, Stage.KILLED)))

    def _end(self, worker: _Worker, stage: Stage) -> None:
        worker.child.end(stage)
        worker.deadline = time.monotonic() + (self._grace if stage is Stage.TERMINATED else _KILL_SECONDS)

    def _cancel(self, key: tuple[str, str, int]) -> None:
        for worker in self._workers:
            if worker.job is not None and worker.job.key == key and worker.job.verdict is None:
                worker.job.verdict = Cancelled()
                self._end(worker, Stage.TERMINATED)
                return
        for job in self._pending:
            if job.key == key:
                self._pending.remove(job)
                _report(job, Cancelled())
                return

    def _cancel_all(self) -> None:
        self._closing = True
        while self._pending:
            _report(self._pending.popleft(), Cancelled())
        for worker in self._workers:
            if worker.job is None:
                self._end(worker, Stage.CUT_OFF)
            elif worker.job.verdict is None:
                worker.job.verdict = Cancelled()
                self._end(worker, Stage.TERMINATED)

    def _controlled(self, worker: _Worker) -> None:
        if not worker.child.is_over():
            return
        while True:  # what it still said before it ended
            self._read(worker)
            if worker.child.drained:
                break
        for end in (worker.child.control, worker.child.data):
            with suppress(KeyError):
                self._selector.unregister(end)
        self._workers.discard(worker)
        reason = worker.child.release()
        if not worker.child.ready:
            reason = f"a worker did not start: {worker.broken or reason}"
            if worker.job is None and self._pending and not self._closing:
                worker.job = self._pending.popleft()
        job = worker.job
        if job is None:
            return
        if worker.child.ready and not worker.begun and job.verdict is None:
            self._pending.appendleft(job)  # the worker was dead, or dying, before it took the job up
        else:
            _report(job, job.verdict or Crashed(reason))

    def _give_up(self, reason: str) -> None:
        self._closing = True
        jobs = [worker.job for worker in self._workers if worker.job is not None]
        for worker in self._workers:
            with suppress(Exception):
                worker.child.release()
        for job in [*jobs, *self._pending]:
            _report(job, job.verdict or Crashed(reason))


def key_of(attempt: Attempt) -> tuple[str, str, int]:
    """Return what tells one attempt from all others."""
    return (attempt.execution_id, attempt.task_id, attempt.attempt)


def _report(job: Job, outcome: Outcome) -> None:
    _tell(job.reporter.finished, job.attempt, outcome)


def _tell(verb: Callable[..., None], *data: Any) -> None:
    try:
        verb(*data)
    except Exception:  # noqa: BLE001 - one execution's listener that failed, or whose loop is closed, must not stop the others
        _log.exception("a report of task %s could not be delivered", data[0].task_id)


def _log_for(attempt: Attempt, level: int, text: str, created: float) -> None:
    logger = logging.getLogger(TASK_LOGGER)
    record = logging.makeLogRecord(
        {
            "name": TASK_LOGGER,
            "levelno": level,
            "levelname": logging.getLevelName(level),
            "msg": text,
            "created": created,
            "msecs": created % 1 * 1000,
            "execution_id": attempt.execution_id,
            "task_id": attempt.task_id,
            "attempt": attempt.attempt,
        }
    )
    logger.handle(record)
