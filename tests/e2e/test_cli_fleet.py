"""submit, serve, ps, queues, pause, and many executions at once, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli_helpers import Program


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def statuses(program: Program) -> dict[str, str]:
    return {one["execution_id"]: one["status"] for one in objects(program.within("list", "--json").stdout)}


def test_submit_serve_and_the_result(program: Program) -> None:
    assert program.within("submit", "good.yaml", "-i", "who=Ann", "--execution-id", "g1").stdout == "g1\n"
    submitted = program.within("submit", "good.yaml", "--queue", "q", "--priority", "3", "--json").stdout
    (told,) = objects(submitted)
    assert (told["event"], told["queue"], told["priority"]) == ("submitted", "q", 3)
    assert "first: " not in submitted
    served = program.within("serve", "--queues", "q, default", "--exit-when-idle", "--json").stdout
    lines = objects(served)
    assert lines[0]["event"] == "serving"
    assert {line["execution_id"]: line["text"] for line in lines if line["event"] == "ended"} == {
        "g1": "completed", told["execution_id"]: "completed",
    }  # fmt: skip
    assert lines[-1] == lines[-1] | {"event": "served", "text": "2 executions ended here"}
    assert set(statuses(program).values()) == {"completed"}
    assert program.within("show", "g1").stdout.count("completed")
    assert program.within("ps").stderr == "nothing runs, and nothing waits\n"


def test_submit_waits_for_the_end(program: Program) -> None:
    with_server = program.start("serve", "--json")
    try:
        done = program.within("submit", "good.yaml", "-i", "who=Ann", "--execution-id", "g1", "--wait")
        assert done.stdout.splitlines()[:2] == ["g1", "said: hello Ann"]
        failed = program.within("submit", "failing.yaml", "--execution-id", "f1", "--wait", "--json", code=1)
        last = objects(failed.stdout)[-1]
        assert (last["event"], last["status"], last["error"]) == ("result", "failed", "ExecutionFailed")
        assert "orchestrator resume f1" in failed.stderr
    finally:
        with_server.terminate()
        out, _ = with_server.communicate(timeout=30)
    assert with_server.returncode == 0
    assert objects(out)[-1]["event"] == "served"


def test_what_is_wrong_is_told_before_anything_is_kept(program: Program) -> None:
    assert "did you mean" in program.within("submit", "bad.yaml", code=2).stderr
    assert "--priority" in program.within("submit", "good.yaml", "--priority", "high", code=2).stderr
    assert "not a queue's name" in program.within("submit", "good.yaml", "--queue", "a b", code=2).stderr
    assert "not a queue's name" in program.within("serve", "--queues", "a b", code=2).stderr
    assert "name at least one" in program.within("serve", "--queues", ",", code=2).stderr
    assert "--grace" in program.within("serve", "--grace", "-1", code=2).stderr
    assert program.within("list").stdout == ""


def test_ps_and_queues(program: Program) -> None:
    assert program.within("queues").stderr == "no queues: nothing was set, and nothing waits\n"
    program.within("submit", "good.yaml", "--execution-id", "g1", "--queue", "q")
    program.within("pause", "g1", "--reason", "lunch")
    kinds = objects(program.within("ps", "--json").stdout)
    (queue,) = [one for one in kinds if one["kind"] == "queue"]
    (execution,) = [one for one in kinds if one["kind"] == "execution"]
    assert (queue["name"], queue["waiting"], queue["owned"]) == ("q", 1, 0)
    assert (execution["state"], execution["queue"], execution["waiting"]) == ("paused", "q", True)
    assert "lunch" in program.within("ps").stdout
    program.within("queues", "set", "q", "--limit", "2")
    program.within("queues", "pause", "q")
    (queue,) = objects(program.within("queues", "--json").stdout)
    assert queue["limit"] == 2
    assert queue["paused_by"]
    program.within("queues", "set", "q", "--no-limit")
    (queue,) = objects(program.within("queues", "resume", "q", "--json").stdout)
    assert (queue["limit"], queue["paused_by"]) == (None, None)
    for wrong, message in (
        (["set", "q"], "--limit N or --no-limit"),
        (["set", "q", "--limit", "1", "--no-limit"], "--limit N or --no-limit"),
        (["pause"], "name the queue"),
        (["pause", "q", "--limit", "1"], "go with `queues set QUEUE`"),
        (["set", "a b", "--limit", "1"], "not a queue's name"),
    ):
        assert message in program.within("queues", *wrong, code=2).stderr


def test_many_at_once(program: Program) -> None:
    for name in ("a", "b", "c"):
        program.within("submit", "good.yaml", "--execution-id", name, "--queue", "q" if name == "c" else "default")
    program.within("submit", "slow.yaml", "--execution-id", "s")
    looked = program.within("pause", "--all", "--pipeline-id", "good", "--dry-run")
    assert sorted(line.split()[0] for line in looked.stdout.splitlines()) == ["a", "b", "c"]
    assert looked.stderr == "would pause 3 executions\n"
    assert "say --yes" in program.within("pause", "--all", code=2).stderr
    assert set(statuses(program).values()) == {"created"}
    program.within("pause", "--all", "--pipeline-id", "good", "--since", "1h", "--yes")
    assert statuses(program) == {"a": "paused", "b": "paused", "c": "paused", "s": "created"}
    resumed = program.within("resume", "--all", "--queue", "q", "--to-queue", "other", "--priority", "4", "--yes")
    assert resumed.stdout == "execution c: waits in queue other\n"
    program.within("cancel", "--all", "--status", "paused", "--yes", "--reason", "enough")
    assert statuses(program) == {"a": "cancelled", "b": "cancelled", "c": "created", "s": "created"}
    assert program.within("resume", "a", "--detach").stdout == "execution a: waits in queue default\n"
    assert program.within("cancel", "a", "nobody", "c", code=3).stderr.count("no execution 'nobody'") == 1
    assert statuses(program)["c"] == "cancelled"
    program.within("cancel", "--all", "--yes")
    assert "nothing to cancel" in program.within("cancel", "--all", "--yes").stderr
    assert program.within("resume", "--all", "--status", "cancelled", "--dry-run").stdout.count("\n") == 4


def test_a_choice_is_made_clearly(program: Program) -> None:
    assert "no store yet" in program.within("cancel", "--all", "--yes").stderr
    program.within("submit", "good.yaml", "--execution-id", "a")
    for command in ("cancel", "pause", "resume"):
        for wrong, message in (
            ([], "name an execution, or choose by --all"),
            (["a", "--all"], "not both"),
            (["a", "--status", "running"], "say --all"),
            (["--all", "--since", "long", "--yes"], "--since"),
        ):
            assert message in program.within(command, *wrong, code=2).stderr
    assert "--dry-run goes with --all" in program.within("cancel", "a", "--dry-run", code=2).stderr
    assert "runs here" in program.within("resume", "a", "--detach", "--until", "first", code=2).stderr
    assert "--detach or --all" in program.within("resume", "a", "--priority", "1", code=2).stderr
    program.within("run", "good.yaml", "--execution-id", "done", "--quiet")
    for words in (["pause", "done"], ["resume", "done", "--detach"]):
        assert "completed" in program.within(*words, code=2).stderr
    assert statuses(program) == {"a": "created", "done": "completed"}
