"""A command and all its descendants, which end together: with the command, with the attempt, with this process.

The command runs below a small shell, the leader of a session and process group of its own. Beside the command the
leader starts a watcher that waits for the end of a socket whose other end only this process holds: when this
process dies, however it dies, the watcher ends the group. There is no moment without a watcher, for the command
starts after it; and since both are members of the group, its number cannot pass to strangers before they are gone.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GRACE_SECONDS = 2.0
"""How long a group may take to end after TERM, before KILL. After the death of this process it is half as long."""

# The leader's stdin is the socket. `trap :` (not ignoring) leaves the command's own signals at their defaults.
_LEADER = """
exec 3<&0 </dev/null 5>&2 2>/dev/null
trap : HUP INT TERM
( trap '' HUP INT TERM; read -r _ <&3; kill -TERM 0; sleep 1; kill -KILL 0 ) >/dev/null 5>&- &
watcher=$!
stdin=$1; shift
( exec "$@" ) <"$stdin" 2>&5 3<&- 5>&-
echo "$?" >&3
kill -KILL "$watcher"; wait "$watcher"
kill -KILL 0
"""

_open: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _close_in_child() -> None:
    """Close the sockets that a forked child has inherited: held there, they would outlive this process."""
    for held in list(_open):
        held.close()


os.register_at_fork(after_in_child=_close_in_child)


class Group:
    """A running command with its process group. ``stdout`` and ``stderr`` are its streams.

    Every group must be left through ``end``, which is safe at any time and more than once.
    """

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._status: asyncio.Task[int | None] = asyncio.ensure_future(self._read_status())
        assert process.stdout is not None  # noqa: S101 - asked for below
        assert process.stderr is not None  # noqa: S101
        self.stdout = process.stdout
        self.stderr = process.stderr
        self.stdin = process.stdin

    @property
    def pid(self) -> int:
        """The leader's process id, which is the group's number as well."""
        return self._process.pid

    async def wait(self) -> int:
        """Return the command's exit code once it has ended: 128 plus the number of the signal that killed it.

        By then the rest of its group is being killed. A leader that was killed from outside counts as 137.
        """
        status = await asyncio.shield(self._status)
        return 128 + signal.SIGKILL if status is None else status

    async def end(self) -> None:
        """End the group: TERM, KILL after two seconds, or at once if the wait for it is cancelled."""
        try:
            if not self._status.done():
                self._signal(signal.SIGTERM)
                await asyncio.wait({self._status}, timeout=GRACE_SECONDS)
        finally:
            # A leader that is gone takes its whole group along, and its number may be another's by now.
            if self._process.returncode is None and not self._ended():
                self._signal(signal.SIGKILL)
            self._control.close()
            self._status.cancel()
        await self._process.wait()

    def _ended(self) -> bool:
        return self._status.done() and not self._status.cancelled() and self._status.result() is not None

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def _read_status(self) -> int | None:
        loop = asyncio.get_running_loop()
        text = b""
        while not text.endswith(b"\n"):
            with suppress(ConnectionError):
                if data := await loop.sock_recv(self._control, 16):
                    text += data
                    continue
            return None
        return int(text)


async def start(
    command: Sequence[str], *, env: Mapping[str, str], cwd: str, stdin: int | None = None, limit: int = 1 << 20
) -> Group:
    """Start ``command``, whose first item is the absolute path of a program.

    ``stdin`` is a descriptor to read from (None: nothing). Raise OSError if no process can be made.
    """
    ours, theirs = socket.socketpair()
    _open.add(ours)
    try:
        ours.setblocking(False)  # noqa: FBT003 - the standard library takes no keyword
        source = "/dev/null" if stdin is None else f"/dev/fd/{stdin}"
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            _LEADER,
            "sh",
            source,
            *command,
            stdin=theirs.fileno(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=env,
            cwd=cwd,
            limit=limit,
            start_new_session=True,
            pass_fds=() if stdin is None else (stdin,),
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Group(process, ours)
