"""Every command, good and bad, by real processes."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.cli_helpers import PROGRAM, Program, ended, plain, read_until, wait_until


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """A folder where `good` has run as g1, and `failing` as f1 until its step was parked; only to be looked at."""
    program = Program(tmp_path_factory.mktemp("ran"))
    program("run", "good.yaml", "-i", "who=Ann", "--execution-id", "g1", "--quiet")
    program("run", "failing.yaml", "--execution-id", "f1", code=1)
    program("resume", "f1", code=1)
    return program


# -- run ---------------------------------------------------------------------------------------------------------


def test_a_run_tells_each_fact_and_prints_the_outputs(program: Program) -> None:
    (program.folder / "in.yaml").write_text("who: file\ndays: [1, 2]\n")
    (program.folder / "who.txt").write_text("text of a file")
    done = program("run", "good.yaml", "--input-file", "in.yaml", "-i", "who=@who.txt", "-i", "n=3")
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"execution exec_\w+: good, 3 steps", lines[0])
    assert lines[1] == "first: started"
    assert re.fullmatch(r"first: completed after .*", lines[2])
    assert "third: skipped, condition is false: {{ inputs.n > 5 }} (inputs.n = 3)" in lines
    assert any(re.fullmatch(r"execution exec_\w+: completed, 3 of 3 steps done in .*", line) for line in lines)
    assert "said: hello text of a file" in lines
    assert json.loads(done.stdout.split("\nfirst: {")[1].join(["{", ""])) == {"name": "text of a file", "n": 14}
    assert done.stderr == ""


def test_json_is_one_object_a_line_and_nothing_else(program: Program) -> None:
    done = program("run", "good.yaml", "--json", "--execution-id", "j1")
    objects = [json.loads(line) for line in done.stdout.splitlines()]
    names = [item["event"] for item in objects]
    assert names[:3] == ["execution_created", "definition_loaded", "execution_started"]
    assert names.index("task_started") < names.index("task_completed")
    assert objects[-1] == {
        "event": "result",
        "execution_id": "j1",
        "status": "completed",
        "outputs": {"said": "hello you\n", "first": {"name": "you", "n": 3}},
    }
    assert [item["seq"] for item in objects[:-1]] == list(range(1, len(objects)))
    failed = program("run", "failing.yaml", "--json", "--execution-id", "j2", code=1)
    result = json.loads(failed.stdout.splitlines()[-1])
    assert result["status"] == "failed"
    assert result["exit_code"] == 1
    assert result["resume_command"] == "orchestrator resume j2"
    assert list(result["failures"]) == ["needy"]


def test_wrong_inputs_are_all_told_at_once(program: Program) -> None:
    done = program("run", "good.yaml", "-i", "n=x", "-i", "whoo=1", "-i", "days={}", code=2)
    assert "n: expected a whole number, got 'x'" in done.stderr
    assert "whoo: the pipeline good has no such input (did you mean 'who'?)" in done.stderr
    assert "days: expected a list as JSON" in done.stderr
    assert done.stdout == ""
    assert not (program.folder / ".orchestrator").exists()


def test_a_failed_run_ends_with_the_command_that_resumes_it(program: Program) -> None:
    failed = program("run", "failing.yaml", "--execution-id", "f", "--store", "sqlite:///other.db", code=1)
    assert "needy: failed after" in failed.stdout
    assert "ValueError: no ?[31mfile yet; retry in" in failed.stdout
    assert "step 'needy' failed (attempt 2): no ?[31mfile yet" in failed.stderr
    assert "1 step blocked behind" in failed.stderr
    command = failed.stderr.splitlines()[-1].removeprefix("resume with: ")
    assert command == "orchestrator resume f --store sqlite:///other.db"
    parked = program(*command.split()[1:], code=1)
    assert "plan: reused 1 · rerun 1 (needy: failed 2x: no ?[31mfile yet) · to run 1" in parked.stdout
    assert "step 'needy' parked (attempt 3): no ?[31mfile yet" in parked.stderr
    assert "release it with --retry needy, --skip needy or a higher maximum" in parked.stderr
    assert parked.stderr.splitlines()[-1] == f"resume with: {command}"
    plan = program(*command.split()[1:], "--dry-run")
    assert "waiting 2 (needy: parked: 3 failures, 2 retries allowed (release it with --retry" in plan.stdout
    assert "; behind: behind needy)" in plan.stdout
    (program.folder / "there.txt").touch()
    done = program(*command.split()[1:], "--retry", "needy")
    assert "plan: reused 1 · rerun 1 (needy: released on request) · to run 1" in done.stdout
    assert program.effects() == ["alone", "behind"]


def test_a_run_that_is_stopped_before_it_begins_is_quiet(program: Program) -> None:
    fifo = program.folder / "waits"
    subprocess.run(["mkfifo", str(fifo)], check=True)
    process = program.start("run", "good.yaml", "-i", f"who=@{fifo}")
    with fifo.open("w"):  # opens when the program reads it
        process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.strip()) == (130, "", "")


# -- resume ------------------------------------------------------------------------------------------------------


def test_resume_after_kill_9(program: Program) -> None:
    with ended(program.start("run", "slow.yaml")) as process:
        name = read_until(process, "work: started")[0].split()[1].rstrip(":")
        assert "is owned by process" in program.within("resume", name, code=4).stderr
        wait_until(lambda: "slow 1" in program.effects(), "the step, which is told of before it begins")
    assert name in program.within("list", "--status", "interrupted").stdout
    assert re.search(r"^work +interrupted +1 ", program.within("show", name).stdout, re.MULTILINE)
    assert re.search(r"^1 +interrupted ", program.within("show", name, "work").stdout, re.MULTILINE)
    assert re.search(r"work .*interrupted$", program.within("graph", name).stdout, re.MULTILINE)
    plan = program.within("resume", name, "--dry-run").stdout
    assert "plan: reused 1 · rerun 1 (work: attempt 1 was interrupted) · to run 1" in plan
    assert re.search(r"work +rerun +attempt 1 was interrupted", plan)
    assert program.effects() == ["before", "slow 1"]
    with ended(program.start("resume", name, "--grace", "0")) as process:
        lines = read_until(process, "work: started (attempt 2)")
        assert lines[:2] == [f"execution {name}: resuming", plan.splitlines()[0]]
        wait_until(lambda: "slow 2" in program.effects(), "the step, which is told of before it begins")
        process.send_signal(signal.SIGTERM)
        _out, err = process.communicate(timeout=30)
        assert process.returncode == 143
    assert "stopping: waiting up to 0 ms for 1 running step (send the signal again to leave at once)" in err
    assert err.splitlines()[-1] == f"execution {name} was stopped; go on with: orchestrator resume {name}"
    done = program("resume", name, "--skip", "work", "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["event"] == "plan"
    verbs = {each["task"]: each["verb"] for each in events[0]["decisions"]}
    assert verbs == {"before": "reuse", "work": "skip", "after": "run"}
    assert program.effects() == ["before", "slow 1", "slow 2", "after"]
    again = program("resume", name)
    assert f"execution {name} is completed already; there is nothing to run" in again.stdout
    back = program.within("resume", name, "--dry-run", "--from", f"{name}@1", "--json")
    assert json.loads(back.stdout)["counts"] == {"rerun": 3}


def test_resume_waits_for_the_owner(program: Program) -> None:
    with ended(program.start("run", "slow.yaml", "--execution-id", "w")) as first:
        read_until(first, "work: started")
        with ended(program.start("resume", "w", "--wait", "--skip", "work")) as second:
            assert second.stderr is not None
            assert second.stderr.readline().startswith("waiting for the owner of execution w: process")
            first.kill()
            assert "plan: reused 1 · to run 1 · skipped 1" in read_until(second, "plan: ")[-1]
            assert second.wait(30) == 0


def test_who_waits_for_an_owner_goes_on_with_nothing_that_was_cancelled(program: Program) -> None:
    with ended(program.start("run", "slow.yaml", "-i", "seconds=30", "--execution-id", "w")) as first:
        read_until(first, "work: started")
        with ended(program.start("resume", "w", "--wait")) as second:
            assert second.stderr is not None
            assert second.stderr.readline().startswith("waiting for the owner")
            program("cancel", "w")
            assert first.wait(30) == 1
            assert second.wait(30) == 1
            assert "cancelled meanwhile" in second.stderr.read()
    assert "after" not in program.effects()


def test_a_strategy_is_given_by_field(ran: Program) -> None:
    done = ran.within(
        "resume", "f1", "--dry-run", "--strategy", "max_retries=9", "--strategy", "preserve_completed_tasks=no"
    )
    assert "rerun 2 (alone: preserve_completed_tasks is off; needy: failed 3x: no ?[31mfile yet)" in done.stdout
    assert "did you mean max_retries=...?" in ran.within("resume", "f1", "--strategy", "max_retry=1", code=2).stderr
    assert "expected a whole number" in ran.within("resume", "f1", "--strategy", "max_retries=x", code=2).stderr


# -- looking -----------------------------------------------------------------------------------------------------


def test_list_and_show(ran: Program) -> None:
    rows = ran.within("list").stdout.splitlines()
    assert rows[0].split() == ["EXECUTION", "PIPELINE", "STATUS", "DONE", "CREATED", "SPANNING"]
    assert [row.split()[:4] for row in rows[1:]] == [
        ["f1", "failing", "failed", "1/3"],
        ["g1", "good", "completed", "3/3"],
    ]
    only = ran.within("list", "--pipeline-id", "good", "--json", "--limit", "1")
    assert json.loads(only.stdout)["execution_id"] == "g1"
    shown = ran.within("show", "f1").stdout
    assert re.search(r"needy +parked +3 .*ValueError: no \?\[31mfile yet", shown)
    assert re.search(r"behind +blocked +behind needy", shown)
    assert "resume with: orchestrator resume f1" in shown
    as_json = json.loads(ran.within("show", "g1", "--json").stdout)
    assert as_json["inputs"] == {"who": "Ann", "n": 2, "days": []}
    assert [task["status"] for task in as_json["tasks"]] == ["completed", "completed", "skipped"]
    step = ran.within("show", "g1", "second").stdout
    assert '"hello Ann"' in step  # the rendered parameter
    assert '"stdout": "hello Ann\\n"' in step
    failed = json.loads(ran.within("show", "f1", "needy", "--json").stdout)
    assert [each["outcome"] for each in failed["attempts"]] == ["failed"] * 3
    assert "cli_steps.py" in failed["error"]["trace"]
    assert "did you mean 'needy'?" in ran.within("show", "f1", "nedy", code=2).stderr


def test_checkpoints_history_and_logs(ran: Program) -> None:
    assert [json.loads(line)["reason"] for line in ran.within("checkpoints", "g1", "--json").stdout.splitlines()][
        -1
    ] == "start"
    assert len(ran.within("checkpoints", "g1", "--limit", "2").stdout.splitlines()) == 3
    facts = [json.loads(line) for line in ran.within("history", "g1", "--json").stdout.splitlines()]
    assert [fact["seq"] for fact in facts] == list(range(1, len(facts) + 1))
    last = ran.within("history", "g1", "--limit", "1").stdout
    assert re.fullmatch(r" +\d+  \S+ \S+  execution_finished  status=completed outputs_bytes=\d+\n", last)
    assert "g1@1" in ran.within("history", "good").stdout
    logs = ran.within("logs", "g1")
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} second hello Ann\n", logs.stdout)
    assert ran.within("logs", "g1", "first").stdout == ""
    assert "did you mean 'first'" in ran.within("logs", "g1", "frist", code=2).stderr
    assert json.loads(ran.within("logs", "g1", "--json", "--tail", "1").stdout)["task"] == "second"


def test_a_graph_of_a_file_and_of_an_execution(ran: Program) -> None:
    assert ran.within("graph", "good.yaml").stdout.splitlines()[0] == "●  first  python.cli_steps:note"
    drawn = ran.within("graph", "f1").stdout
    assert "✗  needy  python.cli_steps:unless  parked" in drawn
    assert "·  behind  python.cli_steps:note  blocked" in drawn
    mermaid = ran.within("graph", "f1", "--format", "mermaid").stdout
    assert mermaid.startswith('flowchart TD\n    n0["alone')
    assert "    n1 --> n2\n" in mermaid
    assert "    class n1 parked\n" in mermaid
    assert "there is no such file" in ran.within("graph", "gone.yaml", code=2).stderr


def test_validate_reports_every_mistake(ran: Program) -> None:
    done = ran.within("validate", "good.yaml", "bad.yaml", "nope.yaml", code=2)
    assert "good.yaml: OK, pipeline good, 3 steps, 3 inputs, 2 outputs" in done.stdout
    assert re.search(r"^bad\.yaml:3:1  stepps: .*did you mean 'steps'", done.stderr, re.MULTILINE)
    assert "did you mean 'shell'" in done.stderr
    assert "a -> b -> a" in done.stderr
    assert "nope.yaml  there is no such file" in done.stderr


def test_tools(ran: Program) -> None:
    listed = ran.within("tools").stdout
    assert re.search(r"^filesystem +read, write,", listed, re.MULTILINE)
    one = ran.within("tools", "shell").stdout
    assert re.search(r"^  cwd +str +default \"\.\" +the folder to run in", one, re.MULTILINE)
    assert json.loads(ran.within("tools", "shell", "--json").stdout)["name"] == "shell"
    assert "did you mean 'shell'?" in ran.within("tools", "shel", code=2).stderr


# -- changing ----------------------------------------------------------------------------------------------------


def test_cancel_with_and_without_an_owner_and_logs_that_follow(program: Program) -> None:
    with ended(program.start("run", "slow.yaml", "--execution-id", "c")) as process:
        read_until(process, "work: started")
        with ended(program.start("logs", "c", "work", "--follow")) as follower:
            assert read_until(follower, "works")[-1].endswith(" work WARNING works")
            assert program.within("cancel", "c", "--reason", "wrong input").stdout == "execution c: cancelled\n"
            out, err = process.communicate(timeout=30)
            assert process.returncode == 1
            assert follower.wait(30) == 0
    assert "cancel asked for by" in out
    assert "was cancelled by" in err
    assert "wrong input" in err
    assert "is cancelled: there is nothing to cancel" in program.within("cancel", "c", code=2).stderr
    program("run", "failing.yaml", "--execution-id", "f", code=1)
    assert program.within("cancel", "f").stdout == "execution f: cancelled\n"


def test_prune_and_verify(program: Program) -> None:
    for name in ("p1", "p2"):
        program("run", "good.yaml", "-q", "--execution-id", name)
    program("run", "failing.yaml", "-q", "--execution-id", "f", code=1)
    assert program.within("verify").stdout.startswith("OK: 3 executions,")
    assert "say what to remove" in program.within("prune", code=2).stderr
    assert "not a duration: 'soon'" in program.within("prune", "--older-than", "soon", code=2).stderr
    assert program.within("prune", "--older-than", "0s", "--keep-last", "1", "--dry-run").stdout == "p1\n"
    assert program.within("prune", "--older-than", "30d").stdout == ""
    assert program.within("prune", "--keep-last", "1").stdout == "p1\n"
    assert {file.name for file in (program.folder / ".orchestrator" / "logs").iterdir()} == {"p2.jsonl"}
    asked = program.within("prune", "--execution", "f", code=2)
    assert "f is failed and could still be resumed" in asked.stderr
    assert program.within("prune", "--execution", "f", "--yes").stdout == "f\n"
    assert [row.split()[0] for row in program.within("list").stdout.splitlines()[1:]] == ["p2"]


def test_doctor(program: Program) -> None:
    (program.folder / "orchestrator.toml").write_text("grace = 5\n")
    found = program.within("doctor", ORCHESTRATOR_STORE="sqlite:///elsewhere.db").stdout
    assert re.search(r"ok +store +sqlite:///elsewhere\.db +\(from ORCHESTRATOR_STORE\)", found)
    assert re.search(r"ok +grace +5 +\(from .*orchestrator\.toml\)", found)
    assert "not there yet; the first run makes it" in found
    assert not (program.folder / "elsewhere.db").exists()
    (program.folder / "file").write_text("no database" * 100)
    assert "BAD" in program.within("doctor", "--store", "sqlite:///file", code=6).stdout


# -- exit codes --------------------------------------------------------------------------------------------------


def test_mistakes_of_the_user(program: Program) -> None:
    assert "no command 'lst' (did you mean 'list'?)" in program.within("lst", code=2).stderr
    assert "Did you mean '--status'?" in program.within("list", "--statuss", "x", code=2).stderr
    assert "not an execution id: '../x'" in program.within("show", "../x", code=2).stderr
    assert "no execution 'x' in this store" in program.within("show", "x", code=3).stderr
    assert "no executions yet" in program.within("list").stderr
    assert not (program.folder / ".orchestrator").exists()  # looking makes no store
    program.within("resume", "x", code=3)
    program.within("logs", "x", code=3)
    program.within("run", "gone.yaml", code=2)
    assert "expected NAME=VALUE" in program.within("run", "good.yaml", "-i", "x", code=2).stderr
    assert "not a store: 'http://x'" in program.within("list", "--store", "http://x", code=2).stderr


def test_a_store_that_cannot_be_used_is_damaged_or_foreign(program: Program) -> None:
    (program.folder / "file").touch()
    assert "cannot be used" in program("run", "good.yaml", "--store", "sqlite:///file/store.db", code=6).stderr
    assert "is a folder; name a file in it" in program("list", "--store", "sqlite:///.", code=6).stderr
    with sqlite3.connect(program.folder / "foreign.db") as database:
        database.execute("CREATE TABLE t (x)")
    database.close()
    program.within("--store", "sqlite:///foreign.db", "list", code=8)
    program("run", "good.yaml", "--execution-id", "d", "-q")
    path = program.folder / ".orchestrator" / "store.db"
    with sqlite3.connect(path) as database:
        database.execute("UPDATE journal SET record = CAST(substr(record, 1, length(record) - 1) || x'00' AS BLOB)")
    database.close()
    assert "d@" in program.within("show", "d", code=7).stderr
    damaged = program.within("verify", code=7)
    assert "d: damaged record" in damaged.stdout
    program.within("resume", "d", code=7)


def test_an_id_is_taken_once(ran: Program) -> None:
    taken = ran.within("run", "good.yaml", "--execution-id", "g1", code=2)
    assert "orchestrator resume g1" in taken.stderr


# -- what surrounds it -------------------------------------------------------------------------------------------


def test_a_reader_that_leaves_does_not_end_the_run(program: Program) -> None:
    command = f"{shlex.join(PROGRAM)} run slow.yaml -i seconds=0.3 --execution-id h | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=program.folder,
        env=program.environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "execution h: slow, 3 steps\n"
    assert program.effects() == ["before", "slow 1", "after"]
    for command in ("history h | true", "--help | true", "list >&-", "run good.yaml >&- 2>&-", "history h > /dev/full"):
        line = f"set -o pipefail; {shlex.join(PROGRAM)} {command}"
        over = subprocess.run(
            ["bash", "-c", line], cwd=program.folder, env=program.environment(), capture_output=True, check=False
        )
        assert (over.returncode, over.stderr) == (0, b""), command


def test_control_characters_reach_no_terminal(program: Program) -> None:
    ran = program("run", "hostile.yaml", "--execution-id", "h")
    texts = [ran.stdout]
    texts += [program.within(*command).stdout for command in (("logs", "h"), ("show", "h"), ("show", "h", "evil"))]
    for text in texts:
        assert "?[2J" in text
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "\x1b" not in program.within("lis\x1b[2J", code=2).stderr


def test_debug_tells_the_decisions_of_a_resume(ran: Program) -> None:
    err = ran("resume", "f1", "-v", code=1).stderr
    assert "D orchestrator.resume_manager: resume of f1: reuse alone: completed at seq" in err


def test_completion(ran: Program) -> None:
    for shell, words in (
        ("bash", "complete -o nosort"),
        ("zsh", "#compdef orchestrator"),
        ("fish", "complete --no-files"),
    ):
        script = ran.within("completion", shell).stdout
        assert words in script
        assert "_ORCHESTRATOR_COMPLETE" in script
        assert "_ORC_COMPLETE" in script

    def completed(line: str) -> set[str]:
        words = line.split(" ")
        variables = {
            "_ORCHESTRATOR_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        }
        return {row.split(",")[-1] for row in ran(env=variables).stdout.splitlines() if row}

    assert completed("orchestrator re") == {"resume"}
    assert completed("orchestrator show ") == {"f1", "g1"}
    assert completed("orchestrator resume f1 --retry ne") == {"needy"}
    assert completed("orchestrator resume f1 --from f1@") >= {"f1@1"}


def test_the_script_for_bash_is_accepted(ran: Program, tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(ran.within("completion", "bash").stdout)
    subprocess.run(["bash", "-n", str(script)], check=True)


# -- how long it takes -------------------------------------------------------------------------------------------

HEAVY = ("apsw", "asyncio", "pydantic", "yaml", "jinja2", "rich", "duckdb", "pebble", "orchestrator.orchestrator")


def test_help_imports_nothing_heavy_and_a_run_not_rich(program: Program) -> None:
    timed = program("--help", env={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.split("|")[-1].strip() for line in timed.stderr.splitlines()}
    assert "orchestrator.cli.app" in imported
    assert imported.isdisjoint(HEAVY)
    timed = program("run", "good.yaml", "-q", env={"PYTHONPROFILEIMPORTTIME": "1"})
    imported = {line.split("|")[-1].strip() for line in timed.stderr.splitlines()}
    assert imported.isdisjoint({"rich", "duckdb", "pebble"})


def test_the_processor_time_of_help() -> None:
    script = (
        "import resource, subprocess, sys\n"
        "times = []\n"
        "for _ in range(3):\n"
        "    before = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "    subprocess.run([sys.executable, '-m', 'orchestrator', '--help'], stdout=subprocess.DEVNULL, check=True)\n"
        "    after = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "    times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)\n"
        "print(min(times))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True)
    assert float(plain(done.stdout)) < 0.25
