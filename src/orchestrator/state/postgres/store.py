"""The PostgreSQL store: journal, leases, queues and values in one schema of a database."""

from __future__ import annotations

from orchestrator.state.postgres.cache import PostgresCache
from orchestrator.state.postgres.mail import PostgresMail
from orchestrator.state.postgres.maintenance import PostgresMaintenance
from orchestrator.state.postgres.queues import PostgresQueues
from orchestrator.state.postgres.reading import PostgresReading


class PostgresStore(PostgresMaintenance, PostgresQueues, PostgresMail, PostgresReading, PostgresCache):
    """A store in the schema that ``target`` names; nothing is connected before it is used.

    ``lease_seconds`` is how long an owner that went silent keeps an execution, by the server's clock. ``blobs`` keeps
    values of more than 64 KiB; without it they lie in the database. Its coroutines belong to one event loop at a time;
    ``renew``, ``requests`` and ``tend`` may be called from any thread.
    """
