"""Checks of single fields: inputs, and what a task has besides its graph; for tasks built in Python, types too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from orchestrator.compiler.changing import check_changing, check_texts, is_number
from orchestrator.compiler.diagnostics import Collector
from orchestrator.compiler.errorkinds import mistyped
from orchestrator.compiler.inputs import EXPECTED, TYPES, fits
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
        _check_type(mistakes, path, item)
        check_texts(mistakes, path, {"description": item.description})
        declared[name] = item if default is item.default else replace(item, default=default)
    return declared


def _check_type(mistakes: Collector, path: Path, item: Any) -> None:
    if item.type not in TYPES:
        hint = mistakes.guess(str(item.type), TYPES) or f"there are {', '.join(TYPES)}"
        mistakes.add((*path, "type"), f"no input type {item.type!r}", hint)
    elif item.default is not None and not fits(item.type, item.default):
        mistakes.add((*path, "default"), f"expected {EXPECTED[item.type]}, got {kind_of(item.default)}")
    if item.required and item.default is not None:
        mistakes.add((*path, "required"), "an input with a default need not be given", "drop one of the two")


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
