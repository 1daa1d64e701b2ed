"""A pipeline back into the language: mappings and YAML that compile to an equal pipeline."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from orchestrator.compiler.inputs import type_of
from orchestrator.domain.control import Block, Control, ForEach, Loop, Switch
from orchestrator.domain.pipeline import (
    NO_FILES,
    ONCE,
    CachePolicy,
    CacheScope,
    CheckpointWhen,
    Input,
    Isolation,
    OnInterrupted,
    Pipeline,
    Task,
)
from orchestrator.domain.revision import RESUME_KEYS, RETRY_KEYS
from orchestrator.domain.schedule import Catchup, Overlap, Schedule
from orchestrator.domain.strategy import ResumeStrategy

_CORE_NUMBER = re.compile(
    r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)$"
)


def to_dict(pipeline: Pipeline) -> dict[str, Any]:
    r"""Return ``pipeline`` in the language of the files: only what differs from the defaults.

    ``compile_dict`` of it is an equal pipeline.

    >>> from orchestrator.compiler.compile import compile_text
    >>> to_dict(compile_text("id: p\nsteps: [{id: a, tool: t, timeout: 1m}]"))
    {'id': 'p', 'steps': [{'id': 'a', 'tool': 't', 'timeout': 60}]}
    """
    found: dict[str, Any] = {"id": pipeline.id}
    _texts(found, pipeline, "name", "version", "description")
    if pipeline.inputs:
        found["inputs"] = {name: _input(item) for name, item in pipeline.inputs.items()}
    if resume := _resume(pipeline):
        found["resume"] = resume
    if pipeline.schedule is not None:
        found["schedule"] = _schedule(pipeline.schedule)
    found["steps"] = [_step(task) for task in pipeline.tasks.values()]
    if pipeline.timeout is not None:
        found["timeout"] = _number(pipeline.timeout)
    for key, tasks in (("on_failure", pipeline.on_failure), ("finally", pipeline.finally_)):
        if tasks:
            found[key] = [_step(task) for task in tasks.values()]
    if pipeline.outputs:
        found["outputs"] = _copy(pipeline.outputs)
    return found


def to_yaml(pipeline: Pipeline) -> str:
    """Return ``pipeline`` as a file; ``compile_text`` of it is an equal pipeline.

    Text that any YAML version could take for something else (``no``, ``1:30``, ``1e3``) stands in quotes.
    """
    import yaml

    return yaml.dump(to_dict(pipeline), Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=1 << 30)


@cache
def _dumper() -> type[Any]:
    """Make the writer: lists indented, many-line text as blocks, no aliases, numbers of YAML 1.2 quoted."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:  # noqa: ARG002, FBT001, FBT002
            return super().increase_indent(flow, indentless=False)

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
            return True

    def text(dumper: Any, value: str) -> Any:
        lines = value.split("\n")
        style = None
        if not all(line.isprintable() for line in lines):
            style = '"'
        elif len(lines) > 1 and all(line == line.strip() for line in lines):
            style = "|"
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _CORE_NUMBER, list("-+.0123456789"))
    return Dumper


def _texts(found: dict[str, Any], item: Any, *names: str) -> None:
    found.update({name: value for name in names if (value := getattr(item, name)) is not None})


def _input(item: Input) -> Any:
    """Return an input in its shortest form that means the same."""
    inferred = item.type == type_of(item.default, item.schema)
    bare = item.description is None and item.schema is None
    if item.default is not None and inferred and bare and not isinstance(item.default, Mapping):
        return _copy(item.default)
    found: dict[str, Any] = {} if inferred else {"type": item.type}
    if item.schema is not None:
        found["schema"] = _copy(item.schema)
    if item.default is not None:
        found["default"] = _copy(item.default)
    elif not item.required:
        found["required"] = False
    _texts(found, item, "description")
    return found


def _resume(pipeline: Pipeline) -> dict[str, Any]:
    usual = ResumeStrategy().to_dict()
    found: dict[str, Any] = {} if pipeline.resume_enabled else {"enabled": False}
    for name, value in pipeline.resume.to_dict().items():
        if value != usual[name]:
            found[RESUME_KEYS[name]] = _number(value)
    return found


def _schedule(schedule: Schedule) -> Any:
    """Return a schedule in its shortest form."""
    found: dict[str, Any] = {"cron": schedule.cron}
    if schedule.timezone != "UTC":
        found["timezone"] = schedule.timezone
    if schedule.catchup is not Catchup.NONE:
        found["catchup"] = str(schedule.catchup)
    if schedule.overlap is not Overlap.QUEUE:
        found["overlap"] = str(schedule.overlap)
    _texts(found, schedule, "input")
    return schedule.cron if list(found) == ["cron"] else found


