"""Run a command; it dies with the step, and so does everything it started."""

# Programs are looked up as a shell does, by text:
# ruff: noqa: PTH100, PTH110, PTH112, PTH118, PTH119

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Any

from orchestrator.errors import TaskError
from orchestrator.ports.context import TaskContext
from orchestrator.ports.tools import Problem
from orchestrator.settings import without_secrets
from orchestrator.tools import process
from orchestrator.tools.decorator import tool
from orchestrator.tools.fileerrors import refused
from orchestrator.tools.output import Kept, Lines
from orchestrator.tools.paths import Sandbox
from orchestrator.tools.streams import Drain, Feed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_TAIL_LINES = 10
_TAIL_BYTES = 2000
_DRAIN_SECONDS = 1.0

_SECRET = re.compile(r"\{\{\s*secrets\b[^}]*\}\}")
Word = str | int | float


def _check(parameters: Mapping[str, Any], is_template: Callable[[Any], bool]) -> list[Problem]:
    command, shell = parameters.get("command"), parameters.get("shell", False)
    if problems := list(_secrets_in(command)):
        return problems
    if is_template(command) or is_template(shell):
        return []
    message = _mismatch(command, shell=bool(shell))
    return [Problem(message, ("command",))] if message else []


def _secrets_in(command: Any) -> Iterator[Problem]:
    """Yield the words of a command in which a secret is named: every process on the machine could read it there."""
    words = command if isinstance(command, list) else [command]
    for index, word in enumerate(words):
        if isinstance(word, str) and (found := _SECRET.search(word)):
            path = ("command", index) if isinstance(command, list) else ("command",)
            message = f"{found[0]}: a secret in a command's arguments is seen by everybody on the machine (ps)"
            yield Problem(message, path, "pass it by `env`, as a variable, or by `input`, as standard input")


def _mismatch(command: Any, *, shell: bool) -> str | None:
    if isinstance(command, str) and not shell:
        return "a command is a list of arguments, like [ls, -l]; `shell: true` has a text run by the shell"
    if isinstance(command, list) and shell:
        return "with `shell: true` the command is one text"
    if not command and command is not None:
        return "the command is empty"
    return None


@tool("shell", check=_check)
async def run(  # noqa: PLR0913 - they are the options of a command, given by name
    command: Annotated[list[Word] | str, "the program and its arguments; with `shell: true` a line for /bin/sh"],
    *,
    context: TaskContext,
    shell: Annotated[bool, "have /bin/sh run the command; pass values through `env`, not inside the text"] = False,
    env: Annotated[dict[str, Word] | None, "environment variables to set besides those of this process"] = None,
    cwd: Annotated[str, "the folder to run in, inside the project"] = ".",
    input: Annotated[str | None, "text for its standard input; without, that is empty"] = None,  # noqa: A002
    check: Annotated[bool, "any exit code but 0 fails the step"] = True,
    max_output: Annotated[int, "bytes kept of each of stdout and stderr: the first and the last half"] = 1_000_000,
) -> dict[str, Any]:
    """Run a command: `{exit_code, stdout, stderr, truncated}`.

    The command finds `ORCHESTRATOR_EXECUTION_ID`, `_TASK_ID`, `_ATTEMPT`, `_IDEMPOTENCY_KEY` and `_PROJECT` in its
    environment. Its output goes to the log as well. When it ends, when the step is cancelled or times out (TERM,
    then KILL after two seconds), and even when this process is killed, its whole process group ends; only what
    leaves the group on purpose (a daemon with a session of its own) does not. A command killed by signal N has the
    exit code 128 + N.

    A secret goes into `env` or `input`: everybody on the machine can see a command's arguments.

    Arguments are handed over as they are: where one comes from outside, put `--` before it, lest it be an option.
    """
    message = _mismatch(command, shell=shell)
    if message:
        raise TaskError(f"command: {message}", kind="parameters", retryable=False)
    environment = _environment(env, context)
    words = ["/bin/sh", "-c", command] if isinstance(command, str) else [_text(word) for word in command]
    for text in (*words, *environment.keys(), *environment.values()):
        if "\0" in text:
            raise TaskError("the command or its environment holds a NUL character", kind="parameters", retryable=False)
    with Sandbox(context.project).folder(cwd) as place:
        folder = str(place.full)
    words[0] = _program(words[0], environment, folder)
    kept = Kept(max_output), Kept(max_output)
    code = await _run(words, environment, folder, None if input is None else input.encode(), kept, context)
    stdout, stderr = kept[0].text(), kept[1].text()
    if check and code != 0:
        raise TaskError(
            f"{os.path.basename(words[0])} ended with exit code {code}{_tail(stderr or stdout)}", kind="exit"
        )
    return {
        "exit_code": code,
        "stdout": stdout,
        "stderr": stderr,
        "truncated": kept[0].truncated or kept[1].truncated,
    }


