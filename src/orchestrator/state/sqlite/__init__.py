"""The default store: one SQLite file, durable at every commit."""

from __future__ import annotations

from orchestrator.state.sqlite.store import SqliteStore

__all__ = ["SqliteStore", "library_version"]


def library_version() -> str:
    """Return the version of the SQLite library that is used, like ``3.53.1``."""
    import apsw

    return apsw.sqlite_lib_version()
