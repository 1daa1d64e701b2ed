"""How values, places and names are put into words, and what a mistyped name may have meant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Path = tuple[str | int, ...]
"""A place inside a document: keys and indexes, from the root."""

_MAX_CANDIDATES = 300
_MAX_NAME = 200


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the one of ``known`` that ``name`` was most likely meant to be, or None.

    Looks at the 300 first candidates of similar length, so that it stays quick among very many names.
    """
    if len(name) > _MAX_NAME:
        return None
    flat = _flat(name)
    near: list[str] = []
    for candidate in known:
        if len(candidate) > _MAX_NAME:
            continue
        if _flat(candidate) == flat:
            return candidate
        if abs(len(candidate) - len(name)) <= max(2, len(name) // 2) and len(near) < _MAX_CANDIDATES:
            near.append(candidate)
    import difflib

    found = difflib.get_close_matches(name, near, n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return ``did you mean 'x'?`` for the best of ``known``, or None.

    >>> did_you_mean("fetchdata", ["fetch_data", "report"])
    "did you mean 'fetch_data'?"
    """
    found = closest(name, known)
    return f"did you mean {found!r}?" if found is not None else None


def path_text(path: Sequence[str | int]) -> str:
    """Write a place as a person would.

    >>> path_text(("steps", 2, "parameters", "a b"))
    "steps[2].parameters['a b']"
    """
    parts: list[str] = []
    for part in path:
        if isinstance(part, int):
            parts.append(f"[{part}]")
        elif part.isidentifier():
            parts.append(f".{shorten(part)}" if parts else shorten(part))
        else:
            parts.append(f"[{shorten(part)!r}]")
    return "".join(parts)


def shorten(text: str, limit: int = 60) -> str:
    """Cut a long text for a message."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def kind_of(value: object) -> str:
    """Name what a value is, in the user's words: ``text 'abc'``, ``the number 3``, ``a list``."""
    match value:
        case None:
            return "nothing (null)"
        case bool():
            return "true" if value else "false"
        case str():
            return f"the text {shorten(value, 40)!r}" if value else "an empty text"
        case int() | float():
            return f"the number {shorten(_number(value), 40)}"
        case list() | tuple():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return f"a Python {type(value).__name__}"


def _number(value: int | float) -> str:  # noqa: PYI041 - an int is not a float here
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return f"{value:.0f}"
    try:
        return str(value)
    except ValueError:  # Python refuses to write integers of more than 4300 digits
        return "with very many digits"


def _flat(name: str) -> str:
    return name.casefold().replace("-", "_").replace(" ", "_").replace("_", "")
