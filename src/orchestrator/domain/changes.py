"""What differs between two values, part by part, and any value on one line.

``same`` is as strict as the store: what keeps its type keeps its meaning, so 1, 1.0 and true are three values.
Nothing here recurses over a value, and nothing big is ever written out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

_SCALARS = frozenset((type(None), bool, int, str, bytes))
_SHOWN_DEPTH = 4
_SHOWN_KEY = 80
_SORTED = 100
"""A set of up to so many items is shown in order."""


class Missing:
    """What stands where there is nothing; None is a value."""

    def __repr__(self) -> str:
        return "(none)"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()
"""The one object of its kind."""


class Change(NamedTuple):
    """A part that differs: its path (``rows[3].price``; empty for the whole value), and what it was and is."""

    path: str
    old: Any
    new: Any

    def __str__(self) -> str:
        what = f"{self.path}: " if self.path else ""
        return f"{what}{shown(self.old)} → {shown(self.new)}"


def differences(old: Any, new: Any, *, limit: int = 20, at: str = "") -> list[Change]:
    """Return the first ``limit`` parts that differ, in the order in which a reader meets them.

    Mappings are compared by key, whatever the order; lists and tuples by index, and a change of their length is told
    first, at ``PATH (length)``. What is on one side only is MISSING on the other. ``at`` starts every path.

    >>> for change in differences({"rows": [1, 2], "ok": True}, {"rows": [1, 3], "ok": 1}):
    ...     print(change)
    rows[1]: 2 → 3
    ok: true → 1
    """
    found: list[Change] = []
    stack: list[Iterator[tuple[str, Any, Any]]] = [iter(((at, old, new),))]
    seen: set[tuple[int, int]] = set()  # a value may hold one part many times, or itself
    while stack and len(found) < limit:
        step = next(stack[-1], None)
        if step is None:
            stack.pop()
            continue
        path, one, other = step
        if one is other:
            continue
        kind = type(one)
        if kind is type(other) and kind in _SCALARS:
            if one != other:
                found.append(Change(path, one, other))
            continue
        parts = _parts(path, one, other)
        if parts is None:
            if not _equal(one, other):
                found.append(Change(path, one, other))
        elif (pair := (id(one), id(other))) not in seen:
            seen.add(pair)
            stack.append(parts)
    return found


def same(old: Any, new: Any) -> bool:
    """Tell whether two values are equal, types included; the order of keys does not count."""
    return old is new or not differences(old, new, limit=1)


def shown(value: Any, limit: int = 60) -> str:
    r"""Return ``value`` on one line of at most ``limit`` characters; of a big one, only its beginning is looked at.

    >>> shown({"name": "Ann\n", "scores": [1, 2.5, None]}), shown(b"abc"), shown("long " * 9, 20)
    ("{name: 'Ann\\n', scores: [1, 2.5, null]}", '3 bytes', "'long long long lon…")
    """
    text = ""
    for piece in _pieces(value, limit, _SHOWN_DEPTH):
        text += piece
        if len(text) > limit:
            return text[: limit - 1] + "…"
    return text


def joined(path: str, key: Any) -> str:
    """Return the path of a mapping's key, or of a list's index, under ``path``."""
    if type(key) is str and key.isidentifier():
        name = key if len(key) <= _SHOWN_KEY else f"{key[:_SHOWN_KEY]}…"
        return f"{path}.{name}" if path else name
    return f"{path}[{shown(key)}]"


def _parts(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]] | None:
    """Return what two values of one kind hold, side by side; None if they are not looked into."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return _entries(path, old, new)
    kind = type(old)
    if kind is type(new) and (kind is list or kind is tuple):
        return _items(path, old, new)
    return None


def _entries(path: str, old: Mapping[Any, Any], new: Mapping[Any, Any]) -> Iterator[tuple[str, Any, Any]]:
    if not ({*map(type, old), *map(type, new)} <= {str}):  # 1, 1.0 and true are one key to Python
        old, new = _by_type(old), _by_type(new)
        for key in {**old, **new}:
            yield joined(path, key[1]), old.get(key, MISSING), new.get(key, MISSING)
        return
    for key, value in old.items():
        yield joined(path, key), value, new.get(key, MISSING)
    for key, value in new.items():
        if key not in old:
            yield joined(path, key), MISSING, value


def _by_type(mapping: Mapping[Any, Any]) -> dict[tuple[type, Any], Any]:
    return {(type(key), key): value for key, value in mapping.items()}


def _items(path: str, old: list[Any], new: list[Any]) -> Iterator[tuple[str, Any, Any]]:
    if len(old) != len(new):
        yield f"{path} (length)".lstrip(), len(old), len(new)
    for index, (one, other) in enumerate(zip(old, new, strict=False)):
        yield f"{path}[{index}]", one, other
    both = min(len(old), len(new))
    for index in range(both, len(old)):
        yield f"{path}[{index}]", old[index], MISSING
    for index in range(both, len(new)):
        yield f"{path}[{index}]", MISSING, new[index]


def _equal(old: Any, new: Any) -> bool:
    """Tell whether two values are equal that are not looked into."""
    if type(old) is not type(new):
        return False
    if isinstance(old, (set, frozenset)):
        return _by_type(dict.fromkeys(old)) == _by_type(dict.fromkeys(new))
    if isinstance(old, (float, complex)) or hasattr(old, "tzinfo"):
        return repr(old) == repr(new)  # nan is itself, 0.0 is not -0.0, and an instant has its zone
    if hasattr(old, "equals"):  # frames, series and tables: their == is one for each cell
        return bool(old.equals(new))
    if hasattr(old, "tobytes") and hasattr(old, "dtype"):
        return bool((old.dtype, old.shape, old.tobytes()) == (new.dtype, new.shape, new.tobytes()))
    return bool(old == new)


def _pieces(value: Any, limit: int, depth: int) -> Iterator[str]:
    """Yield the beginning of a value's text, piece by piece; it goes no deeper than ``depth``."""
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        yield from _held(value, limit, depth)
    elif value is None or isinstance(value, bool):
        yield {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, str):
        yield repr(value if len(value) <= limit else value[:limit] + "…")
    elif isinstance(value, (bytes, bytearray)):
        yield f"{len(value)} byte" + "s" * (len(value) != 1)
    elif isinstance(value, int) and value.bit_length() > 4 * limit:
        yield f"a number of {value.bit_length()} bits"
    elif isinstance(shape := getattr(value, "shape", None), tuple) and shape:
        yield f"{type(value).__name__} {'x'.join(map(str, shape))}"
    else:
        text = str(value)
        line = "".join(letter if letter.isprintable() else " " for letter in text[: limit + 1])
        yield f"a {type(value).__name__}" if " at 0x" in text else line


def _held(value: Any, limit: int, depth: int) -> Iterator[str]:
    begin, end = "{}" if isinstance(value, Mapping) else "()" if isinstance(value, tuple) else "[]"
    yield begin
    if value and not depth:
        yield "…"
    elif isinstance(value, Mapping):
        for number, (key, item) in enumerate(value.items()):
            yield (", " if number else "") + (joined("", key) if isinstance(key, str) else shown(key, limit)) + ": "
            yield from _pieces(item, limit, depth - 1)
    else:
        ordered = isinstance(value, (set, frozenset)) and len(value) <= _SORTED
        for number, item in enumerate(sorted(value, key=repr) if ordered else value):
            yield ", " * (number > 0)
            yield from _pieces(item, limit, depth - 1)
    yield end
