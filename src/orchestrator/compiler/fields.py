"""Checks of single fields: inputs, and what a task has besides its graph; for tasks built in Python, types too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.compiler.changing import check_changing, check_texts, is_number, plain_schema
from orchestrator.compiler.diagnostics import Collector
from orchestrator.compiler.errorkinds import mistyped
from orchestrator.compiler.inputs import EXPECTED, TYPES, check_value, fits, schema_type
from orchestrator.compiler.plain import plain_copy
from orchestrator.domain.ids import ID_RULE, is_valid_id
from orchestrator.domain.pipeline import (
    NO_FILES,
    ONCE,
    CheckpointWhen,
    Input,
    Isolation,
    OnInterrupted,
    RetryPolicy,
    Task,
)
from orchestrator.domain.words import Path, kind_of

_CHOICES: tuple[tuple[str, Path, Any], ...] = (
    ("checkpoint", ("resume", "checkpoint"), CheckpointWhen),
    ("on_interrupted", ("on_interrupted",), OnInterrupted),
    ("isolation", ("isolation",), Isolation),
)
_RETRY_NUMBERS = (("delay_seconds", "delay", 0), ("backoff", "backoff", 1), ("max_delay_seconds", "max_delay", 0))
_TEXT = (str, type(None))


def check_inputs(mistakes: Collector, inputs: Mapping[str, Input] | Iterable[Input]) -> dict[str, Input]:
    """Return the declared inputs by name, with plain defaults; note what is wrong with them."""
    pairs = list(inputs.items()) if isinstance(inputs, Mapping) else [(item.name, item) for item in inputs]
    declared: dict[str, Input] = {}
    for name, item in pairs:
        path: Path = ("inputs", str(name))
        if not is_valid_id(str(name)):
            mistakes.add(path, f"{str(name)[:140]!r} cannot name an input", f"a name is {ID_RULE}", key=True)
            continue
        if name != item.name:
            mistakes.add(path, f"the input is named {item.name!r}")
        if name in declared:
            mistakes.add(path, "declared twice")
        default = plain_copy(item.default, mistakes.under((*path, "default")))
        fitting = _check_type(mistakes, path, item)
        check_texts(mistakes, path, {"description": item.description})
        schema = None if item.schema is None else _schema(mistakes, path, item, fitting=fitting)
        kept = default is item.default and schema is item.schema
        declared[name] = item if kept else replace(item, default=default, schema=schema)
    return declared


def _schema(mistakes: Collector, path: Path, item: Any, *, fitting: bool) -> Any:
    """Return an input's schema as plain data; note what is wrong with it, or with a ``fitting`` default by it."""
    found = Collector(mistakes.source)
    schema = plain_schema(found, (*path, "schema"), item.schema)
    if not found and item.type in TYPES and _excludes(item.type, schema):
        message = f"no value is of this type and of the input's, {item.type}"
        found.add((*path, "schema", "type"), message, "leave one of the two out")
    if fitting and not found and item.default is not None:
        check_value(found, (*path, "default"), schema, item.default)
    for diagnostic in found.error().diagnostics:
        mistakes.put(diagnostic)
    return schema


def _excludes(type_name: str, schema: Mapping[str, Any]) -> bool:
    """Tell whether no value of an input's type can be of the one that a schema names."""
    if type_name == "any" or not isinstance(schema.get("type"), str):
        return False
    return schema_type(schema) != type_name and {schema_type(schema), type_name} != {"integer", "number"}


def _check_type(mistakes: Collector, path: Path, item: Any) -> bool:
    """Note what is wrong with an input's type; tell whether its default fits it."""
    fitting = False
    if item.type not in TYPES:
        hint = mistakes.guess(str(item.type), TYPES) or f"there are {', '.join(TYPES)}"
        mistakes.add((*path, "type"), f"no input type {item.type!r}", hint)
    elif item.default is not None and not fits(item.type, item.default):
        mistakes.add((*path, "default"), f"expected {EXPECTED[item.type]}, got {kind_of(item.default)}")
    else:
        fitting = True
    if item.required and item.default is not None:
        mistakes.add((*path, "required"), "an input with a default need not be given", "drop one of the two")
    return fitting


def is_default(task: Any) -> bool:
    """Tell whether nothing about the task was set but tool, action, parameters, condition and dependencies."""
    return (
        type(task.tool) is str
        and task.tool != ""
        and task.action.__class__ in _TEXT
        and task.retry is ONCE
        and task.timeout is None
        and task.name is None
        and task.description is None
        and task.critical is False
        and task.checkpoint is CheckpointWhen.AFTER
        and task.on_interrupted is OnInterrupted.RERUN
        and task.isolation is Isolation.NONE
        and task.files is NO_FILES
        and task.output_schema is None
        and task.on_change is None
        and task.migrate is None
        and task.renamed_from is None
        and task.cache is None
        and task.control is None
        and not task.undo
    )


def check_settings(mistakes: Collector, base: Path, task: Task | Any) -> dict[str, Any]:
    """Note what is wrong with a task's settings; return those that must be replaced by their proper form."""
    changes: dict[str, Any] = {}
    check_texts(mistakes, base, {"name": task.name, "description": task.description, "action": task.action})
    if not isinstance(task.tool, str) or not task.tool:
        mistakes.add((*base, "tool"), f"expected the name of a tool, got {kind_of(task.tool)}")
    if task.timeout is not None and not is_number(task.timeout, above=0):
        mistakes.add((*base, "timeout"), f"expected more than 0 seconds, got {kind_of(task.timeout)}")
    if not isinstance(task.critical, bool):
        mistakes.add((*base, "resume", "critical"), f"expected true or false, got {kind_of(task.critical)}")
    for field, path, kind in _CHOICES:
        value = getattr(task, field)
        if type(value) is kind:
            continue
        try:
            changes[field] = kind(value)
        except ValueError:
            mistakes.add((*base, *path), f"expected one of {', '.join(kind)}, got {kind_of(value)}")
    if task.retry is not ONCE and _check_retry(mistakes, (*base, "retry"), task.retry):
        changes["retry"] = replace(task.retry, on=tuple(task.retry.on))
    return changes | check_changing(mistakes, base, task)


def _check_retry(mistakes: Collector, path: Path, retry: Any) -> bool:
    """Note what is wrong with a policy; tell whether its ``on`` must be made a tuple."""
    if not isinstance(retry, RetryPolicy):
        mistakes.add(path, f"expected a RetryPolicy, got {kind_of(retry)}")
        return False
    attempts: Any = retry.max_attempts
    if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 1:
        mistakes.add((*path, "max_attempts"), f"expected 1 or more, got {kind_of(attempts)}")
    for field, name, least in _RETRY_NUMBERS:
        value = getattr(retry, field)
        if not is_number(value, least=least):
            mistakes.add((*path, name), f"expected {least} or more, got {kind_of(value)}")
    jitter: Any = retry.jitter
    if not isinstance(jitter, bool):
        mistakes.add((*path, "jitter"), f"expected true or false, got {kind_of(jitter)}")
    kinds: Any = retry.on
    if not isinstance(kinds, (list, tuple)) or not all(isinstance(kind, str) and kind for kind in kinds):
        mistakes.add((*path, "on"), "expected kinds of error, as text")
        return False
    for index, kind in enumerate(kinds):
        if (hint := mistyped(kind)) is not None:
            mistakes.add((*path, "on", index), f"no tool names an error {kind!r}", hint)
    return not isinstance(kinds, tuple)
