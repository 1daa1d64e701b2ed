"""The SQL files, ready for one schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files

from psycopg import sql

_COMMENT = re.compile(r"^ *--.*\n|  +-- .*$", re.MULTILINE)
_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_PACKAGE = "orchestrator.state.postgres"


@cache
def _blocks() -> dict[str, str]:
    text = files(_PACKAGE).joinpath("queries.sql").read_text("utf-8")
    _, *parts = _NAME.split(text)
    return dict(zip(parts[::2], parts[1::2], strict=True))


@cache
def migrations() -> tuple[str, ...]:
    """Return the statements that lead from each format to the next, from format 0 (nothing) on."""
    folder = files(_PACKAGE).joinpath("schema")
    found = {int(entry.name.removesuffix(".sql")): entry for entry in folder.iterdir() if entry.name.endswith(".sql")}
    return tuple(found[number].read_text("utf-8") for number in range(1, len(found) + 1))


def in_schema(text: str, schema: str) -> bytes:
    """Return SQL with ``{s}`` in it made the schema's quoted name."""
    # The text is ours, and the one name in it goes through the driver's quoting.
    return sql.SQL(text).format(s=sql.Identifier(schema)).as_bytes()


@lru_cache(maxsize=16)
def queries(schema: str) -> Mapping[str, bytes]:
    """Return every statement of queries.sql by its name, for one schema."""
    return {name: in_schema(_COMMENT.sub("", text).strip(), schema) for name, text in _blocks().items()}
