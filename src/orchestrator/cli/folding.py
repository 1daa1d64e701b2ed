"""Long containers, folded for people: the first of their items and those that need a look; the others are counted."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.cli.output import one_line, plural
from orchestrator.domain.control import ForEach, Loop, Switch
from orchestrator.domain.execution import DONE, STUCK, ExecutionState, ExecutionStatus, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from orchestrator.domain.expansion import Graph
    from orchestrator.domain.ids import TaskId
    from orchestrator.ports.store import ExecutionSummary

ITEMS = 10
"""Items shown of a container that has more."""
_NAMED = 3
"""How many failed items are named."""


class Row(NamedTuple):
    """A task that is shown, or the ``hidden`` tasks of ``items`` more items of the container ``name``."""

    name: TaskId
    items: int = 0
    hidden: Sequence[TaskId] = ()

    @property
    def shown(self) -> str:
        """What the first column says."""
        return f"{self.name}[…]: {plural(self.items, 'more item')}" if self.items else self.name


def folded(graph: Graph, urgent: Callable[[TaskId], bool], *, everything: bool) -> Iterator[Row]:
    """Yield the rows of a graph, each container followed by what is in it.

    Of one with many items the first are shown, after those that are ``urgent``, all in their order.
    """
    for name in graph.written:
        yield from _of(graph, name, urgent, everything=everything)


def _of(graph: Graph, name: TaskId, urgent: Callable[[TaskId], bool], *, everything: bool) -> Iterator[Row]:
    yield Row(name)
    expansion = graph.expansions.get(name)
    if expansion is None:
        return
    keys = expansion.all_keys
    chosen = set(keys)
    if len(keys) > ITEMS and not everything:
        look = [key for key in keys if any(map(urgent, graph.members(name, key, expansion.branch)))][:ITEMS]
        chosen = set(islice(dict.fromkeys([*look, *keys]), ITEMS))
    hidden: list[TaskId] = []
    for key in keys:
        for member in graph.members(name, key, expansion.branch):
            if key in chosen:
                yield from _of(graph, member, urgent, everything=everything)
            else:
                hidden.append(member)
                hidden.extend(graph.inside(member))
    if hidden:
        yield Row(name, len(keys) - len(chosen), hidden)


def counted(tasks: Sequence[TaskId], shown: Mapping[TaskId, TaskStatus]) -> str:
    """Say how many of the tasks have which status."""
    counts = Counter(shown[name].value.replace("_", " ") for name in tasks)
    return ", ".join(f"{count:,} {status}" for status, count in counts.items())


def statuses(state: ExecutionState, summary: ExecutionSummary) -> dict[TaskId, TaskStatus]:
    """Return the status of each step as people see it.

    That is blocked behind a failed one, not pending; and interrupted, not running, where the process is gone.
    """
    shown = {name: task.status for name, task in state.tasks.items()} | dict.fromkeys(
        state.blocked(), TaskStatus.BLOCKED
    )
    if summary.status in (ExecutionStatus.INTERRUPTED, ExecutionStatus.PAUSED):
        shown |= dict.fromkeys(state.running, TaskStatus.INTERRUPTED)
    return shown


class Inside(NamedTuple):
    """How far a container is: ``total`` items (rounds, steps of a block), the ``done`` of them, the keys ``failed``."""

    kind: str
    total: int
    done: int
    failed: Sequence[str]
    branch: str = ""

    def told(self) -> str:
        """Say it in words.

        >>> Inside("item", 10, 3, ["b.png"]).told()
        '3 of 10 items done, 1 failed: b.png'
        """
        if self.kind == "round":
            return plural(self.total, "round")
        part = f"{self.done:,} of {plural(self.total, self.kind)} done" if self.done < self.total else ""
        part = part or plural(self.total, self.kind)
        if self.failed:
            more = f" and {len(self.failed) - _NAMED:,} more" if len(self.failed) > _NAMED else ""
            part += f", {len(self.failed):,} failed: {one_line(', '.join(self.failed[:_NAMED]), 120)}{more}"
        return f"case {one_line(self.branch, 60)}: {part}" if self.branch else part


def inside(state: ExecutionState, name: TaskId) -> Inside | None:
    """Return how far a container is; None for what is none, or holds nothing yet. O(its members)."""
    expansion = state.graph.expansions.get(name)
    if expansion is None:
        return None
    control, keys = state.graph[name].control, expansion.all_keys
    groups = [state.graph.members(name, key, expansion.branch) for key in keys]
    named: Sequence[str] = keys
    kind = "item" if isinstance(control, ForEach) else "round" if isinstance(control, Loop) else "step"
    if kind == "step":
        groups = [[member] for group in groups for member in group]
        named = [group[0] for group in groups]
    done = sum(all(state.tasks[member].status in DONE for member in group) for group in groups)
    failed = [
        key
        for key, group in zip(named, groups, strict=True)
        if any(state.tasks[member].status in STUCK for member in group)
    ]
    return Inside(kind, len(groups), done, failed, expansion.branch if isinstance(control, Switch) else "")
