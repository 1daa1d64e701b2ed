"""The door to DuckDB, which is an extra."""

from __future__ import annotations

from typing import Any

from orchestrator.errors import TaskError


def duckdb() -> Any:
    """Return the module; raise TaskError (kind ``missing_extra``) saying how to install it."""
    try:
        import duckdb as module
    except ImportError as error:
        raise TaskError(
            "tables need DuckDB: pip install 'durable-orchestrator[data]'",
            kind="missing_extra",
            retryable=False,
        ) from error
    return module
