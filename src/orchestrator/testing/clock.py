"""Time and chance under the test's control: no waiting, and the same numbers in every run."""

from __future__ import annotations

import random

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


class ManualClock:
    """A clock that stands still until ``advance`` or ``jump`` moves it.

    >>> clock = ManualClock(now=1_000.0)
    >>> clock.advance(30)
    >>> clock.now()
    1030.0
    """

    def __init__(self, *, now: float = 1_700_000_000.0, monotonic: float = 1_000.0) -> None:
        self._now = float(now)
        self._monotonic = float(monotonic)

    def now(self) -> float:
        """Return the wall clock's seconds since 1970, UTC."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds that never jump."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass on both scales."""
        if seconds < 0:
            raise ValueError(f"time passes forward only, not by {seconds} s; jump moves the wall clock back")
        self._now += seconds
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock on (or back, if negative), as an administrator or NTP does; no time passes."""
        self._now += seconds


class SeededChance:
    """Randomness that a seed decides; share one among the handles of a test, for its tokens to differ."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def random(self) -> float:
        """Return a number uniform in [0, 1)."""
        return self._random.random()

    def token(self) -> str:
        """Return a fresh token of 16 lower-case letters and digits."""
        return "".join(self._random.choices(_ALPHABET, k=16))
