"""Plain data: the only thing that a definition is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.compiler.load import MAX_DEPTH
from orchestrator.domain.words import Path

Report = Callable[[Path, str, "str | None"], None]
"""Takes the place inside the value, what is wrong there, and a hint."""
_SCALARS = frozenset((str, int, float, bool, type(None)))


def plain_copy(value: Any, report: Report, path: Path = ()) -> Any:
    """Return a copy of ``value`` made of dict, list, str, int, float, bool and None only; tuples become lists.

    Whatever else is in it is reported, and replaced by None in the copy.
    """
    kind = type(value)
    if kind in _SCALARS:
        if kind is str and not value.isascii() and not _is_unicode(value):
            report(path, "text that is not valid Unicode", None)
            return ""
        return value
    if len(path) > MAX_DEPTH:
        report(path[:3], f"nested deeper than {MAX_DEPTH} levels", None)
        return None
    if isinstance(value, Mapping):
        return {
            key: plain_copy(item, report, (*path, key)) for key, item in value.items() if _is_key(key, report, path)
        }
    if isinstance(value, (list, tuple)):
        return [plain_copy(item, report, (*path, index)) for index, item in enumerate(value)]
    for base in (str, bool, int, float):
        if isinstance(value, base):  # an enum's member, say
            return plain_copy(base(value), report, path)
    hint = "a definition holds text, numbers, true, false, null, lists and mappings"
    report(path, f"a Python {kind.__name__} cannot stand in a definition", hint)
    return None


def _is_key(key: object, report: Report, path: Path) -> bool:
    if isinstance(key, str) and _is_unicode(key):
        return True
    report(path, f"a key must be text, not {key!r}"[:200], None)
    return False


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
