from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.domain.files import Trace
from orchestrator.domain.pipeline import Isolation
from orchestrator.executors.process import ProcessExecutor
from orchestrator.ports.executor import Cancelled, Crashed, Failed, Succeeded
from tests.unit.executors.helpers import FakeTools, Recorder, attempt, wait_until
from tests.unit.executors.process_tools import fork

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

HERE = "tests.unit.executors.process_tools"
GRACE = 0.1


@contextlib.asynccontextmanager
async def running(
    max_workers: int = 2, registry: str = "registry", tools: FakeTools | None = None
) -> AsyncIterator[ProcessExecutor]:
    executor = ProcessExecutor(
        tools=tools, registry_factory=f"{HERE}:{registry}", max_workers=max_workers, grace_seconds=GRACE
    )
    try:
        yield executor
    finally:
        await executor.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[ProcessExecutor]:
    """Return an executor with two workers that many tests use: starting some for each would take most of the time."""
    executor = ProcessExecutor(registry_factory=f"{HERE}:registry", max_workers=2, grace_seconds=GRACE)
    yield executor
    asyncio.run(executor.close())


async def one(executor: ProcessExecutor, tool: str, recorder: Recorder | None = None, **options: Any) -> Any:
    parameters = options.pop("parameters", {})
    recorder = recorder or Recorder()
    item = attempt(tool, parameters, isolation=Isolation.PROCESS, **options)
    executor.start(item, recorder)
    return await recorder.outcome(item.task_id)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def text_of(mark: Path) -> str:
    await wait_until(lambda: mark.exists() and mark.read_text(), f"{mark.name}")
    return mark.read_text()


# What a worker does


async def test_plain_and_async_functions_run_in_a_kept_process_of_their_own() -> None:
    async with running(max_workers=1) as executor:
        assert await one(executor, "add", parameters={"x": 1, "y": 2}) == Succeeded(3)
        assert await one(executor, "add_async", parameters={"x": 1, "y": 2}) == Succeeded(3)
        first, second = (await one(executor, "who")).value, (await one(executor, "who")).value
    assert first == second
    assert first["pid"] != os.getpid()
    assert first["group"] == first["session"] != os.getsid(0)


