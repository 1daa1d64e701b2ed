from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import logging
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.domain.files import Trace
from orchestrator.errors import LeaseLost, TaskError, UnstorableValue
from orchestrator.executors.local import LocalExecutor
from orchestrator.ports.context import TaskContext
from orchestrator.ports.executor import Cancelled, Failed, Succeeded
from tests.unit.executors.helpers import FakeTools, Recorder, attempt, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

GRACE = 0.08


@contextlib.asynccontextmanager
async def running(*, max_threads: int = 4, **functions: Callable[..., Any]) -> AsyncIterator[LocalExecutor]:
    executor = LocalExecutor(FakeTools(functions), snapshot=copy.deepcopy, max_threads=max_threads, grace_seconds=GRACE)
    try:
        yield executor
    finally:
        await executor.close()


async def outcome_of(function: Callable[..., Any], **options: Any) -> Any:
    recorder = Recorder()
    async with running(tool=function) as executor:
        executor.start(attempt("tool", **options), recorder)
        return await recorder.outcome()


async def failure_of(function: Callable[..., Any], **options: Any) -> Any:
    outcome = await outcome_of(function, **options)
    assert isinstance(outcome, Failed), outcome
    return outcome.error


def async_and_plain(body: Callable[[], Any]) -> list[Callable[[], Any]]:
    async def on_loop() -> Any:
        return body()

    def in_thread() -> Any:
        return body()

    return [on_loop, in_thread]


def raising(error: BaseException) -> Callable[[], Any]:
    def body() -> Any:
        raise error

    return body


# Results


async def test_an_async_function_runs_on_the_loop_and_its_value_is_reported() -> None:
    async def tool(x: int) -> tuple[int, bool]:
        return x + 1, threading.current_thread() is threading.main_thread()

    assert await outcome_of(tool, parameters={"x": 1}) == Succeeded((2, True))


async def test_a_plain_function_runs_in_a_daemon_thread() -> None:
    def tool(x: int) -> tuple[int, bool]:
        return x + 1, threading.current_thread().daemon

    assert await outcome_of(tool, parameters={"x": 1}) == Succeeded((2, True))


async def test_finished_is_never_called_from_inside_start() -> None:
    recorder = Recorder()
    async with running() as executor:
        executor.start(attempt("unknown"), recorder)
        assert recorder.ends == []
        outcome = await recorder.outcome()
    assert isinstance(outcome, Failed)
    assert (outcome.error.kind, outcome.error.retryable) == ("tool", False)


async def test_wrong_parameters_fail_with_their_kind() -> None:
    async def tool(x: int) -> int:
        return x

    error = await failure_of(tool, parameters={"y": 1})
    assert (error.kind, error.retryable) == ("parameters", False)


async def test_arguments_that_do_not_fit_the_function_fail_the_attempt() -> None:
    async def tool(x: int) -> int:
        return x

    assert (await failure_of(tool)).kind == "TypeError"


async def test_a_plain_function_that_returns_a_coroutine_is_told_to_be_async() -> None:
    async def inner() -> None: ...

    error = await failure_of(lambda: inner())  # noqa: PLW0108
    assert error.kind == "tool"
    assert "declare it async" in error.message


async def test_idle_threads_are_used_again_and_no_more_than_the_limit_are_made() -> None:
    names: set[str] = set()
    busy = threading.Semaphore(0)

    def tool() -> None:
        names.add(threading.current_thread().name)
        busy.acquire()

    recorder = Recorder()
    async with running(tool=tool, max_threads=2) as executor:
        for number in range(1, 7):
            executor.start(attempt("tool", task=f"t{number}"), recorder)
        await wait_until(lambda: len(names) == 2, "both threads")
        busy.release(6)
        await wait_until(lambda: len(recorder.ends) == 6, "all ends")
        for number in range(7, 10):
            busy.release()
            executor.start(attempt("tool", task=f"t{number}"), recorder)
            await recorder.outcome(f"t{number}")
    assert len(names) == 2


# Failures


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ValueError("bad"), "ValueError", "bad"),
        (KeyError(), "KeyError", "KeyError"),
        (SystemExit(3), "SystemExit", "sys.exit(3)"),
        (KeyboardInterrupt(), "KeyboardInterrupt", "without being asked"),
        (GeneratorExit(), "GeneratorExit", "without being asked"),
        (asyncio.CancelledError("me"), "CancelledError", "me"),
        (LeaseLost("another", 2), "LeaseLost", "another"),
        (MemoryError(), "MemoryError", "MemoryError"),
        (TimeoutError("slow"), "TimeoutError", "slow"),
    ],
)
async def test_whatever_a_task_raises_fails_its_attempt_only(error: BaseException, kind: str, text: str) -> None:
    for tool in async_and_plain(raising(error)):
        info = await failure_of(tool)
        assert info.kind == kind
        assert text in info.message
        assert info.retryable
        assert len(gc.get_referrers(error)) < 20


