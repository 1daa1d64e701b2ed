"""The warm parent of trials: it has everything imported and forks a child for each order.

``python -m chaos.server [URL]`` (of a store to warm up with) reads requests from stdin and answers on stdout, one
JSON document a line:

``{"start": ORDER}`` -> ``{"pid": N}``; ``{"signal": PID, "number": N}`` -> ``{"sent": bool}``;
``{"wait": PID, "seconds": S, "file": F, "size": N}`` -> ``{"ended": bool, "status": exit code, or minus the signal}``
(the seconds count from when the file is longer than that, if one is named);
``{"orphans": S}`` -> ``{"alive": [pids]}``: what children left behind and still lives after at most S seconds;
``{"twin": SOCKET}`` -> ``{"pid": N}``: a fork of it serves whoever connects to that path, until that one leaves.

It has one thread and no connection, so that a fork of it is as good as a fresh process. It adopts what its children
leave behind (child subreaper), so that nothing can hide. A pid stays reserved until it was waited for, so a signal
never reaches a stranger.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

_ARMED = "before_admission:1000000000"
"""Wanted when the package is imported, so that its real ``point`` is there for children to arm."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_SECONDS = 0.001
_GROWTH_SECONDS = 20.0


class Server:
    """Forks children and looks after them."""

    def __init__(self) -> None:
        self._children: set[int] = set()
        self._ended: dict[int, int] = {}
        self._twins: set[int] = set()

    def start(self, order: str) -> dict[str, Any]:
        """Fork a child that carries out an order."""
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = _become_child(order)
            finally:
                os._exit(code)
        self._children.add(pid)
        self._ended.pop(pid, None)
        return {"pid": pid}

    def signal(self, pid: int, number: int) -> dict[str, Any]:
        """Send a signal to a child that was not waited for yet."""
        if pid not in self._children:
            return {"sent": False}
        os.kill(pid, number)
        return {"sent": True}

    def wait(self, pid: int, seconds: float, file: str = "", size: int = 0) -> dict[str, Any]:
        """Wait for a child's end, at most so long - after the file has grown beyond ``size``, if one is named."""
        if pid in self._ended:
            return {"ended": True, "status": self._ended[pid]}
        fd = os.pidfd_open(pid)
        try:
            ready: list[int] = []
            end = time.monotonic() + _GROWTH_SECONDS
            while file and not ready and _size(file) <= size and time.monotonic() < end:
                ready, _, _ = select.select([fd], [], [], _POLL_SECONDS)
            if not ready:
                ready, _, _ = select.select([fd], [], [], max(0.0, seconds))
        finally:
            os.close(fd)
        if not ready:
            return {"ended": False, "status": None}
        _, status = os.waitpid(pid, 0)
        self._children.discard(pid)
        self._ended[pid] = os.waitstatus_to_exitcode(status)
        return {"ended": True, "status": self._ended[pid]}

    def orphans(self, seconds: float) -> dict[str, Any]:
        """Bury what children left behind, and return what of it still lives after so long."""
        end = time.monotonic() + seconds
        while True:
            known = self._children | self._twins
            alive = [pid for pid in _children_of(os.getpid()) if pid not in known and not _bury(pid)]
            if not alive or time.monotonic() > end:
                return {"alive": alive}
            time.sleep(0.005)

    def twin(self, path: str) -> dict[str, Any]:
        """Fork a server for one more client: as warm as this one, and for nothing."""
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(path)
            door.listen(1)
            pid = os.fork()
            if pid == 0:
                try:
                    _become_twin(door)
                finally:
                    os._exit(1)
        self._twins.add(pid)
        return {"pid": pid}

    def serve(self, requests: TextIO, answers: TextIO) -> None:
        """Answer until there are no more requests; then kill what is left."""
        for line in requests:
            request = json.loads(line)
            if "start" in request:
                answer = self.start(request["start"])
            elif "signal" in request:
                answer = self.signal(request["signal"], request["number"])
            elif "wait" in request:
                answer = self.wait(request.pop("wait"), **request)
            elif "twin" in request:
                answer = self.twin(request["twin"])
            else:
                answer = self.orphans(request["orphans"])
            answers.write(json.dumps(answer) + "\n")
            answers.flush()
        for pid in _children_of(os.getpid()):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _become_child(text: str) -> int:
    from chaos.child import Order, arm, perform

    order = Order.from_json(text)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    errors = os.open(Path(order.folder, "stderr.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(errors, 2)
    os.chdir(order.folder)
    arm(order.point or _ARMED)
    return perform(order)


def _become_twin(door: socket.socket) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for fd in (0, 1):  # the pipes are the first server's
        os.dup2(door.fileno(), fd)
    client, _ = door.accept()
    for fd in (0, 1):
        os.dup2(client.fileno(), fd)
    door.close()
    client.close()
    _adopt_orphans()
    with open(0, closefd=False) as requests, open(1, "w", closefd=False) as answers:
        Server().serve(requests, answers)
    os._exit(0)


def _adopt_orphans() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _size(file: str) -> int:
    try:
        return Path(file).stat().st_size
    except FileNotFoundError:
        return 0


def _bury(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def main() -> None:
    """Warm up, say so, and serve."""
    os.environ["ORCHESTRATOR_CRASH_POINT"] = _ARMED
    from chaos import child, warm

    del os.environ["ORCHESTRATOR_CRASH_POINT"]  # worker processes of a child are not to be killed at points
    del child
    warm.up(*sys.argv[1:])
    _adopt_orphans()
    gc.collect()
    gc.freeze()
    sys.stdout.write("{}\n")
    sys.stdout.flush()
    Server().serve(sys.stdin, sys.stdout)


if __name__ == "__main__":
    main()
