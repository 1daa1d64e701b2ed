"""Gathers what a plan has to know of the world outside the journal. Looks only where something may have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.core.scope import RecordedValues, Scope
from orchestrator.core.weighing import Weighing, seen_by
from orchestrator.domain.execution import DONE, TaskState, TaskStatus
from orchestrator.domain.plan import Evidence
from orchestrator.domain.planner import attempted, inputs_differ
from orchestrator.domain.recorded import Recorded
from orchestrator.domain.revision import called_alike

if TYPE_CHECKING:
    from orchestrator.core.adapters import Adapters
    from orchestrator.domain.execution import ExecutionState
    from orchestrator.domain.fingerprint import Given
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Pipeline, Task
    from orchestrator.domain.plan import PlanRequest
    from orchestrator.domain.tasks import Call, Prior
    from orchestrator.domain.values import ValueRef


async def gather(
    adapters: Adapters, execution_id: str, state: ExecutionState, pipeline: Pipeline, request: PlanRequest
) -> Evidence:
    """Return the evidence for a plan of ``pipeline`` over ``state``.

    Costs a look at each distinct call and each file that results depend on, and rendering for the tasks whose text,
    inputs or upstream results differ from what they were: O(tasks), and no value is loaded for the others.
    """
    return await _Gathering(adapters, execution_id, state, pipeline, request).evidence()


class _Gathering:
    def __init__(
        self,
        adapters: Adapters,
        execution_id: str,
        state: ExecutionState,
        pipeline: Pipeline,
        request: PlanRequest,
    ) -> None:
        self._adapters = adapters
        self._execution_id = execution_id
        self._state = state
        self._pipeline = pipeline
        self._request = request
        self._recorded = Recorded(state, pipeline)
        self._other_inputs = inputs_differ(state, request)
        self._given_results = {
            name: _given(result.ref) for name, result in request.results.items() if name in self._recorded.graph
        }
        self._values = RecordedValues(adapters.store, adapters.codec, self)
        self._weighing = Weighing(adapters, self._values)

    def pending_value(self, ref: ValueRef) -> bytes | None:
        """Return a result or inputs that were given and are not in the store yet."""
        for result in (*self._request.results.values(), self._request.inputs):
            if result is not None and result.ref.data == ref.data:
                return result.payload
        return None

    def _find(self, name: TaskId) -> TaskState:
        """Return a task as a template will see it."""
        given = self._given_results.get(name)
        if given is not None:
            return given
        known = self._recorded.state(name) or TaskState(0)
        if known.kept is not None:
            found = _given(known.kept.value)
            found.status = known.kept.status
            return found
        return known

    async def evidence(self) -> Evidence:
        calls: dict[tuple[str, str | None], Call] = {}
        told: set[tuple[str, str | None]] = set()
        given: dict[TaskId, Given] = {}
        faults: dict[TaskId, str] = {}
        priors: list[Prior] = []
        scope: Scope | None = None
        quick = self._request.revision is None and not self._request.results
        for name, task in self._recorded.graph.items():
            known = self._recorded.state(name)
            if known is None or known.ending or (task.control is not None and not _was_skipped(known)):
                continue
            call = task.tool, task.action
            if call not in told and task.control is None and (known.call is not None or known.kept is not None):
                told.add(call)
                self._look_up(call, calls)
            if quick and known.kept is None and known.trace is None and known.under is None and not known.stale:
                continue  # as it was, and nobody asks for more
            prior = known.prior or attempted(known)
            if prior is None or known.pinned or name in self._request.results:
                continue
            if prior.trace is not None:
                priors.append(prior)
            old = self._recorded.before(task, known)
            if self._may_be_given_else(task, known, old):
                scope = scope or await self._scope()
                values = await scope.build(task.reads or (), known.attempt, task)
                given[name] = await self._weighing.given(old, task, prior, values)
            if prior.value is None:
                continue
            if task.output_schema != old.output_schema and (fault := await self._weighing.schema_fault(task, prior)):
                faults[name] = fault
        files = await self._weighing.look(seen_by(priors))
        return Evidence(calls, given, files, faults, self._execution_id)

    def _look_up(self, call: tuple[str, str | None], calls: dict[tuple[str, str | None], Call]) -> None:
        """Find out what a call means now."""
        found, recorded = self._weighing.call(*call), self._state.calls.get(call)
        if found is not None:
            # The very object that the tasks have: comparing 100,000 of them is free then.
            calls[call] = recorded if recorded == found else found

    def _may_be_given_else(self, task: Task, known: TaskState, old: Task) -> bool:
        """Tell whether a task's parameters may differ from those recorded, and can be worked out now."""
        templated = task.reads is not None
        if not (
            known.kept is not None
            or ((known.stale or self._other_inputs) and templated)
            or (task is not old and not called_alike(old, task))
            or any(read in self._given_results for read in task.reads or ())
        ):
            return False
        return all(self._find(read).status in DONE for read in task.reads or ())

    async def _scope(self) -> Scope:
        state = self._state
        revision = self._request.revision
        if revision is not None:
            inputs = self._adapters.codec.decode(revision.inputs.payload)
        else:
            inputs = await self._values.load(state.inputs)
        facts: dict[str, Any] = {
            "id": self._execution_id,
            "is_resume": True,
            "context": await self._values.load(state.context),
        }
        return Scope(self._values, inputs or {}, lambda: facts, self._find, lambda: self._recorded.graph)


def _was_skipped(known: TaskState) -> bool:
    """Tell whether what there is of a task is that it was skipped, whether that is in question or not."""
    prior = known.prior
    return prior is not None and prior.status is TaskStatus.SKIPPED


def _given(ref: ValueRef | None) -> TaskState:
    found = TaskState(0)
    found.status = TaskStatus.COMPLETED
    found.value = ref
    return found
