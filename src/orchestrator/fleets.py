"""What an Orchestrator does with executions that servers run: the methods, apart from those that run something here."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.core.fleet import Fleet
from orchestrator.core.retention import kept_tidy
from orchestrator.core.scheduling import Scheduled, Scheduler
from orchestrator.core.serving import Notice, Server, Service
from orchestrator.core.system import user_name
from orchestrator.domain.ids import ID_RULE, chosen_id, is_valid_id
from orchestrator.domain.ids import execution_id as valid_execution_id
from orchestrator.domain.pipeline import definition_of
from orchestrator.errors import DefinitionError, Diagnostic, UsageError
from orchestrator.ports.store import Place
from orchestrator.wired import Wired

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from orchestrator.core.ending import Result
    from orchestrator.core.engine import Engine
    from orchestrator.domain.execution import ExecutionState
    from orchestrator.domain.pipeline import Compiled, Pipeline
    from orchestrator.domain.plan import Source
    from orchestrator.ports.store import ExecutionSummary, QueueSummary
    from orchestrator.ports.tools import Tools

MOST_PRIORITY = 1_000_000
LONGEST_POLL_SECONDS = 1.0
POLLS_PER_LEASE = 8
"""With jitter the longest wait between two looks is well below a renewal: a quarter of the lease."""


class FleetMethods(Wired):
    """Submitting, serving, pausing, queues; the base of ``Orchestrator``."""

    @property
    @abstractmethod
    def tools(self) -> Tools:
        """The registry that steps' tools are looked up in."""

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
        schedules: Sequence[str | Path | Pipeline | Compiled] = (),
        told: Callable[[Notice], None] | None = None,
    ) -> None:
        """Take executions from these queues and run them, at most ``max_executions`` at once, until stopped.

        It adopts what another server left behind, and with ``adopt_runs`` what a dead ``orchestrator run`` did.
        ``until_idle``: return once there is nothing to take and nothing runs. Within ``signals()`` a signal stops it
        gracefully, as cancelling does without grace: what it had in hand is given back, for others to go on with.
        ``schedules`` are pipelines with a schedule, or their files: what they are due to run is given to the first
        of the ``queues``; an edited file holds from then on. ``told`` hears what it does. What the settings'
        ``retention`` does not keep is removed meanwhile. Raises StoreError where it cannot go on with the store at
        all; one that is only away is waited for. DefinitionError for a schedule that cannot be served.
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
            adapters, tell = self._adapters, _unheard if told is None else told
            chores = self._scheduler(schedules, service, tell) if schedules else None
            server = Server(adapters, self._live, service, tell=tell, logged=logged, chores=chores)
            async with kept_tidy(adapters.store, adapters.retention, adapters.clock, self._forget):
                await self._fleet.serve(server)

    def _scheduler(
        self, schedules: Sequence[str | Path | Pipeline | Compiled], service: Service, tell: Callable[[Notice], None]
    ) -> Scheduler:
        definitions = [ScheduledPipeline(each, self.tools, self._source_of) for each in schedules]
        names: dict[str, str] = {}
        for each in definitions:
            name = each.current().pipeline.id
            if name in names:
                raise UsageError(f"two schedules of one pipeline, {name}: {names[name]} and {each.name}")
            names[name] = each.name
        place = Place(service.queues[0])
        return Scheduler(self._adapters, self._live, definitions, place, tell=lambda *said: tell(Notice(*said)))

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


class ScheduledPipeline:
    """A pipeline with a schedule, or the file of one, which is read again when it has changed."""

    def __init__(
        self,
        pipeline: str | Path | Pipeline | Compiled,
        tools: Tools,
        source_of: Callable[[str | Path | None], Source],
    ) -> None:
        self._tools = tools
        self._source_of = source_of
        self._file = Path(pipeline) if isinstance(pipeline, (str, Path)) else None
        self._stamp: tuple[int, ...] | None = None
        self._known: Scheduled | None = None
        if not isinstance(pipeline, (str, Path)):
            self._known = self._scheduled(definition_of(pipeline), getattr(pipeline, "source", None))

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self._file) if self._file is not None else "a pipeline built in Python"

    def current(self) -> Scheduled:
        """Return it as it is now. Raises DefinitionError, also where it has no schedule."""
        if self._file is None and self._known is not None:
            return self._known
        from orchestrator.compiler.compile import compile_file

        file = self._file or Path()
        stamp = _stamp_of(file)
        if self._known is None or stamp is None or stamp != self._stamp:
            self._stamp = None
            self._known = self._scheduled(compile_file(file, tools=self._tools), file)
            self._stamp = stamp
        return self._known

    def _scheduled(self, pipeline: Pipeline, source: str | Path | None) -> Scheduled:
        from orchestrator.compiler.inputs import bind_inputs

        schedule = pipeline.schedule
        if schedule is None:
            hint = 'add one, like schedule: "0 2 * * *"'
            file = str(source) if source is not None else "<pipeline>"
            raise DefinitionError([Diagnostic(f"pipeline {pipeline.id} has no schedule", "schedule", file, hint=hint)])
        given = schedule.input

        def inputs(text: str) -> dict[str, Any]:
            return bind_inputs(pipeline, {} if given is None else {given: text})

        return Scheduled(pipeline, schedule, self._source_of(source), inputs)


def _stamp_of(file: Path) -> tuple[int, ...] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


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
