"""What a campaign tried and found: printed for people, written as JSON for docs/proof.md.

Every campaign is a command of ``python -m chaos``. Its module has a function ``register(commands)`` that adds the
command and names, by ``set_defaults(run=...)``, the function that carries it out and returns the exit code.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import apsw

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


@dataclass
class Outcome:
    """The result of a campaign.

    ``name`` is the campaign's command. ``tried`` says what was tried and how often, in the words of the page:
    ``{"kills": 1200, "resumes killed again": 130}``. ``failures`` holds one text for each violation: the invariant,
    what was seen, and the command that repeats it. ``notes`` are further figures, or what could not be tried and why,
    ``versions`` those of what is not always there.
    """

    name: str
    seed: int | None = None
    tried: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether something was tried and nothing violated."""
        return not self.failures and any(self.tried.values())

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain data, with the command that was given and the versions it ran with."""
        return {
            "name": self.name,
            "command": "python -m chaos " + " ".join(sys.argv[1:]),
            "seed": self.seed,
            "tried": self.tried,
            "violations": len(self.failures),
            "failures": self.failures,
            "notes": self.notes,
            "seconds": round(self.seconds, 1),
            "versions": versions() | self.versions,
        }

    def __str__(self) -> str:
        """Tell it for people, one fact a line."""
        lines = [f"{what:40} {often:>12,}" for what, often in self.tried.items()]
        lines += [f"{what:40} {value}" for what, value in self.notes.items()]
        lines.append(f"{'violations':40} {len(self.failures):>12,}")
        lines.append(f"{'seconds':40} {self.seconds:>12.1f}")
        return "\n".join([*self.failures, *lines])

    def report(self, arguments: argparse.Namespace) -> int:
        """Print it, write it where ``--json`` says, and return the exit code: 0, or 1 if anything was violated."""
        print(self)
        path: Path | None = arguments.json
        if path is not None:
            path.write_text(json.dumps(self.to_dict(), indent=2) + "\n")
        return 0 if self.ok else 1


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "durable-orchestrator": version("durable-orchestrator"),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} CPUs",
    }
