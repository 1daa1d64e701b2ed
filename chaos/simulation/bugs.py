"""Bugs to plant in a process that simulates: a judge that lets one of them pass is worth nothing.

Each function breaks one rule of the product, in this process only and for good; ``CAUGHT_BY`` says which invariants
may be the one that notices it first.
"""

# ruff: noqa: SLF001 - to plant a bug is to reach inside

from __future__ import annotations

from dataclasses import replace
from itertools import count
from types import MethodType
from typing import TYPE_CHECKING, Any

from chaos.simulation.bugs_plans import BUGS_OF_PLANS
from orchestrator.core import engine, live, scope
from orchestrator.core.engine import Engine
from orchestrator.core.keeper import LeaseKeeper
from orchestrator.core.live import LiveExecutions
from orchestrator.core.recorder import Recorder
from orchestrator.domain import decide, planner, retry
from orchestrator.domain.events import CancelRequested, TaskInterrupted, TasksReset
from orchestrator.domain.execution import ExecutionState, ExecutionStatus, TaskStatus
from orchestrator.domain.pipeline import OnInterrupted
from orchestrator.domain.strategy import ResumeStrategy
from orchestrator.errors import StoreError
from orchestrator.state.memory import MemoryStore
from orchestrator.state.memory import journal as memory_journal
from orchestrator.state.memory.data import Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.ports.executor import Attempt, Outcome
    from orchestrator.ports.store import Lease


def drops_the_fence() -> None:
    """Let the store accept an append of an epoch that is over."""
    append = MemoryStore.append

    async def wrong(self: MemoryStore, lease: Lease, *args: Any, **keywords: Any) -> Any:
        execution = self._data.executions.get(lease.execution_id)
        if execution is None:
            return await append(self, lease, *args, **keywords)
        held = execution.token, execution.epoch
        execution.token, execution.epoch = lease.token, lease.epoch
        keywords["expected_seq"] = execution.seq
        try:
            return await append(self, lease, *args, **keywords)
        finally:
            execution.token, execution.epoch = held

    _plant(MemoryStore, "append", wrong)


def grants_the_same_epoch_again() -> None:
    """Take an execution over without raising its epoch."""
    grant = MemoryStore._grant

    def wrong(self: MemoryStore, execution: Any, *args: Any, **keywords: Any) -> Any:
        if execution.epoch:
            execution.epoch -= 1
        return grant(self, execution, *args, **keywords)

    _plant(MemoryStore, "_grant", wrong)


def takes_what_is_owned() -> None:
    """Let anybody take an execution over whose owner is alive."""
    acquire = MemoryStore.acquire

    async def wrong(self: MemoryStore, execution_id: Any, owner: str, *, steal: bool = False) -> Any:
        del steal
        return await acquire(self, execution_id, owner, steal=True)

    _plant(MemoryStore, "acquire", wrong)


def counts_a_lease_from_its_end() -> None:
    """Believe in a lease for twice as long as the store grants it."""
    renew = MemoryStore.renew

    def wrong(self: MemoryStore, lease: Lease) -> None:
        renew(self, lease)
        lease.deadline += self.lease_seconds

    _plant(MemoryStore, "renew", wrong)
    _plant(LeaseKeeper, "tend", lambda self: [self._tend(kept) for kept in _patient(self)])


def _patient(self: LeaseKeeper) -> list[Any]:
    return [kept for kept in self._kept.values() if self._clock.monotonic() > kept.lease.deadline - 5]


def begins_without_a_look_at_the_lease() -> None:
    """Begin attempts without asking whether the lease still holds."""
    _plant(Engine, "_check_lease", lambda _self: None)


def ignores_that_the_lease_is_lost() -> None:
    """Let the keeper go on when the epoch has moved on."""
    tend = LeaseKeeper._tend

    def wrong(self: LeaseKeeper, entry: Any) -> None:
        entry.lost = lambda _error: None
        tend(self, entry)

    _plant(LeaseKeeper, "_tend", wrong)


def acknowledges_before_the_commit() -> None:
    """Tell listeners of facts that are not in the store yet."""
    flush = Recorder.flush

    async def wrong(self: Recorder) -> None:
        self.tell(list(self._events), self.state.seq - len(self._events))
        await flush(self)

    _plant(Recorder, "flush", wrong)


def goes_on_after_a_failed_commit() -> None:
    """Take an error of the store at a commit for a success."""
    flush = Recorder.flush

    async def wrong(self: Recorder) -> None:
        events, expected = list(self._events), self.state.seq - len(self._events)
        try:
            await flush(self)
        except StoreError:
            self._broken = None
            self._events, self._values = [], []
            self.tell(events, expected)

    _plant(Recorder, "flush", wrong)


