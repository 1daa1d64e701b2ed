"""What templates may read: the check of every name in them, and the tasks they depend on."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from orchestrator.compiler.expressions import RESERVED, Expression, Reference
from orchestrator.domain.control import ITEM_NAMES, LOOP_NAMES
from orchestrator.domain.stage import FAILURE
from orchestrator.domain.words import Path, closest, did_you_mean

_SEPARATORS = re.compile("[-.]")
EXECUTION_FACTS = ("id", "is_resume", "context", "sent_back")
STEP_FACTS = ("result", "status", "failed")
_MEANT: dict[Any, str] = {
    **dict.fromkeys(ITEM_NAMES, "in a step with for_each, and in the steps inside it"),
    **dict.fromkeys(LOOP_NAMES, "in a step with while or until, and in the steps inside it"),
    FAILURE: "in undo, and in the steps of on_failure and finally",
}


class Fault(NamedTuple):
    """What is wrong with a reference, and what may have been meant."""

    message: str
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Names:
    """The names that templates of one pipeline may use."""

    inputs: Mapping[str, Any]
    tasks: Collection[str]
    local: Collection[str] = ()
    """What a construct around a step calls something: ``item``, ``last``, ...."""
    within: Path = ()
    """The place of the step that these are the names in; empty for the pipeline."""

    def check(
        self, reference: Reference, expression: Expression, own: str | None = None, *, guess: bool = True
    ) -> Fault | None:
        """Return what is wrong with a reference, None if nothing.

        ``own`` is the step that the template stands in. Without ``guess`` no time is spent on hints.
        """
        path = reference.path
        match path[0]:
            case "inputs":
                return self._input(path, guess=guess)
            case "execution":
                return _execution(path)
            case "secrets":
                return None  # that it is one name, alone, its expression has seen to
            case "attempt":
                return Fault("attempt is a number and holds nothing") if len(path) > 1 or reference.dynamic else None
            case "steps":
                return self._steps(path, dynamic=reference.dynamic)
            case _ if path[0] in self.local:
                return None
            case _ if path[0] in self.tasks:
                return _step(path, own)
            case _ if (where := _MEANT.get(path[0])) is not None:
                return Fault(f"{path[0]} means nothing here", f"it does {where}")
            case _:
                return self._unknown(str(path[0]), expression, guess=guess)

    def _input(self, path: tuple[str | int, ...], *, guess: bool) -> Fault | None:
        if len(path) == 1 or path[1] in self.inputs:
            return None
        if not guess:
            return Fault(f"no input named {path[1]!r}")
        hint = did_you_mean(str(path[1]), self.inputs)
        if hint is None:
            hint = f"there are {_listed(self.inputs)}" if self.inputs else "the pipeline declares no inputs"
        return Fault(f"no input named {path[1]!r}", hint)

    def _steps(self, path: tuple[str | int, ...], *, dynamic: bool) -> Fault:
        if len(path) > 1:
            return Fault(f"no step named {path[1]!r}")
        what = "a step is named by a literal, not computed" if dynamic else "steps stands before the name of a step"
        return Fault(what, "write steps['some-id'].result")

    def _unknown(self, root: str, expression: Expression, *, guess: bool) -> Fault:
        if not guess:
            return Fault(f"no step named {root!r}")
        if root in self.inputs:
            return Fault(f"no step named {root!r}", f"the input is written inputs.{root}")
        for task in self.tasks:
            if not task.isidentifier() and root in _SEPARATORS.split(task) and task in expression.text:
                return Fault(f"{task} cannot be written like this", f"write steps[{task!r}]")
        found = closest(root, (*self.tasks, "inputs", "execution", "attempt", "steps", "secrets"))
        if found is None and (known := closest(root, self.inputs)) is not None:
            found = f"inputs.{known}"
        return Fault(f"no step named {root!r}", f"did you mean {found!r}?" if found else None)


def task_of(reference: Reference, tasks: Collection[str]) -> str | None:
    """Return the task whose result or status is read, None if it is something else (or unknown)."""
    root = reference.path[0]
    return root if isinstance(root, str) and root not in RESERVED and root in tasks else None


def _execution(path: tuple[str | int, ...]) -> Fault | None:
    if len(path) == 1 or path[1] in EXECUTION_FACTS:
        return None
    hint = did_you_mean(str(path[1]), EXECUTION_FACTS) or f"there are {_listed(EXECUTION_FACTS)}"
    return Fault(f"execution has no {path[1]!r}", hint)


def _step(path: tuple[str | int, ...], own: str | None) -> Fault | None:
    step = path[0]
    if step == own:
        return Fault("a step cannot read its own result")
    if len(path) == 1:
        return Fault(f"{step} is a step, not a value", f"write {_dotted(str(step))}.result")
    if path[1] in STEP_FACTS:
        return None
    hint = did_you_mean(str(path[1]), STEP_FACTS)
    if hint is None and isinstance(path[1], str):
        hint = f"a field of its result is written {_dotted(str(step))}.result.{path[1]}"
    return Fault(f"a step has result and status, not {path[1]!r}", hint)


def _dotted(step: str) -> str:
    return step if step.isidentifier() else f"steps[{step!r}]"


def _listed(names: Collection[str]) -> str:
    shown = list(names)[:8]
    return ", ".join(shown) + (", …" if len(names) > len(shown) else "")
