"""Steps that run another pipeline: each as an execution of its own, driven here beside the one that waits for it.

The child's id follows from its parent, the step and the step's generation, so that whoever comes after a crash finds
the child that there is. It is owned by itself: a parent that has lost its ownership cannot write in a child that its
next owner has taken up.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.compiler.places import file_at
from orchestrator.core.cancelling import cancel_execution
from orchestrator.core.ending import error_of
from orchestrator.core.ledger import Link, Opening, describe_owner, process_of
from orchestrator.core.system import user_name
from orchestrator.domain.events import ErrorInfo, ExecutionStarted, TaskCompleted, TaskReused, TaskSkipped
from orchestrator.domain.execution import ExecutionState, ExecutionStatus
from orchestrator.domain.files import FileSeen, Trace
from orchestrator.domain.ids import ExecutionId, child_id
from orchestrator.domain.pipeline import PIPELINE
from orchestrator.domain.plan import PlanRequest
from orchestrator.errors import (
    ExecutionExists,
    ExecutionOwned,
    LeaseLost,
    OrchestratorError,
    TaskError,
    UnknownExecution,
)
from orchestrator.executors.failure import outcome_of, timed_out
from orchestrator.ports.executor import Cancelled, Failed, Succeeded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractContextManager

    from orchestrator.compiler.library import Library
    from orchestrator.core.adapters import Adapters
    from orchestrator.core.engine import Engine
    from orchestrator.core.live import LiveExecutions
    from orchestrator.domain.events import Event
    from orchestrator.ports.executor import Attempt, Outcome, Reporter

CHILD_FAILED = "child"
"""The kind of error of a step whose child failed; a child cancelled or stopped alone is not tried again by itself."""
POLL_SECONDS = 0.25
LONGEST_POLL_SECONDS = 2.0
"""How often a child is looked at that somebody else owns, or that waits."""
_ENDED = (ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.CANCELLED)


class Wiring(NamedTuple):
    """What children need of the orchestrator; all of it is asked for when it is needed.

    ``logged`` keeps the log of an execution's steps, ``command`` tells how to resume one.
    """

    adapters: Callable[[], Adapters]
    live: Callable[[], LiveExecutions]
    library: Callable[[], Library]
    logged: Callable[[str], AbstractContextManager[None]]
    command: Callable[[str], str]


@dataclass(slots=True, eq=False)
class _Run:
    """One attempt of a step that waits for its child. ``verdict``: it was asked to end, and how that counts."""

    attempt: Attempt
    reporter: Reporter
    child: ExecutionId
    task: asyncio.Task[None] | None = None
    engine: Engine | None = None
    timer: asyncio.TimerHandle | None = None
    verdict: Outcome | None = None
    cancelled_by: str | None = None


class Children:
    """Runs steps of the tool ``pipeline``; fills the port Executor.

    A child runs in this process; all below one execution share the allowance of one (see ``family_of``), so that the
    step that waits for a child never stands in its way. One that somebody else owns is waited for: nobody takes it from
    an owner that may be at work, but for one that has lost the parent already.
    """

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._runs: dict[tuple[str, str, int], _Run] = {}
        self._tops: dict[str, str] = {}

    def family_of(self, attempt: Attempt) -> str | None:
        """Name the execution at the top of the attempt's, if a step started that one here; None if not.

        None also for a step that waits for a child: it stands in nobody's way.
        """
        return None if attempt.tool == PIPELINE else self._tops.get(attempt.execution_id)

    def start(self, attempt: Attempt, reporter: Reporter) -> None:
        """Begin an attempt: begin its child, or go on with it."""
        run = _Run(attempt, reporter, child_id(attempt.execution_id, attempt.task_id, attempt.generation))
        self._runs[_key(attempt)] = run
        self._tops[run.child] = self._tops.get(attempt.execution_id, attempt.execution_id)
        loop = asyncio.get_running_loop()
        run.task = loop.create_task(self._attend(run), name=run.child)
        if attempt.timeout is not None:
            run.timer = loop.call_later(attempt.timeout, self._expire, run, attempt.timeout)

    def cancel(self, attempt: Attempt) -> None:
        """End a running attempt: its child is cancelled if the parent is, and stopped otherwise, to be resumed."""
        run = self._runs.get(_key(attempt))
        if run is None or run.verdict is not None:
            return
        run.verdict = Cancelled()
        parent = self._wiring.live().engine(attempt.execution_id)
        run.cancelled_by = parent.state.cancel_requested if parent is not None else None
        if run.cancelled_by is None or run.engine is None:
            _end(run)  # else its own engine was told by the parent's

    async def close(self) -> None:
        """Stop every child, to be resumed; idempotent."""
        runs = list(self._runs.values())
        for run in runs:
            run.verdict = run.verdict or Cancelled()
            _end(run)
        await asyncio.gather(*(run.task for run in runs if run.task is not None), return_exceptions=True)

    # -- one attempt ---------------------------------------------------------------------------------------------

    def _expire(self, run: _Run, seconds: float) -> None:
        if run.verdict is None:
            run.verdict = timed_out(seconds)
            _end(run)

    async def _attend(self, run: _Run) -> None:
        outcome: Outcome
        try:
            with self._wiring.logged(run.child):
                outcome = await self._outcome(run, await self._carry_out(run))
        except asyncio.CancelledError:
            outcome = Cancelled()
            if run.cancelled_by is not None:  # it was not at work here: nobody has told it
                with contextlib.suppress(OrchestratorError):
                    await cancel_execution(
                        self._wiring.adapters(), self._wiring.live(), run.child, run.cancelled_by, 0.0
                    )
        except BaseException as error:  # noqa: BLE001 - whatever is wrong with a child, its step failed
            outcome = outcome_of(error, run.attempt.execution_id)
        if run.timer is not None:
            run.timer.cancel()
        self._runs.pop(_key(run.attempt), None)
        self._tops.pop(run.child, None)
        run.reporter.finished(run.attempt, outcome if isinstance(outcome, Succeeded) else run.verdict or outcome)

    async def _carry_out(self, run: _Run) -> ExecutionState:
        """Run the child to its end, from wherever it is; raises TaskError where that cannot be."""
        steal = False
        while True:
            try:
                state = await self._drive(run, steal=steal)
            except ExecutionOwned as error:
                steal = not steal and await self._is_left_behind(run.attempt.execution_id, error.owner)
                if steal:
                    continue
                await self._wait(run, self._is_owned, "the owner of")
            except LeaseLost as error:
                if error.execution_id != run.child:
                    raise
                await self._wait(run, self._is_owned, "the owner of")
            else:
                if state.status is not ExecutionStatus.WAITING:
                    return state
                await self._wait(run, self._rests, "what is waited for in")
            found = await self._wiring.live().load(run.child)
            if found.status in _ENDED:
                return found  # somebody else has brought it there, and knew why

    async def _drive(self, run: _Run, *, steal: bool) -> ExecutionState:
        """Begin the child or go on with it, as long as this process owns it."""
        try:
            try:
                await self._wiring.adapters().store.summary(run.child)
            except UnknownExecution:
                with contextlib.suppress(ExecutionExists):
                    return await self._begin(run)
            return await self._go_on(run, steal=steal)
        finally:
            engine, run.engine = run.engine, None
            parent = self._wiring.live().engine(run.attempt.execution_id)
            if engine is not None and parent is not None:
                parent.leave(engine)

    async def _begin(self, run: _Run) -> ExecutionState:
        from orchestrator.compiler.inputs import bind_inputs
        from orchestrator.compiler.library import MOST_DEEP

        attempt, adapters = run.attempt, self._wiring.adapters()
        given = _parameters(adapters, attempt)
        parent = self._wiring.live().engine(attempt.execution_id)
        above = parent.state.link if parent is not None else None
        link = Link(attempt.execution_id, attempt.task_id, above.depth + 1 if above is not None else 1)
        if link.depth >= MOST_DEEP:
            raise TaskError(
                f"{link.depth} executions are parents of one another here: no more than {MOST_DEEP} pipelines may call "
                "each other in a row",
                kind="recursion",
                retryable=False,
            )
        found = await asyncio.to_thread(self._wiring.library().find, given["pipeline"])
        inputs = bind_inputs(found.pipeline, given["inputs"] or {})
        opening = Opening(found.source, link)
        return await self._wiring.live().run(found.pipeline, inputs, run.child, self._admitted(run), opening)

    async def _go_on(self, run: _Run, *, steal: bool) -> ExecutionState:
        live, attempt = self._wiring.live(), run.attempt
        state = await live.load(run.child)
        if state.link is None or (state.link.parent, state.link.task) != (attempt.execution_id, attempt.task_id):
            raise TaskError(
                f"there is an execution {run.child!r} that this step did not start; "
                "remove it, or run this pipeline under another id",
                kind="child",
                retryable=False,
            )
        if state.status is ExecutionStatus.COMPLETED:
            return state
        request = PlanRequest(by=user_name(), why=f"step {attempt.task_id} of {attempt.execution_id} goes on")
        return await live.resume(run.child, request, steal=steal, admitted=self._admitted(run))

    def _admitted(self, run: _Run) -> Callable[[Engine], None]:
        """Return what ties the child's engine to its parent's and passes on how far the child is."""

        def admitted(engine: Engine) -> None:
            run.engine = engine
            engine.recorder.listen(_Teller(run, engine))
            parent = self._wiring.live().engine(run.attempt.execution_id)
            if parent is not None:
                parent.lead(engine)

        return admitted

    # -- somebody else's -----------------------------------------------------------------------------------------

    async def _is_left_behind(self, parent: str, owner: str) -> bool:
        """Tell whether a child's owner is a process that owned the parent before and has lost it: a zombie."""
        ours = process_of(describe_owner(0.0))
        theirs = process_of(owner)
        if theirs == ours:
            return False
        async for commit in self._wiring.adapters().store.read(ExecutionId(parent)):
            for event in commit.events:
                if isinstance(event, ExecutionStarted) and process_of(event.owner) == theirs:
                    return True
        return False

    async def _wait(self, run: _Run, goes_on: Callable[[ExecutionId], Awaitable[bool]], what: str) -> None:
        """Wait for as long as that is so, ever less attentively."""
        run.reporter.progressed(run.attempt, None, None, f"waits for {what} {run.child}")
        seconds = POLL_SECONDS
        while await goes_on(run.child):
            await asyncio.sleep(seconds)
            seconds = min(LONGEST_POLL_SECONDS, seconds * 1.2)

    async def _is_owned(self, child: ExecutionId) -> bool:
        holder = await self._wiring.adapters().store.holder(child)
        return holder is not None and holder.alive

    async def _rests(self, child: ExecutionId) -> bool:
        """Tell whether nothing but waits is left in a child, and none of them is due or has mail."""
        adapters = self._wiring.adapters()
        found = await adapters.store.summary(child)
        due = found.due is not None and found.due <= adapters.clock.now()
        return found.status is ExecutionStatus.WAITING and not due and not await adapters.store.signals(child, 1)

    # -- its end -------------------------------------------------------------------------------------------------

    async def _outcome(self, run: _Run, state: ExecutionState) -> Outcome:
        adapters, live = self._wiring.adapters(), self._wiring.live()
        parent = live.engine(run.attempt.execution_id)
        match state.status:
            case ExecutionStatus.COMPLETED:
                value = {} if state.outputs is None else adapters.codec.decode(await adapters.store.get(state.outputs))
                return Succeeded(value, await asyncio.to_thread(self._trace, run.attempt.execution_id, state))
            case ExecutionStatus.CANCELLED:
                if parent is not None and parent.state.cancel_requested is not None:
                    return Cancelled()
                return _failed(run, "cancelled", f"was cancelled by {state.cancel_requested}")
            case ExecutionStatus.STOPPED:
                if parent is not None and parent.stopped_by is not None:
                    return Cancelled()
                return _failed(run, "stopped", "was stopped or paused")
            case _:
                command = self._wiring.command(run.child)
                why = str(error_of(run.child, state, command, None)).partition("\nresume with: ")[0]
                return _failed(run, CHILD_FAILED, f"failed: {why}", f", go on with it alone with: {command}")

    def _trace(self, parent: str, state: ExecutionState) -> Trace:
        """Return what the step's result depends on besides what it was given, and what it left behind.

        That is the definition's file as it was read, and the files of the child's own steps. What these have left in
        the store's folder is kept for the parent too, whose result may name it.
        """
        adapters = self._wiring.adapters()
        reads: dict[str, FileSeen] = {}
        writes: dict[str, FileSeen] = {}
        file = file_at(state.definition_source) if state.definition_source else None
        if file is not None and state.definition_digest:
            reads[str(file)] = _as_read(adapters, str(file), state.definition_digest)
        for known in sorted(state.tasks.values(), key=lambda each: each.seq):
            if known.trace is not None:
                writes |= {seen.path: seen for seen in known.trace.writes}
                for seen in known.trace.reads:
                    reads.setdefault(seen.path, seen)
        if writes:
            adapters.files.hold(adapters.project, list(writes), parent)
        kept = tuple(seen for path, seen in reads.items() if path not in writes)
        return Trace(kept, tuple(writes.values()))


