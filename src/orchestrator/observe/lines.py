"""Where the lines of steps go, and how long they may be."""

from __future__ import annotations

TASK_LOGGER = "orchestrator.task"
"""Name of the logger that every line of every step goes through.

Its records carry ``execution_id``, ``task_id`` and ``attempt``.
"""

LINE_BYTES = 8192
"""Longest line of a step that is kept, in bytes."""


def cut(text: str, limit: int) -> str:
    r"""Return ``text`` in at most ``limit`` bytes of UTF-8 (at least 64), saying so if something is missing.

    Lone surrogates, which UTF-8 cannot hold, come out as escapes like ``\udc80``.
    """
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= limit:
        return raw.decode()
    note = f" ... (cut, {len(raw)} bytes in all)"
    return raw[: limit - len(note)].decode("utf-8", "ignore") + note
