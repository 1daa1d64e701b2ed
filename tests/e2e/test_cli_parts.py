"""The parts of the command line that need no process: help pages, drawings, words."""

from __future__ import annotations

import doctest
import shlex
from pathlib import Path
from types import ModuleType

import click
import pytest

from orchestrator.cli import app, display, doctor, drawing, output
from orchestrator.cli.common import Command
from orchestrator.cli.inspect import list_command
from orchestrator.settings import seconds_of


@pytest.mark.parametrize("name", app.COMMANDS)
def test_every_example_in_a_help_page_parses(name: str) -> None:
    context = click.Context(app.program, info_name="orchestrator", **app.program.context_settings)
    command = app.program.get_command(context, name)
    assert isinstance(command, Command)
    assert command.examples
    assert command.help is not None
    assert command.help.split("\n\n")[0] == app.COMMANDS[name][1]
    for example in command.examples:
        words = shlex.split(example.split(" > ")[0].split(" >> ")[0])
        assert words[:2] == ["orchestrator", name]
        with click.Context(app.program, info_name="orchestrator", **app.program.context_settings) as parent:
            command.make_context(name, words[2:], parent=parent)


def test_the_shared_options_may_stand_before_and_after_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--store", "memory://before", "list"]) == 0
    assert app.main(["list", "--store", "memory://after"]) == 0
    assert "no executions yet" in capfd.readouterr().err


def test_a_bug_of_ours_ends_with_70_and_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(**_options: object) -> None:
        raise RuntimeError("x\x1b[2J")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(list_command, "callback", broken)
    assert app.main(["list"]) == 70
    said = capfd.readouterr().err
    assert "this is a bug in orchestrator: RuntimeError: x?[2J" in said
    assert "Traceback" not in said
    (kept,) = (tmp_path / ".orchestrator").iterdir()
    assert "in broken" in kept.read_text()
    assert kept.name in said


@pytest.mark.parametrize("module", [output, drawing, display, doctor])
def test_the_examples_in_docstrings(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


def test_a_chain_is_drawn_in_one_lane_and_many_edges_as_levels() -> None:
    assert drawing.draw({"a": (), "b": ("a",), "c": ("b",)}, str) == ["●  a", "●  b", "●  c"]
    fan = {"s": (), **{f"t{number}": ("s",) for number in range(100)}}
    lines = drawing.draw(fan, str)
    assert lines[:3] == ["level 1: 1 step", "  s", "level 2: 100 steps"]
    assert lines[-1] == "  … and 80 more"


def test_a_drawing_has_each_step_once_whatever_the_graph() -> None:
    graph: dict[str, list[str]] = {}
    for number in range(14):
        graph[f"n{number}"] = [f"n{need}" for need in {number // 2, number // 3, number - 1} if 0 <= need < number]
    lines = drawing.draw(graph, lambda step: f"<{step}>")
    for step in graph:
        assert sum(f"<{step}>" in line for line in lines) == 1
    order = [line.split("<")[1].rstrip(">") for line in lines if "<" in line]
    assert all(order.index(need) < order.index(step) for step in graph for need in graph[step])


def test_a_long_chain_needs_no_recursion() -> None:
    chain = {f"n{number}": [f"n{number - 1}"] if number else [] for number in range(20_000)}
    assert len(drawing.draw(chain, str)) == 20_000


@pytest.mark.parametrize("text", ["", "x", "-1d", "1y", "1 d 2", "٣d", "30"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        seconds_of(text)
