"""Secrets in attempts: their values are put in just before the call, and taken out of all that comes back.

This is the one door: what is above it (engine, journal, store) knows secrets by name only; what is below it, here or in
a worker process, is given values in memory or over a private socket. An executor on other machines puts this class
around its executor there, with the secrets of that machine.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.domain.events import ErrorInfo
from orchestrator.domain.secret import filled
from orchestrator.errors import OrchestratorError, UnstorableValue
from orchestrator.executors.failure import outcome_of
from orchestrator.ports.executor import Crashed, Failed, Succeeded

if TYPE_CHECKING:
    from orchestrator.domain.files import FileSeen, Trace
    from orchestrator.domain.redaction import Redactor
    from orchestrator.ports.codec import Codec
    from orchestrator.ports.executor import Attempt, Executor, Outcome, Reporter
    from orchestrator.ports.secrets import Secrets


class SecretsExecutor:
    """Wraps an executor; as long as no pipeline here named a secret, nothing is looked at."""

    def __init__(self, inner: Executor, secrets: Secrets, codec: Codec) -> None:
        self._inner = inner
        self._secrets = secrets
        self._codec = codec
        self._given: dict[tuple[str, str, int], Attempt] = {}

    def start(self, attempt: Attempt, reporter: Reporter) -> None:
        """Begin an attempt with the values of secrets as they are now; without one, it ends as Failed."""
        if not self._secrets.redactor.active:
            self._inner.start(attempt, reporter)
            return
        try:
            parameters = filled(attempt.parameters, self._secrets.value)
        except OrchestratorError as error:
            outcome = outcome_of(error, attempt.execution_id)
            asyncio.get_running_loop().call_soon(reporter.finished, attempt, outcome)
            return
        given = replace(attempt, parameters=parameters)
        key = attempt.execution_id, attempt.task_id, attempt.attempt
        self._given[key] = given
        self._inner.start(given, _Redacting(self, attempt, reporter))

    def cancel(self, attempt: Attempt) -> None:
        """End a running attempt; nothing happens if it ended already."""
        key = attempt.execution_id, attempt.task_id, attempt.attempt
        self._inner.cancel(self._given.get(key, attempt))

    async def close(self) -> None:
        """Close the executor within."""
        await self._inner.close()

    def cleaned(self, outcome: Outcome) -> Outcome:
        """Return an outcome without values of secrets."""
        redactor = self._secrets.redactor
        match outcome:
            case Succeeded(value, trace):
                return self._success(outcome, value, trace, redactor)
            case Failed(error, kinds):
                return Failed(redactor.error(error), tuple(map(redactor.text, kinds)))
            case Crashed(reason):
                return Crashed(redactor.text(reason))
            case _:
                return outcome

    def _success(self, outcome: Succeeded, value: Any, trace: Trace | None, redactor: Redactor) -> Outcome:
        try:
            if redactor.found_in(self._codec.encode(value).payload):
                value = redactor.value(value)
        except UnstorableValue as error:  # its message, with a path in it, may be all that the engine keeps
            info = ErrorInfo(error.kind, redactor.text(error.message), retryable=False)
            return outcome if info.message == error.message else Failed(info)
        clean = None if trace is None else _trace(trace, redactor)
        return outcome if value is outcome.value and clean is trace else Succeeded(value, clean)

    def ended(self, attempt: Attempt) -> None:
        """Forget an attempt with its values."""
        self._given.pop((attempt.execution_id, attempt.task_id, attempt.attempt), None)

    def text(self, text: str) -> str:
        """Return a text without values of secrets."""
        return self._secrets.redactor.text(text)

    def state(self, state: Any) -> Any:
        """Return a saved state without values of secrets."""
        redactor = self._secrets.redactor
        return redactor.value(state) if redactor.found_in(self._codec.encode(state).payload) else state


class _Redacting:
    """The reporter of one attempt: knows it as the engine does, and passes on what may be seen."""

    __slots__ = ("_attempt", "_door", "_reporter")

    def __init__(self, door: SecretsExecutor, attempt: Attempt, reporter: Reporter) -> None:
        self._door = door
        self._attempt = attempt
        self._reporter = reporter

    def finished(self, attempt: Attempt, outcome: Outcome) -> None:
        """See ports.executor.Reporter."""
        del attempt
        self._door.ended(self._attempt)
        try:
            clean = self._door.cleaned(outcome)
        except Exception as error:  # noqa: BLE001 - the attempt must end, and what cannot be searched is not shown
            what = f"what the step returned cannot be searched for secrets: {type(error).__name__}"
            clean = Failed(ErrorInfo("secret", what, retryable=False))
        self._reporter.finished(self._attempt, clean)

    def progressed(self, attempt: Attempt, done: float | None, total: float | None, message: str) -> None:
        """See ports.executor.Reporter."""
        del attempt
        self._reporter.progressed(self._attempt, done, total, self._door.text(message))

    def saved(self, attempt: Attempt, state: Any) -> None:
        """See ports.executor.Reporter."""
        del attempt
        self._reporter.saved(self._attempt, self._door.state(state))


def _trace(trace: Trace, redactor: Redactor) -> Trace:
    def seen(files: tuple[FileSeen, ...]) -> tuple[FileSeen, ...]:
        return tuple([each._replace(path=redactor.text(each.path)) for each in files])

    clean = trace._replace(reads=seen(trace.reads), writes=seen(trace.writes))
    return trace if clean == trace else clean
