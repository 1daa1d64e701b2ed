"""The codec port, filled: values by ``codec``, definitions by ``domain.packed``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.domain.packed import pack, unpack
from orchestrator.domain.secret import SecretText
from orchestrator.errors import UnstorableValue
from orchestrator.state.records import decode_value, encode_value
from orchestrator.state.registry import register

if TYPE_CHECKING:
    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.domain.redaction import Redactor
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


class RedactingCodec(ValueCodec):
    """A codec that keeps no value of a secret: what holds one is encoded with ``***`` in its place.

    Raises UnstorableValue where it stands in something that cannot be looked into, like a table.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def encode(self, value: Any) -> EncodedValue:
        """Encode a value; raises UnstorableValue."""
        encoded = super().encode(value)
        redactor = self._redactor
        if not redactor.active or not redactor.found_in(encoded.payload):
            return encoded
        encoded = super().encode(redactor.value(value))
        if redactor.found_in(encoded.payload):
            reason = "holds the value of a secret, and it cannot be replaced there: leave it out, or return plain data"
            raise UnstorableValue("", type(value).__name__, reason)
        return encoded


def _secret_text(parts: Any) -> SecretText:
    if type(parts) is not list or len(parts) % 2 == 0 or any(type(part) is not str for part in parts):
        raise ValueError("no text with secrets")
    return SecretText(tuple(parts))


register(SecretText, "orchestrator.SecretText", to_plain=lambda text: list(text.parts), from_plain=_secret_text)


def snapshot(value: Any) -> Any:
    """Copy a state as the store would give it back; raises UnstorableValue for one that cannot be kept."""
    return decode_value(encode_value(value, name="state").payload, name="state")
