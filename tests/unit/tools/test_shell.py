from __future__ import annotations

import asyncio
import logging
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import TaskError
from orchestrator.tools import ToolRegistry, process
from orchestrator.tools.output import Kept

Call = Callable[..., Any]
PYTHON = sys.executable


@pytest.fixture
def run(call: Call) -> Call:
    async def running(**parameters: Any) -> Any:
        return await call("shell", None, **parameters)

    return running


@pytest.fixture
def failing(run: Call) -> Call:
    async def failed(**parameters: Any) -> TaskError:
        with pytest.raises(TaskError) as caught:
            await run(**parameters)
        return caught.value

    return failed


def alive(mark: str) -> list[str]:
    """The command lines of living processes that hold the mark, but for zombies."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or folder.name == str(os.getpid()):
            continue
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if mark in line and state != "Z":
            found.append(line)
    return found


def wait_until(condition: Callable[[], bool], seconds: float, description: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {description}"
        time.sleep(0.01)


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """A number of seconds to sleep that no other test sleeps."""
    return f"1000.{abs(hash(str(tmp_path))) % 10**9}"


# Results ----------------------------------------------------------------------------------------------------------


async def test_a_command(run: Call) -> None:
    assert await run(command=["echo", "a b", "$HOME", "*"]) == {
        "exit_code": 0,
        "stdout": "a b $HOME *\n",
        "stderr": "",
        "truncated": False,
    }


@pytest.mark.parametrize(
    "argument",
    ["; rm -rf /", "$(id)", "`id`", "a\nb", "-n", "--", "'", '"', "\\", "&& id", "| id", "> x", "ä€", "%s", ""],
)
async def test_arguments_are_handed_over_as_they_are(run: Call, project: Path, argument: str) -> None:
    program = "import sys; sys.stdout.write(repr(sys.argv[1:]))"
    result = await run(command=[PYTHON, "-c", program, argument, "end"])
    assert result["stdout"] == repr([argument, "end"])
    assert list(project.iterdir()) == []


async def test_numbers_are_arguments_too(run: Call) -> None:
    assert (await run(command=["echo", 5, 1.5]))["stdout"] == "5 1.5\n"


async def test_a_shell_when_asked_for(run: Call) -> None:
    result = await run(command="echo $((1 + 1)) | tr 2 3; echo $VALUE >&2", shell=True, env={"VALUE": "$(id); x"})
    assert (result["stdout"], result["stderr"]) == ("3\n", "$(id); x\n")


@pytest.mark.parametrize("name", ["exit", "eval", "cd", "export", ":"])
async def test_builtins_of_the_shell_are_no_programs(failing: Call, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert (await failing(command=[name, "0"])).kind == "not_found"


@pytest.mark.parametrize(
    ("parameters", "kind", "text"),
    [
        ({"command": "ls -l"}, "parameters", "`shell: true` has a text run by the shell"),
        ({"command": ["ls"], "shell": True}, "parameters", "the command is one text"),
        ({"command": []}, "parameters", "the command is empty"),
        ({"command": "", "shell": True}, "parameters", "the command is empty"),
        ({"command": ["echo", True]}, "parameters", "command[1]"),
        ({"command": ["echo", None]}, "parameters", "command[1]"),
        ({"command": ["echo", "a\0b"]}, "parameters", "NUL"),
        ({"command": ["true"], "env": {"A": "\0"}}, "parameters", "NUL"),
        ({"command": ["true"], "env": {"A=B": "x"}}, "parameters", "cannot name a variable"),
        ({"command": ["true"], "env": {"": "x"}}, "parameters", "cannot name a variable"),
        ({"command": ["true"], "cwd": ".."}, "path", "leads outside"),
        ({"command": ["true"], "cwd": "none"}, "not_found", "no folder 'none'"),
        ({"command": ["no-such-program"]}, "not_found", "there is no program 'no-such-program'"),
        ({"command": ["./none"]}, "not_found", "there is no program './none'"),
        ({"command": ["local"]}, "not_found", "in PATH; the one in the folder is './local'"),
        ({"command": ["./plain"]}, "not_found", "there is no program './plain'"),
        ({"command": [""]}, "not_found", "there is no program ''"),
        ({"command": ["x" * 300_000]}, "not_found", "there is no program"),
        ({"command": ["echo", "x" * 300_000]}, "io", "cannot start"),
        ({"command": ["true"], "timeout": 5}, "parameters", "no parameter named 'timeout'"),
    ],
)
async def test_calls_that_cannot_be(
    failing: Call, project: Path, parameters: dict[str, Any], kind: str, text: str
) -> None:
    (project / "local").write_text("#!/bin/sh\n")
    (project / "local").chmod(0o755)
    (project / "plain").write_text("no program")
    error = await failing(**parameters)
    assert error.kind == kind
    assert text in str(error)


def test_mistakes_seen_at_compile_time(registry: ToolRegistry) -> None:
    def is_template(value: Any) -> bool:
        return isinstance(value, str) and "{{" in value

    def found(**parameters: Any) -> list[tuple[Any, ...]]:
        return [problem.path for problem in registry.check("shell", None, parameters, is_template)]

    assert found(command="ls -l") == [("command",)]
    assert found(command=[]) == [("command",)]
    assert found(command=["ls"], shell=True) == [("command",)]
    assert found(command=["ls", {"a": 1}]) == [("command", 1)]
    assert found(command="{{ command }}") == []
    assert found(command=["{{ a }}", 5]) == []
    assert found(command="ls {{ a }}", shell=True) == []
    assert found(command="ls", shell="{{ a }}") == []
    assert found() == [()]
    assert found(command=["curl", "-H", "X: {{ secrets.A }}", "{{secrets['a-b']}}"]) == [("command", 2), ("command", 3)]
    assert found(command="echo {{ secrets.A }}", shell=True) == [("command",)]
    assert found(command=["ls"], env={"A": "{{ secrets.A }}"}, input="{{ secrets.A }}") == []


async def test_an_exit_code_fails_the_step(failing: Call, run: Call) -> None:
    lines = "; ".join(f"echo line {number} >&2" for number in range(20))
    error = await failing(command=f"echo out; {lines}; exit 3", shell=True)
    assert (error.kind, error.retryable) == ("exit", True)
    assert str(error) == "sh ended with exit code 3: " + "\n".join(f"line {number}" for number in range(10, 20))
    assert str(await failing(command="echo only out; exit 1", shell=True)).endswith("code 1: only out")
    assert str(await failing(command=["false"])) == "false ended with exit code 1"
    result = await run(command="exit 3", shell=True, check=False)
    assert result["exit_code"] == 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, 137), (signal.SIGTERM, 143), (signal.SIGSEGV, 139)])
async def test_a_command_killed_by_a_signal(run: Call, number: int, code: int) -> None:
    result = await run(command=["sh", "-c", f"kill -{int(number)} $$"], check=False)
    assert (result["exit_code"], result["stderr"]) == (code, "")


async def test_a_command_that_kills_its_whole_group(run: Call) -> None:
    assert (await run(command=["sh", "-c", "kill -9 0"], check=False))["exit_code"] == 137
    assert (await run(command=["sh", "-c", "kill 0"], check=False))["exit_code"] == 143


async def test_the_environment(run: Call, make_context: Call, monkeypatch: pytest.MonkeyPatch, project: Path) -> None:
    monkeypatch.setenv("FROM_HERE", "here")
    monkeypatch.setenv("ORCHESTRATOR_SECRET_A", "for steps that name it only")
    context = make_context(task_id="load", execution_id="run-1", attempt=3)
    names = ["EXECUTION_ID", "TASK_ID", "ATTEMPT", "IDEMPOTENCY_KEY", "PROJECT"]
    text = " ".join(f"$ORCHESTRATOR_{name}" for name in names) + " $FROM_HERE $GIVEN $NUMBER$ORCHESTRATOR_SECRET_A"
    given = {"GIVEN": "x", "NUMBER": 5, "ORCHESTRATOR_TASK_ID": "forged"}
    result = await run(command=f"echo {text}", shell=True, env=given, using=context)
    assert result["stdout"] == f"run-1 load 3 run-1/load {project} here x 5\n"


async def test_the_working_folder(run: Call, project: Path) -> None:
    (project / "sub").mkdir()
    (project / "sub" / "script").write_text("#!/bin/sh\npwd -P; echo $0")
    (project / "sub" / "script").chmod(0o755)
    assert (await run(command=["pwd"]))["stdout"] == f"{project}\n"
    result = await run(command=["./script"], cwd="sub")
    assert result["stdout"] == f"{project}/sub\n{project}/sub/script\n"


@pytest.mark.parametrize("size", [0, 1, 100, 1_000_000])
async def test_standard_input(run: Call, size: int) -> None:
    assert (await run(command=["wc", "-c"], input="x" * size))["stdout"].strip() == str(size)


async def test_standard_input_that_nobody_reads(run: Call) -> None:
    assert (await run(command=["true"], input="x" * 10_000_000))["exit_code"] == 0
    assert (await run(command=["head", "-c", "3"], input="x" * 10_000_000))["stdout"] == "xxx"
    assert (await run(command=["cat"]))["stdout"] == ""


async def test_a_command_gets_no_descriptors_but_its_streams(run: Call) -> None:
    program = "import os; print(sorted(os.listdir('/proc/self/fd'), key=int)[:-1])"
    assert (await run(command=[PYTHON, "-c", program]))["stdout"] == "['0', '1', '2']\n"


async def test_signals_have_their_defaults(run: Call) -> None:
    program = "import signal as s; print([s.getsignal(n) == s.SIG_DFL for n in (s.SIGTERM, s.SIGHUP)])"
    assert (await run(command=[PYTHON, "-c", program]))["stdout"] == "[True, True]\n"


# Output -----------------------------------------------------------------------------------------------------------


async def test_output_is_kept_at_both_ends(run: Call) -> None:
    result = await run(command=["seq", "100000"], max_output=100)
    assert result["truncated"]
    assert result["stdout"].startswith("1\n2\n3\n")
    assert result["stdout"].endswith("\n99999\n100000\n")
    assert "... 588,795 bytes left out ..." in result["stdout"]
    assert len(result["stdout"]) < 200


async def test_a_flood_fills_neither_memory_nor_log(run: Call, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = await run(command="yes flood | head -c 300000000; echo end", shell=True, max_output=10_000)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 50_000  # KiB
    assert result["truncated"]
    assert result["stdout"].endswith("end\n")
    assert len(caplog.records) < 2100
    assert "says more than is logged" in caplog.text


async def test_output_without_an_end_of_line(run: Call, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    result = await run(command="head -c 100000 /dev/zero | tr '\\0' x", shell=True)
    assert result["stdout"] == "x" * 100_000
    assert all(len(record.getMessage()) <= 8192 for record in caplog.records)


async def test_output_that_is_no_text(run: Call) -> None:
    assert (await run(command=["printf", "a\\377b"]))["stdout"] == "a\ufffdb"


async def test_lines_go_to_the_log(run: Call, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await run(command="echo one; echo two >&2; printf three", shell=True)
    told = sorted((record.getMessage(), record.levelname) for record in caplog.records if record.name == "test.task")
    assert told == [("one", "INFO"), ("three", "INFO"), ("two", "WARNING")]


@pytest.mark.parametrize("limit", [0, 1, 2, 7, 100])
def test_what_is_kept_of_any_output(limit: int) -> None:
    data = bytes(range(65, 91)) * 2
    for size in (0, 1, limit, limit + 1, len(data)):
        for step in (1, 3, 100):
            kept = Kept(limit)
            for start in range(0, size, step):
                kept.add(data[start : min(start + step, size)])
            assert kept.truncated == (min(size, len(data)) > limit)
            text = kept.text()
            if kept.truncated:
                assert text.startswith(data[: limit // 2].decode())
                assert text.endswith(data[size - (limit - limit // 2) : size].decode())
                assert f"{size - limit:,} bytes left out" in text
            else:
                assert text == data[:size].decode()


# The end of the group ---------------------------------------------------------------------------------------------


async def test_what_a_command_leaves_behind_ends_with_it(run: Call, mark: str) -> None:
    result = await run(command=f"sleep {mark} & sleep {mark} >/dev/null 2>&1 & echo done", shell=True)
    assert result["stdout"] == "done\n"
    wait_until(lambda: not alive(mark), 1, "background processes end")


async def test_output_held_by_one_who_left_the_group_is_not_waited_for(run: Call, mark: str) -> None:
    started = time.monotonic()
    command = f"setsid sh -c 'echo $$ >pid; exec sleep {mark}' & until [ -s pid ]; do :; done; echo done"
    try:
        assert (await run(command=command, shell=True))["stdout"] == "done\n"
        assert time.monotonic() - started < 3
        assert alive(mark)  # a daemon with a session of its own lives on: documented
    finally:
        for pid in [line.split()[0] for line in subprocess.check_output(["pgrep", "-f", mark], text=True).splitlines()]:
            os.kill(int(pid), signal.SIGKILL)


COMMANDS = {
    "plain": "exec sleep {mark}",
    "grandchildren": "sleep {mark} & sleep {mark}",
    "deep": "sh -c 'sh -c \"sleep {mark} & sleep {mark}\" & sleep {mark}'",
    "deaf": "trap '' TERM INT HUP; sleep {mark} & sleep {mark}; sleep {mark}",
    "stopped": "sleep {mark} & kill -STOP $!; sleep {mark}",
}


@pytest.mark.parametrize("kind", COMMANDS)
async def test_a_cancelled_command_ends_with_all_its_descendants(run: Call, mark: str, kind: str) -> None:
    task = asyncio.ensure_future(run(command=COMMANDS[kind].format(mark=mark), shell=True))
    await asyncio.to_thread(wait_until, lambda: bool(alive(f"sleep {mark}")), 5, "the command runs")
    await asyncio.sleep(0.05)
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    took = time.monotonic() - started
    assert took < (3 if kind in ("deaf", "stopped") else 1)
    wait_until(lambda: not alive(mark), 1, "everything ended")


async def test_a_command_may_clean_up_when_cancelled(run: Call, project: Path) -> None:
    command = "trap 'echo cleaned >note; exit' TERM; echo ready >ready; while :; do sleep 0.01; done"
    task = asyncio.ensure_future(run(command=command, shell=True))
    await asyncio.to_thread(wait_until, (project / "ready").exists, 5, "the command runs")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (project / "note").read_text() == "cleaned\n"


async def test_a_second_cancellation_does_not_wait(run: Call, mark: str) -> None:
    task = asyncio.ensure_future(run(command=COMMANDS["deaf"].format(mark=mark), shell=True))
    await asyncio.to_thread(wait_until, lambda: bool(alive(f"sleep {mark}")), 5, "the command runs")
    started = time.monotonic()
    task.cancel()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - started < 1
    wait_until(lambda: not alive(mark), 1, "everything ended")


async def test_cancelled_at_any_moment_nothing_is_left(run: Call, mark: str) -> None:
    for step in range(25):
        task = asyncio.ensure_future(run(command=["sleep", mark], input="x"))
        await asyncio.sleep(step * 0.0004)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    wait_until(lambda: not alive(mark), 2, "everything ended")


async def test_a_leader_that_is_killed_takes_its_command_along(run: Call, mark: str) -> None:
    task = asyncio.ensure_future(run(command=["sleep", mark], check=False))
    await asyncio.to_thread(wait_until, lambda: any(line.startswith("/") for line in alive(mark)), 5, "it runs")
    pids = subprocess.check_output(["pgrep", "-f", mark], text=True).split()
    leader = next(pid for pid in pids if os.getpgid(int(pid)) == int(pid))
    os.kill(int(leader), signal.SIGKILL)
    assert (await asyncio.wait_for(task, 5))["exit_code"] == 137
    wait_until(lambda: not alive(mark), 2, "everything ended")


def children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


async def test_no_process_and_no_descriptor_is_left(run: Call) -> None:
    await run(command=["true"], input="x")
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names, not paths that are gone
    there = set(children())  # servers that other tests of this process use
    for _ in range(5):
        await run(command=["true"], input="x")
        await run(command=["false"], check=False)
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    assert set(children()) <= there


async def test_many_commands_at_once(run: Call) -> None:
    results = await asyncio.gather(*(run(command=["echo", number], input="x") for number in range(40)))
    assert [result["stdout"] for result in results] == [f"{number}\n" for number in range(40)]


ORCHESTRATOR = """
import asyncio, logging, os, signal, sys, time
from pathlib import Path
from orchestrator.tools import default_registry
class Context:
    execution_id = "e"; task_id = "t"; idempotency_key = "e/t"; attempt = 1; saved = None; cancelled = False
    inputs = {}; logger = logging.getLogger(); project = Path(sys.argv[1])
    def progress(self, *report): pass
    def save(self, state): pass
