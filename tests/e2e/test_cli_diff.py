"""`orchestrator diff` on a real store: executions of a pipeline and of the same one edited, good and bad."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import pytest

from tests.e2e.cli_helpers import Program

BEFORE = """
id: report
inputs: {who: you, limit: 5}
steps:
  - {id: greet, tool: shell, parameters: {command: [echo, "{{ inputs.who }}"]}}
  - {id: check, tool: shell, parameters: {command: [test, "3", -lt, "{{ inputs.limit }}"]}}
  - {id: last, tool: shell, parameters: {command: [echo, end]}, dependencies: [check]}
  - {id: gone, tool: shell, parameters: {command: [echo, gone]}}
outputs: {said: "{{ greet.result.stdout }}"}
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A folder where `report` has run well as a1, and, edited and with other inputs, badly as a2; to be looked at."""
    program = Program(tmp_path_factory.mktemp("ran"))
    (program.folder / "before.yaml").write_text(BEFORE)
    (program.folder / "after.yaml").write_text(BEFORE.replace("id: gone", "id: added").replace("[echo, end]", "[date]"))
    program.within("run", "before.yaml", "--execution-id", "a1", "-q")
    program.within("run", "after.yaml", "--execution-id", "a2", "-q", "-i", "who=Ann\x1b[2J", "-i", "limit=1", code=1)
    return program


def test_what_differs_is_a_table_and_what_does_not_one_line(ran: Program) -> None:
    told = ran.within("diff", "a1", "a2").stdout
    lines = told.splitlines()
    assert re.match(r"a  a1@\d+ +report +completed +4/4 ", lines[1])
    assert re.match(r"b  a2@\d+ +report +failed +2/4 .* 1 failed", lines[2])
    assert r"  who: 'you' → 'Ann\x1b[2J'" in lines
    assert "  limit: 5 → 1" in lines
    assert "definition: differs: steps 1 added, 1 removed, 1 changed" in lines
    assert re.search(r"\nadded +added\ngone +removed\nlast +changed +parameters.command \(length\): 2 → 1\n", told)
    assert "steps: 5 of 5 steps differ: 1 only in a, 1 only in b, 2 by status, 1 by result" in lines
    assert re.search(r"\ngreet +result +\d+ B +\d+ B +stdout: 'you\\n' → 'Ann", told)
    assert re.search(r"\ncheck +status +completed +failed +b: exit: test ended with exit code 1\n", told)
    assert re.search(r"\nlast +status +completed +pending\n", told)
    assert re.search(r"\nadded +only in b +completed\n", told)
    assert re.search(r"\ngone +only in a +completed\n", told)
    assert r"  said: 'you\n' → (none)" in lines
    assert any(re.fullmatch(r"timings: \d.* → \d.* \([+-].*\)", line) for line in lines)
    assert "\x1b" not in told


def test_of_what_is_equal_each_section_is_one_line(ran: Program) -> None:
    lines = ran.within("diff", "a1", "a1", "--exit-code").stdout.splitlines()[4:]
    assert lines[:-1] == ["definition: same", "inputs: same", "steps: same (4 steps)", "outputs: same"]
    assert re.fullmatch(r"timings: (.*) → \1 \(\+0 ms\)", lines[-1])


def test_scripts_get_json_and_if_they_want_it_an_exit_code(ran: Program) -> None:
    found = json.loads(ran.within("diff", "a1", "a2", "--json", "--exit-code", code=1).stdout)
    assert found["equal"] is False
    assert found["definition"]["added"] == ["added"]
    assert found["definition"]["changed"]["last"][1] == {"path": "parameters.command[0]", "old": "echo", "new": "date"}
    assert found["inputs"][1] == {"path": "limit", "old": 5, "new": 1}
    assert found["outputs"] == {"changes": [{"path": "said", "old": "you\n"}]}
    assert found["counts"] == {"result": 1, "status": 2, "only in a": 1, "only in b": 1}
    tasks = {each["task"]: each for each in found["tasks"]}
    assert tasks["greet"]["result"]["changes"][0]["path"] == "stdout"
    assert tasks["check"]["b"]["error"] == {"kind": "exit", "message": "test ended with exit code 1"}
    assert tasks["gone"]["b"] is None
    assert tasks["added"]["a"] is None
    assert {each["task"] for each in found["timings"]} <= {"greet", "check"}
    bare = json.loads(ran.within("diff", "a1", "a2", "--json", "--no-values").stdout)
    assert bare["outputs"] == {"changes": None, "why": None}
    assert "stdout" not in ran.within("diff", "a1", "a2", "--no-values").stdout


def test_two_checkpoints_tell_what_happened_in_between(ran: Program) -> None:
    found = json.loads(ran.within("diff", "a1@2", "a1", "--json", "--exit-code", code=1).stdout)
    assert [found["a"]["completed"], found["b"]["completed"]] == [0, 4]
    assert found["counts"] == {"status": 4}
    assert (found["definition"], found["inputs"]) == (None, [])


def test_of_many_steps_the_first_are_shown(tmp_path: Path) -> None:
    program = Program(tmp_path)
    steps = "".join(f"  - {{id: t{number}, tool: shell, parameters: {{command: ['true']}}}}\n" for number in range(60))
    (tmp_path / "many.yaml").write_text(f"id: many\nsteps:\n{steps}")
    program.within("run", "many.yaml", "--execution-id", "m", "-q")
    some = program.within("diff", "m@2", "m").stdout.splitlines()
    assert sum(" pending " in line for line in some) == 50
    assert "… and 10 more (--all shows them)" in some
    every = program.within("diff", "m@2", "m", "--all").stdout.splitlines()
    assert sum(" pending " in line for line in every) == 60
    assert not any("more" in line for line in every)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["a1"], 2, "Missing argument 'B'"),
        (["a1", "a2", "a1"], 2, "unexpected extra argument"),
        (["a1", "nobody"], 3, "'nobody': there is no such execution in this store"),
        (["a1@999", "a2"], 3, "no position 999: the journal of execution 'a1' has"),
        (["a1@0", "a2"], 2, "not a checkpoint: 'a1@0'"),
        (["a1", "a2@"], 2, "not a checkpoint: 'a2@'"),
        (["a1", "../a2"], 2, "not an execution id: '../a2'"),
    ],
)
def test_what_cannot_be_compared(ran: Program, arguments: list[str], code: int, message: str) -> None:
    ended = ran.within("diff", *arguments, code=code)
    assert message in ended.stderr
    assert ended.stdout == ""


def test_neither_a_store_that_is_not_there_nor_a_damaged_one(tmp_path: Path) -> None:
    program = Program(tmp_path)
    assert "no execution 'a1' in this store" in program.within("diff", "a1", "a2", code=3).stderr
    assert not (tmp_path / ".orchestrator").exists()
    (tmp_path / "before.yaml").write_text(BEFORE)
    program.within("run", "before.yaml", "--execution-id", "a1", "-q")
    with sqlite3.connect(tmp_path / ".orchestrator" / "store.db") as database:
        database.execute("UPDATE journal SET record = CAST(substr(record, 1, length(record) - 1) || x'00' AS BLOB)")
    database.close()
    assert "Failed to load resume state of execution 'a1'" in program.within("diff", "a1", "a1@2", code=7).stderr


def test_executions_are_completed_and_behind_the_at_their_checkpoints(ran: Program) -> None:
    def completed(line: str) -> set[str]:
        place = str(len(line.split(" ")) - 1)
        told = ran.within(_ORCHESTRATOR_COMPLETE="bash_complete", COMP_WORDS=line, COMP_CWORD=place).stdout
        return {row.split(",")[-1] for row in told.splitlines() if row}

    assert completed("orchestrator diff a") == {"a1", "a2"}
    assert completed("orchestrator diff a1 a2@") >= {"a2@1"}
    assert completed("orchestrator diff a1 nobody@") == set()
