"""Containers: how they are expanded to tasks, and what becomes of them when these have ended.

Whatever is decided here is recorded before it is obeyed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.domain.changes import shown
from orchestrator.domain.control import DEFAULT_CASE, ForEach, Loop, Switch
from orchestrator.domain.events import (
    CONDITION_FALSE,
    DecisionMade,
    TaskExpanded,
    TaskGathered,
    TaskSkipped,
)
from orchestrator.domain.words import kind_of
from orchestrator.errors import TaskError, UnstorableValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from orchestrator.core.recorder import Recorder
    from orchestrator.core.scope import Scope
    from orchestrator.domain.pipeline import Task
    from orchestrator.domain.values import EncodedValue
    from orchestrator.ports.codec import Codec
    from orchestrator.ports.renderer import Renderer

MAX_ITEMS = 1_000_000
MAX_KEY = 200
"""Longest key of an item, in characters: it is part of the names of tasks."""
_TOLD = 3
"""How many lost items an error names."""


class Containers:
    """Expands and gathers the containers of one execution."""

    def __init__(self, recorder: Recorder, renderer: Renderer, codec: Codec, scope: Scope) -> None:
        self._recorder = recorder
        self._renderer = renderer
        self._codec = codec
        self._scope = scope

    async def expand(self, task: Task, now: float) -> None:
        """Record what a container is expanded to, or that it is skipped.

        Raises TaskError where that cannot be worked out; then nothing is recorded but what was decided before.
        """
        scope = await self._scope.build(task.reads or (), 0, task)
        if task.condition is not None and not self.decide(task, "condition", task.condition, scope, now):
            return
        match task.control:
            case ForEach() as control:
                self._expand_items(task, control, scope, now)
            case Loop():
                await self._next_round(task, 0, now)
            case Switch() as control:
                self._choose(task, control, scope, now)
            case _:
                self._record(task, [""], now)

    async def gather(self, task: Task, now: float) -> None:
        """Record that a container all of whose tasks have ended is done, or the next round of a loop.

        Raises TaskError where more of it failed than may, or where a condition cannot be worked out.
        """
        group = self._recorder.state.groups[task.id]
        lost = self._recorder.state.lost_keys(task.id)
        if group.halted:
            raise self._why_lost(task, lost, group.count)
        if isinstance(task.control, Loop) and group.count:
            await self._next_round(task, group.count, now)
        else:  # a loop without a round, too: that it begins none is decided already
            self._recorder.record(TaskGathered(now, task.id, lost))

    def decide(self, task: Task, kind: str, text: str, scope: Mapping[str, Any], now: float, number: int = 0) -> bool:
        """Evaluate a condition and record what came of it, and that the task is skipped where that is so."""
        value, reads = self._renderer.evaluate(text, scope)
        told = {name: shown(item) for name, item in reads.items()}
        self._recorder.record(DecisionMade(now, task.id, kind, number, shown(value), told))
        if kind == "condition" and not value:
            because = ", ".join(f"{name} = {item}" for name, item in told.items() if name != text.strip())
            why = f"{CONDITION_FALSE}: {text}" + (f" ({because})" if because else "")
            self._recorder.record(TaskSkipped(now, task.id, why))
        return bool(value)

    # -- kinds ---------------------------------------------------------------------------------------------------

    def _expand_items(self, task: Task, control: ForEach, scope: Mapping[str, Any], now: float) -> None:
        value = self._renderer.render(control.items, scope)
        items: Sequence[Any]
        keys: Iterable[Any]
        match value:
            case bool():
                raise _not_items(value)
            case int() if 0 <= value <= MAX_ITEMS:
                items = keys = range(value)
            case list():
                items, keys = value, _natural_keys(value)
            case Mapping():
                items, keys = list(value.values()), value
            case _:
                raise _not_items(value)
        if len(items) > MAX_ITEMS:
            raise TaskError(f"for_each: {len(items):,} items; at most {MAX_ITEMS:,} are possible", retryable=False)
        if control.key is not None:
            keys = self._own_keys(control.key, items, keys, scope)
        names = _checked(keys)
        try:
            encoded = self._codec.encode(list(items))
        except UnstorableValue as error:
            raise TaskError(f"for_each: an item cannot be kept: {error}", kind=error.kind, retryable=False) from error
        told = f"{len(names):,} items"
        self._recorder.record(DecisionMade(now, task.id, "for_each", 0, told, {}))
        self._record(task, names, now, encoded, mapping=isinstance(value, Mapping))

    def _own_keys(self, key: str, items: Iterable[Any], keys: Iterable[Any], scope: Mapping[str, Any]) -> list[Any]:
        names = dict(scope)
        found = []
        for index, (item, natural) in enumerate(zip(items, keys, strict=True)):
            names["item"], names["index"], names["key"] = item, index, natural
            found.append(self._renderer.render(key, names))
        return found

    async def _next_round(self, task: Task, done: int, now: float) -> None:
        """Record whether a loop goes on after so many rounds, and the next round if it does."""
        control = task.control
        if not isinstance(control, Loop):
            raise TypeError(task.id)
        scope = await self._scope.build(task.reads or (), 0, task)
        last = await self._scope.round(task.id, done)
        if done and control.until is not None:
            names = {**scope, "iteration": done, "last": last}
            if self.decide(task, "until", control.until, names, now, done):
                self._recorder.record(TaskGathered(now, task.id, []))
                return
        if control.while_ is not None:
            names = {**scope, "iteration": done + 1, "last": last}
            if not self.decide(task, "while", control.while_, names, now, done + 1):
                if done:
                    self._recorder.record(TaskGathered(now, task.id, []))
                else:
                    self._record(task, [], now)
                return
        if done >= control.max_iterations:
            raise TaskError(
                f"the loop went through {done} rounds without an end; max_iterations is {control.max_iterations}",
                kind="max_iterations",
                retryable=False,
            )
        self._record(task, [str(done + 1)], now)

    def _choose(self, task: Task, control: Switch, scope: Mapping[str, Any], now: float) -> None:
        value, reads = self._renderer.evaluate(control.value, scope)
        branch = _text(value) if _text(value) in control.cases else DEFAULT_CASE
        told = {name: shown(item) for name, item in reads.items()}
        self._recorder.record(DecisionMade(now, task.id, "switch", 0, shown(value), told))
        if branch == DEFAULT_CASE and control.default is None:
            self._recorder.record(TaskSkipped(now, task.id, f"{CONDITION_FALSE}: no case for {shown(value)}"))
        else:
            self._record(task, [""], now, branch=branch)

    def _record(
        self,
        task: Task,
        keys: list[str],
        now: float,
        items: EncodedValue | None = None,
        *,
        mapping: bool = False,
        branch: str = "",
    ) -> None:
        total = self._recorder.state.graph.total_after(task.id, keys, branch)
        event = TaskExpanded(now, task.id, keys, items.ref if items else None, mapping, branch, total)
        self._recorder.record(event, *([items] if items else []))

    def _why_lost(self, task: Task, lost: list[str], count: int) -> TaskError:
        state = self._recorder.state
        if not isinstance(task.control, ForEach):
            names = [name for name in state.groups[task.id].members if state.tasks[name].error is not None]
            return TaskError(f"{', '.join(names[:_TOLD])} failed", kind="steps")
        more = f" and {len(lost) - _TOLD} more" if len(lost) > _TOLD else ""
        told = ", ".join(lost[:_TOLD])
        return TaskError(f"{len(lost)} of {count} items failed: {told}{more}", kind="items")


def _not_items(value: Any) -> TaskError:
    return TaskError(
        f"for_each: expected a list, a mapping or a whole number of items, got {kind_of(value)}",
        kind="for_each",
        retryable=False,
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)


def _natural_keys(items: Sequence[Any]) -> Sequence[Any]:
    """Return what names the items of a list: they themselves where they are short texts or numbers, all different."""
    if all(type(item) is int or (type(item) is str and _fits(item)) for item in items):
        names = {str(item) for item in items}
        if len(names) == len(items):
            return items
    return range(len(items))


def _fits(key: str) -> bool:
    return 0 < len(key) <= MAX_KEY and key.isprintable()


def _checked(keys: Iterable[Any]) -> list[str]:
    """Return the keys as text; raise TaskError for one that can name no item, or two alike."""
    if isinstance(keys, range):
        return list(map(str, keys))
    found: dict[str, int] = {}
    fail: Callable[[str], TaskError] = lambda text: TaskError(f"for_each: {text}", kind="for_each", retryable=False)  # noqa: E731
    for index, key in enumerate(keys):
        if not isinstance(key, (str, int, float)):
            raise fail(f"the key of item {index} is {kind_of(key)}; expected a text or a number")
        name = _text(key)
        if not _fits(name):
            raise fail(f"the key of item {index}, {shown(name)}, cannot name it: 1 to {MAX_KEY} printable characters")
        if name in found:
            raise fail(f"items {found[name]} and {index} have the same key {shown(name)}; choose another `key`")
        found[name] = index
    return list(found)
