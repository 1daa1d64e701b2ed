"""Classes of the user's own that may be stored: each one by an explicit decision in code, under a name.

Stored bytes hold the name, never a place to import from. Reading a name that this process has not registered is an
error; nothing is looked up, imported or guessed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from enum import Enum, Flag
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

from orchestrator.state.exttypes import Unstorable

T = TypeVar("T")


class Registered(NamedTuple):
    """How one class is taken apart and put together; ``take`` may raise Unstorable, ``make`` any exception."""

    cls: type
    name: str
    take: Callable[[Any], Any]
    make: Callable[[Any], Any]


BY_TYPE: dict[type, Registered] = {}
BY_NAME: dict[str, Registered] = {}


def register(
    cls: type[T],
    name: str | None = None,
    *,
    to_plain: Callable[[T], Any] | None = None,
    from_plain: Callable[[Any], T] | None = None,
) -> type[T]:
    """Let instances of exactly ``cls`` be stored and loaded under ``name`` (default: the class's qualified name).

    Knows dataclasses, enums, pydantic models and NamedTuples by itself; they are rebuilt field by field, without
    calling ``__init__``, validators or ``_missing_``. For any other class give both functions: ``to_plain`` returns
    something storable, ``from_plain`` makes the object of it. Returns ``cls``, so that it decorates a class.
    A field that was added later needs a default; one that vanished makes the value unreadable.
    Raises TypeError for a class of another kind, ValueError if the name belongs to another class.

    >>> from fractions import Fraction
    >>> register(Fraction, to_plain=str, from_plain=Fraction)
    <class 'fractions.Fraction'>
    """
    if not isinstance(cls, type):
        raise TypeError(f"register takes a class, not {cls!r}")
    if name is None:
        name = cls.__qualname__
    if (to_plain is None) != (from_plain is None):
        raise TypeError("give both to_plain and from_plain, or neither")
    if to_plain is not None and from_plain is not None:
        entry = Registered(cls, name, to_plain, from_plain)
    else:
        entry = Registered(cls, name, *_known_kind(cls))
    known = BY_NAME.get(name)
    if known is not None and (known.cls.__module__, known.cls.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(
            f"the name {name!r} is taken by {known.cls.__module__}.{known.cls.__qualname__}; "
            f"give {cls.__module__}.{cls.__qualname__} another: register({cls.__name__}, name=...)"
        )
    BY_NAME[name] = entry
    BY_TYPE[cls] = entry
    return cls


def _known_kind(cls: type) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    if issubclass(cls, Enum):
        return _enum(cls)
    if dataclasses.is_dataclass(cls) and not _has_builtin_base(cls):
        return _dataclass(cls)
    if issubclass(cls, tuple) and hasattr(cls, "_fields") and hasattr(cls, "_field_defaults"):
        return _named_tuple(cls)
    if hasattr(cls, "__pydantic_fields_set__") and hasattr(cls, "model_fields"):
        return _pydantic(cls)
    raise TypeError(
        f"{cls.__qualname__} is no plain dataclass, enum, pydantic model or NamedTuple: "
        f"say how with register({cls.__name__}, to_plain=..., from_plain=...)"
    )


def _has_builtin_base(cls: type) -> bool:
    """Tell whether instances hold more than their attributes, as a dict or an exception does."""
    return any(base.__module__ == "builtins" and base is not object for base in cls.__mro__)


def _enum(cls: type[Enum]) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    members = cls.__members__

    def take(value: Any) -> Any:
        name = value.name
        if name is not None and members.get(name) is value:
            return name
        if isinstance(value, Flag):
            return value.value
        raise Unstorable("is no member of its enum")

    def make(stored: Any) -> Any:
        if type(stored) is int and issubclass(cls, Flag):
            return cls(stored)
        return members[stored]

    return take, make


def _check_names(cls: type, stored: Any, known: Any) -> None:
    if type(stored) is not dict or not all(type(name) is str for name in stored):
        raise ValueError(f"no fields of {cls.__qualname__}")
    if unknown := [name for name in stored if name not in known]:
        raise ValueError(f"{cls.__qualname__} has no field {unknown[0]!r} any more")


def _dataclass(cls: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    computed = {name for base in cls.__mro__ for name, item in vars(base).items() if isinstance(item, cached_property)}

    def take(value: Any) -> Any:
        extra = [name for name in getattr(value, "__dict__", ()) if name not in fields and name not in computed]
        if extra:
            raise Unstorable(f"has an attribute {extra[0]!r} that is no field")
        missing = [name for name in fields if not hasattr(value, name)]
        if missing:
            raise Unstorable(f"has no value in its field {missing[0]!r}")
        return {name: getattr(value, name) for name in fields}

    def make(stored: Any) -> Any:
        _check_names(cls, stored, fields)
        made = object.__new__(cls)
        for name, field in fields.items():
            if name in stored:
                item = stored[name]
            elif field.default is not dataclasses.MISSING:
                item = field.default
            elif field.default_factory is not dataclasses.MISSING:
                item = field.default_factory()
            else:
                raise ValueError(f"the stored {cls.__qualname__} lacks the field {name!r}, which has no default")
            object.__setattr__(made, name, item)
        return made

    return take, make


def _named_tuple(cls: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    names: tuple[str, ...] = cls._fields
    defaults: dict[str, Any] = cls._field_defaults

    def take(value: Any) -> Any:
        if getattr(value, "__dict__", None):
            raise Unstorable("has attributes that are no fields")
        return dict(zip(names, value, strict=True))

    def make(stored: Any) -> Any:
        _check_names(cls, stored, names)
        if lacking := [name for name in names if name not in stored and name not in defaults]:
            raise ValueError(f"the stored {cls.__qualname__} lacks the field {lacking[0]!r}, which has no default")
        return tuple.__new__(cls, [stored[name] if name in stored else defaults[name] for name in names])

    return take, make


def _pydantic(cls: Any) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    computed = {name for base in cls.__mro__ for name, item in vars(base).items() if isinstance(item, cached_property)}

    def take(value: Any) -> Any:
        names = cls.model_fields
        own = {name: item for name, item in vars(value).items() if name not in computed}
        if extra := [name for name in own if name not in names]:
            raise Unstorable(f"has an attribute {extra[0]!r} that is no field")
        private = value.__pydantic_private__
        if private is not None:
            private = {name: item for name, item in private.items() if name in cls.__private_attributes__}
        return {**own, "": [value.__pydantic_extra__, sorted(value.__pydantic_fields_set__), private]}

    def make(stored: Any) -> Any:
        own = dict(stored)
        extra, given, private = own.pop("")  # no field has this name
        names = cls.model_fields
        _check_names(cls, own, names)
        for name, field in names.items():
            if name not in own:
                if field.is_required():
                    raise ValueError(f"the stored {cls.__qualname__} lacks the field {name!r}, which has no default")
                own[name] = field.get_default(call_default_factory=True)
        if private is not None:
            _check_names(cls, private, cls.__private_attributes__)
        made = cls.__new__(cls)
        object.__setattr__(made, "__dict__", own)
        object.__setattr__(made, "__pydantic_extra__", extra)
        object.__setattr__(made, "__pydantic_fields_set__", set(given))
        object.__setattr__(made, "__pydantic_private__", private)
        return made

    return take, make
