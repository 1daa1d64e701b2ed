"""Charts as SVG: bars and lines, drawn with fixed numbers of digits, so that the same rows are the same bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.tools.reports.cells import for_html, is_number, text_of
from orchestrator.tools.reports.tables import options_of, require, rows_of
from orchestrator.tools.tables.sqltext import wrong

if TYPE_CHECKING:
    from orchestrator.ports.context import TaskContext

KINDS = ("bar", "line")
OPTIONS = {"type", "input", "x", "y", "title", "width", "height"}
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#000000")
"""Told apart by most eyes: M. Okabe and K. Ito, "Color Universal Design" (2008)."""
_MOST = {"bar": 100, "line": 5000}
_LABEL = 14
"""Characters of the longest label."""
_LETTER = 6.5
"""About as wide is a letter."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 16.0, 16.0, 40.0
_TICKS = 5


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: ``labels`` and ``places`` (None: side by side) of its points, and the values of each series there."""

    kind: str
    title: str
    size: tuple[int, int]
    labels: list[str]
    places: list[float] | None
    series: list[tuple[str, list[float | None]]]

    @classmethod
    def of(cls, name: str, given: Any, context: TaskContext) -> Chart:
        """Read a chart of the report; raise TaskError for what cannot be drawn."""
        what = f"charts.{name}"
        options = options_of(what, given, OPTIONS)
        kind, x, y = options.get("type", "bar"), options.get("x"), options.get("y")
        if kind not in KINDS:
            raise wrong(f"{what}.type: expected bar or line, got {kind!r}")
        columns = [y] if isinstance(y, str) else y
        if not isinstance(x, str) or not isinstance(columns, list) or not columns:
            raise wrong(f"{what}: expected `x`, a column, and `y`, a column or several")
        if len(columns) > len(_COLOURS):
            raise wrong(f"{what}.y: {len(columns)} columns are more than the {len(_COLOURS)} that can be told apart")
        size = options.get("width", 720), options.get("height", 320)
        if not all(isinstance(side, int) and 100 <= side <= 4000 for side in size):  # noqa: PLR2004
            raise wrong(f"{what}: width and height are from 100 to 4000")
        rows = rows_of(options["input"], _MOST[kind], context)
        if rows.total > _MOST[kind]:
            raise wrong(
                f"{what}: {rows.total:,} rows are more than the {_MOST[kind]:,} points of a {kind} chart; "
                "aggregate them before, by data-processing"
            )
        require(what, [x, *map(str, columns)], rows)
        series = [(str(column), [_number(what, column, row.get(column)) for row in rows.data]) for column in columns]
        points = [row.get(x) for row in rows.data]
        places = _places(points) if kind == "line" else None
        return cls(kind, str(options.get("title") or ""), size, [text_of(point) for point in points], places, series)

    def svg(self) -> str:
        """Return the drawing."""
        width, height = self.size
        legend = 20.0 if len(self.series) > 1 else 0.0
        box = _Box(_LEFT, width - _RIGHT, _TOP + legend, height - _BOTTOM)
        found = [value for _, values in self.series for value in values if value is not None]
        ticks = _ticks(min([0.0, *found]) if self.kind == "bar" else min(found, default=0.0), max(found, default=1.0))
        scale = _Scale(ticks[0], ticks[-1], box)
        what = self.title or f"{self.kind} chart of {', '.join(name for name, _ in self.series)}"
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"',
            'role="img" font-family="sans-serif" font-size="11">',
            f"<title>{for_html(what)}</title>",
        ]
        for tick in ticks:
            level = _n(scale.at(tick))
            parts.append(f'<path d="M{_n(box.left)} {level}H{_n(box.right)}" stroke="#ddd"/>')
            parts.append(_words(box.left - 6, scale.at(tick) + 4, format(tick, ".6g"), "end"))
        across = self._across(box)
        parts += self._bars(scale, across) if self.kind == "bar" else self._lines(scale, across)
        parts += self._below(box, across)
        base = _n(scale.at(0.0) if ticks[0] <= 0 <= ticks[-1] else box.bottom)
        parts.append(f'<path d="M{_n(box.left)} {base}H{_n(box.right)}" stroke="#444"/>')
        if legend:
            parts += self._legend(box)
        return "\n".join([*parts, "</svg>"])

    def _across(self, box: _Box) -> list[float]:
        if self.places is None:
            slot = (box.right - box.left) / max(1, len(self.labels))
            return [box.left + slot * (index + 0.5) for index in range(len(self.labels))]
        low, high = min(self.places, default=0.0), max(self.places, default=0.0)
        span = (high - low) or 1.0
        inner = box.right - box.left - 24
        return [box.left + 12 + inner * (place - low) / span for place in self.places]

    def _bars(self, scale: _Scale, across: list[float]) -> list[str]:
        slot = (scale.box.right - scale.box.left) / max(1, len(self.labels))
        wide = slot * 0.8 / len(self.series)
        parts = []
        for number, (name, values) in enumerate(self.series):
            for index, value in enumerate(values):
                if value is None:
                    continue
                top, bottom = sorted((scale.at(value), scale.at(0.0)))
                left = across[index] - slot * 0.4 + wide * number
                tip = f"{self.labels[index]}, {name}: {text_of(value)}"
                parts.append(
                    f'<rect x="{_n(left)}" y="{_n(top)}" width="{_n(wide)}" height="{_n(bottom - top)}" '
                    f'fill="{_COLOURS[number]}"><title>{for_html(tip)}</title></rect>'
                )
        return parts

    def _lines(self, scale: _Scale, across: list[float]) -> list[str]:
        parts = []
        for number, (_, values) in enumerate(self.series):
            path, pen = [], "M"
            for place, value in zip(across, values, strict=True):
                if value is None:
                    pen = "M"  # a gap
                    continue
                path.append(f"{pen}{_n(place)} {_n(scale.at(value))}")
                if pen == "M":
                    path.append("h0")  # so that a point between two gaps is seen
                pen = "L"
            parts.append(
                f'<path d="{" ".join(path)}" fill="none" stroke="{_COLOURS[number]}" stroke-width="2" '
                'stroke-linecap="round" stroke-linejoin="round"/>'
            )
        return parts

    def _below(self, box: _Box, across: list[float]) -> list[str]:
        """Return the labels of the points, those left out for which there is no room."""
        parts, free = [], -1.0
        for label, place in sorted(zip(self.labels, across, strict=True), key=lambda pair: pair[1]):
            short = label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}…"
            half = len(short) * _LETTER / 2
            middle = min(place, self.size[0] - half)
            if middle - half > free:
                parts.append(_words(middle, box.bottom + 16, short, "middle"))
                free = middle + half + _LETTER
        return parts

    def _legend(self, box: _Box) -> list[str]:
        slot = (box.right - box.left) / len(self.series)
        parts = []
        for number, (name, _) in enumerate(self.series):
            left = box.left + slot * number
            parts.append(f'<rect x="{_n(left)}" y="8" width="10" height="10" fill="{_COLOURS[number]}"/>')
            parts.append(_words(left + 14, 17.0, name, "start"))
        return parts


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True, slots=True)
class _Scale:
    low: float
    high: float
    box: _Box

    def at(self, value: float) -> float:
        return self.box.bottom - (self.box.bottom - self.box.top) * (value - self.low) / (self.high - self.low)


def _number(what: str, column: Any, value: Any) -> float | None:
    if value is None:
        return None
    if not is_number(value) or not math.isfinite(float(value)):
        raise wrong(f"{what}.y: column {column!r} holds {text_of(value)[:40]!r}, which is no number")
    return float(value)


def _places(points: list[Any]) -> list[float] | None:
    """Return where points stand on a scale, if all are numbers or all are dates; None: side by side."""
    if points and all(is_number(point) and math.isfinite(float(point)) for point in points):
        return [float(point) for point in points]
    if points and all(isinstance(point, date) for point in points):
        return [_moment(point) for point in points]
    return None


def _moment(point: date) -> float:
    moment = point if isinstance(point, datetime) else datetime(point.year, point.month, point.day, tzinfo=UTC)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers, evenly spaced, from below the least value to above the largest."""
    if low == high:
        low, high = (low - 1, high + 1) if low else (0.0, 1.0)
    raw = (high - low) / _TICKS
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * times for times in (1, 2, 5, 10) if unit * times >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * number for number in range(first, last + 1)]


def _words(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" fill="#333">{for_html(text)}</text>'


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if value else "0"
