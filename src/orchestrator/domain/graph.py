"""Cycles in the graph of steps, found and shown as a path; linear, without recursion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

_SHOWN = 8


def cycles(needs: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """Yield cycles that share no step, each as the steps on it: every one needs the next, the last the first.

    ``needs`` maps each step to those it needs; names that are no key are ignored.
    """
    waiting = {task: len({need for need in found if need in needs}) for task, found in needs.items()}
    dependents: dict[str, list[str]] = {}
    for task, found in needs.items():
        for need in {need for need in found if need in needs}:
            dependents.setdefault(need, []).append(task)
    ready = [task for task, count in waiting.items() if not count]
    while ready:
        for dependent in dependents.get(ready.pop(), ()):
            waiting[dependent] -= 1
            if not waiting[dependent]:
                ready.append(dependent)
    left = {task for task, count in waiting.items() if count}
    seen: set[str] = set()
    for start in needs:
        if start not in left or start in seen:
            continue
        trail: dict[str, int] = {}
        task = start
        while task not in seen:
            seen.add(task)
            trail[task] = len(trail)
            task = next(need for need in needs[task] if need in left)
        if task in trail:
            yield list(trail)[trail[task] :]


def cycle_text(cycle: Sequence[str]) -> str:
    """Write a cycle as ``a -> b -> a``, a long one with its middle left out."""
    shown = [*cycle, cycle[0]]
    if len(shown) > 2 * _SHOWN:
        shown = [*shown[:_SHOWN], f"… {len(cycle) - 2 * _SHOWN + 1} more …", *shown[-_SHOWN:]]
    return " -> ".join(shown)
