"""The steps of a pipeline as they are drawn: each once, with what has become of all tasks that were made of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from orchestrator.cli import output
from orchestrator.cli.drawing import Node
from orchestrator.domain.expansion import body_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.domain.execution import TaskStatus
    from orchestrator.domain.expansion import Graph
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Task

_WORST = ("failed", "parked", "in_doubt", "running", "retrying", "interrupted", "expanded", "blocked", "pending")
"""Of many tasks that a step was made into, the first of these stands for all."""

Counts = dict[tuple[str, ...], "Counter[str]"]
"""How many tasks have which status, by the ids of the step as it is written and of those around it."""


def counts_of(graph: Graph, shown: Mapping[TaskId, TaskStatus]) -> Counts:
    """Count the statuses of all tasks, by the steps that they were made of."""
    found: Counts = {}
    _count(graph, {name: name for name in graph.written}, (), shown, found)
    return found


def _count(
    graph: Graph,
    names: Mapping[TaskId, TaskId],
    around: tuple[str, ...],
    shown: Mapping[TaskId, TaskStatus],
    found: Counts,
) -> None:
    """Count the statuses of tasks; ``names`` tells the id of each as it is written."""
    for name, written in names.items():
        place = (*around, written)
        found.setdefault(place, Counter())[shown[name].value] += 1
        expansion = graph.expansions.get(name)
        if expansion is None:
            continue
        body = [task.id for task in body_of(graph[name], expansion.branch)]
        for key in expansion.all_keys:
            inner = dict(zip(graph.members(name, key, expansion.branch), body, strict=True))
            _count(graph, inner, place, shown, found)


def nodes_of(tasks: Iterable[Task], found: Counts, around: tuple[str, ...] = ()) -> dict[str, Node]:
    """Return tasks as they are drawn, with the statuses of all that were made of them."""
    tasks = list(tasks)
    nodes = {}
    for task in tasks:
        place = (*around, task.id)
        counts = found.get(place, Counter())
        alone = task.control is not None and [inner.id for inner in task.body] == [""]
        inner = task.body[0] if alone else task
        tool = f"{inner.tool}{f'.{inner.action}' if inner.action else ''}"
        label = f"{task.id}  {output.one_line(f'{task.tool} {tool}' if alone else tool, 60)}"
        if alone and found:
            counts = counts if not found.get((*place, "")) else found[*place, ""]
        total, told = counts.total(), [(status.replace("_", " "), count) for status, count in counts.items()]
        words = told[0][0] if total == 1 else ", ".join(f"{count:,} {status}" for status, count in told)
        status = next((each for each in _WORST if each in counts), next(iter(counts), ""))
        needs = [need for need in task.needs if need in {each.id for each in tasks}]
        inside = {} if alone else nodes_of(task.body, found, place)
        nodes[str(task.id)] = Node(f"{label}  {words}" if counts else label, needs, status, inside)
    return nodes
