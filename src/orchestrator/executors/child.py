"""A worker process as its executor sees it."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.executors import guard
from orchestrator.executors.wire import FrameBuffer
from orchestrator.settings import without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 20


class Stage(IntEnum):
    """How far the ending of a worker went; each stage gets some time before the next."""

    ALIVE = 0
    TERMINATED = 1  # SIGTERM to its group
    CUT_OFF = 2  # its guard was told to kill the family
    KILLED = 3  # SIGKILL to its group, guard included


class Child:
    """A worker and its guard, one process group; nothing here blocks but the last wait for a killed guard."""

    def __init__(self, setup: bytes) -> None:
        self.control, control = socket.socketpair()
        self.data, data = socket.socketpair()
        self.stage = Stage.ALIVE
        self.ready = False
        self.drained = self.at_end = False
        self._outgoing = bytearray(setup)
        self._frames = FrameBuffer()
        self._told = b""
        with control, data:
            ends = (control.fileno(), data.fileno())
            command = [sys.executable, "-P", str(Path(guard.__file__)), *map(str, ends), str(os.getpid())]
            try:
                self._process = subprocess.Popen(
                    command,
                    pass_fds=ends,
                    start_new_session=True,
                    stdin=subprocess.DEVNULL,
                    env=without_secrets(os.environ),
                )
            except BaseException:
                self.control.close()
                self.data.close()
                raise
        self.control.setblocking(False)  # noqa: FBT003 - the standard library's signature
        self.data.setblocking(False)  # noqa: FBT003
        self.pid = self._process.pid

    @property
    def wants_to_write(self) -> bool:
        """True while something waits to be sent."""
        return bool(self._outgoing)

    def send(self, data: bytes) -> None:
        """Queue a frame."""
        self._outgoing += data

    def flush(self) -> None:
        """Send what the worker takes just now."""
        try:
            while self._outgoing:
                del self._outgoing[: self.data.send(memoryview(self._outgoing)[:_CHUNK].tobytes())]
        except BlockingIOError:
            pass
        except OSError:  # the worker is gone, as its control will tell
            self._outgoing.clear()

    def messages(self) -> Iterator[tuple[Any, ...]]:
        """Yield what arrived, up to about a MiB; what cannot be unpickled becomes ``unreadable``.

        ``drained`` tells afterwards whether nothing more was there, ``at_end`` whether nothing more will come.
        """
        try:
            data = self.data.recv(_CHUNK)
        except BlockingIOError:
            self.drained = True
            return
        except OSError:
            data = b""
        self.at_end = self.drained = not data
        for body in self._frames.feed(data):
            try:
                yield pickle.loads(body)  # noqa: S301 - from our own worker
            except Exception as error:  # noqa: BLE001 - pickle raises all kinds
                yield ("unreadable", f"{type(error).__name__}: {error}")

    def is_over(self) -> bool:
        """Read the control; True once guard and worker have ended."""
        try:
            data = self.control.recv(64)
        except BlockingIOError:
            return False
        except OSError:
            return True
        self._told += data
        return not data

    def end(self, stage: Stage) -> None:
        """End it with the means of ``stage``."""
        self.stage = stage
        if stage is Stage.TERMINATED:
            self._signal(signal.SIGTERM)
        elif stage is Stage.CUT_OFF:
            with suppress(OSError):
                self.control.shutdown(socket.SHUT_WR)
        else:
            self._signal(signal.SIGKILL)

    def release(self) -> str:
        """Give everything back once it is over; return how the worker ended."""
        self._signal(signal.SIGKILL)  # the guard is not reaped yet, so the group's number is still its own
        self._process.wait()
        self.control.close()
        self.data.close()
        return _reason(int(self._told) if self._told else None)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(OSError):
            os.killpg(self.pid, number)


def _reason(code: int | None) -> str:
    if code is None:
        return "the worker was killed together with its guard"
    if code >= 0:
        return f"the worker ended itself with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"the worker was killed by {name}{' (out of memory, or from outside)' if name == 'SIGKILL' else ''}"
