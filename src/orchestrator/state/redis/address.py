"""What the URL of a Redis store says."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from orchestrator.errors import UsageError

SCHEMES = ("redis", "rediss", "unix")
FORM = (
    "redis://[USER:PASSWORD@]HOST[:PORT][/DB]?prefix=NAME&durability=full|process&accept_data_loss=true"
    " (rediss:// with TLS, &ca=FILE; unix:///PATH?db=N for a socket)"
)
PORT = 6379
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_YES = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a store is and what is asked of it.

    ``prefix`` names the store among others on that server. ``full``: an acknowledged commit must survive a power cut.
    ``accept_data_loss`` takes any server, whatever it may lose. ``connection`` is what the driver needs to know.
    """

    scheme: str
    shown: str
    prefix: str
    full: bool
    accept_data_loss: bool
    place: str
    connection: dict[str, Any] = field(repr=False)

    @property
    def is_private(self) -> bool:
        """Whether what is sent stays on this machine, or is encrypted."""
        return self.scheme != "redis" or self.connection["host"] in _LOOPBACK


def parse(url: str, shown: str, *, durable: bool) -> Address:
    """Take a URL apart; ``shown`` is how messages call it, ``durable`` what it means where it does not say.

    Raises UsageError.
    """
    parts = urlsplit(url)
    try:
        options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        connection = _connection(parts, options)
        prefix = options.pop("prefix", "orchestrator")
        full = {"full": True, "process": False}[options.pop("durability", "full" if durable else "process")]
        accept = _YES[options.pop("accept_data_loss", "false")]
        if options or parts.scheme not in SCHEMES or not _PREFIX.fullmatch(prefix):
            raise ValueError(url)
    except (ValueError, KeyError):
        raise UsageError(f"not a store: {shown!r}; expected {FORM}") from None
    return Address(
        parts.scheme, _named(parts, connection, prefix), prefix, full, accept, _place(connection), connection
    )


def _connection(parts: SplitResult, options: dict[str, str]) -> dict[str, Any]:
    connection: dict[str, Any] = {
        "username": unquote(parts.username) if parts.username else None,
        "password": unquote(parts.password) if parts.password else None,
    }
    if parts.scheme == "unix":
        if not parts.path or parts.hostname:
            raise ValueError(parts.path)
        return connection | {"path": unquote(parts.path), "db": int(options.pop("db", "0"))}
    if not parts.hostname:
        raise ValueError(parts.netloc)
    connection |= {"host": unquote(parts.hostname), "port": parts.port or PORT, "db": int(parts.path.strip("/") or "0")}
    if parts.scheme == "rediss":
        connection |= {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": options.pop("ca", None)}
    return connection


def _place(connection: dict[str, Any]) -> str:
    if "path" in connection:
        return str(connection["path"])
    host = connection["host"]
    return f"[{host}]:{connection['port']}" if ":" in host else f"{host}:{connection['port']}"


def _named(parts: SplitResult, connection: dict[str, Any], prefix: str) -> str:
    """Return the URL as messages call the store: without a password and what else is not its name."""
    user = quote(connection["username"] or "", safe="")
    secret = ":***" if connection["password"] else ""
    login = f"{user}{secret}@" if user or secret else ""
    if parts.scheme == "unix":
        return f"unix://{login}{quote(connection['path'])}?db={connection['db']}&prefix={prefix}"
    return f"{parts.scheme}://{login}{_place(connection)}/{connection['db']}?prefix={prefix}"
