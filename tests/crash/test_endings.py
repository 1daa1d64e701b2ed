"""A process killed in a later stage: who goes on with it repeats at most what was cut off, and loses nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

PIPELINE = """
id: p
steps:
  - {id: a, tool: shell, parameters: {command: [sh, -c, "echo a >> log"]},
     undo: {tool: shell, parameters: {command: [sh, -c, "echo undo-a >> log"]}}}
  - {id: b, tool: shell, dependencies: a, parameters: {command: [sh, -c, "echo b >> log; exit 1"]}}
finally:
  - {id: clean, tool: shell, parameters: {command: [sh, -c, "echo clean >> log"]}}
"""


def run(folder: Path, *words: str, kill_at: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ORCHESTRATOR_CRASH_POINT": kill_at}
    command = [sys.executable, "-m", "orchestrator", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("kill_at", "log"),
    [
        ("after_effect:2", "a b undo-a undo-a clean"),
        ("before_finish:1", "a b undo-a clean clean"),
    ],
)
def test_a_kill_in_a_stage(tmp_path: Path, kill_at: str, log: str) -> None:
    (tmp_path / "p.yaml").write_text(PIPELINE)
    killed = run(tmp_path, "run", "p.yaml", "--execution-id", "e", kill_at=kill_at)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = run(tmp_path, "resume", "e")
    assert resumed.returncode == 1, resumed.stderr
    assert "step 'b' failed" in resumed.stderr
    assert (tmp_path / "log").read_text().split() == log.split()
    verified = run(tmp_path, "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