async def test_progress_states_and_log_lines_come_back_while_it_runs(
    shared: ProcessExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()
    outcome = await one(shared, "told", recorder, number=3, saved={"row": 0})
    told = [{"row": 0}, {"row": 1}, "e1", 3, "e1/t", {"who": "world"}]
    assert outcome == Succeeded(told, Trace(inputs=True))
    assert recorder.progress == [(1, 2, "half")]
    assert recorder.states == [{"row": 1}]
    (record,) = [item for item in caplog.records if item.name == "orchestrator.task"]
    assert record.getMessage() == "line 1"
    assert record.levelno == logging.WARNING
    assert [getattr(record, name) for name in ("execution_id", "task_id", "attempt")] == ["e1", "t", 3]


@pytest.mark.parametrize(
    ("how", "kind", "retryable"),
    [
        ("exception", "ValueError", True),
        ("task error", "http_404", False),
        ("sys.exit", "SystemExit", True),
        ("interrupt", "KeyboardInterrupt", True),
        ("recursion", "RecursionError", True),
    ],
)
async def test_what_a_task_raises_fails_its_attempt(
    shared: ProcessExecutor, how: str, kind: str, retryable: bool
) -> None:
    outcome = await one(shared, "fail", parameters={"how": how})
    assert isinstance(outcome, Failed)
    assert (outcome.error.kind, outcome.error.retryable) == (kind, retryable)
    assert "worker.py" not in outcome.error.trace
    assert await one(shared, "add", parameters={"x": 1, "y": 1}) == Succeeded(2)


async def test_sys_exit_in_an_async_function_fails_its_attempt(shared: ProcessExecutor) -> None:
    outcome = await one(shared, "leave_async")
    assert isinstance(outcome, Failed)
    assert outcome.error.kind == "SystemExit"


@pytest.mark.parametrize(
    ("tool", "text"),
    [("unpicklable", "cannot leave"), ("unreadable", "cannot be read"), ("save_unpicklable", "cannot leave")],
)
async def test_what_cannot_leave_the_process_fails_the_attempt(shared: ProcessExecutor, tool: str, text: str) -> None:
    outcome = await one(shared, tool)
    assert isinstance(outcome, Failed)
    assert (outcome.error.kind, outcome.error.retryable) == ("unstorable", False)
    assert text in outcome.error.message
    assert await one(shared, "add", parameters={"x": 1, "y": 1}) == Succeeded(2)


async def test_what_cannot_enter_the_process_fails_the_attempt(shared: ProcessExecutor) -> None:
    outcome = await one(shared, "add", parameters={"x": lambda: 1})
    assert isinstance(outcome, Failed)
    assert outcome.error.kind == "unstorable"


async def test_large_values_go_in_and_out(shared: ProcessExecutor) -> None:
    data = b"x" * 20_000_000
    assert await one(shared, "big", parameters={"size": len(data)}) == Succeeded(data)
    outcome = await one(shared, "add", parameters={"x": "x" * 20_000_000, "y": "y"})
    assert len(outcome.value) == 20_000_001


async def test_the_next_attempt_finds_folder_environment_signals_and_path_as_they_were(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ORCHESTRATOR_TEST", "inherited")
    monkeypatch.syspath_prepend(str(tmp_path))
    async with running(max_workers=1) as executor:
        pid = (await one(executor, "wander")).value
        there = (await one(executor, "look_around")).value
        assert there[:4] == [pid, str(Path.cwd()), None, "inherited"]
        assert str(tmp_path) in there[4]
        before = time.monotonic()
        await one(executor, "nap", parameters={"seconds": 30}, timeout=0.05)
        assert time.monotonic() - before < 1  # SIGTERM is heard again


async def test_a_worker_with_threads_left_behind_is_not_used_again() -> None:
    async with running(max_workers=1) as executor:
        pid = (await one(executor, "litter")).value
        assert (await one(executor, "who")).value["pid"] != pid


async def test_a_task_that_forks_ends_once(shared: ProcessExecutor) -> None:
    recorder = Recorder()
    assert await one(shared, fork.__name__, recorder) == Succeeded("the parent")
    await asyncio.sleep(0.05)
    assert len(recorder.ends) == 1


async def test_an_unknown_tool_is_looked_for_in_the_module_it_was_defined_in() -> None:
    def here() -> None: ...

    here.__module__ = "__main__"
    async with running() as executor:
        outcome = await one(executor, "here")
        assert isinstance(outcome, Failed)
        assert outcome.error.message == "no tool 'here'"
    async with running(tools=FakeTools({"here": here})) as executor:
        outcome = await one(executor, "here")
        assert isinstance(outcome, Failed)
        assert outcome.error.kind == "tool"
        assert "move it into a module" in outcome.error.message


# Crashes


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ("exit", "exit code 7"),
        ("kill", "SIGKILL"),
        ("abort", "SIGABRT"),
        ("segfault", "SIGSEGV"),
        ("guard too", "with its guard"),
        ("guard", "with its guard"),
    ],
)
async def test_a_worker_that_dies_takes_only_its_own_attempt_with_it(
    shared: ProcessExecutor, how: str, text: str
) -> None:
    recorder = Recorder()
    shared.start(attempt("nap", {"seconds": 0.4}, task="neighbour"), recorder)
    outcome = await one(shared, "die", recorder, parameters={"how": how})
    assert isinstance(outcome, Crashed)
    assert text in outcome.reason
    assert await one(shared, "add", recorder, task="next", parameters={"x": 1, "y": 1}) == Succeeded(2)
    assert await recorder.outcome("neighbour") == Succeeded("rested")


