"""What a template may see: inputs, results of earlier steps, facts of the execution - always as recorded."""

from __future__ import annotations

from collections import OrderedDict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.domain.control import ITEM_NAMES, LOOP_NAMES, ForEach, Loop
from orchestrator.domain.expansion import body_of, name_of
from orchestrator.domain.stage import FAILURE, RESULT
from orchestrator.domain.tasks import DONE, STUCK, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.domain.execution import ExecutionState
    from orchestrator.domain.expansion import Graph
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Task
    from orchestrator.domain.tasks import TaskState
    from orchestrator.domain.values import ValueRef
    from orchestrator.ports.codec import Codec
    from orchestrator.ports.store import Values

CACHE_BYTES = 64 * 1024 * 1024
_LISTS = 16
"""So many lists of items are kept at hand."""


class Pending(Protocol):
    """Knows values that are on their way into the store."""

    def pending_value(self, ref: ValueRef) -> bytes | None:
        """Return the encoded value, or None if it is not one of them."""


class RecordedValues:
    """Reads recorded values: each read decodes anew, so that no reader can change what another reads."""

    def __init__(self, values: Values, codec: Codec, pending: Pending | None = None) -> None:
        self._values = values
        self._codec = codec
        self._pending = pending
        self._cache: OrderedDict[bytes, bytes] = OrderedDict()
        self._cached = 0

    async def load(self, ref: ValueRef | None) -> Any:
        """Return the value; None for None."""
        if ref is None:
            return None
        if ref.inline:
            return self._codec.decode(ref.data)
        payload = self._cache.get(ref.data)
        if payload is None:
            payload = self._pending.pending_value(ref) if self._pending is not None else None
            if payload is None:
                payload = await self._values.get(ref)
            self._remember(ref, payload)
        else:
            self._cache.move_to_end(ref.data)
        return self._codec.decode(payload)

    def _remember(self, ref: ValueRef, payload: bytes) -> None:
        if len(payload) > CACHE_BYTES // 4:
            return
        self._cache[ref.data] = payload
        self._cached += len(payload)
        while self._cached > CACHE_BYTES:
            self._cached -= len(self._cache.popitem(last=False)[1])


def recorded_scope(values: RecordedValues, state: ExecutionState) -> Scope:
    """Return a scope over what is recorded of an execution, for those who only look at results."""
    return Scope(values, {}, dict, state.tasks.__getitem__, lambda: state.graph)