def begins_before_the_claim_is_durable() -> None:
    """Begin an attempt as soon as it is claimed, before the commit."""
    flush = Recorder.flush

    async def wrong(self: Engine) -> None:
        self._begin_claimed()
        await flush(self.recorder)

    turn = Engine._turn

    async def turned(self: Engine) -> None:
        self.recorder.flush = MethodType(lambda _recorder: wrong(self), self.recorder)  # type: ignore[method-assign]
        await turn(self)

    _plant(Engine, "_turn", turned)


def forgets_a_dependent() -> None:
    """Make ready only the first of the tasks that wait for one."""

    def wrong(self: ExecutionState, name: Any) -> None:
        for dependent in self.dependents.get(name, ())[:1]:
            task = self.tasks[dependent]
            task.unmet -= 1
            if not task.unmet and task.status is TaskStatus.PENDING:
                self.ready[dependent] = None

    _plant(ExecutionState, "_satisfy", wrong)


def begins_a_dependent_too_early() -> None:
    """Make a task ready when the first of its needs is done."""

    def wrong(self: ExecutionState, name: Any) -> None:
        for dependent in self.dependents.get(name, ()):
            task = self.tasks[dependent]
            task.unmet -= 1
            if task.status is TaskStatus.PENDING:
                self.ready[dependent] = None

    _plant(ExecutionState, "_satisfy", wrong)


def retries_once_too_often() -> None:
    """Count the allowed failures wrong by one."""
    limit = retry.failure_limit
    _plant(retry, "failure_limit", lambda *args: limit(*args) + 1)


def retries_once_too_rarely() -> None:
    """Count the tries of a run wrong by one."""
    after = retry.after_failure

    def wrong(task: Any, *args: Any, **keywords: Any) -> Any:
        fewer = replace(task.retry, max_attempts=max(1, task.retry.max_attempts - 1))
        return after(replace(task, retry=fewer), *args, **keywords)

    _plant(engine, "after_failure", wrong)


def never_parks_what_kills_its_worker() -> None:
    """Do not count crashes of the worker."""
    _plant(retry, "is_exhausted", lambda task, failures, _, strategy: failures > retry.failure_limit(task, strategy))


def retries_without_waiting() -> None:
    """Take every retry for due at once."""
    decided = decide.decide

    def wrong(state: Any, now: float, *args: Any, **keywords: Any) -> Any:
        return decided(state, now + 1e6, *args, **keywords)

    _plant(engine, "decide", wrong)


def waits_on_the_wall_clock() -> None:
    """Let a retry wait for a wall clock that may be set back."""
    _plant(Engine, "_time", lambda self: self._adapters.clock.now())


def accepts_a_second_answer() -> None:
    """Record whatever an attempt answers, as often as it does."""

    def wrong(self: Engine, attempt: Attempt, outcome: Outcome) -> None:
        self._running[attempt.task_id] = attempt
        finished(self, attempt, outcome)

    finished = Engine._on_finished
    _plant(Engine, "_on_finished", wrong)


def runs_again_what_was_done() -> None:
    """Let a resume run a completed task again."""
    judge = planner._Planner._judge_prior

    def wrong(self: Any, task: Any, known: Any, prior: Any) -> Any:
        if known.seq % 3 == 0:
            return self._again(task, "a planted bug")
        return judge(self, task, known, prior)

    _plant(planner._Planner, "_judge_prior", wrong)


def forgets_what_ran() -> None:
    """Let a resume overlook the tasks that ran when the process died."""
    planned = planner.plan

    def wrong(*args: Any) -> Any:
        found = planned(*args)
        return replace(found, events=tuple(each for each in found.events if not isinstance(each, TaskInterrupted)))

    _plant(live, "plan", wrong)


def loses_a_retry_at_resume() -> None:
    """Let a resume forget the tasks that were waiting for a retry."""
    planned = planner.plan

    def wrong(*args: Any) -> Any:
        found = planned(*args)
        return replace(found, events=tuple(each for each in found.events if not isinstance(each, TasksReset)))

    _plant(live, "plan", wrong)


def repeats_what_must_not_be_repeated() -> None:
    """Run an interrupted step again although it says to ask or to fail."""
    _plant(planner, "interruption", lambda *_: OnInterrupted.RERUN)


def forgets_what_was_saved() -> None:
    """Let an interrupted step begin anew, though it had saved."""
    interrupted = ExecutionState._interrupted

    def wrong(self: ExecutionState, event: TaskInterrupted) -> None:
        interrupted(self, event)
        self.tasks[event.task].saved = None

    ExecutionState._APPLY[TaskInterrupted] = wrong


