"""How a task becomes an attempt, or is done without one: by its condition, its kept result, or one of elsewhere."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from orchestrator.core.containers import Containers
from orchestrator.core.scope import RecordedValues, Scope, failure_of
from orchestrator.core.weighing import Weighing
from orchestrator.domain.events import (
    CONDITION_FALSE,
    CheckpointMade,
    TaskClaimed,
    TaskReused,
    TaskSkipped,
    TaskTraced,
    ToolsResolved,
)
from orchestrator.domain.files import FileSeen, Trace
from orchestrator.domain.fingerprint import Present, cache_key, weigh
from orchestrator.domain.ids import checkpoint_id, idempotency_key
from orchestrator.domain.pipeline import NO_FILES, CacheScope, CheckpointWhen, DeclaredFiles
from orchestrator.domain.tasks import TaskStatus
from orchestrator.domain.values import EncodedValue
from orchestrator.errors import StoreDamaged
from orchestrator.ports.executor import Attempt
from orchestrator.ports.store import CacheEntry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.core.adapters import Adapters
    from orchestrator.core.recorder import Recorder
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Pipeline, Task
    from orchestrator.domain.tasks import Prior, TaskState
    from orchestrator.domain.values import ValueRef

_log = logging.getLogger("orchestrator.engine")
_IMMUTABLE = frozenset({str, bytes, int, float, bool, type(None)})


class Claims:
    """Makes the attempts of one execution, and records their claims."""

    def __init__(self, pipeline: Pipeline, recorder: Recorder, adapters: Adapters) -> None:
        self._pipeline = pipeline
        self._recorder = recorder
        self._adapters = adapters
        self._values = RecordedValues(adapters.store, adapters.codec, recorder)
        self._weighing = Weighing(adapters, self._values)
        self._resolved: set[tuple[str, str | None]] = set()
        self._keys: dict[TaskId, bytes] = {}
        self._fresh: list[tuple[TaskId, bytes]] = []

    async def open(self) -> None:
        """Load what every attempt sees: the inputs, and the caller's context."""
        state = self._recorder.state
        context = await self._values.load(state.context)
        execution_id = self._recorder.lease.execution_id

        def facts() -> dict[str, Any]:
            return {"id": execution_id, "is_resume": state.resumed, "context": context}

        inputs = await self._values.load(state.inputs) or {}
        self._scope = Scope(
            self._values, inputs, facts, lambda name: state.tasks[name], lambda: state.graph, lambda: failure_of(state)
        )
        self.containers = Containers(self._recorder, self._adapters.renderer, self._adapters.codec, self._scope)
        self._inputs_shared = all(type(value) in _IMMUTABLE for value in inputs.values())

    async def outputs(self) -> Any:
        """Return the pipeline's outputs; raises TaskError."""
        reads = [name for name in self._pipeline.output_reads if name in self._recorder.state.tasks]
        return self._adapters.renderer.render(self._pipeline.outputs, await self._scope.build(reads, 0))

    # -- claiming ------------------------------------------------------------------------------------------------

    async def claim(self, task: Task, now: float) -> Attempt | None:
        """Record the claim of the next attempt and return it; None if the task is done without one.

        Raises TaskError where condition, parameters or file names cannot be worked out; then nothing is recorded.
        """
        name = task.id
        known = self._recorder.state.tasks[name]
        number = known.attempt + 1
        self._resolve(task, now)
        if (kept := known.kept) is not None:
            if await self._settle(task, known, kept, now):
                return None
            if await self._migrates(task, known, kept):
                return await self._migration(task, known, kept, now)
        reference: ValueRef | bytes | None = None
        parameters: Mapping[str, Any] = task.parameters
        files, scope = NO_FILES, None
        renderer = self._adapters.renderer
        if task.reads is not None:
            scope = await self._scope.build(task.reads, number, task)
            if task.condition is not None and not self.containers.decide(task, "condition", task.condition, scope, now):
                return None
            parameters = renderer.render(task.parameters, scope)
            reference = self._weighing.given_ref(parameters)
        elif parameters:
            # A tool may change what it is given; the definition must stay what it is.
            parameters = renderer.render(parameters, {})
        if task.files is not NO_FILES:
            files = self._files(task, scope or {})
        if task.cache is not None:
            key = self._key(task, parameters, scope or {})
            if await self._take_from_elsewhere(task, key, reference, now):
                return None
            self._keys[name] = key
        self.note(task, number, now, reference)
        return await self._attempt(task, known, number, parameters, files)

    async def asked(self, task: Task, now: float) -> tuple[int, Mapping[str, Any]] | None:
        """Return the number and the rendered parameters of a task that is to wait; None if it is done without that.

        Raises TaskError as ``claim`` does.
        """
        known = self._recorder.state.tasks[task.id]
        number = known.attempt + 1
        self._resolve(task, now)
        if known.kept is not None and await self._settle(task, known, known.kept, now):
            return None
        renderer = self._adapters.renderer
        if task.reads is None:
            return number, renderer.render(task.parameters, {})
        scope = await self._scope.build(task.reads, number, task)
        if task.condition is not None and not self.containers.decide(task, "condition", task.condition, scope, now):
            return None
        return number, renderer.render(task.parameters, scope)

    def note(self, task: Task, number: int, now: float, parameters: ValueRef | bytes | None = None) -> None:
        """Record a claim."""
        if task.checkpoint in (CheckpointWhen.BEFORE, CheckpointWhen.BOTH):
            self._recorder.record(CheckpointMade(now, "before", task.id, {}, None))
        self._recorder.record(TaskClaimed(now, task.id, number, parameters), durable=task.critical)

    async def _attempt(
        self, task: Task, known: TaskState, number: int, parameters: Mapping[str, Any], files: DeclaredFiles
    ) -> Attempt:
        execution_id = self._recorder.lease.execution_id
        return Attempt(
            execution_id=execution_id,
            task_id=task.id,
            attempt=number,
            completed_attempt=known.completed_attempt,
            created_at=self._recorder.state.created_at,
            tool=task.tool,
            action=task.action,
            parameters=parameters,
            idempotency_key=idempotency_key(execution_id, task.id, known.life),
            inputs=self._scope.inputs if self._inputs_shared else await self._own_inputs(),
            project=self._adapters.project,
            saved=None if known.saved is None else await self._values.load(known.saved),
            timeout=task.timeout,
            isolation=task.isolation,
            critical=task.critical,
            files=files,
            migrate=task.migrate if known.saved_under is not None else None,
            generation=known.generation,
        )

    async def _own_inputs(self) -> Mapping[str, Any]:
        """Return the inputs for a tool to keep: it may change what is in them, and nobody else must see that."""
        return MappingProxyType(await self._values.load(self._recorder.state.inputs))

    def _resolve(self, task: Task, now: float) -> None:
        """Record what the task's call means, where the journal does not say so already."""
        key = task.tool, task.action
        if key in self._resolved:
            return
        self._resolved.add(key)
        call = self._weighing.call(*key)
        if call is not None and self._recorder.state.calls.get(key) != call:
            self._recorder.record(ToolsResolved(now, [(*key, call.version, dict(call.code))]))

    def _files(self, task: Task, scope: Mapping[str, Any]) -> DeclaredFiles:
        reads, writes = self._adapters.renderer.render([list(task.files.reads), list(task.files.writes)], scope)
        return DeclaredFiles(tuple(map(str, reads)), tuple(map(str, writes)))

    # -- kept results --------------------------------------------------------------------------------------------

    async def _settle(self, task: Task, known: TaskState, kept: Prior, now: float) -> bool:
        """Look again at an invalidated task; True if it keeps its result (or stays skipped), which is recorded."""
        old = known.under or task
        given = None
        # Recorded parameters came of templates: of a text that a fork knows nothing of, where this one has none.
        if task.reads is not None or old is not task or kept.parameters is not None:
            scope = await self._scope.build(task.reads or (), known.attempt, task)
            given = await self._weighing.given(old, task, kept, scope)
        seen = await self._weighing.look({each.path: each for each in kept.trace.reads} if kept.trace else {})
        fault = ""
        if task.output_schema != old.output_schema:
            fault = await self._weighing.schema_fault(task, kept)
        call = self._recorder.state.calls.get((task.tool, task.action))
        present = Present(call, given, seen.get, schema_fault=fault)
        if weigh(kept, old, task, present, stale=known.stale):
            return False
        if kept.status is TaskStatus.SKIPPED or kept.value is None:
            self._recorder.record(TaskSkipped(now, task.id, f"{CONDITION_FALSE}: {task.condition}"))
        else:
            source = kept.source or checkpoint_id(self._recorder.lease.execution_id, kept.seq)
            self._recorder.record(TaskReused(now, task.id, kept.value, kept.parameters, source))
        return True

    async def _migrates(self, task: Task, known: TaskState, kept: Prior) -> bool:
        """Tell whether the new result is made of the old one.

        Not if even the former text would be given something else by now: then the old result is of no use. Where the
        former text cannot be worked out any more (it reads what is called otherwise by now), that is not said.
        """
        old = known.under
        if task.migrate is None or old is None or kept.status is not TaskStatus.COMPLETED:
            return False
        if old.reads is None:
            return True
        reads = [read for read in old.reads if read in self._recorder.state.tasks]
        given = await self._weighing.given(old, old, kept, await self._scope.build(reads, known.attempt, old))
        return bool(given.fault) or (given.runs and not given.changes)

    async def _migration(self, task: Task, known: TaskState, kept: Prior, now: float) -> Attempt | None:
        """Claim an attempt that makes the new result of the old one, instead of running the tool."""
        number = known.attempt + 1
        old = await self._values.load(kept.value)
        scope = await self._scope.build(task.reads or (), number, task)
        renderer = self._adapters.renderer
        if task.condition is not None and not self.containers.decide(task, "condition", task.condition, scope, now):
            return None
        reference = None
        if task.reads is not None:
            reference = self._weighing.given_ref(renderer.render(task.parameters, scope))
        self.note(task, number, now, reference)
        # What it read stays part of what it depends on; nothing is written anew.
        files = DeclaredFiles(self._files(task, scope).reads) if task.files.reads else NO_FILES
        given = {"old": old, "kind": "result"}
        if self._adapters.tools.check("python", task.migrate, given, lambda _: False):
            del given["kind"]  # it takes none; and what else is wrong, the attempt says
        attempt = await self._attempt(task, known, number, given, files)
        attempt.tool, attempt.action = "python", task.migrate
        return attempt

    # -- results of elsewhere ------------------------------------------------------------------------------------

    def _key(self, task: Task, parameters: Mapping[str, Any], scope: Mapping[str, Any]) -> bytes:
        cache, call = task.cache, self._recorder.state.calls.get((task.tool, task.action))
        if cache is None or call is None:
            return b""
        given = self._weighing.given_ref(parameters)
        key = "" if cache.key is None else str(self._adapters.renderer.render(cache.key, scope))
        where = self._pipeline.id if cache.scope is CacheScope.PIPELINE else ""
        code = [text for pair in sorted(call.code.items()) for text in pair]
        data = given if isinstance(given, bytes) else given.data
        reads = self._files(task, scope).reads if task.files.reads else ()
        return cache_key(
            [cache.scope.value, where, task.tool, task.action or "", call.version, data, key, *reads, *code]
        )

    async def _take_from_elsewhere(
        self, task: Task, key: bytes, reference: ValueRef | bytes | None, now: float
    ) -> bool:
        """Use a result of the same fingerprint that another execution recorded, if there is one still good."""
        cache, store = task.cache, self._adapters.store
        if not key or cache is None:
            return False
        try:
            entry = await store.recall(key)
            if entry is None or (cache.ttl_seconds is not None and now - entry.at > cache.ttl_seconds):
                return False
            payload = await store.get(entry.value)
        except StoreDamaged as error:
            _log.warning("step %s: a result of another execution is not used: %s", task.id, error)
            return False
        trace = entry.trace or Trace()
        files: tuple[FileSeen, ...] = (*trace.reads, *trace.writes)
        if trace.writes:  # first of all: once they are looked at, nobody may remove them
            await self._weighing.hold([each.path for each in files], self._recorder.lease.execution_id)
        seen = await self._weighing.look({each.path: each for each in files})
        if not all(each.same(seen[each.path]) for each in files):
            return False
        if entry.trace is not None:
            number = self._recorder.state.tasks[task.id].attempt
            self._recorder.record(TaskTraced(now, task.id, number, list(trace.reads), list(trace.writes), inputs=False))
        reused = TaskReused(now, task.id, entry.value, reference, entry.source)
        self._recorder.record(reused, EncodedValue(entry.value, payload))
        return True

    def completed(self, name: TaskId, trace: Trace | None) -> None:
        """Note that a task has a result that others may take once it is durable."""
        key = self._keys.pop(name, b"")
        if key and not (trace is not None and trace.inputs):
            self._fresh.append((name, key))

    async def offer_results(self) -> None:
        """Let other executions have the results that are durable now."""
        fresh, self._fresh = self._fresh, []
        execution_id = self._recorder.lease.execution_id
        for name, key in fresh:
            known = self._recorder.state.tasks[name]
            if known.value is not None:
                source = checkpoint_id(execution_id, known.seq)
                entry = CacheEntry(key, known.ended_at or 0.0, source, known.value, known.trace)
                await self._adapters.store.remember(execution_id, entry)

    @property
    def has_results_to_offer(self) -> bool:
        """Whether ``offer_results`` has something to do."""
        return bool(self._fresh)
