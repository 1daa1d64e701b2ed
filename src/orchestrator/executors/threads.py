"""A pool of daemon threads from which a hung one can be written off.

The standard library's pool waits for every thread at interpreter exit, so one hung task would keep the process.
"""

from __future__ import annotations

import threading
from enum import Enum
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_JOIN_SECONDS = 1.0


class _State(Enum):
    QUEUED = 1
    RUNNING = 2
    DONE = 3
    ABANDONED = 4


class Job:
    """A function on its way through the pool."""

    __slots__ = ("function", "state", "thread")

    def __init__(self, function: Callable[[], None]) -> None:
        self.function = function
        self.state = _State.QUEUED
        self.thread: threading.Thread | None = None

    @property
    def begun(self) -> bool:
        """True once a thread has taken it up."""
        return self.thread is not None


class ThreadPool:
    """Up to ``limit`` daemon threads, made when needed, kept when idle; abandoned ones do not count."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._free = 0  # threads that wait, less the jobs already queued for them
        self._waiting = 0  # queued jobs that no thread is free for
        self._abandoned = 0
        self._made = 0

    @property
    def abandoned(self) -> int:
        """How many abandoned threads still run."""
        return self._abandoned

    def submit(self, function: Callable[[], None]) -> Job:
        """Run ``function``, which must not raise, as soon as a thread is free.

        RuntimeError if no thread can be started and there is none to wait for.
        """
        job = Job(function)
        with self._lock:
            if self._free:
                self._free -= 1
            elif len(self._threads) >= self._limit or not self._grow():
                self._waiting += 1
            self._queue.put(job)
        return job

    def abandon(self, job: Job) -> None:
        """Write off the thread that runs ``job`` (another may take its place), or drop a job that still waits."""
        with self._lock:
            if job.state is _State.QUEUED:
                job.state = _State.ABANDONED  # whoever takes it from the queue passes over it
            elif job.state is _State.RUNNING and job.thread is not None:
                job.state = _State.ABANDONED
                self._abandoned += 1
                self._threads.discard(job.thread)
                if self._waiting and self._grow():
                    self._waiting -= 1

    def close(self) -> None:
        """End the threads that are free; jobs that still wait are dropped. Blocks for a moment only."""
        with self._lock:
            threads = list(self._threads)
            self._threads.clear()
            self._free = self._waiting = 0
            for _ in threads:
                self._queue.put(None)
        for thread in threads:
            thread.join(_JOIN_SECONDS)

    def _grow(self) -> bool:
        self._made += 1
        thread = threading.Thread(target=self._work, name=f"orchestrator-task-{self._made}", daemon=True)
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads
            self._threads.discard(thread)
            if not self._threads:
                raise
            return False
        return True

    def _work(self) -> None:
        me = threading.current_thread()
        while (job := self._queue.get()) is not None:
            with self._lock:
                if run := job.state is _State.QUEUED:
                    job.state = _State.RUNNING
                    job.thread = me
            if run:
                job.function()
            with self._lock:
                if run and job.state is _State.ABANDONED:
                    self._abandoned -= 1
                    return
                job.state = _State.DONE
                if self._waiting:
                    self._waiting -= 1
                else:
                    self._free += 1
            del job  # an idle thread keeps no attempt alive
