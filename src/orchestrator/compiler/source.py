"""Where each part of a loaded file stands, under the names that its author used."""

from __future__ import annotations

from typing import Any

from orchestrator.compiler.load import Node
from orchestrator.compiler.schema import table_at
from orchestrator.domain.words import Path, path_text


def tree_of(value: Any) -> Node:
    """Return plain data as a tree without places, so that its parts are called by the names they were given."""
    if isinstance(value, dict):
        node = Node({key: tree_of(item) for key, item in value.items()}, 0, 0)
        node.keys = dict.fromkeys(value, (0, 0))
        return node
    return Node([tree_of(item) for item in value] if isinstance(value, list) else value, 0, 0)


class Document:
    """A loaded file: its tree, and the place of everything in it (a ``diagnostics.Source``)."""

    def __init__(self, root: Node, file: str) -> None:
        self.root = root
        self.file = file

    def place(self, path: Path, *, key: bool = False) -> tuple[int, int, str]:
        """Return line, column and name of a place; of a missing one, the place of the nearest thing around it."""
        node = self.root
        line, column = node.line, node.column
        written = list(path)
        for index, part in enumerate(path):
            if isinstance(part, int):
                if not isinstance(node.value, list) or not 0 <= part < len(node.value):
                    break
                node = node.value[part]
                line, column = node.line, node.column
                continue
            name = self._written_name(node, path[:index], part)
            if node.keys is None or name not in node.keys:
                break
            written[index] = name
            if key and index == len(path) - 1:
                line, column = node.keys[name]
            else:
                node = node.value[name]
                line, column = node.line, node.column
        return line, column, path_text(written)

    @staticmethod
    def _written_name(node: Node, path: Path, name: str) -> str:
        if node.keys is None or name in node.keys:
            return name
        table = table_at(path)
        key = table.keys.get(name) if table is not None else None
        return key.other if key is not None and key.other in node.keys else name
