"""LangGraph's serializer, filled by our codec: for what asks a saver for its ``serde``."""

from __future__ import annotations

from typing import Any

from orchestrator.errors import StoreIncompatible
from orchestrator.state.records import decode_value, encode_value

_TYPE = "orchestrator"


class DataOnly:
    """Values to bytes and back by the codec of the stores: loading never imports, calls or constructs a thing."""

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:
        """Return the bytes; raises UnstorableValue."""
        return _TYPE, encode_value(obj, name="value").payload

    def loads_typed(self, data: tuple[str, bytes]) -> Any:
        """Return the value; raises StoreIncompatible for bytes of any other serializer, StoreDamaged."""
        kind, payload = data
        if kind != _TYPE:
            raise StoreIncompatible(f"a value serialized as {kind[:40]!r}: only our own are read")
        return decode_value(payload, name="value")
