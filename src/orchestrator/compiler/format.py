"""Pipeline files in the one layout: nothing is lost, nothing means anything else, and to format again changes nothing.

``formatted`` holds its own work against the file before it hands it out: the same values, an equal pipeline, every
comment. What it cannot do so, it refuses.
"""

from __future__ import annotations

import math
from typing import Any

from orchestrator.compiler.commented import Alias, Comment, Entry, Group, Node, Scalar, comments_of, tree_of
from orchestrator.compiler.scalars import WIDTH, block, folded, inline, is_block
from orchestrator.compiler.schema import PIPELINE, STEP
from orchestrator.compiler.shape import Items, Kind, Later, Table
from orchestrator.errors import DefinitionError, UsageError

_INDENT = 2
_SECTIONS = frozenset(("inputs", "parameters", "resume", "steps", "outputs"))
"""Keys of the file whose values are always written in block style."""


def formatted(text: str | bytes, *, file: str = "<pipeline>") -> str:
    """Return a pipeline file in the one layout; raise DefinitionError with every mistake in it.

    Raises UsageError where that would lose or change anything: it is told what, and there is nothing to repair but
    the text. The pipeline's tools are not looked at.

    >>> print(formatted("steps: [{tool: shell, id: a}] # all"), end="")
    steps:  # all
      - id: a
        tool: shell
    """
    from orchestrator.compiler.compile import compile_text
    from orchestrator.compiler.load import decode, load

    pipeline = compile_text(text, file=file)
    before = decode(text, file=file).replace("\r\n", "\n").replace("\r", "\n")
    tree = tree_of(before)
    after = _Writer(ordered=not _has_aliases(tree)).document(tree)
    try:
        same = compile_text(after, file=file) == pipeline and _same(load(text).plain(), load(after).plain())
    except DefinitionError:
        same = False
    if not same:
        raise UsageError("its layout cannot be changed without changing what it means")
    if sorted(each.text for each in comments_of(before)) != sorted(each.text for each in comments_of(after)):
        raise UsageError("a comment in it would be lost")
    return after


