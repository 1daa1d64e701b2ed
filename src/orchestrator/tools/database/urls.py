"""Which database a URL means, and how it may be told without its secrets."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from orchestrator.tools.names import did_you_mean
from orchestrator.tools.tables.sqltext import wrong
from orchestrator.tools.web.urls import is_secret, redacted

FORMS = "sqlite:///path/to/file.db, duckdb:///path/to/file.duckdb or postgresql://user@host:port/database"
FILES = ("sqlite", "duckdb")
SERVERS = ("postgresql", "postgres")


@dataclass(frozen=True, slots=True)
class Address:
    """A database: ``kind`` is `sqlite`, `duckdb` or `postgresql`; ``path`` its file (empty for a server).

    ``shown`` is what people are told, ``secrets`` is what they are not.
    """

    kind: str
    url: str
    path: str
    shown: str
    secrets: tuple[str, ...] = ()

    def masked(self, text: str) -> str:
        """Return what a driver says in one line, without what is secret."""
        return redacted(" ".join(text.split()), (self.url, *self.secrets))


def fault(url: str) -> tuple[str, str | None] | None:
    """Say what is wrong with a URL, and a hint; None if it names a database. No part of it is repeated but its scheme.

    >>> fault("sqlite://data/app.db")
    ('sqlite:// needs a third slash before the path', 'like sqlite:///path/to/file.db; a fourth one makes it absolute')
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "expected the URL of a database", FORMS
    if scheme not in (*FILES, *SERVERS):
        near = did_you_mean(scheme, (*FILES, *SERVERS)) if scheme.isalnum() else None
        return "expected the URL of a database", near or FORMS
    if scheme in FILES:
        if not rest.startswith("/"):
            ending = "db" if scheme == "sqlite" else "duckdb"
            hint = f"like {scheme}:///path/to/file.{ending}; a fourth one makes it absolute"
            return f"{scheme}:// needs a third slash before the path", hint
        if "?" in rest or "#" in rest:
            return f"{scheme}:// takes no options", "in a path, write %3F for ? and %23 for #"
        if rest in ("/", "//"):
            return f"{scheme}:// names no file", FORMS
    return None


def address(url: str) -> Address:
    """Take a URL apart; raise TaskError (kind ``parameters``) if it names no database."""
    if (found := fault(url)) is not None:
        raise wrong(f"url: {found[0]}" + (f" ({found[1]})" if found[1] else ""))
    scheme, _, rest = url.partition("://")
    if scheme in FILES:
        return Address(scheme, url, unquote(rest[1:]), url)
    try:
        parts = urlsplit(url)
        options = parse_qsl(parts.query)
    except ValueError:
        raise wrong(f"url: it cannot be read as a URL ({FORMS})") from None
    login, _, place = parts.netloc.rpartition("@")
    password = login.partition(":")[2]
    secrets = [password, unquote(password), *(value for name, value in options if is_secret(name))]
    return Address("postgresql", url, "", f"{scheme}://{place}{parts.path}", tuple(filter(None, secrets)))
