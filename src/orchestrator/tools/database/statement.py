"""Statements as pipelines write them: `$name` where a value belongs, told from texts, comments and quoted names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.tools.names import did_you_mean
from orchestrator.tools.tables.sqltext import wrong

if TYPE_CHECKING:
    from collections.abc import Callable

_PARTS = re.compile(
    r"""
    (?P<quoted>
        (?<!\w)[eE]'(?:[^'\\]|''|\\.)*'             # PostgreSQL's texts with backslashes
      | '(?:[^']|'')*' | "(?:[^"]|"")*"
      | (?<![\w$])\$(?P<tag>(?:[A-Za-z_]\w*)?)\$.*?\$(?P=tag)\$
    )
  | (?P<comment> --[^\n]* | /\*.*?\*/ )
  | (?<![\w$])\$(?P<name>\w+)
    """,
    re.VERBOSE | re.DOTALL,
)
_OWN = re.compile(
    r"\s*(begin|start\s+transaction|commit|end|rollback|abort|savepoint|release|prepare\s+transaction)\b", re.IGNORECASE
)

Values = Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement, and the names of its values in the order of their first use; a list's are named `1`, `2`, ..."""

    text: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Statement:
        """Read a statement; raise TaskError if it is none that can be run in a transaction of ours."""
        bare = _PARTS.sub(lambda part: " " if part["comment"] else part[0], text).strip().rstrip(";")
        if not bare.strip():
            raise wrong("the statement is empty")
        if _OWN.match(bare):
            raise wrong(f"{bare.split()[0].upper()} is not for a step to say: its statements are one transaction")
        return cls(text, tuple(dict.fromkeys(part["name"] for part in _PARTS.finditer(text) if part["name"])))

    def numbered(self, mark: str) -> str:
        """Return the statement with its values marked by number, as in `?1` or `$1`."""
        numbers = {name: f"{mark}{number}" for number, name in enumerate(self.names, 1)}
        return _PARTS.sub(lambda part: numbers[part["name"]] if part["name"] else part[0], self.text)

    def bound(self, values: Mapping[str, Any], adapt: Callable[[Any], Any]) -> list[Any]:
        """Return the values in their order, as the driver takes them."""
        return [adapt(values[name]) for name in self.names]


def named(values: Values | None) -> dict[str, Any]:
    """Return values by name; those of a list are named by their number, from 1."""
    if values is None:
        return {}
    if isinstance(values, Mapping):
        return {str(name): value for name, value in values.items()}
    return {str(number): value for number, value in enumerate(values, 1)}


def mismatch(statements: Sequence[Statement], values: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """Say which value is missing or used nowhere, with a hint; None if all is well.

    >>> mismatch([Statement.of("SELECT $day, '$no'")], {"dya": 1})
    ("no value is given for '$day'", "did you mean 'dya'?")
    """
    used = dict.fromkeys(name for each in statements for name in each.names)
    for name in used:
        if name not in values:
            return f"no value is given for {'$' + name!r}", did_you_mean(name, values)
    for name in values:
        if name not in used:
            return f"{'$' + name!r} is used nowhere", did_you_mean(name, used)
    return None
