"""From a URL to a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.ports.clock import Chance, Clock
    from orchestrator.ports.store import Store

FORMS = "sqlite:///path/to/store.db (a fourth slash makes the path absolute) or memory://"


def open_store(url: str, *, project: Path, clock: Clock, chance: Chance, durable: bool = True) -> Store:
    """Open the store that ``url`` names; a relative path is meant from the project folder.

    Forms: ``sqlite:///PATH[?durability=full|process]``, ``memory://``. Raises UsageError for any other, StoreError
    when it cannot be opened. A password in the URL is never repeated in a message.
    """
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        if parts.netloc or len(parts.path) < 2:  # noqa: PLR2004 - a slash and a name
            raise UsageError(f"not a store: {mask(url)!r}; expected {FORMS}")
        options = parse_qs(parts.query, keep_blank_values=True)
        durability = options.pop("durability", ["full" if durable else "process"])[-1]
        if options or durability not in ("full", "process"):
            raise UsageError(f"not a store: {mask(url)!r}; the only option is durability=full|process")
        path = Path(unquote(parts.path[1:]))
        from orchestrator.state.sqlite import SqliteStore

        return SqliteStore(project / path, clock=clock, chance=chance, durable=durability == "full")
    if parts.scheme == "memory":
        from orchestrator.state.memory import MemoryStore

        return MemoryStore.shared(parts.netloc + parts.path, clock=clock, chance=chance)
    raise UsageError(f"not a store: {mask(url)!r}; expected {FORMS}")


def store_file(url: str, *, project: Path) -> Path | None:
    """Return the file of a store that is one, whether it exists yet or not; None for any other store."""
    parts = urlsplit(url)
    if parts.scheme != "sqlite" or parts.netloc or not parts.path[1:]:
        return None
    return project / unquote(parts.path[1:])


def mask(url: str) -> str:
    """Return the URL with a password in it replaced by ``***``."""
    head, separator, rest = url.partition("://")
    if separator and "@" in rest.split("/")[0]:
        user = rest.split("@", maxsplit=1)[0].split(":")[0]
        return f"{head}://{user}:***@{rest.rsplit('@', maxsplit=1)[-1]}"
    return url