class Scope:
    """Builds the scopes of one execution's templates.

    ``find`` returns what is known of a task, ``graph`` what the tasks are; ``facts`` are the execution's ``id``,
    ``is_resume`` and ``context``, to which comes ``sent_back``; ``failure`` tells later stages why they were entered
    (see ``failure_of``).
    """

    def __init__(
        self,
        values: RecordedValues,
        inputs: Mapping[str, Any],
        facts: Callable[[], dict[str, Any]],
        find: Callable[[TaskId], TaskState],
        graph: Callable[[], Graph],
        failure: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self._values = values
        self.inputs = MappingProxyType(dict(inputs))
        self._facts = facts
        self._find = find
        self._graph = graph
        self._failure = failure
        self._items: OrderedDict[bytes, Any] = OrderedDict()

    async def build(self, reads: Sequence[TaskId], attempt: int, task: Task | None = None) -> dict[str, Any]:
        """Return the scope with the results of ``reads`` (see ports.renderer), as ``task`` calls them."""
        steps: dict[str, Any] = {}
        called = {made: name for name, made in task.local.items()} if task is not None and task.local else {}
        for name in reads:
            steps[called.get(name, name)] = await self._step(name)
        names = await self._names(task) if task is not None and task.uses else {}
        return {
            **steps,
            "steps": steps,
            "inputs": self.inputs,
            "parameters": self.inputs,
            "attempt": attempt,
            "execution": {**self._facts(), "sent_back": self._sent_back(task)},
            **names,
        }

    def _sent_back(self, task: Task | None) -> dict[str, Any] | None:
        """Return why a task, or a container around it, was sent back to; None if it was not."""
        while task is not None:
            found = self._find(task.id).sent_back
            if found is not None:
                return found._asdict()
            task = self._graph()[task.within] if task.within is not None else None
        return None

    async def _step(self, name: TaskId) -> dict[str, Any]:
        known = self._find(name)
        if known.status not in DONE:  # which later stages may read
            return {"result": None, "status": known.status.value, "failed": None}
        found = {"result": await self.result(name), "status": known.status.value}
        graph = self._graph()
        if known.value is None and name in graph.expansions and isinstance(graph[name].control, ForEach):
            found["failed"] = self._lost(name)
        return found

    def _lost(self, name: TaskId) -> list[str]:
        """Return the keys of the items that have no result."""
        graph = self._graph()
        expansion = graph.expansions[name]
        return [
            key
            for key in expansion.keys
            if not all(self._find(each).status in DONE for each in graph.members(name, key, expansion.branch))
        ]

    async def result(self, name: TaskId) -> Any:
        """Return the result of a task; that of a container is made of those of its tasks."""
        known, graph = self._find(name), self._graph()
        expansion = graph.expansions.get(name)
        if known.value is not None or expansion is None or known.status is TaskStatus.SKIPPED:
            return await self._values.load(known.value)
        container = graph[name]
        if isinstance(container.control, Loop):
            return await self.round(name, len(expansion.keys))
        if not isinstance(container.control, ForEach):
            return await self._item(container, "", expansion.branch)
        lost = set(self._lost(name))
        found = {key: await self._item(container, key, "") for key in expansion.keys if key not in lost}
        return found if expansion.mapping else list(found.values())

    async def round(self, name: TaskId, number: int) -> Any:
        """Return the result of a loop's round; None for the one before the first."""
        return await self._item(self._graph()[name], str(number), "") if number else None

    async def _item(self, container: Task, key: str, branch: str) -> Any:
        """Return what a container's tasks for one key made: by name, where they have names."""
        found = {task.id: await self.result(name_of(container, key, task.id)) for task in body_of(container, branch)}
        return found.get("", found)

    async def _names(self, task: Task) -> dict[str, Any]:
        """Return what the containers around a task call by names that its templates use."""
        found: dict[str, Any] = {}
        graph, wanted = self._graph(), set(task.uses)
        if FAILURE in wanted:
            found[FAILURE] = self._failure()
        if task.undoes is not None:
            if RESULT in wanted:
                found[RESULT] = await self.result(task.undoes)
            task = graph[task.undoes]
        while task.within is not None:
            container = graph[task.within]
            match container.control:
                case ForEach() if not wanted.isdisjoint(ITEM_NAMES):
                    wanted.difference_update(ITEM_NAMES)
                    item = (await self.items(container.id))[task.index]
                    found |= {"item": item, "key": task.key, "index": task.index}
                case Loop() if not wanted.isdisjoint(LOOP_NAMES):
                    wanted.difference_update(LOOP_NAMES)
                    found["iteration"] = task.index + 1
                    found["last"] = await self.round(container.id, task.index)
            task = container
        return found

    async def items(self, name: TaskId) -> Sequence[Any]:
        """Return the items of a for_each, as recorded: shared, and not to be changed."""
        ref = self._graph().expansions[name].items
        if ref is None:
            return ()
        if ref.data not in self._items:
            self._items[ref.data] = await self._values.load(ref)
            if len(self._items) > _LISTS:
                self._items.popitem(last=False)
        found: Sequence[Any] = self._items[ref.data]
        return found


def failure_of(state: ExecutionState) -> dict[str, Any]:
    """Return why the main part ended: all none where nothing failed. What failed first is told as the failure."""
    failed = sorted(
        (known.ended_at or 0.0, name)
        for name, known in state.tasks.items()
        if known.status in STUCK and not known.ending and name not in state.groups
    )
    steps = []
    for _, name in failed:
        error = state.tasks[name].error
        told = (error.message, error.kind) if error is not None else (state.tasks[name].status.value, "")
        steps.append({"step": name, "message": told[0], "kind": told[1]})
    if state.ending_error is not None:
        first: dict[str, Any] = {"step": None, "message": state.ending_error.message, "kind": state.ending_error.kind}
    else:
        first = steps[0] if steps else {"step": None, "message": None, "kind": None}
    return {**first, "steps": steps}
