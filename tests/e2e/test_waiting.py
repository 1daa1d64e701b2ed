"""Waiting across processes: they leave, are killed, and others go on; what is before the wait runs once."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli_helpers import Program, ended, read_until, wait_until

PIPELINE = """
id: release
steps:
  - {id: first, tool: python, action: "cli_steps:note", parameters: {name: first}}
  - id: review
    tool: approval
    parameters: {question: "Publish {{ first.result.name }}?", choices: [publish, discard], send_back: first}
  - {id: paid, tool: wait, parameters: {signal: paid, schema: {type: integer}}, dependencies: review}
  - {id: last, tool: python, action: "cli_steps:note", parameters: {name: last}, dependencies: paid}
outputs: {by: "{{ review.result.by }}"}
"""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    made = Program(tmp_path)
    (tmp_path / "release.yaml").write_text(PIPELINE)
    return made


def show(program: Program, step: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(program.within("show", "r", step, "--json").stdout)
    return found


def test_left_answered_and_gone_on_with(program: Program) -> None:
    left = program("run", "release.yaml", "--execution-id", "r", "--no-wait", code=9)
    assert "review: waits for an answer: Publish first? [publish / discard / send back to first]" in left.stdout
    assert "execution r is waiting:" in left.stderr
    assert "answer with: orchestrator approve r review" in left.stderr
    assert "waiting" in program.within("list").stdout
    assert "Publish first?" in program.within("approve").stdout
    assert "there are publish, discard" in program.within("approve", "r", "review", code=2).stderr
    assert "not JSON" in program.within("signal", "r", "paid", "--payload", "{", code=2).stderr
    said = program.within("approve", "r", "review", "publish", "--comment", "good", "--by", "Ann")
    assert "go on with: orchestrator resume r" in said.stderr
    last = [
        json.loads(line) for line in program.within("resume", "r", "--no-wait", "--json", code=9).stdout.splitlines()
    ]
    assert (last[-1]["status"], last[-1]["exit_code"], list(last[-1]["waits"])) == ("waiting", 9, ["paid"])
    assert "expected" in program.within("signal", "r", "paid", "--payload", '"x"', code=2).stderr
    program.within("signal", "r", "paid", "--payload", "3")
    assert "by: Ann" in program.within("resume", "r", "--quiet").stdout
    assert program.effects() == ["first", "last"]
    assert show(program, "review")["result"]["comment"] == "good"
    assert program.within("verify").stdout.startswith("OK")


def test_killed_while_it_waits_and_while_it_takes_the_signal(program: Program) -> None:
    process = program.start("run", "release.yaml", "--execution-id", "r")
    with ended(process):
        read_until(process, "review: waits")
        process.kill()
        assert process.wait(20) == -signal.SIGKILL
    program.within("approve", "r", "review", "publish", "--by", "Ann")
    for point in ("before_signal", "after_signal"):
        program("resume", "r", "--no-wait", code=-signal.SIGKILL, env={"ORCHESTRATOR_CRASH_POINT": point})
    program.within("signal", "r", "paid", "--payload", "3")
    program.within("resume", "r", "--quiet")
    assert program.effects() == ["first", "last"]
    facts = [json.loads(line)["event"] for line in program.within("history", "r", "--json").stdout.splitlines()]
    assert facts.count("signal_received") == 2
    assert program.within("verify").stdout.startswith("OK")


def test_a_run_that_stays_hears_of_an_answer_from_another_process(program: Program) -> None:
    process = program.start("run", "release.yaml", "--execution-id", "r")
    with ended(process):
        read_until(process, "review: waits")
        sent = program.within("approve", "r", "review", "--send-back", "first", "--comment", "again")
        assert "it goes on:" in sent.stderr
        read_until(process, "review: sent back to first by")
        read_until(process, "review: waits")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    assert program.effects() == ["first", "first"]
    assert show(program, "review")["status"] == "waiting"


def test_a_server_takes_it_up_on_a_signal(program: Program) -> None:
    server = program.start("serve", "--json")
    with ended(server):
        program.within("submit", "release.yaml", "--execution-id", "r")
        wait_until(lambda: program.within("approve", "--json").stdout, "it asks")
        said = program.within("approve", "r", "review", "publish")
        assert "the next server of queue default goes on with it" in said.stderr or "it goes on" in said.stderr
        program.within("signal", "r", "paid", "--payload", "3")
        wait_until(lambda: program.effects() == ["first", "last"], "it is done")
        server.terminate()
        assert server.wait(30) == 0
