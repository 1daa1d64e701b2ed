from __future__ import annotations

import base64
import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from orchestrator.compiler.templates import is_template
from orchestrator.tools import ToolRegistry

Call = Callable[..., Any]
EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)> | `*_[[t]]\ue0000\ue001'
ROWS = [{"city": "Bern", "sales": 1.5, "more": None}, {"city": EVIL, "sales": Decimal("-20.25"), "more": [1]}]
CHART = {"input": ROWS, "x": "city", "y": "sales"}


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}


def test_a_page_with_all_of_it(call: Call, context: Any, project: Path) -> None:
    given = {
        "template": "# Sales of [[who]]\n\n[[t]]\n\n* in all **[[sum]]**\n\n[[bars]]\n\n[[lines]]\n\n[[who]]\n",
        "values": {"who": "Ann & Bob", "sum": 0.1 + 0.2},
        "tables": {"t": {"input": ROWS, "columns": {"city": "City", "sales": "Sales"}, "title": "All"}},
        "charts": {"bars": {**CHART, "title": "Bars"}, "lines": {**CHART, "type": "line", "y": ["sales"]}},
        "title": "Sales <all>",
    }
    found = call("report", None, path="out/r.html", **given)
    text = (project / "out/r.html").read_text()
    assert found == {"path": "out/r.html", "format": "html", "size": len(text.encode()), "sha256": found["sha256"]}
    assert context.written == ["out/r.html"]
    assert call("report", "render", path="out/r.html", **given) == found, "the same inputs are the same bytes"
    assert "<h1>Sales of Ann &amp; Bob</h1>" in text
    assert "<strong>0.3</strong>" in text
    assert '<td>Bern</td><td class="n">1.5</td>' in text
    assert "<title>Sales &lt;all&gt;</title>" in text
    assert "<p>Ann &amp; Bob</p>" in text
    drawings = [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL)]
    assert [len(drawing.findall("{*}rect")) for drawing in drawings] == [2, 0]
    assert drawings[0].findtext("{*}title") == "Bars"


def test_nothing_that_is_put_in_does_anything(call: Call) -> None:
    evil = {name: f"{EVIL}{name}" for name in ("title", "caption", "head", "name")}
    text = call(
        "report",
        "render",
        format="html",
        title=evil["title"],
        template=f"[[v]] <script>alert(1)</script> `[[v]]` [a](javascript:alert(1)) [b](https://x.org '[[v]]')\n\n"
        f"![p](https://x.org/p.png) ![q](data:image/png;base64,AAAA) ![s](data:image/svg+xml;base64,AAAA)\n\n"
        f"[[t]]\n\n[[c]]\n\n{EVIL.replace('[[t]]', '')}\n",
        values={"v": EVIL},
        tables={"t": {"input": ROWS, "columns": {"city": evil["head"], "more": EVIL}, "title": evil["caption"]}},
        charts={"c": {"input": [{"x": EVIL, EVIL: 1, "b": 2}], "x": "x", "y": [EVIL, "b"], "title": EVIL}},
    )["text"]
    page = Page(text)
    assert not page.tags() & {"script", "iframe", "object", "link", "form"}
    assert not [name for _, given in page.elements for name in given if name.startswith("on")]
    addresses = [value for _, given in page.elements for name, value in given.items() if name in ("href", "src")]
    assert addresses == ["https://x.org", "data:image/png;base64,AAAA"]
    assert page.text.count("<script>alert(1)</script>") >= 9, "all of it is shown, as text"
    assert "default-src 'none'" in text


def test_markdown(call: Call) -> None:
    rows = [{"a": "x|y\nz", "n": 1}, {"a": None, "n": -2.5}, {"a": "# *b*", "n": 3}]
    text = call(
        "report",
        "render",
        template="## [[v]]\n\n[[t]]\n\n[[c]]",
        values={"v": "# 1_0 <b>"},
        tables={"t": {"input": rows, "rows": 2}},
        charts={"c": {"input": rows, "x": "a", "y": "n"}},
    )["text"]
    lines = text.split("\n")
    assert lines[0] == r"## \# 1\_0 \<b\>"
    assert lines[2:7] == ["| a | n |", "| --- | ---: |", r"| x\|y z | 1 |", "|  | -2.5 |", ""]
    assert lines[7] == "*2 of 3 rows*"
    picture = re.fullmatch(r"!\[c\]\(data:image/svg\+xml;base64,(.*)\)", lines[9])
    assert picture is not None
    assert ET.fromstring(base64.b64decode(picture[1])).tag.endswith("svg")


def test_tables_come_from_steps_and_files(call: Call, project: Path, context: Any) -> None:
    (project / "in.csv").write_text("city,n\n" + "".join(f"c{number},{number}\n" for number in range(150)))
    (project / "text.md").write_text("# Cities\n\n[[file]]\n\n[[step]]\n\n[[none]]\n")
    step = call("data-processing", "filter", input="in.csv", where="n < 2")
    context.read.clear()
    found = call(
        "report",
        "render",
        file="text.md",
        path="r.md",
        tables={"file": "in.csv", "step": step, "none": {"rows": 0, "columns": {}, "data": []}},
    )
    text = (project / "r.md").read_text()
    assert found["format"] == "markdown"
    assert "*100 of 150 rows*" in text
    assert text.count("| c1 | 1 |") == 2
    assert "*no rows*" in text
    assert sorted(set(context.read))[-2:] == ["in.csv", "text.md"]


@pytest.mark.parametrize(
    ("points", "across"),
    [
        ([0, 1, 10], [76, 137.6, 692]),
        (
            [dt.date(2026, 1, 1), dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.datetime(2026, 1, 11, tzinfo=dt.UTC)],
            [76, 137.6, 692],
        ),
        (["a", "b", "c"], [170.67, 384, 597.33]),
    ],
)
def test_where_points_stand(call: Call, points: list[Any], across: list[float]) -> None:
    rows = [{"x": point, "y": value} for point, value in zip(points, (1, None, 3), strict=True)]
    rows[1]["y"] = 2
    chart = {"type": "line", "input": rows, "x": "x", "y": "y"}
    text = call("report", "render", template="[[c]]", format="html", charts={"c": chart})["text"]
    path = re.search(r'd="(M[^"]*L[^"]*)"', text)
    assert path is not None
    assert [float(x) for x in re.findall(r"[ML]([\d.]+)", path[1])] == across
    rows[1]["y"] = None
    text = call("report", "render", template="[[c]]", format="html", charts={"c": chart})["text"]
    assert len(re.findall(r"M[\d.]+ [\d.]+ h0", text)) == 2, "a gap is not drawn over"


def test_charts_of_nothing_and_of_one_value(call: Call) -> None:
    for rows in ([], [{"x": 1, "y": 5}], [{"x": "a", "y": 0}], [{"x": 1, "y": -1e12}], [{"x": 1, "y": 1e-9}]):
        for kind in ("bar", "line"):
            chart = {"type": kind, "input": rows, "x": "x", "y": "y"}
            text = call("report", "render", template="[[c]]", format="html", charts={"c": chart})["text"]
            assert "nan" not in text
            assert "inf" not in text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (
            {"template": "[[tt]]", "tables": {"t": ROWS}},
            "'[[tt]]' is no value, table or chart of the report (did you mean 't'?)",
        ),
        ({"template": "[[x]]"}, "'[[x]]' is no value, table or chart of the report"),
        ({"template": "see [[t]]", "tables": {"t": ROWS}}, "[[t]]: a table or chart stands alone in its paragraph"),
        ({"template": "- [[t]]", "tables": {"t": ROWS}}, "[[t]]: a table or chart stands alone in its paragraph"),
        ({"template": "[a](http://x/[[v]])", "values": {"v": 1}}, "cannot stand in the address of a link"),
        ({"template": "", "file": "x"}, "either a `template` or the `file`"),
        ({}, "either a `template` or the `file`"),
        ({"template": "", "values": {"a": 1}, "tables": {"a": ROWS}}, "'a' is named twice"),
        ({"template": "", "tables": {"a": [1]}}, "a table is a list of rows"),
        (
            {"template": "", "tables": {"a": {"input": ROWS, "rows": 0}}},
            "tables.a.rows: expected a whole number from 1",
        ),
        (
            {"template": "", "tables": {"a": {"input": ROWS, "row": 1}}},
            "tables.a: unknown option 'row' (did you mean 'rows'?)",
        ),
        (
            {"template": "", "tables": {"a": {"input": ROWS, "columns": ["citi"]}}},
            "no column 'citi' (did you mean 'city'?)",
        ),
        ({"template": "", "charts": {"a": {**CHART, "type": "pie"}}}, "charts.a.type: expected bar or line, got 'pie'"),
        ({"template": "", "charts": {"a": {**CHART, "y": "city"}}}, "column 'city' holds 'Bern', which is no number"),
        ({"template": "", "charts": {"a": {**CHART, "x": "nope"}}}, "the table has no column 'nope'"),
        ({"template": "", "charts": {"a": {"input": ROWS}}}, "expected `x`, a column, and `y`"),
        ({"template": "", "charts": {"a": {**CHART, "width": 1}}}, "width and height are from 100 to 4000"),
        (
            {"template": "", "charts": {"a": {**CHART, "input": ROWS * 51}}},
            "102 rows are more than the 100 points of a bar chart",
        ),
    ],
)
def test_what_cannot_be_reported(refused: Call, given: dict[str, Any], text: str) -> None:
    error = refused("report", "render", format="html", **given)
    assert (error.kind, error.retryable) == ("parameters", False)
    assert text in error.message


def test_files_that_are_no_templates(refused: Call, project: Path) -> None:
    (project / "raw").write_bytes(b"\xff")
    assert refused("report", "render", file="raw").kind == "encoding"
    assert refused("report", "render", file="none").kind == "not_found"
    assert refused("report", "render", file="../none").kind == "path"
    assert refused("report", "render", template="", path="../r.html").kind == "path"


def test_what_is_wrong_is_told_when_compiled(registry: ToolRegistry) -> None:
    def check(**parameters: Any) -> list[tuple[Any, ...]]:
        problems = registry.check("report", None, parameters, is_template)
        return [(problem.message, problem.path, problem.hint) for problem in problems]

    assert check(template="[[a]] {{ x.result }}", values={"a": "{{ inputs.a }}"}) == []
    assert check(template="[[a]]", tables="{{ x.result }}") == []
    assert check(file="x.md", charts={"c": "{{ x.result }}"}) == []
    assert check()[0][0] == "there is no text: give a `template`, or the `file` that holds it"
    assert check(template="", file="x")[0][1] == ("file",)
    message = "'[[bb]]' is no value, table or chart of the report"
    assert check(template="[[bb]]", values={"b": 1}) == [(message, ("template",), "did you mean 'b'?")]
    assert check(template="", values={"b": 1}, tables={"b": []}) == [("'b' is named twice", ("tables", "b"), None)]
    assert check(template="", charts={"c": {"typ": "bar", "input": [], "x": "a"}}) == [
        ("unknown option 'typ'", ("charts", "c", "typ"), "did you mean 'type'?"),
        ("`y` is missing", ("charts", "c"), None),
    ]
    assert check(template="", charts={"c": {**CHART, "type": "bars"}})[0][2] == "did you mean 'bar'?"
