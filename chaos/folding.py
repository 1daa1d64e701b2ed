"""What the fold keeps up to date, counted from scratch after each fact: slow, and without its tricks."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.domain.control import ForEach
from orchestrator.domain.execution import DONE, STUCK, ExecutionState, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.domain.events import Event
    from orchestrator.domain.ids import TaskId

AT_WORK = (TaskStatus.RUNNING, TaskStatus.RETRYING, TaskStatus.EXPANDED)


class Miscounted(Exception):
    """What the fold keeps is not what there is."""


def check(state: ExecutionState) -> None:
    """Hold all that the state keeps of its tasks against the tasks themselves; raises Miscounted."""
    tasks, graph = state.tasks, state.graph
    _same("tasks", set(tasks), set(graph))
    _same("graph", len(graph), len(list(graph)))
    _same("groups", set(state.groups), set(graph.expansions))
    for status in TaskStatus:
        _same(f"counts of {status}", state.counts[status], sum(task.status is status for task in tasks.values()))
    if state.pipeline is not None:
        left = sum(tasks[name].status not in DONE for name in state.pipeline.tasks)
        _same("roots_left", state.roots_left, left)
    _same("running", set(state.running), {name for name, task in tasks.items() if task.status is TaskStatus.RUNNING})
    waiting = [task.retry_at for task in tasks.values() if task.status is TaskStatus.RETRYING]
    _same("next_retry_at", state.next_retry_at(), min((due for due in waiting if due is not None), default=None))
    ready = set()
    for name, task in tasks.items():
        _same(f"unmet of {name}", task.unmet, sum(tasks[need].status not in DONE for need in graph[name].needs))
        _same(f"within of {name}", task.within, graph[name].within)
        if _may_begin(state, name):
            ready.add(name)
    _same("ready", set(state.ready) | set(state.held), ready)
    _same("ready and wanted", set(state.ready), {name for name in ready if state.is_wanted(name)})
    for name in state.groups:
        _check_group(state, name)


def _may_begin(state: ExecutionState, name: TaskId) -> bool:
    task = state.tasks[name]
    if task.status is not TaskStatus.PENDING or task.unmet:
        return False
    if task.within is None:
        return True
    group, item = state.groups[task.within], task.item
    return item < group.count and item < group.admitted and not group.closed and not group.halted


def _check_group(state: ExecutionState, name: TaskId) -> None:
    group, expansion, tasks = state.groups[name], state.graph.expansions[name], state.tasks
    status = tasks[name].status
    _same(f"items of {name}", group.count, len(expansion.keys))
    members = [each for key in expansion.keys for each in state.graph.members(name, key, expansion.branch)]
    _same(f"members of {name}", group.members, members)
    working = lost = 0
    whole = []
    for item in range(group.count):
        of = group.of(item)
        for each in of:
            _same(f"item of {each}", tasks[each].item, item)
        busy = sum(each in state.ready or tasks[each].status in AT_WORK for each in of)
        stuck = sum(tasks[each].status in STUCK for each in of)
        _same(f"busy in {name}, {item}", group.busy[item], busy)
        _same(f"stuck in {name}, {item}", group.stuck[item], stuck)
        working += bool(busy)
        lost += bool(stuck)
        whole.append(bool(stuck) or all(tasks[each].status in DONE for each in of))
    _same(f"working in {name}", group.working, working)
    _same(f"lost in {name}", group.lost, lost)
    control = state.graph[name].control
    tolerated = control.tolerated(group.count) if isinstance(control, ForEach) else 0
    _same(f"halted of {name}", group.halted, lost > tolerated)
    if not 0 <= group.admitted <= group.count:
        raise Miscounted(f"{name} has admitted {group.admitted} of {group.count}")
    if status in DONE and not group.closed and not all(whole):
        raise Miscounted(f"{name} is done, and not all in it")
    if status is TaskStatus.PENDING and not group.closed:
        raise Miscounted(f"{name} is pending, and open")
    idle = not working and (group.halted or group.admitted == group.count) and not group.closed
    gatherable = idle and status is TaskStatus.EXPANDED and state.is_wanted(name)
    _same(f"gatherable of {name}", name in state.gatherable, gatherable)
    if gatherable and not group.halted and not all(whole):
        raise Miscounted(f"{name} is to be gathered with holes: {whole}")
    room = group.at_once is None or working < group.at_once
    if status is TaskStatus.EXPANDED and not (group.closed or group.halted) and group.admitted < group.count and room:
        raise Miscounted(f"{name} admits no further item")


def _same(what: str, kept: Any, counted: Any) -> None:
    if kept != counted:
        raise Miscounted(f"{what}: kept {kept}, counted {counted}")


@contextmanager
def counting() -> Iterator[None]:
    """Check every state after each fact that is folded."""
    usual = ExecutionState.apply

    def apply(state: ExecutionState, event: Event) -> None:
        usual(state, event)
        try:
            check(state)
        except Miscounted as error:
            raise Miscounted(f"after {event}: {error}") from None

    ExecutionState.apply = apply  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        ExecutionState.apply = usual  # type: ignore[method-assign]
