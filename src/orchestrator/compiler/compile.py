"""Text, file or mapping to Pipeline: load, shape, build."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from orchestrator.compiler.build import build
from orchestrator.compiler.diagnostics import AFTER_ALL, Collector, NoSource, Source
from orchestrator.compiler.plain import plain_copy
from orchestrator.compiler.schema import PIPELINE
from orchestrator.compiler.shape import Reading, Values
from orchestrator.compiler.source import Document, tree_of
from orchestrator.compiler.steps import CONSTRUCTS, step_of
from orchestrator.domain.limits import Limit
from orchestrator.domain.pipeline import Input, Pipeline, Task
from orchestrator.domain.schedule import Catchup, Overlap, Schedule
from orchestrator.domain.strategy import ResumeStrategy
from orchestrator.domain.words import kind_of
from orchestrator.errors import DefinitionError, Diagnostic, UsageError

if TYPE_CHECKING:
    import os

    from orchestrator.compiler.calls import Callees
    from orchestrator.ports.tools import Tools


def compile_text(
    text: str | bytes,
    *,
    file: str = "<pipeline>",
    tools: Tools | None = None,
    default_id: str | None = None,
    library: Callees | None = None,
) -> Pipeline:
    """Return the pipeline that a YAML text describes; raise DefinitionError with every mistake in it.

    ``file`` is the name shown in messages; without an ``id`` in the text, the pipeline has the ``default_id``, else it
    is named after the file. With
    ``tools``, unknown tools, actions and parameters are mistakes, and with ``library`` wrong calls of other pipelines.
    Evaluates nothing but constant templates, needs no
    event loop, prints nothing, and raises nothing else, whatever the text.

    >>> compile_text("steps: [{id: a, tool: python}]", file="flights.yaml").id
    'flights'
    """
    from orchestrator.compiler.load import read

    root, mistakes = read(text, file=file)
    plain = root.plain()
    if isinstance(plain, dict):
        version = root.value.get("version")
        if version is not None and type(version.value) in (int, float) and version.text is not None:
            plain["version"] = version.text
        plain.setdefault("id", default_id or _id_of(file))
    try:
        pipeline = _compile(plain, Document(root, file), tools, library)
    except DefinitionError as error:
        found = sorted((*mistakes, *error.diagnostics), key=lambda item: (item.line or AFTER_ALL, item.column))
        raise DefinitionError(found) from None
    if mistakes:
        raise DefinitionError(mistakes)
    return pipeline


def compile_file(
    path: str | os.PathLike[str],
    tools: Tools | None = None,
    *,
    default_id: str | None = None,
    library: Callees | None = None,
) -> Pipeline:
    """Return the pipeline in a file; raise DefinitionError with every mistake, an unreadable file included.

    ``default_id`` is its id if the file tells none (None: the name of the file).
    """
    text = read_file(path)
    with library.compiling(FilePath(path).absolute()) if library is not None else nullcontext():
        return compile_text(text, file=str(path), tools=tools, default_id=default_id, library=library)


def read_file(path: str | os.PathLike[str]) -> bytes:
    """Return what stands in a file, as much of it as may; raise DefinitionError if it cannot be read."""
    from orchestrator.compiler.load import MAX_BYTES

    try:
        with FilePath(path).open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        message, hint = "there is no such file", None
    except IsADirectoryError:
        message, hint = "this is a folder, not a file", "name the pipeline file in it"
    except (OSError, ValueError) as error:
        message, hint = f"cannot be read: {getattr(error, 'strerror', None) or error}", None
    raise DefinitionError([Diagnostic(message, file=str(path), hint=hint)])


def compile_dict(
    definition: Mapping[str, Any],
    tools: Tools | None = None,
    *,
    file: str = "<pipeline>",
    library: Callees | None = None,
) -> Pipeline:
    """Return the pipeline that a mapping in the language of the files describes (see ``dump.to_dict``).

    Raises DefinitionError with every mistake; ``id`` must be given.
    """
    mistakes = Collector(NoSource(file))
    plain = plain_copy(definition, mistakes.add)
    mistakes.check()
    source = Document(tree_of(plain), file)
    if isinstance(plain, dict):
        if "id" not in plain:
            mistakes.add(("id",), "this key is missing", "it names the pipeline")
            mistakes.check()
        if type(plain.get("version")) in (int, float):
            with suppress(ValueError):  # Python refuses to write integers of more than 4300 digits
                plain["version"] = str(plain["version"])
    return _compile(plain, source, tools, library)


def _id_of(file: str) -> str:
    """Derive a pipeline's id from its file name: ``my flights.yaml`` -> ``my_flights``."""
    stem = re.split(r"[/\\]", file)[-1].split(".")[0].strip("<>")
    return re.sub(r"[^A-Za-z0-9_-]+", "_", stem).lstrip("-")[:128] or "pipeline"