def mixes_values_up() -> None:
    """Hand a reader the value of another task."""
    build = scope.Scope.build

    async def wrong(self: Any, reads: Any, attempt: int) -> Any:
        built = await build(self, reads, attempt)
        if len(reads) > 1:
            first, second = reads[:2]
            built[first], built[second] = built[second], built[first]
        return built

    _plant(scope.Scope, "build", wrong)


def claims_after_a_cancel() -> None:
    """Go on claiming when a cancel was recorded."""
    ExecutionState._APPLY[CancelRequested] = lambda _state, _event: None


def cancels_without_ending_attempts() -> None:
    """Record the end of a cancelled run while its attempts go on."""

    def wrong(self: Engine, by: str) -> None:
        if self.state.cancel_requested is None:
            self.recorder.record(CancelRequested(self._now, by))
            self._running.clear()
            self.state.running.clear()

    _plant(Engine, "_on_cancel", wrong)


def overlooks_requests() -> None:
    """Never look whether somebody asked to cancel, nor whether the lease still holds."""
    _plant(MemoryStore, "requests", lambda *_: None)


def ends_too_early() -> None:
    """Call a run complete while a task is still to be done."""
    decided = decide.decide

    def wrong(state: Any, *args: Any, **keywords: Any) -> Any:
        if not state.running and not state.finished and state.done_count == len(state.tasks) - 1 > 1:
            return [decide.Finish(ExecutionStatus.COMPLETED)]
        return decided(state, *args, **keywords)

    _plant(engine, "decide", wrong)


def misses_a_wake_up() -> None:
    """Lose now and then the answer of an attempt."""
    numbers = count(1)
    finished = Engine.finished

    def wrong(self: Engine, attempt: Attempt, outcome: Outcome) -> None:
        if next(numbers) % 50:
            finished(self, attempt, outcome)

    _plant(Engine, "finished", wrong)


def miscounts_what_is_done() -> None:
    """Let the list count a task too many."""
    row = Row
    _plant(
        memory_journal, "Row", lambda last, at, completed, record: row(last, at, completed + (last % 7 == 0), record)
    )


def collects_what_others_need() -> None:
    """Remove the values of an execution although another refers to them, too."""

    async def wrong(self: MemoryStore, execution_ids: Any) -> None:
        for execution_id in execution_ids:
            execution = self._data.executions.pop(execution_id, None)
            for digest in execution.refs if execution is not None else ():
                self._data.values.pop(digest, None)

    _plant(MemoryStore, "remove", wrong)


def gives_back_what_is_anothers() -> None:
    """Release an execution without asking whose it is."""

    async def wrong(self: MemoryStore, lease: Lease) -> None:
        execution = self._data.executions.get(lease.execution_id)
        if execution is not None:
            execution.token = None

    _plant(MemoryStore, "release", wrong)


def resumes_a_finished_run() -> None:
    """Start a completed execution once more."""
    take_up = LiveExecutions._take_up

    async def wrong(self: LiveExecutions, lease: Lease, request: Any, planned: Any) -> Any:
        careless = replace(request.strategy or ResumeStrategy(), preserve_completed_tasks=False)
        return await take_up(self, lease, replace(request, strategy=careless), planned)

    _plant(LiveExecutions, "_take_up", wrong)


def serves_what_others_own() -> None:
    """Let servers take executions whose owners are alive and in time."""
    _plant(MemoryStore, "_is_owned", lambda _self, _execution: False)


BUGS: dict[str, Callable[[], None]] = BUGS_OF_PLANS | {
    function.__name__: function
    for function in (
        drops_the_fence,
        grants_the_same_epoch_again,
        takes_what_is_owned,
        counts_a_lease_from_its_end,
        begins_without_a_look_at_the_lease,
        ignores_that_the_lease_is_lost,
        acknowledges_before_the_commit,
        goes_on_after_a_failed_commit,
        begins_before_the_claim_is_durable,
        forgets_a_dependent,
        begins_a_dependent_too_early,
        retries_once_too_often,
        retries_once_too_rarely,
        never_parks_what_kills_its_worker,
        retries_without_waiting,
        waits_on_the_wall_clock,
        accepts_a_second_answer,
        runs_again_what_was_done,
        forgets_what_ran,
        loses_a_retry_at_resume,
        repeats_what_must_not_be_repeated,
        forgets_what_was_saved,
        mixes_values_up,
        claims_after_a_cancel,
        cancels_without_ending_attempts,
        overlooks_requests,
        ends_too_early,
        misses_a_wake_up,
        miscounts_what_is_done,
        collects_what_others_need,
        gives_back_what_is_anothers,
        resumes_a_finished_run,
        serves_what_others_own,
    )
}


def _plant(owner: Any, name: str, value: Any) -> None:
    setattr(owner, name, value)
