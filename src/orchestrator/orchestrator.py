"""The one place that wires adapters to the core."""

from __future__ import annotations

import asyncio
import shlex
import signal
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, Unpack

from orchestrator.answering import AnswerMethods
from orchestrator.children import Children, Wiring
from orchestrator.core.adapters import Adapters
from orchestrator.core.cancelling import cancel_execution
from orchestrator.core.ending import Result, error_of, result_of
from orchestrator.core.engine import CANCEL_PATIENCE_SECONDS
from orchestrator.core.keeper import LeaseKeeper
from orchestrator.core.ledger import Opening
from orchestrator.core.live import LiveExecutions
from orchestrator.core.pipeline_resume_manager import PipelineResumeManager
from orchestrator.core.scope import RecordedValues, recorded_scope
from orchestrator.core.signals import StopSignals
from orchestrator.core.system import SystemChance, SystemClock, user_name
from orchestrator.domain.events import AT_ONCE
from orchestrator.domain.execution import DONE, ExecutionState, ExecutionStatus
from orchestrator.domain.ids import CHILD, chosen_id
from orchestrator.domain.ids import execution_id as valid_execution_id
from orchestrator.domain.pipeline import definition_of
from orchestrator.errors import (
    ExecutionOwned,
    ResumeError,
    UsageError,
)
from orchestrator.fleets import FleetMethods
from orchestrator.revisions import PlanOptions, RevisionMethods, must_be
from orchestrator.settings import Settings, settings_with
from orchestrator.state.leavings import forget, log_folder
from orchestrator.state.manager import StateManager
from orchestrator.state.masking import mask
from orchestrator.state.opening import options_of
from orchestrator.state.url import open_store
from orchestrator.state.valuecodec import RedactingCodec, ValueCodec, snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType

    from orchestrator.core.engine import Engine
    from orchestrator.core.recorder import Listener
    from orchestrator.domain.events import Event
    from orchestrator.domain.pipeline import Compiled, Pipeline
    from orchestrator.domain.plan import Plan
    from orchestrator.domain.secret import SecretUse
    from orchestrator.domain.strategy import ResumeStrategy
    from orchestrator.domain.values import ValueRef
    from orchestrator.ports.clock import Chance, Clock
    from orchestrator.ports.executor import Executor
    from orchestrator.ports.store import ExecutionSummary, Store
    from orchestrator.ports.tools import Tools
    from orchestrator.secrets.lookup import Found, SecretLookup


