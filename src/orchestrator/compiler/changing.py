"""Checks of what a plan asks of a step: its files, cache, schema, and where it comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.compiler.diagnostics import Collector
from orchestrator.compiler.plain import plain_copy
from orchestrator.domain.ids import ID_RULE, is_valid_id
from orchestrator.domain.pipeline import NO_FILES, CachePolicy, CacheScope, DeclaredFiles, OnChange
from orchestrator.domain.words import Path, kind_of

_FUNCTION = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")


def check_changing(mistakes: Collector, base: Path, task: Any) -> dict[str, Any]:
    """Note what is wrong with these fields of a task; return those that must be replaced by their proper form."""
    changes: dict[str, Any] = {}
    check_texts(mistakes, base, {"migrate": task.migrate, "renamed_from": task.renamed_from})
    if isinstance(task.migrate, str) and not is_function(task.migrate):
        hint = "write it as module:function"
        mistakes.add((*base, "migrate"), f"{task.migrate[:140]!r} does not name a function", hint)
    if isinstance(task.renamed_from, str):
        _check_former(mistakes, (*base, "renamed_from"), task)
    if task.on_change is not None and type(task.on_change) is not OnChange:
        changes["on_change"] = _choice(mistakes, (*base, "on_change"), OnChange, task.on_change)
    if task.files is not NO_FILES:
        changes["files"] = _files(mistakes, (*base, "files"), task.files)
    if task.cache is not None:
        changes["cache"] = _cache(mistakes, (*base, "cache"), task.cache)
    if task.output_schema is not None:
        changes["output_schema"] = plain_schema(mistakes, (*base, "output_schema"), task.output_schema)
    return changes


def is_function(text: str) -> bool:
    """Tell whether ``text`` may name a function: ``package.module:function``."""
    return _FUNCTION.fullmatch(text) is not None


def _check_former(mistakes: Collector, path: Path, task: Any) -> None:
    if not is_valid_id(task.renamed_from):
        mistakes.add(path, f"{task.renamed_from[:140]!r} is not an id", f"an id is {ID_RULE}")
    elif task.renamed_from == task.id:
        mistakes.add(path, "this is the step's own id", "it is the id that the step had before, if that was another")


def _choice(mistakes: Collector, path: Path, words: Any, value: Any) -> Any:
    try:
        return words(value)
    except ValueError:
        mistakes.add(path, f"expected one of {', '.join(words)}, got {kind_of(value)}")
        return None


def _files(mistakes: Collector, path: Path, files: Any) -> DeclaredFiles:
    if not isinstance(files, DeclaredFiles):
        mistakes.add(path, f"expected DeclaredFiles, got {kind_of(files)}")
        return NO_FILES
    reads = _paths(mistakes, (*path, "reads"), files.reads)
    writes = _paths(mistakes, (*path, "writes"), files.writes)
    return files if reads is files.reads and writes is files.writes else DeclaredFiles(reads, writes)


def _paths(mistakes: Collector, path: Path, given: Any) -> tuple[str, ...]:
    """Return the paths as a tuple; note those that no file can have."""
    if not isinstance(given, (list, tuple)):
        mistakes.add(path, f"expected a list of paths, got {kind_of(given)}")
        return ()
    for index, item in enumerate(given):
        if not isinstance(item, str) or not item.strip():
            mistakes.add((*path, index), f"expected the path of a file, got {kind_of(item)}")
        elif "\0" in item:
            mistakes.add((*path, index), f"no path holds a NUL character: {kind_of(item)}")
        else:
            plain_copy(item, mistakes.under((*path, index)))
    return given if isinstance(given, tuple) else tuple(given)


def _cache(mistakes: Collector, path: Path, cache: Any) -> CachePolicy | None:
    if not isinstance(cache, CachePolicy):
        mistakes.add(path, f"expected a CachePolicy, got {kind_of(cache)}")
        return None
    ttl: Any = cache.ttl_seconds
    if ttl is not None and not is_number(ttl, above=0):
        hint = "without a ttl, a result of any age will do; cache: false takes none"
        mistakes.add((*path, "ttl"), f"expected more than 0 seconds, got {kind_of(ttl)}", hint)
    check_texts(mistakes, path, {"key": cache.key})
    if type(cache.scope) is CacheScope:
        return cache
    return replace(cache, scope=_choice(mistakes, (*path, "scope"), CacheScope, cache.scope))


def plain_schema(mistakes: Collector, path: Path, schema: Any) -> Any:
    """Return a JSON Schema as plain data, None if it is no mapping; note every mistake in it."""
    if not isinstance(schema, Mapping):
        mistakes.add(path, f"expected a JSON Schema as a mapping, got {kind_of(schema)}")
        return None
    from orchestrator.schemas.checking import check_schema

    copied = plain_copy(schema, mistakes.under(path))
    check_schema(mistakes, path, copied)
    return copied


def check_texts(mistakes: Collector, path: Path, texts: Mapping[str, Any]) -> None:
    """Note which of ``texts`` is neither text nor None."""
    for key, value in texts.items():
        if value is None:
            continue
        if not isinstance(value, str):
            mistakes.add((*path, key), f"expected text, got {kind_of(value)}")
        else:
            plain_copy(value, mistakes.under((*path, key)))


def is_number(value: Any, *, least: float | None = None, above: float | None = None) -> bool:
    """Tell whether ``value`` is a finite number (true is none) within the bound."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < float("inf"):
        return False
    return (least is None or value >= least) and (above is None or value > above)
