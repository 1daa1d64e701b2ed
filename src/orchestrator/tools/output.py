"""What a command says: kept up to a limit, and passed to the log line by line."""

from __future__ import annotations

import logging
from collections import deque

_LONGEST_LINE = 8192


class Kept:
    """The first and the last half of what was said, in at most ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._head_room = limit // 2
        self._tail_room = limit - self._head_room
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self.size = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self.size += len(data)
        room = self._head_room - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        if data:
            self._tail.append(data)
            self._tail_size += len(data)
            while self._tail and self._tail_size - len(self._tail[0]) >= self._tail_room:
                self._tail_size -= len(self._tail.popleft())

    @property
    def truncated(self) -> bool:
        """True if something in the middle was dropped."""
        return self.size > self._head_room + self._tail_room

    def text(self) -> str:
        """Return what was kept as text (what is not UTF-8 replaced), with a line that tells what is left out."""
        tail = b"".join(self._tail)
        if not self.truncated:
            return (bytes(self._head) + tail).decode("utf-8", "replace")
        tail = tail[len(tail) - self._tail_room :]
        dropped = self.size - len(self._head) - len(tail)
        note = f"\n... {dropped:,} bytes left out ...\n"
        return self._head.decode("utf-8", "replace") + note + tail.decode("utf-8", "replace")


class Lines:
    """Passes lines to a logger, up to ``limit`` bytes of them: a flood must not fill the log either."""

    def __init__(self, logger: logging.Logger, level: int, limit: int) -> None:
        self._logger = logger
        self._level = level
        self._left = limit if logger.isEnabledFor(level) else 0
        self._silent = not self._left
        self._rest = b""

    def add(self, data: bytes) -> None:
        """Take the next bytes and log the lines they end."""
        if self._silent:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._log(line)
        if len(self._rest) > _LONGEST_LINE:
            self._log(self._rest)
            self._rest = b""

    def close(self) -> None:
        """Log what is left over without an end of line."""
        if self._rest and not self._silent:
            self._log(self._rest)

    def _log(self, line: bytes) -> None:
        if self._silent:
            return
        self._left -= len(line) + 1
        if self._left < 0:
            self._silent = True
            self._logger.warning("the command says more than is logged; the rest of its output is not shown here")
            return
        self._logger.log(self._level, "%s", line[:_LONGEST_LINE].decode("utf-8", "replace").rstrip("\r"))
