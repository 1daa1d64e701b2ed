"""The program as a person uses it: real processes in a folder of their own, with pipelines to run."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pexpect
import pytest

from orchestrator.cli import main

PROGRAM = (sys.executable, "-m", "orchestrator")
STEPS = """
import os, pathlib, time

def note(context, name):
    with open("effects.txt", "a") as file:
        file.write(name + "\\n")
    return {"name": name, "n": len(name)}

def slow(context, seconds: float = 30.0):
    note(context, f"slow {context.attempt}")
    context.logger.warning("works")
    end = time.monotonic() + seconds
    while time.monotonic() < end and not context.cancelled:
        context.progress(1, 4, "working \\x1b[31m")
        time.sleep(0.02)
    return "slept"

def unless(context, file: str):
    if not pathlib.Path(file).exists():
        raise ValueError("no \\x1b[31mfile yet")
    return file

def hostile(context):
    context.logger.info("a\\x1b[2Jb\\u202ec")
    return "x\\x1b[2Jy\\u202ez"
"""
PIPELINES = {
    "good.yaml": """
id: good
inputs:
  who: {type: string, default: you, description: whom to greet}
  n: {type: integer, default: 2}
  days: {type: list, default: []}
steps:
  - {id: first, tool: python, action: "cli_steps:note", parameters: {name: "{{ inputs.who }}"}}
  - {id: second, tool: shell, parameters: {command: [echo, "hello {{ first.result.name }}"]}}
  - id: third
    tool: shell
    parameters: {command: [echo, done]}
    condition: "{{ inputs.n > 5 }}"
    dependencies: [second]
outputs:
  said: "{{ second.result.stdout }}"
  first: "{{ first.result }}"
""",
    "slow.yaml": """
id: slow
inputs: {seconds: {type: number, default: 30}}
steps:
  - {id: before, tool: python, action: "cli_steps:note", parameters: {name: before}}
  - id: work
    tool: python
    action: "cli_steps:slow"
    parameters: {seconds: "{{ inputs.seconds }}"}
    dependencies: [before]
  - {id: after, tool: python, action: "cli_steps:note", parameters: {name: after}, dependencies: [work]}
""",
    "failing.yaml": """
id: failing
resume: {max_retries: 1}
steps:
  - {id: alone, tool: python, action: "cli_steps:note", parameters: {name: alone}}
  - id: needy
    tool: python
    action: "cli_steps:unless"
    parameters: {file: there.txt}
    retry: {max_attempts: 2, delay: 0.01}
  - {id: behind, tool: python, action: "cli_steps:note", parameters: {name: behind}, dependencies: [needy]}
""",
    "hostile.yaml": """
id: hostile
steps: [{id: evil, tool: python, action: "cli_steps:hostile"}]
outputs: {it: "{{ evil.result }}"}
""",
    "bad.yaml": """
id: bad
stepps: []
steps:
  - {id: a, tool: shel, dependencies: [b]}
  - {id: b, tool: shell, parameters: {command: [ls]}, dependencies: [a]}
""",
}


class Ended(NamedTuple):
    """How a call of the program ended."""

    returncode: int
    stdout: str
    stderr: str


@dataclass
class Program:
    """The program in one folder."""

    folder: Path

    def __post_init__(self) -> None:
        steps = "from orchestrator import TaskContext\n" + STEPS.replace("(context", "(context: TaskContext")
        steps = steps.replace("note(context: TaskContext, f", "note(context, f")
        (self.folder / "cli_steps.py").write_text(steps)
        for name, text in PIPELINES.items():
            (self.folder / name).write_text(text)

    def environment(self, **more: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("ORCHESTRATOR_", "_ORC"))}
        for name in ("NO_COLOR", "COLUMNS", "LINES", "TERM"):
            kept.pop(name, None)
        return kept | {"TERM": "xterm"} | more

    def __call__(self, *arguments: str, code: int | None = 0, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run to the end; ``code`` is the exit code that must come (None: any)."""
        environment = self.environment(**more.pop("env", {}))
        done = subprocess.run(
            [*PROGRAM, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            stdin=subprocess.DEVNULL,
            check=False,
            **more,
        )
        assert code is None or done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def within(self, *arguments: str, code: int = 0, **env: str) -> Ended:
        """Run to the end in this very process: for what only looks, and looks often."""
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8") as out,
            tempfile.TemporaryFile("w+", encoding="utf-8") as err,
            pytest.MonkeyPatch.context() as patch,
        ):
            for name in [name for name in os.environ if name.startswith(("ORCHESTRATOR_", "_ORC"))]:
                patch.delenv(name)
            for name, value in env.items():
                patch.setenv(name, value)
            patch.chdir(self.folder)
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            ended = main(list(arguments))
            out.seek(0)
            err.seek(0)
            done = Ended(ended, out.read(), err.read())
        assert ended == code, done
        assert "Traceback" not in done.stderr
        return done

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        """Start a process whose stdout is a pipe."""
        return subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=self.folder,
            env=more.pop("env", None) or self.environment(),
            stdout=more.pop("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            encoding="utf-8",
            **more,
        )

    def terminal(self, *arguments: str, **env: str) -> pexpect.spawn[str]:
        """Start a process in a terminal of its own."""
        return pexpect.spawn(
            PROGRAM[0],
            [*PROGRAM[1:], *arguments],
            cwd=str(self.folder),
            env=self.environment(**env),
            encoding="utf-8",
            dimensions=(30, 120),
            timeout=30,
        )

    def effects(self) -> list[str]:
        file = self.folder / "effects.txt"
        return file.read_text().splitlines() if file.exists() else []


@contextlib.contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """Kill a process at the latest here, and close its pipes."""
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """Read lines of stdout up to one that holds ``text``."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if text in line:
            return lines
    assert process.stderr is not None
    raise AssertionError(f"{text!r} never came: {lines} {process.stderr.read()}")


def plain(text: str) -> str:
    """Return terminal output without its escapes."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", text)


def wait_until(condition: Any, description: str, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {description}"
        time.sleep(0.02)
