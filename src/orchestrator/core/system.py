"""The real clock and the real chance; the only place where they come from."""

from __future__ import annotations

import os
import random
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The machine's clocks: ``monotonic`` counts suspended time (CLOCK_BOOTTIME) where the system has such a clock."""

    def now(self) -> float:
        """Return seconds since 1970, UTC."""
        return time.time()  # noqa: TID251 - the one place where the present comes from

    def monotonic(self) -> float:
        """Return seconds since the machine started."""
        return time.clock_gettime(_BOOT_CLOCK)


class SystemChance:
    """The machine's randomness."""

    def __init__(self) -> None:
        self._random = random.Random()

    def random(self) -> float:
        """Return a number uniform in [0, 1)."""
        return self._random.random()

    def token(self) -> str:
        """Return 80 random bits as 16 characters."""
        bits = secrets.randbits(80)
        return "".join(_ALPHABET[bits >> shift & 31] for shift in range(75, -1, -5))


def user_name() -> str:
    """Return who runs this process, for people to read."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
