"""A compiled pipeline as plain data, small and quick to read, for the store.

Format 2 adds fields of tasks to format 1, format 3 adds containers, and format 4 what comes after the main part; the
lowest that will do is written, so that older versions read what they can. It is a mapping
of text, numbers, true, false, null, lists and mappings only::

    v             4, 3, 2 or 1
    id, name, version, description, inputs, outputs, output_reads, resume, resume_enabled
    schedule      its fields, in order; older versions do not look at it, and need not: it runs nothing by itself
    input_schemas {name: JSON Schema}; older versions do not look at it: values were held against it on their entry
    calls         [[tool, action], ...]: each pair once
    tasks         [id, ...] in the order of the definition
    call_of       [index into calls, ...], or one index if all tasks make the same call
    needs         per task: the index of the one task it needs, or a list of indexes
    more          [[index of the task, {field: value}], ...] for all that is not default; the fields are those of
                  Task, with tasks as indexes; ``dependencies`` only where they differ from ``needs``;
                  ``retry``, ``files`` and ``cache`` are lists of their fields; ``control`` is the kind of a container
                  and its fields, ``body`` a list of [id, tool, action, needs, {field: value}] with tasks by name;
                  ``undo`` is such a list, too
    timeout       in seconds, for a whole run
    on_failure, finally   the tasks of these stages, in the form of ``body``

Keys whose value is the default are left out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, fields, replace
from itertools import repeat
from operator import attrgetter
from typing import Any

from orchestrator.domain.control import WORDS, Control, Switch
from orchestrator.domain.ids import TaskId
from orchestrator.domain.pipeline import (
    NO_FILES,
    ONCE,
    CachePolicy,
    CacheScope,
    CheckpointWhen,
    DeclaredFiles,
    Input,
    Isolation,
    OnChange,
    OnInterrupted,
    Pipeline,
    RetryPolicy,
    Task,
)
from orchestrator.domain.schedule import Catchup, Overlap, Schedule
from orchestrator.domain.stage import Stage
from orchestrator.domain.strategy import ResumeStrategy
from orchestrator.errors import StoreDamaged, StoreIncompatible, UsageError

FORMAT = 4
"""The newest format that is written, and read."""
_PLAIN_FIELDS = ("name", "description", "condition", "timeout", "critical", "migrate", "renamed_from")
_ENUMS: dict[str, Any] = {
    "checkpoint": CheckpointWhen,
    "on_interrupted": OnInterrupted,
    "isolation": Isolation,
    "on_change": OnChange,
}
_SINCE_2 = frozenset(("files", "output_schema", "on_change", "migrate", "renamed_from", "cache"))
_SINCE_3 = frozenset(("control", "body"))
_CONTROLS: dict[str, type[Control]] = {word: kind for kind, word in WORDS.items()}
_TEXTS = ("name", "version", "description")
_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(Task)}
_SETTINGS = (*_PLAIN_FIELDS, *_ENUMS, "retry", "files", "output_schema", "cache")
_settings = attrgetter(*_SETTINGS)
_input_parts = attrgetter("name", "type", "required", "default", "description")
_USUAL = tuple(_DEFAULTS[name] for name in _SETTINGS)
_SETTERS: dict[str, Callable[[Task, Any], None]] = {
    field.name: getattr(Task, field.name).__set__ for field in fields(Task)
}
"""They fill a task that nobody has seen yet, frozen as it is, several times faster than its constructor."""


def pack(pipeline: Pipeline) -> dict[str, Any]:
    """Return ``pipeline`` as plain data; ``unpack`` makes an equal one of it."""
    index = {task: number for number, task in enumerate(pipeline.tasks)}
    calls: dict[tuple[str, str | None], int] = {}
    call_of, needs = [], []
    more: list[tuple[int, dict[str, Any]]] = []
    for number, task in enumerate(pipeline.tasks.values()):
        call_of.append(calls.setdefault((task.tool, task.action), len(calls)))
        needs.append(index[task.needs[0]] if len(task.needs) == 1 else [index[need] for need in task.needs])
        if extra := _extra(task, index):
            more.append((number, extra))
    fields_used = frozenset(name for _, extra in more for name in extra)
    since = 1 if _SINCE_2.isdisjoint(fields_used) else 2
    since = since if _SINCE_3.isdisjoint(fields_used) else 3
    since = 4 if pipeline.has_endings or pipeline.timeout is not None else since
    packed: dict[str, Any] = {"v": since, "id": pipeline.id}
    packed |= {key: value for key in _TEXTS if (value := getattr(pipeline, key)) is not None}
    packed |= {
        "calls": [list(call) for call in calls],
        "tasks": list(pipeline.tasks),
        "call_of": 0 if len(calls) == 1 else call_of,
        "needs": needs,
    }
    rest: dict[str, Any] = {
        "more": [list(item) for item in more],
        "inputs": [list(_input_parts(item)) for item in pipeline.inputs.values()],
        "input_schemas": {item.name: dict(item.schema) for item in pipeline.inputs.values() if item.schema is not None},
        "outputs": dict(pipeline.outputs),
        "output_reads": [index[task] for task in pipeline.output_reads],
        "resume": _changed(pipeline.resume),
        "schedule": [_word(each) for each in astuple(pipeline.schedule)] if pipeline.schedule is not None else None,
    }
    rest["timeout"] = pipeline.timeout
    rest["on_failure"] = [_packed_body(task) for task in pipeline.on_failure.values()]
    rest["finally"] = [_packed_body(task) for task in pipeline.finally_.values()]
    packed |= {key: value for key, value in rest.items() if value}
    return packed if pipeline.resume_enabled else packed | {"resume_enabled": False}


def unpack(packed: Any) -> Pipeline:
    """Return the pipeline that ``pack`` made this of.

    Raises StoreIncompatible if a newer version wrote it, StoreDamaged if it is nothing that ``pack`` makes.
    """
    version = packed.get("v") if isinstance(packed, Mapping) else None
    if type(version) is not int or version < 1:
        raise StoreDamaged("definition", "it is not a packed pipeline")
    if version > FORMAT:
        raise StoreIncompatible(
            f"the definition was stored in format {version}, and this version reads up to {FORMAT}; "
            "use the version that stored it, or a newer one"
        )
    try:
        return _unpack(packed)
    except (LookupError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise StoreDamaged("definition", f"it is no packed pipeline: {error}") from None


def _extra(task: Task, index: Mapping[TaskId, int]) -> dict[str, Any]:
    """Return the fields of a task that are not default."""
    extra: dict[str, Any] = {}
    if task.parameters:
        extra["parameters"] = dict(task.parameters)
    if task.dependencies != task.needs:
        extra["dependencies"] = [index[need] for need in task.dependencies]
    if task.reads is not None:
        extra["reads"] = [index[need] for need in task.reads]
    if task.control is not None:
        control = task.control
        extra["control"] = [WORDS[type(control)], *[_plain(getattr(control, each.name)) for each in fields(control)]]
        extra["body"] = [_packed_body(each) for each in task.body]
    if task.undo:
        extra["undo"] = [_packed_body(each) for each in task.undo]
    if task.uses:
        extra["uses"] = list(task.uses)
    return extra if _settings(task) == _USUAL else extra | _changed_settings(task)


def _packed_body(task: Task) -> list[Any]:
    """Return a body's task: those that it needs and reads by their names, since they may be anywhere around it."""
    return [task.id, task.tool, task.action, list(task.needs), _extra(task, _BY_NAME)]


