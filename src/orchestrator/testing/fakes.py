"""Fakes: what answers for a step in a test, and what was asked of them."""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.crashpoints import point
from orchestrator.domain.ids import CHILD
from orchestrator.domain.pipeline import PIPELINE
from orchestrator.errors import TaskError
from orchestrator.executors.context import Context
from orchestrator.executors.failure import outcome_of, timed_out
from orchestrator.ports.executor import Cancelled, Succeeded
from orchestrator.state.valuecodec import snapshot
from orchestrator.tools.signature import Signature

if TYPE_CHECKING:
    from orchestrator.ports.executor import Attempt, Executor, Outcome, Reporter
    from orchestrator.ports.tools import Tools
    from orchestrator.testing.loop import ManualLoop

_KEY = re.compile(r"\[[^\]]*\]")
_GENERATION = re.compile(r"\.\d+$")


@dataclass(frozen=True, slots=True)
class Call:
    """An attempt that began: of which step, its number from 1, and its rendered parameters.

    A step of a pipeline that a step runs is called ``STEP~INNER``. ``at`` is when, in seconds since the bench was made;
    ``faked``: a fake answered, not the step's tool.
    """

    step: str
    attempt: int
    parameters: Mapping[str, Any] = field(repr=False)
    at: float = 0.0
    faked: bool = True


class InTurn:
    """See ``in_turn``."""

    def __init__(self, answers: tuple[Any, ...]) -> None:
        self.answers = answers


def in_turn(*answers: Any) -> InTurn:
    """Return a fake that answers each attempt with the next of these fakes; the last one answers all that follow.

    >>> flaky = in_turn(ConnectionError("down"), ConnectionError("still down"), {"rows": 3})
    """
    if not answers:
        raise TypeError("in_turn takes at least one answer")
    return InTurn(answers)


class Fakes:
    """The fakes of a test, and the tools in whose place they answer; ``strict``: a step without a fake fails."""

    def __init__(self, by_step: Mapping[str, Any], tools: Tools, *, strict: bool) -> None:
        self._by_step = by_step
        self._tools = tools
        self._strict = strict

    def wanted(self, attempt: Attempt) -> bool:
        """Tell whether a fake answers for an attempt, be it by saying that there is none.

        The steps of a pipeline that a step runs may have fakes of their own.
        """
        return self._name(step_of(attempt)) is not None or (self._strict and attempt.tool != PIPELINE)

    async def value(self, attempt: Attempt, reporter: Reporter) -> Any:
        """Return what the fake answers, or raise what it raises."""
        step = step_of(attempt)
        name = self._name(step)
        if name is None:
            raise TaskError(
                f"step {step!r} has no fake, and the test wants one for every step that runs",
                kind="unfaked",
                retryable=False,
            )
        call = self._tools.resolve(attempt.tool, attempt.action)
        arguments = dict(attempt.parameters) if call.validate is None else call.validate(attempt.parameters)
        fake = self._by_step[name]
        if isinstance(fake, InTurn):
            fake = fake.answers[min(attempt.attempt, len(fake.answers)) - 1]
        if isinstance(fake, BaseException) or (isinstance(fake, type) and issubclass(fake, BaseException)):
            raise fake
        if not callable(fake):
            return fake
        context = Signature(fake, f"the fake for step {name!r}").context_parameter
        if context is not None:
            arguments[context] = Context(attempt, reporter, snapshot)
        answer = fake(**arguments)
        return await answer if inspect.isawaitable(answer) else answer

    def _name(self, step: str) -> str | None:
        """Return the name of the fake for a step; of a step in a loop, of that for all its instances."""
        return next((name for name in (step, _KEY.sub("", step)) if name in self._by_step), None)


class FakingExecutor:
    """Answers for the steps that have fakes, and hands the others on; implements ports.executor.Executor."""

    def __init__(self, fakes: Fakes, real: Executor, calls: list[Call], *, began: float) -> None:
        self._fakes = fakes
        self._real = real
        self._calls = calls
        self._began = began
        self._running: dict[tuple[str, str, int], asyncio.Task[None]] = {}

    def start(self, attempt: Attempt, reporter: Reporter) -> None:
        """See ports.executor.Executor."""
        loop: ManualLoop = asyncio.get_running_loop()  # type: ignore[assignment]
        faked, at = self._fakes.wanted(attempt), loop.time() - self._began
        self._calls.append(Call(step_of(attempt), attempt.attempt, dict(attempt.parameters), at, faked))
        if faked:
            self._running[_key(attempt)] = loop.create_task(self._answer(attempt, reporter))
        elif attempt.tool == PIPELINE:
            self._real.start(attempt, reporter)  # the steps in it come by here themselves
        else:
            loop.outside += 1
            self._real.start(attempt, _Counting(reporter, loop))

    def cancel(self, attempt: Attempt) -> None:
        """See ports.executor.Executor."""
        running = self._running.get(_key(attempt))
        if running is not None:
            running.cancel()
        else:
            self._real.cancel(attempt)

    async def close(self) -> None:
        """See ports.executor.Executor."""
        for task in list(self._running.values()):
            task.cancel()
        await self._real.close()

    async def _answer(self, attempt: Attempt, reporter: Reporter) -> None:
        outcome: Outcome
        try:
            point("before_effect")
            async with asyncio.timeout(attempt.timeout):
                value = await self._fakes.value(attempt, reporter)
            point("after_effect")
            outcome = Succeeded(value)
        except asyncio.CancelledError:
            outcome = Cancelled()
        except TimeoutError as error:
            late = attempt.timeout is not None and error.__cause__ is not None
            outcome = timed_out(attempt.timeout or 0.0) if late else outcome_of(error, attempt.execution_id)
        except BaseException as error:  # noqa: BLE001 - whatever a fake raises is the attempt's failure
            outcome = outcome_of(error, attempt.execution_id)
        self._running.pop(_key(attempt), None)
        reporter.finished(attempt, outcome)


def step_of(attempt: Attempt) -> str:
    """Return what a test calls a step: its name, behind ``STEP~`` in a pipeline that a step runs."""
    above = [_GENERATION.sub("", part) for part in attempt.execution_id.split(CHILD)[1:]]
    return CHILD.join([*above, attempt.task_id])


def _key(attempt: Attempt) -> tuple[str, str, int]:
    return attempt.execution_id, attempt.task_id, attempt.attempt


class _Counting:
    """Passes reports of a real attempt on, and its end to the loop."""

    def __init__(self, reporter: Reporter, loop: ManualLoop) -> None:
        self._reporter = reporter
        self._loop = loop
        self.progressed = reporter.progressed
        self.saved = reporter.saved

    def finished(self, attempt: Attempt, outcome: Outcome) -> None:
        """See ports.executor.Reporter."""
        self._reporter.finished(attempt, outcome)
        self._loop.call_soon_threadsafe(self._ended)

    def _ended(self) -> None:
        self._loop.outside -= 1
