"""How the journal speaks of values without holding big ones."""

from __future__ import annotations

from typing import NamedTuple

INLINE_LIMIT = 1024
"""Encoded values up to this many bytes stand in the journal itself; larger ones are stored by their digest."""


class ValueRef(NamedTuple):
    """A recorded value: its encoded bytes if small, else the digest under which the store keeps them.

    ``size`` is the length in bytes of the encoded value (before compression).
    """

    data: bytes
    size: int
    inline: bool

    def __repr__(self) -> str:
        return f"ValueRef({'inline' if self.inline else self.data.hex()[:12]}, {self.size} B)"


class EncodedValue(NamedTuple):
    """An encoded value on its way into the store, and how the journal refers to it."""

    ref: ValueRef
    payload: bytes


Stored = EncodedValue | ValueRef
"""What comes with facts: a value to store, or one that the store has already and that is referred to here as well."""
