"""The SQLite store: journal, leases and values in one file, big values in content-addressed files beside it."""

from __future__ import annotations

from orchestrator.state.sqlite.cache import SqliteCache
from orchestrator.state.sqlite.mail import SqliteMail
from orchestrator.state.sqlite.maintenance import SqliteMaintenance
from orchestrator.state.sqlite.queues import SqliteQueues
from orchestrator.state.sqlite.reading import SqliteReading


class SqliteStore(SqliteMaintenance, SqliteQueues, SqliteMail, SqliteReading, SqliteCache):
    """A store in the file ``path``; ``durable`` False survives the process's death but not a power cut.

    ``lease_seconds`` is how long an owner that went silent keeps an execution whose lock file it does not hold.
    Use one store object per process and path; its methods may be called from any one thread at a time.
    """
