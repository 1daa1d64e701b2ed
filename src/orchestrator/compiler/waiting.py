"""The checks of steps that wait: what means nothing to them, and where an approval can send its execution back to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.compiler.templates import is_template
from orchestrator.domain.pipeline import NO_FILES, Isolation
from orchestrator.domain.waits import APPROVAL, waits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from orchestrator.compiler.diagnostics import Collector
    from orchestrator.domain.pipeline import Task
    from orchestrator.domain.words import Path


def check_waits(mistakes: Collector, tasks: Mapping[Any, Task], place_of: Callable[[Any], Path]) -> None:
    """Note the mistakes of those of these steps that wait."""
    for task in tasks.values():
        if waits(task):
            _check_settings(mistakes, task, place_of(task.id))
            if task.tool == APPROVAL:
                _check_send_back(mistakes, tasks, task, (*place_of(task.id), "parameters", "send_back"))


def _check_settings(mistakes: Collector, task: Task, base: Path) -> None:
    """Note what is about attempts of an executor: there are none of a step that waits."""
    if task.timeout is not None:
        hint = "how long it waits is the parameter `timeout`"
        mistakes.add((*base, "timeout"), f"a step of the tool {task.tool} runs nothing that could be timed", hint)
    for name, given in (
        ("cache", task.cache is not None),
        ("isolation", task.isolation is not Isolation.NONE),
        ("files", task.files != NO_FILES),
        ("migrate", task.migrate is not None),
    ):
        if given:
            mistakes.add(
                (*base, name), f"this means nothing to a step of the tool {task.tool}: it waits, and runs nothing"
            )


def _check_send_back(mistakes: Collector, tasks: Mapping[Any, Task], task: Task, path: Path) -> None:
    steps = task.parameters.get("send_back")
    for step in [steps] if isinstance(steps, str) else steps if isinstance(steps, list) else []:
        if not isinstance(step, str) or is_template(step):
            continue  # told already, or known only later
        if step not in tasks:
            hint = mistakes.guess(step, tasks) or "it names a step in the same list of steps"
            mistakes.add(path, f"no step named {step!r}", hint)
        elif step not in _before(tasks, task.needs):
            mistakes.add(path, f"{step} is not before this step", "it can be sent back to what it waits for")


def _before(tasks: Mapping[Any, Task], needs: Iterable[Any]) -> set[Any]:
    found: set[Any] = set()
    queue = list(needs)
    for name in queue:
        if name not in found and name in tasks:
            found.add(name)
            queue += tasks[name].needs
    return found
