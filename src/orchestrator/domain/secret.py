"""Secrets as the definition and the journal know them: by name, never by value."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

SECRET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
NAME_RULE = "1 to 128 letters, digits, _, . or -, and no . or - at its beginning"


@dataclass(frozen=True, slots=True)
class SecretText:
    """A text with secrets in it, as rendering leaves it: literal text and names of secrets in turn, text at both ends.

    This is what is recorded, compared and shown. Only an executor makes the text of it, just before the call.

    >>> str(SecretText(("Bearer ", "TOKEN", "")))
    'Bearer {{ secrets.TOKEN }}'
    """

    parts: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the secrets in it."""
        return self.parts[1::2]

    def filled(self, lookup: Callable[[str], str]) -> str:
        """Return the text itself."""
        return "".join([lookup(part) if index % 2 else part for index, part in enumerate(self.parts)])

    def __str__(self) -> str:
        return self.filled(lambda name: f"{{{{ {reference(name)} }}}}")


class SecretUse(NamedTuple):
    """Where a pipeline names a secret: the step, and the place in it like ``parameters.headers.authorization``."""

    name: str
    step: str
    place: str


def reference(name: str) -> str:
    """Return how a template names a secret.

    >>> reference("TOKEN"), reference("db-password")
    ('secrets.TOKEN', "secrets['db-password']")
    """
    return f"secrets.{name}" if name.isidentifier() else f"secrets[{name!r}]"


def filled(value: Any, lookup: Callable[[str], str]) -> Any:
    """Return a copy of rendered parameters with the values of secrets put in."""
    kind = type(value)
    if kind is SecretText:
        return value.filled(lookup)
    if kind is dict or isinstance(value, Mapping):
        return {key: filled(item, lookup) for key, item in value.items()}
    if kind is list:
        return [filled(item, lookup) for item in value]
    if kind is tuple:
        return tuple([filled(item, lookup) for item in value])
    return value


def named_in(value: Any) -> Iterator[str]:
    """Yield the names of the secrets in rendered parameters."""
    if isinstance(value, SecretText):
        yield from value.names
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from named_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from named_in(item)
