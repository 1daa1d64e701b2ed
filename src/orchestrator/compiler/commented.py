"""A YAML text as a tree that has everything a person wrote: values in their styles, comments, blank lines.

For texts that ``load`` has accepted: one document, keys are scalars, depth and size are bounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import UsageError

_BREAK = "\n\r\x85\u2028\u2029"
_COMMENT = re.compile(f"#[^{_BREAK}]*")
_HEADER = re.compile(r"[|>][-+0-9]*[ \t]+(#[^\n]*)")
"""A plain text cannot begin like this, so that it is the first line of a block."""
_OPENING = ("BlockEntryToken", "KeyToken", "DocumentStartToken")
"""A comment right after one of these is about what follows."""


@dataclass(slots=True)
class Comment:
    """A comment with its ``#``; ``blank``: there is a blank line before it."""

    text: str
    blank: bool
    index: int = 0
    column: int = 0
    own: bool = True


@dataclass(slots=True)
class Scalar:
    """A value that is one text. ``source`` is what stands in the file."""

    value: str
    style: str | None
    tag: str | None
    anchor: str | None
    source: str


@dataclass(slots=True)
class Alias:
    """A reference to an anchor."""

    name: str


@dataclass(slots=True)
class Entry:
    """A key with its value, or an item of a list (no key), with the comments before it and on its line."""

    key: Scalar | Alias | None
    value: Node | None = None
    blank: bool = False
    before: list[Comment] = field(default_factory=list)
    beside: Comment | None = None


@dataclass(slots=True)
class Group:
    """A list or a mapping; ``foot``: the comments after its last entry; ``spread``: blank lines between its entries."""

    is_mapping: bool
    flow: bool
    anchor: str | None
    column: int
    spread: bool = False
    entries: list[Entry] = field(default_factory=list)
    foot: list[Comment] = field(default_factory=list)


Node = Scalar | Alias | Group


def comments_of(text: str) -> list[Comment]:
    r"""Return every comment of a text, whose lines end with line feeds, in order.

    >>> [each.text for each in comments_of("a: '# b' # c\nd: | # e\n  # f\n# g\n")]
    ['# c', '# e', '# g']
    """
    import yaml

    found: list[Comment] = []
    breaks = [each for each in _BREAK if each in text]
    before, opening = 0, True
    for token in yaml.scan(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        start, end = token.start_mark.index, token.end_mark.index
        if type(token).__name__ == "DirectiveToken":
            raise UsageError("a file with directives (%YAML, %TAG) cannot be formatted: remove them")
        if end == start and type(token).__name__ != "StreamEndToken":
            continue
        between = _COMMENT.finditer(text, before, start)
        found += [_comment(text, match, breaks, opening=opening) for match in between]
        if isinstance(token, yaml.ScalarToken) and (header := _HEADER.match(text, start, end)):
            found.append(Comment(header[1].rstrip(), blank=False, index=header.start(1), own=False))
        before, opening = end, type(token).__name__ in _OPENING
    return found


def _comment(text: str, match: re.Match[str], breaks: list[str], *, opening: bool) -> Comment:
    start = match.start()
    line = max((text.rfind(each, 0, start) for each in breaks), default=-1) + 1
    alone = not text[line:start].strip()
    return Comment(match[0].rstrip(), blank_before(text, start), start, start - line if alone else 0, alone or opening)


def blank_before(text: str, index: int) -> bool:
    """Tell whether the line before that of a place is blank."""
    line = text.rfind("\n", 0, index) + 1
    before = text.rfind("\n", 0, max(0, line - 1)) + 1
    return line > 0 and not text[before:line].strip()


def tree_of(text: str) -> Group:
    """Return the mapping that a text holds."""
    import yaml

    reader = _Reader(text)
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        reader.take(event)
    return reader.done()


class _Reader:
    """Builds the tree from the parser's events, and puts each comment where it belongs."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.comments = comments_of(text)
        self.next = 0
        self.pending: list[Comment] = []
        self.stack: list[Group] = []
        self.last: Entry | None = None
        self.root: Node | None = None

    def done(self) -> Group:
        self._pass(len(self.text) + 1)
        if not isinstance(self.root, Group):
            raise UsageError("only a mapping can be formatted")
        self.root.foot += self.pending
        return self.root

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        if kind.startswith(("Stream", "Document")):
            return
        block_end = kind.endswith("EndEvent") and not self.stack[-1].flow
        self._pass(event.start_mark.index)
        if kind.endswith("EndEvent"):
            self._end(block=block_end)
            return
        node = self._node(kind, event)
        self._place(node, event)
        if isinstance(node, Group):
            self.stack.append(node)

    def _pass(self, index: int) -> None:
        """Go past the comments before a place: those beside something are its own, others wait for what follows."""
        while self.next < len(self.comments) and self.comments[self.next].index < index:
            comment = self.comments[self.next]
            self.next += 1
            if comment.own or self.last is None:
                self.pending.append(comment)
            else:
                if self.last.beside is not None:  # one has room there
                    self.last.before.append(self.last.beside)
                comment.blank = False
                self.last.beside = comment

    def _end(self, *, block: bool) -> None:
        group = self.stack.pop()
        if not block:
            if self.stack:
                self.last = self.stack[-1].entries[-1]
            (group.foot if group.entries or not self.stack else self.stack[-1].entries[-1].before).extend(self.pending)
            self.pending = []
            return
        least = group.column
        if self.stack and not group.is_mapping and self.stack[-1].column == least:
            least += 1  # a list as far to the left as its key: what stands there is about the next key
        while self.pending and self.pending[0].column >= least:
            group.foot.append(self.pending.pop(0))

    def _node(self, kind: str, event: Any) -> Node:
        start, end = event.start_mark.index, event.end_mark.index
        if kind == "AliasEvent":
            return Alias(event.anchor)
        if kind == "ScalarEvent":
            return Scalar(event.value, event.style or None, event.tag, event.anchor, self.text[start:end])
        return Group(kind.startswith("Mapping"), bool(event.flow_style), event.anchor, event.start_mark.column)

    def _place(self, node: Node, event: Any) -> None:
        if not self.stack:
            self.root = node
            return
        group = self.stack[-1]
        start = event.start_mark.index
        if group.anchor is not None and not group.entries and not group.flow:  # its anchor stood elsewhere
            group.column = event.start_mark.column - (0 if group.is_mapping else len("- "))
        if group.is_mapping and group.entries and group.entries[-1].value is None:
            entry = group.entries[-1]
            entry.value = node
            if not (isinstance(node, Group) and not node.flow):
                self._give(entry)
        elif group.is_mapping:
            if isinstance(node, Group):
                raise UsageError("only texts can be keys")
            entry = Entry(node, blank=blank_before(self.text, start))
            group.entries.append(entry)
            self._give(entry)
        else:
            entry = Entry(None, node, blank=blank_before(self.text, start))
            group.entries.append(entry)
            self._give(entry)
        self.last = entry
        if isinstance(node, Scalar) and node.style in ("|", ">"):
            self._pass(event.end_mark.index)

    def _give(self, entry: Entry) -> None:
        entry.before += self.pending
        self.pending = []
