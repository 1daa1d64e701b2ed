"""What a worker process does: take an attempt, run it, tell its end, take the next."""

from __future__ import annotations

import importlib
import logging
import os
import pickle
import signal
import socket
import sys
import threading
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from orchestrator.errors import TaskError, UnstorableValue
from orchestrator.executors.context import Context
from orchestrator.executors.failure import outcome_of
from orchestrator.executors.migration import migrated
from orchestrator.executors.traces import Notes, declares
from orchestrator.executors.wire import FrameBuffer, frame
from orchestrator.observe.lines import LINE_BYTES, TASK_LOGGER, cut
from orchestrator.ports.executor import Succeeded

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from orchestrator.ports.executor import Attempt, Outcome
    from orchestrator.ports.tools import ToolCall, Tools

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class _AskedToEnd(BaseException):
    """SIGTERM came: unwind, so that ``finally`` blocks run, and end the process."""


class _Channel:
    """The way back to the executor; a Reporter, so that the usual Context serves here too."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._in_main = False
        self._interrupted = False

    def send(self, *message: Any) -> None:
        data = frame(message)
        main = threading.current_thread() is threading.main_thread()
        self._in_main = self._in_main or main
        try:
            with self._lock:
                self._connection.sendall(data)
        finally:
            if main:
                self._in_main = False
        if main and self._interrupted:
            self._interrupted = False
            raise _AskedToEnd

    def interrupt(self) -> None:
        """Raise _AskedToEnd now, or after the message that the main thread is sending: it must not be torn."""
        if self._in_main:
            self._interrupted = True
        else:
            raise _AskedToEnd

    def finished(self, attempt: Attempt, outcome: Outcome) -> None:
        raise NotImplementedError  # the worker's loop tells the end

    def progressed(self, attempt: Attempt, done: float | None, total: float | None, message: str) -> None:
        del attempt
        self.send("progressed", done, total, message)

    def saved(self, attempt: Attempt, state: Any) -> None:
        del attempt
        self.send("saved", state)


class _LogsToExecutor(logging.Handler):
    """Sends the steps' log records to the orchestrator, where their handlers are."""

    def __init__(self, channel: _Channel) -> None:
        super().__init__()
        self._channel = channel

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = cut(self.format(record), LINE_BYTES)
            self._channel.send("logged", record.levelno, text, record.created)
        except Exception:  # noqa: BLE001 - logging never disturbs the task
            self.handleError(record)


