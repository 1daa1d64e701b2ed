"""A run that meets the limits of its machine is alive or resumable afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.chaos

WIDE = """
id: wide
steps:
{steps}
"""
STEP = """  - id: s{number}
    tool: shell
    parameters: {{command: [sh, -c, "sleep 0.05; echo {number} >> ran"]}}
"""


def orchestrator(folder: Path, *arguments: str, descriptors: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the program, with so few file descriptors if given."""
    command = [sys.executable, "-m", "orchestrator", *arguments]
    if descriptors:
        command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=90
    )


def test_a_run_out_of_file_descriptors_can_be_resumed(tmp_path: Path) -> None:
    count = 24
    steps = "".join(STEP.format(number=number) for number in range(count))
    (tmp_path / "pipeline.yaml").write_text(WIDE.format(steps=steps))
    first = orchestrator(tmp_path, "run", "pipeline.yaml", "--execution-id", "e", descriptors=40)
    assert "Traceback" not in first.stderr, first.stderr
    assert first.returncode != 0, "40 descriptors are enough for 24 commands at once: the test shows nothing"
    for _ in range(4):
        if orchestrator(tmp_path, "resume", "e", "-q").returncode == 0:
            break
    ran = (tmp_path / "ran").read_text().split()
    assert set(ran) == {str(number) for number in range(count)}


def test_a_step_that_forks_much_leaves_nothing_behind(tmp_path: Path) -> None:
    mark = f"8{os.getpid()}.25"
    script = f"for i in $(seq 200); do sleep {mark} & done; echo started"
    (tmp_path / "pipeline.yaml").write_text(
        f"id: forks\nsteps:\n  - id: s\n    tool: shell\n    parameters: {{command: [sh, -c, '{script}']}}\n"
    )
    done = orchestrator(tmp_path, "run", "pipeline.yaml")
    assert done.returncode == 0, done.stderr
    end = time.monotonic() + 5
    while (left := _running(mark)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not left


def _running(mark: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = process.read_bytes().split(b"\0")
        except OSError:
            continue
        if arguments[:2] == [b"sleep", mark.encode()]:
            found.append(process.parent.name)
    return found
