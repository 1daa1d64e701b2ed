"""Where a store is: its URL taken apart, and the options of every connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from orchestrator.errors import UsageError
from orchestrator.state.masking import mask

DEFAULT_SCHEMA = "orchestrator"
MAX_NAME = 63
STATEMENT_SECONDS = 15
LOCK_SECONDS = 5
CONNECT_SECONDS = 5
FORM = "postgresql://user:password@host:port/database?schema=orchestrator&durability=full|process&pgbouncer=true|false"


@dataclass(frozen=True, slots=True)
class Target:
    """A database, the schema in it, and what is demanded of it.

    ``url`` names it in messages, without secrets. ``pooled``: a pooler stands before it that may give each
    transaction another of the server's connections, so that nothing may be left in a session.
    """

    url: str
    conninfo: str
    schema: str
    durable: bool
    pooled: bool

    @property
    def settings(self) -> dict[str, str]:
        """What must hold in every transaction of ours."""
        return {
            "synchronous_commit": "on" if self.durable else "off",
            "statement_timeout": f"{STATEMENT_SECONDS}s",
            "lock_timeout": f"{LOCK_SECONDS}s",
            "idle_in_transaction_session_timeout": f"{STATEMENT_SECONDS}s",
            "default_transaction_isolation": "read committed",
        }

    def connection(self) -> dict[str, Any]:
        """Return what ``connect`` takes."""
        known = conninfo_to_dict(self.conninfo)
        options: dict[str, Any] = {
            "application_name": "orchestrator",
            "connect_timeout": CONNECT_SECONDS,
            "keepalives": 1,
            "keepalives_idle": 5,
            "keepalives_interval": 5,
            "keepalives_count": 2,
            "tcp_user_timeout": STATEMENT_SECONDS * 1000,
            "client_encoding": "UTF8",
        }
        options |= known
        if not self.pooled:
            ours = " ".join(f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in self.settings.items())
            options["options"] = f"{known.get('options') or ''} {ours}".strip()
        return options


def parse_target(url: str, *, durable: bool) -> Target:
    """Take a URL apart; ``durable`` holds where it does not say. Raises UsageError, the password masked."""
    parts = urlsplit(url)
    own = {"schema": DEFAULT_SCHEMA, "durability": "full" if durable else "process", "pgbouncer": "false"}
    rest: list[tuple[str, str]] = []
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in own:
            own[name] = value
        else:
            rest.append((name, value))
    if own["durability"] not in ("full", "process") or own["pgbouncer"] not in ("true", "false"):
        raise UsageError(f"not a store: {mask(url)!r}; expected {FORM}")
    schema = own["schema"]
    if not schema or len(schema.encode()) > MAX_NAME or "\0" in schema or schema.startswith("pg_"):
        raise UsageError(f"not a store: {mask(url)!r}; the schema's name has 1 to {MAX_NAME} bytes and no 'pg_' before")
    bare = urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(rest, quote_via=quote), ""))
    try:
        conninfo = make_conninfo(bare)
    except psycopg.Error as error:
        raise UsageError(f"not a store: {mask(url)!r}: {' '.join(str(error).split())}; expected {FORM}") from None
    return Target(mask(url), conninfo, schema, own["durability"] == "full", own["pgbouncer"] == "true")
