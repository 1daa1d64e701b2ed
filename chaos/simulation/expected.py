"""What an undisturbed run of a definition comes to, worked out without the product."""

from __future__ import annotations

import re
import zlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from chaos.simulation.scenario import Behaviour
    from orchestrator.domain.pipeline import Pipeline, Task

MODULUS = 1_000_003
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_CONDITION = re.compile(r"\{\{ (\w+)\.result == None or .* % (\d+) != 0 \}\}")


def label_of(task: Task) -> str:
    """Return the name a step was first given: it keeps it when it is renamed."""
    return str(task.parameters.get("label", task.id))


def source_of(template: str) -> str:
    """Return whose result a template reads.

    >>> source_of("{{ t1.result }}")
    't1'
    """
    return template.removeprefix("{{ ").removesuffix(".result }}")


def reads_of(task: Task) -> list[str]:
    """Return whose results a step's parameters read."""
    return [source_of(template) for template in task.parameters["reads"].values()]


def given_to(task: Task, value: Callable[[str], Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that an attempt gets."""
    found = dict(task.parameters)
    found["reads"] = {key: value(source_of(template)) for key, template in found["reads"].items()}
    if isinstance(found["start"], str):
        found["start"] = inputs[found["start"].removeprefix("{{ inputs.").removesuffix(" }}")]
    return found


def runs(task: Task, value: Callable[[str], Any]) -> bool:
    """Return whether a step's condition holds."""
    match = _CONDITION.fullmatch(task.condition or "")
    if match is None:
        return True
    read = value(match[1])
    return read is None or read["v"] % int(match[2]) != 0


def result_of(task: str, parameters: Mapping[str, Any], call: str = "", buckets: int = MODULUS) -> int:
    """Return what a step computes: a function of its parameters and of what its call means, and of nothing else."""
    read = [(name, None if value is None else value["v"]) for name, value in sorted(parameters["reads"].items())]
    told = f"{parameters.get('label', task)} {read} {parameters['start']}{parameters.get('knob', '')}{call}"
    return zlib.crc32(told.encode()) % buckets


def undisturbed(
    pipeline: Pipeline,
    behaviours: Mapping[str, Behaviour],
    inputs: Mapping[str, Any],
    *,
    call: str = "",
    given: Mapping[str, Any] = _NOTHING,
    done: Collection[str] = (),
) -> dict[str, int | None]:
    """Return the results (None: skipped; absent: never done).

    ``call`` tells what the tool's call means, ``given`` are results that somebody gave. What is ``done`` does not wait
    for what it only comes after: order alone is no part of a fingerprint.
    """
    results: dict[str, int | None] = {}

    def value(name: str) -> Any:
        found = results[name]
        return None if found is None else {"v": found}

    for name, task in pipeline.tasks.items():
        if name in given:
            results[name] = given[name]
            continue
        if any(each not in results for each in reads_of(task)):
            continue
        if name not in done and any(each not in results for each in task.dependencies):
            continue
        how = behaviours[label_of(task)]
        if not runs(task, value):
            results[name] = None
        elif not how.hopeless:
            told = f" {task.action}" * bool(task.action) + call
            results[name] = result_of(name, given_to(task, value, inputs), told, how.buckets)
    return results
