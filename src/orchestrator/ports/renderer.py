"""How the engine evaluates templates, without knowing the language they are written in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Renderer(Protocol):
    """Evaluates ``{{ ... }}`` templates over a scope: a pure function of its arguments.

    The scope holds ``inputs`` (mapping), ``execution`` (``id``, ``is_resume``, ``context``, ``sent_back``),
    ``attempt`` (int), ``steps`` (task id -> ``{"result": ..., "status": ...}``) and each of those steps under its own
    id as well.
    Every method raises TaskError (kind ``template``, not retryable) naming what could not be evaluated. Values are
    data: text inside a value is never evaluated, however much it looks like a template. A text that names secrets
    becomes a SecretText.
    """

    def render(self, value: Any, scope: Mapping[str, Any]) -> Any:
        """Return ``value`` with every template in it replaced, through lists and mappings (keys stay as they are).

        A text that is one single ``{{ expression }}`` becomes the expression's value, with its type; any other text
        with templates becomes text. The result shares no mutable part with ``value``.
        """

    def truth(self, condition: str, scope: Mapping[str, Any]) -> bool:
        """Evaluate a condition, with or without the braces around it; the usual truth of the value it yields."""

    def secrets(self, value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield path and name of every secret that the templates in ``value`` name, in order."""

    def evaluate(self, expression: str, scope: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return what an expression yields, with or without braces, and what it read: references as written."""
