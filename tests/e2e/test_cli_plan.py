"""Plans as a person meets them: shown, carried out, refused; edited definitions, forks, overrides and their history."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.e2e.cli_helpers import Program

STEPS = """
import pathlib

def note(name):
    with open("effects.txt", "a") as file:
        file.write(name + "\\n")

def rows(n: int):
    note("rows")
    return {"n": n}

def pick(rows: dict, least: int):
    note("pick")
    return [number for number in range(rows["n"]) if number >= least]

def tell(picked: list):
    note("tell")
    return f"{len(picked)} picked"

def unless(file: str):
    if not pathlib.Path(file).exists():
        raise ValueError("no file yet")
    return file
"""
DEFINITION = """
id: edited
inputs: {n: 5, least: {type: integer, default: 2}}
steps:
  - {id: rows, tool: python, action: "plan_steps:rows", parameters: {n: "{{ inputs.n }}"}}
  - id: pick
    tool: python
    action: "plan_steps:pick"
    parameters: {rows: "{{ rows.result }}", least: "{{ inputs.least }}"}
    output_schema: {type: array}
  - {id: tell, tool: python, action: "plan_steps:tell", parameters: {picked: "{{ pick.result }}"}}
  - {id: apart, tool: shell, parameters: {command: [echo, apart]}}
outputs: {text: "{{ tell.result }}"}
"""
EDITED = (
    DEFINITION.replace('"{{ inputs.least }}"', "3")
    .replace(
        "{id: apart, tool: shell, parameters: {command: [echo, apart]}}",
        "{id: new, tool: shell, parameters: {command: [ls]}}",
    )
    .replace("id: tell,", "id: say, renamed_from: tell,")
    .replace("tell.result", "say.result")
)


@pytest.fixture
def program(tmp_path: Path) -> Program:
    program = Program(tmp_path)
    (tmp_path / "plan_steps.py").write_text(STEPS)
    (tmp_path / "p.yaml").write_text(DEFINITION)
    (tmp_path / "edited.yaml").write_text(EDITED)
    program.within("run", "p.yaml", "--execution-id", "x", "--quiet")
    return program


def rows_of(table: str) -> dict[str, tuple[str, str]]:
    """Return the lines of a plan's table: step -> its verb, and why."""
    found = re.findall(r"^(\w+) +(reuse|rerun\??|run|skip|wait) +(.*)$", table, re.MULTILINE)
    return {step: (verb, why) for step, verb, why in found}


def test_an_edit_is_planned_carried_out_and_remembered(program: Program) -> None:
    planned = program.within("plan", "x", "--pipeline", "edited.yaml", "--reason", "too many picked")
    assert planned.stderr == ""
    first, gone = planned.stdout.splitlines()[:2]
    assert first == "plan: reused 1 · rerun 1 (pick: parameters.least: 2 → 3) · rerun? 1 · to run 1"
    assert gone == "removed: apart (it was completed)"
    assert rows_of(planned.stdout) == {
        "rows": ("reuse", rows_of(planned.stdout)["rows"][1]),
        "pick": ("rerun", "parameters.least: 2 → 3"),
        "say": ("rerun?", "reads pick; kept if that comes out the same"),
        "new": ("run", "new"),
    }
    dry = program.within(
        "resume", "x", "--pipeline", "edited.yaml", "--reason", "too many picked", "--dry-run", "--json"
    )
    told = json.loads(dry.stdout)
    assert told["removed"] == [{"task": "apart", "status": "completed"}]
    assert told["decisions"][1]["components"] == [{"name": "parameters.least", "before": "2", "now": "3"}]
    assert [each["conditional"] for each in told["decisions"]] == [False, False, True, False]
    command = planned.stdout.splitlines()[-1].partition("carry it out with: ")[2]
    assert command == told["command"]
    assert command.endswith(f"--pipeline edited.yaml --reason 'too many picked' --expect {told['digest']}")
    assert program.effects() == ["rows", "pick", "tell"]

    done = program.within(*command.replace("'too many picked'", "busy").split()[1:])
    assert done.stdout.splitlines()[:3] == ["execution x: resuming", first, gone]
    assert "text: 2 picked" in done.stdout
    assert program.effects() == ["rows", "pick", "tell", "pick", "tell"]
    again = program.within(*command.replace("'too many picked'", "busy").split()[1:])
    assert "execution x is completed already; there is nothing to run" in again.stdout
    other = program.within("resume", "x", "--rerun", "rows", "--expect", told["digest"][:6], code=8)
    assert "things have changed since that plan was shown; nothing was run" in other.stderr

    history = program.within("history", "x").stdout
    assert re.search(r"resume_planned +plan=\w{16} by=\S+ reason=busy request=.*edited.yaml", history)
    assert re.search(r'definition_changed .*renamed={"say": "tell"} source=edited.yaml by=\S+ version=2', history)
    assert re.search(r"task_started +task=say attempt=2 version=2", history)
    shown = program.within("show", "x").stdout
    assert re.search(r"definition +version 2, from edited.yaml", shown)
    step = program.within("show", "x", "say").stdout
    assert re.search(r"^1 +completed .* 1$", step, re.MULTILINE)
    assert re.search(r"^2 +completed .* 2$", step, re.MULTILINE)
    assert "was renamed: tell → say" in step
    for words in (["show", "x", "apart"], ["explain", "x", "apart"]):
        assert "no step named 'apart'" in program.within(*words, code=2).stderr
    assert " apart apart\n" in program.within("logs", "x", "apart").stdout
    assert "no step named 'nobody'" in program.within("logs", "x", "nobody", code=2).stderr
    for words in (["graph", "x"], ["checkpoints", "x"], ["list"], ["verify"], ["diff", "x@1", "x"], ["logs", "x"]):
        program.within(*words)


