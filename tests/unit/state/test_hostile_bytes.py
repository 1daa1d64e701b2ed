"""Whatever the bytes are: loading them imports, executes and starts nothing, and stays within its memory."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.state.values import EXAMPLES


@pytest.mark.skipif(sys.platform != "linux", reason="limits its own address space")
def test_ten_thousand_mutants_and_bombs_do_nothing() -> None:
    count = str(max(EXAMPLES, 3400))  # of three kinds each
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
