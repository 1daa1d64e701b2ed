"""How much a value takes at the least, told before it is encoded.

The encoder writes a part as often as it is referred to: a list of forty lists, each of which holds the one before
twice, would fill any memory long before its size is known. Here a part that occurs often is counted once and
multiplied. Keys of mappings are not counted: they are hashed as often as they occur, so nobody builds a bomb of them.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

Take = Callable[[Any], Any]
"""Returns the plain parts of an object of another type; anything but a container if it has none."""

_TEXTS = frozenset({str, bytes, bytearray})
_CONTAINERS = frozenset({dict, list, tuple, set, frozenset})
_PLAIN = frozenset({type(None), bool, int, float})
_NO_PARTS = _PLAIN | _TEXTS
_KNOWN = _NO_PARTS | _CONTAINERS
_MANY = 4096
"""Fewer containers side by side are not worth asking whether they are the same ones."""


def exceeds(value: Any, limit: int, take: Take, depth: int) -> int:
    """Return a size in bytes that ``value`` takes at the least if that is more than ``limit``, else 0.

    ``depth`` is the deepest nesting that counts: what lies below is refused anyway. Time and memory are those of the
    value as it is in memory, however often its parts occur.
    """
    total = 0
    level = [value]
    for _ in range(depth + 1):
        kinds = set(map(type, level))
        total += len(level)
        if not kinds.isdisjoint(_TEXTS):
            total += sum([len(item) for item in level if type(item) in _TEXTS])
        if total > limit:
            return total
        if kinds <= _NO_PARTS:
            return 0
        holders = [item for item in level if type(item) not in _NO_PARTS]
        if len(holders) > _MANY and len(set(map(id, holders))) * 2 < len(holders):
            return _over(_counted(value, take, depth, {}), limit)
        containers = holders
        if not kinds <= _KNOWN:
            taken = [item if type(item) in _CONTAINERS else take(item) for item in holders]
            containers = [item for item in taken if type(item) in _CONTAINERS]
        if sum(map(len, containers)) > limit - total:
            return _over(_counted(value, take, depth, {}), limit)
        level = list(chain.from_iterable([item.values() if type(item) is dict else item for item in containers]))
    return 0


def _over(size: int, limit: int) -> int:
    return size if size > limit else 0


def _counted(value: Any, take: Take, depth: int, known: dict[int, tuple[int, Any]]) -> int:
    """Return the size of a part, each distinct one looked at once; recursion ends at ``depth``."""
    kind = type(value)
    if kind in _PLAIN:
        return 1
    if kind in _TEXTS:
        return 1 + len(value)
    found = known.get(id(value))
    if found is not None:
        return found[0]
    known[id(value)] = 1, value  # ends a cycle; and held, so that no other object gets its id
    plain = value if kind in _CONTAINERS else take(value)
    size = 1
    if depth > 0 and type(plain) in _CONTAINERS:
        parts = plain.values() if type(plain) is dict else plain
        size += sum([_counted(part, take, depth - 1, known) for part in parts])
    known[id(value)] = size, value
    return size
