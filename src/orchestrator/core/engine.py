"""The only loop.

YAML -> ``compile`` -> Pipeline -> event -> ``recorder`` journals it -> ``fold`` -> ``decide`` -> commands ->
executor -> outcome event -> ... and so on until ``decide`` says finish. A first run, a retry and a resume are the
same loop over different facts.

One turn of the loop: take every outcome that arrived, record what they mean, carry out what ``decide`` says until it
has nothing more to say, commit all of it at once, and only then tell anybody and begin the claimed attempts. So a
chain costs one commit a step, and completions that arrive together share one.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from orchestrator.core.claims import Claims
from orchestrator.core.progress import ProgressBook
from orchestrator.core.waits import Waiters
from orchestrator.crashpoints import point
from orchestrator.domain.decide import Answer, Claim, Command, Enter, Finish, Gather, LetGo, SendBack, decide, next_at
from orchestrator.domain.events import (
    AT_ONCE,
    UNDONE,
    CancelRequested,
    CheckpointMade,
    ErrorInfo,
    ExecutionFinished,
    ExecutionWaiting,
    StageEntered,
    TaskCompleted,
    TaskFailed,
    TaskInterrupted,
    TaskProgressed,
    TasksReset,
    TaskTraced,
)
from orchestrator.domain.execution import ExecutionStatus, TaskStatus
from orchestrator.domain.planner import interruption
from orchestrator.domain.retry import after_failure
from orchestrator.domain.stage import undo_id
from orchestrator.domain.waits import waits
from orchestrator.errors import OrchestratorError, ResumeError, TaskError, UnstorableValue
from orchestrator.ports.executor import Attempt, Cancelled, Crashed, Failed, Outcome, Succeeded

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.core.adapters import Adapters
    from orchestrator.core.recorder import Recorder
    from orchestrator.domain.execution import ExecutionState
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Pipeline, Task
    from orchestrator.domain.stage import Stage
    from orchestrator.domain.strategy import ResumeStrategy
    from orchestrator.ports.store import Request

_log = logging.getLogger("orchestrator.engine")

_A_LITTLE = 0.01
LONGEST_SLEEP_SECONDS = 60.0
"""So long at most is slept for a time that is to come: a machine that was suspended meanwhile must not oversleep it."""
CANCEL_PATIENCE_SECONDS = 5.0
"""How long a cancelled attempt may take to end before the execution ends without it."""


class Engine:
    """Runs one execution from where its state is, to its end; implements ports.executor.Reporter.

    All of it lives on one event loop; only ``finished``, ``progressed``, ``saved``, ``stop``, ``cancel`` and
    ``call`` may be used from other threads.
    """

    def __init__(self, pipeline: Pipeline, recorder: Recorder, adapters: Adapters, strategy: ResumeStrategy) -> None:
        self.pipeline = pipeline
        self.recorder = recorder
        self._adapters = adapters
        self._strategy = strategy
        self._claims = Claims(pipeline, recorder, adapters)
        self._waiters = Waiters(self._claims, recorder, adapters)
        self._has_mail = False
        self._letting_go = False
        self._inbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._running: dict[TaskId, Attempt] = {}
        self._claimed: list[Attempt] = []
        self._progress = ProgressBook()
        self._stopping: int | None = None
        self._paused_by: str | None = None
        self._failure: BaseException | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._waiter: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._now = 0.0
        self._began_at = 0.0
        self._ended = False
        self._callers: list[asyncio.Future[None]] = []
        self._acted: list[asyncio.Future[None]] = []
        self._children: set[Engine] = set()

    @property
    def state(self) -> ExecutionState:
        """The state, ahead of the store by what is not flushed yet."""
        return self.recorder.state

    @property
    def stopped_by(self) -> int | None:
        """The signal that asked this engine to stop, or None."""
        return self._stopping

    # -- from outside, any thread --------------------------------------------------------------------------------

    def finished(self, attempt: Attempt, outcome: Outcome) -> None:
        """See ports.executor.Reporter."""
        self._post(self._on_finished, attempt, outcome)

    def progressed(self, attempt: Attempt, done: float | None, total: float | None, message: str) -> None:
        """See ports.executor.Reporter."""
        if self._progress.note(attempt, done, total, message):
            self._post(self._on_progress, attempt)

    def saved(self, attempt: Attempt, state: Any) -> None:
        """See ports.executor.Reporter."""
        self._progress.save(attempt, state)
        if attempt.critical:
            self._post(self._on_critical_save, attempt)

    def let_go(self) -> None:
        """From here on, leave the execution waiting once nothing but waits is left in it. Before ``run`` only."""
        self._letting_go = True

    def stop(self, number: int) -> None:
        """Stop gracefully, as on a signal: claim nothing more, let running attempts end within the grace period."""
        self._post(self._on_stop, number)

    def cancel(self, by: str) -> None:
        """Cancel: claim nothing more, end running attempts."""
        self._post(self._on_cancel, by)

    def asked(self, request: Request) -> None:
        """Do what somebody asked the owner of this execution for."""
        if request.kind == "cancel":
            self.cancel(request.by)
        elif request.kind == "pause":
            self._post(self._on_stop, signal.SIGTERM, request.by)
        elif request.kind == "signal":
            self._post(self._on_mail)

    def lost(self, error: BaseException) -> None:
        """End at once: the lease is gone, or the store is."""
        self._post(self._on_lost, error)

    def lead(self, child: Engine) -> None:
        """Have the engine of an execution that a step runs here stop or be cancelled with this one; on the loop."""
        self._children.add(child)
        if self.state.cancel_requested is not None:
            child.cancel(self.state.cancel_requested)
        elif self._stopping is not None:
            child.stop(self._stopping)

    def leave(self, child: Engine) -> None:
        """Take ``lead`` back."""
        self._children.discard(child)

    async def call(self, action: Callable[[Recorder], None]) -> None:
        """Record something more; returns when it is durable. Raises what ``action`` or the commit raised.

        Raises ResumeError if the execution has ended meanwhile.
        """
        if self._ended:
            raise ResumeError(f"execution {self.recorder.lease.execution_id!r} has ended meanwhile")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._callers.append(done)

        def act() -> None:
            try:
                action(self.recorder)
            except OrchestratorError as error:
                self._callers.remove(done)
                if not done.done():  # else the caller was cancelled
                    done.set_exception(error)
            else:
                self._acted.append(done)

        self._post(act)
        await done

    def _post(self, handler: Callable[..., None], *arguments: Any) -> None:
        self._inbox.append((handler, arguments))
        if threading.get_ident() == self._thread:
            self._wake()
        elif self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- the loop ------------------------------------------------------------------------------------------------

    async def run(self) -> ExecutionState:
        """Run to the end and return the final state; the end is recorded and the lease given back with it.

        Raises LeaseLost or a StoreError when the journal cannot be written; nothing acknowledged is lost then.
        If the calling task is cancelled, the execution stops as on a signal without grace.
        """
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        clock = self._adapters.clock
        self._began_at = clock.now() - clock.monotonic()
        await self._claims.open()
        self._has_mail = bool(self.state.waits.tasks)
        self._every("checkpoint", self._strategy.checkpoint_interval_seconds, self._on_interval)
        if self.pipeline.timeout is not None and not self.state.ending:
            left = self.state.began_at + self.pipeline.timeout - self._time()
            self._later("overtime", max(0.0, left), self._on_overtime)
        try:
            while not self.state.finished:
                await self._turn()
                if not self.state.finished:
                    await self._wait()
        except asyncio.CancelledError:
            await self._abandon(2)
            raise
        except OrchestratorError as error:
            self._refuse_callers(error)
            raise
        finally:
            self._ended = True
            for timer in self._timers.values():
                timer.cancel()
            for attempt in list(self._running.values()):
                self._adapters.executor.cancel(attempt)
            self._refuse_callers(ResumeError("the execution ended before this was recorded"))
        return self.state

    def _refuse_callers(self, error: OrchestratorError) -> None:
        """Tell callers of ``call`` that what they asked for was not recorded."""
        for caller in self._callers:
            if not caller.done():
                caller.set_exception(error)

    def _time(self) -> float:
        """Return the time of this run: the wall clock at its beginning, and what has passed since.

        A wall clock that is set back by a day meanwhile must not make a retry wait that long, nor history run back.
        """
        return self._began_at + self._adapters.clock.monotonic()

    async def _turn(self) -> None:
        """Do everything that can be done now, in one commit."""
        self._now = self._time()
        inbox = self._inbox
        while inbox:
            handler, arguments = inbox.popleft()
            handler(*arguments)
        if self._failure is not None:
            raise self._failure  # before anything more is claimed or begun
        state = self.state
        capacity = self._adapters.capacity
        stopping = self._stopping is not None
        if self._has_mail and not stopping and state.cancel_requested is None:
            self._has_mail = False
            await self._waiters.take_mail(self._now)
        while commands := decide(state, self._now, capacity, stopping=stopping, letting_go=self._letting_go):
            for command in commands:
                await self._carry_out(command)
        await self.recorder.flush()
        if self._claims.has_results_to_offer:
            await self._claims.offer_results()
        if state.finished:
            point("after_finish")
        self._answer_callers()
        self._begin_claimed()

    async def _carry_out(self, command: Command) -> None:
        """Record what one decision comes to; nothing is begun or told yet."""
        graph = self.state.graph
        match command:
            case Claim(name):
                await self._claim(graph[name])
            case Gather(name):
                await self._gather(graph[name])
            case Answer(name):
                await self._answer(graph[name])
            case SendBack(name):
                self._waiters.send_back(name, self._now)
            case LetGo(due):
                if not await self._waiters.take_mail(self._now):
                    point("before_finish")
                    self.recorder.record(ExecutionWaiting(self._now, due))
            case Enter(stage, outcome, tasks):
                self._enter(stage, outcome, tasks)
            case Finish(status):
                await self._finish(status)

    def _answer_callers(self) -> None:
        """Tell callers of ``call`` that what they recorded is durable."""
        for caller in self._acted:
            self._callers.remove(caller)
            if not caller.done():
                caller.set_result(None)
        self._acted.clear()

    def _begin_claimed(self) -> None:
        """Begin the attempts whose claims are now durable."""
        if self._claimed:
            claimed, self._claimed = self._claimed, []
            executor = self._adapters.executor
            for attempt in claimed:
                self._check_lease()
                self._running[attempt.task_id] = attempt
                executor.start(attempt, self)

    def _check_lease(self) -> None:
        """Before each effect, look at our own clock: a lease that is about to run out must be renewed first.

        And look again after that: the process may have been stopped while it renewed.
        """
        adapters = self._adapters
        lease = self.recorder.lease
        while adapters.clock.monotonic() > lease.deadline - adapters.keeper.margin:
            adapters.store.renew(lease)

    async def _wait(self) -> None:
        """Sleep until something arrives or a retry is due."""
        if self._inbox:
            await asyncio.sleep(0)
            return
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        free = len(self.state.running) < self._adapters.capacity  # if not, an outcome comes before any claim
        waits_for = self.state.waits.due() if not free else None
        due = next_at(self.state) if free else waits_for[0] if waits_for is not None else None
        cancelled = self.state.aborted or (self.state.cancel_requested is not None and not self.state.ending)
        if due is not None and self._stopping is None and not cancelled:
            timer = loop.call_later(min(max(0.0, due - self._time()), LONGEST_SLEEP_SECONDS), self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
        else:
            await self._waiter

    # -- claiming ------------------------------------------------------------------------------------------------

    async def _claim(self, task: Task) -> None:
        """Record the claim of the next attempt, or what makes one needless; begin nothing yet."""
        if task.control is not None:
            await self._expand(task)
            return
        try:
            if waits(task):
                await self._waiters.begin(task, self._now)
                return
            attempt = await self._claims.claim(task, self._now)
        except TaskError as error:
            number = self.state.tasks[task.id].attempt + 1
            self._claims.note(task, number, self._now)
            self._record_failure(task, number, _error_info(error), crashed=False)
            return
        if attempt is not None:
            self._claimed.append(attempt)

    async def _expand(self, task: Task) -> None:
        """Record what a container is made of."""
        try:
            await self._claims.containers.expand(task, self._now)
        except TaskError as error:
            self._record_fault(task, error)

    async def _gather(self, task: Task) -> None:
        """Record what becomes of a container whose tasks have all ended."""
        try:
            await self._claims.containers.gather(task, self._now)
        except TaskError as error:
            self._record_fault(task, error)

    def _record_fault(self, task: Task, error: TaskError) -> None:
        """Record that a container has failed: it has no retries of its own, what is in it has."""
        number = self.state.tasks[task.id].attempt + 1
        self.recorder.record(TaskFailed(self._now, task.id, number, _error_info(error), None, False, False))  # noqa: FBT003

    async def _answer(self, task: Task) -> None:
        """Record what becomes of a wait: it is over, goes on, or the execution is sent back."""
        number = self.state.tasks[task.id].attempt
        try:
            outcome = await self._waiters.answer(task, self._now)
        except TaskError as error:
            outcome = Failed(_error_info(error))
        if isinstance(outcome, Succeeded):
            self._record_success(task, number, outcome)
        elif isinstance(outcome, Failed):
            self._record_failure(task, number, outcome.error, crashed=False)
        else:
            self._recall()

    def _recall(self) -> None:
        """End what runs behind a step that the execution was sent back to, if it was; nothing of it may go on."""
        names = set(self._waiters.in_the_way())
        if not names:
            return
        for attempt in [each for each in self._claimed if each.task_id in names]:  # claimed in this very turn
            self._claimed.remove(attempt)
            self._record_interruption(self.state.graph[attempt.task_id], attempt.attempt)
        for name in names & self._running.keys():
            self._adapters.executor.cancel(self._running[name])
        self._later("recall", CANCEL_PATIENCE_SECONDS, self._leave_recalled)

    def _leave_recalled(self) -> None:
        """Go on without those that do not end; their results are refused."""
        for name in self._waiters.in_the_way():
            if name in self._running:
                self._on_finished(self._running[name], Cancelled())

    # -- outcomes ------------------------------------------------------------------------------------------------

    def _on_finished(self, attempt: Attempt, outcome: Outcome) -> None:
        """Record what became of an attempt; a second or a late answer changes nothing."""
        name = attempt.task_id
        if self._running.get(name) is not attempt:
            _log.warning("%s attempt %d answered late; its answer is dropped", name, attempt.attempt)
            return
        del self._running[name]
        task = self.state.graph[name]
        if isinstance(outcome, Succeeded):
            self._progress.forget(attempt)
            self._record_success(task, attempt.attempt, outcome)
            return
        # What the attempt saved before it failed is what the next one goes on from.
        self._record_progress(attempt)
        self._progress.forget(attempt)
        match outcome:
            case Failed(error):
                self._record_failure(task, attempt.attempt, error, crashed=False, failed=outcome)
            case Crashed(reason):
                self._record_failure(task, attempt.attempt, ErrorInfo("crashed", reason), crashed=True)
            case Cancelled():
                self._record_interruption(task, attempt.attempt)

    def _record_success(self, task: Task, number: int, outcome: Succeeded) -> None:
        try:
            encoded = self._adapters.codec.encode(outcome.value)
        except UnstorableValue as error:
            where = f"step {task.id!r} returned something that cannot be kept: result{_dotted(error.path)}"
            info = ErrorInfo(error.kind, f"{where}: {error.type_name} {error.reason}", retryable=False)
            self._record_failure(task, number, info, crashed=False)
            return
        if task.output_schema is not None:
            fault = self._adapters.schemas.check(task.output_schema, outcome.value)
            if fault is not None:
                info = ErrorInfo(
                    "output_schema", f"the result is not what output_schema says: {fault}", retryable=False
                )
                self._record_failure(task, number, info, crashed=False)
                return
        trace = outcome.trace
        if trace is not None:
            traced = TaskTraced(self._now, task.id, number, list(trace.reads), list(trace.writes), trace.inputs)
            self.recorder.record(traced)
        self.recorder.record(TaskCompleted(self._now, task.id, number, encoded.ref), encoded, durable=task.critical)
        if task.undoes is not None and task.id == undo_id(task.undoes, *self._last_undo(task.undoes)):
            self.recorder.record(TasksReset(self._now, [task.undoes], UNDONE, forgive=True))
        if task.cache is not None:
            self._claims.completed(task.id, trace)

    def _last_undo(self, step: TaskId) -> tuple[int, int]:
        """Return the place of the last of the tasks that undo a step, and how many there are."""
        count = len(self.state.graph[step].undo)
        return count - 1, count

    def _record_failure(
        self, task: Task, number: int, error: ErrorInfo, *, crashed: bool, failed: Failed | None = None
    ) -> None:
        verdict = after_failure(
            task,
            self.state.tasks[task.id],
            error,
            self._strategy,
            self._now,
            self._adapters.chance.random(),
            crashed=crashed,
            kinds=() if failed is None else failed.kinds,
            retry_after=None if failed is None else failed.retry_after,
        )
        self.recorder.record(TaskFailed(self._now, task.id, number, error, verdict.retry_at, crashed, verdict.parked))

    def _record_interruption(self, task: Task, number: int) -> None:
        if self.state.cancel_requested is not None and (self.state.aborted or not self.state.ending):
            reason = f"cancelled by {self.state.cancel_requested}"
        elif self.state.overdue(self._now):
            reason = "the run took longer than its timeout"
        elif self._stopping is not None:
            reason = (
                f"stopped by signal {self._stopping}" if self._paused_by is None else f"paused by {self._paused_by}"
            )
        elif self.state.waits.rewinds:
            reason = "the execution was sent back to a step before it"
        else:
            self._record_failure(task, number, ErrorInfo("cancelled", "the attempt was cancelled"), crashed=False)
            return
        policy = interruption(task, self._strategy)
        self.recorder.record(TaskInterrupted(self._now, task.id, number, policy.value, reason))

    # -- progress ------------------------------------------------------------------------------------------------

    def _on_progress(self, attempt: Attempt) -> None:
        entry = self._progress.shown(attempt)
        if entry is not None:
            self.recorder.tell_progress(attempt.task_id, *entry)

    def _on_critical_save(self, attempt: Attempt) -> None:
        if self._running.get(attempt.task_id) is attempt:
            self._record_progress(attempt, durable=True)

    def _on_interval(self) -> None:
        """Make the progress of what runs durable, and name the position: the periodic checkpoint."""
        if not self._running:
            return
        for attempt in list(self._running.values()):
            self._record_progress(attempt)
        self.recorder.record(CheckpointMade(self._now, "periodic", None, {"running": len(self._running)}, None))

    def _record_progress(self, attempt: Attempt, *, durable: bool = False) -> None:
        taken = self._progress.take(attempt)
        if taken is None:
            return
        done, total, message, has_state, state = taken
        encoded = self._adapters.codec.encode(state) if has_state else None
        event = TaskProgressed(
            self._now, attempt.task_id, attempt.attempt, done, total, message, encoded.ref if encoded else None
        )
        self.recorder.record(event, *([encoded] if encoded else []), durable=durable)

    def _every(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        def tick() -> None:
            self._post(action)
            self._every(name, seconds, action)

        self._timers[name] = asyncio.get_running_loop().call_later(seconds, tick)

    # -- ending --------------------------------------------------------------------------------------------------

    def _on_stop(self, number: int, paused_by: str | None = None) -> None:
        if self._stopping is not None:
            return
        self._stopping, self._paused_by = number, paused_by
        for attempt in list(self._running.values()):
            self._record_progress(attempt)
        why = {"signal": int(number)} if paused_by is None else {"paused_by": paused_by}
        self.recorder.record(CheckpointMade(self._now, "stop", None, why, None))
        self._later("grace", self._adapters.grace_seconds, self._end_running)
        for child in self._children:
            child.stop(number)

    def _on_cancel(self, by: str) -> None:
        state = self.state
        if not (state.aborted if by.endswith(AT_ONCE) else state.cancel_requested):
            self.recorder.record(CancelRequested(self._now, by))
            if not state.ending or state.aborted:
                for child in self._children:
                    child.cancel(by)
                self._end_running()

    def _on_overtime(self) -> None:
        """End the main part, if it has really taken as long as it may: timers and the clock differ a little."""
        if self.state.overdue(self._now):
            self._end_running()
        elif not self.state.ending:
            self._later("overtime", _A_LITTLE, self._on_overtime)

    def _enter(self, stage: Stage, outcome: ExecutionStatus, tasks: list[TaskId]) -> None:
        """Record that a later stage begins."""
        state = self.state
        patience = self._timers.pop("patience", None)
        if patience is not None:
            patience.cancel()  # it was for attempts of the main part
        error = state.ending_error if state.ending else self._why_ended(outcome)
        self.recorder.record(StageEntered(self._now, stage.value, outcome.value, tasks, error))

    def _why_ended(self, outcome: ExecutionStatus) -> ErrorInfo | None:
        """Return why the main part ended, where no task tells."""
        if outcome is ExecutionStatus.CANCELLED:
            return ErrorInfo("cancelled", f"cancelled by {self.state.cancel_requested}", retryable=False)
        if self.state.overdue(self._now):
            return ErrorInfo("timeout", f"the run took longer than {self.pipeline.timeout:g} s", retryable=False)
        return None

    def _on_mail(self) -> None:
        self._has_mail = True

    def _on_lost(self, error: BaseException) -> None:
        self._failure = self._failure or error

    def _end_running(self) -> None:
        """Ask every attempt to end; those that do not are left behind after a while, their results refused."""
        for attempt in list(self._running.values()):
            self._adapters.executor.cancel(attempt)
        self._later("patience", CANCEL_PATIENCE_SECONDS, self._leave_behind)

    def _leave_behind(self) -> None:
        for attempt in list(self._running.values()):
            self._on_finished(attempt, Cancelled())

    def _later(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        self._timers[name] = asyncio.get_running_loop().call_later(seconds, lambda: self._post(action))

    async def _abandon(self, number: int) -> None:
        """Record a stop on behalf of a caller that will not wait."""
        if self._failure is None and not self.state.finished:
            self._now = self._time()
            self._claimed.clear()
            self._stopping = number
            for attempt in list(self._running.values()):
                self._adapters.executor.cancel(attempt)
                self._on_finished(attempt, Cancelled())
            for name in list(self.state.running):
                # Claimed in this very turn and not begun.
                self._record_interruption(self.state.graph[name], self.state.tasks[name].attempt)
            await self._finish(ExecutionStatus.STOPPED)
            await self.recorder.flush()

    async def _finish(self, status: ExecutionStatus) -> None:
        point("before_finish")
        outputs, error = None, None
        if status is ExecutionStatus.COMPLETED and self.pipeline.outputs:
            try:
                outputs = self._adapters.codec.encode(await self._claims.outputs())
            except TaskError as failure:
                status, error = ExecutionStatus.FAILED, _error_info(failure)
        elif status is ExecutionStatus.FAILED:
            late = self.state.ending_error if self.state.ending else self._why_ended(status)
            error = late if late is not None and late.kind == "timeout" else self._why_failed()
        event = ExecutionFinished(self._now, status.value, outputs.ref if outputs else None, error)
        self.recorder.record(event, *([outputs] if outputs else []))

    def _why_failed(self) -> ErrorInfo:
        counts = self.state.counts
        parts = [
            f"{number} {status.value.replace('_', ' ')}"
            for status in (TaskStatus.FAILED, TaskStatus.PARKED, TaskStatus.IN_DOUBT)
            if (number := counts[status] + self.state.ending_counts[status])
        ]
        return ErrorInfo("tasks", ", ".join(parts) or "some tasks could not run")


def _dotted(path: str) -> str:
    return path if not path or path.startswith((".", "[")) else f".{path}"


def _error_info(error: TaskError) -> ErrorInfo:
    return ErrorInfo(error.kind, error.message, error.retryable)
