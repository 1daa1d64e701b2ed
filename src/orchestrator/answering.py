"""What an Orchestrator does with executions that wait: it tells what for, sends signals, and answers approvals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.core.system import user_name
from orchestrator.core.waits import wait_of
from orchestrator.domain.execution import ExecutionStatus, TaskStatus
from orchestrator.domain.ids import TaskId
from orchestrator.domain.ids import execution_id as valid_execution_id
from orchestrator.domain.waits import APPROVAL, SIGNAL, answer_fault
from orchestrator.domain.words import did_you_mean
from orchestrator.errors import ResumeError, TaskError, UnstorableValue, UsageError
from orchestrator.ports.store import HAS_MAIL, Signal
from orchestrator.wired import Wired

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.domain.execution import ExecutionState
    from orchestrator.domain.waits import Wait

_OVER = frozenset({ExecutionStatus.COMPLETED, ExecutionStatus.CANCELLED})


@dataclass(frozen=True, slots=True)
class PendingWait:
    """A step that waits.

    ``kind``: ``time``, ``signal`` or ``approval``; ``name`` is that of the signal, of an approval the step. ``until``
    is when it is over by itself (seconds since 1970, UTC; None: never), ``since`` when it began. ``schema`` is that of
    the payload, or of the form; ``answered_by`` is who has sent an answer that is not taken yet, or empty.
    """

    execution_id: str
    step: str
    kind: str
    name: str
    text: str
    since: float
    until: float | None
    question: str = ""
    choices: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None
    send_back: tuple[str, ...] = ()
    attempt: int = field(default=1, repr=False)
    answered_by: str = ""


class AnswerMethods(Wired):
    """Signals and approvals; a base of ``Orchestrator``."""

    async def signal(self, execution_id: str, name: str, payload: Any = None, *, by: str | None = None) -> str:
        """Send a signal to an execution, whoever is at work on it or nobody; return its id. Durable on return.

        The first step that waits for one of this name takes it, now or later. Raises UsageError if a step waits for it
        and the payload is not what its schema says, or cannot be kept; ResumeError if the execution is over;
        NoCheckpoint for an unknown one.
        """
        execution = valid_execution_id(execution_id)
        state = await self._live.load(execution)
        for task, waiting in state.waits.tasks.items():
            if waiting.kind == SIGNAL and waiting.name == name:
                self._refuse(f"signal {name!r}", await self._wait(state, task), payload)
                break
        return await self._send(execution, state, name, payload, by)

    async def approve(
        self,
        execution_id: str,
        step: str | None = None,
        choice: str | None = None,
        *,
        form: Mapping[str, Any] | None = None,
        comment: str | None = None,
        send_back: str | None = None,
        by: str | None = None,
    ) -> str:
        """Answer an approval, whoever is at work on the execution or nobody; return the id of the answer.

        ``step`` None is the only one that asks. ``send_back`` names the step to send the execution back to, instead of
        a choice or a form. Raises UsageError for an answer that does not fit, or if no such step asks just now or it
        was answered already; ResumeError if the execution is over; NoCheckpoint for an unknown one.
        """
        execution = valid_execution_id(execution_id)
        state = await self._live.load(execution)
        _refuse_over(execution, state)
        asking = [each for each in await self._pending(execution, state) if each.kind == APPROVAL]
        found = _chosen(execution, state, asking, step)
        if found.answered_by:
            raise UsageError(
                f"step {found.step!r} was answered already, by {found.answered_by}; the answer is taken once the "
                "execution goes on"
            )
        parts = {"choice": choice, "form": form, "comment": comment, "send_back": send_back}
        answer: dict[str, Any] = {key: value for key, value in parts.items() if value is not None}
        self._refuse(f"step {found.step!r}", await self._wait(state, TaskId(found.step)), answer)
        return await self._send(execution, state, found.step, {**answer, "attempt": found.attempt}, by)

    async def pending_waits(self, execution_id: str) -> list[PendingWait]:
        """Return the steps of an execution that wait, in the order in which they began to. Raises NoCheckpoint."""
        execution = valid_execution_id(execution_id)
        return await self._pending(execution, await self._live.load(execution))

    async def pending_approvals(self, execution_id: str | None = None) -> list[PendingWait]:
        """Return the approvals that nobody has answered yet, of one execution or of all that are not over."""
        names = [execution_id] if execution_id is not None else await self._unended()
        found = [each for name in names for each in await self.pending_waits(name)]
        return [each for each in found if each.kind == APPROVAL and not each.answered_by]

    async def _unended(self) -> list[str]:
        """Return the executions in which something may wait; what is over is not read."""
        found = await self._adapters.store.summaries()
        may = (ExecutionStatus.WAITING, ExecutionStatus.RUNNING, ExecutionStatus.STOPPED, ExecutionStatus.FAILED)
        return [summary.execution_id for summary in found if summary.status in may]

    # -- parts ---------------------------------------------------------------------------------------------------

    async def _pending(self, execution_id: str, state: ExecutionState) -> list[PendingWait]:
        if state.status in _OVER or not state.waits.tasks:
            return []
        unread = await self._adapters.store.signals(valid_execution_id(execution_id))
        found = []
        for task, waiting in state.waits.tasks.items():
            known, wait = state.tasks[task], await self._wait(state, task)
            sent = [signal for signal in unread if signal.name == waiting.name and waiting.kind == APPROVAL]
            by = next((each.by for each in sent if self._answers(each, known.attempt)), "")
            found.append(
                PendingWait(
                    execution_id=execution_id,
                    step=task,
                    kind=waiting.kind,
                    name=waiting.name,
                    text=waiting.text,
                    since=known.started_at or 0.0,
                    until=waiting.until,
                    question=wait.question,
                    choices=wait.choices,
                    schema=wait.schema,
                    send_back=wait.send_back,
                    attempt=known.attempt,
                    answered_by=by,
                )
            )
        return found

    def _answers(self, signal: Signal, attempt: int) -> bool:
        """Tell whether a signal answers what an approval asks just now."""
        answer = self._adapters.codec.decode(signal.payload.payload)
        return isinstance(answer, dict) and answer.get("attempt", attempt) == attempt

    async def _wait(self, state: ExecutionState, task: TaskId) -> Wait:
        adapters = self._adapters
        ref = state.waits.tasks[task].parameters
        parameters = adapters.codec.decode(await adapters.store.get(ref))
        try:
            return wait_of(adapters.tools, state.graph[task], parameters)
        except TaskError as error:
            raise ResumeError(f"step {task!r}: what it waits for cannot be made out: {error}") from error

    def _refuse(self, what: str, wait: Wait, payload: Any) -> None:
        fault = answer_fault(wait, payload, self._adapters.schemas.check)
        if fault is not None:
            raise UsageError(f"{what}: {fault}")

    async def _send(self, execution_id: str, state: ExecutionState, name: str, payload: Any, by: str | None) -> str:
        _refuse_over(execution_id, state)
        adapters = self._adapters
        try:
            encoded = adapters.codec.encode(payload)
        except UnstorableValue as error:
            raise UsageError(f"the payload cannot be kept: {error}") from error
        signal = Signal(f"sig_{adapters.chance.token()}", name, encoded, by or user_name(), adapters.clock.now())
        await adapters.store.send(valid_execution_id(execution_id), signal)
        engine = self._live.engine(execution_id)
        if engine is not None:  # it would hear of it soon anyway
            engine.asked(HAS_MAIL)
        return signal.id


def _refuse_over(execution_id: str, state: ExecutionState) -> None:
    if state.status in _OVER:
        raise ResumeError(f"execution {execution_id!r} is {state.status.value}: nothing in it waits any more")


def _chosen(execution_id: str, state: ExecutionState, asking: list[PendingWait], step: str | None) -> PendingWait:
    """Return the approval that is meant; raise UsageError if there is none, or more than one."""
    names = [each.step for each in asking]
    if step is None:
        if len(asking) == 1:
            return asking[0]
        if not asking:
            raise UsageError(f"no step of execution {execution_id!r} asks for an approval just now")
        raise UsageError(f"several steps of execution {execution_id!r} ask: say which of {', '.join(names)}")
    for each in asking:
        if each.step == step:
            return each
    known = state.tasks.get(TaskId(step))
    if known is None:
        hint = did_you_mean(step, names or state.tasks)
        raise UsageError(f"no step named {step!r} in execution {execution_id!r}{f' ({hint})' if hint else ''}")
    status = known.status if known.status is not TaskStatus.WAITING else TaskStatus.PENDING
    there = f"; those that ask: {', '.join(names)}" if names else ""
    raise UsageError(f"step {step!r} asks for no approval just now: it is {status.value.replace('_', ' ')}{there}")
