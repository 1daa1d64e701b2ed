"""Frames between the process executor and its workers: eight bytes of length, then a pickled tuple.

Both ends are processes of ours, and a worker is no less trusted than a tool that runs in the orchestrator itself.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = 8


def frame(message: Any) -> bytes:
    """Encode one message; whatever pickle raises for what it cannot take."""
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(body).to_bytes(_HEAD, "big") + body


class FrameBuffer:
    """Cuts a stream of bytes into the bodies of its frames; a torn last one simply never comes out."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take more bytes, and yield the frames that are complete now."""
        self._data += data
        while len(self._data) >= _HEAD:
            end = _HEAD + int.from_bytes(self._data[:_HEAD], "big")
            if len(self._data) < end:
                return
            body = bytes(memoryview(self._data)[_HEAD:end])
            del self._data[:end]
            yield body
