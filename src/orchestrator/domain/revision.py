"""What an edit of a definition changed: in one step, and in the whole pipeline.

Parts are named as an author writes them: ``retry.delay``, ``resume.checkpoint``, ``cache.ttl``. A definition is plain
data, so that parts which Python writes alike are the same: that is asked first, since most parts of most edits are.
"""

from __future__ import annotations

from dataclasses import fields
from enum import StrEnum
from operator import attrgetter
from typing import Any, NamedTuple

from orchestrator.domain.changes import MISSING, Change, differences, same
from orchestrator.domain.control import WORDS, Control, ForEach, Switch
from orchestrator.domain.ids import TaskId
from orchestrator.domain.pipeline import CachePolicy, DeclaredFiles, Input, Pipeline, RetryPolicy, Task
from orchestrator.domain.schedule import Schedule

RETRY_KEYS = {
    "max_attempts": "max_attempts",
    "delay_seconds": "delay",
    "backoff": "backoff",
    "max_delay_seconds": "max_delay",
    "jitter": "jitter",
    "on": "on",
}
"""The fields of a RetryPolicy, and the keys that they are written with."""
RESUME_KEYS = {
    "checkpoint_interval_seconds": "checkpoint_interval",
    "max_retry_attempts": "max_retries",
    "retry_failed_tasks": "retry_failed",
    "reset_running_tasks": "reset_running_tasks",
    "preserve_completed_tasks": "preserve_completed_tasks",
    "validate_checkpoint_integrity": "validate_checkpoint_integrity",
}
"""The fields of a ResumeStrategy, and the keys that they are written with."""
LIMIT = 1000
"""So many differing parts of one step, or of one pipeline's settings, are named."""
_DERIVED = ("id", "needs", "reads", "uses", "within", "key", "index", "local", "stage", "undoes")
_FIELDS = [field.name for field in fields(Task) if field.name not in _DERIVED]
_parts = attrgetter(*_FIELDS)
_MODEL = Task(TaskId("a"), "")
_KEYS = {"critical": "resume.critical", "checkpoint": "resume.checkpoint", "control": "", "body": "steps"}


class PipelineChanges(NamedTuple):
    """How one definition differs from another.

    ``added`` and ``removed`` are steps; ``renamed`` maps a step to the id it had; ``changed`` holds what differs in
    each step that both have, under its new id; ``settings`` what differs besides: inputs, outputs, resume, texts.
    """

    added: tuple[TaskId, ...]
    removed: tuple[TaskId, ...]
    renamed: dict[TaskId, TaskId]
    changed: dict[TaskId, list[Change]]
    settings: list[Change]

    def __bool__(self) -> bool:
        return any(self)


def called_alike(old: Task, new: Task) -> bool:
    """Tell whether two steps make the same call, as far as their text says.

    That is tool, action, parameters, condition and the files declared as read; the order of keys does not count, and
    nothing else does. What the call really means is in the fingerprint.

    >>> called_alike(Task("a", "t", parameters={"x": 1, "y": 2}), Task("b", "t", parameters={"y": 2, "x": 1}))
    True
    """
    return old is new or (
        old.tool == new.tool
        and old.action == new.action
        and old.condition == new.condition
        and old.files.reads == new.files.reads
        and old.control == new.control
        and (repr(old.parameters) == repr(new.parameters) or same(old.parameters, new.parameters))
    )


def changed_parts(old: Task, new: Task) -> list[Change]:
    """Return every part of a step that differs, in the order of Task's fields: path, old and new.

    All that is written counts, but for the id; what is not written is MISSING. Mappings are told apart by key, lists
    by index.

    >>> changed_parts(Task("a", "t", parameters={"threshold": 0.4}), Task("a", "t", parameters={"threshold": 0.5}))
    [Change(path='parameters.threshold', old=0.4, new=0.5)]
    """
    found: list[Change] = []
    for name, one, other in zip(_FIELDS, _parts(old), _parts(new), strict=True):
        if one is not other and repr(one) != repr(other):
            write = _construct if name == "control" else _written
            found += differences(write(one), write(other), limit=LIMIT - len(found), at=_KEYS.get(name, name))
    return found


