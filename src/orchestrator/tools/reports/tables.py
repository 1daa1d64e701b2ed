"""Tables of a report: where their rows come from, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.domain.words import did_you_mean
from orchestrator.tools.reports.cells import for_html, for_markdown, is_number, text_of
from orchestrator.tools.tables.sqltext import wrong

if TYPE_CHECKING:
    from orchestrator.ports.context import TaskContext

ROWS = 100
_OPTIONS = {"input", "columns", "rows", "title"}


@dataclass(frozen=True, slots=True)
class Rows:
    """The first rows of a table, and how many there are in all."""

    columns: list[str]
    data: list[dict[str, Any]]
    total: int


def rows_of(value: Any, most: int, context: TaskContext) -> Rows:
    """Return at most so many rows of a table: a list of rows, the result of another step, or a file."""
    data = value.get("data") if isinstance(value, dict) and "path" not in value else value
    if isinstance(data, list):
        if not all(isinstance(row, dict) for row in data):
            raise wrong("a table is a list of rows, each a mapping of columns to values")
        columns = list(dict.fromkeys(str(name) for row in data for name in row))
        return Rows(columns, [{str(name): cell for name, cell in row.items()} for row in data[:most]], len(data))
    from orchestrator.tools.tables import outputs
    from orchestrator.tools.tables.session import working

    with working(context, {"input": value}, {}) as session:
        session.engine.open(session.sources, {})
        total = int(session.engine.execute("SELECT count(*) FROM input")[0][0])
        found = outputs.fetch(session.engine, f"SELECT * FROM input LIMIT {most:d}", most)  # noqa: S608 - a number
    return Rows(list(found["columns"]), found["data"], total)


def options_of(what: str, given: Any, known: set[str]) -> dict[str, Any]:
    """Return the options of a table or chart; raise TaskError if there are others, or no ``input``."""
    if not isinstance(given, dict) or "input" not in given:
        raise wrong(f"{what}: expected a mapping with `input`, the table")
    for name in given:
        if name not in known:
            hint = did_you_mean(str(name), sorted(known))
            raise wrong(f"{what}: unknown option {name!r}" + (f" ({hint})" if hint else ""))
    return given


def is_options(given: Any) -> bool:
    """Tell a table with options from the table itself."""
    return isinstance(given, dict) and "input" in given


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is shown: ``heads`` are column and heading."""

    title: str
    heads: list[tuple[str, str]]
    rows: Rows

    @classmethod
    def of(cls, name: str, given: Any, context: TaskContext) -> Table:
        """Read a table of the report: the table itself, or a mapping with ``input`` and options."""
        what = f"tables.{name}"
        options = options_of(what, given if is_options(given) else {"input": given}, _OPTIONS)
        most = options.get("rows", ROWS)
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise wrong(f"{what}.rows: expected a whole number from 1, got {most!r}")
        rows = rows_of(options["input"], most, context)
        chosen = options.get("columns") or rows.columns
        if isinstance(chosen, dict):
            heads = [(str(column), str(head)) for column, head in chosen.items()]
        elif isinstance(chosen, list):
            heads = [(str(column), str(column)) for column in chosen]
        else:
            raise wrong(f"{what}.columns: expected names, or {{name: heading}}")
        require(what, [column for column, _ in heads], rows)
        return cls(str(options.get("title") or ""), heads, rows)

    @property
    def _more(self) -> str:
        shown, total = len(self.rows.data), self.rows.total
        return f"{shown:,} of {total:,} rows" if shown < total else "no rows" if not total else ""

    def _right(self, column: str) -> bool:
        cells = [row.get(column) for row in self.rows.data]
        return any(map(is_number, cells)) and all(cell is None or is_number(cell) for cell in cells)

    def html(self) -> str:
        """Return the table as HTML."""
        right = {column: ' class="n"' if self._right(column) else "" for column, _ in self.heads}
        head = "".join(f"<th{right[column]}>{for_html(text)}</th>" for column, text in self.heads)
        body = "".join(
            "<tr>"
            + "".join(f"<td{right[column]}>{for_html(text_of(row.get(column)))}</td>" for column, _ in self.heads)
            + "</tr>\n"
            for row in self.rows.data
        )
        caption = f"<caption>{for_html(self.title)}</caption>\n" if self.title else ""
        more = f'<p class="more">{self._more}</p>' if self._more else ""
        return f"<table>\n{caption}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>{more}"

    def markdown(self) -> str:
        """Return the table as Markdown (the tables of GitHub's)."""
        lines = [f"**{for_markdown(self.title)}**", ""] if self.title else []
        lines.append(_line(for_markdown(head) for _, head in self.heads))
        lines.append(_line("---:" if self._right(column) else "---" for column, _ in self.heads))
        lines += [_line(for_markdown(text_of(row.get(column))) for column, _ in self.heads) for row in self.rows.data]
        if self._more:
            lines += ["", f"*{self._more}*"]
        return "\n".join(lines)


def require(what: str, columns: list[str], rows: Rows) -> None:
    """Raise TaskError unless the table has these columns; one without rows has whatever is asked for."""
    for column in columns:
        if column not in rows.columns and (rows.columns or rows.total):
            hint = did_you_mean(column, rows.columns) or f"there are {', '.join(rows.columns)}"
            raise wrong(f"{what}: the table has no column {column!r} ({hint})")


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"
