"""The tasks in containers, as the fold keeps account of them: who is at work, who is lost, and who may begin.

What a container does follows from its members. Each fact costs O(the task's edges): what is asked of a whole container
(is it done, may the next item begin) is counted, not looked up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import TYPE_CHECKING

from orchestrator.domain.control import ForEach
from orchestrator.domain.expansion import Expansion, Graph
from orchestrator.domain.tasks import DONE, STUCK, TaskState, TaskStatus

if TYPE_CHECKING:
    from orchestrator.domain.events import TaskExpanded
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Task

_AT_WORK = frozenset({TaskStatus.RUNNING, TaskStatus.RETRYING, TaskStatus.EXPANDED, TaskStatus.WAITING})


class Group:
    """The members of one container: ``width`` tasks for each of its items (rounds, or the one of a block).

    Per item: ``busy`` counts its tasks that are ready or at work, ``stuck`` those that failed. ``lost`` is how many
    items have failed, ``working`` how many are busy. Items are ``admitted`` in order, at most ``at_once`` at a time.
    ``closed``: the container itself waits for something, and will be expanded anew before any of them begins.
    """

    __slots__ = (
        "admitted",
        "at_once",
        "busy",
        "closed",
        "halted",
        "lost",
        "members",
        "stuck",
        "tolerated",
        "width",
        "working",
    )

    def __init__(self, width: int, at_once: int | None) -> None:
        self.width = width
        self.at_once = at_once
        self.members: list[TaskId] = []
        self.busy: list[int] = []
        self.stuck: list[int] = []
        self.working = 0
        self.lost = 0
        self.admitted = 0
        self.tolerated = 0
        self.closed = False
        self.halted = False

    @property
    def count(self) -> int:
        """How many items there are."""
        return len(self.busy)

    def of(self, item: int) -> list[TaskId]:
        """Return the tasks of one item."""
        return self.members[item * self.width : (item + 1) * self.width]


class Members(ABC):
    """The part of an execution's state that is about containers."""

    __slots__ = (
        "_touched",
        "counts",
        "dependents",
        "ending",
        "gatherable",
        "graph",
        "groups",
        "tasks",
        "total",
        "wanted",
    )

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.tasks: dict[TaskId, TaskState] = {}
        self.dependents: dict[TaskId, list[TaskId]] = {}
        self.counts: dict[TaskStatus, int] = dict.fromkeys(TaskStatus, 0)
        self.groups: dict[TaskId, Group] = {}
        self.gatherable: OrderedDict[TaskId, None] = OrderedDict()
        self.wanted: frozenset[TaskId] | None = None
        self.total = 0
        self.ending = False
        self._touched: dict[TaskId, None] = {}

    @abstractmethod
    def _make_ready(self, name: TaskId) -> None: ...

    @abstractmethod
    def _unready(self, name: TaskId) -> None: ...

    @abstractmethod
    def _set(self, task: TaskState, status: TaskStatus) -> None: ...

    @abstractmethod
    def _unsatisfy(self, name: TaskId) -> None: ...

    def lost_keys(self, name: TaskId) -> list[str]:
        """Return the keys of a container's items that have failed, in order."""
        group, keys = self.groups[name], self.graph.expansions[name].keys
        return [keys[item] for item, stuck in enumerate(group.stuck) if stuck]

    def is_wanted(self, name: TaskId) -> bool:
        """Tell whether the run is about this task: one of those asked for, or one inside of them."""
        if self.wanted is None or self.tasks[name].ending:
            return True
        place: TaskId | None = name
        while place is not None:
            if place in self.wanted:
                return True
            place = self.tasks[place].within
        return False

    # -- counting ------------------------------------------------------------------------------------------------

    def _moved(self, task: TaskState, old: TaskStatus, new: TaskStatus) -> None:
        """Count a member's change of status."""
        within = task.within
        if within is None:
            return
        self._touched[within] = None
        group, item = self.groups[within], task.item
        if item >= group.count:
            return  # of a round that a loop has not got to again
        if (old in STUCK) is not (new in STUCK):
            before = group.stuck[item]
            group.stuck[item] = before + (1 if new in STUCK else -1)
            group.lost += bool(group.stuck[item]) - bool(before)
        if new in _AT_WORK:
            self._count_active(task, active=True)
        elif new is not TaskStatus.PENDING:
            self._count_active(task, active=False)

    def _count_active(self, task: TaskState, *, active: bool) -> None:
        """Count a member among those ready or at work, or no more."""
        if task.active is active or task.within is None:
            return
        task.active = active
        self._touched[task.within] = None
        group = self.groups[task.within]
        if task.item < group.count:
            before = group.busy[task.item]
            group.busy[task.item] = before + (1 if active else -1)
            group.working += bool(group.busy[task.item]) - bool(before)

    def _may_begin(self, task: TaskState) -> bool:
        """Tell whether a task may begin, as far as the container says that it is in."""
        if task.within is None:
            return True
        group = self.groups[task.within]
        return not group.closed and not group.halted and task.item < group.admitted

    def _settle(self) -> None:
        """Let containers follow what happened to their members: halt, admit the next items, or be gathered."""
        if self.ending:
            self._touched.clear()  # all of them are looked at when the main part goes on
        while self._touched:
            touched, self._touched = self._touched, {}
            for name in touched:
                group = self.groups.get(name)
                if group is not None and name in self.tasks:
                    self._follow(name, group)

    def _follow(self, name: TaskId, group: Group) -> None:
        halted = group.lost > group.tolerated
        if halted is not group.halted:
            group.halted = halted
            for item in range(group.admitted):
                self._open_item(group, item) if not halted else self._shut_item(group, item)
        if group.closed:
            self.gatherable.pop(name, None)
            return
        while not halted and group.admitted < group.count and self._has_room(group):
            group.admitted += 1
            self._open_item(group, group.admitted - 1)
        idle = not group.working and (halted or group.admitted == group.count)
        if idle and self.tasks[name].status is TaskStatus.EXPANDED and self.is_wanted(name):
            self.gatherable[name] = None
        else:
            self.gatherable.pop(name, None)

    @staticmethod
    def _has_room(group: Group) -> bool:
        return group.at_once is None or group.working < group.at_once

    def _open_item(self, group: Group, item: int) -> None:
        for member in group.of(item):
            task = self.tasks[member]
            if task.status is TaskStatus.PENDING and not task.unmet:
                self._make_ready(member)

    def _shut_item(self, group: Group, item: int) -> None:
        for member in group.of(item):
            if self.tasks[member].status is TaskStatus.PENDING:
                self._unready(member)

    # -- expanding -----------------------------------------------------------------------------------------------

    def _expand(self, event: TaskExpanded) -> None:
        """Give a container its members: those there were before go on with what they had."""
        name = event.task
        container = self.graph[name]
        first = 0
        group = self.groups.get(name)
        for gone in self.graph.expand(name, Expansion(tuple(event.keys), event.items, event.mapping, event.branch)):
            self._forget(gone)
        keys = self.graph.expansions[name].keys
        if group is not None and len(keys) > len(event.keys) and not group.closed:
            first = group.count  # the next round of a loop
        else:
            group = self._new_group(container, name, event.branch)
        for item, key in enumerate(keys[first:], first):
            self._add_item(group, name, item, key, event.branch)
        self._set_tolerated(group, container)
        self.total = event.total
        self._set(self.tasks[name], TaskStatus.EXPANDED)
        self._touched[name] = None

    def _new_group(self, container: Task, name: TaskId, branch: str) -> Group:
        control = container.control
        width = len(self.graph.members(name, "", branch))
        group = Group(width, control.max_parallel if isinstance(control, ForEach) else None)
        self.groups[name] = group
        return group

    @staticmethod
    def _set_tolerated(group: Group, container: Task) -> None:
        control = container.control
        group.tolerated = control.tolerated(group.count) if isinstance(control, ForEach) else 0

    def _add_item(self, group: Group, name: TaskId, item: int, key: str, branch: str) -> None:
        members = self.graph.members(name, key, branch)
        group.members += members
        group.busy.append(0)
        group.stuck.append(0)
        for member in members:
            task = self.tasks.get(member)
            if task is None:
                self._add(member, name, item)
            else:
                self._take_over(member, task, item)
        for member in members:
            self.tasks[member].unmet = self._unmet(member)

    def _add(self, member: TaskId, container: TaskId, item: int) -> None:
        self.tasks[member] = TaskState(0, container, item)
        self.counts[TaskStatus.PENDING] += 1
        for need in self.graph[member].needs:
            self.dependents.setdefault(need, []).append(member)

    def _unmet(self, member: TaskId) -> int:
        return sum(self.tasks[need].status not in DONE for need in self.graph[member].needs)

    def _take_over(self, member: TaskId, task: TaskState, item: int) -> None:
        """Let a member of an earlier expansion wait to be looked at again; what a person decided stays so."""
        task.item = item
        task.active = False
        if task.pinned:
            return
        self._unready(member)
        self._close(member)
        kept = task.prior
        if task.status in DONE:
            task.value = task.progress = None
        # Not by _set: it is counted anew, in a group that knows nothing of it yet.
        self.counts[task.status] -= 1
        self.counts[TaskStatus.PENDING] += 1
        task.status = TaskStatus.PENDING
        task.retry_at = None
        task.kept = kept

    def _forget(self, member: TaskId) -> None:
        """Drop a member that is there no more."""
        self._unready(member)
        task = self.tasks.pop(member)
        self.counts[task.status] -= 1
        self.groups.pop(member, None)
        self.gatherable.pop(member, None)
        self.dependents.pop(member, None)

    def _empty(self, name: TaskId) -> None:
        """Drop all that is in a container."""
        if name in self.groups:
            for gone in self.graph.empty(name):
                self._forget(gone)
            del self.groups[name]
            self.gatherable.pop(name, None)

    # -- opening and closing -------------------------------------------------------------------------------------

    def _close(self, name: TaskId) -> None:
        """Let nothing in a container begin before it is expanded anew."""
        group = self.groups.get(name)
        if group is None or group.closed:
            return
        group.closed = True
        self._touched[name] = None
        for member in group.members:
            task = self.tasks[member]
            if task.status is TaskStatus.WAITING:  # what it waits for is asked anew
                self._set(task, TaskStatus.PENDING)
            if task.status is TaskStatus.PENDING:
                self._unready(member)
            self._close(member)

    def _reopen(self, name: TaskId, *, done: bool = True) -> None:
        """Let a container that has ended go on, since one of its members does; with ``done`` also a completed one."""
        task = self.tasks[name]
        group = self.groups.get(name)
        if group is None or group.closed:
            return
        if task.status in STUCK or (done and task.status in DONE):
            if task.status in DONE:
                task.value = None
                self._unsatisfy(name)
            task.error = task.retry_at = None
            if task.unmet:  # what is in it may read what is not done: it is expanded anew once that is
                self._set(task, TaskStatus.PENDING)
                self._close(name)
            else:
                self._set(task, TaskStatus.EXPANDED)
                self._touched[name] = None
            if task.within is not None:
                self._reopen(task.within)
