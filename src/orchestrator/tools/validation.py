"""Checks between steps: a value held against a JSON Schema, the rows of a table held against rules.

What does not hold fails the step with an error of the kind `validation`, which tells the worst of it; or, with
`on_fail: report`, the step succeeds and its result says so, for a later step to decide on.
"""

# Whoever writes a pipeline writes its SQL; names are quoted by sqltext, and the engine opens no other file:
# ruff: noqa: S608

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

from orchestrator.domain.changes import joined
from orchestrator.domain.words import shorten
from orchestrator.errors import TaskError
from orchestrator.ports.context import TaskContext
from orchestrator.tools.decorator import tool
from orchestrator.tools.fileerrors import cancelled
from orchestrator.tools.schemas import schema_problems
from orchestrator.tools.tables import outputs, sqltext
from orchestrator.tools.tables.options import ReadOptions, TableInput
from orchestrator.tools.tables.rules import broken
from orchestrator.tools.tables.session import working
from orchestrator.tools.tables.sqltext import wrong

if TYPE_CHECKING:
    from orchestrator.domain.words import Path
    from orchestrator.tools.tables.engine import Engine
    from orchestrator.tools.tables.rules import Broken

OnFail = Annotated[Literal["fail", "report"], "whether what does not hold fails the step, or only stands in its result"]

_TOLD = 3
"""Mistakes and rules that an error names."""
_LONGEST_MESSAGE = 200
_MARKS = "failed_rules"


@tool("validation", action="schema", default=True, check=schema_problems)
def schema(
    value: Annotated[Any, "what is to be checked, like the result of an earlier step"],
    schema: Annotated[dict[str, Any], "a JSON Schema (2020-12), as for `output_schema`"],
    *,
    context: TaskContext,
    on_fail: OnFail = "fail",
    examples: Annotated[int, "how many mistakes the result tells"] = 20,
) -> dict[str, Any]:
    """Hold a value against a JSON Schema: `{ok, failed, mistakes: [{path, message}]}`.

    `failed` counts the mistakes, `mistakes` are the first of them. A schema written in the pipeline is checked when
    the pipeline is compiled.
    """
    from orchestrator.schemas.values import mistakes, validator_of

    problems = schema_problems({"schema": schema}, lambda _: False)
    if problems:
        first = problems[0]
        raise wrong(f"{_dotted(first.path)}: {first.message}" + (f" ({first.hint})" if first.hint else ""))
    failed = 0
    told: list[dict[str, str]] = []
    for path, message in mistakes(validator_of(schema), value):
        if context.cancelled:
            raise cancelled("the check")
        failed += 1
        if len(told) < max(examples, _TOLD):
            told.append({"path": _dotted(path), "message": shorten(message, _LONGEST_MESSAGE)})
    if failed and on_fail == "fail":
        lines = [f"{each['path']}: {each['message']}" if each["path"] else each["message"] for each in told[:_TOLD]]
        raise _failed(f"the value does not fit the schema: {'; '.join(lines)}{_more(failed, 'mistake')}")
    return {"ok": not failed, "failed": failed, "mistakes": told[: max(examples, 0)]}


class RowOptions(ReadOptions, total=False):
    """What rows must satisfy besides, and what becomes of those that do not."""

    not_null: Annotated[str | list[str], "columns that must have a value in every row"]
    unique: Annotated[
        str | list[str | list[str]], "a column, or columns together, whose values no two rows share; or a list of such"
    ]
    between: Annotated[dict[str, list[Any]], "{column: [lowest, highest]}, either null if it is open"]
    one_of: Annotated[dict[str, list[Any]], "{column: values that are allowed}"]
    min_rows: Annotated[int, "fewest rows that the table may have"]
    max_rows: Annotated[int, "most rows that the table may have"]
    on_fail: OnFail
    examples: Annotated[int, "how many rows the result shows for each rule (default 5)"]
    output: Annotated[str, "file for all rows that break a rule, with a column `failed_rules`; its ending tells how"]
    memory: Annotated[str, "memory to use before spilling to disk, like `4GB` (default 1GB)"]
    threads: Annotated[int, "threads to use; with more than the default 1, the order of rows may differ"]


