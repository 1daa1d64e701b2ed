"""Calls of other pipelines, checked before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from orchestrator.compiler.inputs import EXPECTED, fits
from orchestrator.compiler.templates import is_template
from orchestrator.domain.plan import NO_SOURCE, Source
from orchestrator.domain.words import did_you_mean, kind_of
from orchestrator.errors import DefinitionError, TaskError
from orchestrator.ports.tools import Problem

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from orchestrator.domain.pipeline import Pipeline


class Found(NamedTuple):
    """A pipeline that a step names, and the file it came from (none for one built in Python)."""

    pipeline: Pipeline
    source: Source = NO_SOURCE


class Callees(Protocol):
    """Finds the pipelines that steps call (see Library)."""

    def find(self, name: str) -> Found:
        """Return the pipeline of a name; raise TaskError where there is none, DefinitionError for its mistakes."""

    def compiling(self, name: str | os.PathLike[str]) -> AbstractContextManager[None]:
        """Within: this file is compiled, and must not be called by those it calls; raises TaskError if it was."""


def check_call(callees: Callees, parameters: Mapping[str, Any]) -> list[Problem]:
    """Return everything that can be seen to be wrong with a call of a pipeline before it runs."""
    name, given = parameters.get("pipeline"), parameters.get("inputs")
    if not isinstance(name, str) or is_template(name):
        return []
    try:
        pipeline = callees.find(name).pipeline
    except TaskError as error:
        return [Problem(error.message, ("pipeline",))]
    except DefinitionError as error:
        first, more = error.diagnostics[0], len(error.diagnostics) - 1
        rest = f" (and {more} more mistake{'s' if more > 1 else ''})" if more else ""
        hint = f"all of them: orchestrator validate {name}" if more else None
        return [Problem(f"{name!r} cannot be compiled: {first}{rest}", ("pipeline",), hint)]
    if given is not None and (not isinstance(given, dict) or is_template(given)):
        return []
    return _check_inputs(pipeline, name, given or {})


def _check_inputs(pipeline: Pipeline, name: str, given: Mapping[str, Any]) -> list[Problem]:
    problems = []
    for key in given:
        if key not in pipeline.inputs:
            known = ", ".join(pipeline.inputs)
            hint = did_you_mean(str(key), pipeline.inputs) or (f"there are {known}" if known else "it declares none")
            problems.append(Problem(f"{name!r} has no input {str(key)!r}", ("inputs", key), hint))
    for key, declared in pipeline.inputs.items():
        if key not in given:
            if declared.required:
                what = f": {declared.description}" if declared.description else ""
                problems.append(Problem(f"{name!r} must be given the input {key!r}{what}", ("inputs",)))
        elif not is_template(given[key]) and not fits(declared.type, given[key]):
            message = f"the input {key!r} of {name!r}: expected {EXPECTED[declared.type]}, got {kind_of(given[key])}"
            problems.append(Problem(message, ("inputs", key)))
    return problems
