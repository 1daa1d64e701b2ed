"""Ways to start the children of a trial: forked from the warm server, or as fresh interpreters."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, Self

from chaos.child import Order

if TYPE_CHECKING:
    from types import TracebackType

ROOT = Path(__file__).resolve().parent.parent


class Children(Protocol):
    """Starts children, signals them, waits for them."""

    def start(self, order: Order) -> int:
        """Start a child; return its pid."""

    def signal(self, pid: int, number: int) -> bool:
        """Send a signal; False if the child was waited for already."""

    def wait(self, pid: int, seconds: float, file: Path | None = None, size: int = 0) -> int | None:
        """Return the exit status (minus the signal's number for a killed one), None if it still runs.

        The seconds count from when ``file`` is longer than ``size`` bytes, if one is given.
        """

    def orphans(self, seconds: float) -> list[int]:
        """Return what children left behind and is still alive after so long."""


class _Client:
    """What a server of children is asked, one line at a time."""

    def __init__(self, requests: IO[str], answers: IO[str]) -> None:
        self._requests = requests
        self._answers = answers

    def start(self, order: Order) -> int:
        """See Children."""
        return int(self._ask(start=order.to_json())["pid"])

    def signal(self, pid: int, number: int) -> bool:
        """See Children."""
        return bool(self._ask(signal=pid, number=int(number))["sent"])

    def wait(self, pid: int, seconds: float, file: Path | None = None, size: int = 0) -> int | None:
        """See Children."""
        answer = self._ask(wait=pid, seconds=seconds, file=str(file or ""), size=size)
        return int(answer["status"]) if answer["ended"] else None

    def orphans(self, seconds: float) -> list[int]:
        """See Children."""
        return list(self._ask(orphans=seconds)["alive"])

    def _ask(self, **request: Any) -> dict[str, Any]:
        self._requests.write(json.dumps(request) + "\n")
        self._requests.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise RuntimeError("the server of trials died")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Twin(_Client):
    """Children of a fork of another server, for one more thread. A context manager."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        super().__init__(self._socket.makefile("w"), self._socket.makefile("r"))

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the server go."""
        for end in (self._requests, self._answers, self._socket):
            end.close()


class Forks(_Client):
    """Children forked from a server of its own: a few milliseconds each. A context manager.

    ``preload`` is a library that the server and so all children are started with, ``store`` the URL of a store to
    warm up with (empty: SQLite). One thread at a time; any may ask for a ``twin`` of its own.
    """

    def __init__(self, preload: Path | None = None, store: str = "") -> None:
        self._mutex = threading.Lock()
        self._server = subprocess.Popen(
            [sys.executable, "-m", "chaos.server", *([store] if store else [])],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=_environment() | ({"LD_PRELOAD": str(preload)} if preload is not None else {}),
        )
        if self._server.stdin is None or self._server.stdout is None:
            raise RuntimeError("the server has no input or no output")
        super().__init__(self._server.stdin, self._server.stdout)
        self._read()

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the server and all children."""
        self.close()

    def close(self) -> None:
        """End the server and all children."""
        with suppress(subprocess.TimeoutExpired):
            self._server.communicate(timeout=10)
        self._server.kill()
        self._server.wait()

    def twin(self) -> Twin:
        """Return one more server, forked from this one: it is warm at once."""
        with self._mutex, tempfile.TemporaryDirectory(prefix="twin-") as folder:
            path = f"{folder}/socket"
            self._ask(twin=path)
            return Twin(path)


class Fresh:
    """Children as fresh interpreters, with crash points asked for by the environment variable, as a user would."""

    def __init__(self) -> None:
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, order: Order) -> int:
        """See Children."""
        environment = _environment()
        if order.point:
            environment["ORCHESTRATOR_CRASH_POINT"] = order.point
        with Path(order.folder, "stderr.log").open("ab") as errors:
            child = subprocess.Popen(
                [sys.executable, "-m", "chaos.child", order.to_json()],
                cwd=order.folder,
                env={**environment, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        self._children[child.pid] = child
        return child.pid

    def signal(self, pid: int, number: int) -> bool:
        """See Children."""
        child = self._children.get(pid)
        if child is None or child.poll() is not None:
            return False
        child.send_signal(number)
        return True

    def wait(self, pid: int, seconds: float, file: Path | None = None, size: int = 0) -> int | None:
        """See Children."""
        if file is not None:
            raise NotImplementedError(f"a fresh child is not watched by {file} ({size})")
        try:
            return self._children[pid].wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def orphans(self, seconds: float) -> list[int]:
        """Return nothing: only the server can tell."""
        del seconds
        return []


def kill(children: Children, pid: int) -> None:
    """Kill a child and wait for its end."""
    children.signal(pid, signal.SIGKILL)
    children.wait(pid, 10.0)


def _environment() -> dict[str, str]:
    """Return the environment without what would direct or disturb the children."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("ORCHESTRATOR_", "COV_CORE_"))}