@tool("validation", action="rows")
def rows(
    input: TableInput,  # noqa: A002
    rules: Annotated[
        dict[str, str] | None, "{name: SQL condition that every row must satisfy}; NULL does not satisfy it"
    ] = None,
    *,
    context: TaskContext,
    **options: Unpack[RowOptions],
) -> dict[str, Any]:
    """Hold the rows of a table against rules: `{ok, checked, failed, rules: [{rule, failed, examples}]}`.

    `checked` and `failed` count rows: a row that breaks several rules fails once. An empty value (NULL) is the matter
    of `not_null` alone: `unique`, `between` and `one_of` let it pass. With `output` the result has its reference, too.
    """
    given: dict[str, Any] = {**options, "rules": rules}
    target = options.get("output")
    with working(context, {"input": input}, options) as session:
        engine, found = session.engine, dict[str, str]()

        def start(files: dict[str, str]) -> str:
            engine.open(session.sources, files)
            found.update(broken(engine, given))
            if not found and not {"min_rows", "max_rows"} & options.keys():
                raise wrong("there is no rule: name `rules`, `not_null`, `unique`, `between`, `one_of` or `min_rows`")
            return _failing(engine, found)

        if target is None:
            start({})
            written = None
        else:
            written = outputs.write(engine, session.place(target), start, 0, context)
        report = _report(engine, found, options)
    if written is not None:
        report["output"] = {key: part for key, part in written.items() if key != "preview"}
    if not report["ok"] and options.get("on_fail", "fail") == "fail":
        raise _failed(_told(report))
    return report


def _flagged(found: Broken) -> str:
    """Return the table with its order, and a column for each rule that tells whether the row breaks it."""
    flags = "".join(f", {condition} AS _orchestrator_{index}" for index, condition in enumerate(found.values()))
    return f"SELECT *, row_number() OVER () AS _orchestrator_row{flags} FROM input"


def _failing(engine: Engine, found: Broken) -> str:
    """Return the query for all rows that break a rule, each with the names of those rules."""
    if _MARKS in (name.lower() for name in engine.columns("SELECT * FROM input")):
        raise wrong(f"the table has a column {_MARKS!r} itself: select the others first")
    marks = ", ".join(
        f"CASE WHEN _orchestrator_{index} THEN {sqltext.literal(name)} END" for index, name in enumerate(found)
    )
    anyone = " OR ".join(f"_orchestrator_{index}" for index in range(len(found))) or "false"
    own = "* EXCLUDE (" + ", ".join(["_orchestrator_row", *(f"_orchestrator_{i}" for i in range(len(found)))]) + ")"
    text = f"concat_ws('; ', {marks})" if marks else "''"
    return f"SELECT {own}, {text} AS {_MARKS} FROM ({_flagged(found)}) WHERE {anyone} ORDER BY _orchestrator_row"


def _report(engine: Engine, found: Broken, options: RowOptions) -> dict[str, Any]:
    flags = [f"_orchestrator_{index}" for index in range(len(found))]
    counts = ["count(*)", f"count(*) FILTER (WHERE {' OR '.join(flags) or 'false'})"]
    counts += [f"count(*) FILTER (WHERE {flag})" for flag in flags]
    checked, failed, *each = engine.execute(f"SELECT {', '.join(counts)} FROM ({_flagged(found)})")[0]
    columns = engine.columns("SELECT * FROM input")
    told = []
    for index, (name, count) in enumerate(zip(found, each, strict=True)):
        query = (
            f"SELECT {sqltext.names(columns)} FROM ({_flagged({name: found[name]})}) "
            "WHERE _orchestrator_0 ORDER BY _orchestrator_row"
        )
        examples = outputs.first_rows(engine, query, columns, options.get("examples", 5)) if each[index] else []
        told.append({"rule": name, "failed": count, "examples": examples})
    for name, bound in (("min_rows", options.get("min_rows")), ("max_rows", options.get("max_rows"))):
        if bound is not None:
            off = max(0, bound - checked if name == "min_rows" else checked - bound)
            told.append({"rule": f"{name}: {bound}", "failed": off, "examples": []})
    return {"ok": not any(rule["failed"] for rule in told), "checked": checked, "failed": failed, "rules": told}


def _told(report: dict[str, Any]) -> str:
    """Say which rules are broken, the worst first, and where to see the rows."""
    worst = sorted((rule for rule in report["rules"] if rule["failed"]), key=lambda rule: -rule["failed"])
    lines = [f"{shorten(rule['rule'])!r} by {rule['failed']:,}" for rule in worst[:_TOLD]]
    text = f"{report['failed']:,} of {report['checked']:,} rows break a rule: {', '.join(lines)}"
    return f"{text}{_more(len(worst), 'rule')}" + (
        f"; they are in {report['output']['path']!r}" if "output" in report else ""
    )


def _more(count: int, what: str) -> str:
    left = count - _TOLD
    return f", and {left:,} more {what}{'s' * (left != 1)}" if left > 0 else ""


def _failed(message: str) -> TaskError:
    return TaskError(message, kind="validation", retryable=False)


def _dotted(path: Path) -> str:
    where = ""
    for part in path:
        where = joined(where, part) if isinstance(part, str) else f"{where}[{part}]"
    return where
