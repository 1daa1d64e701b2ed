"""YAML text to a tree that knows where everything stands.

YAML 1.2 core schema: ``no``, ``on`` and ``12:30`` are text, ``1.10`` is the number 1.1, ``012`` is 12, ``0o14`` is
octal. Only plain data: no tags besides the core ones, keys are text and unique, no merge keys, one document.
Sizes are bounded before anything is built from them, and nothing here recurses, so that no text can eat memory,
time or stack.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from orchestrator.domain.words import shorten
from orchestrator.errors import DefinitionError, Diagnostic

MAX_BYTES = 5_000_000
"""Largest text, in bytes of UTF-8."""
MAX_DEPTH = 64
"""Deepest nesting of lists and mappings."""
MAX_NODES = 500_000
"""Most values in a file, each alias counted as all that it stands for."""
MAX_MISTAKES = 100
"""Reading stops after so many mistakes of this level."""

_CHARACTERS = 100
"""So many characters of a text count as one more value."""
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_CONSTANTS: dict[str, Any] = (
    dict.fromkeys(("", "~", "null", "Null", "NULL"))
    | dict.fromkeys(("true", "True", "TRUE"), True)
    | dict.fromkeys(("false", "False", "FALSE"), False)
    | dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf)
    | dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf)
    | dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan)
)
_NUMBER_START = frozenset("+-.0123456789")
_CORE = "tag:yaml.org,2002:"
_UNREADABLE = r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
_UNREADABLE_ASCII = r"[^\t\n\r\x20-\x7e]"
"""The same among ASCII, to which most files keep: the other takes ten milliseconds to compile."""


class Node:
    """One value: what it is, where it starts, and (for a scalar) the text it was written as.

    ``value`` is a scalar, a list of nodes, or a dict of nodes; ``keys`` gives line and column of a mapping's keys.
    ``size`` counts the values in it (a long text as many) and ``height`` the levels below it, aliases included.
    """

    __slots__ = ("column", "height", "keys", "line", "size", "text", "value")

    def __init__(self, value: Any, line: int, column: int, text: str | None = None) -> None:
        self.value = value
        self.line = line
        self.column = column
        self.text = text
        self.keys: dict[str, tuple[int, int]] | None = None
        self.size = 1 if text is None else 1 + len(text) // _CHARACTERS
        self.height = 0

    def plain(self) -> Any:
        """Return the value without the places (depth is bounded by MAX_DEPTH, so recursion is safe)."""
        value = self.value
        if type(value) is dict:
            return {key: node.plain() for key, node in value.items()}
        if type(value) is list:
            return [node.plain() for node in value]
        return value


class _Key(NamedTuple):
    name: str
    line: int
    column: int


class _Open:
    """A list or mapping whose end has not been read yet."""

    __slots__ = ("anchor", "is_key", "key", "node")

    def __init__(self, node: Node, anchor: str | None, *, is_key: bool) -> None:
        self.node = node
        self.anchor = anchor
        self.is_key = is_key
        self.key: _Key | None = None


def load(text: str | bytes, *, file: str = "<pipeline>") -> Node:
    """Return the tree of a YAML text; raise DefinitionError with every mistake of this level.

    Nothing else is raised, whatever the text: malformed YAML, not UTF-8, too large, too deep, an alias bomb, foreign
    tags, duplicate keys and a second document are all diagnostics with their place.
    """
    root, mistakes = read(text, file=file)
    if mistakes:
        raise DefinitionError(mistakes)
    return root


def read(text: str | bytes, *, file: str) -> tuple[Node, list[Diagnostic]]:
    """Return the tree and the mistakes that leave one to be read on: keys given twice, of which the first counts.

    Raises DefinitionError, like ``load``, for all others.
    """
    return _Reader(file).read(decode(text, file=file))


def decode(text: str | bytes, *, file: str) -> str:
    """Return ``text`` as str without a byte order mark; raise DefinitionError if it is too large or not readable."""
    if len(text) > MAX_BYTES:
        raise DefinitionError([Diagnostic(f"larger than {MAX_BYTES:,} bytes", file=file, line=1, column=1)])
    text = (_from_bytes(text, file) if isinstance(text, bytes) else text).removeprefix("\ufeff")
    if found := re.search(_UNREADABLE_ASCII if text.isascii() else _UNREADABLE, text):
        message = f"the character U+{ord(found[0]):04X} cannot stand in YAML"
        hint = 'write it as an escape inside double quotes, like "\\u0007"'
        raise DefinitionError([_at(text[: found.start()], file, message, hint)])
    if len(text) * 4 > MAX_BYTES and len(text.encode()) > MAX_BYTES:
        raise DefinitionError([Diagnostic(f"larger than {MAX_BYTES:,} bytes", file=file, line=1, column=1)])
    return text


def _from_bytes(text: bytes, file: str) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"not UTF-8: unexpected byte 0x{text[error.start]:02x}"
        hint = "save the file with the encoding UTF-8"
        raise DefinitionError([_at(text[: error.start].decode("utf-8"), file, message, hint)]) from None


def scalar(text: str) -> Any:
    """Return what a plain scalar means in the YAML 1.2 core schema.

    >>> [scalar(text) for text in ("no", "12:30", "1.10", "012", "0o14", "~", "1e3")]
    ['no', '12:30', 1.1, 12, 12, None, 1000.0]
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] in _NUMBER_START:
        if _INT.fullmatch(text):
            return int(text, 10 if text[1:2] not in ("o", "x") else 0)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


