"""Attempts in processes that can be killed.

Each worker has a channel of its own, read without blocking: one that is killed in the middle of a message tears
nothing but that message. Workers are started afresh, never by a bare fork of the orchestrator, and they do not run
the started script a second time, as multiprocessing's would: a script without ``if __name__ == "__main__"`` would
start its pipeline again in every worker.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
import sys
from typing import TYPE_CHECKING

from orchestrator.errors import TaskError, UnstorableValue
from orchestrator.executors.failure import outcome_of
from orchestrator.executors.supervisor import Job, Supervisor
from orchestrator.executors.wire import frame
from orchestrator.observe.lines import TASK_LOGGER

if TYPE_CHECKING:
    from orchestrator.ports.executor import Attempt, Reporter
    from orchestrator.ports.tools import Tools


class ProcessExecutor:
    """Runs attempts in up to ``max_workers`` processes (None: one per CPU), started when needed and kept.

    A worker makes its tools by calling ``registry_factory``, an importable ``module:function``. A tool that this does
    not know is looked for in the module that ``tools``, the registry of this process, has it from. ``snapshot``,
    also ``module:function``, copies a saved state and refuses one that cannot be kept; None copies by pickle.

    An attempt that is to end (its timeout, counted from when its function is called, or ``cancel``) gets SIGTERM for
    its whole process group, so that ``finally`` blocks run; after ``grace_seconds`` it and everything it started are
    killed. ``finished`` is called once they are gone, in the supervising thread. If this process dies, however it
    dies, its workers and what they started die at once. A worker that dies ends its own attempt as Crashed.
    """

    def __init__(
        self,
        *,
        tools: Tools | None = None,
        registry_factory: str = "orchestrator.tools:default_registry",
        snapshot: str | None = None,
        max_workers: int | None = None,
        grace_seconds: float = 2.0,
    ) -> None:
        self._tools = tools
        self._registry_factory = registry_factory
        self._snapshot = snapshot
        self._limit = max_workers or os.cpu_count() or 1
        self._grace = grace_seconds
        self._supervisor: Supervisor | None = None
        self._closed = False

    def start(self, attempt: Attempt, reporter: Reporter) -> None:
        """Begin an attempt as soon as a worker is free."""
        if self._closed:
            raise RuntimeError("the executor is closed")
        try:
            order = self._order(attempt)
        except Exception as error:  # noqa: BLE001 - whatever the registry or pickle raises is the attempt's failure
            asyncio.get_running_loop().call_soon(reporter.finished, attempt, outcome_of(error, attempt.execution_id))
            return
        if self._supervisor is None or not self._supervisor.alive:
            self._supervisor = Supervisor(self._setup(), self._limit, self._grace)
        self._supervisor.run(Job(attempt, reporter, order))

    def cancel(self, attempt: Attempt) -> None:
        """End a running attempt; nothing happens if it ended already."""
        if self._supervisor is not None:
            self._supervisor.cancel(attempt)

    async def close(self) -> None:
        """Cancel what still runs, and end every worker and the supervising thread."""
        self._closed = True
        if self._supervisor is not None:
            self._supervisor.close()
            while self._supervisor.alive:  # noqa: ASYNC110 - a thread ends in its own time
                await asyncio.sleep(0.005)

    def _order(self, attempt: Attempt) -> bytes:
        module = None
        if self._tools is not None:
            function = self._tools.resolve(attempt.tool, attempt.action).function
            module = getattr(function, "__module__", None)
        plain = dataclasses.replace(attempt, parameters=dict(attempt.parameters), inputs=dict(attempt.inputs))
        level = logging.getLogger(TASK_LOGGER).getEffectiveLevel()
        try:
            return frame((plain, module, level))
        except TaskError:
            raise
        except Exception as error:
            raise UnstorableValue("parameters", "a value", f"cannot enter a worker process: {error}") from error

    def _setup(self) -> bytes:
        path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - "" means the working folder
        return frame({"path": path, "registry": self._registry_factory, "snapshot": self._snapshot})