async def test_kills_in_the_middle_of_messages_never_hurt_a_neighbour() -> None:
    recorder = Recorder()
    async with running(max_workers=3) as executor:
        executor.start(attempt("flood", {"size": 300_000}, task="neighbour"), recorder)
        for number in range(8):
            victim = (await one(executor, "who", recorder, task=f"who{number}")).value["pid"]
            executor.start(attempt("flood", {"size": 5_000_000}, task=f"victim{number}"), recorder)
            await asyncio.sleep(0.02 + number * 0.003)
            os.kill(victim, signal.SIGKILL)
            assert isinstance(await recorder.outcome(f"victim{number}"), Crashed)
            recorder.states.clear()
            await wait_until(lambda: recorder.states, "a sign of the neighbour")
        assert not any(task == "neighbour" for task, _, _ in recorder.ends)


@pytest.mark.parametrize(("registry", "text"), [("broken_registry", "no tools today"), ("dying_registry", "code 9")])
async def test_workers_that_do_not_start_crash_each_waiting_attempt_once(registry: str, text: str) -> None:
    recorder = Recorder()
    async with running(registry=registry) as executor:
        for number in range(3):
            executor.start(attempt("who", task=f"t{number}"), recorder)
        for number in range(3):
            outcome = await recorder.outcome(f"t{number}")
            assert isinstance(outcome, Crashed)
            assert outcome.reason.startswith("a worker did not start")
            assert text in outcome.reason


async def test_an_idle_worker_that_is_killed_is_replaced_and_crashes_nothing() -> None:
    async with running(max_workers=1) as executor:
        pid = (await one(executor, "who")).value["pid"]
        os.kill(pid, signal.SIGKILL)
        # The attempt may still be handed to the dying worker; it never began there, so it did not crash.
        assert (await one(executor, "who")).value["pid"] != pid


# Timeouts and cancelling


@pytest.mark.parametrize("tool", ["nap", "deaf", "swallowing"])
@pytest.mark.parametrize("way", ["timeout", "idle", "cancel", "close"])
async def test_timeout_cancel_and_close_really_end_the_process(tool: str, way: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    recorder = Recorder()
    async with running(max_workers=1) as executor:
        await one(executor, "who", recorder, task="warm up")
        timeout, idle = (0.15 if way == limit else None for limit in ("timeout", "idle"))
        item = attempt(tool, {"seconds": 30, "mark": str(mark)}, timeout=timeout, idle_timeout=idle)
        executor.start(item, recorder)
        pid = int(await text_of(mark))
        asked = time.monotonic()
        if way == "cancel":
            executor.cancel(item)
            executor.cancel(item)
        elif way == "close":
            await executor.close()
        outcome = await recorder.outcome()
        assert time.monotonic() - asked < 0.15 + GRACE + 1
        assert not alive(pid)
        if way in ("timeout", "idle"):
            assert isinstance(outcome, Failed)
            assert outcome.error.kind == way
        else:
            assert outcome == Cancelled()
    assert len(recorder.ends) == 2


async def test_a_process_that_tells_something_is_not_idle(shared: ProcessExecutor) -> None:
    found = await one(shared, "telling", parameters={"seconds": 0.6}, idle_timeout=0.5)
    assert found == Succeeded("told")


async def test_sigterm_lets_finally_blocks_run_and_save(shared: ProcessExecutor, tmp_path: Path) -> None:
    recorder = Recorder()
    outcome = await one(shared, "nap_async", parameters={"seconds": 30, "mark": str(tmp_path / "m")}, timeout=0.1)
    assert isinstance(outcome, Failed)
    assert (tmp_path / "m").read_text() == "cleaned up"
    await one(shared, "polite", recorder, timeout=0.1)
    assert recorder.states == [{"cancelled": True}]


async def test_a_waiting_attempt_is_cancelled_without_running(tmp_path: Path) -> None:
    recorder = Recorder()
    async with running(max_workers=1) as executor:
        executor.start(attempt("nap", {"seconds": 0.3}, task="first"), recorder)
        waiting = attempt("nap", {"seconds": 0, "mark": str(tmp_path / "ran")}, task="second", timeout=0.01)
        executor.start(waiting, recorder)
        executor.cancel(waiting)
        assert await recorder.outcome("second") == Cancelled()
        assert await recorder.outcome("first") == Succeeded("rested")
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="sessions of their own are only found through /proc")
@pytest.mark.parametrize("session", [False, True])
async def test_what_a_task_started_ends_with_it(session: bool, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    recorder = Recorder()
    async with running() as executor:
        item = attempt("family", {"mark": str(mark), "session": session})
        executor.start(item, recorder)
        pids = [int(pid) for pid in (await text_of(mark)).split()]
        executor.cancel(item)
        await recorder.outcome()
        assert [pid for pid in pids if alive(pid)] == []


# The end of the orchestrator


async def test_workers_and_what_they_started_die_with_a_killed_orchestrator(tmp_path: Path) -> None:
    script = tmp_path / "leader.py"
    script.write_text(
        textwrap.dedent(f"""
        import asyncio
        from tests.unit.executors.test_process import HERE, running
        from tests.unit.executors.helpers import Recorder, attempt

        async def main():
            async with running(max_workers=4) as executor:
                executor.start(attempt("family", {{"mark": {str(tmp_path / "a")!r}, "session": False}}), Recorder())
                executor.start(attempt("family", {{"mark": {str(tmp_path / "b")!r}, "session": True}}), Recorder())
                executor.start(attempt("native_hang", {{"mark": {str(tmp_path / "c")!r}}}), Recorder())
                executor.start(attempt("deaf", {{"seconds": 60, "mark": {str(tmp_path / "d")!r}}}), Recorder())
                await asyncio.sleep(60)

        asyncio.run(main())
        """)
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path.cwd())])}
    leader = subprocess.Popen([sys.executable, str(script)], env=environment)
    pids = [int(pid) for name in "abcd" for pid in (await text_of(tmp_path / name)).split()]
    guards = [os.getpgid(pid) for pid in pids]
    assert all(alive(pid) for pid in pids)
    leader.kill()
    leader.wait()
    await wait_until(lambda: not any(alive(pid) for pid in [*pids, *guards]), "the end of them all", seconds=2)


