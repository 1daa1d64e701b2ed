"""Orders of a graph of tasks: what comes before what. Linear, and without recursion."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Pipeline


def in_order(pipeline: Pipeline) -> Iterable[TaskId]:
    """Return the tasks so that each comes after all it needs; in the order of the definition where that is one."""
    seen: set[TaskId] = set()
    for name, task in pipeline.tasks.items():
        if not seen.issuperset(task.needs):
            return _sorted(pipeline)
        seen.add(name)
    return pipeline.tasks


def _sorted(pipeline: Pipeline) -> list[TaskId]:
    missing = {name: len(task.needs) for name, task in pipeline.tasks.items()}
    dependents: dict[TaskId, list[TaskId]] = {}
    for name, task in pipeline.tasks.items():
        for need in task.needs:
            dependents.setdefault(need, []).append(name)
    order = [name for name, count in missing.items() if not count]
    for name in order:
        for dependent in dependents.get(name, ()):
            missing[dependent] -= 1
            if not missing[dependent]:
                order.append(dependent)
    return order


def needed_for(pipeline: Pipeline, name: TaskId) -> set[TaskId]:
    """Return a task and everything it needs, directly or not."""
    found = {name}
    stack = [name]
    while stack:
        for need in pipeline.tasks[stack.pop()].needs:
            if need not in found:
                found.add(need)
                stack.append(need)
    return found
