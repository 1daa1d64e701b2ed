from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator as orc
from orchestrator.testing import replay, verbs

FILE = """
id: daily
steps:
  - id: fetch
    tool: python
    action: STEPS_MODULE:fetch
  - id: report
    tool: python
    action: STEPS_MODULE:report
    parameters: {rows: "{{ fetch.result }}"}
"""
STEPS = "def fetch():\n    return [1]\n\ndef report(rows, title='a'):\n    return title\n"


@pytest.fixture
async def recorded(request: pytest.FixtureRequest) -> str:
    module = request.node.name  # each test has its own: what was imported stays so
    Path(f"{module}.py").write_text(STEPS)
    Path("daily.yaml").write_text(FILE.replace("STEPS_MODULE", module))
    await orc.compile("daily.yaml").run(execution_id="monday")
    return "sqlite:///.orchestrator/store.db"


def files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file() and "cache" not in str(path)}


async def test_a_recorded_execution_tells_what_an_edit_reruns_and_nothing_changes(recorded: str) -> None:
    before = files()
    assert verbs(replay(recorded, "monday", "daily.yaml")) == {"fetch": "reuse", "report": "reuse"}
    edited = orc.Pipeline.from_yaml(
        Path("daily.yaml").read_text().replace('fetch.result }}"}', 'fetch.result }}", title: b}')
    )
    plan = replay(recorded, "monday", edited)
    assert verbs(plan) == {"fetch": "reuse", "report": "rerun"}
    assert "title" in plan.decisions[1].reason
    assert files() == before
    assert verbs(replay("sqlite:///.orchestrator/store.db", "monday", rerun=["fetch"])) == {
        "fetch": "rerun",
        "report": "rerun?",
    }


async def test_an_exported_file_is_enough(recorded: str) -> None:
    exporting = [sys.executable, "-m", "orchestrator", "export", "monday", "--store", recorded, "-o", "monday.orc"]
    subprocess.run(exporting, check=True, capture_output=True)
    Path(".orchestrator/store.db").unlink()
    next(Path().glob("test_*.py")).write_text(STEPS.replace("return [1]", "return [2]"))
    for execution_id in ("monday", None):
        plan = replay(Path("monday.orc"), execution_id, "daily.yaml")
        assert verbs(plan) == {"fetch": "rerun", "report": "rerun?"}
    assert not Path(".orchestrator/store.db").exists()
    with pytest.raises(orc.NoCheckpoint, match=r"monday\.orc has no execution 'tuesday'; it has monday"):
        replay("monday.orc", "tuesday", "daily.yaml")


def test_what_is_not_there_is_told() -> None:
    with pytest.raises(orc.StoreError, match="there is no store at"):
        replay("sqlite:///nowhere.db", "monday")
    assert not Path("nowhere.db").exists()
    with pytest.raises(orc.StoreError, match=r"nowhere\.orc cannot be read: No such file"):
        replay("nowhere.orc", None)
    Path("wrong.orc").write_text("hello")
    with pytest.raises(orc.StoreError, match="no file that `orchestrator export` wrote"):
        replay("wrong.orc", None)
    with pytest.raises(orc.UsageError, match="name the one to replay"):
        replay("memory://", None)
    with pytest.raises(orc.NoCheckpoint):
        replay("memory://replay-empty", "monday")
