"""Values as people read them, and safe where they are put: in HTML, in an attribute, in Markdown."""

from __future__ import annotations

import html
import json
import re
from datetime import date, datetime
from typing import Any

_MARKS = re.compile(r"([\\`*_\[\]<>|&~$])")
_LIST = re.compile(r"(\d*)([.)#=+-])(?=[#=-]*(?:\s|\Z))")
_LONGEST = 2000


def text_of(value: Any) -> str:
    """Return a value as text: nothing for None, floats in ten digits, dates as ISO 8601, the rest as JSON or ``str``.

    >>> text_of(0.1 + 0.2), text_of(None), text_of(True), text_of({"a": [1]})
    ('0.3', '', 'true', '{"a": [1]}')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format(value, ".10g")
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (list, dict)):
        value = json.dumps(value, ensure_ascii=False, default=str)
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def is_number(value: Any) -> bool:
    """Tell whether a value belongs to the right: a number, no truth."""
    from decimal import Decimal

    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def for_html(text: str) -> str:
    """Return a text for HTML, inside elements and quoted attributes; what XML has no place for is left out."""
    return html.escape("".join(sign for sign in text if sign >= " " or sign in "\t\n"), quote=True)


def for_markdown(text: str) -> str:
    r"""Return a text that means nothing but itself in Markdown, in one line.

    >>> for_markdown("# <b> | x_y"), for_markdown("-1.5")
    ('\\# \\<b\\> \\| x\\_y', '-1.5')
    """
    line = _MARKS.sub(r"\\\1", " ".join(text.split()))
    first = _LIST.match(line)  # a heading or an item of a list, should it come to stand at the start of a line
    return line if first is None else f"{first[1]}\\{line[first.start(2) :]}"