class _Teller:
    """Passes on how far a child is as the progress of the step that waits for it."""

    def __init__(self, run: _Run, engine: Engine) -> None:
        self._run = run
        self._engine = engine

    def notify(self, event: Event, execution_id: str, seq: int) -> None:  # noqa: ARG002
        """See core.recorder.Listener."""
        if isinstance(event, (TaskCompleted, TaskReused, TaskSkipped)):
            state, run = self._engine.state, self._run
            run.reporter.progressed(run.attempt, state.done_count, len(state.tasks), run.child)

    def progress(self, execution_id: str, task: str, done: float | None, total: float | None, message: str) -> None:
        """See core.recorder.Listener."""


def _key(attempt: Attempt) -> tuple[str, str, int]:
    return attempt.execution_id, attempt.task_id, attempt.attempt


def _end(run: _Run) -> None:
    """Leave the child where it is: its engine records that it was stopped."""
    if run.task is not None:
        run.task.cancel()


def _parameters(adapters: Adapters, attempt: Attempt) -> Mapping[str, Any]:
    validate = adapters.tools.resolve(attempt.tool, attempt.action).validate
    given = dict(attempt.parameters) if validate is None else validate(attempt.parameters)
    return {"inputs": None, **given}


def _failed(run: _Run, kind: str, what: str, more: str = "") -> Failed:
    message = f"its execution {run.child} {what}; look at it with: orchestrator show {run.child}{more}"
    return Failed(ErrorInfo(kind, message, retryable=kind == CHILD_FAILED))


def _as_read(adapters: Adapters, path: str, digest: str) -> FileSeen:
    now = adapters.files.look(adapters.project, path)
    return now if now.digest == digest else FileSeen(path, 0, 0, digest)
