"""Orders of a graph of tasks: what comes before what. Linear, and without recursion over what depends on what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.expansion import body_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orchestrator.domain.expansion import Graph
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Task


def in_order(graph: Graph) -> Iterable[TaskId]:
    """Return the tasks so that each comes after all it needs, and a container after all that is in it.

    What is in a container comes after what the container needs. In the order of the definition where that is one.
    """
    written = _sorted(list(graph.written.values()))
    if not graph.expansions:
        return written
    return _with_members(graph, written)


def _with_members(graph: Graph, names: Iterable[TaskId]) -> Iterator[TaskId]:
    for name in names:
        if name in graph.expansions:
            yield from _members(graph, name)
        yield name


def _members(graph: Graph, name: TaskId) -> Iterator[TaskId]:
    expansion = graph.expansions.get(name)
    if expansion is None:
        return
    body = body_of(graph[name], expansion.branch)
    places = {task: number for number, task in enumerate(task.id for task in body)}
    order = [places[task] for task in _sorted(body)]
    names = graph.listed(name)
    for first in range(0, len(names), len(order)):
        yield from _with_members(graph, [names[first + place] for place in order])


def _sorted(tasks: Sequence[Task]) -> list[TaskId]:
    """Return the ids so that each comes after those that it needs; needs that are none of them do not count."""
    known = {task.id: task for task in tasks}
    seen: set[TaskId] = set()
    for name, task in known.items():
        if any(need in known and need not in seen for need in task.needs):
            return _by_waiting(known)
        seen.add(name)
    return list(known)


def _by_waiting(tasks: Mapping[TaskId, Task]) -> list[TaskId]:
    missing = {name: sum(need in tasks for need in task.needs) for name, task in tasks.items()}
    dependents: dict[TaskId, list[TaskId]] = {}
    for name, task in tasks.items():
        for need in task.needs:
            dependents.setdefault(need, []).append(name)
    order = [name for name, count in missing.items() if not count]
    for name in order:
        for dependent in dependents.get(name, ()):
            missing[dependent] -= 1
            if not missing[dependent]:
                order.append(dependent)
    return order


def needed_for(graph: Graph, name: TaskId) -> set[TaskId]:
    """Return a task and everything it needs, directly or not, with what is in the containers among that."""
    found = {name}
    stack = [name]
    while stack:
        each = stack.pop()
        task = graph[each]
        more = [*task.needs, *graph.inside(each)]
        place = task.within
        while place is not None:  # the containers around it need not end, but what they need must have been done
            more += graph[place].needs
            place = graph[place].within
        for need in more:
            if need not in found:
                found.add(need)
                stack.append(need)
    return found
