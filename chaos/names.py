"""``python -m chaos.corpora ids``: one rule says what an id is, at every door; none leads out of the store's folder."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from chaos.cases import campaign, options
from chaos.trials import default_base
from orchestrator import Orchestrator, Pipeline, Task
from orchestrator.compiler import compile_text
from orchestrator.compiler.expressions import RESERVED
from orchestrator.domain.ids import TaskId
from orchestrator.errors import DefinitionError, NoCheckpoint, UnknownExecution, UsageError
from orchestrator.tools.registry import ToolRegistry

if TYPE_CHECKING:
    import argparse

CORPUS = [
    *(
        "",
        "a",
        "A",
        "_",
        "-a",
        "-",
        "--help",
        ".",
        "..",
        "...",
        ".a",
        "a.",
        "../a",
        "..\\a",
        "/etc",
        "a/b",
        "a/../b",
        "/",
    ),
    *(
        "CON",
        "con",
        "NUL",
        "COM1",
        "a:b",
        "C:",
        "~",
        "$HOME",
        "${x}",
        "`id`",
        "a b",
        " a",
        "a ",
        "\t",
        "a\n",
        "\na",
        "\x00",
    ),
    *(
        "a\x00b",
        "%",
        "_%",
        "%2e%2e",
        "*",
        "?",
        "[a]",
        "'",
        "' OR 1=1--",
        '"',
        "a;b",
        "a@1",
        "@",
        "a@",
        "#",
        "a#b",
        "a,b",
    ),
    *(
        "é",
        "e\u0301",
        "\u202ea",
        "\u200b",
        "\ufeffa",
        "\U0001f600",
        "\u0660",
        "\uff41",
        "\u2024\u2024",
        "\ud800",
        "ſ",
        "İ",
    ),
    *(
        "a" * 127,
        "a" * 128,
        "a" * 129,
        "a" * 255,
        "a" * 100_000,
        "é" * 128,
        "0",
        "007",
        "1e5",
        "1.5",
        "null",
        "true",
        "no",
    ),
    *(
        "__proto__",
        "constructor",
        "__class__",
        "{{ a }}",
        "!!python/name:os",
        "<script>",
        "$.x') UNION SELECT 1--",
        "a..b",
    ),
]
_LETTERS = "aZ09_-./\\ \n\x00%'*@:é\u0301\u202e\U0001f600\ud800"


def name_of(number: int) -> str:
    """Return the id of a number: the corpus first, then random ones, of which half are near the rule."""
    if number <= len(CORPUS):
        return CORPUS[number - 1]
    chance = Random(number)
    letters = _LETTERS[:8] if number % 2 else _LETTERS
    return "".join(chance.choices(letters, k=chance.choice((1, 2, 3, 8, 126, 128, 130))))


def expected(name: str) -> bool:
    """Tell what the documented rule says, in other words than the product does."""
    letters = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")
    return 1 <= len(name) <= 128 and name[0] in letters and set(name) <= letters | {".", "-"}


def _tools() -> ToolRegistry:
    async def noop() -> None:
        """Do nothing."""

    tools = ToolRegistry(sources=[])
    tools.register("noop", noop)
    return tools


TOOLS = _tools()


def _doors(name: str) -> dict[str, Callable[[], Any]]:
    """Return the doors of definitions; step ids obey the same rule, and are no reserved words either."""
    spelled = json.dumps(name)
    return {
        "YAML, pipeline": lambda: compile_text(f"{{id: {spelled}, steps: [{{id: a, tool: noop}}]}}").id,
        "YAML, step": lambda: next(iter(compile_text(f"{{id: p, steps: [{{id: {spelled}, tool: noop}}]}}").tasks)),
        "Python, pipeline": lambda: Pipeline(id=name, tasks=[Task(TaskId("a"), "noop")], tools=TOOLS).id,
        "Python, step": lambda: next(iter(Pipeline(id="p", tasks=[Task(TaskId(name), "noop")], tools=TOOLS).tasks)),
    }


def _calls(made: Orchestrator, name: str) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return the doors that take an execution that is not there."""
    resume, state = made.resume_manager, made.state_manager
    return {
        "resume_pipeline": lambda: made.resume_pipeline(name),
        "plan": lambda: made.plan(name),
        "can_resume": lambda: resume.can_resume(name),
        "get_resume_state": lambda: resume.get_resume_state(name),
        "validate": lambda: resume.validate(name),
        "list_checkpoints": lambda: state.list_checkpoints(name),
        "restore_checkpoint": lambda: state.restore_checkpoint(f"{name}@1"),
        "delete_checkpoint": lambda: state.delete_checkpoint(f"{name}@1"),
        "remove": lambda: state.remove([name]),
    }


