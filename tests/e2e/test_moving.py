"""`export`, `import` and `copy` as a person uses them."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.state.encryption import new_key
from tests.e2e.cli_helpers import PIPELINES, PROGRAM, STEPS, ended, wait_until


@pytest.fixture(autouse=True)
def project(isolated: Path) -> Path:
    (isolated / "cli_steps.py").write_text(STEPS)
    (isolated / "good.yaml").write_text(PIPELINES["good.yaml"])
    return isolated


def run(*names: str) -> None:
    for name in names:
        assert main(["run", "good.yaml", "--execution-id", name, "-q"]) == 0


class Program:
    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self._capfd = capfd

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Call the program; return what it wrote on both streams."""
        self._capfd.readouterr()
        assert main(arguments) == code
        written = self._capfd.readouterr()
        return written.out + written.err


@pytest.fixture
def program(capfd: pytest.CaptureFixture[str]) -> Program:
    return Program(capfd)


def test_there_and_back(program: Program, project: Path) -> None:
    run("one", "two")
    assert "exported 2 executions, " in program("export", "--all", "-o", "all.orc")
    assert [path.name for path in project.glob("*all*")] == ["all.orc"]
    assert "imported one\nimported two\n" in program("import", "all.orc", "--store", "sqlite:///new.db")
    assert "one was there already\n" in program("import", "all.orc", "--store", "sqlite:///new.db")
    assert program("show", "two", "--store", "sqlite:///new.db") == program("show", "two")
    assert program("verify", "--store", "sqlite:///new.db").startswith("OK: 2 executions")


WATCHED = """
id: watched
steps:
  - {id: first, tool: python, action: "watched:note"}
  - {id: second, tool: python, action: "watched:note", parameters: {wait: "{{ 'go' if first.result else '' }}"}}
  - {id: third, tool: python, action: "watched:note", depends_on: [second]}
outputs: {all: ["{{ first.result }}", "{{ second.result }}", "{{ third.result }}"]}
"""
RUN = ("run", "watched.yaml", "--execution-id", "one")
NOTE = """
import pathlib, time

def note(context, wait: str = ""):
    with open("effects.txt", "a") as file:
        file.write(context.task_id + "\\n")
    while wait and not pathlib.Path(wait).exists():
        time.sleep(0.01)
    return context.task_id
"""


def test_what_was_stopped_in_a_file_goes_on_in_a_server_and_nothing_runs_twice(
    program: Program, project: Path, postgres_url: str
) -> None:
    (project / "watched.py").write_text(NOTE)
    (project / "watched.yaml").write_text(WATCHED)
    effects = project / "effects.txt"
    said = project / "said.txt"
    with said.open("w") as file, ended(subprocess.Popen([*PROGRAM, *RUN], stderr=file, text=True)) as run:
        wait_until(lambda: effects.exists() and effects.read_text() == "first\nsecond\n", "the second step runs")
        run.send_signal(signal.SIGTERM)
        wait_until(lambda: "stopping" in said.read_text(), "the signal is heard")
        (project / "go").touch()  # what is under way ends in its grace, and what comes after it does not begin
        assert run.wait(30) == 128 + signal.SIGTERM
    assert "moved one\n" in program("copy", "--to", postgres_url, "--move")
    assert "there is no such execution in this store" in program("resume", "one", code=3)
    assert "third" in program("resume", "one", "--store", postgres_url)
    assert effects.read_text() == "first\nsecond\nthird\n"
    assert program("verify", "--store", postgres_url).startswith("OK: 1 execution")


def test_through_a_pipe(project: Path) -> None:
    run("one")
    program = f"{shlex.quote(sys.executable)} -m orchestrator"
    line = f"{program} export one | {program} import - --store sqlite:///n.db"
    done = subprocess.run(["/bin/sh", "-c", line], check=False, capture_output=True, text=True)
    assert done.stdout == "imported one\n"
    assert (project / "n.db").exists()


