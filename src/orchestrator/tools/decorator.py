"""`@tool`: how a function or a class becomes a tool, and what a tool is once it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.errors import UsageError
from orchestrator.tools.names import SHIPPED, action_name, tool_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from orchestrator.ports.tools import Identity, Problem

    Checker = Callable[[Mapping[str, Any], Callable[[Any], bool]], Sequence[Problem]]

T = TypeVar("T", bound=Callable[..., Any])

DEFAULT_VERSION = "1"
"""The version of an action that was given none."""

MARK = "__orchestrator_tool__"
"""The attribute under which a decorated function or class remembers what it is."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What `@tool` was told. ``action`` is None where the decorator did not name one."""

    tool: str
    action: str | None
    version: str
    default: bool
    check: Checker | None


@dataclass(frozen=True, slots=True)
class Action:
    """One action: its function, its version (part of the fingerprint), and a check beyond the types, if any."""

    name: str
    function: Callable[..., Any]
    version: str = DEFAULT_VERSION
    check: Checker | None = None


@dataclass(slots=True)
class Definition:
    """A loaded tool: its actions by name, and which one a step without `action` means (None: it must say).

    ``find`` serves tools whose actions are not a list (`python`): it turns an action's text into an Action and
    raises TaskError. ``identify`` tells for such a tool what a call means, and imports nothing for it. ``origin`` says
    where the tool comes from, for people.
    """

    name: str
    origin: str
    actions: dict[str, Action] = field(default_factory=dict)
    default: str | None = None
    summary: str = ""
    find: Callable[[str], Action] | None = None
    identify: Callable[[str], Identity] | None = None

    def add(self, action: Action, *, default: bool = False) -> None:
        """Add an action; raise UsageError if another function has its name already."""
        known = self.actions.get(action.name)
        if known is not None and not _same(known.function, action.function):
            raise UsageError(f"tool {self.name!r} has two actions named {action.name!r}")
        self.actions[action.name] = action
        if default:
            self.default = action.name

    def default_action(self) -> str | None:
        """The action meant when none is named: the marked one, `run`, or the only one there is."""
        if self.default is not None:
            return self.default
        if "run" in self.actions:
            return "run"
        return next(iter(self.actions)) if len(self.actions) == 1 else None


decorated: dict[str, list[Callable[..., Any]]] = {}
"""What `@tool` was put on in this process, by canonical name of the tool."""


def tool(
    name: str,
    *,
    action: str | None = None,
    version: str = DEFAULT_VERSION,
    default: bool = False,
    check: Checker | None = None,
) -> Callable[[T], T]:
    """Make a function an action of the tool ``name``, or the public methods of a class its actions.

    A function's action is called `run` unless ``action`` says otherwise; with ``default=True`` it is the one that a
    step without `action` means. A class is instantiated once, without arguments, when the tool is first used.
    Raise ``version`` when results made by older code must not be reused. ``check(parameters, is_template)`` returns
    Problems that the types alone cannot tell. The decorated object stays what it was.

    Parameters are checked against the annotations; ``Annotated[int, "how many"]`` also describes one. A parameter
    annotated TaskContext, or named ``context``, receives the running attempt.

    >>> @tool("greeting")
    ... def greet(name: str) -> str:
    ...     return f"Good morning, {name}"
    """
    mark = Mark(tool_name(name), None if action is None else action_name(action), version, default, check)

    def decorate(target: T) -> T:
        _refuse_shipped(mark.tool, target)
        setattr(target, MARK, mark)
        same = decorated.setdefault(mark.tool, [])
        same[:] = [known for known in same if not _same(known, target)]
        same.append(target)
        return target

    return decorate


def define_decorated(name: str) -> Definition | None:
    """Return the tool made of everything decorated with this name, or None if nothing is."""
    targets = decorated.get(name)
    if not targets:
        return None
    definition = Definition(name, f"module {targets[0].__module__}")
    for target in targets:
        _collect(definition, target, getattr(target, MARK))
    return definition


def define(name: str, target: Any, origin: str) -> Definition:
    """Return the tool that a function, a class, an instance, a module or a Definition stands for.

    Of a module, everything decorated with this tool's name. Raise UsageError if there is nothing to call.
    """
    import types

    if isinstance(target, Definition):
        return target
    definition = Definition(name, origin)
    if isinstance(target, types.ModuleType):
        _collect_module(definition, target)
    else:
        mark = getattr(target, MARK, None) or Mark(name, None, DEFAULT_VERSION, default=False, check=None)
        _collect(definition, target, mark)
    if not definition.actions and definition.find is None:
        raise UsageError(f"tool {name!r} ({origin}) has no actions")
    return definition


def _collect_module(definition: Definition, module: ModuleType) -> None:
    made = getattr(module, "DEFINITION", None)
    if isinstance(made, Definition):
        definition.find = made.find
        definition.identify = made.identify
    definition.summary = first_line(module.__doc__)
    for value in list(vars(module).values()):
        mark = getattr(value, MARK, None)
        if isinstance(mark, Mark) and mark.tool == definition.name:
            _collect(definition, value, mark)


def _collect(definition: Definition, target: Any, mark: Mark) -> None:
    if isinstance(target, type):
        _collect_methods(definition, target(), mark)
    elif not callable(target):
        raise UsageError(f"tool {definition.name!r}: {target!r} is neither a function nor a class")
    elif hasattr(target, "__name__"):
        definition.add(Action(mark.action or "run", target, mark.version, mark.check), default=mark.default)
        definition.summary = definition.summary or first_line(target.__doc__)
    else:
        _collect_methods(definition, target, mark)


def _collect_methods(definition: Definition, instance: Any, mark: Mark) -> None:
    definition.summary = first_line(type(instance).__doc__)
    if callable(instance):
        definition.add(Action(mark.action or "run", instance, mark.version, mark.check))
    for name in dir(type(instance)):
        if name.startswith("_") or isinstance(getattr(type(instance), name), (property, type)):
            continue
        method = getattr(instance, name)
        if callable(method):
            definition.add(Action(name, method, mark.version))
    if mark.action is not None:
        definition.default = mark.action


def _refuse_shipped(name: str, target: Any) -> None:
    module = SHIPPED.get(name)
    if module is not None and getattr(target, "__module__", None) != module:
        raise UsageError(f"{name!r} is a shipped tool; give yours another name")


def _same(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Tell whether a module was merely loaded again: a function of that name in that module was there before."""
    name = getattr(one, "__qualname__", "<")
    same = (name, getattr(one, "__module__", None)) == (
        getattr(other, "__qualname__", None),
        getattr(other, "__module__", None),
    )
    return one is other or (same and "<" not in name)  # <lambda> and <locals> are many


def first_line(text: str | None) -> str:
    """Return the first line of a docstring, or an empty text."""
    return (text or "").strip().split("\n", 1)[0].strip()
