"""A for_each whose process is killed in its middle: a resume runs exactly what is missing, in real processes.

The same with 100,000 items is ``python -m benchmarks items``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SIZE = 2_002


def child(*arguments: str, expected: int = 0) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.child", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == expected, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
    return found


def test_a_resume_after_a_kill_at_the_half_runs_exactly_the_missing_items(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    child("half", "items", str(SIZE), url, expected=-9)
    child("resume", url, expected=-9)  # and again, at the first step of the resume
    rest = child("rest", url)
    assert rest["exact"]
    assert rest["planned"] >= rest["ran"] > SIZE // 2 - 64
    assert rest["again"] <= 64  # what was at work at one of the two kills
    assert rest["done"] == SIZE + 1