class _Names(dict[TaskId, Any]):
    """An index of tasks that are called by name."""

    def __missing__(self, name: TaskId) -> TaskId:
        return name


_BY_NAME = _Names()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _changed_settings(task: Task) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for name in _PLAIN_FIELDS:
        value = getattr(task, name)
        if value != _DEFAULTS[name]:
            changed[name] = value
    for name in _ENUMS:
        value = getattr(task, name)
        if value is not _DEFAULTS[name]:
            changed[name] = str(value)
    if task.retry != ONCE:
        changed["retry"] = [*astuple(task.retry)[:-1], list(task.retry.on)]
    if task.files != NO_FILES:
        changed["files"] = [list(task.files.reads), list(task.files.writes)]
    if task.output_schema is not None:
        changed["output_schema"] = dict(task.output_schema)
    if task.cache is not None:
        changed["cache"] = [task.cache.ttl_seconds, task.cache.key, str(task.cache.scope)]
    return changed


def _changed(resume: ResumeStrategy) -> dict[str, Any]:
    usual = ResumeStrategy().to_dict()
    return {key: value for key, value in resume.to_dict().items() if value != usual[key]}


def _unpack(packed: Mapping[str, Any]) -> Pipeline:
    ids: list[Any] = packed["tasks"]
    tasks = _tasks(packed, ids)
    for number, extra in packed.get("more", ()):
        _add_extra(tasks[_at(ids, number)], extra, ids)
    schemas = {name: dict(schema) for name, schema in packed.get("input_schemas", {}).items()}
    inputs = [_input(item, schemas.get(item[0])) for item in packed.get("inputs", ())]
    texts: dict[str, Any] = {key: _text(packed[key]) for key in _TEXTS if key in packed}
    return Pipeline(
        id=_text(packed["id"]),
        tasks=tasks,
        inputs={_text(item.name): item for item in inputs},
        outputs=dict(packed.get("outputs", {})),
        output_reads=_tuple(ids, packed.get("output_reads", ())),
        resume=ResumeStrategy(**packed.get("resume", {})),
        resume_enabled=bool(packed.get("resume_enabled", True)),
        schedule=_schedule(packed.get("schedule")),
        timeout=packed.get("timeout"),
        on_failure=_stage(packed, Stage.ON_FAILURE),
        finally_=_stage(packed, Stage.FINALLY),
        **texts,
    )


def _stage(packed: Mapping[str, Any], stage: Stage) -> dict[TaskId, Task]:
    tasks = [replace(_unpacked_body(each), stage=stage) for each in packed.get(stage.value, ())]
    return {task.id: task for task in tasks}


def _word(value: Any) -> Any:
    return None if value is None else str(value)


