"""Mistakes in the user's language: collecting them, and guessing what was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from orchestrator.errors import DefinitionError, Diagnostic

Path = tuple[str | int, ...]
"""A place inside a document: keys and indexes, from the root."""

MAX_DIAGNOSTICS = 1000
"""More mistakes than these are only counted."""
MAX_HINTS = 30
"""Guessing costs time; after so many mistakes a file needs reading, not guessing."""
_MAX_CANDIDATES = 300
_MAX_MESSAGE = 4000
_MAX_NAME = 200
AFTER_ALL = 1 << 60
"""The line of a mistake without one, when mistakes are put in file order."""


class Source(Protocol):
    """Where the parts of a definition stand."""

    @property
    def file(self) -> str:
        """The file's name, as it shall be shown."""

    def place(self, path: Path, *, key: bool = False) -> tuple[int, int, str]:
        """Return line and column (from 1; 0 if unknown) and the name of a place.

        ``key`` asks for the key instead of its value. A place that was not written down (a missing key) is that of
        the nearest thing around it.
        """


class NoSource:
    """The source of a definition that was not written in a file: names places, knows no lines."""

    def __init__(self, file: str = "<pipeline>") -> None:
        self.file = file

    def place(self, path: Path, *, key: bool = False) -> tuple[int, int, str]:  # noqa: ARG002
        """Return 0, 0 and the name of the place."""
        return 0, 0, path_text(path)


class Collector:
    """Gathers the mistakes of one definition, to report them all in one go.

    >>> mistakes = Collector(NoSource("p.yaml"))
    >>> mistakes.add(("steps", 0, "tool"), "no tool named 'x'")
    >>> print(mistakes.error())
    p.yaml  steps[0].tool: no tool named 'x'
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._found: dict[Diagnostic, None] = {}
        self._dropped = 0

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(
        self, path: Path, message: str, hint: str | None = None, *, key: bool = False, at: Path | None = None
    ) -> None:
        """Note a mistake at ``path``; ``at`` is a more exact place for line and column, if there is one."""
        if len(self._found) >= MAX_DIAGNOSTICS:
            self._dropped += 1
            return
        message = shorten(message, _MAX_MESSAGE)
        line, column, text = self.source.place(path, key=key)
        if at is not None:
            line, column, _ = self.source.place(at)
        self.put(Diagnostic(message, text, self.source.file, line, column, hint))

    def under(self, base: Path) -> Callable[[Path, str, str | None], None]:
        """Return a function that notes a mistake at a place inside ``base``."""
        return lambda path, message, hint: self.add(base + path, message, hint)

    def put(self, diagnostic: Diagnostic) -> None:
        """Note a mistake whose place is known already."""
        self._found.setdefault(diagnostic)

    def guess(self, name: str, known: Iterable[str]) -> str | None:
        """Return ``did you mean 'x'?`` for the best of ``known``, or None."""
        return did_you_mean(name, known) if self.guessing else None

    @property
    def guessing(self) -> bool:
        """Whether guesses are still worth their time."""
        return len(self._found) < MAX_HINTS

    @property
    def full(self) -> bool:
        """Whether so much is wrong that looking for more would only cost time."""
        return self._dropped > 0

    def error(self) -> DefinitionError:
        """Return everything found, in file order, each mistake once."""
        found = sorted(self._found, key=lambda item: (item.line or AFTER_ALL, item.column))
        if self._dropped:
            found.append(Diagnostic(f"and {self._dropped} more mistakes", file=self.source.file))
        return DefinitionError(found)

    def check(self) -> None:
        """Raise DefinitionError if anything was noted."""
        if self._found:
            raise self.error()


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
