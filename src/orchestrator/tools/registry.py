"""The registry: which tools there are, and how each of their actions is checked and called."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from orchestrator.errors import TaskError, UsageError
from orchestrator.ports.tools import Identity, Problem, ToolCall
from orchestrator.tools import decorator
from orchestrator.tools.names import canonical, did_you_mean, listing, tool_name
from orchestrator.tools.sources import DecoratedTools, PluginTools, ShippedTools, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from orchestrator.tools.decorator import Action, Definition
    from orchestrator.tools.signature import Signature

ALLOW_MODULES = "ORCHESTRATOR_ALLOW_MODULES"
"""Environment variable: which modules the `python` tool may call, separated by commas (`*`: all; `pkg`: it and below).

Processes started by this one read it too.
"""


@dataclass(frozen=True, slots=True)
class ParameterDescription:
    """A parameter for people: ``type`` as text, ``default`` the value (None where ``required``)."""

    name: str
    type: str
    required: bool
    default: Any
    description: str


@dataclass(frozen=True, slots=True)
class ActionDescription:
    """An action for people: the docstring's first line, all of it, and its parameters in order.

    ``default`` is true for the action that a step without `action` means. ``more`` is true if it takes parameters
    of any other name as well.
    """

    name: str
    summary: str
    text: str
    default: bool
    parameters: tuple[ParameterDescription, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class ToolDescription:
    """A tool for people. ``actions`` is empty for a tool whose actions are not a list (`python`)."""

    name: str
    summary: str
    origin: str
    actions: tuple[ActionDescription, ...]


class ToolRegistry:
    """The tools of a process; fills the port ``Tools``. Cheap to make: a tool is imported when first asked for.

    ``sources`` are asked in order, after the tools registered here; by default the shipped tools, those of
    installed distributions, and those decorated with `@tool`. ``allow_modules`` narrows the `python` tool (see
    ALLOW_MODULES), ``allow_paths`` are folders besides the project that file tools may use, ``allow_hosts`` are hosts
    that requests may go to although their addresses are not public; all are put into the environment, so that worker
    processes obey them too, and None leaves there what is there.
    """

    def __init__(
        self,
        sources: Sequence[Source] | None = None,
        *,
        allow_modules: Sequence[str] | None = None,
        allow_paths: Sequence[str | Path] | None = None,
        allow_hosts: Sequence[str] | None = None,
    ) -> None:
        self._sources: list[Source] = (
            [ShippedTools(), PluginTools(), DecoratedTools()] if sources is None else list(sources)
        )
        self._registered: dict[str, Definition] = {}
        self._calls: dict[tuple[str, str | None], ToolCall] = {}
        self._signatures: dict[int, tuple[Action, Signature]] = {}
        if allow_modules is not None:
            os.environ[ALLOW_MODULES] = ",".join(allow_modules)
        if allow_paths is not None:
            from orchestrator.tools.paths import ALLOW_PATHS

            os.environ[ALLOW_PATHS] = os.pathsep.join(
                os.path.abspath(path)  # noqa: PTH100 - not resolve: a link stays a link
                for path in allow_paths
            )
        if allow_hosts is not None:
            from orchestrator.tools.web.addresses import ALLOW_HOSTS

            os.environ[ALLOW_HOSTS] = ",".join(allow_hosts)

    def register(self, name: str, target: Any, *, action: str | None = None, replace: bool = False) -> None:
        """Add a tool: a function (its action is ``action`` or `run`), a class, an instance or a module.

        A second function under the name of a tool registered here adds an action to it. A name that exists
        elsewhere, or an action that exists, is a UsageError unless ``replace`` is set.
        """
        key = tool_name(name)
        known = self._registered.get(key)
        if known is None and not replace and any(key in source.names() for source in self._sources):
            raise UsageError(f"there is a tool named {key!r} already; pass replace=True to use yours instead")
        made = decorator.define(key, target, f"registered from {getattr(target, '__module__', 'Python')}")
        if action is not None:
            if len(made.actions) != 1:
                raise UsageError(f"tool {key!r}: action={action!r} goes with one function")
            only = next(iter(made.actions.values()))
            made = decorator.Definition(key, made.origin, summary=made.summary)
            made.add(decorator.Action(action, only.function, only.version, only.check))
        if known is None or (replace and action is None):
            self._registered[key] = made
        else:
            for each in made.actions.values():
                if each.name in known.actions and not replace:
                    raise UsageError(f"tool {key!r} has an action {each.name!r} already; pass replace=True")
                known.actions[each.name] = each
        self._calls.clear()

    def names(self) -> list[str]:
        """Return the canonical names of all tools, in order; imports none of them."""
        return sorted(set(self._registered).union(*(source.names() for source in self._sources)))

    def faults(self) -> dict[str, str]:
        """Return what is wrong with tools of other distributions: name -> reason. Loads every one of them."""
        return {name: reason for source in self._sources for name, reason in source.faults().items()}

    def resolve(self, tool: str, action: str | None = None) -> ToolCall:
        """Return the action (None: the tool's default); raise TaskError (kind ``tool``) if there is none."""
        call = self._calls.get((tool, action))
        if call is not None:
            return call
        found, problem = self._find(tool, action)
        if found is None:
            hint = f" ({problem.hint})" if problem.hint else ""
            raise TaskError(f"{problem.message}{hint}", kind="tool", retryable=False)
        signature = self._signature(tool, found)
        call = ToolCall(
            tool=canonical(tool),
            action=found.name,
            function=found.function,
            is_async=_is_async(found.function),
            context_parameter=signature.context_parameter,
            validate=None if signature.takes_nothing else signature.validate,
            version=found.version,
        )
        self._calls[tool, action] = call
        return call

    def identity(self, tool: str, action: str | None = None) -> Identity:
        """Return what a call means just now; see the port."""
        definition, _ = self._definition(tool)
        if definition is not None and definition.identify is not None:
            return definition.identify(action or "")
        from orchestrator.tools.code import code_of

        call = self.resolve(tool, action)
        return Identity(call.version, code_of(call.function))

    def check(
        self, tool: str, action: str | None, parameters: Mapping[str, Any], is_template: Callable[[Any], bool]
    ) -> list[Problem]:
        """Return every problem that can be seen before running; see the port."""
        found, problem = self._find(tool, action)
        if found is None:
            return [problem]
        try:
            signature = self._signature(tool, found)
        except TaskError as error:
            return [Problem(error.message)]
        problems = signature.check(parameters, is_template)
        if found.check is not None:
            problems += found.check(parameters, is_template)
        return problems

    def describe(self, tool: str) -> ToolDescription:
        """Return a tool with its actions and their parameters; raise TaskError (kind ``tool``) if there is none."""
        definition, problem = self._definition(tool)
        if definition is None:
            raise TaskError(problem.message, kind="tool", retryable=False)
        default = definition.default_action()
        actions = tuple(
            self._describe_action(definition.name, action, default=action.name == default)
            for action in definition.actions.values()
        )
        return ToolDescription(definition.name, definition.summary, definition.origin, actions)

    def _describe_action(self, tool: str, action: Action, *, default: bool) -> ActionDescription:
        import inspect

        signature = self._signature(tool, action)
        text = inspect.getdoc(action.function) or ""
        parameters = tuple(
            ParameterDescription(each.name, each.type, each.required, each.default, each.description)
            for each in signature.parameters.values()
        )
        more = signature.extra is not None
        return ActionDescription(action.name, decorator.first_line(text), text, default, parameters, more)

    def _find(self, tool: str, action: str | None) -> tuple[Action | None, Problem]:
        definition, problem = self._definition(tool)
        if definition is None:
            return None, problem
        if definition.find is not None:
            try:
                return definition.find(action or ""), problem
            except TaskError as error:
                return None, Problem(error.message)
        name = action if action is not None else definition.default_action()
        there = f"there are {listing(definition.actions)}"
        if name is None:
            return None, Problem(f"tool {definition.name!r} needs an action; {there}")
        if name not in definition.actions:
            message = f"tool {definition.name!r} has no action {name!r}; {there}"
            return None, Problem(message, (), did_you_mean(name, definition.actions))
        return definition.actions[name], problem

    def _definition(self, tool: str) -> tuple[Definition | None, Problem]:
        key = canonical(tool)
        found = self._registered.get(key)
        try:
            for source in self._sources:
                if found is None:
                    found = source.load(key)
        except (TaskError, UsageError) as error:
            return None, Problem(str(error))
        if found is not None:
            return found, Problem("")
        names = self.names()
        return None, Problem(f"no tool named {tool!r}; there are {listing(names)}", (), did_you_mean(key, names))

    def _signature(self, tool: str, action: Action) -> Signature:
        from orchestrator.tools.signature import Signature

        known = self._signatures.get(id(action))
        if known is None:
            label = f"tool {canonical(tool)!r}, action {action.name!r}"
            known = self._signatures[id(action)] = (action, Signature(action.function, label))
        return known[1]


@lru_cache(maxsize=1)
def default_registry() -> ToolRegistry:
    """Return the registry of this process, always the same one."""
    return ToolRegistry()


def _is_async(function: Callable[..., Any]) -> bool:
    import inspect

    plain = function
    while hasattr(plain, "func"):
        plain = plain.func
    return inspect.iscoroutinefunction(plain) or inspect.iscoroutinefunction(getattr(plain, "__call__", None))  # noqa: B004