def _schedule(packed: Any) -> Schedule | None:
    if packed is None:
        return None
    cron, timezone, catchup, overlap, given = packed
    given = None if given is None else _text(given)
    return Schedule(_text(cron), _text(timezone), Catchup(catchup), Overlap(overlap), given)


def _input(parts: Any, schema: Mapping[str, Any] | None) -> Input:
    name, kind, required, default, description = parts
    return Input(name, kind, required, default, description, schema)


def _tasks(packed: Mapping[str, Any], ids: list[Any]) -> dict[TaskId, Task]:
    """Return the tasks with their graph and calls, all else default."""
    if type(ids) is not list or not all(type(name) is str for name in ids):
        raise ValueError("tasks are not ids")
    if len(set(ids)) != len(ids):
        raise ValueError("two tasks have one id")
    calls = [(_text(tool), None if action is None else _text(action)) for tool, action in packed["calls"]]
    call_of = packed["call_of"]
    shared = type(call_of) is int
    called = [_at(calls, number) for number in ([call_of] if shared else call_of)]
    none: tuple[TaskId, ...] = ()
    needs = [
        (ids[need],) if type(need) is int and need >= 0 else none if need == [] else _tuple(ids, need)
        for need in packed["needs"]
    ]
    if len(needs) != len(ids) or len(called) != (1 if shared else len(ids)):
        raise ValueError("the columns differ in length")
    tools: Iterable[str] = repeat(called[0][0]) if shared else [tool for tool, _ in called]
    actions: Iterable[str | None] = repeat(called[0][1]) if shared else [action for _, action in called]
    return _fill(ids, {"tool": tools, "action": actions, "dependencies": needs, "needs": needs})


def _fill(ids: list[TaskId], columns: Mapping[str, Iterable[Any]]) -> dict[TaskId, Task]:
    """Return a task for each id, with these columns and all else default.

    Filled slot by slot, and so several times faster than by the constructor: a resume of 100,000 tasks waits for it.
    """
    model = Task(TaskId("a"), "a")
    tasks: list[Task] = list(map(object.__new__, repeat(Task, len(ids))))
    for field in fields(Task):
        column = ids if field.name == "id" else columns.get(field.name, repeat(getattr(model, field.name)))
        deque(map(_SETTERS[field.name], tasks, column), maxlen=0)
    return dict(zip(ids, tasks, strict=True))


def _add_extra(task: Task, extra: Mapping[str, Any], ids: Sequence[Any]) -> None:
    """Set a task's further fields: on one that nobody has seen yet, slot by slot as in ``_fill``."""
    for name, value in extra.items():
        if name in ("parameters", "output_schema"):
            found: Any = dict(value)
        elif name in _PLAIN_FIELDS:
            found = value
        elif name in ("dependencies", "reads"):
            found = _tuple(ids, value)
        elif name in _ENUMS:
            found = _ENUMS[name](value)
        elif name in _UNPACK:
            found = _UNPACK[name](value)
        else:
            raise ValueError(f"unknown field {name!r}")
        _SETTERS[name](task, found)


def _retry(value: Any) -> RetryPolicy:
    attempts, delay, backoff, longest, jitter, on = value
    return RetryPolicy(attempts, delay, backoff, longest, jitter, tuple(map(_text, on)))


def _files(value: Any) -> DeclaredFiles:
    reads, writes = value
    return DeclaredFiles(tuple(map(_text, reads)), tuple(map(_text, writes)))


def _cache(value: Any) -> CachePolicy:
    ttl, key, scope = value
    return CachePolicy(ttl, key, CacheScope(scope))


def _control(value: Any) -> Control:
    word, *parts = value
    kind = _CONTROLS[word]
    if kind is Switch:
        chosen, cases, default = parts
        branches = {_text(case): tuple(map(_text, steps)) for case, steps in cases.items()}
        return Switch(_text(chosen), branches, None if default is None else tuple(map(_text, default)))
    found: Control = kind(*parts)
    return found


def _unpacked_body(value: Any) -> Task:
    name, tool, action, needs, extra = value
    named = tuple(map(_text, needs))
    task = Task(_text(name), _text(tool), None if action is None else _text(action), dependencies=named, needs=named)
    _add_extra(task, extra, ())
    return task


_UNPACK: dict[str, Callable[[Any], Any]] = {
    "retry": _retry,
    "files": _files,
    "cache": _cache,
    "control": _control,
    "body": lambda value: tuple(map(_unpacked_body, value)),
    "undo": lambda value: tuple(map(_unpacked_body, value)),
    "uses": lambda value: tuple(map(_text, value)),
}


def _tuple(ids: Sequence[Any], numbers: Iterable[Any]) -> tuple[TaskId, ...]:
    return tuple([_at(ids, number) for number in numbers])


def _at(items: Sequence[Any], number: Any) -> Any:
    if type(number) is str and items == ():
        return number  # in a body, tasks go by name
    if type(number) is not int or number < 0:
        raise ValueError(f"{number!r} is no index")
    return items[number]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected text, got {type(value).__name__}")
    return value
