"""A report's text becomes Markdown or a page: `[[name]]` gives way to the value, table or chart of that name."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

from orchestrator.domain.words import did_you_mean
from orchestrator.tools.reports.cells import for_html, for_markdown
from orchestrator.tools.reports.charts import Chart
from orchestrator.tools.reports.tables import Table
from orchestrator.tools.tables.sqltext import wrong

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orchestrator.errors import TaskError

Part = Table | Chart | str
"""What stands for a name: a value is its text."""

PLACE = re.compile(r"\[\[\s*(\w[\w-]*)\s*\]\]")
_BEGIN, _END = "\ue000", "\ue001"
_PLACED = re.compile(f"(<p>)?{_BEGIN}(\\d+){_END}(?(1)</p>)")
_OWN = re.compile(f"[{_BEGIN}{_END}]")
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;color:#222;background:#fff;max-width:60rem;margin:2rem auto;"
    "padding:0 1rem}table{border-collapse:collapse;margin:1rem 0;font-size:.9rem}caption{text-align:left;"
    "font-weight:600;padding:.3rem 0}th,td{border-bottom:1px solid #ddd;padding:.3rem .7rem;text-align:left;"
    "vertical-align:top}th{border-bottom:2px solid #888}.n{text-align:right;font-variant-numeric:tabular-nums}"
    ".more{color:#666;font-size:.85rem}figure{margin:1rem 0}figcaption{font-weight:600}svg{max-width:100%;"
    "height:auto}pre{background:#f5f5f5;padding:.7rem;overflow:auto}code{font-size:.9em}"
    "blockquote{border-left:3px solid #ddd;margin-left:0;padding-left:1rem;color:#555}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]*")


def unknown(name: str, known: Iterable[str]) -> tuple[str, str | None]:
    """Say that nothing has the name that a place in the text says, with a hint."""
    names = sorted(known)
    hint = did_you_mean(name, names) or (f"there are {', '.join(names)}" if names else None)
    return f"'[[{name}]]' is no value, table or chart of the report", hint


def markdown(template: str, parts: Mapping[str, Part]) -> str:
    """Return the report as Markdown; a chart is a picture in it."""

    def part_of(match: re.Match[str]) -> str:
        part = _part(match[1], parts)
        if isinstance(part, Table):
            if not _is_alone(match):
                raise _crowded(match[1])
            return part.markdown()
        if isinstance(part, Chart):
            picture = base64.b64encode(part.svg().encode()).decode()
            return f"![{for_markdown(part.title or match[1])}](data:image/svg+xml;base64,{picture})"
        return for_markdown(part)

    return PLACE.sub(part_of, template).rstrip("\n") + "\n"


def html(template: str, parts: Mapping[str, Part], title: str) -> str:
    """Return the report as a page of its own: no script, nothing from elsewhere, everything in it escaped."""
    names: list[str] = []

    def mark(match: re.Match[str]) -> str:
        _part(match[1], parts)
        names.append(match[1])
        return f"{_BEGIN}{len(names) - 1}{_END}"

    body = _rendered(PLACE.sub(mark, _OWN.sub("", template)))
    if "%EE%80%80" in body:
        raise wrong("a [[name]] cannot stand in the address of a link; write it by a template, {{ ... }}")

    def part_of(match: re.Match[str]) -> str:
        alone, name = match[1], names[int(match[2])]
        part = parts[name]
        if isinstance(part, str):
            return f"<p>{for_html(part)}</p>" if alone else for_html(part)
        if not alone:
            raise _crowded(name)
        if isinstance(part, Table):
            return part.html()
        caption = f"<figcaption>{for_html(part.title)}</figcaption>\n" if part.title else ""
        return f"<figure>\n{caption}{part.svg()}\n</figure>"

    body = _PLACED.sub(part_of, body)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{for_html(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def _rendered(text: str) -> str:
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    tokens = reader.parse(text)
    for child in [child for token in tokens for child in token.children or []]:
        if child.type == "image" and not _PICTURE.fullmatch(address := str(child.attrGet("src") or "")):
            # A picture from elsewhere would tell there who reads the report, and is not in it.
            child.type, child.tag, child.content = "text", "", f"{child.content} ({address})"
    rendered: str = reader.renderer.render(tokens, reader.options, {})
    return rendered


def _part(name: str, parts: Mapping[str, Part]) -> Part:
    if name not in parts:
        raise _unknown(name, parts)
    return parts[name]


def _unknown(name: str, parts: Mapping[str, Part]) -> TaskError:
    message, hint = unknown(name, parts)
    return wrong(message + (f" ({hint})" if hint else ""))


def _is_alone(match: re.Match[str]) -> bool:
    """Tell whether a place has lines to itself that a table can stand in."""
    before, after = match.string[: match.start()], match.string[match.end() :]
    lines = before.split("\n")
    apart = lines[-1] == "" and (len(lines) == 1 or not lines[-2].strip() or lines[-2].startswith("#"))
    return apart and not after.partition("\n")[0].strip() and not after.partition("\n")[2].partition("\n")[0].strip()


def _crowded(name: str) -> TaskError:
    return wrong(f"[[{name}]]: a table or chart stands alone in its paragraph, with empty lines around it")
