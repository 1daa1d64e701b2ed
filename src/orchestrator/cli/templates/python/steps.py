"""The functions that pipeline.yaml calls as `steps:NAME`."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator import TaskContext


def search(count: int, context: TaskContext) -> list[int]:
    """Return the first primes. A parameter named `context` is the step's door to its run."""
    found: list[int] = context.saved or []  # what an attempt before this one saved
    number = found[-1] + 1 if found else 2
    while len(found) < count and not context.cancelled:
        if all(number % prime for prime in found if prime * prime <= number):
            found.append(number)
            context.progress(len(found), count, f"{number}")
            context.save(found)  # cheap: made durable once every checkpoint interval
        number += 1
    return found


def largest(numbers: list[int]) -> int:
    """Return the largest number."""
    return max(numbers)


def gaps(numbers: list[int]) -> dict[str, int]:
    """Return the widest and the narrowest gap between neighbours."""
    found = [after - before for before, after in pairwise(numbers)]
    return {"widest": max(found), "narrowest": min(found)}


def praise(number: int, context: TaskContext) -> str:
    """Log a line, which `orchestrator logs EXECUTION` shows, and return it."""
    line = f"{number} is quite large"
    context.logger.info(line)
    return line
