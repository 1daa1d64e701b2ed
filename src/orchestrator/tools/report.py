"""Reports: Markdown or a page of HTML from a text, with values, tables and charts in it.

The same inputs make the same bytes. A page holds everything it shows, no script, and nothing that a value could smuggle
in: what is put into it is escaped.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Annotated, Any, Literal

from orchestrator.domain.words import did_you_mean
from orchestrator.errors import TaskError
from orchestrator.ports.context import TaskContext
from orchestrator.ports.tools import Problem
from orchestrator.tools.atomic import replacing, sha256_of, write_all
from orchestrator.tools.decorator import tool
from orchestrator.tools.looking import tell_read, tell_written
from orchestrator.tools.paths import Sandbox
from orchestrator.tools.reports import page
from orchestrator.tools.reports.cells import text_of
from orchestrator.tools.reports.charts import KINDS, OPTIONS, Chart
from orchestrator.tools.reports.tables import Table
from orchestrator.tools.tables.sqltext import wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LARGEST = 10_000_000
_NAMED = ("values", "tables", "charts")


def _check(parameters: Mapping[str, Any], is_template: Callable[[Any], bool]) -> list[Problem]:
    found: list[Problem] = []
    template, file = parameters.get("template"), parameters.get("file")
    if template is None and file is None:
        found.append(Problem("there is no text: give a `template`, or the `file` that holds it"))
    if template is not None and file is not None:
        found.append(Problem("`template` and `file` exclude each other", ("file",)))
    given = {name: parameters.get(name) for name in _NAMED}
    names: set[str] = set()
    for group, entries in given.items():
        if not isinstance(entries, dict):
            continue
        found += [Problem(f"{name!r} is named twice", (group, str(name))) for name in entries if name in names]
        names |= {str(name) for name in entries}
    known = all(isinstance(entries, (dict, type(None))) for entries in given.values())
    if isinstance(template, str) and known:
        found += [
            Problem(message, ("template",), hint)
            for name in dict.fromkeys(page.PLACE.findall(template))
            if name not in names
            for message, hint in [page.unknown(name, names)]
        ]
    charts = given["charts"]
    for name, chart in charts.items() if isinstance(charts, dict) else ():
        found += _check_chart(("charts", str(name)), chart, is_template)
    return found


def _check_chart(path: tuple[str, str], chart: Any, is_template: Callable[[Any], bool]) -> list[Problem]:
    if is_template(chart):
        return []
    if not isinstance(chart, dict):
        return [Problem("expected a mapping with `type`, `input`, `x` and `y`", path)]
    found = [
        Problem(f"unknown option {name!r}", (*path, str(name)), did_you_mean(str(name), sorted(OPTIONS)))
        for name in chart
        if name not in OPTIONS
    ]
    found += [Problem(f"`{name}` is missing", path) for name in ("input", "x", "y") if name not in chart]
    kind = chart.get("type", "bar")
    if not is_template(kind) and kind not in KINDS:
        found.append(Problem(f"expected bar or line, got {kind!r}", (*path, "type"), did_you_mean(str(kind), KINDS)))
    return found


@tool("report", action="render", default=True, check=_check)
def render(  # noqa: PLR0913 - they are the parts of a report, given by name
    template: Annotated[
        str | None, "the text, in Markdown; `[[name]]` is where a value, table or chart belongs"
    ] = None,
    *,
    context: TaskContext,
    file: Annotated[str | None, "the file that holds the text, in place of `template`"] = None,
    path: Annotated[str | None, "the file to write; without it the report is in the result, as `text`"] = None,
    format: Annotated[  # noqa: A002
        Literal["html", "markdown"] | None, "what to make; goes by the ending of `path`, else Markdown"
    ] = None,
    title: Annotated[str, "the title of a page"] = "Report",
    values: Annotated[dict[str, Any] | None, "{name: value}, put in as plain text"] = None,
    tables: Annotated[
        dict[str, Any] | None,
        "{name: table}: the result of a step, a path or a list of rows; or {input: TABLE, columns: [name] or "
        "{name: heading}, rows: MOST (100), title}",
    ] = None,
    charts: Annotated[
        dict[str, dict[str, Any]] | None,
        "{name: {type: bar or line, input: TABLE, x: column, y: column or columns, title, width, height}}",
    ] = None,
) -> dict[str, Any]:
    """Make a report: `{path, format, size, sha256}`, or `{format, size, sha256, text}`."""
    if (template is None) == (file is None):
        raise wrong("give either a `template` or the `file` that holds it")
    form = format or ("html" if path is not None and path.lower().endswith((".html", ".htm")) else "markdown")
    text = _read(str(file), context) if template is None else template
    parts: dict[str, page.Part] = {name: text_of(value) for name, value in (values or {}).items()}
    for name, table in (tables or {}).items():
        parts[_new(name, parts)] = Table.of(name, table, context)
    for name, chart in (charts or {}).items():
        parts[_new(name, parts)] = Chart.of(name, chart, context)
    made = page.html(text, parts, title) if form == "html" else page.markdown(text, parts)
    data = made.encode("utf-8", "replace")
    about = {"format": form, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if path is None:
        return {**about, "text": made}
    with Sandbox(context.project).place(path, create=True, change=True) as place:
        with replacing(place, context) as (descriptor, _):
            write_all(descriptor, data)
            seen = os.fstat(descriptor)
        tell_written(context, place, seen, str(about["sha256"]))
        return {"path": place.path, **about}


def _new(name: str, parts: Mapping[str, Any]) -> str:
    if name in parts:
        raise wrong(f"{name!r} is named twice, among the values, tables and charts")
    return name


def _read(file: str, context: TaskContext) -> str:
    with Sandbox(context.project).place(file) as place:
        descriptor = place.open(os.O_RDONLY)
        try:
            about = os.fstat(descriptor)
            if about.st_size > _LARGEST:
                raise TaskError(
                    f"{place.path!r} has more than {_LARGEST:,} bytes: it is no template",
                    kind="too_large",
                    retryable=False,
                )
            tell_read(context, place, about, sha256_of(descriptor, context))
            data = os.pread(descriptor, _LARGEST, 0)
        finally:
            os.close(descriptor)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise TaskError(f"{place.path!r} is not UTF-8: {error}", kind="encoding", retryable=False) from error
