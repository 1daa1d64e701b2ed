"""Constructs: what makes a step a container of other steps, and how these come to be.

A container is written with its steps inside. They are compiled once, as a *body*, and made into tasks of their own when
the execution gets there: one set for each item of a ``for_each``, one for each round of a loop, one for the chosen
branch of a ``switch``, one for a block. What they are made of is recorded first (see events.TaskExpanded).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class ForEach:
    """The body once for each item.

    ``items`` is a template that yields a list, a mapping or a whole number, or is a list itself; ``key`` is a template
    over ``item`` and ``index`` that names an item (None: see ``keys_of``). At most ``max_parallel`` items are at work
    at once (None: all). ``tolerate`` is how many items may fail before no further ones begin and the step fails: a
    number, or a part of all of them; None: any number, the result is made of those that succeeded.

    >>> ForEach("{{ list.result }}", tolerate=0.05).tolerated(100)
    5
    """

    items: Any
    key: str | None = None
    max_parallel: int | None = None
    tolerate: int | float | None = 0

    def tolerated(self, count: int) -> int:
        """Return how many of so many items may fail."""
        if self.tolerate is None:
            return count
        return int(self.tolerate * count) if isinstance(self.tolerate, float) else self.tolerate


@dataclass(frozen=True, slots=True)
class Loop:
    """The body again and again: as long as ``while_`` is true before a round, until ``until`` is true after one.

    Both are expressions over ``iteration`` (from 1) and ``last``, the result of the last round (None before the first).
    ``max_iterations`` is how many rounds there may be; more fail the step.

    >>> Loop(until="last.done").max_iterations
    1000
    """

    while_: str | None = None
    until: str | None = None
    max_iterations: int = 1000


@dataclass(frozen=True, slots=True)
class Switch:
    """One of several bodies: that of the case that ``value`` yields, as text; else the ``default``, if there is one.

    ``cases`` maps each case to the ids of its steps in the body; ``default`` None: the step is skipped.
    """

    value: str
    cases: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    default: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """The body once: steps that belong together."""


Control = ForEach | Loop | Switch | Block

WORDS: dict[type[Any], str] = {ForEach: "for_each", Loop: "loop", Switch: "switch", Block: "steps"}
"""What a container has in the place of a tool."""
DEFAULT_CASE = "default"
"""What the branch of a switch is called that no case leads to."""
ITEM_NAMES = ("item", "key", "index")
LOOP_NAMES = ("iteration", "last")


def names_in(control: Control | None) -> tuple[str, ...]:
    """Return the names that mean something in the body of a container besides steps."""
    match control:
        case ForEach():
            return ITEM_NAMES
        case Loop():
            return LOOP_NAMES
        case _:
            return ()
