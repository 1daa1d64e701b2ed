"""How a task waits: what for, what it makes of the signal that comes or of the time that is over, and the mail.

All of it is recorded before it is obeyed: the time that a wait is over, the signal that was taken, the answer refused.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.core.scope import RecordedValues
from orchestrator.core.weighing import ordered
from orchestrator.crashpoints import point
from orchestrator.domain.events import (
    DecisionMade,
    ErrorInfo,
    SignalReceived,
    TasksInvalidated,
    TasksReset,
    TaskWaiting,
)
from orchestrator.domain.expansion import name_of
from orchestrator.domain.rewind import rewind
from orchestrator.domain.waits import APPROVAL, SIGNAL, TIME, Wait, answer_fault
from orchestrator.errors import TaskError, UnstorableValue
from orchestrator.ports.executor import Failed, Outcome, Succeeded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.adapters import Adapters
    from orchestrator.core.claims import Claims
    from orchestrator.core.recorder import Recorder
    from orchestrator.domain.expansion import Graph
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Task
    from orchestrator.domain.waits import Received, Waiting
    from orchestrator.ports.tools import Tools

MAIL_AT_ONCE = 500


def wait_of(tools: Tools, task: Task, parameters: Mapping[str, Any]) -> Wait:
    """Return what a task waits for, given its rendered parameters. Raises TaskError (kind ``parameters``)."""
    call = tools.resolve(task.tool, task.action)
    arguments = dict(parameters) if call.validate is None else call.validate(parameters)
    found = call.function(**arguments)
    if not isinstance(found, Wait):
        raise TaskError(f"tool {task.tool!r} does not say what it waits for", kind="tool", retryable=False)
    return found


class Waiters:
    """Lets tasks of one execution wait, and answers them."""

    def __init__(self, claims: Claims, recorder: Recorder, adapters: Adapters) -> None:
        self._claims = claims
        self._recorder = recorder
        self._adapters = adapters
        self._values = RecordedValues(adapters.store, adapters.codec, recorder)
        self._waits: dict[TaskId, tuple[Waiting, Wait]] = {}

    # -- beginning -----------------------------------------------------------------------------------------------

    async def begin(self, task: Task, now: float) -> None:
        """Record that a task waits, or what makes that needless; raises TaskError where it cannot be worked out."""
        asked = await self._claims.asked(task, now)
        if asked is None:
            return
        number, parameters = asked
        try:
            encoded = self._adapters.codec.encode(ordered(dict(parameters)))
        except UnstorableValue as error:
            raise TaskError(f"a parameter cannot be kept: {error}", kind=error.kind, retryable=False) from error
        wait = wait_of(self._adapters.tools, task, parameters)
        self._check(task, wait)
        until = wait.until if wait.until is not None else None if wait.seconds is None else now + wait.seconds
        name = task.id if wait.kind == APPROVAL else wait.signal
        event = TaskWaiting(now, task.id, number, wait.kind, name, until, wait.told(), encoded.ref)
        self._recorder.record(event, encoded)

    def _check(self, task: Task, wait: Wait) -> None:
        graph = self._recorder.state.graph
        for step in wait.send_back:
            if (place := beside(graph, task, step)) is None or place not in _needed(graph, task):
                raise TaskError(f"send_back: {step!r} is no step before this one", kind="parameters", retryable=False)
        if wait.has_default:
            answer = wait.default if wait.kind == SIGNAL else _by_default(wait)
            fault = answer_fault(wait, answer, self._adapters.schemas.check)
            if fault is not None:
                raise TaskError(f"default: {fault}", kind="parameters", retryable=False)

    async def _wait(self, task: Task, waiting: Waiting) -> Wait:
        known = self._waits.get(task.id)
        if known is not None and known[0] is waiting:
            return known[1]
        wait = wait_of(self._adapters.tools, task, await self._values.load(waiting.parameters))
        self._waits[task.id] = waiting, wait
        return wait

    # -- ending --------------------------------------------------------------------------------------------------

    async def answer(self, task: Task, now: float) -> Outcome | None:
        """Return how a wait ended whose time is over or that there is a signal for; None if it goes on.

        What becomes of the signal is recorded. Raises TaskError where the wait itself cannot be made out any more.
        """
        waits = self._recorder.state.waits
        waiting = waits.tasks[task.id]
        wait = await self._wait(task, waiting)
        found = waits.answered()
        if found is not None and found[0] == task.id:
            return await self._take(task, wait, found[1], now)
        return self._over(wait, waiting)

    def _over(self, wait: Wait, waiting: Waiting) -> Outcome:
        at = {"at": _iso(waiting.until or 0.0), "timed_out": wait.kind != TIME}
        if wait.kind == TIME:
            return Succeeded(at)
        if not wait.has_default:
            return Failed(ErrorInfo("timeout", f"the time is over: no answer came ({waiting.text})"))
        if wait.kind == SIGNAL:
            return Succeeded({"payload": wait.default, "by": None, **at})
        return Succeeded({"choice": None, "form": None, "comment": None, **_by_default(wait), "by": None, **at})

    async def _take(self, task: Task, wait: Wait, signal: Received, now: float) -> Outcome | None:
        payload = await self._values.load(signal.payload)
        fault = answer_fault(wait, payload, self._adapters.schemas.check)
        if fault is None and wait.kind == APPROVAL:
            asked = self._recorder.state.tasks[task.id].attempt
            if payload.get("attempt", asked) != asked:
                fault = "it answers what the step asked before"
        told = {"signal": signal.id, "by": signal.by}
        at = _iso(signal.sent_at)
        if fault is not None:
            self._recorder.record(DecisionMade(now, task.id, "signal", 0, f"refused: {fault}", told))
            return None
        if wait.kind == APPROVAL and payload.get("send_back") is not None:
            self._send_back(task, payload, {**told, "at": at}, now)
            return None
        self._recorder.record(DecisionMade(now, task.id, "signal", 0, "taken", told))
        by = {"by": signal.by, "at": at, "timed_out": False}
        if wait.kind == SIGNAL:
            return Succeeded({"payload": payload, **by})
        return Succeeded({**{key: payload.get(key) for key in ("choice", "form", "comment")}, **by})

    # -- sending back --------------------------------------------------------------------------------------------

    def _send_back(self, task: Task, payload: Mapping[str, Any], told: dict[str, str], now: float) -> None:
        state = self._recorder.state
        step = beside(state.graph, task, payload["send_back"])
        if step is None:  # it was there when the wait began: the fold goes over to another graph by a plan alone
            raise TaskError(f"send_back: there is no step {payload['send_back']!r}", kind="parameters", retryable=False)
        before = state.tasks[step].sent_back
        times = 1 if before is None else before.times + 1
        comment = payload.get("comment") or ""
        self._recorder.record(DecisionMade(now, task.id, "send_back", times, comment, {**told, "step": step}))

    def in_the_way(self) -> list[TaskId]:
        """Return what runs behind a step that an execution was sent back to, and has to end first."""
        state = self._recorder.state
        return [name for approval in state.waits.rewinds for name in rewind(state, approval).in_the_way]

    def send_back(self, approval: TaskId, now: float) -> None:
        """Record what runs again, since the execution was sent back from this approval."""
        state = self._recorder.state
        found = rewind(state, approval)
        why = state.tasks[state.waits.rewinds[approval]].sent_back
        said = "" if why is None else f" by {why.by}" + (f": {why.comment}" if why.comment else "")
        self._recorder.record(TasksReset(now, found.reset, f"sent back{said}", forgive=True))
        if found.looked_at:
            reason = f"{state.graph[approval].id} was sent back"
            self._recorder.record(TasksInvalidated(now, found.looked_at, reason))

    # -- mail ----------------------------------------------------------------------------------------------------

    async def take_mail(self, now: float) -> bool:
        """Record the signals that have come, and only then take them out of the mailbox; True if there were any."""
        lease, store = self._recorder.lease, self._adapters.store
        came = False
        while mail := await store.signals(lease.execution_id, MAIL_AT_ONCE):
            for signal in mail:
                if not self._recorder.state.waits.heard(signal.id):
                    came = True
                    event = SignalReceived(now, signal.id, signal.name, signal.payload.ref, signal.by, signal.at)
                    self._recorder.record(event, signal.payload)
            point("before_signal")
            await self._recorder.flush()
            point("after_signal")
            await store.delivered(lease, [signal.id for signal in mail])
        return came


def beside(graph: Graph, task: Task, step: str) -> TaskId | None:
    """Return the id of a step that a task calls by its name in the same list of steps; None if there is none."""
    name = step if task.within is None else name_of(graph[task.within], task.key, step)
    return graph[name].id if name in graph else None


def _needed(graph: Graph, task: Task) -> set[TaskId]:
    """Return what a task needs, directly or not, in its own list of steps."""
    found = set(task.needs)
    queue = list(task.needs)
    for name in queue:
        for need in graph[name].needs:
            if need not in found:
                found.add(need)
                queue.append(need)
    return found


def _by_default(wait: Wait) -> dict[str, Any]:
    return {"choice": wait.default} if wait.choices else {"form": wait.default}


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
