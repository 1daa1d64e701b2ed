"""What an Orchestrator does with executions that servers run: the methods, apart from those that run something here."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any

from orchestrator.core.fleet import Fleet
from orchestrator.core.retention import kept_tidy
from orchestrator.core.serving import Server, Service
from orchestrator.core.system import user_name
from orchestrator.domain.ids import ID_RULE, chosen_id, is_valid_id
from orchestrator.domain.ids import execution_id as valid_execution_id
from orchestrator.domain.pipeline import definition_of
from orchestrator.errors import UsageError
from orchestrator.ports.store import Place
from orchestrator.wired import Wired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from orchestrator.core.ending import Result
    from orchestrator.core.engine import Engine
    from orchestrator.core.serving import Notice
    from orchestrator.domain.execution import ExecutionState
    from orchestrator.domain.pipeline import Compiled, Pipeline
    from orchestrator.ports.store import ExecutionSummary, QueueSummary

MOST_PRIORITY = 1_000_000
LONGEST_POLL_SECONDS = 1.0
POLLS_PER_LEASE = 8
"""With jitter the longest wait between two looks is well below a renewal: a quarter of the lease."""


class FleetMethods(Wired):
    """Submitting, serving, pausing, queues; the base of ``Orchestrator``."""

    @property
    @abstractmethod
    def log_folder(self) -> Path:
        """The folder of the steps' logs."""

    @abstractmethod
    def _forget(self, execution_id: str) -> None:
        """Remove what an execution left beside the store."""

    @abstractmethod
    async def _conclude(self, name: str, state: ExecutionState, engines: list[Engine]) -> Result: ...

    @cached_property
    def _fleet(self) -> Fleet:
        return Fleet(self._adapters, self._live)

    # -- giving work to servers ----------------------------------------------------------------------------------

    async def submit(
        self,
        pipeline: Pipeline | Compiled,
        inputs: Mapping[str, Any] | None = None,
        *,
        queue: str = "default",
        priority: int = 0,
        execution_id: str | None = None,
        source: str | Path | None = None,
    ) -> str:
        """Create an execution that waits for a server to take it, and return its id; durable on return.

        Higher ``priority`` goes first, then what was submitted earlier. ``source`` is the file that the pipeline came
        from (None: what a compiled one says). Raises DefinitionError for wrong inputs,
        ExecutionExists for a taken id, UsageError, StoreError.
        """
        from orchestrator.compiler.inputs import bind_inputs

        name = chosen_id(execution_id) if execution_id is not None else self.new_execution_id()
        definition = definition_of(pipeline)
        bound = bind_inputs(definition, inputs or {})
        place = Place(queue_name(queue), _checked_priority(priority))
        file = self._source_of(source if source is not None else getattr(pipeline, "source", None))
        await self._fleet.submit(definition, bound, name, place, file)
        return name

    async def enqueue(self, execution_id: str, *, queue: str | None = None, priority: int | None = None) -> Place:
        """Let servers go on with an execution, whatever ended its last run; takes a pause back. Returns its place.

        None keeps the queue and the priority that it had, if any. One that somebody is at work on goes on there.
        Raises ResumeError if it is completed; UnknownExecution.
        """
        if queue is not None:
            queue_name(queue)
        if priority is not None:
            _checked_priority(priority)
        return await self._fleet.enqueue(valid_execution_id(execution_id), queue, priority)

    async def wait(self, execution_id: str) -> Result:
        """Wait for an execution to end, wherever it runs, and return how, however long that takes.

        Raises ExecutionFailed, ExecutionCancelled, UnknownExecution, StoreError. One that was stopped or paused has
        not ended: it is waited for.
        """
        name = valid_execution_id(execution_id)
        return await self._conclude(name, await self._fleet.wait(name), [])

    async def pause(self, execution_id: str, *, by: str | None = None, wait_seconds: float = 15.0) -> bool:
        """Keep an execution from going on until it is resumed or enqueued; True once nobody is at work on it.

        An owner at work is asked to stop gracefully, and waited for ``wait_seconds``; False means that it has not
        stopped yet. Raises ResumeError if the execution has ended, UnknownExecution.
        """
        return await self._fleet.pause(valid_execution_id(execution_id), by or user_name(), wait_seconds)

    # -- serving -------------------------------------------------------------------------------------------------

    async def serve(
        self,
        *,
        queues: Sequence[str] = ("default",),
        max_executions: int = 100,
        adopt_runs: bool = False,
        until_idle: bool = False,
        told: Callable[[Notice], None] | None = None,
    ) -> None:
        """Take executions from these queues and run them, at most ``max_executions`` at once, until stopped.

        It adopts what another server left behind, and with ``adopt_runs`` what a dead ``orchestrator run`` did.
        ``until_idle``: return once there is nothing to take and nothing runs. Within ``signals()`` a signal stops it
        gracefully, as cancelling does without grace: what it had in hand is given back, for others to go on with.
        ``told`` hears what it does. What the settings' ``retention`` does not keep is removed meanwhile. Raises
        StoreError where it cannot go on with the store at all; one that is only away is waited for.
        """
        if max_executions < 1:
            raise UsageError(f"max_executions: expected 1 or more, got {max_executions}")
        if not queues:
            raise UsageError("queues: name at least one")
        service = Service(
            queues=tuple(queue_name(queue) for queue in queues),
            max_executions=max_executions,
            runs=adopt_runs,
            until_idle=until_idle,
            poll_seconds=min(LONGEST_POLL_SECONDS, self.settings.lease / POLLS_PER_LEASE),
        )
        with self._all_steps_logged() as logged:
            server = Server(self._adapters, self._live, service, tell=_unheard if told is None else told, logged=logged)
            adapters = self._adapters
            async with kept_tidy(adapters.store, adapters.retention, adapters.clock, self._forget):
                await self._fleet.serve(server)

    @contextlib.contextmanager
    def _all_steps_logged(self) -> Iterator[Callable[[str], contextlib.AbstractContextManager[None]]]:
        """Within: one log handler for all executions; yields what opens the log of one."""
        from orchestrator.observe.logs import StepLog

        log = StepLog(self.log_folder)
        log.install()

        @contextlib.contextmanager
        def logged(execution_id: str) -> Iterator[None]:
            log.begin(execution_id)
            try:
                yield
            finally:
                log.end(execution_id)

        try:
            yield logged
        finally:
            log.close()

    async def under_way(self) -> list[ExecutionSummary]:
        """Return the executions that have not ended, oldest first, as people see them."""
        return [summary.shown() for summary in await self._fleet.under_way()]

    # -- queues --------------------------------------------------------------------------------------------------

    async def queues(self) -> list[QueueSummary]:
        """Return the queues that something was set for, or that hold executions, by name."""
        return await self._adapters.store.queues()

    async def set_queue(self, name: str, *, limit: int | None = None, paused_by: str | None = None) -> None:
        """Set how many executions of a queue all servers together run at once (None: any number), and who paused it."""
        if limit is not None and limit < 0:
            raise UsageError(f"limit: expected 0 or more, got {limit}")
        await self._adapters.store.set_queue(queue_name(name), limit=limit, paused_by=paused_by)


def queue_name(text: str) -> str:
    """Return ``text`` as a queue's name; raise UsageError if it breaks ``ID_RULE``."""
    if not is_valid_id(text):
        raise UsageError(f"not a queue's name: {text!r} (it is {ID_RULE})")
    return text


def _checked_priority(priority: int) -> int:
    if abs(priority) > MOST_PRIORITY:
        raise UsageError(f"priority: expected -{MOST_PRIORITY:,} to {MOST_PRIORITY:,}, got {priority:,}")
    return priority


def _unheard(_notice: Notice) -> None:
    """Do nothing."""