def _compile(plain: Any, source: Source, tools: Tools | None, library: Callees | None) -> Pipeline:
    mistakes = Collector(source)
    if not isinstance(plain, dict):
        mistakes.add((), f"expected a mapping with the pipeline's keys, got {kind_of(plain)}")
        mistakes.check()
    reading = Reading(mistakes)
    found: Values = PIPELINE.read(plain, (), reading)
    if mistakes.full:
        raise mistakes.error()
    _stand_in(found.setdefault("steps", []), "__step")
    _stand_in(found["on_failure"] or [], "__on_failure")
    _stand_in(found["finally"] or [], "__finally")
    resume = _strategy(found["resume"], mistakes)
    try:
        pipeline = _build(found, resume, tools, library, source, reading)
    except DefinitionError as error:
        places = {source.place(path)[2] for path in reading.places}
        for diagnostic in error.diagnostics:
            if not _is_inside(diagnostic.path, places):
                mistakes.put(diagnostic)
        raise mistakes.error() from None
    mistakes.check()
    return pipeline


def _stand_in(steps: list[Values], name: str) -> None:
    """Give what is required and missing, or wrong, a stand-in, so that the rest can be checked too."""
    for index, step in enumerate(steps):
        for key in CONSTRUCTS.intersection(step):
            if step[key] is None:
                del step[key]  # as if it was not given
        step.setdefault("id", f"{name}{index}")
        _stand_in(step["steps"] or [], f"{name}{index}_")
        if (switch := step.get("switch")) is not None:
            switch.setdefault("value", "true")
            for number, inner in enumerate([*switch.setdefault("cases", {}).values(), switch["default"] or []]):
                _stand_in(inner, f"{name}{index}_{number}_")


def _is_inside(path: str, places: set[str]) -> bool:
    """Tell whether a place, or one around it, is among those whose mistake is reported already."""
    ends = [index for index, character in enumerate(path) if character in ".["]
    return any(path[:end] in places for end in (*ends, len(path)))


def _strategy(given: Values, mistakes: Collector) -> ResumeStrategy:
    names: dict[str, tuple[str, Any]] = {
        "retry_failed_tasks": ("retry_failed", given["retry_failed"]),
        "reset_running_tasks": ("reset_running_tasks", given["reset_running_tasks"]),
        "preserve_completed_tasks": ("preserve_completed_tasks", given["preserve_completed_tasks"]),
        "max_retry_attempts": ("max_retries", given["max_retries"]),
        "checkpoint_interval_seconds": ("checkpoint_interval", given["checkpoint_interval"]),
        "validate_checkpoint_integrity": ("validate_checkpoint_integrity", given["validate_checkpoint_integrity"]),
    }
    good: dict[str, Any] = {}
    for field, (key, value) in names.items():
        try:
            ResumeStrategy(**(good | {field: value}))
            good[field] = value
        except UsageError as error:
            mistakes.add(("resume", key), str(error).removeprefix(f"{field}: "))
    return ResumeStrategy(**good)


def _build(
    found: Values,
    resume: ResumeStrategy,
    tools: Tools | None,
    library: Callees | None,
    source: Source,
    reading: Reading,
) -> Pipeline:
    return build(
        id=found["id"] or "",
        tasks=_steps(found, "steps", reading),
        name=found["name"],
        version=found["version"],
        description=found["description"],
        inputs={name: _input(name, item) for name, item in found["inputs"].items()},
        outputs=found["outputs"],
        resume=resume,
        resume_enabled=found["resume"]["enabled"],
        timeout=found["timeout"],
        on_failure=_steps(found, "on_failure", reading),
        finally_=_steps(found, "finally", reading),
        max_concurrency=found["max_concurrency"],
        limits={name: _limit(limit) for name, limit in found["limits"].items()},
        schedule=None if found["schedule"] is None else _schedule(found["schedule"]),
        tools=tools,
        library=library,
        where=source,
    )


def _steps(found: Values, key: str, reading: Reading) -> list[Task]:
    return [step_of(step, (key, index), reading) for index, step in enumerate(found[key] or [])]


def _limit(given: Values) -> Limit:
    count, seconds = given["rate"] or (None, Limit().per_seconds)
    return Limit(given["at_once"], count, seconds)


def _schedule(given: Values) -> Schedule | None:
    if "cron" not in given:
        return None  # what is wrong with it is noted already
    timezone, catchup, overlap = given["timezone"], Catchup(given["catchup"]), Overlap(given["overlap"])
    return Schedule(given["cron"], timezone, catchup, overlap, given["input"])


def _input(name: str, given: Values) -> Input:
    from orchestrator.compiler.inputs import type_of

    required = given["required"] if given["required"] is not None else "default" not in given
    default, schema = given["default"], given["schema"]
    return Input(name, given["type"] or type_of(default, schema), required, default, given["description"], schema)
