"""The first process of a worker: it starts the worker proper and sees to it that nothing outlives it.

Run as a script by the process executor, in a session of its own: ``guard.py CONTROL DATA PARENT``. It forks while
still single-threaded: the child becomes the worker, the guard waits. When the worker has ended, when the executor or
its whole process has let go of CONTROL, or when PARENT is no longer the parent, it writes to CONTROL how the worker
ended, and kills with SIGKILL whatever is left of the worker's family, and itself. A thread inside the worker could
not do this: it starves while native code holds the interpreter lock.

Before the fork only the standard library is imported, and as little of it as possible.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    import socket

PARENT_CHECK_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_CLEAN_UP_SECONDS = 1.0


def main(control: int, data: int, parent: int) -> NoReturn:
    """Fork the worker and guard it."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # orphans of the family become ours, even those in sessions of their own
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_read, False)
    os.set_blocking(wake_write, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    guard = os.getpid()
    worker = os.fork()
    if worker == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (control, wake_read, wake_write):
            os.close(fd)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == guard:
            _work(data)
        os._exit(1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # a signal to the group is for the worker
    os.close(data)
    status = _wait(worker, control, wake_read, parent)
    if status is not None:
        with suppress(OSError):  # nobody is left to be told
            os.write(control, b"%d" % os.waitstatus_to_exitcode(status))
    _kill_family(guard)
    os.killpg(guard, signal.SIGKILL)
    raise SystemExit(1)


def _work(data: int) -> NoReturn:
    status = 1
    try:
        import pickle
        import socket

        channel = socket.socket(fileno=data)
        setup = pickle.loads(_first_frame(channel))  # noqa: S301 - from the executor that started us
        sys.path[:] = setup["path"]
        from orchestrator.executors.worker import serve

        serve(channel, setup)
        status = 0
    except BaseException:  # noqa: BLE001 - whatever it is, this process must not go on as a second guard
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _first_frame(channel: socket.socket) -> bytes:
    def exactly(size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = channel.recv(size - len(data))
            if not part:
                os._exit(0)
            data += part
        return data

    return exactly(int.from_bytes(exactly(8), "big"))


def _wait(worker: int, control: int, wake: int, parent: int) -> int | None:
    """Return the wait status of the worker once it has ended, None if it has to go."""
    while True:
        ready, _, _ = select.select([control, wake], [], [], PARENT_CHECK_SECONDS)
        if wake in ready:
            os.read(wake, 4096)
        status = _reap(worker)
        if status is not None:
            return status
        if control in ready or os.getppid() != parent:
            return None


def _reap(worker: int | None) -> int | None:
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == worker:
            found = status


def _kill_family(guard: int) -> None:
    """Kill every descendant, again and again until there is none: some may be starting others."""
    deadline = time.monotonic() + _CLEAN_UP_SECONDS
    while (family := _descendants(guard)) and time.monotonic() < deadline:
        for pid in family:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)
        _reap(None)


def _descendants(root: int) -> list[int]:
    """List all processes below ``root``; empty where there is no /proc (there the process group has to do)."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = entry.read_text(errors="replace")
        except OSError:
            continue
        state, parent = text[text.rindex(")") + 1 :].split(maxsplit=2)[:2]
        if state not in {"Z", "X"}:
            children.setdefault(int(parent), []).append(int(entry.parent.name))
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
