"""The tasks of an execution: those written in its definition, and those that its containers were expanded to.

A graph is a fold as well: it begins as the definition's tasks, and grows with each TaskExpanded. What a body's task is
in one place is worked out when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, make_dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.domain.control import DEFAULT_CASE, ForEach, Loop, Switch
from orchestrator.domain.ids import TaskId
from orchestrator.domain.pipeline import Task
from orchestrator.domain.stage import Stage, undo_id, undone_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.domain.values import ValueRef


class Expansion(NamedTuple):
    """What a container was expanded to (see TaskExpanded).

    ``later`` are rounds of a loop that begins anew: should it get there again, they have something to go on with.
    """

    keys: tuple[str, ...]
    items: ValueRef | None = None
    mapping: bool = False
    branch: str = ""
    later: tuple[str, ...] = ()

    @property
    def all_keys(self) -> tuple[str, ...]:
        """The keys of all tasks that there are."""
        return self.keys + self.later


def body_of(container: Task, branch: str) -> Sequence[Task]:
    """Return the tasks of a container's body that are made; of a switch those of a branch."""
    control = container.control
    if not isinstance(control, Switch):
        return container.body
    chosen = control.cases.get(branch)
    if chosen is None:
        chosen = control.default if branch == DEFAULT_CASE else None
    return [task for task in container.body if task.id in (chosen or ())]


def _branch_by_now(container: Task, before: Task, branch: str) -> str:
    """Return what a branch is called in a switch as it is now: if it is gone, the one that has its steps."""
    control = container.control
    if not isinstance(control, Switch) or body_of(container, branch):
        return branch
    had = {task.id for task in body_of(before, branch)}
    for other in (*control.cases, DEFAULT_CASE):
        if any(task.id in had or task.renamed_from in had for task in body_of(container, other)):
            return other
    return branch


def read_by(container: Task) -> set[TaskId]:
    """Return what a container reads, and what the steps in it read around it."""
    inside = {inner.id for inner in container.body}
    found = set(container.reads or ())
    for inner in container.body:
        found |= {container.local.get(name, name) for name in read_by(inner) if name not in inside}
    return found


def name_of(container: Task, key: str, task: str) -> TaskId:
    """Return the id of a body's task in one place: ``resize[a.png]``, ``resize[a.png].crop``, ``route.notify``."""
    place = f"{container.id}[{key}]" if isinstance(container.control, (ForEach, Loop)) else container.id
    return f"{place}.{task}" if task else place


def written_as(tasks: Mapping[TaskId, Task], name: str) -> Task | None:
    """Return the task that one of this name is written as, by its name alone: also one in a container; None for none.

    >>> crop = Task("crop", "image", parameters={})
    >>> written_as({"resize": Task("resize", "for_each", control=ForEach(3), body=(crop,))}, "resize[a.png].crop").id
    'crop'
    """
    found = tasks.get(TaskId(name))
    if found is not None:
        return found
    for at, char in enumerate(name):
        outer = tasks.get(TaskId(name[:at])) if char in "[." else None
        found = _inside(outer, outer.id, name) if outer is not None else None
        if found is not None:
            return found
    return None


def _inside(container: Task, place: str, name: str) -> Task | None:
    """Return the task in a container, called ``place``, that has this name."""
    if container.control is None or not name.startswith(place):
        return None
    rest = name[len(place) :]
    repeated = isinstance(container.control, (ForEach, Loop))
    for task in container.body:
        end = ("]" if repeated else "") + (f".{task.id}" if task.id else "")
        if rest == end or (repeated and rest.startswith("[") and rest.endswith(end)):
            return task
        if task.control is not None:
            at = rest.find(end)
            while at >= 0:
                found = _inside(task, place + rest[: at + len(end)], name)
                if found is not None:
                    return found
                at = rest.find(end, at + 1)
    return None


