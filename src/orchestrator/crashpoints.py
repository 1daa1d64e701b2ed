"""Named places where a test may kill the process.

In a normal run ``point`` is an empty function. With ``ORCHESTRATOR_CRASH_POINT=NAME`` or ``NAME:N`` in the
environment when the package is imported, the process kills itself (SIGKILL) the N-th time it passes that place.
The names are listed in ``POINTS`` and in docs/guarantees.md. A test within the process may watch them (``watched``).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POINTS = (
    "before_admission",
    "after_admission",
    "before_claim",
    "after_claim",
    "before_effect",
    "after_effect",
    "before_commit",
    "after_commit",
    "before_expand",
    "after_expand",
    "before_gather",
    "after_gather",
    "before_acknowledge",
    "after_acknowledge",
    "before_resume",
    "after_resume",
    "before_signal",
    "after_signal",
    "before_finish",
    "after_finish",
    "before_blob",
    "after_blob",
)

_wanted = os.environ.get("ORCHESTRATOR_CRASH_POINT", "")
ACTIVE = bool(_wanted)
"""Whether a crash is wanted at all; hot paths look here before they work out which point they pass."""

if _wanted:
    import signal

    _name, _, _count = _wanted.partition(":")
    if _name not in POINTS:
        raise SystemExit(f"ORCHESTRATOR_CRASH_POINT: no point named {_name!r}; there are {', '.join(POINTS)}")
    _left = [int(_count or 1)]

    def point(name: str) -> None:
        """Kill this process if ``name`` is the wanted place and has been passed often enough."""
        if name == _name:
            _left[0] -= 1
            if _left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

else:

    def point(name: str) -> None:
        """Do nothing: no crash is wanted."""


_watcher: Callable[[str], None] | None = None


def _tell(name: str) -> None:
    """Tell the watcher: what ``point`` does within ``watched``."""
    if _watcher is not None:
        _watcher(name)


@contextmanager
def watched(watcher: Callable[[str], None]) -> Iterator[None]:
    """Within: ``watcher`` is called with the name of each place that this process passes, in whatever thread.

    ``point`` is given another code for that long: whoever has imported it calls it all the same, and outside of this
    it costs nothing.
    """
    global ACTIVE, _watcher
    before = ACTIVE, _watcher, point.__code__
    ACTIVE, _watcher, point.__code__ = True, watcher, _tell.__code__
    try:
        yield
    finally:
        ACTIVE, _watcher, point.__code__ = before
