"""The mistakes of a JSON Schema that a step's parameters hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.domain.words import did_you_mean
from orchestrator.ports.tools import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from orchestrator.domain.words import Path


class _Mistakes:
    """The mistakes of a schema, as problems of a call."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, path: Path, message: str, hint: str | None = None, *, key: bool = False) -> None:  # noqa: ARG002
        self.found.append(Problem(message, path, hint))

    def guess(self, name: str, known: Iterable[str]) -> str | None:
        return did_you_mean(name, known)


def schema_problems(
    parameters: Mapping[str, Any], is_template: Callable[[Any], bool], name: str = "schema"
) -> list[Problem]:
    """Tell the mistakes of a schema that is written out, under the parameter ``name``."""
    from orchestrator.schemas.checking import check_schema

    mistakes = _Mistakes()
    schema = parameters.get(name)
    if isinstance(schema, dict) and not _has(schema, is_template):
        check_schema(mistakes, (name,), schema)
    return mistakes.found


def _has(value: Any, is_template: Callable[[Any], bool]) -> bool:
    """Tell whether there is a template anywhere in a value."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return is_template(value) or any(_has(item, is_template) for item in inside)