async def test_ctrl_c_for_the_whole_group_leaves_workers_alone() -> None:
    async with running(max_workers=1) as executor:
        pid = (await one(executor, "who")).value["pid"]
        assert os.getpgid(pid) != os.getpgid(0)
        os.killpg(os.getpgid(pid), signal.SIGINT)
        await asyncio.sleep(0.1)
        assert (await one(executor, "who")).value["pid"] == pid


def test_a_script_without_main_guard_is_not_run_again_in_workers(tmp_path: Path) -> None:
    script = tmp_path / "unguarded.py"
    script.write_text(
        textwrap.dedent(f"""
        import asyncio
        from tests.unit.executors.test_process import one, running
        open({str(tmp_path / "ran")!r}, "a").write("once ")

        async def main():
            async with running() as executor:
                print(await one(executor, "add", parameters={{"x": 1, "y": 2}}))

        asyncio.run(main())
        """)
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path.cwd())])}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True)
    assert "Succeeded(value=3," in done.stdout
    assert (tmp_path / "ran").read_text() == "once "


# Leaks


async def test_nothing_is_left_after_close() -> None:
    files, threads = len(os.listdir("/dev/fd")), threading.active_count()  # noqa: PTH208
    recorder = Recorder()
    async with running(max_workers=3) as executor:
        pids = set()
        for number in range(6):
            pids.add((await one(executor, "who", task=f"t{number}")).value["pid"])
        for number in range(4):
            await one(executor, "die", parameters={"how": "kill"}, task=f"d{number}")
        executor.start(attempt("nap", {"seconds": 30}, task="long"), recorder)
    assert await recorder.outcome("long") == Cancelled()
    await executor.close()
    with pytest.raises(RuntimeError, match="closed"):
        executor.start(attempt("who"), recorder)
    assert not any(alive(pid) for pid in pids)
    assert threading.active_count() == threads
    assert len(os.listdir("/dev/fd")) == files  # noqa: PTH208


async def test_an_executor_never_used_closes() -> None:
    async with running() as executor:
        executor.cancel(attempt("add"))
