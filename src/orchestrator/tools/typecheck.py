"""Checking one value against one annotation, and telling what is wrong with it.

Numbers and booleans are not read out of text ("5" is no int), while text is good for whatever is written as text
in YAML: a Path, a date, an Enum's value.
"""

from __future__ import annotations

import types
import typing
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from orchestrator.ports.tools import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

_EXACT = (int, float, bool, str, bytes)
_SHOWN = 60


def validated(annotation: Any, value: Any) -> tuple[Any, list[ErrorDetails]]:
    """Return the value as the annotation wants it, and what is wrong with it (then the value is None)."""
    if annotation is Any or fits(annotation)(value):
        return value, []
    adapter = _adapter_of(annotation)
    if adapter is None:
        return value, []
    from pydantic import ValidationError

    try:
        return adapter.validate_python(value), []
    except ValidationError as error:
        return None, error.errors(include_url=False, include_context=False)


def _never(_: Any) -> bool:
    return False


def fits(annotation: Any) -> Callable[[Any], bool]:
    """Return a quick test that a value surely fits as it is; what fails it is for pydantic to convert or to refuse.

    Most steps pass texts, numbers and lists of them: they need neither pydantic nor the time that importing it takes.
    """
    try:
        return _plain(annotation) or _never
    except TypeError:  # an annotation that cannot be hashed
        return _never


@lru_cache(maxsize=4096)
def _plain(annotation: Any) -> Callable[[Any], bool] | None:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return lambda _: True
    if annotation is None or annotation is types.NoneType:
        return lambda value: value is None
    if annotation in (*_EXACT, list, dict):
        return lambda value: type(value) is annotation
    if origin is Annotated:
        described = all(isinstance(extra, str) for extra in arguments[1:])
        return _plain(arguments[0]) if described else None
    if origin is typing.Literal:
        return lambda value: any(type(value) is type(each) and value == each for each in arguments)
    if origin in (typing.Union, types.UnionType):
        return _any_of([part for part in map(_plain, arguments) if part is not None])
    if origin is list or (origin is dict and arguments[0] is str):
        return _all_of(origin, _plain(arguments[-1]))
    return None


def _any_of(parts: list[Callable[[Any], bool]]) -> Callable[[Any], bool]:
    return lambda value: any(part(value) for part in parts)


def _all_of(kind: type, part: Callable[[Any], bool] | None) -> Callable[[Any], bool] | None:
    if part is None:
        return None
    if kind is list:
        return lambda value: type(value) is list and all(map(part, value))
    return lambda value: (
        type(value) is dict and all(type(key) is str for key in value) and all(map(part, value.values()))
    )


def _adapter_of(annotation: Any) -> TypeAdapter[Any] | None:
    try:
        return _adapter(annotation)
    except TypeError:  # an annotation that cannot be hashed, like one with a list in its metadata
        return _adapter.__wrapped__(annotation)


@lru_cache(maxsize=4096)
def _adapter(annotation: Any) -> TypeAdapter[Any] | None:
    from pydantic import ConfigDict, TypeAdapter
    from pydantic.errors import PydanticUserError

    try:
        return TypeAdapter(_exact(annotation))
    except PydanticUserError:
        pass
    try:
        return TypeAdapter(_exact(annotation), config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:
        return None  # a type that nothing can be checked against


def _exact(annotation: Any) -> Any:
    """Return the annotation with numbers, booleans and texts in it taken as they are, never converted."""
    from pydantic import Strict

    if annotation in _EXACT if isinstance(annotation, type) else False:
        return Annotated[annotation, Strict()]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if not arguments or origin is typing.Literal:
        return annotation
    if origin is Annotated:
        inner = _exact(annotation.__origin__)
        return Annotated[(inner, *annotation.__metadata__)]
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(_exact(argument) for argument in arguments)]  # noqa: UP007 - made at run time
    if isinstance(origin, type) and not any(isinstance(argument, list) for argument in arguments):
        try:
            return types.GenericAlias(origin, tuple(_exact(argument) for argument in arguments))
        except TypeError:
            return annotation
    return annotation


def literal_problems(
    name: str, value: Any, details: list[ErrorDetails], is_template: Callable[[Any], bool]
) -> Iterator[Problem]:
    """Yield the mistakes of a literal value that hold whatever the templates inside it will yield."""
    templated = _holds_template(value, is_template)
    found: dict[tuple[str | int, ...], list[str]] = {}
    for detail in details:
        place, clean = _walk(value, detail["loc"])
        if templated and (not clean or _holds_template(_inside(value, place), is_template)):
            continue
        found.setdefault(place, []).append(_message(detail))
    for place, messages in found.items():
        if any(other != place and other[: len(place)] == place for other in found):
            continue  # another branch of a union gets further into the value, and tells more
        shown = repr(_inside(value, place))
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        yield Problem(f"{_either(messages)}, not {shown}", (name, *place))


def unquoted_problems(name: str, details: list[ErrorDetails], value: Any) -> Iterator[Problem]:
    """Yield the mistakes of a value without showing it."""
    found: dict[tuple[str | int, ...], list[str]] = {}
    for detail in details:
        found.setdefault(_walk(value, detail["loc"])[0], []).append(_message(detail))
    for place, messages in found.items():
        yield Problem(f"{_either(messages)}, not {type(_inside(value, place)).__name__}", (name, *place))


def _message(detail: ErrorDetails) -> str:
    return detail["msg"].removeprefix("Input ").removeprefix("Value error, ")


def _either(messages: list[str]) -> str:
    first, *others = dict.fromkeys(messages)
    return " or ".join([first, *(other.removeprefix("should be ") for other in others)])


def _walk(value: Any, location: tuple[str | int, ...]) -> tuple[tuple[str | int, ...], bool]:
    """Return the part of an error's location that leads into the value, and whether that was all of it.

    The rest are names that pydantic gives to the branches of a union.
    """
    place: list[str | int] = []
    clean = True
    for part in location:
        known = part in value if isinstance(value, dict) else _is_index(part, value)
        if known:
            value = value[part]
            place.append(part)
        clean = clean and known
    return tuple(place), clean


def _is_index(part: Any, value: Any) -> bool:
    return isinstance(value, (list, tuple)) and isinstance(part, int) and part < len(value)


def _inside(value: Any, place: tuple[str | int, ...]) -> Any:
    for part in place:
        value = value[part]
    return value


def _holds_template(value: Any, is_template: Callable[[Any], bool]) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if is_template(item):
            return True
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
    return False
