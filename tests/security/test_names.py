"""Names that look like paths, patterns or SQL are names, or refused: on the command line and in every call."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import Orchestrator, OrchestratorError, Task
from orchestrator.compiler.build import build
from orchestrator.domain.ids import TaskId
from orchestrator.state.masking import mask

NAMES = [
    "..", ".", "/", "/etc", "../../victim", "a/../../victim", "victim\x00", "*", "%", "_", "' OR 1=1--", "$.x') UNION",
    "C:\\victim", "\\\\?\\victim", "-rf", "--help", "a\nb", "CON", "nul.txt", "a" * 300, "\u202egpj", "é", "e\u0301",
    "__proto__", "", " ", "victim/", "~", "~root", "victim;rm -rf .", "\ud800",
]  # fmt: skip
COMMANDS = ["status", "history", "resume", "cancel", "verify", "prune", "logs"]


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for victim in (tmp_path / "victim", tmp_path / "project" / "victim"):
        victim.mkdir(parents=True)
        (victim / "file").write_text("kept")
    return tmp_path / "project"


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_no_name_leads_out_of_the_store(project: Path, name: str) -> None:
    before = tree(project.parent)
    pipeline = build(id="p", tasks=[Task(TaskId("t"), "shell", parameters={"command": ["true"]})])
    async with Orchestrator(store=f"sqlite:///{project}/store.db") as runner:
        await runner.run_pipeline(pipeline, {}, execution_id="kept")
        accepted = False
        try:
            await runner.run_pipeline(pipeline, {}, execution_id=name)
            accepted = True
        except OrchestratorError:
            pass
        listed = [summary.execution_id for summary in await runner.list_executions()]
        assert listed == ([name, "kept"] if accepted else ["kept"])
        if not accepted:  # then every door refuses it, with the one rule
            for call in (runner.resume_manager.can_resume(name), runner.resume_pipeline(name), runner.cancel(name)):
                with pytest.raises(OrchestratorError, match="not an execution id"):
                    await call
    new = tree(project.parent) - before
    assert before <= tree(project.parent), "something was removed"
    assert all(path.startswith("project/store.db") for path in new), new


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_removes_what_a_name_looks_like(project: Path, command: str) -> None:
    before = tree(project.parent)
    for name in ("..", "/etc", "../victim", "victim"):
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", command, name],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode != 0, done.stdout
        assert "Traceback" not in done.stderr
    assert before <= tree(project.parent)
    assert (project / "victim" / "file").read_text() == "kept"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:hunter2@host/db", "postgresql://me:***@host/db"),
        ("redis://:hunter2@host", "redis://:***@host"),
        ("nonsense://me:hunter2@host?x=1", "nonsense://me:***@host?x=1"),
        ("sqlite://me:hunter2@host/store.db", "sqlite://me:***@host/store.db"),
    ],
)
def test_a_password_in_a_url_is_never_shown(project: Path, url: str, shown: str) -> None:
    assert mask(url) == shown
    for command in (["list"], ["doctor"], ["run", "missing.yaml"], ["-v", "list"]):
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", *command, "--store", url],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert "hunter2" not in done.stdout + done.stderr
