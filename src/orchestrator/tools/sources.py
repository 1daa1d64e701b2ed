"""Where tools come from: those shipped, those decorated in this process, those of other distributions.

Each source tells its names without importing a tool; only ``load`` imports, and only the one tool asked for.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from orchestrator.errors import TaskError
from orchestrator.tools import decorator
from orchestrator.tools.names import SHIPPED, canonical

if TYPE_CHECKING:
    from collections.abc import Collection
    from importlib.metadata import EntryPoint

    from orchestrator.tools.decorator import Definition

GROUP = "orchestrator.tools"
"""The entry-point group in which other distributions announce tools."""


class Source(Protocol):
    """A place that tools come from."""

    def names(self) -> Collection[str]:
        """Return the canonical names, importing no tool."""

    def load(self, name: str) -> Definition | None:
        """Return the tool, or None if this source has none of that name; raise TaskError if it cannot be loaded."""

    def faults(self) -> dict[str, str]:
        """Return what is wrong with a tool that is announced here: canonical name -> reason. Loads each of them."""


class ShippedTools:
    """The tools of this distribution."""

    def __init__(self) -> None:
        self._made: dict[str, Definition] = {}

    def names(self) -> Collection[str]:
        """See Source."""
        return SHIPPED

    def load(self, name: str) -> Definition | None:
        """See Source."""
        if name in SHIPPED and name not in self._made:
            import importlib

            self._made[name] = decorator.define(name, importlib.import_module(SHIPPED[name]), "shipped")
        return self._made.get(name)

    def faults(self) -> dict[str, str]:
        """See Source."""
        return {}


class DecoratedTools:
    """The tools decorated by modules that this process has imported."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[int, Definition]] = {}

    def names(self) -> Collection[str]:
        """See Source."""
        return decorator.decorated.keys()

    def load(self, name: str) -> Definition | None:
        """See Source."""
        count = len(decorator.decorated.get(name, ()))
        if name not in self._made or self._made[name][0] != count:
            made = decorator.define_decorated(name)
            if made is None:
                return None
            self._made[name] = (count, made)
        return self._made[name][1]

    def faults(self) -> dict[str, str]:
        """See Source."""
        return {}


class PluginTools:
    """The tools that installed distributions announce in the entry-point group `orchestrator.tools`.

    The entry's name is the tool's name; what it points to is a function, a class, or a module with decorated ones.
    A shipped name is not given away, and a name announced twice belongs to nobody: both are faults that name the
    distributions, and leave every other tool alone.
    """

    def __init__(self) -> None:
        self._made: dict[str, Definition] = {}

    def names(self) -> Collection[str]:
        """See Source."""
        return self._entries.keys()

    def load(self, name: str) -> Definition | None:
        """See Source."""
        entries = self._entries.get(name)
        if not entries:
            return None
        if len(entries) > 1:
            owners = " and ".join(sorted(_owner(entry) for entry in entries))
            raise TaskError(
                f"tool {name!r} is announced by {owners}; uninstall all but one", kind="tool", retryable=False
            )
        if name in self._made:
            return self._made[name]
        entry = entries[0]
        origin = f"distribution {_owner(entry)}"
        try:
            made = self._made[name] = decorator.define(name, entry.load(), origin)
            return made
        except (Exception, SystemExit) as error:
            raise TaskError(
                f"tool {name!r} of {origin} cannot be loaded from {entry.value!r}: {type(error).__name__}: {error}",
                kind="tool",
                retryable=False,
            ) from error

    def faults(self) -> dict[str, str]:
        """See Source."""
        found: dict[str, str] = {}
        for name, entries in self._entries.items():
            if name in SHIPPED:
                owners = " and ".join(sorted(_owner(entry) for entry in entries))
                found[name] = f"{owners} announces a tool {name!r}, which is the name of a shipped one: not used"
                continue
            try:
                self.load(name)
            except TaskError as error:
                found[name] = error.message
        return found

    @cached_property
    def _entries(self) -> dict[str, list[EntryPoint]]:
        from importlib.metadata import entry_points

        found: dict[str, list[EntryPoint]] = {}
        for entry in entry_points(group=GROUP):
            same = found.setdefault(canonical(entry.name), [])
            if all((known.value, _owner(known)) != (entry.value, _owner(entry)) for known in same):
                same.append(entry)
        return found


def _owner(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an unknown distribution"
