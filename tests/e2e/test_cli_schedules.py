"""`orchestrator schedules`, and the folder that users copy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli_helpers import Program

EXAMPLE = Path(__file__).parents[2] / "examples" / "nightly"
FILE = """
id: m
inputs: {at: {type: string}}
schedule: {cron: "30 2 29 2 *", timezone: Europe/Berlin, catchup: all, input: at}
steps: [{id: first, tool: python, action: "cli_steps:note", parameters: {name: "{{ inputs.at }}"}}]
"""


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_what_was_run_and_what_comes(program: Program) -> None:
    (program.folder / "m.yaml").write_text(FILE)
    rows = objects(program.within("schedules", "m.yaml", "--next", "2", "--json").stdout)
    assert not (program.folder / ".orchestrator" / "store.db").exists()  # looking makes no store
    assert [row["at"][4:] for row in rows] == ["-02-29T01:30:00.000Z"] * 2
    assert [row["local"][4:] for row in rows] == ["-02-29T02:30:00+01:00"] * 2
    assert {row["state"] for row in rows} == {"to come"}
    began = objects(program.within("serve", "--schedule", "m.yaml", "--exit-when-idle", "--json").stdout)
    assert [line["text"] for line in began if line["event"] == "schedule"] == [f"m, next {rows[0]['local']}"]
    for number, year in enumerate((2016, 2020, 2024)):
        name = f"m.{year}-02-29T0130Z"
        words = ("submit", "m.yaml", "--execution-id", name, "-i", "at=x")
        program.within(*words)
        if number:
            program.within("cancel", name, "--reason", "holidays")
    (program.folder / "every.yaml").write_text(FILE.replace("id: m", "id: e").replace("30 2 29 2 *", "@hourly"))
    shown = program.within("schedules", "m.yaml", "every.yaml", "--last", "3", "--next", "1").stdout
    first, second = shown.split("\n\n")
    lines = first.splitlines()
    assert lines[0] == "m: 30 2 29 2 * in Europe/Berlin, catchup all, overlap queue"
    assert lines[1].split() == ["TIME", "UTC", "EXECUTION", "STATE", "REASON"]
    assert lines[2].startswith("Sat 2020-02-29 02:30 +0100  2020-02-29 01:30  m.2020-02-29T0130Z  cancelled  by ")
    assert lines[2].endswith("holidays")
    assert lines[4].endswith("cancelled  by the schedule: it is served from here on")
    assert "to come" in lines[5]
    assert second.startswith("e: @hourly in Europe/Berlin")


def test_times_that_came_meanwhile(program: Program) -> None:
    for name, catchup in (("n", "none"), ("a", "all")):
        text = FILE.replace("id: m", f"id: {name}").replace("catchup: all", f"catchup: {catchup}")
        (program.folder / f"{name}.yaml").write_text(text)
        program.within("submit", f"{name}.yaml", "--execution-id", f"{name}.2016-02-29T0130Z", "-i", "at=x")
    missed = program.within("schedules", "n.yaml", "--next", "0")
    assert "waiting  for a server" in missed.stdout
    assert "due" not in missed.stdout
    assert "came since, and will not be run (catchup: none)" in missed.stderr
    due = program.within("schedules", "a.yaml", "--next", "0", "--json").stdout
    assert [row["execution_id"] for row in objects(due) if row["state"] == "due"][:2] == [
        "a.2020-02-29T0130Z",
        "a.2024-02-29T0130Z",
    ]
    served = program.within("serve", "--schedule", "a.yaml", "--exit-when-idle").stdout
    assert "a.2020-02-29T0130Z: waits: for the end of a.2016-02-29T0130Z" in served
    assert program.effects()[2:4] == ["2020-02-29T02:30:00+01:00", "2024-02-29T02:30:00+01:00"]


def test_what_is_wrong_is_told(program: Program) -> None:
    (program.folder / "m.yaml").write_text(FILE.replace("30 2 29", "30 25 29"))
    told = program.within("schedules", "m.yaml", "good.yaml", "none.yaml", code=2).stderr
    assert "m.yaml:4:18  schedule.cron: hour '25': 25 is not between 0 and 23" in told
    assert 'good.yaml  schedule: pipeline good has no schedule (add one, like schedule: "0 2 * * *")' in told
    assert "none.yaml  there is no such file" in told
    assert "has no schedule" in program.within("serve", "--schedule", "good.yaml", code=2).stderr
    (program.folder / "n.yaml").write_text(FILE)
    assert "two schedules" in program.within("serve", *("--schedule", "n.yaml") * 2, code=2).stderr


def test_the_example_runs(program: Program) -> None:
    folder = program.folder / "nightly"
    shutil.copytree(EXAMPLE, folder)
    copied = Program(folder)
    copied.within("run", "pipeline.yaml", "-i", "at=2026-03-29", "--quiet")
    (report,) = folder.glob("reports/*.json")
    shops = json.loads(report.read_text())
    assert report.name == "before-2026-03-29.json"
    assert sum(shop["sales"] for shop in shops) == 8
    assert "schedule 30 2 * * * in Europe/Berlin" in copied.within("validate", "pipeline.yaml").stdout
