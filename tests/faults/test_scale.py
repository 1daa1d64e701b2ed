"""The short form of ``python -m chaos scale``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.test_faults import chaos

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("shape", ["wide", "deep", "join", "history"])
def test_thousands_are_run_killed_and_resumed(tmp_path: Path, shape: str) -> None:
    outcome = chaos(tmp_path, "scale", "--size", "2500", "--only", shape)
    assert sum(outcome["tried"].values()) > 2500
