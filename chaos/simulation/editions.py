"""The later definitions of a scenario: what people edit in a pipeline while its execution goes on."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from chaos.simulation.expected import label_of, reads_of, undisturbed
from chaos.simulation.scenario import Behaviour, Scenario
from orchestrator.compiler.build import build
from orchestrator.domain.ids import TaskId
from orchestrator.domain.pipeline import Input, Task

if TYPE_CHECKING:
    import random

EDITS = (
    "start", "knob", "note", "note", "action", "condition", "retry", "mend",
    "add", "add", "remove", "rename", "rename", "rewire", "rewire", "level",
)  # fmt: skip
"""What may be edited. A ``note`` changes what a step is given, and never its result."""


def with_editions(chance: random.Random, scenario: Scenario) -> Scenario:
    """Return the scenario with one to three later definitions; its steps keep a label, and some results are coarse."""
    behaviours = {
        label: how if chance.random() < 0.5 else replace(how, signed=False, buckets=chance.choice((1, 2, 3)))
        for label, how in scenario.behaviours.items()
    }
    tasks = [
        replace(task, parameters={**task.parameters, "label": str(name)})
        for name, task in scenario.pipeline.tasks.items()
    ]
    first = _made(scenario, tasks, behaviours, chance.randint(1, 3), dict(scenario.inputs))
    later: list[Scenario] = []
    for number in range(1, chance.choice((1, 2, 3)) + 1):
        later.append(_Edition(chance, later[-1] if later else first, number).made())
    return replace(first, later=tuple(later))


def with_inputs(scenario: Scenario, execution_id: str, start: int) -> Scenario:
    """Return the scenario of a fork that starts otherwise."""
    inputs = {**scenario.inputs, "start": start}
    results = undisturbed(scenario.pipeline, scenario.behaviours, inputs)
    return replace(scenario, execution_id=execution_id, inputs=inputs, results=results)


def _made(
    before: Scenario, tasks: list[Task], behaviours: dict[str, Behaviour], level: int, inputs: dict[str, Any]
) -> Scenario:
    names = {task.id for task in tasks}
    old = before.pipeline
    pipeline = build(
        id=old.id,
        tasks=[replace(task, needs=(), reads=None) for task in tasks],
        inputs=[Input("start", "integer", required=True), Input("level", "integer", default=level)],
        outputs={
            task.id: f"{{{{ {task.id}.result }}}}" for task in tasks if task.id in old.outputs and task.id in names
        },
        resume=old.resume,
    )
    inputs = {**inputs, "level": level}
    return Scenario(before.execution_id, pipeline, behaviours, inputs, undisturbed(pipeline, behaviours, inputs))


class _Edition:
    """One later definition in the making."""

    def __init__(self, chance: random.Random, before: Scenario, number: int) -> None:
        self.chance = chance
        self.before = before
        self.number = number
        self.tasks = list(before.pipeline.tasks.values())
        self.behaviours = dict(before.behaviours)
        self.level: int = before.inputs["level"]
        self.added = 0

    def made(self) -> Scenario:
        chance = self.chance
        for _ in range(chance.choice((1, 1, 2, 3))):
            edit = chance.choice(EDITS)
            getattr(self, f"_{edit}")(chance.randrange(len(self.tasks)))
        return _made(self.before, self.tasks, self.behaviours, self.level, dict(self.before.inputs))

    def _give(self, index: int, **parameters: Any) -> None:
        task = self.tasks[index]
        self.tasks[index] = replace(task, parameters={**task.parameters, **parameters})

    def _start(self, index: int) -> None:
        self._give(index, start=self.chance.choice((7, 8, "{{ inputs.start }}", "{{ inputs.level }}")))

    def _knob(self, index: int) -> None:
        self._give(index, knob=self.number)

    def _note(self, index: int) -> None:
        self._give(index, note=self.number)

    def _action(self, index: int) -> None:
        self.tasks[index] = replace(self.tasks[index], action=self.chance.choice((None, "other")))

    def _condition(self, index: int) -> None:
        reads = reads_of(self.tasks[index])
        condition = None
        if reads and self.chance.random() < 0.7:
            read = self.chance.choice(reads)
            condition = f"{{{{ {read}.result == None or {read}.result.v % {self.chance.choice((2, 3))} != 0 }}}}"
        self.tasks[index] = replace(self.tasks[index], condition=condition)

    def _retry(self, index: int) -> None:
        retry = self.tasks[index].retry
        self.tasks[index] = replace(self.tasks[index], retry=replace(retry, delay_seconds=1.0), name="another")

    def _mend(self, index: int) -> None:
        label = label_of(self.tasks[index])
        self._knob(index)
        self.behaviours[label] = replace(self.behaviours[label], always_fails=False, poison=False)

    def _level(self, _index: int) -> None:
        self.level = self.chance.randint(4, 6)

    def _add(self, index: int) -> None:
        self.added += 1
        name = TaskId(f"n{self.number}x{self.added}")
        before = [task.id for task in self.tasks[:index]]
        reads = self.chance.sample(before, min(len(before), self.chance.choice((0, 1, 2))))
        parameters = {"reads": {each: f"{{{{ {each}.result }}}}" for each in reads}, "start": 7, "label": str(name)}
        self.tasks.insert(index, Task(name, "simulated", parameters=parameters))
        self.behaviours[name] = Behaviour(fails=self.chance.choice((0, 0, 1)), signed=self.chance.random() < 0.5)
        if self.chance.random() < 0.5:
            after = self.chance.randrange(index + 1, len(self.tasks))
            self._read(after, name)

    def _read(self, index: int, name: TaskId) -> None:
        reads = {**self.tasks[index].parameters["reads"], name: f"{{{{ {name}.result }}}}"}
        self._give(index, reads=reads)

    def _remove(self, index: int) -> None:
        if len(self.tasks) == 1:
            return
        gone = self.tasks.pop(index).id
        for number, task in enumerate(self.tasks):
            self.tasks[number] = self._without(task, gone)

    def _without(self, task: Task, gone: TaskId) -> Task:
        template = f"{{{{ {gone}.result }}}}"
        reads = {key: text for key, text in task.parameters["reads"].items() if text != template}
        condition = task.condition
        if condition is not None and re.search(rf"\b{gone}\.", condition):
            condition = None
        return replace(
            task,
            parameters={**task.parameters, "reads": reads},
            dependencies=tuple(each for each in task.dependencies if each != gone),
            condition=condition,
        )

    def _rename(self, index: int) -> None:
        old = self.tasks[index].id
        if old not in self.before.pipeline.tasks:
            return
        new = TaskId(f"{label_of(self.tasks[index])}r{self.number}")
        if new in {task.id for task in self.tasks}:
            return
        self.tasks[index] = replace(self.tasks[index], id=new, renamed_from=old)
        for number, task in enumerate(self.tasks):
            reads = task.parameters["reads"].items()
            texts = {key: re.sub(rf"\b{old}\.", f"{new}.", text) for key, text in reads}
            self.tasks[number] = replace(
                task,
                parameters={**task.parameters, "reads": texts},
                dependencies=tuple(new if each == old else each for each in task.dependencies),
                condition=task.condition and re.sub(rf"\b{old}\.", f"{new}.", task.condition),
            )

    def _rewire(self, index: int) -> None:
        task = self.tasks[index]
        reads = set(reads_of(task))
        free = [each.id for each in self.tasks[:index] if each.id not in reads]
        choice = self.chance.random()
        if choice < 0.5 and free:
            self._read(index, self.chance.choice(free))
        elif choice < 0.7 and free:
            self.tasks[index] = replace(task, dependencies=(*task.dependencies, self.chance.choice(free)))
        elif reads:
            dropped = self.chance.choice(sorted(reads))
            self.tasks[index] = self._without(task, TaskId(dropped))