class Graph(Mapping["TaskId", Task]):
    """The tasks by id: each container is followed by its tasks.

    ``written`` are those of the definition, ``expansions`` tell of each container what it was expanded to. ``endings``
    are the tasks of later stages, after all others.
    """

    __slots__ = ("_built", "_listed", "_made", "_moulds", "endings", "expansions", "written")

    def __init__(self, written: Mapping[TaskId, Task]) -> None:
        self.written = written
        self._made: dict[TaskId, tuple[Task, TaskId, str, int]] = {}
        self._built: dict[TaskId, Task] = dict(written)
        self._listed: dict[TaskId, list[TaskId]] = {}
        self._moulds: dict[tuple[TaskId, TaskId], Mould] = {}
        self.expansions: dict[TaskId, Expansion] = {}
        self.endings: dict[TaskId, Task] = {}

    def __getitem__(self, name: TaskId) -> Task:
        task = self._built.get(name) or self.endings.get(name)
        if task is None:
            template, container, key, index = self._made[name]
            mould = self._moulds.get((container, template.id))
            if mould is None:
                mould = self._moulds[container, template.id] = Mould(template, self[container])
            task = self._built[name] = mould.made(name, key, index)
        return task

    def template(self, name: TaskId) -> Task:
        """Return the task as it is written, whatever its place: what it does, and what it needs beside it."""
        return self.written.get(name) or self.endings.get(name) or self._made[name][0]

    def __contains__(self, name: object) -> bool:
        return name in self.written or name in self._made or name in self.endings

    def __len__(self) -> int:
        return len(self.written) + len(self._made) + len(self.endings)

    def __iter__(self) -> Iterator[TaskId]:
        if not self._made:
            yield from self.written
        else:
            for name in self.written:
                yield name
                if name in self.expansions:
                    yield from self.inside(name)
        yield from self.endings

    def inside(self, name: TaskId) -> Iterator[TaskId]:
        """Yield the tasks in a container, those in containers in it included."""
        for member in self.listed(name):
            yield member
            if member in self.expansions:
                yield from self.inside(member)

    def listed(self, name: TaskId) -> list[TaskId]:
        """Return a container's tasks, key after key, without those in containers in it; shared, not to be changed."""
        found = self._listed.get(name)
        if found is None:
            expansion = self.expansions.get(name)
            if expansion is None:
                return []
            container = self[name]
            body = [task.id for task in body_of(container, expansion.branch)]
            found = [name_of(container, key, task) for key in expansion.all_keys for task in body]
            self._listed[name] = found
        return found

    def _inside_item(self, name: TaskId, key: str, branch: str) -> Iterator[TaskId]:
        for member in self.members(name, key, branch):
            yield member
            yield from self.inside(member)

    def members(self, name: TaskId, key: str, branch: str) -> list[TaskId]:
        """Return the tasks that a container has for one key, in the order of its body."""
        container = self[name]
        return [name_of(container, key, task.id) for task in body_of(container, branch)]

    # -- growing -------------------------------------------------------------------------------------------------

    def total_after(self, name: TaskId, keys: Sequence[str], branch: str) -> int:
        """Return how many tasks there will be once the container is expanded so."""
        old = self.expansions.get(name)
        gone = sum(1 for _ in self._dropped(name, keys, branch))
        kept = set(old.all_keys) if old is not None and old.branch == branch else set()
        new = sum(key not in kept for key in keys)
        return len(self.written) + len(self._made) - gone + new * len(body_of(self[name], branch))

    def _dropped(self, name: TaskId, keys: Sequence[str], branch: str) -> Iterator[TaskId]:
        """Yield the tasks that are no more once the container is expanded so."""
        old = self.expansions.get(name)
        if old is None or isinstance(self[name].control, Loop):
            return
        stay = frozenset(keys) if old.branch == branch else frozenset()
        for key in old.keys:
            if key not in stay:
                yield from self._inside_item(name, key, old.branch)

    def expand(self, name: TaskId, new: Expansion) -> list[TaskId]:
        """Expand a container; return the tasks that are no more. The rounds of a loop come one at a time."""
        container = self[name]
        self._moulds.clear()
        gone = list(self._dropped(name, new.keys, new.branch))
        for each in gone:
            self._remove(each)
        first = 0
        if isinstance(container.control, Loop) and (old := self.expansions.get(name)) is not None:
            before = () if new.keys in ((), ("1",)) else old.keys
            first = len(before)
            later = tuple(key for key in old.all_keys if key not in before and key not in new.keys)
            new = new._replace(keys=before + new.keys, later=later)
        self.expansions[name] = new
        self._listed.pop(name, None)
        self._make(container, new, range(first, len(new.keys)))
        return gone

    def add_undo(self, name: TaskId) -> None:
        """Add the task that undoes a step: in the place of that step, and with what it is called there."""
        step, number = undone_by(name)
        undone = self[step]
        template = undone.undo[number]
        reads = (
            template.reads if template.reads is None else tuple(undone.local.get(each, each) for each in template.reads)
        )
        needs = (undo_id(step, number - 1, len(undone.undo)),) if number else ()
        self.endings[name] = replace(
            template, id=name, needs=needs, reads=reads, local=undone.local, stage=Stage.UNDO, undoes=step
        )

    def _make(self, container: Task, expansion: Expansion, places: Iterable[int]) -> None:
        body, keys = body_of(container, expansion.branch), expansion.all_keys
        names = self.listed(container.id)
        for index in places:
            key = keys[index]
            for name, task in zip(names[index * len(body) : (index + 1) * len(body)], body, strict=True):
                if name not in self._made or self._made[name][3] != index:
                    self._built.pop(name, None)
                    self._made[name] = task, container.id, key, index

    def trim(self, name: TaskId) -> list[TaskId]:
        """Drop the rounds that a loop did not get to again; return the tasks that are no more."""
        old = self.expansions.get(name)
        if old is None or not old.later:
            return []
        gone = [each for key in old.later for each in self._inside_item(name, key, old.branch)]
        self.expansions[name] = old._replace(later=())
        self._listed.pop(name, None)
        for each in gone:
            self._remove(each)
        return gone

    def empty(self, name: TaskId) -> list[TaskId]:
        """Drop all that is in a container; return the tasks that are no more."""
        gone = list(self.inside(name))
        del self.expansions[name]
        self._listed.pop(name, None)
        for each in gone:
            self._remove(each)
        return gone

    def _remove(self, name: TaskId) -> None:
        self._made.pop(name, None)
        self._built.pop(name, None)
        self.expansions.pop(name, None)
        self._listed.pop(name, None)

    # -- another definition --------------------------------------------------------------------------------------

    def carried_over(
        self, written: Mapping[TaskId, Task], renamed: Mapping[TaskId, TaskId]
    ) -> tuple[Graph, dict[TaskId, TaskId]]:
        """Return the graph of other tasks with what is recorded of this one's containers, and the ids they had.

        ``renamed`` maps written tasks to the ids that they had. A container that is of another kind by now begins anew,
        as one does whose branch is gone, unless another one has its steps by now. The ids are those of all tasks that
        were there before under another id.
        """
        graph = Graph(written)
        former = dict(renamed)
        waiting = [name for name, task in written.items() if task.control is not None]
        while waiting:
            name = waiting.pop()
            old = former.get(name, name)
            expansion = self.expansions.get(old)
            if expansion is None:
                continue
            container, before = graph[name], self[old]
            if type(container.control) is not type(before.control):
                continue
            expansion = expansion._replace(branch=_branch_by_now(container, before, expansion.branch))
            if not body_of(container, expansion.branch):
                continue
            graph.expansions[name] = expansion
            graph._make(container, expansion, range(len(expansion.all_keys)))
            had = {task.id for task in before.body}
            for template in body_of(container, expansion.branch):
                was = template.renamed_from if template.renamed_from in had else template.id
                for key in expansion.all_keys:
                    new, then = name_of(container, key, template.id), name_of(before, key, was or "")
                    if new != then and then in self:
                        former[new] = then
                    if template.control is not None:
                        waiting.append(new)
        return graph, former


