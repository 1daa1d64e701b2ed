"""Steps that hold others: their construct, and the names that the steps inside can see."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.compiler.changing import check_texts, is_number
from orchestrator.compiler.expressions import RESERVED
from orchestrator.compiler.fields import is_default
from orchestrator.compiler.limits import TemplateFault
from orchestrator.compiler.plain import plain_copy
from orchestrator.compiler.references import Names
from orchestrator.compiler.templates import compile_condition
from orchestrator.compiler.waiting import check_waits
from orchestrator.domain.control import ITEM_NAMES, LOOP_NAMES, WORDS, ForEach, Loop, Switch, names_in
from orchestrator.domain.graph import cycle_text, cycles
from orchestrator.domain.ids import ID_RULE, is_valid_id
from orchestrator.domain.words import kind_of

if TYPE_CHECKING:
    from orchestrator.compiler.diagnostics import Collector
    from orchestrator.compiler.expressions import Expression
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.pipeline import Task
    from orchestrator.domain.words import Path

MAX_DEPTH = 8
"""So deep may steps stand in steps."""


class Builder(Protocol):
    """What checks single steps, whether they stand in others or not (see ``build``)."""

    mistakes: Collector
    uses: set[str]

    def base(self, index: int | Path, name: Any) -> Path:
        """Return where a step is written."""

    def task(self, index: int | Path, task: Task, names: Names) -> Task:
        """Return a step, all checked."""

    def dependencies(self, index: int | Path, task: Any, names: Names) -> tuple[Any, ...]:
        """Return the ids of the steps that a step says it depends on."""

    def changing(self, base: Path, task: Any, names: Names) -> None:
        """Check what a plan asks of a step."""

    def templates(self, path: Path, value: Any, names: Names, own: str | None) -> dict[str, None] | None:
        """Check the templates in a value; return the steps that they read, None without templates."""

    def expression(
        self, path: Path, expression: Expression, names: Names, own: str | None, found: dict[str, None]
    ) -> None:
        """Check what an expression reads, and note the steps in ``found``."""


class Containers:
    """Checks the steps of one pipeline that hold others."""

    def __init__(self, builder: Builder) -> None:
        self._builder = builder
        self._mistakes = builder.mistakes
        self._depth = 0

    def check_names(self, listed: Sequence[Task]) -> None:
        """Note steps that are called as those inside another one are."""
        containers = {task.id for task in listed if task.control is not None}
        for index, task in enumerate(listed) if containers else ():
            name = str(task.id)
            outer = next((name[:at] for at, char in enumerate(name) if char == "." and name[:at] in containers), None)
            if outer is not None:
                hint = f"the steps inside {outer} are called {outer}.…"
                path = (*self._builder.base(index, name), "id")
                self._mistakes.add(path, f"no step can be named {name!r} here", hint)

    def task(self, base: Path, task: Task, names: Names) -> Task:
        """Return a step that holds others, all checked; it needs what they need around it."""
        if self._depth == MAX_DEPTH:
            self._mistakes.add(base, f"steps are nested more than {MAX_DEPTH} deep")
            return replace(task, body=())
        self._check_settings(base, task)
        control = self._control(base, task)
        dependencies = self._builder.dependencies(base, task, names)
        self._builder.changing(base, task, names)
        self._builder.uses.clear()
        reads = self._reads(base, replace(task, control=control), names)
        uses = tuple(sorted(self._builder.uses.intersection(names.local)))
        self._depth += 1
        body = self._body(base, replace(task, control=control), names)
        self._depth -= 1
        siblings = {inner.id for inner in body}
        outer = [need for inner in body for need in (*inner.needs, *(inner.reads or ())) if need not in siblings]
        needs = tuple(dict.fromkeys((*dependencies, *reads, *outer)))
        return replace(
            task, control=control, dependencies=dependencies, body=body, needs=needs, reads=tuple(reads), uses=uses
        )

    def _check_settings(self, base: Path, task: Any) -> None:
        check_texts(self._mistakes, base, {"name": task.name, "description": task.description})
        own = replace(task, control=None, body=(), name=None, description=None, renamed_from=None)
        if not is_default(own) or task.parameters or task.action is not None:
            self._mistakes.add(base, "what a step does belongs to the steps inside it, if it holds some")
        if task.tool != WORDS.get(type(task.control)):
            self._mistakes.add((*base, "tool"), f"expected {WORDS.get(type(task.control))!r} for this construct")

    # -- the construct -------------------------------------------------------------------------------------------

    def _control(self, base: Path, task: Any) -> Any:
        """Return the construct in its proper form; note what is wrong with its numbers and names."""
        control = task.control
        match control:
            case ForEach():
                path = (*base, "for_each")
                check_texts(self._mistakes, path, {"key": control.key})
                if control.max_parallel is not None and not is_number(control.max_parallel, least=1):
                    told = kind_of(control.max_parallel)
                    self._mistakes.add((*path, "max_parallel"), f"expected 1 or more, got {told}")
                items = plain_copy(control.items, self._mistakes.under((*path, "items")))
                if not isinstance(items, (str, list, Mapping, int)) or isinstance(items, bool):
                    expected = "a template, a list, a mapping or a whole number"
                    self._mistakes.add((*path, "items"), f"expected {expected}, got {kind_of(items)}")
                return replace(control, items=items)
            case Loop():
                if control.while_ is None and control.until is None:
                    self._mistakes.add(base, "a loop needs while or until: else it has no end")
                if not is_number(control.max_iterations, least=1):
                    told = kind_of(control.max_iterations)
                    self._mistakes.add((*base, "max_iterations"), f"expected 1 or more, got {told}")
            case Switch():
                if not control.cases:
                    self._mistakes.add((*base, "switch", "cases"), "a switch needs at least one case")
            case _:
                pass
        return control

    def _reads(self, base: Path, task: Task, names: Names) -> dict[TaskId, None]:
        """Return the steps that the condition and the construct of a container read."""
        found: dict[TaskId, None] = {}
        texts: list[tuple[Path, Any, tuple[str, ...]]] = [((*base, "condition"), task.condition, ())]
        match task.control:
            case ForEach() as control:
                path = (*base, "for_each")
                found |= self._builder.templates((*path, "items"), control.items, names, task.id) or {}
                inner = self._with(names, ITEM_NAMES)
                found |= self._builder.templates((*path, "key"), control.key, inner, task.id) or {}
            case Loop() as control:
                texts.append(((*base, "while"), control.while_, LOOP_NAMES))
                texts.append(((*base, "until"), control.until, LOOP_NAMES))
            case Switch() as control:
                texts.append(((*base, "switch", "value"), control.value, ()))
            case _:
                pass
        for path, text, local in texts:
            if text is None:
                continue
            try:
                expression = compile_condition(text)
            except TemplateFault as fault:
                self._mistakes.add(path, str(fault))
            else:
                self._builder.expression(path, expression, self._with(names, local), task.id, found)
        return found

    @staticmethod
    def _with(names: Names, local: Sequence[str]) -> Names:
        return replace(names, local=tuple(dict.fromkeys((*names.local, *local)))) if local else names

    # -- the steps inside ----------------------------------------------------------------------------------------

    def _body(self, base: Path, task: Task, names: Names) -> tuple[Task, ...]:
        places = _places(base, task)
        first: dict[str, Path] = {}
        local = names_in(task.control)
        for inner, place in zip(task.body, places, strict=True):
            self._check_id(inner.id, place, first, names, local)
            first.setdefault(inner.id, place)
        for name in local:
            if name in names.tasks:
                self._mistakes.add(base, f"{name} is a step here, and cannot be told from what the construct calls so")
        around = names if "" in first else replace(names, tasks={**dict.fromkeys(names.tasks), **dict.fromkeys(first)})
        visible = replace(self._with(around, local), within=base)
        built = [self._builder.task(place, inner, visible) for inner, place in zip(task.body, places, strict=True)]
        for cycle in cycles({inner.id: inner.needs for inner in built}):
            if len(cycle) > 1:
                self._mistakes.add(first[cycle[0]], f"the steps wait for each other: {cycle_text(cycle)}")
        check_waits(self._mistakes, {inner.id: inner for inner in built}, first.__getitem__)
        return tuple(built)

    def _check_id(self, name: Any, place: Path, first: Mapping[str, Path], names: Names, local: Sequence[str]) -> None:
        path = (*place, "id")
        if name == "":
            return  # that of the step itself
        if not isinstance(name, str):
            self._mistakes.add(path, f"expected text, got {kind_of(name)}")
        elif name in first:
            self._mistakes.add(path, f"two steps in one are named {name!r}")
        elif name in names.tasks:
            hint = "the steps inside would see only one of the two"
            self._mistakes.add(path, f"a step around it is named {name!r} as well", hint)
        elif name in RESERVED or name in local:
            self._mistakes.add(path, f"no step can be named {name!r}", "the word has a meaning in templates")
        elif not is_valid_id(name):
            self._mistakes.add(path, f"{name[:140]!r} is not an id", f"an id is {ID_RULE}")


def _places(base: Path, task: Task) -> list[Path]:
    """Return where each step of a body is written."""
    control = task.control
    if isinstance(control, Switch):
        switch = (*base, "switch")
        cases = [(*switch, "cases", case, index) for case, ids in control.cases.items() for index in range(len(ids))]
        return cases + [(*switch, "default", index) for index in range(len(control.default or ()))]
    return [base if task.id == "" else (*base, "steps", index) for index, task in enumerate(task.body)]
