"""What ``Orchestrator`` knows of plans: what a resume would do and why, forks, and going on with what was edited."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from orchestrator.core.collector import collector_paused
from orchestrator.core.comparing import compare
from orchestrator.core.explaining import Explanation, explain
from orchestrator.core.forking import Changes, fork_of
from orchestrator.core.recovery import state_at
from orchestrator.core.scope import RecordedValues
from orchestrator.core.system import user_name
from orchestrator.core.weighing import component
from orchestrator.domain.changes import differences
from orchestrator.domain.ids import (
    ExecutionId,
    TaskId,
    checkpoint_id,
    chosen_id,
    parse_checkpoint_id,
    parse_position,
)
from orchestrator.domain.ids import execution_id as valid_execution_id
from orchestrator.domain.pipeline import OnChange, Pipeline, definition_of
from orchestrator.domain.plan import Plan, PlanRequest, Revision
from orchestrator.domain.strategy import ResumeStrategy
from orchestrator.errors import DefinitionError, NoCheckpoint, PlanChanged, ResumeError, UnstorableValue, UsageError
from orchestrator.wired import Wired

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.compiler.library import Library
    from orchestrator.core.forking import Fork
    from orchestrator.domain.diff import Diff
    from orchestrator.domain.execution import ExecutionState
    from orchestrator.domain.pipeline import Compiled
    from orchestrator.domain.values import EncodedValue
    from orchestrator.ports.tools import Tools


class PlanOptions(TypedDict, total=False):
    """What may be asked of a plan, and so of a resume and a fork; all of it may be left away.

    - ``pipeline``: go on with an edited definition: a file's path, or a compiled pipeline.
    - ``from_checkpoint``: go back to a position first, ``EXECUTION@SEQ`` or the seq: what came after it runs again.
    - ``rerun``: run these steps again although they are done; what reads them runs again if their results differ, and
      with ``downstream`` all that depends on them whatever they give.
    - ``retry``: forgive these failed or parked steps their failures; ``skip``: go on without these steps.
    - ``set_results``: step -> the result it is to have; held against its ``output_schema``.
    - ``until``: run this step and what it needs, and stop.
    - ``on_change``: ``rerun``, ``keep`` or ``fail``: what becomes of finished steps that have changed.
    - ``reason`` and ``by`` are recorded with it; ``by`` None means the user who runs this process.
    """

    pipeline: Pipeline | Compiled | str | Path | None
    from_checkpoint: str | int | None
    rerun: Sequence[str]
    downstream: bool
    retry: Sequence[str]
    skip: Sequence[str]
    set_results: Mapping[str, Any]
    until: str | None
    on_change: OnChange | str | None
    reason: str
    by: str | None


class RevisionMethods(Wired):
    """The methods of an ``Orchestrator`` that plan, fork, explain, revise and compare."""

    @property
    @abstractmethod
    def tools(self) -> Tools:
        """The registry that steps' tools are looked up in."""

    @property
    def library(self) -> Library:
        """What finds the pipelines that steps call: files as they are now."""
        from orchestrator.compiler.library import Library

        return Library(self.settings.project, self.tools)

    # -- plans ---------------------------------------------------------------------------------------------------

    async def plan(
        self, execution_id: str, resume_strategy: ResumeStrategy | None = None, **options: Unpack[PlanOptions]
    ) -> Plan:
        """Return what ``resume_pipeline`` with the same arguments would do with each task, and why; changes nothing.

        Raises what ``resume_pipeline`` raises before it begins.
        """
        name = valid_execution_id(execution_id)
        with collector_paused():
            state = await self._live.load(name)  # once: of a large execution that is most of the work
            return await self._live.plan_for(name, state, await self._request(name, resume_strategy, options, state))

    async def explain(self, execution_id: str, step: str, **options: Unpack[PlanOptions]) -> Explanation:
        """Return what a step's result was computed of, what of that is another now, and what a resume does with it.

        Raises ResumeError for an unknown step, and what ``plan`` raises.
        """
        name = valid_execution_id(execution_id)
        state = await self._live.load(name)
        request = await self._request(name, None, options, state)
        plan = await self._live.plan_for(name, state, request)
        values = RecordedValues(self._adapters.store, self._adapters.codec)
        return await explain(values, name, state, request, plan, step)

    async def revise(
        self,
        execution_id: str,
        *,
        planned: Callable[[Plan], None] | None = None,
        **options: Unpack[PlanOptions],
    ) -> Plan:
        """Record what a plan begins with, and run nothing: whoever resumes the execution next goes on from there.

        That is how an edited definition or a given result reaches an execution that a server is to go on with. Raises
        ExecutionOwned, and what ``plan`` raises.
        """
        name = valid_execution_id(execution_id)
        if options.get("until") is not None:
            raise UsageError("until is for a resume that runs here: a server runs an execution to its end")
        return await self._live.revise(name, await self._request(name, None, options), planned)

    def definition_on_disk(self, plan: Plan) -> str:
        """Say how the file of the definition that a plan goes on with differs from it by now; empty if it does not.

        An execution goes on with what is recorded, whatever became of the file: whoever edited it should know.
        """
        from orchestrator.compiler.compile import compile_file
        from orchestrator.compiler.places import file_at, python_place, sha256_of

        source, digest = plan.source
        file = file_at(source) if source else None
        path = self.settings.project / (file or "")
        if not path.is_file() or sha256_of(path) == digest:
            return ""
        how = f"to go on with the file: --pipeline {source}"
        if python_place(source) is not None:  # what it builds by now only running it could tell
            return f"{file} has changed since; the recorded definition holds ({how})"
        try:
            found = compile_file(path, tools=self.tools, default_id=plan.pipeline_id, library=self.library)
        except DefinitionError as error:
            count = len(error.diagnostics)
            return f"{source} has {count} mistake{'s' if count > 1 else ''} by now; the recorded definition holds"
        if self._adapters.codec.encode_pipeline(found).ref.data == plan.definition:
            return ""
        return f"{source} has changed since; the recorded definition holds ({how})"

    # -- forks ---------------------------------------------------------------------------------------------------

    async def fork(
        self,
        execution: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        execution_id: str | None = None,
        planned: Callable[[Plan], None] | None = None,
        **options: Unpack[PlanOptions],
    ) -> str:
        """Create an execution that begins with what another has recorded, and return its id; durable on return.

        ``execution`` is an execution, or a position in one (``EXECUTION@SEQ``). ``inputs`` are those that are to be
        other ones; what depends on them runs again. Values are shared, not copied; the original is never altered.
        Nothing runs yet: ``resume_pipeline`` runs it. Raises NoCheckpoint, ExecutionExists, DefinitionError for wrong
        inputs, ValueGone if the original is removed meanwhile, and what ``plan`` raises.
        """
        name = chosen_id(execution_id) if execution_id is not None else self.new_execution_id()
        if options.get("until") is not None:
            raise UsageError("until is for the resume that runs the fork")
        fork, request = await self._fork(execution, name, inputs, options)
        await self._live.create_fork(ExecutionId(name), fork, request, planned)
        return name

    async def plan_fork(
        self,
        execution: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        **options: Unpack[PlanOptions],
    ) -> Plan:
        """Return the plan of a fork with the same arguments; creates nothing."""
        name = self.new_execution_id()
        fork, request = await self._fork(execution, name, inputs, options)
        return await self._live.plan_for(name, fork.state, request)

    async def _fork(
        self, execution: str, name: str, inputs: Mapping[str, Any] | None, options: PlanOptions
    ) -> tuple[Fork, PlanRequest]:
        source, past = await self._past(execution)
        if past.pipeline is None:
            raise NoCheckpoint(f"execution {source!r} was saved without a pipeline: there is nothing to fork")
        by, why = options.get("by") or user_name(), options.get("reason", "")
        request = await self._request(ExecutionId(name), None, options, past, inputs)
        changes = Changes(by=by, why=why)
        if inputs:
            codec, other = self._adapters.codec, None
            old = codec.decode(await self._adapters.store.get(past.inputs)) if past.inputs is not None else {}
            if request.revision is not None:
                bound = codec.decode(request.revision.inputs.payload)
            else:
                bound = _bound(past.pipeline, {**old, **inputs})
                other = codec.encode(bound)
            changed = tuple(sorted(key for key in inputs if key not in old or differences(old[key], bound[key])))
            changes = Changes(other, changed, by, why)
            request = replace(request, inputs=other, follow=bool(changed) or request.follow)
        return fork_of(source, past, changes, self._adapters.clock.now()), request

    async def _past(self, execution: str) -> tuple[ExecutionId, ExecutionState]:
        """Return the execution that a text names, and its state, at the position if it names one."""
        name, seq = parse_position(execution)
        state = await self._live.load(name)  # all of it, so that damage after the position is noticed, too
        if seq is None or seq == state.seq:
            return name, state
        if seq > state.seq:
            raise NoCheckpoint(
                f"No resume checkpoint found: no position {checkpoint_id(name, seq)}: the journal has {state.seq} facts"
            )
        return name, await state_at(self._adapters.store, self._adapters.codec, name, seq)

    # -- comparing -----------------------------------------------------------------------------------------------

    async def diff(self, a: str, b: str, *, values: bool = True) -> Diff:
        """Return what differs from ``a`` to ``b``, each an execution or a checkpoint, ``EXECUTION@SEQ``.

        An execution means its present state. Results are compared by their digests; with ``values`` the first of those
        that differ are loaded, if they are not too large, to tell where. Changes nothing. Raises NoCheckpoint for what
        is not there and for an execution without a pipeline, CheckpointUnreadable for what is damaged, UsageError.
        """
        return await compare(self._adapters, a, b, values=values)

    # -- requests ------------------------------------------------------------------------------------------------

    async def _request(
        self,
        name: ExecutionId,
        strategy: ResumeStrategy | None,
        options: PlanOptions,
        state: ExecutionState | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> PlanRequest:
        """Return what was asked for as the core takes it; reads the journal only if that is needed.

        ``inputs`` are those that a fork is given.
        """
        if strategy is not None and not isinstance(strategy, ResumeStrategy):
            raise UsageError(f"resume_strategy: expected a ResumeStrategy, got {type(strategy).__name__}")
        unknown = sorted(set(options) - PlanOptions.__annotations__.keys())
        if unknown:
            raise UsageError(f"unknown option {unknown[0]!r}; there are {', '.join(PlanOptions.__annotations__)}")
        given, edited = options.get("set_results") or {}, options.get("pipeline")
        revision, results = None, {}
        if given or edited is not None:
            state = state or await self._live.load(name)
            if edited is not None:
                revision = await self._revision(state, edited, inputs or {})
            pipeline = revision.pipeline if revision is not None else state.pipeline
            results = {step: self._result(pipeline, step, value) for step, value in given.items()}
        if options.get("downstream") and not options.get("rerun"):
            raise UsageError("downstream goes with rerun: it says that what depends on those steps runs again too")
        return PlanRequest(
            revision=revision,
            from_seq=_seq_of(name, options.get("from_checkpoint")),
            retry=frozenset(options.get("retry") or ()),
            skip=frozenset(options.get("skip") or ()),
            rerun=frozenset(options.get("rerun") or ()),
            downstream=bool(options.get("downstream")),
            results=results,
            until=options.get("until"),
            on_change=_on_change(options.get("on_change")),
            follow=edited is not None,  # the file may be as recorded; what else has changed is followed all the same
            strategy=strategy,
            by=options.get("by") or user_name(),
            why=options.get("reason") or "",
        )

    async def _revision(
        self, state: ExecutionState, edited: Pipeline | Compiled | str | Path, given: Mapping[str, Any]
    ) -> Revision | None:
        """Return the revision that an edited pipeline is with these inputs; None if it is what is recorded."""
        from orchestrator.compiler.places import compile_at

        if isinstance(edited, (str, Path)):
            source = self._source_of(edited)
            pipeline = compile_at(edited, tools=self.tools, default_id=state.pipeline_id or None, library=self.library)
        else:
            pipeline = definition_of(edited)
            source = self._source_of(getattr(edited, "source", None))
        if state.pipeline is None or state.inputs is None:
            return None  # the plan itself says why it cannot be
        if pipeline.id != state.pipeline_id:
            raise ResumeError(
                f"this is pipeline {pipeline.id!r}, and the execution is one of {state.pipeline_id!r}: "
                f"give it the id {state.pipeline_id!r}, or run it anew"
            )
        codec = self._adapters.codec
        old = codec.decode(await self._adapters.store.get(state.inputs))
        declared = state.pipeline.inputs
        chosen = {
            key: value
            for key, value in old.items()
            if key in pipeline.inputs and (key not in declared or differences(declared[key].default, value))
        }
        bound = _bound(pipeline, {**chosen, **given})
        definition, inputs = codec.encode_pipeline(pipeline), codec.encode(bound)
        if definition.ref == state.definition:
            return None
        changed = tuple(component(change.path, change.old, change.new, "inputs") for change in differences(old, bound))
        return Revision(pipeline, definition, inputs, source, changed)

    def _result(self, pipeline: Pipeline | None, step: str, value: Any) -> EncodedValue:
        task = None if pipeline is None else pipeline.tasks.get(TaskId(step))
        if task is not None and task.output_schema is not None:
            fault = self._adapters.schemas.check(task.output_schema, value)
            if fault is not None:
                raise ResumeError(f"the result given for {step!r} is not what its output_schema says: {fault}")
        try:
            return self._adapters.codec.encode(value)
        except UnstorableValue as error:
            raise ResumeError(f"the result given for {step!r} cannot be kept: {error}") from error


def must_be(expected: Plan | str) -> Callable[[Plan], None]:
    """Return what refuses every other plan than the expected one, given as itself or by its digest (or its beginning).

    Raises PlanChanged.
    """

    def check(found: Plan) -> None:
        if isinstance(expected, Plan):
            if expected.digest == found.digest:
                return
            where = expected.differences(found, lambda each: f"{each.verb.value} ({each.reason})")
            told = "".join(f"\n  {line}" for line in where) or "\n  the definition is another one"
        elif expected and found.digest.startswith(expected):
            return
        else:
            told = f" it is {found.digest} now, not {expected}"
        raise PlanChanged(
            f"things have changed since that plan was shown; nothing was run:{told}\nLook at the plan again"
        )

    return check


def _bound(pipeline: Pipeline, inputs: Mapping[str, Any]) -> dict[str, Any]:
    from orchestrator.compiler.inputs import bind_inputs

    return bind_inputs(pipeline, inputs)


def _on_change(text: OnChange | str | None) -> OnChange | None:
    if text is None:
        return None
    try:
        return OnChange(text)
    except ValueError:
        raise UsageError(f"on_change: expected {', '.join(OnChange)}, got {text!r}") from None


def _seq_of(execution_id: str, checkpoint: str | int | None) -> int | None:
    if checkpoint is None or isinstance(checkpoint, int):
        return checkpoint
    if checkpoint.isascii() and checkpoint.isdigit():
        return int(checkpoint)
    name, seq = parse_checkpoint_id(checkpoint)
    if name != execution_id:
        raise UsageError(
            f"checkpoint {checkpoint!r} belongs to another execution than {execution_id!r}; "
            f"to begin a new one there: orchestrator fork {checkpoint}"
        )
    return seq
