"""How a text is written in YAML so that every reader takes it for the same: plain, in quotes, or as a block."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.compiler.load import scalar

if TYPE_CHECKING:
    from orchestrator.compiler.commented import Scalar

WIDTH = 120
"""Longest line, where there is a place to break it."""
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}
_HEADER = re.compile(r"(?:[&!]\S*\s+)*[|>]([-+]?)([1-9]?)([-+]?)")
_FLOW_UNSAFE = frozenset(",[]{}")
_OTHER_YAML = re.compile(
    r"(?:[Yy]|[Nn]|[Yy]es|YES|[Nn]o|NO|[Oo]n|ON|[Oo]ff|OFF|=|<<"
    r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"
    r"|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?"
    r"|[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*(?:\.[0-9_]*)?))"
)
"""Text in YAML 1.2 that other versions take for something else."""


def is_block(value: Scalar) -> bool:
    """Tell whether a text is written over several lines."""
    return value.style in ("|", ">") or (value.style is None and "\n" in value.value)


def inline(value: Scalar, *, flow: bool, key: bool = False) -> str:
    """Write a text on one line, as its author did where that is possible: plain stays plain, quotes stay quotes."""
    text = value.value
    tag = f"!!{value.tag.rpartition(':')[2]} " if value.tag is not None and value.tag not in _TEXT_TAGS else ""
    prefix = (f"&{value.anchor} " if value.anchor is not None else "") + tag
    quoted = value.style is not None or value.tag in _TEXT_TAGS or "\n" in text
    if not quoted:
        other = not key and _OTHER_YAML.fullmatch(text) is not None and isinstance(scalar(text) if text else None, str)
        quoted = other and not tag
    if quoted:
        return prefix + _quoted(text)
    if not text:
        return f"{prefix}null" if prefix or flow else ""
    return prefix + text


def _quoted(text: str) -> str:
    if ('"' in text or "\\" in text) and "'" not in text and text.isprintable():
        return f"'{text}'"
    return f'"{"".join(_ESCAPES.get(character) or _escaped(character) for character in text)}"'


def _escaped(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 1 << 8 else f"\\u{code:04x}" if code < 1 << 16 else f"\\U{code:08x}"


def block(value: Scalar, column: int) -> list[str] | None:
    """Write a text as a block with its lines at ``column``: header and lines; None if no block can hold it."""
    text = value.value
    body = text.rstrip("\n")
    if (
        not body
        or value.tag not in (None, *_TEXT_TAGS)
        or not all(character.isprintable() or character in "\n\t" for character in text)
    ):
        return None
    ends = len(text) - len(body)
    lines = body.split("\n")
    form = "|"
    if value.style == ">":
        source = _folded_source(value)
        if source is None:
            return None
        form, lines = ">", source
    else:
        first = next(line for line in lines if line)
        if first.startswith((" ", "\t")) or not first.strip():
            form = "|2"
    chomping = "-" if ends == 0 else "" if ends == 1 else "+"
    made = [_header(value, form + chomping)]
    made += [" " * column + line if line else "" for line in lines]
    return made + [""] * (ends - 1)


def _folded_source(value: Scalar) -> list[str] | None:
    """Return the lines of a folded text as they stand in the file, without their indentation."""
    header, *lines = value.source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    found = _HEADER.match(header)
    if found is None or found[2] or not all(each.isprintable() or each == "\t" for line in lines for each in line):
        return None  # lines may end at other characters too
    while lines and not lines[-1].strip(" "):
        lines.pop()
    first = next((line for line in lines if line.strip(" ")), "")
    indent = len(first) - len(first.lstrip(" "))
    return [line[indent:] for line in lines]


def folded(value: Scalar, column: int) -> list[str] | None:
    """Break a text of one line into several at its single spaces; None if that would not mean the same."""
    words = value.value.split(" ")
    text = value.style is not None or value.tag in _TEXT_TAGS or isinstance(scalar(value.value), str)
    plain = all(character.isprintable() for character in value.value)
    if not text or not plain or not all(words) or value.tag not in (None, *_TEXT_TAGS) or len(words) == 1:
        return None
    lines = [words[0]]
    for word in words[1:]:
        if column + len(lines[-1]) + 1 + len(word) <= WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [_header(value, ">-"), *(" " * column + line for line in lines)]


def _header(value: Scalar, form: str) -> str:
    return (f"&{value.anchor} " if value.anchor is not None else "") + form
