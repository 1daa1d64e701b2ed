"""Whether a schema is a JSON Schema (2020-12) that can be used: every mistake at its place."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import unquote

from orchestrator.domain.graph import cycle_text, cycles
from orchestrator.domain.words import Path, kind_of, path_text
from orchestrator.schemas.words import TYPES

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ONE = frozenset(
    (
        *("additionalProperties", "contains", "contentSchema", "else", "if", "items", "not"),
        *("propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
    )
)
_LISTS = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
_MAPS = frozenset(("$defs", "definitions", "dependentSchemas", "patternProperties", "properties"))
_SAME_VALUE = frozenset(("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas"))
"""What is below these is about the same value, not about a part of it."""
_HARMLESS = frozenset(("example",))
"""No keywords, but customary: they are as good as a comment."""
_NEAR = 0.8
"""Unknown keywords say nothing in JSON Schema; one so much like a known one is a slip."""


class Mistakes(Protocol):
    """Where mistakes are noted."""

    def add(self, path: Path, message: str, hint: str | None = None, *, key: bool = False) -> None:
        """Note a mistake at ``path``; ``key``: the key itself is wrong, not its value."""

    def guess(self, name: str, known: Iterable[str]) -> str | None:
        """Return ``did you mean 'x'?`` for the best of ``known``, or None."""


def check_schema(mistakes: Mistakes, base: Path, schema: Mapping[str, Any]) -> None:
    """Note every mistake in a schema that stands at ``base``; ``schema`` is plain data."""
    check = _Check(mistakes, base, schema)
    for path, part in check.parts.items():
        if isinstance(part, Mapping):
            check.part(path, part)
    check.shape()
    if not check.places:
        check.cycles()


class _Check:
    """One look at one schema: its parts by their places, and where mistakes were found already."""

    def __init__(self, mistakes: Mistakes, base: Path, schema: Mapping[str, Any]) -> None:
        self.mistakes = mistakes
        self.base = base
        self.parts = dict(_parts(schema))
        self.anchors = {
            part[word]: path
            for path, part in self.parts.items()
            if isinstance(part, Mapping)
            for word in ("$anchor", "$dynamicAnchor")
            if isinstance(part.get(word), str)
        }
        self.schema = schema
        self.places: set[Path] = set()

    def wrong(self, path: Path, message: str, hint: str | None = None, *, key: bool = False) -> None:
        self.places.add(path)
        self.mistakes.add((*self.base, *path), message, hint, key=key)

    def part(self, path: Path, part: Mapping[str, Any]) -> None:
        """Note what the schema of schemas cannot see, or says less well."""
        self._keywords(path, part)
        self._type((*path, "type"), part.get("type"))
        for word in ("$ref", "$dynamicRef"):
            if isinstance(part.get(word), str) and self.target(part[word]) is None:
                self._no_target((*path, word), part[word])
        if path and "$id" in part:
            self.wrong((*path, "$id"), "only the whole schema may have an $id", "give the part an $anchor", key=True)
        if part.get("$schema", DIALECT) != DIALECT:
            self.wrong((*path, "$schema"), f"expected {DIALECT}, got {kind_of(part['$schema'])}")
        patterns = [((*path, "pattern"), part.get("pattern"), False)]
        if isinstance(several := part.get("patternProperties"), Mapping):
            patterns += [((*path, "patternProperties", pattern), pattern, True) for pattern in several]
        for place, pattern, key in patterns:
            if isinstance(pattern, str) and (fault := _pattern_fault(pattern)):
                self.wrong(place, f"{kind_of(pattern)} is no regular expression: {fault}", key=key)

    def _keywords(self, path: Path, part: Mapping[str, Any]) -> None:
        from orchestrator.schemas.values import keywords

        known = keywords()
        for word in part:
            if word in known or word in _HARMLESS:
                continue
            if near := difflib.get_close_matches(word, known, 1, _NEAR):
                self.wrong((*path, word), f"no JSON Schema keyword {word!r}", f"did you mean {near[0]!r}?", key=True)

    def _type(self, path: Path, given: Any) -> None:
        if given is not None and not isinstance(given, (str, list)):
            self.wrong(path, f"expected the name of a type, or a list of them, got {kind_of(given)}")
        several = isinstance(given, list)
        for index, word in enumerate(given if several else [given]):
            if isinstance(word, str) and word not in TYPES:
                hint = self.mistakes.guess(word, TYPES) or f"there are {', '.join(TYPES)}"
                self.wrong((*path, index) if several else path, f"no JSON Schema type {word!r}", hint)

    def target(self, reference: str) -> Path | None:
        """Return the place that a reference leads to, None if it is none inside this schema."""
        fragment = unquote(reference[1:]) if reference.startswith("#") else None
        if fragment is None:
            return None
        if not fragment.startswith("/"):
            return self.anchors.get(fragment) if fragment else ()
        found: Any = self.schema
        path: list[str | int] = []
        for word in fragment[1:].split("/"):
            name: str | int = word.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and word.isdecimal():
                name = int(word)
            try:
                found = found[name]
            except (LookupError, TypeError):
                return None
            path.append(name)
        return tuple(path) if tuple(path) in self.parts else None

    def _no_target(self, path: Path, reference: str) -> None:
        if not reference.startswith("#"):
            message = f"a reference leads to a place inside this schema, not to {reference[:100]!r}"
            self.wrong(path, message, "nothing is fetched; put it under $defs and write '#/$defs/NAME'")
            return
        known = [f"#/$defs/{name}" for name in self.schema.get("$defs", ())]
        self.wrong(path, f"this schema has no part {reference[:100]!r}", self.mistakes.guess(reference, known))

    def shape(self) -> None:
        """Hold the schema against the schema of schemas."""
        from orchestrator.schemas.values import metaschema, mistakes

        for path, message in mistakes(metaschema(), self.schema):
            if not any(path[:end] in self.places for end in range(len(path) + 1)) and (*path, 0) not in self.places:
                self.wrong(path, message)

    def cycles(self) -> None:
        """Note where a schema refers to itself without ever going into the value: no check of it would end."""
        needs: dict[str, list[str]] = {path_text(path): [] for path in self.parts}
        places = {path_text(path): path for path in self.parts}
        for path, part in self.parts.items():
            if not isinstance(part, Mapping):
                continue
            for word in ("$ref", "$dynamicRef"):
                if word in part and (target := self.target(part[word])) is not None:
                    needs[path_text(path)].append(path_text(target))
            for word in _SAME_VALUE & part.keys():
                needs[path_text(path)] += [path_text((*path, *inner)) for inner, _ in _below(word, part[word])]
        for cycle in cycles(needs):
            where = cycle_text([name or "#" for name in cycle])
            self.wrong(places[cycle[0]], f"the schema refers to itself without end: {where}")


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[Path, Any]]:
    """Yield every schema in a schema with its place, itself first."""
    waiting: list[tuple[Path, Any]] = [((), schema)]
    for path, part in waiting:
        yield path, part
        if isinstance(part, Mapping):
            waiting += [((*path, *inner), item) for word in part for inner, item in _below(word, part[word])]


def _below(word: str, value: Any) -> Iterator[tuple[Path, Any]]:
    """Yield the schemas that a keyword holds, with their places from the schema that it stands in."""
    if word in _ONE:
        yield (word,), value
    elif word in _LISTS and isinstance(value, list):
        yield from (((word, index), item) for index, item in enumerate(value))
    elif word in _MAPS and isinstance(value, Mapping):
        yield from (((word, name), item) for name, item in value.items())


def _pattern_fault(pattern: str) -> str | None:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as fault:
        return str(fault)
    return None
