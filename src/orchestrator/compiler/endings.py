"""What comes after the main part: the steps of ``on_failure`` and ``finally``, and how steps are undone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.compiler.changing import is_number
from orchestrator.compiler.expressions import RESERVED
from orchestrator.domain.graph import cycle_text, cycles
from orchestrator.domain.ids import ID_RULE, is_valid_id
from orchestrator.domain.pipeline import Task
from orchestrator.domain.stage import FAILURE, RESULT, Stage
from orchestrator.domain.words import kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.compiler.diagnostics import Collector
    from orchestrator.compiler.references import Names
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.words import Path


class Builder(Protocol):
    """What checks single steps (see ``build``)."""

    mistakes: Collector
    by_index: bool
    first: dict[Any, int]
    uses: set[str]

    def task(self, index: int | Path, task: Task, names: Names) -> Task:
        """Return a step, all checked."""


class Endings:
    """Checks what one pipeline says of the stages after its main part."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._mistakes = builder.mistakes
        self._places: dict[Any, Path] = {}

    def check(self, timeout: Any) -> None:
        """Note what is wrong with the time that a whole run may take."""
        if timeout is not None and not is_number(timeout, above=0):
            self._mistakes.add(("timeout",), f"expected more than 0 seconds, got {kind_of(timeout)}")

    # -- on_failure and finally ----------------------------------------------------------------------------------

    def stage(self, stage: Stage, tasks: Iterable[Task], names: Names) -> dict[TaskId, Task]:
        """Return the steps of a stage by id: they read steps of the main part, and wait for each other only."""
        listed = list(tasks)
        places: list[Path] = [
            (stage.value, index if self._builder.by_index else str(task.id)) for index, task in enumerate(listed)
        ]
        own = dict.fromkeys(task.id for task in listed)
        visible = self._names(names, own, (FAILURE,), (stage.value,))
        found: dict[TaskId, Task] = {}
        for task, place in zip(listed, places, strict=True):
            self._check_id(task.id, place)
            self._check_kind(task, place, own)
            if task.control is not None:
                continue
            built = self._builder.task(place, task, visible)
            needs = tuple(need for need in built.needs if need in own)
            found.setdefault(task.id, replace(built, needs=needs, stage=stage))
        for cycle in cycles({name: task.needs for name, task in found.items()}):
            if len(cycle) > 1:
                self._mistakes.add(self._places[cycle[0]], f"the steps wait for each other: {cycle_text(cycle)}")
        return found

    def _check_id(self, name: Any, place: Path) -> None:
        path = (*place, "id")
        if not isinstance(name, str):
            self._mistakes.add(path, f"expected text, got {kind_of(name)}")
        elif name in self._builder.first or name in self._places:
            self._mistakes.add(path, f"two steps are named {name!r}", "ids are unique over all stages")
        elif name in RESERVED:
            self._mistakes.add(path, f"no step can be named {name!r}", "the word has a meaning in templates")
        elif not is_valid_id(name):
            self._mistakes.add(path, f"{name[:140]!r} is not an id", f"an id is {ID_RULE}")
        self._places.setdefault(name, place)

    def _check_kind(self, task: Task, place: Path, own: Mapping[TaskId, None]) -> None:
        if task.control is not None:
            hint = "a sub-pipeline or a python function can do it"
            self._mistakes.add(place, "a step of a later stage has a tool, and holds no other steps", hint)
        if task.undo:
            self._mistakes.add((*place, "undo"), "what a step of a later stage did is not undone", key=True)
        for need in task.dependencies:
            if need in self._builder.first and need not in own:
                hint = "it begins when that has ended; its templates may read the step"
                self._mistakes.add((*place, "dependencies"), f"{need} is a step of the main part", hint)

    def _names(self, names: Names, own: Mapping[TaskId, None], local: Sequence[str], within: Path) -> Names:
        for name in local:
            if name in names.tasks or name in own:
                text = f"{name} is a step here, and cannot be told from what later stages call so"
                self._mistakes.add(within, text, "give the step another id")
        tasks = names.tasks if own is names.tasks else {**dict.fromkeys(names.tasks), **own}
        return replace(names, tasks=tasks, local=tuple(dict.fromkeys((*names.local, *local))), within=within)

    # -- undo ----------------------------------------------------------------------------------------------------

    def undo(self, base: Path, task: Task, names: Names) -> tuple[Task, ...]:
        """Return what undoes a step, checked."""
        given: Any = task.undo
        if not isinstance(given, tuple) or not all(isinstance(each, Task) for each in given):
            self._mistakes.add((*base, "undo"), f"expected a tuple of Tasks, got {kind_of(task.undo)}")
            return ()
        taken = f"{task.id}.undo"
        if task.id and not names.within and any(name == taken or name.startswith(f"{taken}[") for name in names.tasks):
            self._mistakes.add((*base, "undo"), f"it is called {taken}, as another step is", "rename that step")
        visible = self._names(names, dict.fromkeys(names.tasks), (FAILURE, RESULT), (*base, "undo"))
        used = set(self._builder.uses)
        found = []
        for index, each in enumerate(task.undo):
            path = (*base, "undo", index) if len(task.undo) > 1 else (*base, "undo")
            if each.control is not None or each.undo or each.dependencies:
                self._mistakes.add(path, "what undoes a step has a tool, and neither steps, dependencies nor undo")
                continue
            built = self._builder.task(path, each, visible)
            found.append(replace(built, needs=()))
        self._builder.uses.clear()
        self._builder.uses |= used
        return tuple(found)
