"""The pages of the documentation, taken apart into what can be tried: blocks of code with what stands before them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_COMMENT = re.compile(r"<!--\s*(?P<key>[a-z ]+?)\s*(?::\s*(?P<value>.*?)\s*)?-->$")
_SAVE = re.compile(r"[Ss]ave this as `([^`]+)`")
_FILE_LINE = re.compile(r"#\s*([\w./-]+\.(?:ya?ml|py|toml))\s*$")


@dataclass(frozen=True)
class Block:
    """A fenced block. ``notes`` are the HTML comments right before it; ``file`` is the file it is to be saved as."""

    page: Path
    line: int
    kind: str
    text: str
    notes: dict[str, str]
    file: str | None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    found = []
    lines = page.read_text("utf-8").splitlines()
    before: list[str] = []
    index = 0
    while index < len(lines):
        line = lines[index]
        if not line.startswith("```"):
            if line.strip():
                before.append(line)
            index += 1
            continue
        end = next(at for at in range(index + 1, len(lines)) if lines[at] == "```")
        text = "".join(f"{each}\n" for each in lines[index + 1 : end])
        found.append(Block(page, index + 1, line[3:].strip(), text, _notes(before), _file(before, text)))
        before = []
        index = end + 1
    return found


def _notes(before: list[str]) -> dict[str, str]:
    notes = {}
    for line in reversed(before):
        match = _COMMENT.match(line)
        if match is None:
            break
        notes[match["key"]] = match["value"] or ""
    return notes


def _file(before: list[str], text: str) -> str | None:
    said = [line for line in before if not line.startswith("<!--")][-1:]
    match = _SAVE.search(said[0]) if said else None
    match = match or _FILE_LINE.match(text.partition("\n")[0])
    return match[1] if match else None


def name_of(page: Path) -> str:
    """Return how a test calls a page."""
    return str(page.relative_to(ROOT))