def _same(one: Any, other: Any) -> bool:
    """Tell whether two plain values are the same, types included; the order of keys aside."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(item, other[key]) for key, item in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other)))


def _has_aliases(node: Node | None) -> bool:
    if isinstance(node, Group):
        return any(_has_aliases(entry.value) or _has_aliases(entry.key) for entry in node.entries)
    return isinstance(node, Alias)


class _Writer:
    """Writes a tree, line by line. Unless ``ordered``, keys stay where they are."""

    def __init__(self, *, ordered: bool) -> None:
        self.ordered = ordered
        self.lines: list[str] = []
        self.kept = False  # the last line ends a text that keeps its last line breaks: a blank line would be one more

    def document(self, root: Group) -> str:
        head: list[Comment] = []
        gap = False
        if root.entries and root.entries[0].before:
            first = root.entries[0]
            head, gap = first.before, first.blank
            first.before, first.blank = [], False
        for comment in head:
            self._comment(comment, 0)
        if gap and head:
            self._blank()
        self._arrange(root, PIPELINE)
        section = False
        for number, entry in enumerate(root.entries):
            name = entry.key.value if isinstance(entry.key, Scalar) else ""
            value = entry.value
            if isinstance(value, Group) and value.entries and name in _SECTIONS:
                value.flow = False
            is_section = isinstance(value, Group) and bool(value.entries) and not self._fits(entry, 0)
            self._entry(entry, 0, apart=number > 0 and (section or is_section), first=number == 0)
            section = is_section
        for comment in root.foot:
            self._comment(comment, 0)
        return "\n".join(self.lines) + "\n"

    # -- entries ---------------------------------------------------------------------------------------------------

    def _entry(self, entry: Entry, column: int, *, apart: bool = False, first: bool = False) -> None:
        """Write what stands before an entry, and the entry."""
        before, beside, value = entry.before, entry.beside, entry.value
        nested = isinstance(value, Group) and not self._fits(entry, column)
        if entry.key is None and nested and isinstance(value, Group):
            if beside is not None:
                before, beside = [*before, beside], None
            before = [*before, *self._hoisted(value)]
        blank = not first and (apart or (before[0].blank if before else entry.blank))
        if blank:
            self._blank()
        for number, comment in enumerate(before):
            self._comment(comment, column, blank=comment.blank and number > 0)
        if before and entry.blank:
            self._blank()
        tail = f"  {beside.text}" if beside is not None else ""
        if entry.key is None:
            self._item(value, column, tail)
        else:
            self._pair(entry, column, tail)

    def _hoisted(self, group: Group) -> list[Comment]:
        """Take the comments from before the first entry: it stands on the line of its dash."""
        found: list[Comment] = []
        inner: Node | None = group
        while isinstance(inner, Group) and inner.entries and not inner.flow:
            first = inner.entries[0]
            found += first.before
            first.before = []
            inner = first.value if first.key is None else None
        return found

    def _pair(self, entry: Entry, column: int, tail: str) -> None:
        head = f"{' ' * column}{_key(entry.key, flow=False)}:"
        value = entry.value
        if isinstance(value, Group) and not self._fits(entry, column):
            self.lines.append(head + _anchor(value) + tail)
            self._group(value, column + _INDENT)
        else:
            self._scalar(head, value, column, tail)

    def _item(self, value: Node | None, column: int, tail: str) -> None:
        head = " " * column + "-"
        if not isinstance(value, Group) or self._fits(Entry(None, value), column):
            self._scalar(head, value, column, tail)
        elif value.anchor is not None:
            self.lines.append(head + _anchor(value))
            self._group(value, column + _INDENT)
        else:
            start = len(self.lines)
            self._group(value, column + _INDENT)
            self.lines[start] = head + self.lines[start][column + 1 :]

    def _group(self, group: Group, column: int) -> None:
        for number, entry in enumerate(group.entries):
            self._entry(entry, column, apart=group.spread and number > 0, first=number == 0)
        for comment in group.foot:
            self._comment(comment, column)

    def _arrange(self, group: Group, kind: Kind | None) -> bool:
        """Put the keys of files and steps into their order; tell whether there are steps, which makes blocks of all."""
        group.spread = isinstance(kind, Items) and _met(kind.kind) is STEP
        steps = group.spread or kind is STEP
        for entry in group.entries:
            if isinstance(entry.value, Group):
                steps |= self._arrange(entry.value, _kind_below(kind, entry))
        if kind is PIPELINE or kind is STEP:
            self._sort(group, kind)
        if steps and group.entries:
            group.flow = False
        return steps

    def _sort(self, group: Group, table: Table) -> None:
        if not self.ordered:
            return
        order = {name: number for number, name in enumerate(table.keys)}
        order |= {other: order[name] for other, name in table.others.items()}
        names = [entry.key.value if isinstance(entry.key, Scalar) else "" for entry in group.entries]
        ranks = sorted(range(len(names)), key=lambda at: order.get(names[at], len(order)))
        group.entries = [group.entries[at] for at in ranks]

    # -- values ----------------------------------------------------------------------------------------------------

    def _scalar(self, head: str, value: Node | None, column: int, tail: str) -> None:
        if isinstance(value, Scalar):
            text = inline(value, flow=False)
            lines = block(value, column + _INDENT) if is_block(value) else None
            if lines is None and len(head) + 1 + len(text) > WIDTH:
                lines = folded(value, column + _INDENT)
            if lines is not None:
                self.lines.append(f"{head} {lines[0]}{tail}")
                self.lines += lines[1:]
                self.kept = lines[0].endswith("+")
                return
            if not text and head.endswith("-"):
                text = "null"
        else:
            text = self._flow(value)
        self.lines.append((f"{head} {text}" if text else head) + tail)
        self.kept = False

    def _fits(self, entry: Entry, column: int) -> bool:
        """Tell whether a list or mapping is written on the line of its key: as its author did, if there is room."""
        group = entry.value
        if not isinstance(group, Group) or not group.entries:
            return True
        if not group.flow or _has_comments(group):
            return False
        text = self._flow(group)
        return column + len(_key(entry.key, flow=False)) + len(": ") + len(text) <= WIDTH

    def _flow(self, node: Node | None) -> str:
        if isinstance(node, Alias):
            return f"*{node.name}"
        if isinstance(node, Scalar):
            return inline(node, flow=True)
        if node is None:
            return "null"
        prefix = f"&{node.anchor} " if node.anchor is not None else ""
        if not node.is_mapping:
            return f"{prefix}[{', '.join(self._flow(entry.value) for entry in node.entries)}]"
        pairs = [f"{_key(entry.key, flow=True)}: {self._flow(entry.value)}" for entry in node.entries]
        return f"{prefix}{{{', '.join(pairs)}}}"

    # -- lines -----------------------------------------------------------------------------------------------------

    def _comment(self, comment: Comment, column: int, *, blank: bool | None = None) -> None:
        if comment.blank if blank is None else blank:
            self._blank()
        self.lines.append(" " * column + comment.text)
        self.kept = False

    def _blank(self) -> None:
        if self.lines and self.lines[-1] and not self.kept:
            self.lines.append("")


def _met(kind: Kind) -> Kind:
    return kind.kind() if isinstance(kind, Later) else kind


def _kind_below(kind: Kind | None, entry: Entry) -> Kind | None:
    """Return the kind of an entry's value in something of a kind; None where anything may stand."""
    if isinstance(kind, Items):
        return _met(kind.kind)
    if not isinstance(kind, Table) or not isinstance(entry.key, Scalar):
        return None
    name = entry.key.value
    key = kind.keys.get(kind.others.get(name, name))
    return None if key is None else key.kind


def _key(key: Scalar | Alias | None, *, flow: bool) -> str:
    """Return how a key is written, without its colon; nothing for an item of a list."""
    if isinstance(key, Alias):
        return f"*{key.name} "  # else the colon would be taken for a part of the name
    return "" if key is None else inline(key, flow=flow, key=True)


def _anchor(group: Group) -> str:
    return f" &{group.anchor}" if group.anchor is not None else ""


def _has_comments(group: Group) -> bool:
    return bool(group.foot) or any(
        bool(entry.before or entry.beside) or (isinstance(entry.value, Group) and _has_comments(entry.value))
        for entry in group.entries
    )
