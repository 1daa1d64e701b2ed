"""What a function takes: its parameters, told from its signature and checked against its annotations."""

from __future__ import annotations

import inspect
import types
import typing
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from orchestrator.errors import TaskError
from orchestrator.ports.context import TaskContext
from orchestrator.ports.tools import Problem
from orchestrator.tools.names import did_you_mean, listing
from orchestrator.tools.typecheck import fits, literal_problems, unquoted_problems, validated
from orchestrator.tools.typetext import type_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_EMPTY = inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter: its annotation as evaluated (Any if there is none), and its default (``required``: none)."""

    name: str
    annotation: Any
    required: bool
    default: Any
    description: str

    @property
    def type(self) -> str:
        """The annotation as text, like ``list[str] | None``."""
        return type_text(self.annotation)


class Signature:
    """The parameters of a function as a step gives them.

    ``context_parameter`` is the name of the parameter that takes the TaskContext, or None. Raise TaskError (kind
    ``tool``) for a function that cannot be called with keywords only.
    """

    def __init__(self, function: Callable[..., Any], label: str) -> None:
        self.label = label
        self.context_parameter: str | None = None
        self.parameters: dict[str, Parameter] = {}
        self.extra: Parameter | None = None
        hints = _hints(function)
        for parameter in _parameters(function, label):
            annotation = hints.get(parameter.name, Any)
            if parameter.kind is parameter.VAR_POSITIONAL:
                continue
            if parameter.name == "context" or _is_context(annotation):
                self.context_parameter = parameter.name
                continue
            if parameter.kind is parameter.POSITIONAL_ONLY:
                if parameter.default is _EMPTY:
                    raise _unusable(label, f"its parameter {parameter.name!r} is positional-only")
                continue
            made = Parameter(
                parameter.name,
                annotation,
                parameter.default is _EMPTY,
                None if parameter.default is _EMPTY else parameter.default,
                _description(annotation),
            )
            if parameter.kind is parameter.VAR_KEYWORD:
                self._spread(made)
            else:
                self.parameters[parameter.name] = made

    def _spread(self, made: Parameter) -> None:
        """Take ``**options``: the keys of an unpacked TypedDict, or anything of the annotated type."""
        if typing.get_origin(made.annotation) is not typing.Unpack:
            self.extra = made
            return
        keys = typing.get_args(made.annotation)[0]
        for name, annotation in typing.get_type_hints(keys, include_extras=True).items():
            required = keys.__total__
            if typing.get_origin(annotation) in (typing.Required, typing.NotRequired):
                required = typing.get_origin(annotation) is typing.Required
                annotation = typing.get_args(annotation)[0]  # noqa: PLW2901 - the marker is taken off
            self.parameters.setdefault(name, Parameter(name, annotation, required, None, _description(annotation)))

    @property
    def takes_nothing(self) -> bool:
        """True if a step has nothing to give."""
        return not self.parameters and self.extra is None

    @cached_property
    def _required(self) -> tuple[str, ...]:
        return tuple(name for name, parameter in self.parameters.items() if parameter.required)

    def validate(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments for rendered parameters.

        Raise TaskError (kind ``parameters``, not retryable) telling every mistake; values are not quoted in it, for
        one may be a secret.
        """
        if self._fits(given):
            return dict(given)
        arguments: dict[str, Any] = {}
        problems = self._names(given)
        for name, value in given.items():
            parameter = self.parameters.get(name, self.extra)
            if parameter is not None:
                arguments[name], found = validated(parameter.annotation, value)
                problems += unquoted_problems(name, found, value)
        if problems:
            listed = "; ".join(_line(problem) for problem in problems)
            raise TaskError(f"{self.label}: {listed}", kind="parameters", retryable=False)
        return arguments

    def _fits(self, given: Mapping[str, Any]) -> bool:
        """Tell whether every parameter is known and surely right as it is: the way of almost every step."""
        tests = self._tests
        for name, value in given.items():
            test = tests.get(name)
            if test is None or not test(value):
                return False
        return all(name in given for name in self._required)

    @cached_property
    def _tests(self) -> dict[str, Callable[[Any], bool]]:
        return {name: fits(parameter.annotation) for name, parameter in self.parameters.items()}

    def check(self, given: Mapping[str, Any], is_template: Callable[[Any], bool]) -> list[Problem]:
        """Return every mistake in parameters as they are written; what a template yields is not looked at."""
        problems = self._names(given)
        for name, value in given.items():
            parameter = self.parameters.get(name, self.extra)
            if parameter is not None and not is_template(value):
                _, found = validated(parameter.annotation, value)
                if found:
                    problems += literal_problems(name, value, found, is_template)
        return problems

    def _names(self, given: Mapping[str, Any]) -> list[Problem]:
        problems = [
            Problem(f"parameter {name!r} is missing", (), f"it is {self.parameters[name].type}")
            for name in self._required
            if name not in given
        ]
        if self.extra is None:
            problems += [
                Problem(
                    f"no parameter named {name!r}; there are {listing(self.parameters)}",
                    (name,),
                    did_you_mean(str(name), self.parameters),
                )
                for name in given
                if name not in self.parameters
            ]
        return problems


def dotted(path: tuple[str | int, ...]) -> str:
    """Return ``name[0].key: `` for a path into parameters, or nothing for an empty one."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"{text[1:]}: " if text else ""


def _line(problem: Problem) -> str:
    hint = f" ({problem.hint})" if problem.hint else ""
    return f"{dotted(problem.path)}{problem.message}{hint}"


def _parameters(function: Callable[..., Any], label: str) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise _unusable(label, f"Python does not tell its parameters ({error})") from error


def _unusable(label: str, why: str) -> TaskError:
    return TaskError(
        f"{label} cannot be called from a pipeline: {why}; write a small function around it",
        kind="tool",
        retryable=False,
    )


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations, evaluated one by one: a name imported for type checkers only spoils no other."""
    target = inspect.unwrap(function)
    if isinstance(target, type):
        target = getattr(target, "__init__", None)
    elif not hasattr(target, "__annotations__") and not hasattr(target, "func"):
        target = type(target).__call__
    while hasattr(target, "func"):
        target = target.func
    target = getattr(target, "__func__", target)
    scope = getattr(target, "__globals__", {})
    found: dict[str, Any] = {}
    for name, annotation in getattr(target, "__annotations__", {}).items():
        try:
            found[name] = typing.get_type_hints(
                types.SimpleNamespace(__annotations__={name: annotation}), scope, include_extras=True
            )[name]
        except Exception:  # noqa: BLE001 - an annotation is code: it may raise anything
            found[name] = TaskContext if "TaskContext" in str(annotation) else Any
    return found


def _is_context(annotation: Any) -> bool:
    if annotation is TaskContext:
        return True
    return any(_is_context(part) for part in typing.get_args(annotation)) and _is_union(annotation)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType, Annotated)


def _description(annotation: Any) -> str:
    for extra in getattr(annotation, "__metadata__", ()):
        text = extra if isinstance(extra, str) else getattr(extra, "description", getattr(extra, "documentation", ""))
        if isinstance(text, str) and text:
            return text
    parts = typing.get_args(annotation) if _is_union(annotation) else ()
    return next((text for part in parts if (text := _description(part))), "")