class Worker:
    """Runs one attempt after another in the main thread of this process."""

    def __init__(self, connection: socket.socket, setup: dict[str, Any]) -> None:
        self._channel = _Channel(connection)
        self._snapshot: Callable[[Any], Any] = named(setup["snapshot"]) if setup["snapshot"] else copy_by_pickle
        self._tools: Tools = named(setup["registry"])()
        self._context: Context | None = None
        self._ending = False
        self._pid = os.getpid()
        logging.getLogger(TASK_LOGGER).addHandler(_LogsToExecutor(self._channel))
        self._orders: SimpleQueue[bytes] = SimpleQueue()
        threading.Thread(target=self._listen, args=(connection,), name="orchestrator-worker", daemon=True).start()
        self._threads = threading.active_count()

    def serve(self) -> None:
        """Run attempts until SIGTERM comes or the executor is gone."""
        with suppress(_AskedToEnd):
            _set_signals(self._asked_to_end)
            folder, environment = os.getcwd(), dict(os.environ)  # noqa: PTH109
            self._channel.send("ready")
            while True:
                outcome = self._run(self._orders.get())
                _set_signals(self._asked_to_end)
                os.chdir(folder)
                if dict(os.environ) != environment:
                    os.environ.clear()
                    os.environ.update(environment)
                self._tell(outcome, clean=threading.active_count() <= self._threads)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()

    def _listen(self, connection: socket.socket) -> None:
        frames = FrameBuffer()
        with suppress(OSError):
            while data := connection.recv(1 << 20):
                for body in frames.feed(data):
                    self._orders.put(body)
        os._exit(0)  # the executor is gone; the guard sees to what this process started

    def _run(self, order: bytes) -> Outcome:
        execution_id = ""
        try:
            self._channel.send("begun")
            attempt, module, level = pickle.loads(order)  # noqa: S301 - from the executor that started us
            execution_id = attempt.execution_id
            logging.getLogger(TASK_LOGGER).setLevel(level)
            outcome = self._call(attempt, module)
            if self._ending:  # the task swallowed it
                raise _AskedToEnd
            return outcome
        except _AskedToEnd:
            raise
        except BaseException as error:  # noqa: BLE001
            if self._ending:
                raise _AskedToEnd from None
            return outcome_of(error, execution_id)
        finally:
            if os.getpid() != self._pid:  # the task forked, and this is its child
                os._exit(0)
            if self._context is not None:
                self._context.end()
                self._context = None

    def _call(self, attempt: Attempt, module: str | None) -> Succeeded:
        call = self._resolve(attempt, module)
        arguments = dict(attempt.parameters) if call.validate is None else call.validate(attempt.parameters)
        context = None
        if call.context_parameter is not None:
            context = self._context = arguments[call.context_parameter] = Context(
                attempt, self._channel, self._snapshot
            )
            if attempt.idle_timeout is not None:
                context.on_alive = partial(self._channel.send, "alive")
        function = _plain(call.function) if call.is_async else call.function
        self._channel.send("called")
        notes = Notes(attempt.project) if declares(attempt) else None
        if notes is not None:
            notes.before(attempt)
        if context is not None:
            context.notes = notes
            if attempt.migrate is not None:
                context.begin_with(migrated(attempt, self._snapshot))
        value = function(**arguments)
        if context is not None:
            notes = context.notes
        return Succeeded(value, None if notes is None else notes.after(attempt))

    def _resolve(self, attempt: Attempt, module: str | None) -> ToolCall:
        try:
            return self._tools.resolve(attempt.tool, attempt.action)
        except TaskError as error:
            if module is None:
                raise
            if module == "__main__":
                raise TaskError(
                    f"the tool {attempt.tool!r} is defined in the script that was started, which worker processes do "
                    "not run again; move it into a module of its own, or run the step without isolation: process",
                    kind="tool",
                    retryable=False,
                ) from error
            importlib.import_module(module)  # its decorators register the tool
            return self._tools.resolve(attempt.tool, attempt.action)

    def _tell(self, outcome: Outcome, *, clean: bool) -> None:
        try:
            self._channel.send("finished", outcome, clean)
        except (OSError, _AskedToEnd):
            raise
        except Exception as error:  # noqa: BLE001 - pickle raises all kinds
            value = outcome.value if isinstance(outcome, Succeeded) else outcome
            problem = UnstorableValue("", type(value).__name__, f"cannot leave the worker process: {error}")
            self._channel.send("finished", outcome_of(problem, ""), clean)

    def _asked_to_end(self, number: int, stack: FrameType | None) -> None:
        del number, stack
        if not self._ending:
            self._ending = True
            if self._context is not None:
                self._context.ask_to_end()
            self._channel.interrupt()


def serve(connection: socket.socket, setup: dict[str, Any]) -> None:
    """Run attempts for the executor at the other end; returns when asked to end."""
    try:
        worker = Worker(connection, setup)
    except Exception as error:  # noqa: BLE001 - say it where a person looks, then end
        connection.sendall(frame(("broken", f"{type(error).__name__}: {error}")))
        return
    worker.serve()


def named(path: str) -> Any:
    """Return the object that ``module:name`` names."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return an async function as a plain one that runs a loop of its own."""
    import asyncio  # a third of a worker's start-up, which plain functions need not wait for

    return lambda **arguments: asyncio.run(function(**arguments))


def copy_by_pickle(state: Any) -> Any:
    """Copy a state; raise UnstorableValue if it cannot be pickled."""
    try:
        return pickle.loads(pickle.dumps(state, pickle.HIGHEST_PROTOCOL))  # noqa: S301 - our own bytes
    except Exception as error:
        raise UnstorableValue("", type(state).__name__, f"cannot leave the worker process: {error}") from error


def _set_signals(asked_to_end: Callable[[int, FrameType | None], None]) -> None:
    """Take signals as the worker wants them, whatever the last task did to them.

    A Ctrl-C is the orchestrator's affair. It is caught by a function, not ignored, because a process started by the
    task would inherit that it is ignored.
    """
    for number in _SIGNALS:
        signal.signal(number, asked_to_end if number == signal.SIGTERM else _pass)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def _pass(number: int, stack: FrameType | None) -> None:
    del number, stack
