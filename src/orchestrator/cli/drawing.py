"""Drawings of a graph of steps: lanes of text, as a version history is drawn, and Mermaid."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

MAX_LANES = 24
"""More edges side by side cannot be followed by eye: then the steps are listed by level."""
SHOWN_IN_LEVEL = 20
_MERMAID_COLOURS = {
    "completed": "fill:#d4f4dd,stroke:#2e8b57",
    "running": "fill:#d6eaff,stroke:#1f6feb",
    "expanded": "fill:#d6eaff,stroke:#1f6feb",
    "failed": "fill:#ffd9d9,stroke:#c0392b",
    "parked": "fill:#ffd9d9,stroke:#c0392b",
    "in_doubt": "fill:#f3ddff,stroke:#8e44ad",
    "retrying": "fill:#fff0cc,stroke:#d68910",
    "blocked": "fill:#fff7d6,stroke:#b7950b",
    "skipped": "fill:#eeeeee,stroke:#999999,stroke-dasharray:4",
    "pending": "fill:#ffffff,stroke:#999999",
}


def in_order(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the steps so that each comes after what it needs, following a chain as far as it goes."""
    waiting = {step: len(found) for step, found in needs.items()}
    dependents = _dependents(needs)
    ready = [step for step, count in reversed(waiting.items()) if not count]
    order = []
    while ready:
        step = ready.pop()
        order.append(step)
        for dependent in reversed(dependents[step]):
            waiting[dependent] -= 1
            if not waiting[dependent]:
                ready.append(dependent)
    return order


def _dependents(needs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    dependents: dict[str, list[str]] = {step: [] for step in needs}
    for step, found in needs.items():
        for need in found:
            dependents[need].append(step)
    return dependents


def draw(
    needs: Mapping[str, Sequence[str]],
    label: Callable[[str], str],
    mark: Callable[[str], str] = lambda _: "●",
    below: Callable[[str], Sequence[str]] = lambda _: (),
) -> list[str]:
    r"""Return the lines of a drawing: a step a line, its lane leading down to those that need it.

    ``needs`` maps each step to those it needs, without cycles. ``mark`` is one character wide when shown. ``below``
    returns the lines that stand under a step, beside the lanes: a drawing of what is in it.

    >>> print("\n".join(draw({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}, str)))
    ●  a
    ├─╮
    ● │  b
    │ ●  c
    ├─╯
    ●  d
    """
    lines = list(_lanes(needs, label, mark, below))
    return lines if lines[-1:] != [""] else list(_levels(needs, label))


def _lanes(
    needs: Mapping[str, Sequence[str]],
    label: Callable[[str], str],
    mark: Callable[[str], str],
    below: Callable[[str], Sequence[str]],
) -> Iterator[str]:
    """Yield the lines, ending with an empty one if there are too many lanes."""
    dependents = _dependents(needs)
    lanes: list[str | None] = []  # for each column: the step its edge leads to
    for step in in_order(needs):
        columns = [number for number, target in enumerate(lanes) if target == step]
        if not columns:
            columns = [_free(lanes, 0)]
            lanes[columns[0]] = step
        column, *merging = columns
        if merging:
            yield _joint(lanes, column, merging, "╯┴")
            for other in merging:
                lanes[other] = None
        yield f"{_row(lanes, {column: mark(step)})}  {label(step)}"
        others = dependents[step][1:]
        lanes[column] = dependents[step][0] if dependents[step] else None
        branches = []
        for dependent in others:
            free = _free(lanes, column + 1)
            lanes[free] = dependent
            branches.append(free)
        if branches:
            yield _joint(lanes, column, branches, "╮┬")
        while lanes and lanes[-1] is None:
            lanes.pop()
        for line in below(step):
            yield f"{_row(lanes, {}):<{max(1, 2 * len(lanes) - 1)}}    {line}"
        if len(lanes) > MAX_LANES:
            yield ""
            return


def _free(lanes: list[str | None], start: int) -> int:
    for number in range(start, len(lanes)):
        if lanes[number] is None:
            return number
    lanes.append(None)
    return len(lanes) - 1


def _row(lanes: list[str | None], signs: Mapping[int, str]) -> str:
    return " ".join(signs.get(number, "│" if lane is not None else " ") for number, lane in enumerate(lanes)).rstrip()


def _joint(lanes: list[str | None], column: int, others: list[int], signs: str) -> str:
    """Draw how lanes leave, or come back to, the lane of a step."""
    end = max(others)
    text = ""
    for number, lane in enumerate(lanes):
        if number == column:
            sign = "├"
        elif number in others:
            sign = signs[0] if number == end else signs[1]
        elif column < number < end:
            sign = "┼" if lane is not None else "─"
        else:
            sign = "│" if lane is not None else " "
        text += sign + ("─" if column <= number < end else " ")
    return text.rstrip()


def _levels(needs: Mapping[str, Sequence[str]], label: Callable[[str], str]) -> Iterator[str]:
    """Yield the steps by how far they are from the beginning."""
    level: dict[str, int] = {}
    for step in in_order(needs):
        level[step] = max((level[need] + 1 for need in needs[step]), default=0)
    by_level: dict[int, list[str]] = {}
    for step in needs:
        by_level.setdefault(level[step], []).append(step)
    for number in sorted(by_level):
        steps = by_level[number]
        yield f"level {number + 1}: {len(steps):,} step{'s' if len(steps) != 1 else ''}"
        for step in steps[:SHOWN_IN_LEVEL]:
            found = needs[step]
            after = f"  after {', '.join(found[:3])}{f' and {len(found) - 3:,} more' if len(found) > 3 else ''}"  # noqa: PLR2004
            yield f"  {label(step)}{after if found else ''}"
        if len(steps) > SHOWN_IN_LEVEL:
            yield f"  … and {len(steps) - SHOWN_IN_LEVEL:,} more"


class Node(NamedTuple):
    """A step for a Mermaid flowchart: what it needs beside it, and the steps in it."""

    label: str
    needs: Sequence[str] = ()
    status: str = ""
    inside: Mapping[str, Node] = MappingProxyType({})


def mermaid(nodes: Mapping[str, Node]) -> Iterator[str]:
    """Yield the lines of a Mermaid flowchart; steps are coloured by their status, those in others stand in a box."""
    yield "flowchart TD"
    statuses: list[tuple[str, str]] = []
    yield from _mermaid(nodes, "n", "    ", statuses)
    for status in dict.fromkeys(status for _name, status in statuses):
        yield f"    classDef {status} {_MERMAID_COLOURS.get(status, 'fill:#ffffff')}"
    for name, status in statuses:
        yield f"    class {name} {status}"


def _mermaid(nodes: Mapping[str, Node], prefix: str, indent: str, statuses: list[tuple[str, str]]) -> Iterator[str]:
    number = {step: f"{prefix}{index}" for index, step in enumerate(nodes)}
    for step, node in nodes.items():
        name = number[step]
        text = node.label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace("\n", " ")
        if node.status:
            statuses.append((name, node.status))
        if not node.inside:
            yield f'{indent}{name}["{text}"]'
            continue
        yield f'{indent}subgraph {name}["{text}"]'
        yield from _mermaid(node.inside, f"{name}_", f"{indent}    ", statuses)
        yield f"{indent}end"
    for step, node in nodes.items():
        for need in node.needs:
            yield f"{indent}{number[need]} --> {number[step]}"
