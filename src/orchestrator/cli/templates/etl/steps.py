"""The functions that pipeline.yaml calls as `steps:NAME`."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator import TaskContext

ROWS = [
    ("north", 120.5),
    ("north", 80.0),
    ("south", None),
    ("south", 42.25),
    ("west", 7.5),
]


def extract(path: str, context: TaskContext) -> str:
    """Write the rows as CSV, and return the path, which the next step reads."""
    file = context.project / path
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["region", "amount"])
        writer.writerows(ROWS)
    context.writes(path)  # a later plan notices when the file is missing or another one
    return path


def check(rows: int) -> None:
    """Fail if there is nothing to tell."""
    if rows == 0:
        raise ValueError("no sales are left: is `least` too high?")
