"""The short form of ``python -m chaos faults``, ``powercut`` and ``bitflips``."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from chaos.client import Forks
from chaos.faults import STAGES, lab_in, sweeps_of
from chaos.files import Fault
from chaos.preload import library
from chaos.sweeps import Sweep, sweep_all
from chaos.trials import default_base
from tests.faults.commands import ROOT

pytestmark = pytest.mark.chaos

STEP = 17
"""Every so-manieth call is struck; another one each day would be nice, but a test must not change by itself.

The shortest sweep has some 70 calls: four of them are struck whichever is the first.
"""


@pytest.mark.parametrize("kind", Fault.KINDS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_file_call_that_goes_wrong_loses_nothing(stage: str, kind: str) -> None:
    if stage.startswith("libc") and library() is None:
        pytest.skip("no C compiler here: the calls of libc cannot be met")
    first = 1 + (len(stage) + 2 * len(kind)) % STEP  # so that the kinds strike different calls
    sweep = Sweep(stage, kind, STEP, first)
    shared = sweeps_of([sweep], time.monotonic() + 100)
    sweep_all(shared, [partial(lab_in, default_base())])
    assert not shared.failures, "\n".join(shared.failures)
    assert sweep.last is not None, "the sweep did not reach its end"
    assert sweep.struck > 3


def chaos(tmp_path: Path, *arguments: str) -> dict[str, dict[str, int]]:
    """Run a campaign in a process of its own (it changes how files are opened there), and return its outcome."""
    answer = tmp_path / "outcome.json"
    command = [sys.executable, "-m", "chaos", *arguments, "--json", str(answer)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    outcome: dict[str, dict[str, int]] = json.loads(answer.read_text())
    return outcome


def test_a_power_cut_after_any_operation_loses_nothing_that_was_told(tmp_path: Path) -> None:
    outcome = chaos(tmp_path, "powercut", "--seeds", "1", "--resumed", "0.03")
    assert outcome["tried"]["power cuts, durability full"] > 400
    assert outcome["tried"]["resumed to the end after a cut"] > 3


def test_a_power_cut_damages_nothing_where_less_was_asked_for(tmp_path: Path) -> None:
    chaos(tmp_path, "powercut", "--durability", "process", "--seeds", "1", "--step", "3", "--resumed", "0.03")


def test_a_flipped_bit_is_noticed_or_harmless(tmp_path: Path) -> None:
    outcome = chaos(tmp_path, "bitflips", "--sample", "400", "--jobs", "1")
    assert outcome["notes"]["closed: complained about"] > 50


def test_the_fork_server_of_the_trials_ends_with_them() -> None:
    with Forks() as forks:
        assert not forks.orphans(0.0)