def _defining(name: str) -> Iterator[str]:
    valid = expected(name)
    for door, use in _doors(name).items():
        allowed = valid and not (door.endswith("step") and name in RESERVED)
        try:
            if use() != name or not allowed:
                yield f"{door}: taken, or taken as another id"
        except DefinitionError:
            if allowed:
                yield f"{door}: refused"


async def _executing(name: str, folder: Path) -> AsyncIterator[str]:
    valid = expected(name)
    async with Orchestrator(store=f"sqlite:///{folder}/store/store.db?durability=process", tools=TOOLS) as made:
        for door, call in _calls(made, name).items():
            try:
                await call()
                taken = True
            except (NoCheckpoint, UnknownExecution):
                taken = True
            except UsageError:
                taken = False
            if taken != valid:
                yield f"{door}: {'taken' if taken else 'refused'}"
        async for violated in _running(made, name):
            yield violated


async def _running(made: Orchestrator, name: str) -> AsyncIterator[str]:
    valid = expected(name)
    pipeline = Pipeline(id="p", tasks=[Task(TaskId("a"), "noop")], tools=TOOLS)
    try:
        await made.run_pipeline(pipeline, execution_id=name)
    except UsageError:
        if valid:
            yield "run_pipeline: refused"
        return
    if not valid:
        yield "run_pipeline: taken"
    listed = [summary.execution_id for summary in await made.list_executions()]
    checkpoints = await made.state_manager.list_checkpoints(name)
    if listed != [name] or {entry["execution_id"] for entry in checkpoints} != {name}:
        yield f"listed as {listed!r}"
    await made.state_manager.remove([name])
    if await made.list_executions():
        yield "removed, and still there"


def _tree(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder)) for path in folder.rglob("*") if "store" not in path.relative_to(folder).parts
    }


def case(number: int) -> tuple[str, str]:
    """Take the id of a number through every door."""
    name = name_of(number)
    folder = Path(tempfile.mkdtemp(prefix="ids-", dir=default_base()))
    try:
        for part in ("store", "a", "etc"):
            (folder / part).mkdir()
            (folder / part / "kept").write_text("kept")
        before = _tree(folder)

        async def all_of_them() -> list[str]:
            return [*_defining(name), *[violated async for violated in _executing(name, folder)]]

        try:
            found = asyncio.run(all_of_them())
        except Exception as error:  # noqa: BLE001 - any other is a violation
            found = [f"{type(error).__name__}: {error}"]
        if _tree(folder) != before or not (folder / "store" / "kept").exists():
            found.append(f"changed outside of the store: {sorted(_tree(folder) ^ before)}")
    finally:
        shutil.rmtree(folder)
    repeat = f"\n    python -m chaos.corpora ids --seed {number} --examples 1"
    return "ids taken" if expected(name) else "ids refused", f"I15 {name[:60]!r}: {found[0]}{repeat}" if found else ""


def run(arguments: argparse.Namespace) -> int:
    """Take as many as asked; return the exit code."""
    return campaign("ids", case, arguments.count, arguments).report(arguments)


def register(commands: Any) -> None:
    """Add the command (see ``chaos.outcome``)."""
    parser: argparse.ArgumentParser = commands.add_parser("ids", help="ids of all kinds, through every door")
    options(parser, "examples", 20_000)
    parser.set_defaults(run=run)