def _step(task: Task) -> dict[str, Any]:
    if task.control is not None:
        return _container(task, task.control)
    found: dict[str, Any] = {"id": str(task.id)}
    _texts(found, task, "name", "description", "tool", "action")
    if task.parameters:
        found["parameters"] = _copy(task.parameters)
    if task.dependencies:
        found["dependencies"] = [str(need) for need in task.dependencies]
    _texts(found, task, "condition")
    if task.timeout is not None:
        found["timeout"] = _number(task.timeout)
    if task.retry != ONCE:
        found["retry"] = _retry(task)
    if task.undo:
        found["undo"] = _undo(task)
    if resume := _step_resume(task):
        found["resume"] = resume
    if task.on_interrupted is not OnInterrupted.RERUN:
        found["on_interrupted"] = str(task.on_interrupted)
    if task.isolation is not Isolation.NONE:
        found["isolation"] = str(task.isolation)
    return found | _changing(task)


def _step_resume(task: Task) -> dict[str, Any]:
    found: dict[str, Any] = {"critical": True} if task.critical else {}
    if task.checkpoint is not CheckpointWhen.AFTER:
        found["checkpoint"] = str(task.checkpoint)
    return found


def _undo(task: Task) -> Any:
    found = [{key: item for key, item in _step(each).items() if key != "id"} for each in task.undo]
    return found if len(found) > 1 else found[0]


def _container(task: Task, control: Control) -> dict[str, Any]:
    """Return a step that holds others; one without steps of its own is written with what it does."""
    found: dict[str, Any] = {"id": str(task.id)}
    _texts(found, task, "name", "description")
    if task.dependencies:
        found["dependencies"] = [str(need) for need in task.dependencies]
    _texts(found, task, "condition", "renamed_from")
    match control:
        case ForEach():
            found["for_each"] = _for_each(control)
        case Loop():
            if control.while_ is not None:
                found["while"] = control.while_
            _texts(found, control, "until")
            if control.max_iterations != Loop().max_iterations:
                found["max_iterations"] = control.max_iterations
        case Switch():
            steps = {inner.id: _step(inner) for inner in task.body}
            found["switch"] = {
                "value": control.value,
                "cases": {case: [steps[name] for name in names] for case, names in control.cases.items()},
            }
            if control.default is not None:
                found["switch"]["default"] = [steps[name] for name in control.default]
            return found
        case Block():
            pass
    if task.body and not task.body[0].id:
        return found | {key: item for key, item in _step(task.body[0]).items() if key != "id"}
    found["steps"] = [_step(inner) for inner in task.body]
    return found


def _for_each(control: ForEach) -> Any:
    found: dict[str, Any] = {"items": _copy(control.items)}
    _texts(found, control, "key", "max_parallel")
    if control.tolerate is None:
        found["on_item_failure"] = "continue"
    elif isinstance(control.tolerate, float):
        found["on_item_failure"] = f"{_number(round(control.tolerate * 100, 9))}%"
    elif control.tolerate:
        found["on_item_failure"] = control.tolerate
    return found if len(found) > 1 or isinstance(control.items, Mapping) else found["items"]


def _changing(task: Task) -> dict[str, Any]:
    """Return what a plan asks of a step that changes."""
    found: dict[str, Any] = {}
    if task.files != NO_FILES:
        files = {"reads": list(task.files.reads), "writes": list(task.files.writes)}
        found["files"] = {key: paths for key, paths in files.items() if paths}
    if task.output_schema is not None:
        found["output_schema"] = _copy(task.output_schema)
    if task.on_change is not None:
        found["on_change"] = str(task.on_change)
    _texts(found, task, "migrate", "renamed_from")
    if task.cache is not None:
        found["cache"] = _cache(task.cache)
    return found


def _cache(cache: CachePolicy) -> Any:
    """Return a policy in its shortest form."""
    found: dict[str, Any] = {} if cache.ttl_seconds is None else {"ttl": _number(cache.ttl_seconds)}
    _texts(found, cache, "key")
    if cache.scope is not CacheScope.PIPELINE:
        found["scope"] = str(cache.scope)
    return found or True


def _retry(task: Task) -> Any:
    changed = {
        key: _number(getattr(task.retry, field))
        for field, key in RETRY_KEYS.items()
        if field != "on" and getattr(task.retry, field) != getattr(ONCE, field)
    }
    if task.retry.on:
        changed["on"] = list(task.retry.on)
    return changed["max_attempts"] if list(changed) == ["max_attempts"] else changed


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53 else value


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(item) for item in value]
    return value
