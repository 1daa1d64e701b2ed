"""Explaining one step: what its result was computed of, what of that is another now, and what a resume does with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.core.scope import RecordedValues
from orchestrator.domain.changes import shown
from orchestrator.domain.recorded import Recorded
from orchestrator.domain.values import ValueRef
from orchestrator.errors import ResumeError

if TYPE_CHECKING:
    from orchestrator.domain.execution import ExecutionState
    from orchestrator.domain.ids import ExecutionId
    from orchestrator.domain.pipeline import Task
    from orchestrator.domain.plan import Decision, Plan, PlanRequest
    from orchestrator.domain.tasks import Prior


@dataclass(frozen=True, slots=True)
class Explanation:
    """A step's fingerprint, part by part.

    ``parts`` are (name, as recorded, as it is now); the last is None where nothing has changed. ``decision`` is that of
    the plan. ``recorded_at`` is the fact that recorded the result (``EXECUTION@SEQ``), or empty without one.
    """

    task: str
    status: str
    decision: Decision
    recorded_at: str
    parts: tuple[tuple[str, str, str | None], ...]


async def explain(
    values: RecordedValues,
    execution_id: ExecutionId,
    state: ExecutionState,
    request: PlanRequest,
    plan: Plan,
    step: str,
) -> Explanation:
    """Return the explanation of a step in the plan of a request; raises ResumeError for one that it does not have."""
    pipeline = request.revision.pipeline if request.revision is not None else state.pipeline
    decision = next((each for each in plan.decisions if each.task == step), None)
    if decision is None or pipeline is None:  # and without a pipeline there is no plan
        raise ResumeError(f"no step named {step!r} in this pipeline; there are {', '.join(state.tasks)}")
    tasks, recorded = Recorded(state, pipeline), []
    known = tasks.state(decision.task)
    prior = known.prior if known is not None else None
    origin = ""
    if known is not None and prior is not None:
        old = tasks.before(tasks.graph[decision.task], known)
        recorded = await _parts(values, state, old, prior)
        origin = prior.source or f"{execution_id}@{prior.seq}"
    changes = {each.name: each for each in decision.components}
    parts: list[tuple[str, str, str | None]] = []
    for name, text in recorded:
        mine = [each for each in changes if each == name or each.startswith((f"{name}.", f"{name}["))]
        if not mine:
            parts.append((name, text, None))
        parts += [(each, changes[each].before, changes.pop(each).now) for each in mine]
    parts += [(each.name, each.before, each.now) for each in changes.values()]
    status = known.status.value if known is not None else "new"
    return Explanation(step, status, decision, origin, tuple(parts))


async def _parts(values: RecordedValues, state: ExecutionState, old: Task, prior: Prior) -> list[tuple[str, str]]:
    """Return the recorded parts of a fingerprint for people, in the order in which they are weighed."""
    found = [("tool", old.tool), ("action", old.action or "the default")]
    if old.condition is not None:
        found.append(("condition", old.condition))
    if prior.call is not None:
        found.append(("tool version", prior.call.version))
        found += [(f"code of {name}", digest[:8]) for name, digest in sorted(prior.call.code.items())]
    parameters: Any = old.parameters
    if isinstance(prior.parameters, ValueRef):
        parameters = await values.load(prior.parameters)
    if isinstance(prior.parameters, bytes):
        found.append(("parameters", f"{prior.parameters.hex()[:8]} (too large to be kept)"))
    else:
        found += [(f"parameters.{key}", shown(value)) for key, value in parameters.items()]
    for read in old.reads or ():
        known = state.tasks.get(read)
        if known is not None and known.value is not None:
            ref = known.value
            found.append((f"result of {read}", shown(await values.load(ref)) if ref.inline else ref.data.hex()[:8]))
    if prior.trace is not None:
        for kind, seen in (("file", prior.trace.reads), ("output file", prior.trace.writes)):
            found += [
                (f"{kind} {each.path}", f"{each.size:,} B {each.digest[:8]}" if each.there else "missing")
                for each in seen
            ]
    return found
