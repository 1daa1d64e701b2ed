"""Names in keys: whatever an execution or a queue is called, its keys are its own and nobody else's."""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes


def encoded(name: str) -> str:
    """Return a name as it stands in keys: letters, digits and ``_.-~`` as they are, all else as ``%XX``."""
    return quote(as_bytes(name), safe="")


def decoded(name: bytes) -> str:
    """Return what ``encoded`` was given."""
    return as_text(unquote_to_bytes(name))


def as_bytes(text: str) -> bytes:
    """Return a text's bytes; lone surrogates, as they occur in file names, stay what they are."""
    return text.encode("utf-8", "surrogatepass")


def as_text(data: bytes) -> str:
    """Return what ``as_bytes`` was given."""
    return data.decode("utf-8", "surrogatepass")


def store_key(prefix: str) -> str:
    """Return the key of the store's header; every other key begins with it, but for its last word."""
    return f"{{{prefix}}}:store"