def test_a_file_that_was_edited_is_told_of_and_not_followed(program: Program) -> None:
    (program.folder / "p.yaml").write_text(DEFINITION.replace("default: 2", "default: 4"))
    note = "note: p.yaml has changed since; the recorded definition holds (to go on with the file: --pipeline p.yaml)\n"
    planned = program.within("plan", "x")
    assert (planned.stderr, "there is nothing to run" in planned.stdout) == (note, True)
    resumed = program.within("resume", "x")
    assert "execution x is completed already; there is nothing to run" in resumed.stdout
    assert resumed.stderr == note
    rerun = program.within("resume", "x", "--rerun", "rows")
    assert rerun.stderr == note
    assert "rows: completed" in rerun.stdout
    assert re.search(r"pick: kept its result \(x@\d+\): it would be given the same again", rerun.stdout)
    assert program.effects() == ["rows", "pick", "tell", "rows"]
    followed = program.within("plan", "x", "--pipeline", "p.yaml")
    assert "input changed: inputs.least: 2 → 4" in followed.stdout
    assert followed.stderr == ""


def test_from_a_step_until_a_step_and_results_given_by_hand(program: Program) -> None:
    (program.folder / "picked.json").write_text("[7]")
    given = program.within("resume", "x", "--set-result", "pick=@picked.json", "--reason", "by hand")
    assert "pick: its result was given by " in given.stdout
    assert "text: 1 picked" in given.stdout
    assert re.search(r"^pick .* given by \S+: \[7\]$", program.within("show", "x").stdout, re.MULTILINE)
    assert re.search(r"was given its result by \S+: by hand", program.within("show", "x", "pick").stdout)
    part = program.within("resume", "x", "--from", "rows", "--downstream", "--until", "pick")
    assert "plan: reused 1 · rerun 2 (rows: asked for; pick: after a step asked for) · waiting 1" in part.stdout
    assert part.stdout.splitlines()[-1] == "all that was asked for is done; go on with: orchestrator resume x"
    assert program.effects() == ["rows", "pick", "tell", "tell", "rows", "pick"]
    end = program.within("resume", "x", "--json")
    assert json.loads(end.stdout.splitlines()[-1])["outputs"] == {"text": "3 picked"}
    back = program.within("plan", "x", "--from", "1", "--json")
    assert json.loads(back.stdout)["counts"] == {"rerun": 4}


def test_forks(program: Program) -> None:
    dry = program.within("fork", "x", "-i", "least=4", "--execution-id", "y", "--dry-run")
    assert "rerun 1 (pick: parameters.least: 2 → 4) · rerun? 1" in dry.stdout
    assert "y" not in {line.split()[0] for line in program.within("list").stdout.splitlines()}
    command = dry.stdout.splitlines()[-1].partition("carry it out with: orchestrator ")[2].split()
    assert command[:6] == ["fork", "x", "-i", "least=4", "--execution-id", "y"]
    done = program.within(*command)
    assert done.stdout.splitlines()[:2] == ["execution y: forked from x", dry.stdout.splitlines()[0]]
    assert "text: 1 picked" in done.stdout
    assert program.effects() == ["rows", "pick", "tell", "pick", "tell"]
    shown = program.within("show", "y").stdout
    assert re.search(r"forked from +x@\d+", shown)
    assert re.search(r'^rows .* {"n": 5} \(x@\d+\)$', shown, re.MULTILINE)
    assert "execution_forked" in program.within("history", "y").stdout
    name = program.within("fork", "x@8", "--no-run").stdout.strip()
    assert f"{name} " in program.within("list", "--status", "created").stdout
    queued = program.within("fork", "x", "--rerun", "tell", "--detach", "--to-queue", "q", "--json").stdout
    told = json.loads(queued)
    assert (told["event"], told["source"], told["counts"]) == ("forked", "x", {"reuse": 3, "rerun": 1})
    assert told["execution_id"] in program.within("list", "--queue", "q").stdout
    part = program.within("fork", "x", "--rerun", "pick", "--until", "pick", "--execution-id", "z")
    assert part.stdout.splitlines()[-1].endswith("go on with: orchestrator resume z")
    assert "4 picked" not in program.within("show", "x").stdout


