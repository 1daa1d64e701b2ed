"""A folder in which a page is followed: its files written, its code run, its commands typed, in order."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.cli.app import main
from orchestrator.compiler.compile import compile_text
from orchestrator.settings import load_settings
from tests.docs.blocks import ROOT, Block

PROGRAMS = ("orchestrator", "orc")
CHEAP = ("touch", "mkdir", "rmdir", "mv", "cat", "ls")
"""Commands that are simply run; what is not in here and no program of ours is checked in other ways."""
PATIENCE_SECONDS = 60.0


class Reader:
    """Follows one page: blocks of Python share a namespace and a loop, all blocks a folder."""

    def __init__(self, output: Callable[[], str]) -> None:
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.output = output
        self.runner = asyncio.Runner()
        self.background: subprocess.Popen[str] | None = None
        self.listener: threading.Thread | None = None
        self.heard = ""

    def close(self) -> None:
        self.runner.close()
        if self.background is not None:
            self._killed()

    def follow(self, block: Block) -> None:
        if block.file is not None:
            Path(block.file).parent.mkdir(parents=True, exist_ok=True)
            Path(block.file).write_text(block.text, "utf-8")
        match block.kind:
            case "python" if "from" not in block.notes and block.file is None:
                self._python(block)
            case "yaml" if "from" not in block.notes and "fragment" not in block.notes:
                from orchestrator import Orchestrator

                compiles = "refused" not in (block.file or "")
                if compiles:
                    compile_text(block.text, file=block.place, tools=Orchestrator().tools)
            case "console" if "not run" not in block.notes:
                self._console(block)
            case "toml" if block.file is None and not block.text.startswith("[project"):
                Path("tried").mkdir()
                Path("tried/orchestrator.toml").write_text(block.text, "utf-8")
                load_settings(cwd=Path("tried"), environ={})
            case _:
                pass

    def _python(self, block: Block) -> None:
        text = "\n" * block.line + block.text
        code = compile(text, block.place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        done = eval(code, self.names)
        if inspect.iscoroutine(done):
            self.runner.run(done)

    # -- commands ------------------------------------------------------------------------------------------------

    def _console(self, block: Block) -> None:
        typed = typed_lines(block.text)
        ours = [index for index, (line, _) in enumerate(typed) if program_of(line)]
        wanted = int(block.notes.get("exit", 0))
        for index, (line, expected) in enumerate(typed):
            code, output = self._type(block, line)
            if index in ours:
                want = wanted if index == ours[-1] else 0
                assert code == want, f"{block.place}: `{line}` ended with {code}, not {want}:\n{output}"
            if expected:
                assert matches(expected, output), (
                    f"{block.place}: `{line}` printed\n{output}\nand the page says\n{expected}"
                )

    def _type(self, block: Block, line: str) -> tuple[int, str]:
        words = shlex.split(line, comments=True)
        if words[0] in PROGRAMS and words[-1] == "&":
            return 0, self._in_background(words[1:-1], block.notes["wait"])
        if words[0] in PROGRAMS:
            self.output()
            code = main(words[1:])
            return code, self.output()
        if words[:2] == ["kill", "-9"]:
            return self._killed(), self.heard
        if words[0] == "cd":
            os.chdir(words[1])
            return 0, ""
        if words[0] in CHEAP:
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            return 0, done.stdout
        check_elsewhere(block, words)
        return 0, ""

    def _in_background(self, words: list[str], awaited: str) -> str:
        """Start a command and return once its output has what is awaited; the output so far."""
        process = self.background = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        stream = process.stdout
        assert stream is not None
        self.heard = ""

        def read() -> None:
            for line in stream:
                self.heard += line

        self.listener = threading.Thread(target=read, daemon=True)
        self.listener.start()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while re.search(awaited, self.heard) is None:
            assert process.poll() is None, f"it ended before {awaited!r}:\n{self.heard}"
            assert time.monotonic() < deadline, f"no {awaited!r} in:\n{self.heard}"
            time.sleep(0.01)
        return self.heard

    def _killed(self) -> int:
        process, self.background = self.background, None
        assert process is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
        if self.listener is not None:
            self.listener.join()  # at the end of what it wrote
        if process.stdout is not None:
            process.stdout.close()
        return 0


def typed_lines(text: str) -> list[tuple[str, str]]:
    """Return what is typed in a console block, each with the output that the page shows after it."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found:
            typed, shown = found[-1]
            found[-1] = (typed, f"{shown}{line}\n")
    return found


def program_of(line: str) -> bool:
    """Tell whether a line calls our own program, and not in the background."""
    return line.split(" ", 1)[0] in PROGRAMS and not line.rstrip().endswith("&")


def check_elsewhere(block: Block, words: list[str]) -> None:
    """Check a command that is not run: that what it names is there."""
    match words:
        case ["make", target, *_]:
            makefile = (ROOT / "Makefile").read_text("utf-8")
            assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"{block.place}: make {target}"
        case ["pip", "install", *rest]:
            for name in (word for word in rest if not word.startswith("-")):
                _check_distribution(block, name)
        case [python, "-m", module, *rest] if python.endswith("python"):
            folder = ROOT / module
            assert (folder / "__main__.py").is_file(), f"{block.place}: there is no {module}"
            sources = "\n".join(path.read_text("utf-8") for path in folder.glob("*.py"))
            for word in rest:
                if not word.isdecimal():
                    assert word.lstrip("-").replace("-", "_") in sources.replace("-", "_"), f"{block.place}: {word}"
        case _:
            raise AssertionError(f"{block.place}: nobody knows how to check {words}")


def _check_distribution(block: Block, name: str) -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    base, _, extra = name.removesuffix("]").partition("[")
    if base == project["name"]:
        assert not extra or extra in project["optional-dependencies"], f"{block.place}: no extra {extra!r}"
    else:
        pinned = (ROOT / "requirements" / "demo.txt").read_text("utf-8")
        assert base in pinned, f"{block.place}: {base} is not among the requirements of the demo"


_SAME = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+Z?"), "#time"),
    (
        re.compile(r"\b(January|February|March|April|May|June|July|August|September|October|November|December)\b"),
        "#month",
    ),
    (re.compile(r"\d[\d.,:]*( (ms|s|min|h|d))?\b"), "#"),
    (re.compile(r"[ \t]+"), " "),
)


_PASSING = re.compile(r"checkpoint \S+ \(periodic\)$|[\w-]+: .* of \S+ \(\d+ %\)")


def matches(shown: str, output: str) -> bool:
    """Tell whether an output is as a page shows it.

    Numbers, times and widths are as they come, and so are lines of progress. ``…`` stands for anything in a line,
    alone in one for any lines.
    """
    pattern = []
    for line in _kept(shown):
        if line.strip() == "…":
            pattern.append("(?:.*\n)*?")
        else:
            pattern.append(".*".join(re.escape(_plain(part)) for part in line.split("…")) + "\n")
    return re.fullmatch("".join(pattern), "".join(f"{_plain(line)}\n" for line in _kept(output))) is not None


def _kept(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if not _PASSING.match(line)]


def _plain(text: str) -> str:
    for expression, instead in _SAME:
        text = expression.sub(instead, text)
    return text
