"""What attempts read and write, what is declared, and the state they begin with after a change."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import hashlib
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.domain.files import FileSeen, Trace, missing
from orchestrator.domain.pipeline import DeclaredFiles, Isolation
from orchestrator.executors import traces
from orchestrator.executors.local import LocalExecutor
from orchestrator.executors.process import ProcessExecutor
from orchestrator.ports.executor import Cancelled, Failed, Succeeded
from orchestrator.tools import looking
from orchestrator.tools.looking import ProjectFiles
from tests.unit.executors.helpers import FakeTools, Recorder, attempt, wait_until
from tests.unit.executors.process_tools import FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from orchestrator.ports.executor import Attempt, Outcome

    Run = Callable[..., Awaitable[Outcome]]

HERE = "tests.unit.executors.migrations"


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessExecutor]:
    executor = ProcessExecutor(
        registry_factory="tests.unit.executors.process_tools:registry", max_workers=1, grace_seconds=0.1
    )
    yield executor
    asyncio.run(executor.close())


@pytest.fixture(params=["thread", "loop", "process", "loop in a process"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def run(way: str, tmp_path: Path, request: pytest.FixtureRequest) -> Run:
    """Run a tool of ``process_tools`` in one of the four ways that there are."""

    async def running(tool: str, parameters: dict[str, Any] | None = None, **about: Any) -> Outcome:
        name = f"{tool}_async" if "loop" in way else tool
        item: Attempt = dataclasses.replace(attempt(name, parameters), project=tmp_path, **about)
        recorder = Recorder()
        if "process" in way:
            item = dataclasses.replace(item, isolation=Isolation.PROCESS)
            request.getfixturevalue("processes").start(item, recorder)
            return await recorder.outcome()
        executor = LocalExecutor(FakeTools(FUNCTIONS), snapshot=copy.deepcopy, max_threads=2, grace_seconds=0.1)
        async with contextlib.aclosing(_Closing(executor)):
            executor.start(item, recorder)
            return await recorder.outcome()

    return running


class _Closing:
    def __init__(self, executor: LocalExecutor) -> None:
        self.aclose = executor.close


def seen(project: Path, name: str) -> FileSeen:
    path = project / name
    about = path.stat()
    return FileSeen(name, about.st_size, about.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())


def trace_of(outcome: Outcome) -> Trace:
    assert isinstance(outcome, Succeeded), outcome
    assert outcome.trace is not None
    return outcome.trace


def failure(outcome: Outcome) -> tuple[str, str]:
    assert isinstance(outcome, Failed), outcome
    return outcome.error.kind, outcome.error.message


async def test_what_a_function_says_it_reads_and_writes(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a,b")
    (tmp_path / "old.csv").write_text("old")
    before = seen(tmp_path, "in.csv")
    outcome = await run(
        "use_files", {"read": ["in.csv", "none.csv", "in.csv"], "write": ["in.csv", "out.csv"], "remove": ["old.csv"]}
    )
    trace = trace_of(outcome)
    assert trace.reads == (before, missing("none.csv"))
    assert trace.writes == (seen(tmp_path, "in.csv"), seen(tmp_path, "out.csv"), missing("old.csv"))
    assert not trace.inputs


async def test_what_a_step_declares_is_looked_at_before_and_after(run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("b.csv", "a.csv", "c.txt", ".hidden.csv"):
        (tmp_path / "data" / name).write_text(name)
    files = DeclaredFiles(reads=("data/*.csv", "none/*.csv", "model.bin"), writes=("out?.csv", "data/a.csv"))
    matched, none = (ProjectFiles().look(tmp_path, pattern) for pattern in files.reads[:2])
    before = (matched, seen(tmp_path, "data/a.csv"), seen(tmp_path, "data/b.csv"), none, missing("model.bin"))
    parameters = {"project": str(tmp_path), "write": ["out2.csv", "out1.csv", "data/a.csv"]}
    outcome = await run("use_files_unsaid", parameters, files=files)
    writes = tuple(seen(tmp_path, name) for name in ("out1.csv", "out2.csv", "data/a.csv"))
    assert outcome == Succeeded("done", Trace(before, writes))


async def test_declared_and_told_files_are_noted_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a,b")
    files = DeclaredFiles(reads=("in.csv",), writes=("out.csv",))
    outcome = await run("use_files", {"read": ["./in.csv"], "write": ["out.csv"]}, files=files)
    assert trace_of(outcome) == Trace((seen(tmp_path, "in.csv"),), (seen(tmp_path, "out.csv"),))


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ("out.csv", "it writes 'out.csv', but has ended with no such file in the folder '{project}'"),
        ("out/*.csv", "it writes 'out/*.csv', but has ended with no file that matches it in the folder '{project}'"),
        (
            "made",
            "no such file in the folder '{project}'; a folder is there, but files are looked for: declare `made/*`",
        ),
        ("a\0b", r"it writes 'a\x00b', but has ended with no such file"),
    ],
)
async def test_a_declared_file_that_is_not_there_fails_the_attempt(
    declared: str, says: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "made").mkdir()
    files = DeclaredFiles(writes=("here.csv", declared))
    parameters = {"project": str(tmp_path), "write": ["here.csv"]}
    kind, message = failure(await run("use_files_unsaid", parameters, files=files))
    assert kind == "missing_output"
    assert says.format(project=tmp_path) in message


async def test_too_many_files_fail_the_attempt_before_the_tool_is_called(run: Run, tmp_path: Path) -> None:
    for number in range(looking.MOST_MATCHES + 1):
        os.link(tmp_path / "0", tmp_path / str(number)) if number else (tmp_path / "0").touch()
    parameters = {"project": str(tmp_path), "write": ["out.csv"]}
    kind, message = failure(await run("use_files_unsaid", parameters, files=DeclaredFiles(reads=("*",))))
    assert kind == "too_large"
    assert message.startswith("'*' matches more than 10,000 files")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("way", ["thread", "loop"], indirect=True)
async def test_an_attempt_that_is_cancelled_while_its_files_are_looked_at_never_begins(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, leave = threading.Event(), threading.Event()

    def look(project: Path, path: str) -> FileSeen:
        del project
        entered.set()
        assert leave.wait(10)
        return missing(path)

    monkeypatch.setattr(traces._files, "look", look)
    tool = "use_files_unsaid_async" if way == "loop" else "use_files_unsaid"
    parameters = {"project": str(tmp_path), "write": ["out.csv"]}
    item = dataclasses.replace(attempt(tool, parameters), project=tmp_path, files=DeclaredFiles(reads=("in.csv",)))
    executor = LocalExecutor(FakeTools(FUNCTIONS), snapshot=copy.deepcopy, max_threads=2, grace_seconds=0.1)
    recorder = Recorder()
    executor.start(item, recorder)
    await wait_until(entered.is_set, "look at the file")  # the loop itself is free
    executor.cancel(item)
    assert await recorder.outcome() == Cancelled()
    leave.set()
    await executor.close()
    assert not (tmp_path / "out.csv").exists()


async def test_without_files_there_is_no_trace(run: Run) -> None:
    outcome = await run("going_on", saved={"row": 1})
    assert isinstance(outcome, Succeeded)
    assert outcome.trace is None


# The state of an earlier definition


@pytest.mark.parametrize(
    ("migrate", "saved", "expected"),
    [
        ("by_kind", {"row": 1}, ["saved", {"row": 1}]),
        ("by_kind", None, None),
        ("to_nothing", {"row": 1}, None),
    ],
)
async def test_a_saved_state_is_migrated_before_the_tool_sees_it(
    migrate: str, saved: Any, expected: Any, run: Run
) -> None:
    outcome = await run("going_on", saved=saved, migrate=f"{HERE}:{migrate}")
    assert isinstance(outcome, Succeeded)
    assert outcome.value[0] == expected


async def test_it_is_migrated_in_the_tools_own_thread_and_from_a_copy(run: Run) -> None:
    saved = {"row": 1}
    outcome = await run("going_on", saved=saved, migrate=f"{HERE}:to_rows")
    assert isinstance(outcome, Succeeded)
    state, thread = outcome.value
    assert state == {"rows": 1, "thread": thread}
    assert saved == {"row": 1}


@pytest.mark.parametrize(
    ("migrate", "says"),
    [
        (f"{HERE}:failing", "KeyError: 'column'"),
        (f"{HERE}:leaving", "SystemExit: 3"),
        (f"{HERE}:waiting", "it is async, and has to be a plain function"),
        (f"{HERE}:taking_other_names", "unexpected keyword argument 'old'"),
        (f"{HERE}:none", f"module '{HERE}' has no function 'none'"),
        (f"{HERE}_none:f", "there is no module"),
        ("nonsense", "is written `package.module:function`"),
        (f"{HERE}:unstorable", "lock"),
    ],
)
async def test_a_state_that_cannot_be_migrated_fails_the_attempt(migrate: str, says: str, run: Run) -> None:
    kind, message = failure(await run("going_on", saved={"row": 1}, migrate=migrate))
    assert kind == "migrate"
    assert message.startswith(
        f"migrate: {migrate!r} could not make a saved state for the changed step of the old one: "
    )
    assert says in message


@pytest.mark.parametrize("way", ["thread"], indirect=True)
async def test_modules_that_may_not_be_called_do_not_migrate(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCHESTRATOR_ALLOW_MODULES", "elsewhere")
    kind, message = failure(await run("going_on", saved={"row": 1}, migrate=f"{HERE}:to_rows"))
    assert kind == "migrate"
    assert "may not be called" in message
