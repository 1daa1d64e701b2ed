"""The codec port, filled: values by ``codec``, definitions by ``domain.packed``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.domain.packed import pack, unpack
from orchestrator.state.records import decode_value, encode_value

if TYPE_CHECKING:
    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.domain.values import EncodedValue


class ValueCodec:
    """See ports.codec.Codec."""

    def encode(self, value: Any) -> EncodedValue:
        """Encode a value; raises UnstorableValue."""
        return encode_value(value, name="")

    def decode(self, payload: bytes) -> Any:
        """Decode a value."""
        return decode_value(payload, name="value")

    def encode_pipeline(self, pipeline: Pipeline) -> EncodedValue:
        """Encode a definition."""
        return encode_value(pack(pipeline), name="definition")

    def decode_pipeline(self, payload: bytes) -> Pipeline:
        """Decode a definition."""
        return unpack(decode_value(payload, name="definition"))


def snapshot(value: Any) -> Any:
    """Copy a state as the store would give it back; raises UnstorableValue for one that cannot be kept."""
    return decode_value(encode_value(value, name="state").payload, name="state")
