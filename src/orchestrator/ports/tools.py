"""How the engine's executors and the compiler see tools, without knowing any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a call of a tool: at which parameter (None: the tool or action itself), what, a hint.

    ``path`` leads into the parameters: ``("columns", 0)``.
    """

    message: str
    path: tuple[str | int, ...] = ()
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A resolved action: the function, and how to call it.

    ``is_async``: a coroutine function, run on the loop; else run in a thread. ``context_parameter`` is the name of
    the parameter that takes the TaskContext, or None. ``validate`` checks rendered parameters against the function's
    types and returns the keyword arguments to call it with; it raises TaskError (kind ``parameters``, not retryable).
    ``validate`` is None when nothing needs checking (a function without parameters).
    """

    tool: str
    action: str
    function: Callable[..., Any]
    is_async: bool
    context_parameter: str | None
    validate: Callable[[Mapping[str, Any]], dict[str, Any]] | None
    version: str = "1"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a call means just now, for fingerprints: the tool's version, and the project's own code that it runs.

    ``code`` maps ``module:name`` to a digest of the source: of the action's function, and of what that refers to in the
    project, directly or not. Comments, docstrings and layout do not count. It is empty for tools that come with
    this package or another installed one: their version tells.
    """

    version: str
    code: Mapping[str, str]


class Tools(Protocol):
    """A registry of tools."""

    def resolve(self, tool: str, action: str | None) -> ToolCall:
        """Return the action (None: the tool's default); raise TaskError (kind ``tool``) if there is none."""

    def identity(self, tool: str, action: str | None) -> Identity:
        """Return what a call means just now; code is read anew from its files, whatever this process has imported.

        Raises TaskError (kind ``tool``) if there is no such action.
        """

    def check(
        self, tool: str, action: str | None, parameters: Mapping[str, Any], is_template: Callable[[Any], bool]
    ) -> Sequence[Problem]:
        """Return every problem that can be seen before running.

        ``is_template(value)`` tells values whose type is only known later: those are not type-checked, but unknown,
        missing and wrongly typed literal parameters are found. Unknown names come with a "did you mean" hint.
        """
