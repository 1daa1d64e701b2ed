"""How results are held against the schema that their step declares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class Schemas(Protocol):
    """Checks values against JSON Schema (2020-12)."""

    def check(self, schema: Mapping[str, Any], value: Any) -> str | None:
        """Return what is wrong with ``value``, with the path of the first mistake (``rows[3].price: ...``), or None.

        Tuples count as arrays. What JSON has no type for (bytes, dates) satisfies only a schema without ``type``.
        """