def _read_to_undo(task: Task) -> Iterator[TaskId]:
    for each in task.undo:
        yield from each.reads or ()


_FIELDS = [field.name for field in fields(Task)]
_values_of = attrgetter(*_FIELDS)
_Open: Any = make_dataclass("_Open", _FIELDS, slots=True)
"""What a Task is before anybody has seen it: of the same slots, and not frozen. Filling it is four times faster."""
_ID, _KEY, _INDEX, _NEEDS, _LOCAL, _READS = map(_FIELDS.index, ("id", "key", "index", "needs", "local", "reads"))


class Mould:
    """Makes the tasks of a container's items out of one of its body; 100,000 items wait for it."""

    __slots__ = ("_alone", "_container", "_siblings", "_template", "_values")

    def __init__(self, template: Task, container: Task) -> None:
        self._template = template
        self._container = container
        self._siblings = {task.id for task in container.body}
        self._alone = len(self._siblings) == 1 and not container.local
        self._values = list(_values_of(template))
        self._values[_FIELDS.index("within")] = container.id
        self._values[_NEEDS] = ()

    def made(self, name: TaskId, key: str, index: int) -> Task:
        """Return the body's task as it is in one place."""
        values = self._values
        values[_ID], values[_KEY], values[_INDEX] = name, key, index
        if not self._alone:
            values[_NEEDS], values[_LOCAL], values[_READS] = self._called(key)
        task = _Open(*values)
        task.__class__ = Task
        made: Task = task
        return made

    def _called(self, key: str) -> tuple[tuple[TaskId, ...], Mapping[str, TaskId], tuple[TaskId, ...] | None]:
        """Return what the task needs, what it calls by other names, and what it reads, by their ids in one place."""
        template, container, siblings = self._template, self._container, self._siblings
        names = {
            each: name_of(container, key, each) if each in siblings else container.local.get(each, each)
            for each in (*template.needs, *(template.reads or ()), *_read_to_undo(template))
        }
        needs = tuple(names[need] for need in template.needs if need in siblings)
        reads = None if template.reads is None else tuple(names[read] for read in template.reads)
        return needs, {each: made for each, made in names.items() if made != each}, reads