async def test_a_task_error_keeps_its_kind_and_retryability() -> None:
    for tool in async_and_plain(raising(TaskError("gone", kind="http_404", retryable=False))):
        info = await failure_of(tool)
        assert (info.kind, info.message, info.retryable) == ("http_404", "gone", False)


async def test_endless_recursion_fails_with_the_last_frames() -> None:
    def down(n: int = 0) -> int:
        return down(n + 1)

    for tool in async_and_plain(down):
        info = await failure_of(tool)
        assert info.kind == "RecursionError"
        assert "frames before" in info.trace
        assert len(info.trace) <= 8192


async def test_the_trace_shows_the_tools_frames_and_none_of_ours() -> None:
    def inner() -> None:
        try:
            raise KeyError("deep")
        except KeyError as error:
            raise ValueError("shallow") from error

    for tool in async_and_plain(inner):
        trace = (await failure_of(tool)).trace
        assert "in inner" in trace
        assert "executors/local.py" not in trace
        assert trace.endswith("ValueError: shallow\ncaused by KeyError: 'deep'")


async def test_a_huge_message_is_cut_and_says_so() -> None:
    info = await failure_of(async_and_plain(raising(ValueError("é" * 100_000)))[0])
    assert len(info.message.encode()) <= 4096
    assert "(cut, 200000 bytes in all)" in info.message
    assert len(info.trace.encode()) <= 8192


async def test_an_error_that_cannot_be_printed_still_fails_the_attempt() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise ZeroDivisionError

    info = await failure_of(async_and_plain(raising(Mute()))[0])
    assert info.kind == "Mute"
    assert "ZeroDivisionError" in info.message


async def test_a_message_with_lone_surrogates_can_be_encoded() -> None:
    info = await failure_of(async_and_plain(raising(ValueError("\udc80")))[0])
    info.message.encode()
    info.trace.encode()


async def test_loss_of_ownership_is_no_failure_of_the_task() -> None:
    def plain() -> None:
        try:
            raise LeaseLost("e1", 3)
        except Exception:  # noqa: BLE001 - what a careless task does
            pass

    for tool in async_and_plain(plain):
        assert await outcome_of(tool) == Cancelled()


async def test_the_loop_survives_sys_exit_in_a_neighbour() -> None:
    async def leave() -> None:
        sys.exit(1)

    async def stay() -> str:
        await asyncio.sleep(0.02)
        return "here"

    recorder = Recorder()
    async with running(leave=leave, stay=stay) as executor:
        executor.start(attempt("stay", task="a"), recorder)
        executor.start(attempt("leave", task="b"), recorder)
        assert await recorder.outcome("a") == Succeeded("here")
        assert isinstance(await recorder.outcome("b"), Failed)


# Timeouts and cancelling


async def asleep() -> None:
    await asyncio.sleep(30)


async def stubborn() -> None:
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)


async def hopeless() -> str:
    for _ in range(20):
        with contextlib.suppress(BaseException):
            await asyncio.sleep(0.02)
    return "late"


async def shielded() -> None:
    await asyncio.shield(asyncio.sleep(0.05))


async def swallows() -> str:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(30)
    return "a result nobody may see"


async def cleans_up() -> None:
    try:
        await asyncio.sleep(30)
    finally:
        await asyncio.sleep(0.02)


def cooperative(context: TaskContext) -> str:
    while not context.cancelled:
        time.sleep(0.002)
    context.save({"at": 7})
    return "a result nobody may see"


HANG = threading.Event()


def hung() -> str:
    HANG.wait(30)
    return "late"


def hung_with_context(context: TaskContext) -> str:
    HANG.wait(30)
    context.progress(1, 1, "late")
    context.save("late")
    return "late"


# Python itself complains when it at last collects a coroutine that cannot even be closed.
HOPELESS = pytest.param(hopeless, marks=pytest.mark.filterwarnings("ignore:.*hopeless"))
ENDLESS = [asleep, stubborn, HOPELESS, shielded, swallows, cleans_up, cooperative, hung, hung_with_context]


@pytest.mark.parametrize("tool", ENDLESS)
async def test_a_timeout_ends_every_kind_of_task_once(tool: Callable[..., Any]) -> None:
    HANG.clear()
    recorder = Recorder()
    async with running(tool=tool) as executor:
        before = time.monotonic()
        executor.start(attempt("tool", timeout=0.03), recorder)
        outcome = await recorder.outcome()
        assert time.monotonic() - before < 0.03 + GRACE + 1
        assert isinstance(outcome, Failed)
        assert (outcome.error.kind, outcome.error.retryable) == ("timeout", True)
        HANG.set()
        await asyncio.sleep(0.05)
    assert len(recorder.ends) == 1
    assert recorder.progress == []
    assert recorder.states == ([{"at": 7}] if tool is cooperative else [])


