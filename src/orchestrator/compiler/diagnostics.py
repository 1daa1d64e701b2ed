"""Mistakes in the user's language: collecting them, and guessing what was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from orchestrator.domain.words import Path, did_you_mean, path_text, shorten
from orchestrator.errors import DefinitionError, Diagnostic

MAX_DIAGNOSTICS = 1000
"""More mistakes than these are only counted."""
MAX_HINTS = 30
"""Guessing costs time; after so many mistakes a file needs reading, not guessing."""
_MAX_MESSAGE = 4000
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
