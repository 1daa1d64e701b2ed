"""What a sketch comes to, by its values alone: an oracle that knows nothing of journals, folds or plans."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

from chaos.sketches import FEW, Node, Sketch

Given = tuple[Any, ...]
LOCAL = ("item", "key", "index", "iteration", "last")


class Failing(Exception):
    """The step fails."""


def digest(salt: int, values: Sequence[Any]) -> int:
    """Return a small number that depends on all of it."""
    return crc32(json.dumps([salt, *values], sort_keys=True).encode()) % FEW


def result_of(function: str, salt: int, values: Sequence[Any], fails_at: int | None) -> Any:
    """Return what a step comes to: a small number, or with ``deal`` a list of a few texts, all different."""
    found = digest(salt, values)
    if found == fails_at:
        raise Failing
    if function == "mix":
        return found
    return [f"d{(found + each) % 5}" for each in range(found)]


@dataclass
class Meaning:
    """What becomes of a sketch.

    ``values`` are those of all steps that end well, by id; ``given`` what each step without others in it is given.
    ``sure`` are the steps that certainly get to run or to be skipped; others may be kept from it by one that fails.
    """

    values: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Given] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    sure: set[str] = field(default_factory=set)
    paths: dict[str, tuple[tuple[str, str | None], ...]] = field(default_factory=dict)

    def completes(self, sketch: Sketch) -> bool:
        """Whether every step of the pipeline ends well."""
        return all(node.name in self.values for node in sketch.steps)


def mean(sketch: Sketch) -> Meaning:
    """Return what the sketch comes to."""
    found = Meaning()
    _Reading(sketch, found).body(sketch.steps, {}, {}, "", ())
    return found


class _Reading:
    def __init__(self, sketch: Sketch, found: Meaning) -> None:
        self.inputs = sketch.inputs
        self.found = found

    def body(
        self,
        nodes: Sequence[Node],
        seen: Mapping[str, Any],
        local: Mapping[str, Any],
        place: str,
        path: tuple[Any, ...],
    ) -> tuple[dict[str, Any], bool]:
        """Work out steps that belong together; return their values, and whether all of them ended well."""
        values: dict[str, Any] = {}
        good = True
        around = dict(seen)
        lost: set[str] = set()
        for node in nodes:
            name = f"{place}.{node.name}" if place and node.name else place or node.name
            here = (*path, (node.name, None))
            self.found.paths[name] = here
            if lost & _needs(node):
                lost.add(node.name)
                good = False
                continue
            before = set(self.found.sure)
            try:
                value = self.node(node, name, around, local, here)
            except Failing:
                self.found.failed.add(name)
                if node.kind != "step":
                    self.found.sure = before
                lost.add(node.name)
                good = False
                continue
            around[node.name] = values[node.name] = self.found.values[name] = value
        return values, good

    def read(self, name: str, seen: Mapping[str, Any], local: Mapping[str, Any]) -> Any:
        if name.startswith("inputs."):
            return self.inputs[name[7:]]
        return local[name] if name in LOCAL else seen[name]

    def node(self, node: Node, name: str, seen: Mapping[str, Any], local: Mapping[str, Any], path: Any) -> Any:
        if node.test is not None:
            value = self.read(node.test[0], seen, local)
            if isinstance(value, bool) or value != node.test[1]:
                self.found.skipped.add(name)
                return None
        match node.kind:
            case "step":
                values = [self.read(read, seen, local) for read in node.reads]
                self.found.given[name] = (node.function, node.salt, node.fails_at, json.dumps(values))
                self.found.sure.add(name)
                return result_of(node.function, node.salt, values, node.fails_at)
            case "each":
                return self.each(node, name, seen, local, path)
            case "loop":
                return self.loop(node, name, seen, local, path)
            case "switch":
                return self.switch(node, name, seen, local, path)
            case _:
                found, good = self.body(node.body, seen, local, name, path)
                if not good:
                    raise Failing
                return found

    def each(self, node: Node, name: str, seen: Mapping[str, Any], local: Mapping[str, Any], path: Any) -> Any:
        value: Any = node.items
        if isinstance(value, str):
            inner = value.strip("{} ")
            value = self.read(inner.removesuffix(".result"), seen, local)
        elif isinstance(value, list):
            value = [local["item"] if item == "{{ item }}" else item for item in value]
        keys, items = _named(value)
        if node.key is not None:
            keys = [node.key.replace("{{ index }}", str(index)) for index in range(len(items))]
        lost = 0
        found: dict[str, Any] = {}
        for index, (key, item) in enumerate(zip(keys, items, strict=True)):
            mine = {**local, "item": item, "index": index, "key": key}
            before = set(self.found.sure)
            values, good = self.body(node.body, seen, mine, f"{name}[{key}]", _keyed(path, key))
            if not good:
                lost += 1
                self.found.sure = before
            else:
                found[key] = values.get("", values)
        tolerated = {"continue": len(items), "50%": len(items) // 2}.get(node.tolerate, node.tolerate)
        if lost > tolerated:
            raise Failing
        return found if isinstance(value, dict) else list(found.values())

    def loop(self, node: Node, name: str, seen: Mapping[str, Any], local: Mapping[str, Any], path: Any) -> Any:
        last: Any = None
        done = 0
        while True:
            if done and node.until:
                inner = last if node.alone else last[node.body[-1].name]
                if done >= node.bound or (node.stop is not None and _same(inner, node.stop)):
                    return last
            early = node.stop is not None and node.alone and _same(last, node.stop)
            if not node.until and (done + 1 > node.bound or early):
                return last
            if done >= node.most:
                raise Failing
            mine = {**local, "iteration": done + 1, "last": last}
            values, good = self.body(node.body, seen, mine, f"{name}[{done + 1}]", _keyed(path, str(done + 1)))
            if not good:
                raise Failing
            last = values.get("", values)
            done += 1

    def switch(self, node: Node, name: str, seen: Mapping[str, Any], local: Mapping[str, Any], path: Any) -> Any:
        value = self.read(node.reads[0], seen, local)
        text = "null" if value is None else str(value)
        chosen = dict(node.cases).get(text, node.default)
        if chosen is None:
            self.found.skipped.add(name)
            return None
        values, good = self.body([each for each in node.body if each.name in chosen], seen, local, name, path)
        if not good:
            raise Failing
        return values


def _same(value: Any, number: int) -> bool:
    return not isinstance(value, bool) and value == number


def _keyed(path: tuple[Any, ...], key: str) -> tuple[Any, ...]:
    return (*path[:-1], (path[-1][0], key))


def _named(value: Any) -> tuple[list[str], list[Any]]:
    """Return the keys and the items of what a for_each is given."""
    if isinstance(value, int):
        return [str(each) for each in range(value)], list(range(value))
    if isinstance(value, dict):
        return [str(key) for key in value], list(value.values())
    if not isinstance(value, list):
        raise Failing
    plain = all(isinstance(item, int) or (isinstance(item, str) and item) for item in value)
    names = [str(item) for item in value]
    return (names if plain and len(set(names)) == len(names) else [str(each) for each in range(len(value))]), value


def _needs(node: Node) -> set[str]:
    """Return all that must be done before a step."""
    found = {*node.reads, *node.after}
    if node.test is not None:
        found.add(node.test[0])
    if isinstance(node.items, str):
        found.add(node.items.strip("{} ").removesuffix(".result"))
    for inner in node.body:
        found |= _needs(inner)
    return found
