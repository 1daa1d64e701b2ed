"""How a type is written for people."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any


def type_text(annotation: Any) -> str:
    """Return an annotation as one would write it, without its metadata and without module names.

    >>> type_text(Annotated[list[str] | None, "names"])
    'list[str] | None'
    """
    if annotation is Any:
        return "any"
    if annotation is None or annotation is types.NoneType:
        return "None"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return type_text(arguments[0])
    if origin is typing.Literal:
        return " | ".join(repr(argument) for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_text(argument) for argument in arguments)
    name = getattr(origin or annotation, "__name__", str(annotation))
    if not arguments:
        return str(name)
    return f"{name}[{', '.join('...' if argument is ... else type_text(argument) for argument in arguments)}]"