def _at(before: str, file: str, message: str, hint: str | None = None) -> Diagnostic:
    lines = before.splitlines(keepends=True)
    if lines and not lines[-1].endswith(("\n", "\r")):
        return Diagnostic(message, "", file, len(lines), len(lines[-1]) + 1, hint)
    return Diagnostic(message, "", file, len(lines) + 1, 1, hint)


class _Reader:
    """Builds the tree from the parser's events, counting as it goes."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.mistakes: list[Diagnostic] = []
        self.twice = 0  # how many of them are keys given twice
        self.anchors: dict[str, Node | None] = {}  # None: still open
        self.stack: list[_Open] = []
        self.root: Node | None = None
        self.nodes = 0

    def read(self, text: str) -> tuple[Node, list[Diagnostic]]:
        import yaml

        handlers = {
            yaml.ScalarEvent: self._scalar,
            yaml.SequenceStartEvent: self._start,
            yaml.MappingStartEvent: self._start,
            yaml.SequenceEndEvent: self._end,
            yaml.MappingEndEvent: self._end,
            yaml.AliasEvent: self._alias,
        }
        documents = 0
        try:
            for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
                if handler := handlers.get(type(event)):
                    handler(event)
                elif isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        self._stop(event, "a second document starts here", "a file holds one pipeline")
        except yaml.MarkedYAMLError as error:
            self.mistakes.append(self._malformed(error))
        except (yaml.YAMLError, UnicodeError, ValueError) as error:
            self.mistakes.append(Diagnostic(f"not YAML: {shorten(str(error))}", file=self.file, line=1, column=1))
        if self.root is None and not self.mistakes:
            self.mistakes.append(Diagnostic("the file is empty", file=self.file, line=1, column=1))
        found = sorted(self.mistakes, key=lambda item: (item.line, item.column))
        if self.root is None or len(found) > self.twice:
            raise DefinitionError(found)
        return self.root, found

    def _malformed(self, error: Any) -> Diagnostic:
        mark = error.problem_mark or error.context_mark
        problem = str(error.problem or error.context or "malformed")
        context = f" {error.context}" if error.context and error.problem else ""
        hint = None
        if "cannot start any token" in problem:
            hint = "indent with spaces, not tabs, and put text that starts with a special character in quotes"
        elif "mapping values are not allowed" in problem:
            hint = "put text that contains ': ' in quotes"
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        return Diagnostic(f"not YAML: {problem}{context}", "", self.file, line, column, hint)

    def _note(self, event: Any, message: str, hint: str | None = None) -> None:
        mark = event.start_mark
        self._put(Diagnostic(message, "", self.file, mark.line + 1, mark.column + 1, hint))

    def _put(self, mistake: Diagnostic) -> None:
        self.mistakes.append(mistake)
        if len(self.mistakes) >= MAX_MISTAKES:
            raise DefinitionError(self.mistakes)

    def _stop(self, event: Any, message: str, hint: str | None = None) -> None:
        self._note(event, message, hint)
        raise DefinitionError(self.mistakes)

    def _scalar(self, event: Any) -> None:
        text = event.value
        value: Any = text
        if event.tag is not None and event.tag != "!":
            value = self._tagged(event)
        elif event.implicit[0]:
            try:
                value = scalar(text)
            except ValueError:
                self._note(event, "a number with too many digits", "put it in quotes to make it text")
        mark = event.start_mark
        node = Node(value, mark.line + 1, mark.column + 1, text)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        self._place(event, node)

    def _tagged(self, event: Any) -> Any:
        """Return the value of a scalar with an explicit tag."""
        kind = event.tag.removeprefix(_CORE)
        if event.tag == _CORE + "str":
            return event.value
        if event.tag.startswith(_CORE) and kind in ("int", "float", "bool", "null"):
            try:
                value = scalar(event.value)
            except ValueError:
                value = event.value
            if kind == "float" and type(value) is int and abs(value) < 1 << 1023:
                value = float(value)
            names = {int: "int", float: "float", bool: "bool", type(None): "null"}
            if names.get(type(value)) == kind:
                return value
            self._note(event, f"{shorten(event.value)!r} is not of the type !!{kind}")
        else:
            self._foreign(event)
        return event.value

    def _foreign(self, event: Any) -> None:
        tag = event.tag
        name = "!!" + tag.removeprefix(_CORE) if tag.startswith(_CORE) else tag
        self._note(event, f"the tag {shorten(name)!r} is not allowed", "a pipeline holds plain data only")

    def _start(self, event: Any) -> None:
        is_mapping = type(event).__name__ == "MappingStartEvent"
        if event.tag is not None and event.tag not in ("!", _CORE + ("map" if is_mapping else "seq")):
            self._foreign(event)
        if len(self.stack) >= MAX_DEPTH:
            self._stop(event, f"nested deeper than {MAX_DEPTH} levels")
        mark = event.start_mark
        node = Node({} if is_mapping else [], mark.line + 1, mark.column + 1)
        if is_mapping:
            node.keys = {}
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        opened = _Open(node, event.anchor, is_key=self._expects_key())
        if opened.is_key and not any(around.is_key for around in self.stack):
            self._note(event, "a list or a mapping cannot be a key")
        self.stack.append(opened)

    def _end(self, event: Any) -> None:
        opened = self.stack.pop()
        if opened.anchor is not None:
            self.anchors[opened.anchor] = opened.node
        if opened.is_key:
            self.stack[-1].key = _Key("", 0, 0)  # reported already: read on as if it had a name
        else:
            self._place(event, opened.node)

    def _alias(self, event: Any) -> None:
        node = self.anchors.get(event.anchor)
        if node is None:
            if event.anchor in self.anchors:
                self._stop(event, f"the alias '*{event.anchor}' stands inside what it refers to")
            self._stop(event, f"no anchor '&{event.anchor}' before this alias")
        else:
            self._place(event, node)

    def _expects_key(self) -> bool:
        return bool(self.stack) and type(self.stack[-1].node.value) is dict and self.stack[-1].key is None

    def _place(self, event: Any, node: Node) -> None:
        """Put a finished value where it belongs: into the open list or mapping, or as the root."""
        if not self.stack:
            self.root = node
            return
        opened = self.stack[-1]
        parent = opened.node
        if type(parent.value) is list:
            parent.value.append(node)
        elif opened.key is None:
            opened.key = self._key(event, node)
            return
        else:
            self._entry(parent, opened.key, node)
            opened.key = None
        parent.size += node.size
        if parent.size > MAX_NODES:
            self._stop(event, f"more than {MAX_NODES:,} values, counting each alias as all that it stands for")
        if node.height >= parent.height:
            parent.height = node.height + 1
            if len(self.stack) + node.height > MAX_DEPTH:
                self._stop(event, f"nested deeper than {MAX_DEPTH} levels")

    def _key(self, event: Any, node: Node) -> _Key:
        mark = event.start_mark
        key = node.value
        if key == "<<" and getattr(event, "implicit", (False,))[0]:
            self._note(event, "merge keys ('<<') are not part of YAML 1.2", "write the keys out")
        elif not isinstance(key, str):
            what = "a key must be text" if node.text is not None else "a list or a mapping cannot be a key"
            quoted = f'write "{shorten(node.text)}", in quotes' if node.text else None
            self._note(event, what, quoted)
            key = node.text or ""
        return _Key(key, mark.line + 1, mark.column + 1)

    def _entry(self, parent: Node, key: _Key, node: Node) -> None:
        keys = parent.keys
        if keys is None:  # a list has none
            return
        if key.name in parent.value and key.line:
            line, column = keys[key.name]
            message = f"the key {shorten(key.name)!r} is given twice"
            self.twice += 1
            self._put(Diagnostic(message, "", self.file, key.line, key.column, f"first at {line}:{column}"))
            return
        parent.value[key.name] = node
        keys[key.name] = (key.line, key.column)
