"""Functions that `migrate` may name; importable by worker processes."""

from __future__ import annotations

import sys
import threading
from typing import Any


def to_rows(old: dict[str, Any]) -> dict[str, Any]:
    old["rows"] = old.pop("row")
    return old | {"thread": threading.current_thread().name}


def by_kind(old: Any, kind: str) -> Any:
    return [kind, old]


def to_nothing(old: Any) -> None:
    del old


def failing(old: dict[str, Any]) -> Any:
    return old["column"]


def leaving(old: Any) -> None:
    del old
    sys.exit(3)


def taking_other_names(before: Any) -> Any:
    return before


async def waiting(old: Any) -> Any:
    return old


def unstorable(old: Any) -> Any:
    del old
    return threading.Lock()