def former(task: Task, old: Pipeline) -> TaskId | None:
    """Return the id under which ``old`` has this step: that which it was renamed from, or its own; None if neither."""
    if task.renamed_from is not None and task.renamed_from in old.tasks:
        return task.renamed_from
    return task.id if task.id in old.tasks else None


def pipeline_changes(old: Pipeline, new: Pipeline) -> PipelineChanges:
    """Return how ``new`` differs from ``old``; the order of steps does not count.

    Linear in the steps; those that are the same object, or equal in every part, cost next to nothing.
    """
    added: list[TaskId] = []
    renamed: dict[TaskId, TaskId] = {}
    changed: dict[TaskId, list[Change]] = {}
    kept: set[TaskId] = set()
    for name, task in new.tasks.items():
        was = former(task, old)
        if was is None:
            added.append(name)
            continue
        kept.add(was)
        if was != name:
            renamed[name] = was
        before = old.tasks[was]
        if before is not task and (parts := changed_parts(before, task)):
            changed[name] = parts
    removed = [name for name in old.tasks if name not in kept]
    settings = differences(_settings(old), _settings(new), limit=LIMIT)
    return PipelineChanges(tuple(added), tuple(removed), renamed, changed, settings)


def _written(value: Any) -> Any:
    """Return a part of a step as its author wrote it."""
    match value:
        case None:
            return MISSING
        case StrEnum():
            return str(value)
        case RetryPolicy():
            return {key: getattr(value, field) for field, key in RETRY_KEYS.items()}
        case DeclaredFiles():
            return {"reads": value.reads, "writes": value.writes}
        case ():
            return MISSING
        case tuple() if isinstance(value[0], Task):
            return {task.id or "step": _step(task) for task in value}
        case CachePolicy():
            found = {"ttl": value.ttl_seconds, "key": value.key, "scope": str(value.scope)}
            return {key: part for key, part in found.items() if part is not None}
        case _:
            return value


def _construct(control: Control | None) -> dict[str, Any]:
    """Return a construct by the keys that it is written with."""
    found = {field.name.rstrip("_"): getattr(control, field.name) for field in fields(control)} if control else {}
    found = {key: value for key, value in found.items() if value is not None}
    return {WORDS[type(control)]: found} if isinstance(control, (ForEach, Switch)) else found


def _step(task: Task) -> dict[str, Any]:
    """Return the parts of a step inside another one that are not left out."""
    usual = _parts(_MODEL)
    return {
        _KEYS.get(name, name): _written(part)
        for name, part, default in zip(_FIELDS, _parts(task), usual, strict=True)
        if part != default
    }


def _settings(pipeline: Pipeline) -> dict[str, Any]:
    texts = {"id": pipeline.id, "name": pipeline.name}
    texts |= {"version": pipeline.version, "description": pipeline.description}
    resume = {RESUME_KEYS[field]: value for field, value in pipeline.resume.to_dict().items()}
    return {
        **{key: text for key, text in texts.items() if text is not None},
        "inputs": {name: _input(item) for name, item in pipeline.inputs.items()},
        "resume": {"enabled": pipeline.resume_enabled, **resume},
        "outputs": pipeline.outputs,
        **({} if pipeline.timeout is None else {"timeout": pipeline.timeout}),
        "on_failure": {name: _step(task) for name, task in pipeline.on_failure.items()},
        "finally": {name: _step(task) for name, task in pipeline.finally_.items()},
        **({"schedule": _schedule(pipeline.schedule)} if pipeline.schedule is not None else {}),
    }


def _schedule(schedule: Schedule) -> dict[str, Any]:
    found = {field.name: getattr(schedule, field.name) for field in fields(schedule)}
    return {key: str(value) for key, value in found.items() if value is not None}


def _input(item: Input) -> dict[str, Any]:
    found = {"type": item.type, "required": item.required, "default": item.default, "description": item.description}
    found["schema"] = item.schema
    return {key: value for key, value in found.items() if value is not None}
