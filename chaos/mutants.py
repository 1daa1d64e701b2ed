"""Bugs to plant: a judge that lets one of these pass is worth nothing.

Each is planted in the processes that run and resume, never in the one that judges.
"""

# ruff: noqa: SLF001 - to plant a bug is to reach inside

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any

from orchestrator.core.engine import Engine
from orchestrator.core.recorder import Recorder
from orchestrator.domain import planner
from orchestrator.domain.events import TaskInterrupted
from orchestrator.domain.execution import ExecutionState
from orchestrator.executors.local import LocalExecutor
from orchestrator.state.sqlite import SqliteStore, journal
from orchestrator.state.sqlite.locks import LockFiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.domain.execution import TaskState
    from orchestrator.domain.pipeline import Task
    from orchestrator.ports.executor import Attempt, Reporter


def tells_before_the_commit() -> None:
    """Acknowledge facts that are not durable yet."""
    flush = Recorder.flush

    async def wrong(self: Recorder) -> None:
        events, listeners = list(self._events), self._listeners
        self.tell(events, self.state.seq - len(events))
        self._listeners = ()
        await flush(self)
        self._listeners = listeners

    _plant(Recorder, "flush", wrong)


def begins_before_the_claim() -> None:
    """Begin attempts before their claims are durable."""
    claim = Engine._claim
    flush = Recorder.flush

    async def wrong(self: Engine, task: Task) -> None:
        await claim(self, task)
        engine: Any = self
        while engine._claimed:
            attempt = engine._claimed.pop()
            engine._running[attempt.task_id] = attempt
            engine._adapters.executor.start(attempt, self)

    async def slow(self: Recorder) -> None:
        time.sleep(0.003)
        await flush(self)

    _plant(Engine, "_claim", wrong)
    _plant(Recorder, "flush", slow)


def runs_again_what_was_done() -> None:
    """Let a resume run a completed task again."""
    judge = planner._Planner._judge_prior

    def wrong(self: Any, task: Task, known: TaskState, prior: Any) -> Any:
        if known.attempt == 1 and known.seq % 3 == 0:
            return self._again(task, "a planted bug")
        return judge(self, task, known, prior)

    _plant(planner._Planner, "_judge_prior", wrong)


def forgets_what_was_saved() -> None:
    """Let an interrupted step begin anew, though it had saved."""
    interrupted = ExecutionState._interrupted

    def wrong(self: ExecutionState, event: TaskInterrupted) -> None:
        interrupted(self, event)
        self.tasks[event.task].saved = None

    ExecutionState._APPLY[TaskInterrupted] = wrong


def starts_twice() -> None:
    """Run some attempts twice."""
    start = LocalExecutor.start

    def wrong(self: LocalExecutor, attempt: Attempt, reporter: Reporter) -> None:
        start(self, attempt, reporter)
        if attempt.task_id == "right":
            start(self, attempt, reporter)

    _plant(LocalExecutor, "start", wrong)


def locks_nothing() -> None:
    """Let everybody have the lock of an execution."""

    def wrong(self: LockFiles, execution_id: str) -> int:
        path = self._path(execution_id)
        path.parent.mkdir(exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    _plant(LockFiles, "acquire", wrong)


def minds_no_epoch() -> None:
    """Let an owner of yesterday write."""
    statement = journal._APPEND
    last = max(map(int, re.findall(r"\?(\d+)", statement)))
    every = ", ".join(f"?{number}" for number in range(1, last + 1))
    careless = statement.partition("CASE WHEN")[0] + f"CASE WHEN coalesce({every}) IS NOT NULL THEN ?4 END)"
    vars(journal)["_APPEND"] = careless.replace("INSERT INTO", "INSERT OR REPLACE INTO")
    for name in ("renew", "requests"):
        _plant(SqliteStore, name, lambda *_: None)


MUTANTS: dict[str, Callable[[], None]] = {
    function.__name__: function
    for function in (
        tells_before_the_commit,
        begins_before_the_claim,
        runs_again_what_was_done,
        forgets_what_was_saved,
        starts_twice,
        locks_nothing,
        minds_no_epoch,
    )
}


def _plant(owner: Any, name: str, value: Any) -> None:
    setattr(owner, name, value)
