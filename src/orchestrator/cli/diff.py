"""`orchestrator diff`: what differs between two executions, or two checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.completing import complete_position
from orchestrator.cli.inspect import as_json_option
from orchestrator.cli.output import duration, plural
from orchestrator.domain.changes import MISSING
from orchestrator.domain.diff import TaskDifference

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.domain.changes import Change
    from orchestrator.domain.diff import Contents, Diff, Side, TaskDiff, TaskSide
    from orchestrator.domain.revision import PipelineChanges

ROWS = 50
"""Steps shown of those that differ."""
TIMINGS = 10
"""Steps shown of those whose time has changed."""
CHANGES = 5
"""Parts shown of a result that differs."""


@click.command(
    "diff",
    cls=Command,
    examples=(
        "orchestrator diff exec_1a2b3c exec_4d5e6f",
        "orchestrator diff exec_1a2b3c@17 exec_1a2b3c",
        "orchestrator diff exec_1a2b3c exec_4d5e6f --no-values --exit-code",
        "orchestrator diff exec_1a2b3c exec_4d5e6f --json",
    ),
)
@click.argument("a", metavar="A", shell_complete=complete_position)
@click.argument("b", metavar="B", shell_complete=complete_position)
@click.option("--no-values", is_flag=True, help="Tell which results differ, and do not load them to tell where.")
@click.option(
    "--all", "everything", is_flag=True, help=f"Show all steps that differ, where there are more than {ROWS}."
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 if anything differs but times and attempts.")
@as_json_option
@pass_common
async def diff_command(
    common: Common, a: str, b: str, *, no_values: bool, everything: bool, exit_code: bool, as_json: bool
) -> int:
    """Show what differs between two executions, or two checkpoints.

    A and B are each an execution, in its present state, or a checkpoint (EXECUTION@SEQ); two of one execution tell what
    happened in between. Compared are the definition, the inputs, the status and the result of each step, the outputs,
    and how long it all took. Results are compared by their digests; where they differ is told of the first ones that
    are not too large.
    """
    from orchestrator.domain.ids import parse_position

    names = [parse_position(text)[0] for text in (a, b)]
    async with common.reading(names[0]) as orchestrator:
        found = await orchestrator.diff(a, b, values=not no_values)
    if as_json:
        output.emit(diff_object(found))
    else:
        _print(found, everything=everything)
    return 1 if exit_code and not found.equal else 0


# -- for machines ------------------------------------------------------------------------------------------------


def diff_object(diff: Diff) -> dict[str, Any]:
    """Return a diff for machines: all steps that differ, and the times of all that took another time."""
    return {
        "equal": diff.equal,
        "a": _side_object(diff.a),
        "b": _side_object(diff.b),
        "definition": _definition_object(diff.definition),
        "inputs": _change_objects(diff.inputs),
        "counts": {difference.value: count for difference, count in diff.counts().items()},
        "tasks": [_task_object(each) for each in diff.differing()],
        "outputs": _contents_object(diff.outputs),
        "timings": [
            {"task": each.task, "seconds": [each.a.seconds, each.b.seconds], "slower": each.slower}
            for each in diff.slowest(None)
            if each.a is not None and each.b is not None
        ],
    }


def _side_object(side: Side) -> dict[str, Any]:
    return {
        "checkpoint_id": side.checkpoint_id,
        "pipeline": side.pipeline_id,
        "status": side.status.value,
        "error": _error_object(side.error),
        "completed": side.done,
        "total": side.total,
        "seconds": side.seconds,
    }


def _definition_object(changes: PipelineChanges) -> dict[str, Any] | None:
    if not changes:
        return None
    return {
        "added": list(changes.added),
        "removed": list(changes.removed),
        "renamed": changes.renamed,
        "changed": {name: _change_objects(parts) for name, parts in changes.changed.items()},
        "settings": _change_objects(changes.settings),
    }


def _task_object(each: TaskDiff) -> dict[str, Any]:
    return {
        "task": each.task,
        "was": each.was,
        "difference": each.difference.value,
        "a": _task_side_object(each.a),
        "b": _task_side_object(each.b),
        "result": _contents_object(each.contents),
    }


def _task_side_object(side: TaskSide | None) -> dict[str, Any] | None:
    if side is None:
        return None
    return {
        "status": side.status.value,
        "attempts": side.attempts,
        "seconds": side.seconds,
        "result_bytes": side.value.size if side.value is not None else None,
        "error": _error_object(side.error),
    }


def _error_object(error: Any) -> dict[str, Any] | None:
    return {"kind": error.kind, "message": error.message} if error is not None else None


def _contents_object(contents: Contents | None) -> dict[str, Any] | None:
    if contents is None:
        return None
    if contents.changes is None:
        return {"changes": None, "why": contents.why or None}
    return {"changes": _change_objects(contents.changes)}


def _change_objects(changes: Iterable[Change]) -> list[dict[str, Any]]:
    """Return changes for machines; what is missing on one side has no ``old`` or no ``new`` (null is a value)."""
    return [
        {"path": each.path}
        | ({} if each.old is MISSING else {"old": each.old})
        | ({} if each.new is MISSING else {"new": each.new})
        for each in changes
    ]


# -- for people --------------------------------------------------------------------------------------------------


def _print(diff: Diff, *, everything: bool) -> None:
    output.table(
        ("", "checkpoint", "pipeline", "status", "done", "spanning", "error"),
        [("a", *_side_row(diff.a)), ("b", *_side_row(diff.b))],
        paint=output.paint_status,
    )
    output.say("")
    _print_definition(diff.definition, everything=everything)
    _section("inputs", [str(each) for each in diff.inputs] or None)
    _print_steps(diff, everything=everything)
    _section("outputs", _where(diff.outputs) if diff.outputs is not None else None)
    _print_timings(diff)


def _side_row(side: Side) -> Sequence[str]:
    return (
        side.checkpoint_id,
        side.pipeline_id,
        side.status.value,
        f"{side.done:,}/{side.total:,}",
        duration(side.seconds),
        _error(side.error),
    )


def _print_definition(changes: PipelineChanges, *, everything: bool) -> None:
    if not changes:
        _section("definition", None)
        return
    words = [
        ("added", len(changes.added)),
        ("removed", len(changes.removed)),
        ("renamed", len(changes.renamed)),
        ("changed", len(changes.changed)),
    ]
    told = ", ".join(f"{count:,} {word}" for word, count in words if count)
    output.say(f"{output.style('definition', 'bold')}: differs" + (f": steps {told}" if told else ""))
    rows = list(_definition_rows(changes))
    shown = rows if everything else rows[:ROWS]
    output.table(("step", "in b", "what"), shown)
    _more(len(rows) - len(shown))


def _definition_rows(changes: PipelineChanges) -> Iterable[Sequence[str]]:
    yield from (("", "changed", str(each)) for each in changes.settings)
    yield from ((name, "added", "") for name in changes.added)
    yield from ((name, "removed", "") for name in changes.removed)
    yield from ((name, "renamed", f"was {was}") for name, was in changes.renamed.items())
    yield from ((name, "changed", str(each)) for name, parts in changes.changed.items() for each in parts)


def _more(count: int) -> None:
    if count:
        output.say(f"… and {count:,} more (--all shows them)")


def _section(name: str, lines: Sequence[str] | None) -> None:
    """Write what differs of something; None: nothing does, and one line says so."""
    output.say(f"{output.style(name, 'bold')}: {'same' if lines is None else 'differ'}")
    output.say(*(f"  {output.one_line(line)}" for line in lines or ()))


def _print_steps(diff: Diff, *, everything: bool) -> None:
    found = diff.differing()
    total = plural(len(diff.tasks), "step")
    if not found:
        output.say(f"{output.style('steps', 'bold')}: same ({total})")
        return
    counts = diff.counts()
    words = {
        TaskDifference.ONLY_A: "only in a",
        TaskDifference.ONLY_B: "only in b",
        TaskDifference.STATUS: "by status",
        TaskDifference.RESULT: "by result",
        TaskDifference.ERROR: "by error",
    }
    told = ", ".join(f"{counts[each]:,} {word}" for each, word in words.items() if each in counts)
    output.say(f"{output.style('steps', 'bold')}: {len(found):,} of {total} differ: {told}")
    shown = found if everything else found[:ROWS]
    rows = [row for each in shown for row in _step_rows(each)]
    output.table(("step", "differs", "a", "b", "where or why"), rows, paint=output.paint_status)
    _more(len(found) - len(shown))


def _step_rows(each: TaskDiff) -> Iterable[Sequence[str]]:
    """Return the rows of a step: one, and more where its results differ in more parts than one."""
    first, *others = _reasons(each) or [""]
    name = f"{each.task} (was {each.was})" if each.was is not None else each.task
    yield name, each.difference.value, _cell(each, each.a), _cell(each, each.b), first
    for other in others:
        yield "", "", "", "", other


def _cell(each: TaskDiff, side: TaskSide | None) -> str:
    if side is None:
        return ""
    if each.difference is TaskDifference.RESULT and side.value is not None:
        return output.size(side.value.size)
    return side.status.value.replace("_", " ")


def _reasons(each: TaskDiff) -> Sequence[str]:
    if each.contents is not None:
        return _where(each.contents, CHANGES)
    sides = {"a": each.a, "b": each.b}
    return [f"{name}: {_error(side.error)}" for name, side in sides.items() if side is not None and side.error]


def _where(contents: Contents, limit: int | None = None) -> Sequence[str]:
    if contents.changes is None:
        return [contents.why] if contents.why else []
    if not contents.changes:
        return ["equal, with the keys in another order"]
    shown = [str(each) for each in contents.changes[:limit]]
    more = len(contents.changes) - len(shown)
    return [*shown, f"… and {more} more"] if more else shown


def _error(error: Any) -> str:
    return output.one_line(f"{error.kind}: {error.message}", 200) if error is not None else ""


def _print_timings(diff: Diff) -> None:
    total = f"{duration(diff.a.seconds)} → {duration(diff.b.seconds)} ({_signed(diff.b.seconds - diff.a.seconds)})"
    output.say(f"{output.style('timings', 'bold')}: {total}")
    rows = [
        (
            each.task,
            duration(each.a.seconds or 0),
            duration(each.b.seconds or 0),
            _signed(each.slower or 0),
            str(each.a.attempts) if each.a.attempts == each.b.attempts else f"{each.a.attempts} → {each.b.attempts}",
        )
        for each in diff.slowest(TIMINGS)
        if each.a is not None and each.b is not None
    ]
    if rows:
        output.table(("step", "a", "b", "change", "attempts"), rows)


def _signed(seconds: float) -> str:
    return f"{'-' if seconds < 0 else '+'}{duration(abs(seconds))}"
