"""In a terminal: what is drawn, Ctrl-C once and twice, the terminal that goes away."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pexpect
import pytest

from tests.e2e.cli_helpers import Program, plain, wait_until

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def end_of(child: Any) -> tuple[int, str]:
    """Wait for the end; return the exit code (as a shell reports it) and what came since the last match."""
    child.expect(pexpect.EOF)
    text = child.before
    child.close()
    code = child.exitstatus if child.exitstatus is not None else 128 + (child.signalstatus or 0)
    return code, plain(text or "")


def test_running_steps_are_drawn_and_ctrl_c_stops_gracefully(program: Program) -> None:
    child = program.terminal("run", "slow.yaml", "-i", "seconds=2", "--execution-id", "t")
    child.expect(r"execution .*t.*: slow, 3 steps")
    child.expect("✓.* before")
    child.expect("work")
    child.expect(r"1 of 4 \(25 %\), attempt|1 of 4 \(25 %\), working \?\[31m")
    child.expect("1/3 done · 1 running")
    child.sendintr()
    child.expect(r"stopping: waiting up to 30 s for 1 running step \(press Ctrl-C again to leave at once\)")
    code, rest = end_of(child)
    assert code == 130
    assert "✓ work" in rest  # it was let finish
    assert "execution t was stopped; go on with: orchestrator resume t" in rest
    child = program.terminal("resume", "t", NO_COLOR="1")
    child.expect("plan: reused 2 · to run 1")
    child.expect(r"execution t: completed, 3 of 3 steps done in")
    assert end_of(child)[0] == 0
    assert program.effects() == ["before", "slow 1", "after"]
    child = program.terminal("list", NO_COLOR="1")
    code, text = end_of(child)
    assert code == 0
    assert re.search(r"t +slow +completed +3/3", text)


def test_ctrl_c_twice_leaves_at_once(program: Program) -> None:
    child = program.terminal("run", "slow.yaml", "--execution-id", "t")
    child.expect("1/3 done · 1 running")
    child.sendintr()
    child.expect("stopping: waiting")
    child.sendintr()
    code, rest = end_of(child)
    assert code == 130
    assert "left at once; go on with: orchestrator resume t" in rest
    assert "plan: reused 1 · rerun 1 (work: attempt 1 was interrupted)" in program("resume", "t", "--dry-run").stdout


def test_a_terminal_that_goes_away_stops_the_run_resumably(program: Program) -> None:
    child: Any = program.terminal("run", "slow.yaml", "--execution-id", "t", "--grace", "0")
    child.expect("1/3 done · 1 running")
    child.ptyproc.fileobj.close()  # the terminal is gone: SIGHUP, and every write fails
    wait_until(lambda: not child.ptyproc.isalive(), "the run ends")
    assert child.ptyproc.exitstatus == 143
    child.closed = child.ptyproc.closed = True
    assert "stopped" in program("list").stdout
    program("resume", "t", "--skip", "work")


def test_under_nohup_a_hangup_changes_nothing(program: Program) -> None:
    process = program.start(
        "run", "slow.yaml", "-i", "seconds=0.5", preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "work: started" in line:
            process.send_signal(signal.SIGHUP)
    assert process.wait(30) == 0
    process.communicate()