def test_which_ones(program: Program) -> None:
    run("one", "two")
    assert "say which executions" in program("export", "-o", "x", code=2)
    assert "say which executions" in program("export", "--all", "one", "-o", "x", code=2)
    assert "say --all" in program("export", "one", "--status", "failed", "-o", "x", code=2)
    assert "exported 0 executions" in program("export", "--all", "--status", "failed", "-o", "none.orc")
    assert "exported 1 execution," in program("export", "one", "one", "-o", "one.orc")
    assert "refused ghost: no execution 'ghost'" in program("export", "ghost", "two", "-o", "two.orc", code=3)
    assert "imported two" in program("import", "two.orc", "--store", "sqlite:///new.db")
    assert not Path("x").exists()


def test_what_cannot_be(program: Program, project: Path) -> None:
    assert "there is no store at" in program("export", "--all", "-o", "x", code=6)
    assert not (project / ".orchestrator").exists()
    assert "cannot be read: No such file" in program("import", "nothing.orc", code=6)
    run("one")
    assert "cannot be written: No such file" in program("export", "one", "-o", "no/such/x.orc", code=6)
    (project / "foreign").write_text("this is something else")
    assert "no file that `orchestrator export` wrote" in program("import", "foreign", code=7)
    assert "both are the same store" in program("copy", code=2)
    assert "both are the same store" in program("copy", "--to", "sqlite:///.orchestrator/store.db", code=2)
    assert "there is no store at sqlite:///old.db" in program("copy", "--from", "sqlite:///old.db", code=6)
    assert "not a store" in program("copy", "--to", "nonsense", code=2)


def test_a_damaged_file_gives_what_is_whole_and_ends_with_7(program: Program, project: Path) -> None:
    run("one", "two")
    program("export", "--all", "-o", "all.orc")
    data = (project / "all.orc").read_bytes()
    (project / "cut.orc").write_bytes(data[:-200])
    shown = program("import", "cut.orc", "--store", "sqlite:///new.db", code=7)
    assert "imported one" in shown
    assert "refused two: damaged record cut.orc, byte " in shown
    assert "truncated" in shown
    assert "one" in program("list", "--store", "sqlite:///new.db")
    assert "two" not in program("list", "--store", "sqlite:///new.db")


def test_another_one_of_the_same_name(program: Program) -> None:
    run("one")
    assert main(["run", "good.yaml", "--execution-id", "one", "-i", "who=me", "--store", "sqlite:///new.db"]) == 0
    assert "refused one: there is another execution 'one'" in program("copy", "--to", "sqlite:///new.db", code=2)


def test_a_store_is_encrypted_and_its_keys_rotate(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    run("one", "two")
    first, second = new_key("first"), new_key("second")
    monkeypatch.setenv("ORCHESTRATOR_ENCRYPTION_KEYS", first)
    assert "is not encrypted" in program("copy", "--to", "sqlite:///new.db", code=8)
    assert "copied one\ncopied two" in program("copy", "--to", "sqlite:///new.db", "--unencrypted-source")
    monkeypatch.setenv("ORCHESTRATOR_ENCRYPTION_KEYS", f"{second},{first}")
    program("copy", "--from", "sqlite:///new.db", "--to", "sqlite:///newer.db", "--move")
    program("export", "one", "-o", "one.orc", "--store", "sqlite:///newer.db")
    monkeypatch.setenv("ORCHESTRATOR_ENCRYPTION_KEYS", second)
    assert program("verify", "--store", "sqlite:///newer.db").startswith("OK: 2 executions")
    program("export", "two", "-o", "two.orc", "--store", "sqlite:///newer.db", "--unencrypted")
    monkeypatch.delenv("ORCHESTRATOR_ENCRYPTION_KEYS")
    assert "no keys are configured" in program("import", "one.orc", "--store", "sqlite:///last.db", code=8)
    assert "imported two" in program("import", "two.orc", "--store", "sqlite:///last.db")


def test_logs_and_tables_stay_when_an_execution_moves(program: Program, project: Path) -> None:
    run("one")
    before = sorted(path.name for path in (project / ".orchestrator").rglob("*") if path.is_file())
    assert any("log" in name for name in before) or (project / ".orchestrator" / "logs").is_dir()
    assert program("copy", "--to", "sqlite:///new.db", "--move", "one") == "moved one\n"
    assert "no executions yet" in program("list")
    assert (project / ".orchestrator" / "logs").is_dir()
