"""What reaches the terminal: control characters stripped, numbers made human, tables, a stdout that may close."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import re
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_COLOURS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36, "dim": 2, "bold": 1}
STATUS_COLOUR = {
    "completed": "green",
    "failed": "red",
    "parked": "red",
    "in_doubt": "magenta",
    "blocked": "yellow",
    "interrupted": "yellow",
    "retrying": "yellow",
    "running": "cyan",
    "expanded": "cyan",
    "cancelled": "magenta",
    "stopped": "yellow",
    "paused": "yellow",
    "orphaned": "yellow",
    "waiting": "dim",
    "skipped": "dim",
    "pending": "dim",
}


# -- text --------------------------------------------------------------------------------------------------------


def clean(text: object) -> str:
    r"""Return text that cannot steer a terminal: control, direction and surrogate characters become ``?``.

    Line feeds and tabs stay.

    >>> clean("a\x1b[31mb\u202e")
    'a?[31mb?'
    """
    return _UNSAFE.sub("?", str(text).replace("\r\n", "\n"))


def one_line(text: object, limit: int | None = None) -> str:
    """Return cleaned text on one line, cut to ``limit`` characters."""
    line = " ".join(clean(text).split())
    return line if limit is None or len(line) <= limit else line[: limit - 1] + "…"


def style(text: str, *names: str, stream: TextIO | None = None) -> str:
    """Colour text, where the stream (stdout by default) is a terminal that wants colours."""
    if not names or not wants_colour(stream or sys.stdout):
        return text
    codes = ";".join(str(_COLOURS[name]) for name in names)
    return f"\x1b[{codes}m{text}\x1b[0m"


def is_terminal(stream: TextIO) -> bool:
    """Tell whether a person is watching the stream."""
    try:
        return stream.isatty()
    except (AttributeError, ValueError):
        return False


def wants_colour(stream: TextIO) -> bool:
    """Tell whether colours are wanted: a terminal that can, and no ``NO_COLOR`` (no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and is_terminal(stream)


# -- numbers -----------------------------------------------------------------------------------------------------


def duration(seconds: float) -> str:
    """Write a duration for people.

    >>> [duration(seconds) for seconds in (0.004, 1.26, 30, 65, 7500, 200000)]
    ['4 ms', '1.3 s', '30 s', '1 min 5 s', '2 h 5 min', '2 d 7 h']
    """
    seconds = max(0.0, seconds)
    if seconds < 0.9995:  # noqa: PLR2004 - what rounds to 1000 ms is a second
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:  # noqa: PLR2004 - what rounds to 60.0 s is a minute
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    for size, name, next_size, next_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // next_size
            return f"{whole // size} {name}" + (f" {rest} {next_name}" if rest else "")
    return f"{whole} s"


def size(count: float) -> str:
    """Write a number of bytes for people.

    >>> size(12), size(1536), size(5 * 1024**3)
    ('12 B', '1.5 KiB', '5.0 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:  # noqa: PLR2004
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def moment(at: float) -> str:
    """Write a time (seconds since 1970, UTC) in the local time zone."""
    return datetime.fromtimestamp(at, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def iso(at: float | None) -> str | None:
    """Write a time for machines: ISO 8601, UTC, milliseconds."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def plural(count: int, noun: str) -> str:
    """Count something.

    >>> plural(1, "step"), plural(12000, "step")
    ('1 step', '12,000 steps')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


# -- values ------------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """Return a stored value as JSON can write it; what JSON has no form for becomes text.

    >>> plain({1: (2, float("nan")), "b": b"x"})
    {'1': [2, 'nan'], 'b': {'base64': 'eA=='}}
    """
    match value:
        case None | bool() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case int():
            return value if -(2**63) <= value < 2**64 else str(value)
        case dict():
            return {key if isinstance(key, str) else str(plain(key)): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case set() | frozenset():
            return sorted((plain(item) for item in value), key=str)
        case bytes() | bytearray():
            return {"base64": base64.b64encode(value).decode()}
        case _ if hasattr(value, "isoformat"):
            return value.isoformat()
        case _:
            return str(value)


def compact(value: Any) -> str:
    """Write a value as one line of JSON, all ASCII: safe on any terminal."""
    return json.dumps(plain(value), allow_nan=False)


def pretty(value: Any) -> str:
    """Write a value for people: text as it is, anything else as indented JSON."""
    return clean(value if isinstance(value, str) else json.dumps(plain(value), indent=2, ensure_ascii=False))


def head(value: Any, limit: int = 60) -> str:
    """Write the beginning of a value on one line."""
    return one_line(value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False), limit)


# -- writing -----------------------------------------------------------------------------------------------------


def _descriptor(name: str) -> int | None:
    try:
        return int(getattr(sys, name).fileno())
    except (AttributeError, OSError, ValueError):
        return None


_closed: set[str] = set()


def write(text: str, name: str = "stdout") -> None:
    """Write text now, past Python's buffers; a reader that has gone is no error: what is left unsaid was not wanted."""
    if name in _closed:
        return
    stream: TextIO | None = getattr(sys, name)
    descriptor = _descriptor(name)
    if stream is None or descriptor is None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if stream is not None:
                stream.write(text)
        return
    data = memoryview(text.encode(getattr(stream, "encoding", None) or "utf-8", "replace"))
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:  # EPIPE: the reader left; EIO: the terminal is gone; ENOSPC: the disk behind a redirection is full
        _closed.add(name)


def is_closed(name: str = "stdout") -> bool:
    """Tell whether the reader has gone."""
    return name in _closed


def say(*lines: str) -> None:
    """Write lines on stdout."""
    write("".join(f"{line}\n" for line in lines))


def tell(*lines: str) -> None:
    """Write lines on stderr: for people, beside what a command answers."""
    write("".join(f"{line}\n" for line in lines), "stderr")


def emit(item: Any) -> None:
    """Write one JSON object on a line of its own."""
    say(compact(item))


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Write named facts, one a line, their names in a column; empty ones are left out."""
    shown = [(name, text) for name, text in pairs if text]
    width = max((len(name) for name, _text in shown), default=0)
    for name, text in shown:
        say(f"  {style(name.ljust(width), 'dim')}  {text}")


def table(
    headings: Sequence[str], rows: Iterable[Sequence[str]], *, paint: Callable[[str], str | None] | None = None
) -> None:
    """Write a table: drawn to fit a terminal, columns parted by two spaces where it is piped.

    Cells are cleaned here. ``paint`` names the colour of a cell by its text, for terminals.
    """
    cells = [[one_line(cell) for cell in row] for row in rows]
    if is_terminal(sys.stdout):
        _draw(headings, cells, paint)
        return
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    for row in ([heading.upper() for heading in headings], *cells):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _draw(headings: Sequence[str], rows: list[list[str]], paint: Callable[[str], str | None] | None) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for number, heading in enumerate(headings):
        last = number == len(headings) - 1
        made.add_column(heading, overflow="ellipsis" if last else "fold", no_wrap=last)
    for row in rows:
        made.add_row(*(Text(cell, style=(paint(cell) if paint else None) or "") for cell in row))
    console = Console(highlight=False)
    with console.capture() as capture:
        console.print(made)
    write(capture.get())


def paint_status(cell: str) -> str | None:
    """Return the colour of a status, for ``table``."""
    return STATUS_COLOUR.get(cell.replace(" ", "_"))
