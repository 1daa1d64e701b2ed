"""The two ends of pipes, watched by the event loop: no task, and no moment in which a cancellation loses one."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_READ = 1 << 18


class Drain:
    """Reads a pipe and gives what comes to ``sink``, until its end or ``close``; ``done`` tells that it ended."""

    def __init__(self, descriptor: int, sink: Callable[[bytes], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._sink = sink
        self.done: asyncio.Future[None] = self._loop.create_future()
        os.set_blocking(descriptor, False)
        self._loop.add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _READ)
            if data:
                self._sink(data)
                return
        except BlockingIOError:
            return
        except Exception as error:
            self.close()
            raise error from None  # the loop reports it; the command goes on unheard
        self.close()

    def close(self) -> None:
        """Stop reading; what is not read yet is lost."""
        if not self.done.done():
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self.done.set_result(None)


class Feed:
    """Writes data into a pipe as fast as it is taken; a reader that stops reading is no error."""

    def __init__(self, descriptor: int, data: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._descriptor = descriptor
        self._left = memoryview(data)
        self._open = True
        os.set_blocking(descriptor, False)
        self._loop.add_writer(descriptor, self._write)

    def _write(self) -> None:
        try:
            self._left = self._left[os.write(self._descriptor, self._left) :]
        except BlockingIOError:
            return
        except OSError:
            self._left = self._left[:0]
        if not self._left:
            self.close()

    def close(self) -> None:
        """End the data here."""
        if self._open:
            self._open = False
            self._loop.remove_writer(self._descriptor)
            os.close(self._descriptor)
