"""What the servers of our own have in common: a process that is ended, killed, and gone when we are."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Self


class PrivateServer:
    """A server process with a folder; a context manager. Who inherits it says how to ``start`` it."""

    ending: ClassVar[signal.Signals] = signal.SIGKILL
    """What ends it when nobody needs it any more."""
    patience: ClassVar[float] = 30.0
    """How many seconds it may take to end before it is killed."""

    def __init__(self, folder: Path | None, kind: str) -> None:
        """Keep it in ``folder``; None: in a temporary one, in memory where that can be had, named after ``kind``."""
        self._temporary = folder is None
        memory = Path("/dev/shm")
        base = str(memory) if memory.is_dir() and os.access(memory, os.W_OK) else None
        self.folder = folder if folder is not None else Path(tempfile.mkdtemp(prefix=f"orchestrator-{kind}-", dir=base))
        self._process: subprocess.Popen[bytes] | None = None
        self._watch: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        if self._process is None:
            raise RuntimeError("the server does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it lives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, or again after it was ended, on the same port; returns when it answers."""
        raise NotImplementedError(type(self).__name__)

    def kill(self) -> None:
        """SIGKILL it; what it has started follows by itself."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """End it and remove its folder if that is a temporary one; idempotent."""
        self._end(self.ending)
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, command: list[str], log: Path, **options: Any) -> None:
        """Start the process; what it says goes to the end of ``log``."""
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                start_new_session=True, **options,
            )  # fmt: skip
        # Whatever ends this process closes the pipe, and the shell behind it ends the server.
        script = f'read _; kill -{self.ending.name.removeprefix("SIG")} "$0"'
        self._watch = subprocess.Popen(
            ["/bin/sh", "-c", script, str(self._process.pid)],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip

    def _end(self, number: int) -> None:
        self._dismiss_watch()
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(number)
            try:
                process.wait(timeout=self.patience)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _dismiss_watch(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.kill()
            watch.wait()
            if watch.stdin is not None:
                watch.stdin.close()


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
