"""Whatever the bytes are: loading them imports, executes and starts nothing, and stays within its memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own address space")
def test_ten_thousand_mutants_and_bombs_do_nothing() -> None:
    count = os.environ.get("ORCHESTRATOR_EXAMPLES", "3400")  # times three kinds
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.state.hostile_child", count],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    values, errors, megabytes, *seen = done.stdout.strip().split("|")
    assert seen == []
    assert int(values) > 100
    assert int(errors) > 1000
    assert int(megabytes) < 100
