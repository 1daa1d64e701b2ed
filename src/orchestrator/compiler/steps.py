"""A step as it is written, as a task: what it does, or which steps it holds and how often."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.compiler.limits import TemplateFault
from orchestrator.compiler.templates import compile_condition
from orchestrator.domain.control import ITEM_NAMES, WORDS, Block, Control, ForEach, Loop, Switch
from orchestrator.domain.ids import TaskId
from orchestrator.domain.limits import UNLIMITED
from orchestrator.domain.pipeline import (
    NO_FILES,
    ONCE,
    CachePolicy,
    CacheScope,
    CheckpointWhen,
    DeclaredFiles,
    Isolation,
    OnChange,
    OnInterrupted,
    RetryPolicy,
    Task,
)

if TYPE_CHECKING:
    from orchestrator.compiler.shape import Reading, Values
    from orchestrator.domain.words import Path

_RARE = frozenset(
    ("files", "output_schema", "on_change", "migrate", "renamed_from", "cache", "undo", "idle_timeout", "limits")
)
CONSTRUCTS = frozenset(("for_each", "while", "until", "switch", "steps"))
_AROUND = frozenset((*CONSTRUCTS, "id", "name", "description", "dependencies", "condition", "renamed_from"))
"""What a container has itself; all else is what is done in it."""


def step_of(step: Values, path: Path, reading: Reading) -> Task:
    """Return the task that a step means; notes what does not go together in it."""
    if CONSTRUCTS.isdisjoint(step):
        _check_tool(step, path, reading, "a step has a tool, or steps, or a switch")
        if "max_iterations" in step:
            _no_rounds(path, reading)
        return _task(step, step["id"])
    return _container(step, path, reading)


def _check_tool(step: Values, path: Path, reading: Reading, hint: str) -> None:
    if "tool" not in step and (*path, "tool") not in reading.places and path not in reading.places:
        reading.wrong((*path, "tool"), "this key is missing", hint)


def _task(step: Values, name: str) -> Task:
    return Task(
        id=TaskId(name),
        tool=step["tool"] or "__unknown",
        action=step["action"],
        parameters=step["parameters"],
        dependencies=tuple(TaskId(need) for need in step["dependencies"]),
        name=step["name"],
        description=step["description"],
        condition=step["condition"],
        timeout=step["timeout"],
        retry=_retry(step["retry"]) if "retry" in step else ONCE,
        critical=step["resume"]["critical"],
        checkpoint=CheckpointWhen(step["resume"]["checkpoint"]),
        on_interrupted=OnInterrupted(step["on_interrupted"]),
        isolation=Isolation(step["isolation"]),
        **({} if _RARE.isdisjoint(step) else _rare(step)),
    )


def _container(step: Values, path: Path, reading: Reading) -> Task:
    control = _control(step, path, reading)
    condition = step["condition"]
    body = _body(step, path, reading)
    if isinstance(control, ForEach) and condition is not None and _is_of_items(condition):
        if body is not None:
            hint = "write it at the steps inside"
            reading.wrong((*path, "condition"), "what is asked of an item is asked by the steps in it", hint)
        condition = None
    inner = _alone(step, condition) if body is None else body
    return Task(
        id=TaskId(step["id"]),
        tool=WORDS[type(control)],
        dependencies=tuple(TaskId(need) for need in step["dependencies"]),
        name=step["name"],
        description=step["description"],
        condition=condition,
        renamed_from=step["renamed_from"],
        control=control,
        body=inner,
    )


def contained(task: Task, control: ForEach | Loop) -> Task:
    """Return the container of a step that holds nothing but what it does itself: the task is done in it.

    A condition that asks for something of each item is asked in it, too.
    """
    inside = task.condition is not None and isinstance(control, ForEach) and _is_of_items(task.condition)
    outside = replace(
        Task(task.id, WORDS[type(control)], dependencies=task.dependencies, name=task.name, control=control),
        description=task.description,
        condition=None if inside else task.condition,
        renamed_from=task.renamed_from,
    )
    inner = replace(
        task,
        id=TaskId(""),
        dependencies=(),
        name=None,
        description=None,
        condition=task.condition if inside else None,
        renamed_from=None,
    )
    return replace(outside, body=(inner,))


def _alone(step: Values, condition: str | None) -> tuple[Task, ...]:
    """Return the one step of a container that holds nothing but what it does itself."""
    alone = type(step)(step.defaults)
    alone.update((key, value) for key, value in step.items() if key not in _AROUND and key != "max_iterations")
    if condition is None and step["condition"] is not None:
        alone["condition"] = step["condition"]
    return (_task(alone, ""),)


def _body(step: Values, path: Path, reading: Reading) -> tuple[Task, ...] | None:
    """Return the steps inside a step; None if it has none, but a tool."""
    switch = step["switch"]
    if "switch" in step and switch is not None:
        found = [
            step_of(inner, (*path, "switch", "cases", case, index), reading)
            for case, steps in switch["cases"].items()
            for index, inner in enumerate(steps)
        ]
        found += [
            step_of(inner, (*path, "switch", "default", index), reading)
            for index, inner in enumerate(switch["default"] or [])
        ]
    elif "steps" in step:
        found = [step_of(inner, (*path, "steps", index), reading) for index, inner in enumerate(step["steps"])]
        if not found and (*path, "steps") not in reading.places:
            reading.wrong((*path, "steps"), "there are no steps in it")
    else:
        _check_tool(step, path, reading, "it is what is done, or `steps` are")
        return None
    for key in step:
        if key not in _AROUND and key != "max_iterations" and (*path, key) not in reading.places:
            reading.wrong((*path, key), f"{key} belongs to the steps inside", "move it there", key=True)
    return tuple(found)


def _control(step: Values, path: Path, reading: Reading) -> Control:
    loops = "while" in step or "until" in step
    given = {"for_each": "for_each" in step, "while": loops, "switch": "switch" in step}
    kinds = [kind for kind, is_given in given.items() if is_given]
    if "max_iterations" in step and not loops:
        _no_rounds(path, reading)
    if len(kinds) > 1 or ("switch" in step and "steps" in step):
        hint = "write the one as a step inside the other, under `steps`"
        both = " and ".join(kinds if len(kinds) > 1 else ("switch", "steps"))
        reading.wrong(path, f"{both} do not go together in one step", hint)
    if (items := step["for_each"]) is not None:
        tolerate = None if items["on_item_failure"] == "continue" else items["on_item_failure"]
        return ForEach(items.get("items", []), items["key"], items["max_parallel"], tolerate)
    if loops:
        return Loop(step["while"], step["until"], step["max_iterations"])
    if (switch := step["switch"]) is not None:
        cases = {case: tuple(inner["id"] for inner in steps) for case, steps in switch["cases"].items()}
        default = switch["default"]
        return Switch(switch["value"], cases, None if default is None else tuple(inner["id"] for inner in default))
    return Block()


def _no_rounds(path: Path, reading: Reading) -> None:
    reading.wrong((*path, "max_iterations"), "only a loop has rounds", "it goes with while or until", key=True)


def _is_of_items(condition: str) -> bool:
    """Tell whether a condition asks for something of each item."""
    try:
        found = compile_condition(condition)
    except TemplateFault:
        return False
    return any(reference.path[0] in ITEM_NAMES for reference in found.references)


def _rare(step: Values) -> dict[str, Any]:
    """Return what few steps have; most are spared the time."""
    change, cache = step["on_change"], step["cache"]
    files = DeclaredFiles(tuple(step["files"]["reads"]), tuple(step["files"]["writes"]))
    return {
        "files": NO_FILES if files == NO_FILES else files,
        "output_schema": step["output_schema"],
        "on_change": None if change is None else OnChange(change),
        "migrate": step["migrate"],
        "renamed_from": step["renamed_from"],
        "undo": tuple(undo_of(each) for each in step["undo"] or ()),
        "idle_timeout": step["idle_timeout"],
        "limits": tuple(step["limits"]) or UNLIMITED,
        "cache": None if cache is None else CachePolicy(cache["ttl"], cache["key"], CacheScope(cache["scope"])),
    }


def undo_of(given: Values) -> Task:
    """Return what takes back what a step did."""
    return Task(
        id=TaskId(""),
        tool=given.get("tool") or "__unknown",
        action=given["action"],
        parameters=given["parameters"],
        timeout=given["timeout"],
        retry=_retry(given["retry"]) if "retry" in given else ONCE,
    )


def _retry(given: Values) -> RetryPolicy:
    policy = RetryPolicy(
        max_attempts=given["max_attempts"],
        delay_seconds=given["delay"],
        backoff=given["backoff"],
        max_delay_seconds=given["max_delay"],
        jitter=given["jitter"],
        on=tuple(given["on"]),
    )
    return ONCE if policy == ONCE else policy