call = default_registry().resolve("shell", None)
async def main(commands, way=""):
    tasks = [asyncio.ensure_future(call.function(command, shell=True, context=Context())) for command in commands]
    await asyncio.sleep(0.3)
    if way == "fork" and os.fork() == 0:  # as a worker of a process pool is made
        print("forked", flush=True)
        time.sleep(30)
        os._exit(0)
    if way == "exit":
        os._exit(3)
    await asyncio.gather(*tasks)
"""


@pytest.mark.parametrize("way", ["kill", "fork"])
def test_when_the_orchestrator_is_killed_its_commands_end(project: Path, mark: str, way: str) -> None:
    commands = [command.format(mark=mark) for command in COMMANDS.values()]
    program = f"{ORCHESTRATOR}asyncio.run(main(sys.argv[2:], {way!r}))"
    command = [PYTHON, "-c", program, str(project), *commands]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as child:
        try:
            wait_until(lambda: sum(f"sleep {mark}" in line for line in alive(mark)) > 10, 20, "the commands run")
            if way == "fork":
                assert child.stdout is not None
                child.stdout.readline()
            child.kill()
            child.wait()
            wait_until(lambda: all(PYTHON in line for line in alive(mark)), 2, "everything ended")
        finally:
            if way == "fork":
                os.killpg(child.pid, signal.SIGKILL)


STARTING = f"""{ORCHESTRATOR}
for step in range(25):
    pid = os.fork()
    if pid == 0:
        asyncio.run(main([sys.argv[2]]))
    time.sleep(0.002 + step * 0.0007)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


def test_killed_at_any_moment_of_the_start_nothing_is_left(project: Path, mark: str) -> None:
    subprocess.run([PYTHON, "-c", STARTING, str(project), f"exec sleep {mark}"], check=True)
    wait_until(lambda: not alive(mark), 2, "everything ended")


def test_a_process_that_exits_takes_its_commands_along(project: Path, mark: str) -> None:
    program = f"{ORCHESTRATOR}asyncio.run(main(sys.argv[2:], 'exit'))"
    command = [PYTHON, "-c", program, str(project), f"sleep {mark}"]
    assert subprocess.run(command, check=False).returncode == 3
    wait_until(lambda: not alive(mark), 2, "everything ended")


def test_the_leader_script_is_plain_sh() -> None:
    for shell in ("/bin/sh", "/bin/bash", "/bin/dash"):
        if Path(shell).exists():
            assert subprocess.run([shell, "-n", "-c", process._LEADER], check=False).returncode == 0
    assert shlex.quote("x") == "x"