def test_explain(program: Program) -> None:
    same = program.within("explain", "x", "pick").stdout
    assert re.match(r"pick: reuse, completed at seq (\d+); its result is that of x@\1\n", same)
    assert re.search(r"^parameters.least +2 +the same$", same, re.MULTILINE)
    edited = program.within("explain", "x", "pick", "--pipeline", "edited.yaml")
    assert edited.stdout.startswith("pick: rerun, parameters.least: 2 → 3")
    assert re.search(r"^parameters.least +2 +3$", edited.stdout, re.MULTILINE)
    told = json.loads(program.within("explain", "x", "pick", "--pipeline", "edited.yaml", "--json").stdout)
    assert {"name": "parameters.least", "recorded": "2", "now": "3", "changed": True} in told["parts"]


def test_many_follow_an_edited_definition(program: Program) -> None:
    failing = 'id: broken\nsteps: [{id: a, tool: python, action: "plan_steps:unless", parameters: {file: no.txt}}]\n'
    (program.folder / "broken.yaml").write_text(failing)
    (program.folder / "mended.yaml").write_text(failing.replace("no.txt", "p.yaml"))
    for name in ("a1", "a2"):
        program.within("run", "broken.yaml", "--execution-id", name, "--quiet", code=1)
    chosen = ("resume", "--all", "--status", "failed", "--pipeline", "mended.yaml", "--reason", "mended")
    dry = program.within(*chosen, "--dry-run")
    lines = sorted(dry.stdout.splitlines())
    assert [line.split()[0] for line in lines] == ["a1", "a2"]
    assert all(
        re.search(r"  plan \w{16}: rerun 1 \(a: changed since it failed: parameters.file", line) for line in lines
    )
    assert dry.stderr == "would resume 2 executions\n"
    wrong = program.within(*chosen[:4], "--pipeline", "edited.yaml", "--yes", code=2)
    assert wrong.stderr.count("this is pipeline 'edited'") == 2
    done = program.within(*chosen, "--yes")
    assert re.search(r"execution a1: waits in queue default \(plan \w{16}\)", done.stdout)
    assert "a1" in program.within("list", "--queue", "default").stdout
    assert re.search(r"reason=mended", program.within("history", "a2").stdout)
    one = program.within("resume", "x", "--detach", "--rerun", "tell")
    assert "execution x: waits in queue default" in one.stdout
    again = program.within("resume", "x", "--detach", "--expect", "abcdef", code=8)
    assert "nothing was run" in again.stderr


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["plan", "nope"], 3, "for execution 'nope'"),
        (["plan", "x", "--pipeline", "none.yaml"], 2, "none.yaml  there is no such file"),
        (["plan", "x", "--pipeline", "good.yaml"], 2, "this is pipeline 'good', and the execution is one of 'edited'"),
        (["plan", "x", "--pipeline", "bad.yaml"], 2, "mistakes"),
        (["resume", "x", "--rerun", "pikc"], 2, "no step named 'pikc' in this pipeline; did you mean 'pick'?"),
        (["resume", "x", "--from", "pikc"], 2, "no step named 'pikc'"),
        (["resume", "x", "--from", "x@99999"], 3, "no position 99999"),
        (["resume", "x", "--from", "y@1"], 2, "orchestrator fork y@1"),
        (["resume", "x", "--from", "x@"], 2, "not a checkpoint: 'x@'"),
        (["resume", "x", "--downstream"], 2, "downstream goes with rerun"),
        (["resume", "x", "--until", "nope"], 2, "no step named 'nope'"),
        (["resume", "x", "--skip", "pick"], 2, "to run it again: --rerun pick"),
        (["resume", "x", "--rerun", "pick", "--set-result", "pick=[]"], 2, "cannot be both"),
        (["resume", "x", "--set-result", "pick"], 2, "--set-result pick: expected STEP=JSON or STEP=@FILE"),
        (["resume", "x", "--set-result", "pick=[1"], 2, "--set-result pick=: not JSON"),
        (["resume", "x", "--set-result", "pick=NaN"], 2, "JSON has no NaN"),
        (["resume", "x", "--set-result", "pick=@none.json"], 2, "--set-result pick=@none.json: No such file"),
        (["resume", "x", "--set-result", "pick=@p.yaml"], 2, "--set-result pick=@p.yaml: not JSON"),
        (["resume", "x", "--set-result", "pick=1", "--set-result", "pick=2"], 2, "is given two results"),
        (["resume", "x", "--set-result", "pick=1"], 2, "is not what its output_schema says"),
        (["resume", "x", "--set-result", "nope=1"], 2, "no step named 'nope'"),
        (["resume", "x", "--on-change", "ask"], 2, "'rerun', 'keep', 'fail'"),
        (["resume", "x", "--pipeline", "edited.yaml", "--on-change", "fail"], 8, "pick: parameters.least: 2 → 3"),
        (["resume", "x", "--expect", "12345"], 2, "--expect 12345: expected a plan's digest"),
        (["resume", "x", "--expect", "abcdef", "--rerun", "pick"], 8, "not abcdef"),
        (["resume", "--all", "--expect", "abcdef"], 2, "--expect is about one execution"),
        (["resume", "--all", "--from", "x@1"], 2, "are about one execution, not about --all"),
        (["resume", "--all", "--set-result", "pick=1"], 2, "are about one execution, not about --all"),
        (["resume", "x", "--detach", "--until", "pick"], 2, "runs here"),
        (["fork", "x@0"], 2, "not a checkpoint"),
        (["fork", "x@99999"], 3, "no position x@99999"),
        (["fork", "nope"], 3, "for execution 'nope'"),
        (["fork", "x", "--from", "1"], 2, "EXECUTION@SEQ"),
        (["fork", "x", "-i", "n=many"], 2, "n: expected a whole number, got 'many'"),
        (["fork", "x", "-i", "m=1"], 2, "m: the pipeline edited has no such input"),
        (["fork", "x", "--execution-id", "x"], 2, "execution 'x' exists already"),
        (["fork", "x", "--priority", "1"], 2, "go with --detach"),
        (["fork", "x", "--no-run", "--detach"], 2, "choose one of them"),
        (["fork", "x", "--no-run", "--until", "pick"], 2, "a fork that runs here"),
        (["fork", "x", "--expect", "abcdef"], 8, "not abcdef"),
        (["explain", "x", "nope"], 2, "no step named 'nope'"),
        (["explain", "nope", "pick"], 3, "for execution 'nope'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_asked_for(asked: Program, words: list[str], code: int, message: str) -> None:
    done = asked.within(*words, code=code)
    assert message in done.stderr
    assert done.stdout == ""
    assert asked.effects() == ["rows", "pick", "tell"]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Program:
    folder = tmp_path_factory.mktemp("asked")
    program = Program(folder)
    (folder / "plan_steps.py").write_text(STEPS)
    (folder / "p.yaml").write_text(DEFINITION)
    (folder / "edited.yaml").write_text(EDITED)
    program.within("run", "p.yaml", "--execution-id", "x", "--quiet")
    return program


def test_a_plain_resume_tells_of_changed_code_and_repeats_nothing(program: Program, tmp_path: Path) -> None:
    (tmp_path / "plan_steps.py").write_text(STEPS.replace('picked"', 'taken"'))
    again = program("resume", "x")
    assert "1 finished step has changed since and is kept (tell)" in again.stderr
    assert "0 picked" not in again.stdout
    assert "3 picked" in again.stdout
    followed = program("resume", "x", "--on-change", "rerun")
    assert "3 taken" in followed.stdout
    assert (tmp_path / "effects.txt").read_text().split() == ["rows", "pick", "tell", "tell"]


def test_explain_tells_what_a_step_was_under_the_name_it_had(program: Program, tmp_path: Path) -> None:
    before = "id: named\nsteps: [{id: old, tool: shell, condition: 3 > 1, parameters: {command: [ls]}}]\n"
    (tmp_path / "named.yaml").write_text(before)
    program.within("run", "named.yaml", "--execution-id", "named", "--quiet")
    (tmp_path / "named.yaml").write_text(
        before.replace("id: old", "id: new, renamed_from: old").replace("3 > 1", "2 > 1")
    )
    told = program.within("explain", "named", "new", "--pipeline", "named.yaml").stdout
    assert told.startswith("new: reuse, completed at seq ")
    assert re.search(r"^condition +3 > 1 +the same$", told, re.MULTILINE)
