"""The default store: one SQLite file, durable at every commit."""

from __future__ import annotations

from orchestrator.state.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
