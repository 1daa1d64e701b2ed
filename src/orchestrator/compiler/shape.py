"""What may stand where in a plain document: kinds of value, and mappings as tables of their keys.

Reading a document notes every mistake of shape at its place, takes what is wrong for left out, so that the rest can be
checked too, and fills in defaults. It recurses as deep as the tables, not as the document. The same tables give the
JSON Schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from orchestrator.compiler.diagnostics import Collector, NoSource
from orchestrator.domain.words import Path, kind_of

MAX_PATH = 64
"""So many keys and indexes lead to the innermost step that is read at all."""
WRONG: Any = object()
"""Read from a value that cannot be used; the mistake is noted."""
REQUIRED: Any = object()
"""The default of a key that must be given."""
OFF: Any = object()
"""What a short form means that stands for no mapping at all."""


class Reading:
    """One reading of a document: the mistakes, and the places where they are."""

    def __init__(self, mistakes: Collector) -> None:
        self.mistakes = mistakes
        self.places: dict[Path, None] = {}

    def wrong(self, path: Path, message: str, hint: str | None = None, *, key: bool = False) -> Any:
        """Note a mistake at ``path``; return WRONG."""
        self.places[path] = None
        self.mistakes.add(path, message, hint, key=key)
        return WRONG

    def mismatch(self, path: Path, expected: str, value: Any, hint: str | None = None) -> Any:
        """Note that ``value`` is not what is ``expected``; return WRONG."""
        hint = "leave the key out to have its default" if value is None else hint
        return self.wrong(path, f"expected {expected}, got {kind_of(value)}", hint)


class Value(NamedTuple):
    """A value that is not looked into: its name, its JSON Schema, what makes it ready for use, and what may help."""

    expected: str
    json: dict[str, Any]
    take: Callable[[Any], Any]
    hint: Callable[[Any], str | None] = lambda _: None
    mend: Callable[[Any], Any] = lambda _: WRONG

    def read(self, value: Any, path: Path, reading: Reading) -> Any:
        """Return what ``take`` makes of ``value``, else what ``mend`` does."""
        taken = self.take(value)
        if taken is not WRONG:
            return taken
        reading.mismatch(path, self.expected, value, self.hint(value))
        return self.mend(value)

    def schema(self) -> dict[str, Any]:
        """Return its JSON Schema."""
        return self.json


class Choice:
    """One of a few words; ``also`` makes one of another value, whose JSON Schema is ``json``."""

    def __init__(
        self,
        words: Iterable[str],
        *,
        also: Callable[[Any], Any] = lambda value: value,
        json: dict[str, Any] | None = None,
    ) -> None:
        self.words = [str(word) for word in words]
        self.also = also
        self.json = json

    def read(self, value: Any, path: Path, reading: Reading) -> Any:
        """Return ``value`` if it is one of the words, or what ``also`` takes for one."""
        value = self.also(value)
        if value.__class__ is str and value in self.words:
            return value
        expected = f"{', '.join(self.words[:-1])} or {self.words[-1]}"
        hint = reading.mistakes.guess(value, self.words) if isinstance(value, str) else None
        return reading.wrong(path, f"expected {expected}, got {kind_of(value)}", hint)

    def schema(self) -> dict[str, Any]:
        """Return its JSON Schema."""
        found = {"type": "string", "enum": self.words}
        return found if self.json is None else {"anyOf": [found, self.json]}


class Items:
    """Values of one kind: a list, where with ``alone`` a text may stand for the list of it, or by name."""

    def __init__(self, kind: Kind, *, alone: bool = False, named: bool = False) -> None:
        self.kind = kind
        self.alone = alone
        self.named = named
        one = "a mapping or a list of mappings" if isinstance(kind, Table) else "text or a list of texts"
        self.expected = "a mapping" if named else one if alone else "a list"

    def read(self, value: Any, path: Path, reading: Reading) -> Any:
        """Return the values as they are used, unless one of them is WRONG."""
        if self.alone and isinstance(value, dict if isinstance(self.kind, Table) else str):
            alone = self.kind.read(value, path, reading)
            return WRONG if alone is WRONG else [alone]
        if not isinstance(value, dict if self.named else list):
            return reading.mismatch(path, self.expected, value)
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        found = {part: self.kind.read(item, (*path, part), reading) for part, item in parts}
        if any(item is WRONG for item in found.values()):
            return WRONG
        return found if self.named else list(found.values())

    def schema(self) -> dict[str, Any]:
        """Return its JSON Schema."""
        kind = self.kind.schema()
        if self.named:
            return {"type": "object", "additionalProperties": kind}
        items = {"type": "array", "items": kind}
        return {"anyOf": [kind, items]} if self.alone else items


class Key(NamedTuple):
    """A key of a mapping. If its default is None, it may be null; ``other`` is a second name for it."""

    name: str
    kind: Kind
    description: str
    default: Any = None
    other: str | None = None

    def schema(self) -> dict[str, Any]:
        """Return its JSON Schema, as a property."""
        found = self.kind.schema()
        if self.default is None and found:
            found = {"anyOf": [*found.get("anyOf", [found]), {"type": "null"}]}
        default = {} if self.default is REQUIRED else {"default": self.default}
        title = {} if isinstance(self.kind, Table) else {"title": self.name.replace("_", " ").title()}
        return {**found, **default, **title, "description": self.description}


class Short(NamedTuple):
    """What may stand for a mapping: the mapping it means, its JSON Schema, and the name of the two."""

    meant: Callable[[Any], Any]
    json: dict[str, Any]
    expected: str = "a mapping"


class Values(dict[str, Any]):
    """What a mapping gives, by the first names of its keys; asked for what it does not give, the default."""

    def __init__(self, defaults: dict[str, Any]) -> None:
        super().__init__()
        self.defaults = defaults

    def __missing__(self, name: str) -> Any:
        return self.defaults[name]


class Table:
    """A mapping with known keys. What is no mapping is read like an empty one, once the mistake is noted."""

    def __init__(self, name: str, description: str, *keys: Key, short: Short | None = None, unknown: str = "") -> None:
        self.name = name
        self.description = description
        self.keys = {key.name: key for key in keys}
        self.required = [key.name for key in keys if key.default is REQUIRED]
        self.others = {key.other: key.name for key in keys if key.other}
        self.short = short
        self.unknown = unknown
        self.defaults: dict[str, Any] = {}
        reading = Reading(Collector(NoSource()))
        for key in keys:
            if key.default is not REQUIRED:
                self.defaults[key.name] = self._value(key, key.default, (), reading)

    def read(self, value: Any, path: Path, reading: Reading) -> Any:
        """Return the Values that are given and can be used; None if a short form says that nothing is."""
        found = Values(self.defaults)
        if self.short and not isinstance(value, dict):
            value = self.short.meant(value)
            if value is OFF:
                return None
        if not isinstance(value, dict):
            reading.mismatch(path, self.short.expected if self.short else "a mapping", value)
            return found
        value = self._renamed(value, path, reading)
        for name, given in value.items():  # few of many keys are given
            key = self.keys.get(name)
            if key is None:
                known = [*self.keys, *self.others]
                hint = reading.mistakes.guess(name, known) or f"there are {', '.join(known)}"
                reading.wrong((*path, name), f"unknown key {name!r}", hint + self.unknown, key=True)
            elif (item := self._value(key, given, path, reading)) is not WRONG:
                found[name] = item
        for name in self.required:
            if name not in value:
                reading.wrong((*path, name), "this key is missing")
        return found

    @staticmethod
    def _value(key: Key, value: Any, path: Path, reading: Reading) -> Any:
        if value is None and key.default is None:
            return None
        return key.kind.read(value, (*path, key.name), reading)

    def _renamed(self, value: dict[str, Any], path: Path, reading: Reading) -> dict[str, Any]:
        """Return a mapping by the first names of its keys; note where two names of one are given."""
        second = [other for other in self.others if other in value]
        if not second:
            return value
        found = dict(value)
        for other in second:
            name = self.others[other]
            item = found.pop(other)
            if name in found:
                message = f"{other} is another name of {name}: give one of them"
                reading.wrong((*path, other), message, key=True)
            else:
                found[name] = item
        return found

    def schema(self) -> dict[str, Any]:
        """Return its JSON Schema: a reference to the definition."""
        found = {"$ref": f"#/$defs/{self.name}"}
        return {"anyOf": [found, self.short.json]} if self.short else found

    def definition(self) -> dict[str, Any]:
        """Return its JSON Schema in full, with the second names of keys."""
        properties = {name: key.schema() for name, key in self.keys.items()}
        for other, name in self.others.items():
            properties[other] = properties[name] | {"description": f"Another name of `{name}`."}
            for part in ("default", "title"):
                properties[other].pop(part, None)
        return {
            "title": self.name,
            "description": self.description,
            "type": "object",
            "additionalProperties": False,
            "properties": properties,
            **({"required": self.required} if self.required else {}),
        }


class Later:
    """A kind that is defined further on: what it holds may hold it again."""

    def __init__(self, kind: Callable[[], Table]) -> None:
        self.kind = kind

    def read(self, value: Any, path: Path, reading: Reading) -> Any:
        """Return what the kind makes of it."""
        if len(path) > MAX_PATH:
            return reading.wrong(path, "nested too deeply")
        return self.kind().read(value, path, reading)

    def schema(self) -> dict[str, Any]:
        """Return its JSON Schema."""
        return self.kind().schema()


Kind = Value | Choice | Items | Table | Later
"""A kind of value: reads one, or notes why it cannot be used, and knows its JSON Schema."""