class Orchestrator(RevisionMethods, FleetMethods, AnswerMethods):
    """Runs, resumes and inspects executions of one store.

    Without arguments it finds the store that ``pipeline.run()`` writes to: ``ORCHESTRATOR_STORE``, else
    ``orchestrator.toml``, else ``.orchestrator/`` of the project folder. ``store`` is a URL, or the name of a store
    (``file``, ``memory``, ``postgres``, ``redis``), that goes before these.
    ``tools`` is a registry other than the process-wide one. ``listeners`` hear of every fact once it is durable.
    Nothing is opened before it is needed. Use it as an async context manager, or call ``close``.

    >>> orchestrator = Orchestrator(store="memory://docs")
    >>> orchestrator.store_url
    'memory://docs'
    """

    def __init__(
        self,
        store: str | None = None,
        *,
        settings: Settings | None = None,
        tools: Tools | None = None,
        listeners: Sequence[Listener] = (),
        max_concurrency: int | None = None,
    ) -> None:
        self._explicit_store = store
        self._settings = settings_with(store, settings)
        if max_concurrency is not None:
            if max_concurrency < 1:
                raise UsageError(f"max_concurrency: expected 1 or more, got {max_concurrency}")
            self._settings = replace(self._settings, max_concurrency=max_concurrency)
        self._tools = tools
        self._listeners = tuple(listeners)
        self._clock: Clock = SystemClock()
        self._chance: Chance = SystemChance()
        self._opened = False

    # -- wiring --------------------------------------------------------------------------------------------------

    @property
    def store_url(self) -> str:
        """The store's URL as configured."""
        return self._settings.store

    @property
    def store_url_shown(self) -> str:
        """The store's URL without a password in it."""
        return mask(self._settings.store)

    @property
    def settings(self) -> Settings:
        """The settings that hold."""
        return self._settings

    @cached_property
    def tools(self) -> Tools:
        """The registry that steps' tools are looked up in."""
        if self._tools is not None:
            return self._tools
        from orchestrator.tools.python import make_importable
        from orchestrator.tools.registry import ToolRegistry, default_registry

        settings = self._settings
        make_importable(settings.project)
        modules = None if settings.allow_modules == ("*",) else settings.allow_modules
        paths = settings.allow_paths or None
        hosts = settings.allow_hosts or None
        if modules is None and paths is None and hosts is None:
            return default_registry()
        return ToolRegistry(allow_modules=modules, allow_paths=paths, allow_hosts=hosts)

    @cached_property
    def _adapters(self) -> Adapters:
        from orchestrator.compiler.templates import Templates
        from orchestrator.executors.secrets import SecretsExecutor
        from orchestrator.schemas.values import ResultSchemas
        from orchestrator.tools.looking import ProjectFiles

        settings = self._settings
        store = self._make_store()
        secrets = self._secrets
        codec = RedactingCodec(secrets.redactor)
        self._opened = True
        return Adapters(
            store=store,
            executor=SecretsExecutor(self._make_executor(), secrets, ValueCodec()),
            renderer=Templates(),
            secrets=secrets,
            codec=codec,
            tools=self.tools,
            files=ProjectFiles(),
            schemas=ResultSchemas(),
            clock=self._clock,
            chance=self._chance,
            keeper=self._make_keeper(store),
            project=settings.project,
            capacity=settings.max_concurrency,
            grace_seconds=settings.grace,
            listeners=self._listeners,
            retention=settings.retention,
        )

    def _make_store(self) -> Store:
        return open_store(self._settings.store, options_of(self._settings, self._clock, self._chance))

    def _make_keeper(self, store: Store) -> LeaseKeeper:
        return LeaseKeeper(store, self._clock, self._settings.lease)

    @cached_property
    def _secrets(self) -> SecretLookup:
        from orchestrator.compiler.templates import Templates
        from orchestrator.secrets.lookup import SecretLookup

        return SecretLookup(self._settings, Templates(), ValueCodec())

    def find_secrets(self, pipeline: Pipeline | Compiled) -> dict[str, tuple[list[SecretUse], Found]]:
        """Look up every secret that a pipeline names: where it is used, and where it was found or not.

        Raises UsageError for a file of secrets that cannot, or must not, be read.
        """
        from orchestrator.secrets.lookup import by_name

        secrets = self._secrets
        uses = by_name(secrets.uses(definition_of(pipeline)))
        return {name: (places, secrets.find(name)) for name, places in uses.items()}

    def _make_executor(self) -> Executor:
        from orchestrator.executors.local import LocalExecutor
        from orchestrator.executors.routing import RoutingExecutor
        from orchestrator.executors.sharing import SharingExecutor

        def processes() -> Executor:
            from orchestrator.executors.process import ProcessExecutor

            return ProcessExecutor(tools=self.tools, snapshot="orchestrator.state.valuecodec:snapshot")

        children = Children(
            Wiring(
                lambda: self._adapters,
                lambda: self._live,
                lambda: self.library,
                self._steps_logged,
                self.resume_command,
            )
        )
        routing = RoutingExecutor(LocalExecutor(self.tools, snapshot=snapshot), processes, children)
        return SharingExecutor(routing, self._settings.max_concurrency, children.family_of)

    @cached_property
    def _live(self) -> LiveExecutions:
        return LiveExecutions(self._adapters)

    @cached_property
    def resume_manager(self) -> PipelineResumeManager:
        """What can be resumed, from where, and checkpoints made by hand."""
        return PipelineResumeManager(self._adapters, self._live)

    @cached_property
    def state_manager(self) -> StateManager:
        """The door to the store: checkpoints, clean-up, health, statistics."""
        return StateManager.over(self._adapters, self._live, self._settings)

    @property
    def log_folder(self) -> Path:
        """The folder of the steps' logs: ``.orchestrator/logs``, or beside a store that lies elsewhere."""
        return log_folder(self._settings)

    @contextmanager
    def _steps_logged(self, execution_id: str) -> Iterator[None]:
        """Within: what the steps of an execution log is kept for `orchestrator logs`."""
        from orchestrator.observe.logs import StepLog

        log = StepLog(self.log_folder)
        log.install()
        log.begin(execution_id)
        try:
            yield
        finally:
            log.end(execution_id)
            log.close()

    def _forget(self, execution_id: str) -> None:
        forget(self._settings, execution_id)

    async def close(self) -> None:
        """End what still runs here, to be resumed later, and close the store; idempotent."""
        if not self._opened:
            return
        self._opened = False
        await self.resume_manager.close()
        try:
            await self._stop_engines()
        finally:
            self._adapters.keeper.close()
            await self._adapters.store.close()

    async def _stop_engines(self) -> None:
        """Let what still runs here record that it was stopped, not that it failed; its callers get ExecutionStopped."""
        self._fleet.stop(int(signal.SIGTERM))
        for engine in self._live.engines():
            engine.stop(int(signal.SIGTERM))
        await self._adapters.executor.close()
        deadline = self._clock.monotonic() + CANCEL_PATIENCE_SECONDS
        while self._live.engines() and self._clock.monotonic() < deadline:  # noqa: ASYNC110 - each ends by itself
            await asyncio.sleep(0.001)

    async def __aenter__(self) -> Self:
        """Return self."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    # -- running -------------------------------------------------------------------------------------------------

    def new_execution_id(self) -> str:
        """Return a fresh execution id."""
        return f"exec_{self._chance.token()}"

    async def run_pipeline(
        self,
        pipeline: Pipeline | Compiled,
        inputs: Mapping[str, Any] | None = None,
        *,
        execution_id: str | None = None,
        admitted: Callable[[Engine], None] | None = None,
        source: str | Path | None = None,
        wait: bool = True,
    ) -> Result:
        """Run a pipeline as a new execution and return how it ended.

        ``inputs`` are checked against the declared ones. ``admitted`` is called with the engine once the execution
        is durable. ``source`` is the file that the pipeline came from (None: what a compiled one says). Once nothing
        but waits is left in it, it waits here for time, signals and answers; not with ``wait=False``.

        Raises DefinitionError for wrong inputs, ExecutionExists for a taken id, ExecutionFailed,
        ExecutionCancelled, ExecutionStopped, ExecutionWaiting - each with the ``execution_id``; LeaseLost; StoreError.
        """
        from orchestrator.compiler.inputs import bind_inputs

        name = chosen_id(execution_id) if execution_id is not None else self.new_execution_id()
        definition = definition_of(pipeline)
        bound = bind_inputs(definition, inputs or {})
        engines: list[Engine] = []
        file = self._source_of(source if source is not None else getattr(pipeline, "source", None))

        with self._steps_logged(name):
            noted = _noting(engines, admitted)
            state = await self._live.run(definition, bound, name, noted, Opening(file), letting_go=not wait)
        return await self._conclude(name, state, engines)

    async def resume_pipeline(
        self,
        execution_id: str,
        resume_strategy: ResumeStrategy | None = None,
        *,
        steal: bool = False,
        expect: Plan | str | None = None,
        admitted: Callable[[Engine], None] | None = None,
        planned: Callable[[Plan], None] | None = None,
        wait: bool = True,
        **options: Unpack[PlanOptions],
    ) -> Result:
        """Go on with an execution exactly where it was, and return how it ended; a completed one is not run again.

        ``resume_strategy`` None means the pipeline's own. ``options`` are what may be asked of a plan (see
        PlanOptions): an edited definition, steps to run again, results given by hand, and so on. ``steal`` takes over
        from an owner that is stopped. ``expect`` is the plan that was looked at before, or its digest: any other one is
        refused. ``planned`` is told the plan before it is carried out. ``wait`` as with ``run_pipeline``.

        Raises NoCheckpoint, CheckpointUnreadable, ExecutionOwned, PlanChanged, PipelineChanged, ResumeError, and what
        ``run_pipeline`` raises.
        """
        name = valid_execution_id(execution_id)
        if self._live.engine(name) is not None:
            raise ExecutionOwned(name, "this very process, which is at work on it")
        request = await self._request(name, resume_strategy, options)
        engines: list[Engine] = []
        checks = [check for check in (must_be(expect) if expect is not None else None, planned) if check is not None]

        def told(plan: Plan) -> None:
            for check in checks:
                check(plan)

        with self._steps_logged(name):
            state = await self._live.resume(
                name, request, steal=steal, admitted=_noting(engines, admitted), planned=told, letting_go=not wait
            )
        return await self._conclude(name, state, engines)

    async def _conclude(self, name: str, state: ExecutionState, engines: list[Engine]) -> Result:
        """Return the result of a completed execution, raise the error of any other."""
        as_asked = state.status is ExecutionStatus.STOPPED and state.wanted is not None
        if state.status is ExecutionStatus.COMPLETED or (as_asked and not (engines and engines[0].stopped_by)):
            return await result_of(name, state, self._adapters.store, self._adapters.codec)
        raise error_of(name, state, self.resume_command(name), engines[0].stopped_by if engines else None)

    def resume_command(self, execution_id: str) -> str:
        """Return the exact command that resumes an execution of this store."""
        command = ["orchestrator", "resume", execution_id]
        if self._explicit_store is not None:
            command += ["--store", self._explicit_store]
        return shlex.join(command)

    # -- looking -------------------------------------------------------------------------------------------------

    async def list_executions(
        self,
        *,
        pipeline_id: str | None = None,
        status: str | None = None,
        queue: str | None = None,
        limit: int | None = None,
        children: bool = True,
    ) -> list[ExecutionSummary]:
        """Return the executions of the store, newest first.

        ``status`` is as shown: a running one whose owner is gone counts as ``interrupted``, one that somebody keeps
        from going on as ``paused``. ``queue``: only those that were given to it. ``children``: also those that steps of
        others started.
        """
        wanted = None
        if status is not None:
            try:
                wanted = ExecutionStatus(status)
            except ValueError:
                known = ", ".join(ExecutionStatus)
                raise UsageError(f"unknown status {status!r} (there are {known})") from None
        found = await self._adapters.store.summaries(pipeline_id=pipeline_id)
        shown = [summary.shown() for summary in found]
        chosen = [
            summary
            for summary in shown
            if (children or CHILD not in summary.execution_id)
            and (wanted is None or summary.status is wanted)
            and (queue is None or (summary.place is not None and summary.place.queue == queue))
        ]
        return chosen if limit is None else chosen[:limit]

    async def get_state(self, execution_id: str) -> ExecutionState:
        """Return the folded state of an execution, or as it was at a position (``EXECUTION@SEQ``).

        Raises NoCheckpoint, CheckpointUnreadable.
        """
        return (await self._past(execution_id))[1]

    async def get_summary(self, execution_id: str) -> ExecutionSummary:
        """Return an execution as lists show it, without reading its journal. Raises UnknownExecution."""
        return (await self._adapters.store.summary(valid_execution_id(execution_id))).shown()

    async def get_value(self, ref: ValueRef | None) -> Any:
        """Return the recorded value that a fact or a state refers to; None for no value. Raises StoreDamaged."""
        return None if ref is None else self._adapters.codec.decode(await self._adapters.store.get(ref))

    async def facts(self, execution_id: str) -> AsyncIterator[tuple[int, Event]]:
        """Yield the facts of an execution, (seq, event), in order. Raises UnknownExecution, StoreDamaged."""
        async for commit in self._adapters.store.read(valid_execution_id(execution_id)):
            for seq, event in enumerate(commit.events, commit.first):
                yield seq, event

    async def get_result(self, execution_id: str, task: str) -> Any:
        """Return the recorded result of one step, as templates see it: that of a container is made of its steps'.

        Raises ResumeError if it has none.
        """
        state = await self.get_state(execution_id)
        known = state.tasks.get(task)
        if known is None:
            raise ResumeError(f"no step named {task!r} in execution {execution_id!r}")
        if known.status not in DONE:
            raise ResumeError(f"step {task!r} of execution {execution_id!r} has no result: it is {known.status.value}")
        values = RecordedValues(self._adapters.store, self._adapters.codec)
        return await recorded_scope(values, state).result(task)

    async def cancel(
        self, execution_id: str, *, by: str | None = None, wait_seconds: float = 15.0, at_once: bool = False
    ) -> bool:
        """Cancel an execution; True once it is recorded: from then on no attempt begins (I12).

        Before that, completed steps are undone, and the steps of ``finally`` run, but with ``at_once``.

        With an owner at work it is asked, and waited for ``wait_seconds``; False means that it has not answered yet.
        Of an execution nobody works on this is done here. Raises ResumeError if it has ended already, or fails then.
        """
        name = valid_execution_id(execution_id)
        who = (by or user_name()) + (AT_ONCE if at_once else "")
        return await cancel_execution(self._adapters, self._live, name, who, wait_seconds)

    # -- the sync door -------------------------------------------------------------------------------------------

    @cached_property
    def _signals(self) -> StopSignals:
        return StopSignals(self._live, self._fleet)

    def signals(self, told: Callable[[int, int], None] | None = None) -> AbstractContextManager[None]:
        """Within: the first SIGINT, SIGTERM or SIGHUP stops gracefully all that runs here, the second leaves at once.

        SIGHUP (the terminal is gone) counts as SIGTERM, and stays ignored under nohup. The second one works even
        while something blocks the event loop. ``told`` is called with the signal and its count: 1, or 2 just before
        leaving.
        """
        return self._signals.installed(told)

    @property
    def stop_asked(self) -> int | None:
        """The signal that asked to stop, while ``signals`` is in force; None if none did."""
        return self._signals.asked


def _noting(engines: list[Engine], admitted: Callable[[Engine], None] | None) -> Callable[[Engine], None]:
    """Return what keeps the engine of an execution once it is admitted, and passes it on."""

    def note(engine: Engine) -> None:
        engines.append(engine)
        if admitted is not None:
            admitted(engine)

    return note
