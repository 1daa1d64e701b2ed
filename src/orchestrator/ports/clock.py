"""Time, chance and names: everything that differs from run to run comes in through here."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Where time comes from. Tests and the simulator put a manual one in its place."""

    def now(self) -> float:
        """Return the wall clock in seconds since 1970, UTC: for the record only, never for durations."""

    def monotonic(self) -> float:
        """Return seconds that never jump and count suspended time, comparable among processes of this host."""


class Chance(Protocol):
    """Where randomness and fresh ids come from."""

    def random(self) -> float:
        """Return a number uniform in [0, 1)."""

    def token(self) -> str:
        """Return a fresh token of 16 lower-case letters and digits, unique for all practical purposes."""
