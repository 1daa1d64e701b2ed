"""What a trial does, and what came of it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True)
class Kill:
    """When to kill a process: at the ``count``-th passing of ``point``, or from outside after some time.

    ``moment`` is a part of the time that a run usually takes to be admitted; if ``told``, of what it then tells.
    """

    moment: float = 0.0
    told: bool = False
    point: str = ""
    count: int = 1

    @classmethod
    def random(cls, chance: random.Random, longest: float = 1.0) -> Self:
        """Return a kill from outside: mostly while steps run, sometimes while the process starts or takes over."""
        told = chance.random() < 0.85
        return cls(moment=chance.random() * longest, told=told)

    def __str__(self) -> str:
        """Describe it in a word."""
        return f"{self.point}:{self.count}" if self.point else f"{self.moment:.3f}{' told' if self.told else ''}"


@dataclass(frozen=True)
class Plan:
    """What a trial does: its pipeline, how it runs, and which process is killed when (the first, its resume, ...).

    ``faults`` are those that disturb a file call of the first process, of its resume, ... (see ``chaos.files.Fault``),
    or its connection (see ``chaos.outages.Net``).
    """

    name: str
    kills: tuple[Kill, ...] = ()
    variant: str = "threads"
    durability: str = "full"
    concurrency: int = 8
    pace: float = 0.001
    resume_after: bool = False
    faults: tuple[str, ...] = ()

    @classmethod
    def of_seed(cls, seed: int) -> Plan:
        """Return the plan of a random trial: one kill, in a tenth of them up to eight, one resume after another."""
        chance = random.Random(seed)
        deep = chance.random() < 0.1
        number = chance.randint(2, 8) if deep else 1
        kills = tuple(Kill.random(chance, 0.95 if number == 1 else 0.5) for _ in range(number))
        return cls(
            name=f"seed-{seed}",
            kills=kills,
            variant="processes" if chance.random() < 0.03 else "threads",
            durability=chance.choice(["full", "process"]),
            concurrency=chance.choice([1, 2, 4, 8, 32]),
            pace=chance.choice([0.0, 0.0005, 0.001, 0.003]),
            resume_after=chance.random() < 0.2,
        )


@dataclass
class Verdict:
    """What came of a trial. ``kills`` counts processes that were killed at work, ``resumes`` those that took over.

    ``absent`` counts kills before admission: the execution was cleanly not there, and was started anew.
    ``latencies`` are the seconds from the beginning of a resume to its ownership. ``calls`` is how many file calls
    the last fault counted, ``fired`` whether any fault struck.
    """

    name: str
    kills: int = 0
    resumes: int = 0
    absent: int = 0
    violations: list[list[str]] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    story: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    fired: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing was violated."""
        return not self.violations

    def __str__(self) -> str:
        """Tell the whole trial, for a failing test."""
        lines = [f"trial {self.name}:", *(f"  {line}" for line in self.story)]
        lines += [f"  {name}: {text}" for name, text in self.violations]
        return "\n".join(lines)
