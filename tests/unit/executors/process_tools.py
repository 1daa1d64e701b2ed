"""Tools for worker processes: what a task can do to its process."""

from __future__ import annotations

import asyncio
import ctypes
import faulthandler
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.errors import TaskError
from orchestrator.ports.context import TaskContext
from tests.unit.executors.helpers import FakeTools


def add(x: int, y: int) -> int:
    return x + y


async def add_async(x: int, y: int) -> int:
    await asyncio.sleep(0.001)
    return x + y


def who() -> dict[str, Any]:
    return {"pid": os.getpid(), "group": os.getpgid(0), "session": os.getsid(0)}


def told(context: TaskContext) -> Any:
    context.progress(1, 2, "half")
    before = context.saved
    context.save({"row": 1})
    context.logger.warning("line %d", 1)
    return [before, context.saved, context.execution_id, context.attempt, context.idempotency_key, dict(context.inputs)]


def fail(how: str) -> None:
    if how == "exception":
        raise ValueError("bad")
    if how == "task error":
        raise TaskError("gone", kind="http_404", retryable=False)
    if how == "sys.exit":
        sys.exit(3)
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "recursion":
        fail_deeply()


def fail_deeply() -> None:
    fail_deeply()


async def leave_async() -> None:
    sys.exit(3)


def die(how: str) -> None:
    faulthandler.disable()
    if how == "exit":
        os._exit(7)
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "abort":
        os.abort()
    if how == "segfault":
        ctypes.string_at(0)
    if how == "guard too":
        os.killpg(0, signal.SIGKILL)
    if how == "guard":
        os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(30)


def nap(seconds: float, mark: str | None = None) -> str:
    if mark:
        Path(mark).write_text(str(os.getpid()))
    time.sleep(seconds)
    return "rested"


async def nap_async(seconds: float, mark: str) -> None:
    try:
        await asyncio.sleep(seconds)
    finally:
        Path(mark).write_text("cleaned up")


def telling(context: TaskContext, seconds: float) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        context.progress(1)
        time.sleep(0.001)
    return "told"


def deaf(seconds: float, mark: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(mark).write_text(str(os.getpid()))
    time.sleep(seconds)


def swallowing(seconds: float, mark: str) -> None:
    Path(mark).write_text(str(os.getpid()))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(BaseException):
            time.sleep(0.05)


def polite(context: TaskContext) -> None:
    try:
        while True:
            context.progress(1)
    finally:
        context.save({"cancelled": context.cancelled})


def native_hang(mark: str) -> None:
    """Hold the interpreter lock for ever."""
    Path(mark).write_text(str(os.getpid()))
    ctypes.PyDLL(None).sleep(60)


def family(mark: str, *, session: bool) -> None:
    """Start a grandchild that ignores SIGTERM, and wait."""
    code = "import signal,time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=session)
    Path(mark).write_text(f"{os.getpid()} {child.pid}")
    time.sleep(60)


def big(size: int) -> bytes:
    return b"x" * size


def flood(size: int, context: TaskContext) -> None:
    """Save large states without end, so that a kill hits the middle of a message."""
    while True:
        context.save(b"x" * size)


def unpicklable() -> Any:
    return lambda: None


class Odd:
    def __reduce__(self) -> Any:
        return (_no_odd, ())


def _no_odd() -> None:
    raise ZeroDivisionError("cannot be read")


def unreadable() -> Any:
    return Odd()


def save_unpicklable(context: TaskContext) -> None:
    context.save(lambda: None)


def litter() -> int:
    """Leave a thread, another folder, another environment and deaf signal handlers behind."""
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    return os.getpid()


def wander() -> int:
    os.chdir("/")
    os.environ["LEFT_BEHIND"] = "yes"
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return os.getpid()


def look_around() -> Any:
    return [os.getpid(), os.getcwd(), os.environ.get("LEFT_BEHIND"), os.environ.get("ORCHESTRATOR_TEST"), sys.path]  # noqa: PTH109


def fork() -> str:
    if os.fork() == 0:
        return "the child"
    time.sleep(0.05)
    return "the parent"


def use_files(context: TaskContext, read: list[str], write: list[str], remove: list[str] = []) -> Any:  # noqa: B006
    for name in read:
        context.reads(name)
    for name in write:
        context.writes(name)
        (context.project / name).write_text(f"written by {context.attempt}")
    for path in remove:
        context.writes(context.project / path)
        (context.project / path).unlink()
    return [(context.project / name).exists() for name in read]


async def use_files_async(context: TaskContext, read: list[str], write: list[str], remove: list[str] = []) -> Any:  # noqa: B006
    return use_files(context, read, write, remove)


def use_files_unsaid(project: str, write: list[str]) -> str:
    for name in write:
        Path(project, name).write_text("written")
    return "done"


async def use_files_unsaid_async(project: str, write: list[str]) -> str:
    return use_files_unsaid(project, write)


def going_on(context: TaskContext) -> Any:
    return [context.saved, threading.current_thread().name]


async def going_on_async(context: TaskContext) -> Any:
    return [context.saved, threading.current_thread().name]


FUNCTIONS = {
    function.__name__: function
    for function in (
        add, add_async, who, told, fail, leave_async, die, nap, nap_async, telling, deaf, swallowing, polite,
        native_hang, family, big, flood, unpicklable, unreadable, save_unpicklable, litter, wander, look_around, fork,
        use_files, use_files_async, use_files_unsaid, use_files_unsaid_async, going_on, going_on_async,
    )
}  # fmt: skip


def registry() -> FakeTools:
    return FakeTools(FUNCTIONS)


def broken_registry() -> FakeTools:
    raise RuntimeError("no tools today")


def dying_registry() -> FakeTools:
    os._exit(9)