@pytest.mark.parametrize("tool", ENDLESS)
async def test_an_attempt_that_says_nothing_is_ended_as_idle(tool: Callable[..., Any]) -> None:
    HANG.clear()
    recorder = Recorder()
    async with running(tool=tool) as executor:
        executor.start(attempt("tool", timeout=20, idle_timeout=0.03), recorder)
        outcome = await recorder.outcome()
        assert isinstance(outcome, Failed)
        assert (outcome.error.kind, outcome.error.retryable) == ("idle", True)
        HANG.set()


@pytest.mark.parametrize("way", ["progress", "save"])
async def test_an_attempt_that_tells_something_is_not_idle(way: str) -> None:
    async def getting_on(context: TaskContext) -> str:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            context.progress(1) if way == "progress" else context.save(1)
            await asyncio.sleep(0)
        return "done"

    recorder = Recorder()
    async with running(tool=getting_on) as executor:
        executor.start(attempt("tool", idle_timeout=0.4), recorder)
        assert await recorder.outcome() == Succeeded("done")


@pytest.mark.parametrize("tool", ENDLESS)
@pytest.mark.parametrize("pause", [None, 0.02], ids=["at once", "later"])
async def test_cancel_ends_every_kind_of_task_once(tool: Callable[..., Any], pause: float | None) -> None:
    HANG.clear()
    recorder = Recorder()
    async with running(tool=tool) as executor:
        running_attempt = attempt("tool", timeout=20)
        executor.start(running_attempt, recorder)
        if pause:
            await asyncio.sleep(pause)
        executor.cancel(running_attempt)
        executor.cancel(running_attempt)
        assert recorder.ends == [] or tool is cooperative
        assert await recorder.outcome() == Cancelled()
        executor.cancel(running_attempt)
        HANG.set()
        await asyncio.sleep(0.05)
    assert len(recorder.ends) == 1


@pytest.mark.parametrize("tool", ENDLESS)
async def test_close_ends_what_runs(tool: Callable[..., Any]) -> None:
    HANG.clear()
    recorder = Recorder()
    async with running(tool=tool) as executor:
        executor.start(attempt("tool"), recorder)
        await asyncio.sleep(0.02)
        before = time.monotonic()
        await executor.close()
        assert time.monotonic() - before < GRACE + 1
        assert [outcome for _, _, outcome in recorder.ends] == [Cancelled()]
        with pytest.raises(RuntimeError, match="closed"):
            executor.start(attempt("tool"), recorder)
    HANG.set()


async def test_a_stubborn_coroutine_is_really_gone_after_the_grace() -> None:
    recorder = Recorder()
    async with running(tool=stubborn) as executor:
        executor.start(attempt("tool", timeout=0.01), recorder)
        await recorder.outcome()
        await wait_until(lambda: not any(task.get_name() == "t" for task in asyncio.all_tasks()), "end of its task")


async def test_an_abandoned_thread_makes_room_for_another() -> None:
    HANG.clear()
    recorder = Recorder()
    async with running(hung=hung, quick=lambda: 1, max_threads=1) as executor:
        executor.start(attempt("hung", task="a", timeout=0.05), recorder)
        executor.start(attempt("quick", task="b"), recorder)
        assert await recorder.outcome("b") == Succeeded(1)
        assert isinstance(await recorder.outcome("a"), Failed)
        HANG.set()


async def test_waiting_for_a_thread_does_not_count_as_time() -> None:
    recorder = Recorder()
    async with running(slow=lambda: time.sleep(0.1), quick=lambda: 1, max_threads=1) as executor:
        executor.start(attempt("slow", task="a"), recorder)
        executor.start(attempt("quick", task="b", timeout=0.05), recorder)
        assert await recorder.outcome("b") == Succeeded(1)


async def test_cancel_while_waiting_for_a_thread_never_calls_the_function() -> None:
    called: list[int] = []
    recorder = Recorder()
    async with running(slow=lambda: time.sleep(0.1), other=lambda: called.append(1), max_threads=1) as executor:
        executor.start(attempt("slow", task="a"), recorder)
        waiting = attempt("other", task="b")
        executor.start(waiting, recorder)
        executor.cancel(waiting)
        assert await recorder.outcome("b") == Cancelled()
        assert await recorder.outcome("a") == Succeeded(None)
        executor.start(attempt("slow", task="c"), recorder)
        assert await recorder.outcome("c") == Succeeded(None)
    assert called == []


