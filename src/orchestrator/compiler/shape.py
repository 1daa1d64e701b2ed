"""Mistakes of shape, in the user's words: what pydantic found, and where."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, get_args

from orchestrator.compiler.diagnostics import Collector, Path, kind_of
from orchestrator.compiler.schema import Model, PipelineModel
from orchestrator.compiler.source import ALIASES, kind_at

if TYPE_CHECKING:
    from pydantic import ValidationError

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "duration": "a duration: seconds as a number, or text like '90s', '5m', '2h'",
}


def report_shape(error: ValidationError, mistakes: Collector) -> list[Path]:
    """Note every mistake that pydantic found, at its place and in the user's words; return the places."""
    places: list[Path] = []
    for item in error.errors(include_url=False):
        path: Path = item["loc"]
        places.append(path)
        match item["type"]:
            case "extra_forbidden":
                _unknown(path, mistakes)
            case "missing":
                mistakes.add(path, "this key is missing")
            case "literal_error":
                expected = item["ctx"]["expected"].replace("'", "")
                mistakes.add(path, f"expected {expected}, got {kind_of(item['input'])}", _guess(mistakes, item))
            case kind:
                mistakes.add(path, f"expected {_expected(kind, path)}, got {kind_of(item['input'])}", _hint(kind, item))
    return places


def _unknown(path: Path, mistakes: Collector) -> None:
    key = str(path[-1])
    known = list(_keys(path[:-1]))
    hint = mistakes.guess(key, known) or f"there are {', '.join(known)}"
    if len(path) == 3 and path[0] == "inputs":  # noqa: PLR2004 - inputs.name.key
        hint += "; a default that is a mapping is written default: {…}"
    mistakes.add(path, f"unknown key {key!r}", hint, key=True)


def _expected(kind: str, path: Path) -> str:
    if kind == "list_type" and path[-1] in ("dependencies", "on"):
        return "text or a list of texts"
    if kind in ("model_type", "dict_type") and path[-1] == "retry":
        return "a number of attempts, or a mapping"
    return _EXPECTED.get(kind, "something else")


def _hint(kind: str, item: Any) -> str | None:
    value = item["input"]
    if kind == "string_type" and isinstance(value, (int, float)):
        text = str(value).lower() if isinstance(value, bool) else str(value) if abs(value) < 1e15 else "…"  # noqa: PLR2004
        return f'for text, write it in quotes: "{text}"'
    if value is None:
        return "leave the key out to have its default"
    if kind in ("int_type", "float_type") and isinstance(value, str) and value.isdecimal():
        return "for a number, write it without quotes"
    return None


def _guess(mistakes: Collector, item: Any) -> str | None:
    choices = [choice.strip("' ") for choice in item["ctx"]["expected"].replace(" or ", ", ").split(",")]
    return mistakes.guess(item["input"], choices) if isinstance(item["input"], str) else None


def _keys(path: Path) -> Iterator[str]:
    """Yield the keys that the mapping at ``path`` may have."""
    model: Any = PipelineModel
    for part in path:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part) if model is not None else None
        model = _model_in(field.annotation) if field is not None else model
    yield from model.model_fields
    yield from ALIASES.get(kind_at(path), {})


def _model_in(annotation: Any) -> type[Model] | None:
    """Return the model inside an annotation such as ``list[StepModel]``."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    for inner in get_args(annotation):
        if (found := _model_in(inner)) is not None:
            return found
    return None


def repair(plain: dict[str, Any], error: ValidationError) -> None:
    """Take what is wrong in shape out of ``plain``, so that the rest can be checked too.

    What is required gets a stand-in; mistakes at the places of ``error`` are known already.
    """
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        _take_out(plain, item["loc"])
    steps = plain.get("steps")
    plain["steps"] = steps if isinstance(steps, list) else []
    for index, step in enumerate(plain["steps"]):
        if isinstance(step, dict):
            step.setdefault("id", f"__step{index}")
            step.setdefault("tool", "__unknown")


def _take_out(plain: dict[str, Any], path: Path) -> None:
    """Remove the value at ``path``, or the smallest key around it; a step that is none becomes an empty one."""
    if len(path) == 2 and path[0] == "steps" and isinstance(path[1], int):  # noqa: PLR2004 - steps[index]
        plain["steps"][path[1]] = {}
        return
    value: Any = plain
    last: tuple[dict[str, Any], str] | None = None
    for part in path:
        if isinstance(value, dict) and part in value:
            last = value, str(part)
        elif not (isinstance(value, list) and isinstance(part, int) and part < len(value)):
            break
        value = value[part]
    if len(path) == 3 and path[0] == "steps" and path[2] == "id" and type(value) in (int, float):  # noqa: PLR2004
        plain["steps"][path[1]]["id"] = str(value)  # so that steps which depend on it are no mistakes too
    elif last is not None and not (last[1] == "steps" and last[0] is plain and len(path) > 1):
        last[0].pop(last[1], None)