async def _run(
    words: list[str], env: dict[str, str], cwd: str, data: bytes | None, kept: tuple[Kept, Kept], context: TaskContext
) -> int:
    lines = [Lines(context.logger, level, kept[0].limit) for level in (logging.INFO, logging.WARNING)]
    with ExitStack() as streams:
        drains, writing = [], []
        for keep, line in zip(kept, lines, strict=True):
            read, write = os.pipe()
            writing.append(_Once(write, streams))
            drains.append(Drain(read, _both(keep, line)))
            streams.callback(drains[-1].close)
        reading = None
        if data is not None:
            source, target = os.pipe()
            reading = _Once(source, streams)
            streams.callback(Feed(target, data).close)
        try:
            group = await process.start(
                words,
                env=env,
                cwd=cwd,
                stdin=None if reading is None else reading.descriptor,
                stdout=writing[0].descriptor,
                stderr=writing[1].descriptor,
            )
        except OSError as error:
            raise TaskError(f"cannot start {words[0]!r}: {error.strerror}", kind="io") from error
        try:
            for theirs in (*writing, *([reading] if reading else [])):
                theirs.close()
            code = await group.wait()
            # Whoever still holds the streams has left the group: it is not waited for.
            await asyncio.wait([drain.done for drain in drains], timeout=_DRAIN_SECONDS)
        finally:
            await group.end()
    for line in lines:
        line.close()
    return code


class _Once:
    """A descriptor that is closed once, at the latest with the stack."""

    def __init__(self, descriptor: int, stack: ExitStack) -> None:
        self.descriptor = descriptor
        self._open = True
        stack.callback(self.close)

    def close(self) -> None:
        if self._open:
            self._open = False
            os.close(self.descriptor)


def _both(kept: Kept, lines: Lines) -> Callable[[bytes], None]:
    def take(data: bytes) -> None:
        kept.add(data)
        lines.add(data)

    return take


def _environment(env: dict[str, Word] | None, context: TaskContext) -> dict[str, str]:
    about = {
        "ORCHESTRATOR_EXECUTION_ID": context.execution_id,
        "ORCHESTRATOR_TASK_ID": context.task_id,
        "ORCHESTRATOR_ATTEMPT": str(context.attempt),
        "ORCHESTRATOR_IDEMPOTENCY_KEY": context.idempotency_key,
        "ORCHESTRATOR_PROJECT": str(context.project),
    }
    given = {name: _text(value) for name, value in (env or {}).items()}
    for name in given:
        if not name or "=" in name:
            raise TaskError(f"env: {name!r} cannot name a variable", kind="parameters", retryable=False)
    return {**without_secrets(os.environ), **given, **about}


def _text(word: Word) -> str:
    return word if isinstance(word, str) else str(word)


def _program(name: str, env: Mapping[str, str], cwd: str) -> str:
    """Return the absolute path of a program, looked for as a shell would."""
    path = os.path.join(cwd, name) if "/" in name else name
    found = shutil.which(path, path=env.get("PATH", os.defpath))
    if found is None:
        here = bool(name) and "/" not in name and os.path.exists(os.path.join(cwd, name))
        hint = f" in PATH; the one in the folder is './{name}'" if here else ""
        raise TaskError(f"there is no program {name!r}{hint}", kind="not_found", retryable=False)
    if os.path.isdir(found):
        raise refused(f"{name!r} is a folder, not a program")
    return os.path.abspath(os.path.join(cwd, found))


def _tail(text: str) -> str:
    lines = text[-_TAIL_BYTES:].strip().splitlines()[-_TAIL_LINES:]
    return ": " + "\n".join(lines) if lines else ""
