"""Executions that steps of others started: whose they are, and what goes with whom.

A child's id begins with its parent's, so that lists need not read its journal; where that would have been too long, the
journal tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.events import ExecutionLinked
from orchestrator.domain.ids import CHILD, ExecutionId, child_id, parent_of
from orchestrator.domain.pipeline import PIPELINE
from orchestrator.domain.tasks import DONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.domain.execution import ExecutionState
    from orchestrator.domain.ids import TaskId
    from orchestrator.ports.store import ExecutionSummary, Store


def child_of(execution_id: str, state: ExecutionState, task: TaskId) -> ExecutionId | None:
    """Return the execution that a step began last; None if it is no such step, or has begun none."""
    known, pipeline = state.tasks[task], state.pipeline
    if pipeline is None or not known.generation or state.graph[task].tool != PIPELINE:
        return None
    return child_id(execution_id, task, known.generation)


def unfinished_children(execution_id: str, state: ExecutionState) -> list[ExecutionId]:
    """Return the executions that steps have begun and not done with; some may never have come to be."""
    begun = (child_of(execution_id, state, name) for name, known in state.tasks.items() if known.status not in DONE)
    return [child for child in begun if child is not None]


async def parents(store: Store, found: Iterable[ExecutionSummary]) -> dict[ExecutionId, ExecutionId]:
    """Return the parent of each execution that has one among ``found``."""
    there = {summary.execution_id for summary in found}
    children: dict[ExecutionId, ExecutionId] = {}
    for name in there:
        if CHILD in name:
            parent = parent_of(name) or await _recorded_parent(store, name)
            if parent is not None and ExecutionId(parent) in there:
                children[name] = ExecutionId(parent)
    return children


async def _recorded_parent(store: Store, execution_id: ExecutionId) -> str | None:
    async for commit in store.read(execution_id):
        return next((event.parent for event in commit.events if isinstance(event, ExecutionLinked)), None)
    return None


def with_descendants(
    names: Sequence[ExecutionId], children: Mapping[ExecutionId, ExecutionId]
) -> list[tuple[ExecutionId, ExecutionId]]:
    """Return these executions, each followed by all below it, as pairs of which of ``names`` it is, and itself.

    ``children`` are the parents by child.
    """
    below: dict[ExecutionId, list[ExecutionId]] = {}
    for child, parent in sorted(children.items()):
        below.setdefault(parent, []).append(child)
    found: dict[ExecutionId, ExecutionId] = {}
    for name in names:
        stack = [name]
        while stack:
            each = stack.pop()
            if each not in found:
                found[each] = name
                stack += reversed(below.get(each, ()))
    return [(top, each) for each, top in found.items()]


def children_first(names: Sequence[ExecutionId], children: Mapping[ExecutionId, ExecutionId]) -> list[ExecutionId]:
    """Return these executions, each behind all below it; ``children`` are the parents by child."""
    chosen = set(names)
    families: dict[ExecutionId, list[ExecutionId]] = {}
    for top, name in with_descendants([name for name in names if children.get(name) not in chosen], children):
        families.setdefault(top, []).append(name)
    return [name for family in families.values() for name in reversed(family)]


def in_families(found: Sequence[ExecutionSummary]) -> list[tuple[int, ExecutionSummary]]:
    """Return executions with those that their steps started right behind them, and how deep each of them is."""
    by_name = {summary.execution_id: summary for summary in found}
    children = {
        name: ExecutionId(parent)
        for name in by_name
        if (parent := parent_of(name)) is not None and ExecutionId(parent) in by_name
    }
    tops = [summary.execution_id for summary in found if summary.execution_id not in children]
    depth: dict[ExecutionId, int] = {}
    for _top, name in with_descendants(tops, children):
        depth[name] = depth[children[name]] + 1 if name in children else 0
    return [(deep, by_name[name]) for name, deep in depth.items()]