async def test_many_ends_and_cancels_at_once_report_each_attempt_once() -> None:
    def plain() -> None:
        time.sleep(0.001)

    async def on_loop() -> None:
        await asyncio.sleep(0.001)

    recorder = Recorder()
    async with running(plain=plain, on_loop=on_loop, max_threads=8) as executor:
        attempts = [
            attempt("plain" if number % 2 else "on_loop", number=number, timeout=0.0005 * (number % 5) or None)
            for number in range(400)
        ]
        for item in attempts:
            executor.start(item, recorder)
        await asyncio.sleep(0.003)
        for item in attempts[::3]:
            executor.cancel(item)
        await wait_until(lambda: len(recorder.ends) >= 400, "all ends")
        await asyncio.sleep(0.05)
    assert sorted(number for _, number, _ in recorder.ends) == list(range(400))


# The context


async def test_the_context_tells_who_the_attempt_is() -> None:
    async def tool(context: TaskContext) -> Any:
        assert isinstance(context, TaskContext)
        return [context.execution_id, context.task_id, context.attempt, context.idempotency_key, dict(context.inputs)]

    assert await outcome_of(tool, number=3) == Succeeded(["e1", "t", 3, "e1/t", {"who": "world"}], Trace(inputs=True))


async def test_progress_and_saved_states_are_reported_as_they_are_now() -> None:
    state = {"rows": [1]}

    def tool(context: TaskContext) -> Any:
        before = context.saved
        context.progress(1, 4, "x" * 5000)
        context.save(state)
        state["rows"].append(2)
        again = context.saved
        again["rows"].append(3)
        return before, context.saved

    recorder = Recorder()
    async with running(tool=tool) as executor:
        executor.start(attempt("tool", saved={"rows": []}), recorder)
        assert await recorder.outcome() == Succeeded(({"rows": []}, {"rows": [1]}))
    assert recorder.states == [{"rows": [1]}]
    assert recorder.progress == [(1, 4, "x" * 1024)]


async def test_a_state_that_cannot_be_kept_fails_the_attempt_with_its_path() -> None:
    def refuse(value: Any) -> Any:
        raise UnstorableValue("rows[0]", type(value).__name__, "cannot be stored")

    async def tool(context: TaskContext) -> None:
        context.save({1, 2})

    recorder = Recorder()
    executor = LocalExecutor(FakeTools({"tool": tool}), snapshot=refuse)
    executor.start(attempt("tool"), recorder)
    outcome = await recorder.outcome()
    await executor.close()
    assert isinstance(outcome, Failed)
    assert (outcome.error.kind, outcome.error.retryable) == ("unstorable", False)
    assert "rows[0]" in outcome.error.message


async def test_log_lines_tell_which_attempt_they_come_from(caplog: pytest.LogCaptureFixture) -> None:
    async def tool(context: TaskContext) -> None:
        context.logger.info("reading %s", "a.csv")
        context.logger.debug("too quiet")

    with caplog.at_level(logging.INFO, "orchestrator.task"):
        await outcome_of(tool, number=2)
    (record,) = caplog.records
    assert record.name == "orchestrator.task"
    assert record.getMessage() == "reading a.csv"
    assert [getattr(record, name) for name in ("execution_id", "task_id", "attempt")] == ["e1", "t", 2]


# Leaks


def open_files() -> int:
    return len(os.listdir("/proc/self/fd" if os.path.exists("/proc/self/fd") else "/dev/fd"))  # noqa: PTH208, PTH110


async def test_nothing_is_left_after_close() -> None:
    threads, files, tasks = threading.active_count(), open_files(), len(asyncio.all_tasks())
    recorder = Recorder()
    async with running(plain=lambda: time.sleep(0.001), asleep=asleep, max_threads=8) as executor:
        for number in range(200):
            executor.start(attempt("plain", task=f"p{number}", timeout=60), recorder)
            executor.start(attempt("asleep", task=f"a{number}", timeout=60), recorder)
        await wait_until(lambda: len(recorder.ends) == 200, "the plain ones")
    assert len(recorder.ends) == 400
    await wait_until(lambda: threading.active_count() == threads, "the old number of threads")
    assert open_files() == files
    assert len(asyncio.all_tasks()) == tasks


def test_an_executor_serves_one_loop_after_another() -> None:
    executor = LocalExecutor(FakeTools({"quick": lambda: 1, "hung": hung}), snapshot=copy.deepcopy)
    HANG.clear()

    async def once(tool: str) -> Any:
        recorder = Recorder()
        executor.start(attempt(tool, task=tool), recorder)
        return await recorder.outcome() if tool == "quick" else None

    async def quick() -> Any:
        recorder = Recorder()
        executor.start(attempt("quick"), recorder)
        return await recorder.outcome()

    assert asyncio.run(quick()) == Succeeded(1)
    asyncio.run(once("hung"))  # its loop ends under it
    assert asyncio.run(quick()) == Succeeded(1)
    asyncio.run(executor.close())
    HANG.set()
