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

_YOUNG_SECONDS = 1.0
_AGAIN_SECONDS = 0.1

# The leader's stdin is the socket. It traps signals and does not ignore them, for what is ignored stays ignored in
# the command; a TERM that comes before the command has begun means that it does not begin.
_LEADER = """
ended=
exec 3<&0 </dev/null 5>&2 2>/dev/null
trap ended=1 HUP INT TERM
( trap '' HUP INT TERM; read -r _ <&3; kill -TERM 0; sleep 1; kill -KILL 0 ) >/dev/null 5>&- &
watcher=$!
stdin=$1; shift
code=143
if [ -z "$ended" ]; then ( exec "$@" ) <"$stdin" 2>&5 3<&- 5>&-; code=$?; fi
echo "$code" >&3
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
    """A running command with its process group; it must be left through ``end``, safe at any time and repeatedly."""

    def __init__(self, process: asyncio.subprocess.Process, control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._began = asyncio.get_running_loop().time()
        self._status: asyncio.Task[int | None] = asyncio.ensure_future(self._read_status())

    @property
    def pid(self) -> int:
        """The leader's process id, which is the group's number as well."""
        return self._process.pid

    async def wait(self) -> int:
        """Return the command's exit code once it has ended: 128 plus the number of the signal that killed it.

        By then the rest of its group is being killed. A leader that was killed from outside counts as 137.
        """
        leader = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait({self._status, leader}, return_when=asyncio.FIRST_COMPLETED)
            if not self._status.done():  # the leader is gone: its last word is here, or will never come
                await asyncio.wait({self._status}, timeout=0.1)
        finally:
            leader.cancel()
        status = self._status.result() if self._status.done() else None
        return 128 + signal.SIGKILL if status is None else status

    async def end(self) -> None:
        """End the group: TERM, KILL after two seconds, or at once if the wait for it is cancelled."""
        try:
            if self._process.returncode is None and not self._status.done():
                await self._terminate()
        finally:
            # A leader that told the exit code is ending the group itself. One that is reaped has given its number
            # back; what is left of its group is ended by the watcher, once the socket is closed.
            if self._process.returncode is None and not self._told():
                self._signal(signal.SIGKILL)
            self._status.cancel()
            self._control.close()
        await self._process.wait()

    async def _terminate(self) -> None:
        """Send TERM and give the group its time.

        A shell that is just forking its command can take the signal for itself alone: within the first second of a
        group's life it is sent twice.
        """
        young = asyncio.get_running_loop().time() - self._began < _YOUNG_SECONDS
        self._signal(signal.SIGTERM)
        if young:
            await asyncio.wait({self._status}, timeout=_AGAIN_SECONDS)
            if not self._status.done():
                self._signal(signal.SIGTERM)
        await asyncio.wait({self._status}, timeout=GRACE_SECONDS - _AGAIN_SECONDS)

    def _told(self) -> bool:
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
    command: Sequence[str], *, env: Mapping[str, str], cwd: str, stdin: int | None, stdout: int, stderr: int
) -> Group:
    """Start ``command``, whose first item is the absolute path of a program.

    ``stdin`` is a pipe to read from (None: nothing), ``stdout`` and ``stderr`` are pipes to write to; the caller
    closes its copies. Raise OSError if no process can be made. If the start is cancelled, whatever has begun ends.
    """
    ours, theirs = socket.socketpair()
    _open.add(ours)
    try:
        ours.setblocking(False)  # noqa: FBT003 - the standard library takes no keyword
        process = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            _LEADER,
            "sh",
            "/dev/null" if stdin is None else f"/dev/fd/{stdin}",
            *command,
            stdin=theirs.fileno(),
            stdout=stdout,
            stderr=stderr,
            env=env,
            cwd=cwd,
            start_new_session=True,
            pass_fds=() if stdin is None else (stdin,),
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Group(process, ours)
